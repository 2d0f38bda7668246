//! `http`: the HTTP connection manager.

use super::access_log::AccessLog;
use super::filter::HttpFilter;
use super::header::HeaderToAdd;
use super::route::{Route, VirtualHost};
use crate::model::{Cidr, EscapedSlashes, ServerHeader};
use crate::reader::{
    EditableHeader, HeaderName, HeaderValue, Int, IntOrOff, List, Name, OneOf, Size, SizeOrOff, Timeout, ViaName, Word,
    table,
};

table! {
    /// The HTTP connection manager: reads requests, finds their route, answers (Envoy: HttpConnectionManager). It has
    /// either `routes` (for every host: the short form) or `virtual_hosts`.
    Http at "listeners[].http", example "http.toml" {
        /// Part of the statistics' names after `http.`.
        stat_prefix: Name, default "\"ingress_http\"";
        /// Routes for every host: one virtual host `default` with the domain `*`. Excludes `virtual_hosts`.
        routes: List<Route>, optional "see `virtual_hosts`";
        /// Routes by host. Excludes `routes`.
        virtual_hosts: List<VirtualHost>, optional "one with `routes`";
        /// What a request passes, in order; each is a table with the filter's name as key. `router` is the last one, and
        /// may be left out.
        http_filters: List<HttpFilter>, optional "`[{ router = {} }]`";
        /// Where a line for each exchange goes.
        access_log: List<AccessLog>, optional "no access log";

        /// Time between two exchanges on one connection, after which it is closed.
        idle_timeout: Timeout, default "\"1h\"";
        /// Time from the first byte of a request to the end of its head; also what a new connection has for its first
        /// byte. Status 408 (or close, before the first byte).
        request_headers_timeout: Timeout, default "\"10s\"";
        /// Time from the first byte of a request to the last byte of its body. Status 408.
        request_timeout: Timeout, default "\"off\"";
        /// Time during an exchange without a byte moving in either direction. Status 408 or 504, or a reset when the
        /// response has begun.
        stream_idle_timeout: Timeout, default "\"5m\"";
        /// Time that a connection lives; after it, the exchange in flight is the last.
        max_connection_duration: Timeout, default "\"off\"";
        /// Time that an exchange lives. Status 408 or 504, or a reset when the response has begun.
        max_stream_duration: Timeout, default "\"off\"";

        /// Bytes of a request's or response's head. Status 431 (502 for a response).
        max_headers_size: Size<1024, 16_777_216>, default "\"60KiB\"";
        /// Fields in a head. Status 431 (502 for a response).
        max_headers_count: Int<1, 1024>, default "100";
        /// Bytes of the request line's target. Status 414.
        max_path_size: Size<64, 16_777_216>, default "\"16KiB\"";
        /// Bytes of a request's body. Status 413.
        max_request_body: SizeOrOff<0>, default "\"off\"";
        /// Bytes received for one exchange and not yet sent on, in each direction; a slow reader stops the writer here.
        buffer_limit: Size<4096, 1_073_741_824>, default "\"256KiB\"";
        /// Requests on one connection; the last answer says `connection: close`.
        max_requests_per_connection: IntOrOff<1, { u64::MAX }>, default "\"off\"";
        /// Forward the trailers of chunked messages; they are dropped otherwise.
        enable_trailers: bool, default "false";

        /// Resolve `.` and `..` in paths, and decode what need not be percent-encoded (RFC 3986 section 6). A path that
        /// leaves the root gets status 400.
        normalize_path: bool, default "false";
        /// Make one of several slashes that stand together in a path.
        merge_slashes: bool, default "false";
        /// What happens to `%2F` and `%5C` in paths, after which some upstreams see a slash: they stay, the request gets
        /// status 400, or they become slashes, before (`unescape_and_forward`) or after the client was redirected there.
        path_with_escaped_slashes_action: OneOf<EscapedSlashes>, default "\"keep_unchanged\"";
        /// Remove the port from the host where it is the listener's.
        strip_matching_host_port: bool, default "false";
        /// Remove a dot at the end of the host.
        strip_trailing_host_dot: bool, default "false";

        /// The client is who made the connection, and not who `x-forwarded-for` says. To be set where clients connect
        /// that are not trusted. Requests from outside never keep the fields that change retries and timeouts, such as
        /// `x-envoy-max-retries`; with this they also lose `x-request-id` and what else only proxies say.
        use_remote_address: bool, default "false";
        /// How many proxies in front of this one are trusted: the client is the address that the farthest of them wrote
        /// into `x-forwarded-for`.
        xff_num_trusted_hops: Int<0, 255>, default "0";
        /// Addresses of clients that count as inside, where the request came straight from them: without
        /// `x-forwarded-for`, or, where that is believed, with one address in it (Envoy: internal_address_config).
        internal_addresses: List<Cidr>, optional "`[\"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\", \"127.0.0.0/8\", \"fd00::/8\", \"::1\"]`";
        /// Further fields that are removed from requests from outside.
        internal_only_headers: List<HeaderName>, optional "none";

        /// Header fields added to every request, after the virtual host's were.
        request_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Header fields removed from every request.
        request_headers_to_remove: List<EditableHeader>, optional "none";
        /// Header fields added to every response.
        response_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Header fields removed from every response.
        response_headers_to_remove: List<EditableHeader>, optional "none";

        /// Value of the `server` response header.
        server_name: HeaderValue, default "\"ringway\"";
        /// What happens to a `server` header of the upstream: replaced, kept if there, or never touched (Envoy:
        /// server_header_transformation).
        server_header: OneOf<ServerHeader>, default "\"overwrite\"";
        /// Name under which this proxy adds itself to `via`, on requests and responses (RFC 9110 section 7.6.3).
        via: ViaName, optional "no `via` is added";
        /// Append the peer's address to `x-forwarded-for`.
        x_forwarded_for: bool, default "true";
        /// Set `x-forwarded-proto` where the request has none, and for every request where the client is who made the
        /// connection.
        x_forwarded_proto: bool, default "true";
        /// Set `x-request-id` where the request has none.
        x_request_id: bool, default "true";
        /// Set `x-envoy-upstream-service-time`, in milliseconds, on responses.
        x_envoy_upstream_service_time: bool, default "true";
    }
}

impl Word for EscapedSlashes {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("keep_unchanged", Self::Keep),
        ("reject_request", Self::Reject),
        ("unescape_and_redirect", Self::UnescapeAndRedirect),
        ("unescape_and_forward", Self::UnescapeAndForward),
    ];
    const LATER: &'static [&'static str] = &[];
}

impl Word for ServerHeader {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("overwrite", Self::Overwrite),
        ("append_if_absent", Self::AppendIfAbsent),
        ("pass_through", Self::PassThrough),
    ];
    const LATER: &'static [&'static str] = &[];
}
