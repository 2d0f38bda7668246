//! One exchange with all that serves it, and how it ended.

use super::connection::Connection;
use super::manager::Hcm;
use crate::http::Exchange;
use crate::http::format::ResponseFlags;
use crate::http_filter::Passed;
use crate::router::Client;
use std::rc::Rc;

/// One exchange with all that serves it.
pub(super) struct Serving<'a, 'w, 'c> {
    pub hcm: &'a Rc<Hcm>,
    pub connection: &'a Connection,
    pub exchange: &'a mut Exchange,
    pub client: Client<'w, 'c>,
    pub filters: Passed,
    /// The connection must end after this exchange.
    pub closes: bool,
}

/// How an exchange ended, for the log.
#[derive(Clone, Copy)]
pub(super) struct Ending {
    pub flags: ResponseFlags,
    pub details: &'static str,
    /// The response was sent to its end.
    pub is_whole: bool,
}

impl Ending {
    /// With a whole response.
    pub(super) fn whole(flags: ResponseFlags, details: &'static str) -> Self {
        Self { flags, details, is_whole: true }
    }
}
