//! Where statistics are sent.

use super::{Destination, EndpointTarget, OtlpProtocol};
use std::time::Duration;

/// Statistics that are sent (Envoy: stats_sinks).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    pub flush_interval: Duration,
    /// At least one.
    pub sinks: Vec<StatsSink>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StatsSink {
    Statsd(Statsd),
    Otlp(OtlpStats),
}

/// A receiver of the protocol of statsd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Statsd {
    pub dialect: StatsdDialect,
    pub target: EndpointTarget,
    /// Names begin with it and a dot.
    pub prefix: String,
    pub max_bytes_per_datagram: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatsdDialect {
    /// Everything is in the name.
    Plain,
    /// With tags.
    Datadog,
}

/// An OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OtlpStats {
    pub to: Destination,
    pub protocol: OtlpProtocol,
    pub service_name: String,
    /// Of the resource, in addition to what is known of it.
    pub attributes: Vec<(String, String)>,
    /// Names begin with it and a dot.
    pub prefix: String,
    pub temporality: Temporality,
}

/// Since when counters and times count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Temporality {
    /// Since they began.
    Cumulative,
    /// Since the last report.
    Delta,
}
