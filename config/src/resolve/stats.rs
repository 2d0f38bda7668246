//! `[stats]`: where statistics are sent.

use std::collections::HashMap;

use super::Resolver;
use crate::diagnostic::Problem;
use crate::document;
use crate::model::{OtlpProtocol, OtlpStats, Stats, StatsSink, Statsd, StatsdDialect, UpstreamProtocol};
use crate::reader::{ClusterName, Located};

const HTTP_PATH: &str = "/v1/metrics";
const GRPC_PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

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
        let cluster = written.cluster.given()?;
        self.cluster_named(cluster)?;
        self.check_otlp_protocol(protocol, cluster);
        let path = match protocol {
            OtlpProtocol::Http => HTTP_PATH,
            OtlpProtocol::Grpc => GRPC_PATH,
        };
        let attributes = written.attributes.given().map_or(&[][..], |map| &map.entries);
        Some(OtlpStats {
            cluster: cluster.0.clone(),
            host: written.host.value().unwrap_or_else(|| cluster.0.clone()),
            path: written.path.value().unwrap_or_else(|| path.into()),
            protocol,
            service_name: written.service_name.0.clone(),
            attributes: attributes.iter().map(|(name, value)| (name.0.clone(), value.0.clone())).collect(),
            prefix: written.prefix.0.clone(),
            temporality: written.temporality.0,
            timeout: written.timeout.0,
        })
    }

    /// Refuses gRPC where its cluster cannot speak it.
    pub(super) fn check_otlp_protocol(&mut self, protocol: OtlpProtocol, cluster: &Located<ClusterName>) {
        if protocol == OtlpProtocol::Grpc {
            self.check_speaks_grpc(cluster, "OTLP over gRPC needs");
        }
    }

    pub(super) fn check_speaks_grpc(&mut self, cluster: &Located<ClusterName>, what_needs: &str) {
        if let Some((_, found)) = self.clusters.get(cluster.0.as_str())
            && found.protocol.0 == UpstreamProtocol::Http1
        {
            let message = format!("{what_needs} HTTP/2, and the cluster `{}` speaks HTTP/1", cluster.0);
            let hint = "add protocol = \"http2\" to the cluster";
            self.problems.push(Problem::at(&cluster.origin, message).hint(Some(hint)));
        }
    }
}
