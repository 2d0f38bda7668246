//! `[stats]`: where statistics are sent.

use std::collections::HashMap;

use super::Resolver;
use super::destination::destination;
use crate::document;
use crate::model::{OtlpStats, Stats, StatsSink, Statsd, StatsdDialect};
use crate::reader::Located;

/// Over HTTP and over gRPC.
const PATHS: [&str; 2] = ["/v1/metrics", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"];

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn stats(&mut self, written: &'d Located<document::Stats>) -> Option<Stats> {
        let hint = "list one: sinks = [{ statsd = { address = \"127.0.0.1:8125\" } }]";
        self.refuse_empty(&written.sinks, "statistics are sent nowhere", hint);
        let (mut sinks, mut first) = (Vec::new(), HashMap::new());
        for written in written.sinks.items() {
            if let Some(sink) = self.stats_sink(written) {
                self.unique(&mut first, sink.clone(), &written.origin, |_| "this sink is listed twice".into());
                sinks.push(sink);
            }
        }
        Some(Stats { flush_interval: written.flush_interval.0, sinks })
    }

    fn stats_sink(&mut self, written: &'d Located<document::StatsSink>) -> Option<StatsSink> {
        let keys = [
            ("statsd", written.statsd.origin()),
            ("dog_statsd", written.dog_statsd.origin()),
            ("otlp", written.otlp.origin()),
        ];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "this table names no sink");
        if let Some(sink) = written.statsd.given() {
            return Some(StatsSink::Statsd(Statsd {
                dialect: StatsdDialect::Plain,
                target: sink.address.given()?.0.clone(),
                prefix: sink.prefix.0.clone(),
                max_bytes_per_datagram: sink.max_bytes_per_datagram.to_usize(),
            }));
        }
        if let Some(sink) = written.dog_statsd.given() {
            return Some(StatsSink::Statsd(Statsd {
                dialect: StatsdDialect::Datadog,
                target: sink.address.given()?.0.clone(),
                prefix: sink.prefix.0.clone(),
                max_bytes_per_datagram: sink.max_bytes_per_datagram.to_usize(),
            }));
        }
        self.otlp_stats(written.otlp.given()?).map(StatsSink::Otlp)
    }

    fn otlp_stats(&mut self, written: &'d Located<document::OtlpStats>) -> Option<OtlpStats> {
        let protocol = written.protocol.0;
        let attributes = written.attributes.given().map_or(&[][..], |map| &map.entries);
        Some(OtlpStats {
            to: self.otlp_destination(destination!(written), protocol, &written.path, PATHS)?,
            protocol,
            service_name: written.service_name.0.clone(),
            attributes: attributes.iter().map(|(name, value)| (name.0.clone(), value.0.clone())).collect(),
            prefix: written.prefix.0.clone(),
            temporality: written.temporality.0,
        })
    }
}
