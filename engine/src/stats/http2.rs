//! What HTTP/2 connections count, on either side.

use super::{ClusterStats, Counter, HttpStats};
use std::sync::Arc;

/// The cells of one connection manager or cluster on one shard.
pub struct Http2Cells<'a> {
    pub rx_reset: &'a Counter,
    pub tx_reset: &'a Counter,
    pub goaway_sent: &'a Counter,
    pub rx_messaging_error: &'a Counter,
    pub stream_refused_errors: &'a Counter,
    pub stream_errors: &'a Counter,
    pub flood: &'a Counter,
}

/// Where a connection counts.
#[derive(Clone)]
pub enum Http2Stats {
    Clients(Arc<HttpStats>),
    Endpoints(Arc<ClusterStats>),
    /// Nowhere: it is no connection of the traffic's.
    Uncounted(Arc<Counter>),
}

macro_rules! cells {
    ($stats:expr) => {
        Http2Cells {
            rx_reset: &$stats.http2_rx_reset,
            tx_reset: &$stats.http2_tx_reset,
            goaway_sent: &$stats.http2_goaway_sent,
            rx_messaging_error: &$stats.http2_rx_messaging_error,
            stream_refused_errors: &$stats.http2_stream_refused_errors,
            stream_errors: &$stats.http2_stream_errors,
            flood: &$stats.http2_flood,
        }
    };
}

impl Http2Stats {
    pub fn cells(&self) -> Http2Cells<'_> {
        match self {
            Self::Clients(stats) => cells!(stats),
            Self::Endpoints(stats) => cells!(stats),
            Self::Uncounted(counter) => Http2Cells {
                rx_reset: counter,
                tx_reset: counter,
                goaway_sent: counter,
                rx_messaging_error: counter,
                stream_refused_errors: counter,
                stream_errors: counter,
                flood: counter,
            },
        }
    }
}
