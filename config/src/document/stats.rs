//! `[stats]`: where statistics are sent.

use super::cluster::EndpointAddress;
use super::destination::destination;
use crate::model::Temporality;
use crate::reader::{Int, List, Map, Name, OneOf, Text, Time, Word, table};

table! {
    /// Programs that statistics are sent to, next to what the admin endpoint shows
    /// ([OBSERVABILITY](OBSERVABILITY.md#statistics-that-are-sent)).
    Stats at "stats", example "stats.toml" {
        /// Time between two reports (Envoy: stats_flush_interval). One more is sent at the end of the process.
        flush_interval: Time<100>, default "\"5s\"";
        /// Where they go; each gets all of them.
        sinks: List<StatsSink>, required;
    }
}

table! {
    /// A sink of statistics: a table with exactly one key, its kind.
    StatsSink at "stats.sinks[]", example "stats.toml" {
        /// Names with dots, as `/stats` has them.
        statsd: Statsd, optional "another sink";
        /// Shorter names, and tags for what is different between them.
        dog_statsd: DogStatsd, optional "another sink";
        /// The same names and tags, in OpenTelemetry's protocol.
        otlp: OtlpStats, optional "another sink";
    }
}

table! {
    /// statsd, and what speaks its protocol (Envoy: StatsdSink).
    Statsd at "stats.sinks[].statsd", example "stats.toml" {
        /// Where it listens for UDP, or a Unix socket for datagrams. A host name is looked up when the configuration is loaded,
        /// and again once a minute.
        address: EndpointAddress, required;
        /// What all names begin with; a dot follows. Envoy's default is `envoy`.
        prefix: Name, default "\"ringway\"";
        /// Statistics are put together in datagrams of at most this many bytes. The default fits into the packets of Ethernet.
        max_bytes_per_datagram: Int<256, 65_507>, default "1432";
    }
}

table! {
    /// DogStatsD of a Datadog agent, and what speaks its protocol (Envoy: DogStatsdSink).
    DogStatsd at "stats.sinks[].dog_statsd", example "stats.toml" {
        /// As for `statsd`.
        address: EndpointAddress, required;
        /// As for `statsd`.
        prefix: Name, default "\"ringway\"";
        /// As for `statsd`.
        max_bytes_per_datagram: Int<256, 65_507>, default "1432";
    }
}

destination! {
    /// An OpenTelemetry collector (Envoy: stat_sinks.open_telemetry.v3.SinkConfig).
    OtlpStats at "stats.sinks[].otlp", example "stats-otlp.toml", otlp path "`/v1/metrics`; with `grpc`, the method's path" {
        /// What this proxy is called: the attribute `service.name` of its resource.
        service_name: Name, default "\"ringway\"";
        /// Further attributes of the resource, next to `host.name`: `{ "service.instance.id" = "edge-1" }` tells proxies on one
        /// host apart.
        attributes: Map<Name, Text>, optional "none";
        /// What all names begin with; a dot follows.
        prefix: Name, default "\"ringway\"";
        /// Counters and times since they began (`cumulative`), or since the last report (`delta`; Envoy:
        /// report_counters_as_deltas). With `delta`, what is in a report that is lost is lost.
        temporality: OneOf<Temporality>, default "\"cumulative\"";
    }
}

impl Word for Temporality {
    const WORDS: &'static [(&'static str, Self)] = &[("cumulative", Self::Cumulative), ("delta", Self::Delta)];
    const LATER: &'static [&'static str] = &[];
}
