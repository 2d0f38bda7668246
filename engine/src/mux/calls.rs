//! Calls of gRPC on their way: their messages and how they end are noted.

use super::Piece;
use crate::base::clock::Nanos;
use crate::codec::grpc::Messages;
use crate::http::Trailers;
use crate::http::grpc::GrpcStatus;
use crate::stats::GrpcStats;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// What is noted of one call, by both of its bodies.
#[derive(Debug, Default)]
pub struct CallNotes {
    /// Where messages are counted as they pass; without it, they are kept for later.
    pub stats: RefCell<Option<Rc<Arc<GrpcStats>>>>,
    /// Messages that are not counted yet.
    pub requests: Cell<u64>,
    pub responses: Cell<u64>,
    pub status: Cell<Option<GrpcStatus>>,
    /// The last byte of the request or of the response came.
    pub request_end: Cell<Option<Nanos>>,
    pub response_end: Cell<Option<Nanos>>,
    /// Of a response of gRPC-Web: its body could end here, and the bytes of it so far.
    pub is_between: Cell<bool>,
    pub given: Cell<u64>,
}

/// The two bodies of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Request,
    Response,
}

impl CallNotes {
    fn count(&self, side: Side, messages: u64) {
        if messages == 0 {
            return;
        }
        match (&*self.stats.borrow(), side) {
            (Some(stats), Side::Request) => stats.request_message_count.add(messages),
            (Some(stats), Side::Response) => stats.response_message_count.add(messages),
            (None, Side::Request) => self.requests.set(self.requests.get() + messages),
            (None, Side::Response) => self.responses.set(self.responses.get() + messages),
        }
    }

    /// The response has ended, with this status if it says one.
    pub fn responded(&self, status: Option<GrpcStatus>, now: Nanos) {
        if status.is_some() {
            self.status.set(status);
        }
        self.response_end.set(Some(now));
    }
}

/// Looks at one body of a call.
pub(super) struct CallStage {
    notes: Rc<CallNotes>,
    side: Side,
    messages: Messages,
}

impl CallStage {
    pub(super) fn new(notes: Rc<CallNotes>, side: Side) -> Self {
        Self { notes, side, messages: Messages::default() }
    }

    pub(super) fn note(&mut self, piece: &Piece, trailers: &Trailers, now: Nanos) {
        match (piece, self.side) {
            (Piece::Data(buf), side) => self.notes.count(side, self.messages.pass(buf)),
            (Piece::End, Side::Request) => self.notes.request_end.set(Some(now)),
            (Piece::End, Side::Response) => self.notes.responded(trailers.grpc_status(), now),
        }
    }
}
