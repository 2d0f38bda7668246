//! One exchange with all that serves it, and how it ended.

use super::connection::Connection;
use super::log;
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
    /// It is accounted for and logged.
    pub has_ended: bool,
}

impl Serving<'_, '_, '_> {
    /// Note what went over the wire.
    pub(super) fn measure(&mut self) {
        let (stats, facts, wire) = (&self.hcm.stats, &mut self.exchange.facts, &mut self.client.upload.wire);
        facts.wire.head_received = wire.head_received();
        facts.wire.received = wire.received();
        facts.wire.sent = wire.sent();
        stats.downstream_cx_rx_bytes_total.add(facts.wire.received);
        stats.downstream_cx_tx_bytes_total.add(facts.wire.sent);
    }
}

/// The connection's task may be ended while its exchange is under way: when the time of a drain is over. That is logged, too.
impl Drop for Serving<'_, '_, '_> {
    fn drop(&mut self) {
        if self.has_ended || std::thread::panicking() {
            return;
        }
        let Self { hcm, exchange, .. } = self;
        hcm.stats.downstream_rq_cut_off.inc();
        hcm.shard.note_cut_off(hcm.shard.reactor.now().saturating_sub(exchange.facts.times.start));
        self.measure();
        let flags = ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION;
        let ending = Ending { flags, details: "downstream_local_disconnect(shutdown)", is_whole: false };
        log::write(self.hcm, self.connection, self.exchange, &ending);
    }
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
