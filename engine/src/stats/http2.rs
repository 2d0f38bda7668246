//! What HTTP/2 connections count, on either side.

use super::{ClusterStats, Counter, HttpStats};
use std::sync::Arc;

/// Where a connection counts.
#[derive(Clone)]
pub enum Http2Stats {
    Clients(Arc<HttpStats>),
    Endpoints(Arc<ClusterStats>),
    /// Nowhere: it is no connection of the traffic's.
    Uncounted(Arc<Counter>),
}

macro_rules! cells {
    ($($cell:ident: $statistic:ident,)+) => {
        /// The cells of one connection manager or cluster on one shard.
        pub struct Http2Cells<'a> {
            $(pub $cell: &'a Counter,)+
        }

        impl Http2Stats {
            pub fn cells(&self) -> Http2Cells<'_> {
                match self {
                    Self::Clients(stats) => Http2Cells { $($cell: &stats.$statistic,)+ },
                    Self::Endpoints(stats) => Http2Cells { $($cell: &stats.$statistic,)+ },
                    Self::Uncounted(counter) => Http2Cells { $($cell: counter,)+ },
                }
            }
        }
    };
}

cells! {
    rx_reset: http2_rx_reset,
    tx_reset: http2_tx_reset,
    goaway_sent: http2_goaway_sent,
    rx_messaging_error: http2_rx_messaging_error,
    stream_refused_errors: http2_stream_refused_errors,
    stream_errors: http2_stream_errors,
    flood: http2_flood,
    keepalive_timeout: http2_keepalive_timeout,
}
