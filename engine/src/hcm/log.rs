//! An exchange's lines in the access logs.

use super::connection::Connection;
use super::manager::Hcm;
use super::record::record;
use super::serving::Ending;
use crate::http::Exchange;

/// Write the exchange's line to each log.
pub(super) fn write(hcm: &Hcm, connection: &Connection, exchange: &Exchange, ending: &Ending) {
    if hcm.logs.is_empty() {
        return;
    }
    // A log that takes some exchanges only decides about those that were refused for their cost as well.
    exchange.request.head.work.reset();
    exchange.response.head.work.reset();
    let record = record(hcm, connection, exchange, Some(ending));
    for log in &hcm.logs {
        hcm.shard.log.append(log, &record);
    }
}
