//! Every statistic there is. Names and meaning are Envoy's (listener stats, HTTP connection manager stats, router
//! stats, cluster stats, server statistics) unless the help text says that it is Ringway's own.

use std::sync::Arc;

use super::declare::declare_statistics;
use super::{Cell, CellKind, Counter, Descriptor, Gauge, Histogram, Scope, StatusCodes};

declare_statistics! {
    /// Access log sinks, all of them together: `access_log.<statistic>`. Ringway's own.
    AccessLog AccessLogStats ["access_log", "ringway_access_log", "sink"] {
        /// Lines written to their file
        counter lines_written;
        /// Lines lost because the writer was behind, the disk was full or a write failed
        counter lines_lost;
        /// Writes to a file that failed or were cut short
        counter write_failed;
        /// Files opened again on request
        counter reopened;
        /// Files that could not be opened again; the old one stays in use
        counter reopen_failed;
    }

    /// One cluster: `cluster.<name>.<statistic>`.
    Cluster ClusterStats ["cluster", "envoy_cluster", "envoy_cluster_name"] {
        /// Connections
        counter upstream_cx_total;
        /// Open connections
        gauge upstream_cx_active;
        /// HTTP/1 connections
        counter upstream_cx_http1_total;
        /// Failed connection attempts
        counter upstream_cx_connect_fail;
        /// Connection attempts that took longer than connect_timeout
        counter upstream_cx_connect_timeout;
        /// Connections closed because they were idle too long
        counter upstream_cx_idle_timeout;
        /// Time to establish a connection, in milliseconds
        time upstream_cx_connect_ms;
        /// Length of a connection, in milliseconds
        time upstream_cx_length_ms;
        /// Destroyed connections
        counter upstream_cx_destroy;
        /// Connections destroyed by this side
        counter upstream_cx_destroy_local;
        /// Connections destroyed by the upstream
        counter upstream_cx_destroy_remote;
        /// Connections destroyed with a request on them
        counter upstream_cx_destroy_with_active_rq;
        /// Connections destroyed by this side with a request on them
        counter upstream_cx_destroy_local_with_active_rq;
        /// Connections destroyed by the upstream with a request on them
        counter upstream_cx_destroy_remote_with_active_rq;
        /// Received bytes
        counter upstream_cx_rx_bytes_total;
        /// Sent bytes
        counter upstream_cx_tx_bytes_total;
        /// Connections that broke the protocol
        counter upstream_cx_protocol_error;
        /// Connections closed because they reached the maximum of requests
        counter upstream_cx_max_requests;
        /// Requests
        counter upstream_rq_total;
        /// Requests in flight
        gauge upstream_rq_active;
        /// Requests cancelled before they had a connection
        counter upstream_rq_cancelled;
        /// Requests without a response within the route's timeout
        counter upstream_rq_timeout;
        /// Requests with a response
        counter upstream_rq_completed;
        /// Time from the request's end to the response's end, in milliseconds
        time upstream_rq_time;
        /// Responses with a 1xx code
        counter upstream_rq_1xx;
        /// Responses with a 2xx code
        counter upstream_rq_2xx;
        /// Responses with a 3xx code
        counter upstream_rq_3xx;
        /// Responses with a 4xx code
        counter upstream_rq_4xx;
        /// Responses with a 5xx code
        counter upstream_rq_5xx;
        /// Responses by code
        codes upstream_rq;
        /// Requests reset by the upstream
        counter upstream_rq_rx_reset;
        /// Requests reset by this side
        counter upstream_rq_tx_reset;
        /// Retried requests
        counter upstream_rq_retry;
        /// Retries that succeeded
        counter upstream_rq_retry_success;
        /// Requests that had to wait for a connection
        counter upstream_rq_pending_total;
        /// Requests that wait for a connection
        gauge upstream_rq_pending_active;
        /// Times that reading from the upstream was paused because the downstream is slower
        counter upstream_flow_control_paused_reading_total;
        /// Times that reading from the upstream went on
        counter upstream_flow_control_resumed_reading_total;
        /// Endpoints that are healthy
        gauge membership_healthy;
        /// Endpoints
        gauge membership_total;
    }

    /// One HTTP connection manager: `http.<stat_prefix>.<statistic>`.
    Http HttpStats ["http", "envoy_http", "envoy_http_conn_manager_prefix"] {
        /// Connections
        counter downstream_cx_total;
        /// Open connections
        gauge downstream_cx_active;
        /// HTTP/1 connections
        counter downstream_cx_http1_total;
        /// Open HTTP/1 connections
        gauge downstream_cx_http1_active;
        /// Destroyed connections
        counter downstream_cx_destroy;
        /// Connections destroyed by this side
        counter downstream_cx_destroy_local;
        /// Connections destroyed by the downstream
        counter downstream_cx_destroy_remote;
        /// Connections destroyed by this side with a request on them
        counter downstream_cx_destroy_local_active_rq;
        /// Connections destroyed by the downstream with a request on them
        counter downstream_cx_destroy_remote_active_rq;
        /// Connections that broke the protocol
        counter downstream_cx_protocol_error;
        /// Length of a connection, in milliseconds
        time downstream_cx_length_ms;
        /// Received bytes
        counter downstream_cx_rx_bytes_total;
        /// Sent bytes
        counter downstream_cx_tx_bytes_total;
        /// Connections closed because of a drain
        counter downstream_cx_drain_close;
        /// Connections closed because they were idle too long
        counter downstream_cx_idle_timeout;
        /// Connections closed because they reached their maximum duration
        counter downstream_cx_max_duration_reached;
        /// Connections closed because they reached the maximum of requests
        counter downstream_cx_max_requests_reached;
        /// Connections ended by a panic in their task; Ringway's own
        counter downstream_cx_panic;
        /// Requests
        counter downstream_rq_total;
        /// HTTP/1 requests
        counter downstream_rq_http1_total;
        /// Requests in flight
        gauge downstream_rq_active;
        /// Requests with a whole response
        counter downstream_rq_completed;
        /// Responses with a 1xx code
        counter downstream_rq_1xx;
        /// Responses with a 2xx code
        counter downstream_rq_2xx;
        /// Responses with a 3xx code
        counter downstream_rq_3xx;
        /// Responses with a 4xx code
        counter downstream_rq_4xx;
        /// Responses with a 5xx code
        counter downstream_rq_5xx;
        /// Time from the request's start to the response's end, in milliseconds
        time downstream_rq_time;
        /// Responses that were complete before the request was
        counter downstream_rq_response_before_rq_complete;
        /// Requests without a whole response because the downstream ended or reset them
        counter downstream_rq_rx_reset;
        /// Requests whose response this side had to break off
        counter downstream_rq_tx_reset;
        /// Requests answered with 413 because their body is too large
        counter downstream_rq_too_large;
        /// Requests closed because nothing moved for too long
        counter downstream_rq_idle_timeout;
        /// Requests closed because they were not received in time
        counter downstream_rq_timeout;
        /// Requests closed because their head was not received in time
        counter downstream_rq_header_timeout;
        /// Times that reading from the downstream was paused because the upstream is slower
        counter downstream_flow_control_paused_reading_total;
        /// Times that reading from the downstream went on
        counter downstream_flow_control_resumed_reading_total;
        /// Requests without a route, answered with 404
        counter no_route;
        /// Requests answered by a redirect
        counter rq_redirect;
        /// Requests answered by a direct response
        counter rq_direct_response;
        /// Routed requests
        counter rq_total;
    }

    /// One listener: `listener.<address>.<statistic>`, ':' of the address written as '_'.
    Listener ListenerStats ["listener", "envoy_listener", "envoy_listener_address"] {
        /// Connections
        counter downstream_cx_total;
        /// Open connections
        gauge downstream_cx_active;
        /// Destroyed connections
        counter downstream_cx_destroy;
        /// Connections refused because of the listener's limit
        counter downstream_cx_overflow;
        /// Connections refused because of the limit of the whole process
        counter downstream_global_cx_overflow;
        /// Length of a connection, in milliseconds
        time downstream_cx_length_ms;
        /// Connections that no filter chain matched
        counter no_filter_chain_match;
        /// Calls to accept that failed; Ringway's own
        counter accept_error;
        /// Time from a request's start to its response's end, in milliseconds; Ringway's own
        time downstream_rq_time;
    }

    /// The process: `server.<statistic>`.
    Server ServerStats ["server", "envoy_server", "server"] {
        /// Seconds since the start
        gauge uptime;
        /// 1 while the server neither drains nor starts
        gauge live;
        /// 0 live, 1 draining, 2 pre-initializing, 3 initializing
        gauge state;
        /// Shards
        gauge concurrency;
        /// Version: major times a million, minor times a thousand and patch
        gauge version;
        /// Open downstream connections
        gauge total_connections;
        /// Resident memory in bytes
        gauge memory_allocated;
    }

    /// One shard's ring and tasks: `shard.<index>.<statistic>`. Ringway's own.
    Shard ShardStats ["shard", "ringway_shard", "shard"] {
        /// Completions handed out by the ring
        counter completions;
        /// Calls of io_uring_enter
        counter enters;
        /// Times that the shard had nothing to do and slept
        counter sleeps;
        /// Receives that found no free buffer
        counter enobufs;
        /// Receive buffers in use
        gauge buffers_in_use;
        /// Receive buffers that had to come from the heap
        counter heap_buffers;
        /// Times that a socket's receive was stopped because its bytes were not taken
        counter receive_pauses;
        /// Completions that found their socket gone
        counter stale_completions;
        /// Tasks that live on the shard
        gauge tasks;
        /// Tasks that ended by a panic
        counter panics;
        /// Calls to accept that failed, whatever the listener
        counter accept_errors;
    }
}

/// Values of `server.state` (Envoy: admin.v3 ServerInfo.State).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum ServerState {
    Live = 0,
    Draining = 1,
    PreInitializing = 2,
    Initializing = 3,
}

impl ServerStats {
    /// Sets `state` and `live`, which follows from it.
    pub fn set_state(&self, state: ServerState) {
        self.state.set(state as i64);
        self.live.set(i64::from(state == ServerState::Live));
    }
}

/// The value of `server.version` for "major.minor.patch"; parts that are missing or not numbers count as 0.
pub fn server_version(text: &str) -> i64 {
    let release = text.split(['-', '+']).next().unwrap_or_default();
    let mut parts = release.split('.').map(|part| part.parse::<i64>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    next() * 1_000_000 + next() * 1_000 + next()
}

impl HttpStats {
    /// Counts a response's status class.
    #[inline]
    pub fn count_status(&self, status: u16) {
        match status {
            100..200 => self.downstream_rq_1xx.inc(),
            200..300 => self.downstream_rq_2xx.inc(),
            300..400 => self.downstream_rq_3xx.inc(),
            400..500 => self.downstream_rq_4xx.inc(),
            500..600 => self.downstream_rq_5xx.inc(),
            _ => {}
        }
    }
}

impl ClusterStats {
    /// Counts a response's status class and code. Also for the responses that the router makes in the upstream's place.
    #[inline]
    pub fn count_status(&self, status: u16) {
        match status {
            100..200 => self.upstream_rq_1xx.inc(),
            200..300 => self.upstream_rq_2xx.inc(),
            300..400 => self.upstream_rq_3xx.inc(),
            400..500 => self.upstream_rq_4xx.inc(),
            500..600 => self.upstream_rq_5xx.inc(),
            _ => {}
        }
        self.upstream_rq.inc(status);
    }
}
