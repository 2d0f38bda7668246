//! An exchange's lines in the access logs, and its spans.

use super::connection::Connection;
use super::manager::Hcm;
use super::record::record;
use super::serving::Ending;
use super::trace;
use crate::http::Exchange;
use crate::http::trace::Tracing;

/// Write the exchange's line to each log, and its spans.
pub(super) fn write(hcm: &Hcm, connection: &Connection, exchange: &mut Exchange, ending: &Ending) {
    if hcm.tells_nothing {
        return;
    }
    if !hcm.logs.is_empty() {
        // A log that takes some exchanges only decides about those that were refused for their cost as well.
        exchange.request.head.work.reset();
        exchange.response.head.work.reset();
        let record = record(hcm, connection, exchange, Some(ending));
        for log in &hcm.logs {
            hcm.shard.log.append(log, &record);
        }
    }
    if exchange.facts.tracing == Tracing::Sampled {
        trace::end(hcm, connection, exchange, ending);
    }
}
