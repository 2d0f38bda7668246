//! `[stats]`: where statistics are sent.

use std::collections::HashMap;

use super::Resolver;
use crate::document;
use crate::model::{Stats, StatsSink, Statsd, StatsdDialect};
use crate::place::Origin;
use crate::reader::Located;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn stats(&mut self, written: &'d Located<document::Stats>) -> Option<Stats> {
        let hint = "list one: sinks = [{ statsd = { address = \"127.0.0.1:8125\" } }]";
        self.refuse_empty(&written.sinks, "statistics are sent nowhere", hint);
        let (mut sinks, mut first) = (Vec::new(), HashMap::new());
        for sink in written.sinks.items() {
            sinks.extend(self.stats_sink(sink, &mut first));
        }
        Some(Stats { flush_interval: written.flush_interval.0, sinks })
    }

    fn stats_sink(
        &mut self,
        written: &'d Located<document::StatsSink>,
        first: &mut HashMap<StatsSink, &'d Origin>,
    ) -> Option<StatsSink> {
        let keys = [("statsd", written.statsd.origin()), ("dog_statsd", written.dog_statsd.origin())];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "this table names no sink");
        let sink = StatsSink::Statsd(match (written.statsd.given(), written.dog_statsd.given()) {
            (Some(sink), _) => Statsd {
                dialect: StatsdDialect::Plain,
                target: sink.address.given()?.0.clone(),
                prefix: sink.prefix.0.clone(),
                max_bytes_per_datagram: sink.max_bytes_per_datagram.to_usize(),
            },
            (None, Some(sink)) => Statsd {
                dialect: StatsdDialect::Datadog,
                target: sink.address.given()?.0.clone(),
                prefix: sink.prefix.0.clone(),
                max_bytes_per_datagram: sink.max_bytes_per_datagram.to_usize(),
            },
            (None, None) => return None,
        });
        self.unique(first, sink.clone(), &written.origin, |_| "this sink is listed twice".into());
        Some(sink)
    }
}
