//! All statistics. Names and meanings are Envoy's (listener, HTTP connection manager, router, cluster and server statistics)
//! unless the help text says that it is Ringway's own. Those of HTTP filters are in filters.rs, of TLS in ssl.rs, of the
//! process and its shards in process.rs, and of what is exported in exports.rs.

use super::declare::declare_statistics;
use super::exports::with_export_statistics;
use super::filters::with_filter_statistics;
use super::process::with_process_statistics;
use super::ssl::{with_tls_scopes, with_tls_statistics};
use super::{Cell, CellKind, Counter, Descriptor, Gauge, GrpcStatuses, Histogram, Scope, StatusCodes};
use std::sync::Arc;

with_process_statistics! { {
    /// One cluster: `cluster.<name>.<statistic>`.
    Cluster ClusterStats ["cluster", "envoy_cluster", "envoy_cluster_name"] {
        /// Connections
        counter upstream_cx_total;
        /// Open connections
        gauge upstream_cx_active;
        /// HTTP/1 connections
        counter upstream_cx_http1_total;
        /// HTTP/2 connections
        counter upstream_cx_http2_total;
        /// HTTP/2: streams that the peer reset
        counter http2_rx_reset as "http2.rx_reset";
        /// HTTP/2: streams that this side reset
        counter http2_tx_reset as "http2.tx_reset";
        /// HTTP/2: connections whose end was announced
        counter http2_goaway_sent as "http2.goaway_sent";
        /// HTTP/2: messages that break a rule of HTTP
        counter http2_rx_messaging_error as "http2.rx_messaging_error";
        /// HTTP/2: streams refused because there were too many on their connection
        counter http2_stream_refused_errors as "http2.stream_refused_errors";
        /// HTTP/2: streams ended because a frame breaks a rule; Ringway's own
        counter http2_stream_errors as "http2.stream_errors";
        /// HTTP/2: connections ended because the peer made too much work of too little; Ringway's own
        counter http2_flood as "http2.flood";
        /// HTTP/2: connections closed because the peer did not answer a PING in time
        counter http2_keepalive_timeout as "http2.keepalive_timeout";
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
        /// Requests to endpoints that failed because there was no connection for them
        counter upstream_rq_pending_failure_eject;
        /// Retried requests
        counter upstream_rq_retry;
        /// Responses that were dropped because their request was tried again
        counter retry_upstream_rq_completed as "retry.upstream_rq_completed";
        /// Retries that succeeded
        counter upstream_rq_retry_success;
        /// Requests not retried because they had used all their retries
        counter upstream_rq_retry_limit_exceeded;
        /// Retries that waited for the exponential back-off
        counter upstream_rq_retry_backoff_exponential;
        /// Retries that waited as long as the upstream asked for
        counter upstream_rq_retry_backoff_ratelimited;
        /// Tries without a response head within the time of one try
        counter upstream_rq_per_try_timeout;
        /// Tries on which nothing moved for too long
        counter upstream_rq_per_try_idle_timeout;
        /// Requests closed because they lasted longer than max_stream_duration
        counter upstream_rq_max_duration_reached;
        /// Requests whose body was too large to be kept for a retry, an internal redirect or a mirror
        counter retry_or_shadow_abandoned;
        /// Redirects of the upstream that were not followed although the policy asks for it
        counter upstream_internal_redirect_failed_total;
        /// Redirects of the upstream that were followed
        counter upstream_internal_redirect_succeeded_total;
        /// Requests that had to wait for a connection
        counter upstream_rq_pending_total;
        /// Requests that wait for a connection
        gauge upstream_rq_pending_active;
        /// Times that reading from the upstream was paused because the downstream is slower
        counter upstream_flow_control_paused_reading_total;
        /// Times that reading from the upstream was resumed
        counter upstream_flow_control_resumed_reading_total;
        /// Times that the limit of connections was reached
        counter upstream_cx_overflow;
        /// Requests refused because the limit of requests, or of requests that wait for a connection, was reached
        counter upstream_rq_pending_overflow;
        /// Requests not retried because the limit of retries was reached
        counter upstream_rq_retry_overflow;
        /// Copies of requests not sent because the limit of copies, or of requests, was reached. Ringway's own
        counter upstream_rq_mirror_overflow;
        /// Copies of requests given up because main traffic needs their connection, descriptors or memory; Ringway's own
        counter upstream_rq_mirror_shed;
        /// Requests for which no endpoint could be picked
        counter upstream_cx_none_healthy;
        /// Changes of the endpoints
        counter membership_change;
        /// Endpoints that are healthy
        gauge membership_healthy;
        /// Endpoints that are degraded
        gauge membership_degraded;
        /// Endpoints that do not count for priorities and panic
        gauge membership_excluded;
        /// Endpoints
        gauge membership_total;
        /// The largest weight of an endpoint
        gauge max_host_weight;
        /// Picks among all endpoints, because too few are healthy
        counter lb_healthy_panic;
        /// Subsets that have endpoints
        gauge lb_subsets_active;
        /// Subsets created
        counter lb_subsets_created;
        /// Subsets removed
        counter lb_subsets_removed;
        /// Picks from the subset that the route asks for
        counter lb_subsets_selected;
        /// Picks by the fallback, because there is no such subset
        counter lb_subsets_fallback;
        /// Points on the ring
        gauge ring_hash_lb_size as "ring_hash_lb.size";
        /// Points of the endpoint that has the fewest
        gauge ring_hash_lb_min_hashes_per_host as "ring_hash_lb.min_hashes_per_host";
        /// Points of the endpoint that has the most
        gauge ring_hash_lb_max_hashes_per_host as "ring_hash_lb.max_hashes_per_host";
        /// Entries of the endpoint that has the fewest
        gauge maglev_lb_min_entries_per_host as "maglev_lb.min_entries_per_host";
        /// Entries of the endpoint that has the most
        gauge maglev_lb_max_entries_per_host as "maglev_lb.max_entries_per_host";
        /// Lookups of the names of a cluster that is discovered by DNS
        counter update_attempt;
        /// Lookups that were answered
        counter update_success;
        /// Lookups that failed
        counter update_failure;
        /// Lookups whose answer was empty and that left the endpoints as they were
        counter update_empty;
        /// Lookups whose answer changed nothing
        counter update_no_rebuild;
    }

    /// Active health checks of one cluster: `cluster.<name>.health_check.<statistic>`.
    HealthCheck HealthCheckStats ["cluster", "envoy_cluster", "envoy_cluster_name"] {
        /// Health checks
        counter attempt as "health_check.attempt";
        /// Health checks that passed
        counter success as "health_check.success";
        /// Health checks that failed, for whatever reason
        counter failure as "health_check.failure";
        /// Failures seen in responses to requests (x-envoy-immediate-health-check-fail)
        counter passive_failure as "health_check.passive_failure";
        /// Health checks that failed because no connection was made, it broke, or time was up
        counter network_failure as "health_check.network_failure";
        /// Health checks neither passed nor failed: no descriptor, memory or port was left on this host; Ringway's own
        counter local_shortage as "health_check.local_shortage";
        /// Endpoints that the checks found healthy
        gauge healthy as "health_check.healthy";
        /// Endpoints that the checks found degraded
        gauge degraded as "health_check.degraded";
    }

    /// Outlier detection of one cluster: `cluster.<name>.outlier_detection.<statistic>`.
    OutlierDetection OutlierStats ["cluster", "envoy_cluster", "envoy_cluster_name"] {
        /// Endpoints ejected now
        gauge ejections_active as "outlier_detection.ejections_active";
        /// Ejections not made because of max_ejection_percent
        counter ejections_overflow as "outlier_detection.ejections_overflow";
        /// Ejections, for whatever reason
        counter ejections_enforced_total as "outlier_detection.ejections_enforced_total";
        /// Ejections for 5xx in a row
        counter ejections_enforced_consecutive_5xx as "outlier_detection.ejections_enforced_consecutive_5xx";
        /// Times that an endpoint had too many 5xx in a row, ejected or not
        counter ejections_detected_consecutive_5xx as "outlier_detection.ejections_detected_consecutive_5xx";
        /// Ejections for gateway failures in a row
        counter ejections_enforced_consecutive_gateway_failure as "outlier_detection.ejections_enforced_consecutive_gateway_failure";
        /// Times that an endpoint had too many gateway failures in a row, ejected or not
        counter ejections_detected_consecutive_gateway_failure as "outlier_detection.ejections_detected_consecutive_gateway_failure";
        /// Ejections for failures of local origin in a row
        counter ejections_enforced_consecutive_local_origin_failure as "outlier_detection.ejections_enforced_consecutive_local_origin_failure";
        /// Times that an endpoint had too many failures of local origin in a row, ejected or not
        counter ejections_detected_consecutive_local_origin_failure as "outlier_detection.ejections_detected_consecutive_local_origin_failure";
        /// Ejections for a success rate below that of the others
        counter ejections_enforced_success_rate as "outlier_detection.ejections_enforced_success_rate";
        /// Times that an endpoint's success rate was an outlier, ejected or not
        counter ejections_detected_success_rate as "outlier_detection.ejections_detected_success_rate";
        /// Ejections for a success rate of local origin below that of the others
        counter ejections_enforced_local_origin_success_rate as "outlier_detection.ejections_enforced_local_origin_success_rate";
        /// Times that an endpoint's success rate of local origin was an outlier, ejected or not
        counter ejections_detected_local_origin_success_rate as "outlier_detection.ejections_detected_local_origin_success_rate";
        /// Ejections for the percentage of failures
        counter ejections_enforced_failure_percentage as "outlier_detection.ejections_enforced_failure_percentage";
        /// Times that an endpoint's percentage of failures was too high, ejected or not
        counter ejections_detected_failure_percentage as "outlier_detection.ejections_detected_failure_percentage";
        /// Ejections for the percentage of failures of local origin
        counter ejections_enforced_local_origin_failure_percentage as "outlier_detection.ejections_enforced_local_origin_failure_percentage";
        /// Times that an endpoint's percentage of failures of local origin was too high, ejected or not
        counter ejections_detected_local_origin_failure_percentage as "outlier_detection.ejections_detected_local_origin_failure_percentage";
    }

    /// Circuit breakers of one cluster: `cluster.<name>.circuit_breakers.<priority>.<statistic>`. Only for limits that
    /// are set.
    CircuitBreakers CircuitBreakerStats ["cluster", "envoy_cluster", "envoy_cluster_name"] {
        /// 1 while the limit of connections is reached
        gauge default_cx_open as "circuit_breakers.default.cx_open";
        /// 1 while the limit of requests that wait for a connection is reached
        gauge default_rq_pending_open as "circuit_breakers.default.rq_pending_open";
        /// 1 while the limit of requests is reached
        gauge default_rq_open as "circuit_breakers.default.rq_open";
        /// 1 while the limit of retries is reached
        gauge default_rq_retry_open as "circuit_breakers.default.rq_retry_open";
        /// Connections until the limit
        gauge default_remaining_cx as "circuit_breakers.default.remaining_cx";
        /// Requests that may still wait for a connection
        gauge default_remaining_pending as "circuit_breakers.default.remaining_pending";
        /// Requests until the limit
        gauge default_remaining_rq as "circuit_breakers.default.remaining_rq";
        /// Retries until the limit
        gauge default_remaining_retries as "circuit_breakers.default.remaining_retries";
        /// 1 while the limit of connections of high priority is reached
        gauge high_cx_open as "circuit_breakers.high.cx_open";
        /// 1 while the limit of requests of high priority that wait for a connection is reached
        gauge high_rq_pending_open as "circuit_breakers.high.rq_pending_open";
        /// 1 while the limit of requests of high priority is reached
        gauge high_rq_open as "circuit_breakers.high.rq_open";
        /// 1 while the limit of retries of high priority is reached
        gauge high_rq_retry_open as "circuit_breakers.high.rq_retry_open";
        /// Connections of high priority until the limit
        gauge high_remaining_cx as "circuit_breakers.high.remaining_cx";
        /// Requests of high priority that may still wait for a connection
        gauge high_remaining_pending as "circuit_breakers.high.remaining_pending";
        /// Requests of high priority until the limit
        gauge high_remaining_rq as "circuit_breakers.high.remaining_rq";
        /// Retries of high priority until the limit
        gauge high_remaining_retries as "circuit_breakers.high.remaining_retries";
    }

    /// The resolver of host names: `dns.hickory.<statistic>`.
    Dns DnsStats ["dns.hickory", "envoy_dns_hickory", "resolver"] {
        /// Lookups
        counter resolve_total;
        /// Lookups under way
        gauge pending_resolutions;
        /// Lookups answered with NXDOMAIN or without an address
        counter not_found;
        /// Lookups that failed for another reason than time
        counter get_addr_failure;
        /// Lookups without an answer in time
        counter timeouts;
    }

    /// One HTTP connection manager: `http.<stat_prefix>.<statistic>`.
    Http HttpStats ["http", "envoy_http", "envoy_http_conn_manager_prefix"] {
        /// Connections
        counter downstream_cx_total;
        /// Open connections
        gauge downstream_cx_active;
        /// HTTP/1 connections
        counter downstream_cx_http1_total;
        /// HTTP/2 connections
        counter downstream_cx_http2_total;
        /// Open HTTP/1 connections
        gauge downstream_cx_http1_active;
        /// Open HTTP/2 connections
        gauge downstream_cx_http2_active;
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
        /// Requests refused because comparing them with conditions and patterns would cost too much; Ringway's own
        counter downstream_rq_match_cost_exceeded;
        /// Requests with x-forwarded-for or x-forwarded-proto of peers that are not trusted; Ringway's own
        counter downstream_rq_forwarded_not_trusted;
        /// Requests that asked for an upgrade of their connection, such as WebSocket, and were served without it
        counter downstream_rq_ws_on_non_ws_route;
        /// Requests answered with 421: their host asks clients for other certificates; Ringway's own
        counter downstream_rq_misdirected;
        /// Requests traced because of this side's share
        counter tracing_random_sampling as "tracing.random_sampling";
        /// Requests traced because of x-client-trace-id
        counter tracing_client_enabled as "tracing.client_enabled";
        /// Requests traced because of x-envoy-force-trace
        counter tracing_service_forced as "tracing.service_forced";
        /// Requests traced because of the context that they came with; Ringway's own
        counter tracing_continued as "tracing.continued";
        /// Requests that are not traced
        counter tracing_not_traceable as "tracing.not_traceable";
        /// Requests whose context was malformed and which began another trace; Ringway's own
        counter tracing_context_malformed as "tracing.context_malformed";
        /// Spans lost because the thread that exports them is behind; Ringway's own
        counter tracing_spans_lost as "tracing.spans_lost";
        /// Headers dropped because of a `_` in their names
        counter dropped_headers_with_underscores;
        /// Requests refused because of a `_` in the name of a header
        counter requests_rejected_with_underscores_in_headers;
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
        /// HTTP/2 requests
        counter downstream_rq_http2_total;
        /// HTTP/2: streams that the peer reset
        counter http2_rx_reset as "http2.rx_reset";
        /// HTTP/2: streams that this side reset
        counter http2_tx_reset as "http2.tx_reset";
        /// HTTP/2: connections whose end was announced
        counter http2_goaway_sent as "http2.goaway_sent";
        /// HTTP/2: messages that break a rule of HTTP
        counter http2_rx_messaging_error as "http2.rx_messaging_error";
        /// HTTP/2: streams refused because there were too many on their connection
        counter http2_stream_refused_errors as "http2.stream_refused_errors";
        /// HTTP/2: streams ended because a frame breaks a rule; Ringway's own
        counter http2_stream_errors as "http2.stream_errors";
        /// HTTP/2: connections ended because the peer made too much work of too little; Ringway's own
        counter http2_flood as "http2.flood";
        /// HTTP/2: connections closed because the peer did not answer a PING in time
        counter http2_keepalive_timeout as "http2.keepalive_timeout";
        /// Requests in flight
        gauge downstream_rq_active;
        /// Requests with a whole response
        counter downstream_rq_completed;
        /// Exchanges that were cut off because the process ended, after the drain time or by a second order to stop.
        /// Ringway's own
        counter downstream_rq_cut_off;
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
        /// Requests closed because they lasted longer than max_stream_duration
        counter downstream_rq_max_duration_reached;
        /// Requests closed because they were not received in time
        counter downstream_rq_timeout;
        /// Requests closed because their head was not received in time
        counter downstream_rq_header_timeout;
        /// Requests answered with 408 because their body came too slowly (min_request_body_rate)
        counter downstream_rq_body_too_slow;
        /// Requests whose response was broken off because the downstream took nothing of it (send_timeout)
        counter downstream_rq_send_timeout;
        /// Connections reset between requests because the downstream did not take the last response (send_timeout)
        counter downstream_cx_send_timeout;
        /// Times that reading from the downstream was paused because the upstream is slower
        counter downstream_flow_control_paused_reading_total;
        /// Times that reading from the downstream was resumed
        counter downstream_flow_control_resumed_reading_total;
        /// Requests without a route, answered with 404
        counter no_route;
        /// Requests whose route names a cluster that does not exist
        counter no_cluster;
        /// Requests answered by a redirect
        counter rq_redirect;
        /// Requests answered by a direct response
        counter rq_direct_response;
        /// Routed requests
        counter rq_total;
        /// Redirects passed on because their location is missing or invalid
        counter passthrough_internal_redirect_bad_location;
        /// Redirects passed on because their location has another scheme
        counter passthrough_internal_redirect_unsafe_scheme;
        /// Redirects passed on because the request had followed as many as it may
        counter passthrough_internal_redirect_too_many_redirects;
        /// Redirects passed on because nothing is routed to their location
        counter passthrough_internal_redirect_no_route;
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
        /// Connections refused because of max_connections_per_client; Ringway's own
        counter downstream_cx_client_overflow;
        /// Connections that waited for a request and were closed to make room for new ones; Ringway's own
        counter downstream_cx_evicted;
        /// Length of a connection, in milliseconds
        time downstream_cx_length_ms;
        /// Connections that the listener filters did not finish with in time
        counter downstream_pre_cx_timeout;
        /// Connections that are with the listener filters or in the TLS handshake
        gauge downstream_pre_cx_active;
        /// Connections that no filter chain matched
        counter no_filter_chain_match;
        /// TLS handshakes that took longer than handshake_timeout
        counter downstream_cx_transport_socket_connect_timeout;
        /// Calls to accept that failed; Ringway's own
        counter accept_error;
        /// Time from a request's start to its response's end, in milliseconds; Ringway's own
        time downstream_rq_time;
    }
} }
