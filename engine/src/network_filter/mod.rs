//! Network filters: what a filter chain does with a connection. One arm per filter.

use crate::hcm::{ChainSlot, serve};
use crate::net::{Accepted, Served};
use std::rc::Rc;

/// The terminal filter of a chain, on one shard.
#[derive(Clone)]
pub enum NetworkFilter {
    /// The HTTP connection manager.
    Http(Rc<ChainSlot>),
}

impl NetworkFilter {
    /// Serve a connection to its end. Not an async function: its future would hold `accepted` twice.
    pub fn run(self, accepted: Accepted) -> impl Future<Output = Served<impl Future<Output = ()> + 'static>> {
        match self {
            Self::Http(slot) => serve(accepted, slot),
        }
    }

    /// Whether it speaks HTTP/2 on a connection whose handshake agrees on this protocol.
    pub fn speaks_http2(&self, agreed: Option<&[u8]>) -> bool {
        match self {
            Self::Http(slot) => slot.current().speaks_http2(agreed),
        }
    }
}
