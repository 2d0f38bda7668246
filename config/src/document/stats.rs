//! `[stats]`: where statistics are sent.

use super::cluster::EndpointAddress;
use crate::reader::{Int, List, Name, Time, table};

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
