//! `http`: the HTTP connection manager.

use super::access_log::AccessLog;
use super::filter::HttpFilter;
use super::header::HeaderToAdd;
use super::http2::Http2;
use super::local_reply::LocalReply;
use super::route::{Route, VirtualHost};
use super::tracing::Tracing;
use crate::model::{Cidr, ClientHalfClose, CodecType, EscapedSlashes, ForwardCert, ServerHeader, Underscores};
use crate::reader::{
    EditableHeader, HeaderName, HeaderValue, Int, IntOrOff, List, Name, OneOf, Percent, Size, SizeOrOff, Timeout,
    ViaName, Word, Written, table,
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
        virtual_hosts: List<VirtualHost>, optional "one virtual host with `routes`";
        /// The filters that every request passes, in order; each is a table with the filter's name as key. `router` is
        /// the last one, and may be left out.
        http_filters: List<HttpFilter>, optional "`[{ router = {} }]`";
        /// Log files that get a line for each exchange.
        access_log: List<AccessLog>, optional "no access log";
        /// Changes of the replies that are made here and not by an upstream: error pages and the like. The first that takes a
        /// reply is used.
        local_reply: List<Written<LocalReply>>, optional "replies as they are";

        /// Distributed tracing.
        tracing: Tracing, optional "no spans, and the context of a trace passes as it came";

        /// What clients speak. `"auto"`: what ALPN agreed on, else what the first bytes say, so that HTTP/2 with prior knowledge
        /// comes on the same port as HTTP/1.
        codec_type: OneOf<CodecType>, default "\"auto\"";
        /// Options of HTTP/2 connections.
        http2: Http2, optional "every key at its default";

        /// How long a connection may stay idle between two exchanges before it is closed.
        idle_timeout: Timeout, default "\"1h\"";
        /// Time from the first byte of a request to the end of its headers. Above it, status 408. A new connection has
        /// the same time for its first byte, and is closed without an answer if none comes.
        request_headers_timeout: Timeout, default "\"10s\"";
        /// Time from the first byte of a request to the last byte of its body. Above it, status 408. It does not count once the
        /// response has begun.
        request_timeout: Timeout, default "\"off\"";
        /// Time that an exchange may last without a byte moving in either direction. Bytes that the client acknowledges
        /// count, so that a slow reader is not cut. Above it, status 408 or 504, or a reset if the response has begun.
        stream_idle_timeout: Timeout, default "\"5m\"";
        /// Time that a client may take nothing of what is there for it, by what it acknowledges. Above it, a response that has
        /// begun is reset, and so is a connection whose last response was not taken (left to the kernel are short ones behind
        /// which a client wants its connection closed, up to 14,600 bytes on the connection in all, those whose last bytes went out
        /// before their end was known, and what a connection that ends while idle still has). With 60 s, a client that reads
        /// at least 100 bytes each second is never cut if its kernel's receive buffer holds no more than 12 KiB (with 30 s, 200
        /// bytes): until most of that has been read, the kernel acknowledges nothing, and the client has up to 3.4 times as long
        /// for it. Behind a larger one, a client must read it all within `send_timeout`, about 2 KB each second for the usual
        /// 128 KiB; until then it cannot be told from one that reads nothing.
        send_timeout: Timeout, default "\"60s\"";
        /// What it means that a client closes its sending side behind a complete request: `cancel` takes it for a client that
        /// is gone and ends the exchange within a second, logged as `0 DC`; `serve` goes on with it, for clients that close
        /// their side as soon as they have said all, such as `nc -N`. Over HTTP/2 this holds for each of the connection's
        /// requests.
        client_half_close: OneOf<ClientHalfClose>, default "\"cancel\"";
        /// Lifetime of a connection. When it has passed, the next response says `connection: close` and is the last one. A
        /// connection that has no request then is closed five seconds later, so that busy clients lose none.
        max_connection_duration: Timeout, default "\"off\"";
        /// Percentage of `max_connection_duration` by which it is longer for each connection at most, at random: clients that
        /// have connected together, after a restart say, then do not all come back together.
        max_connection_duration_jitter: Percent, optional "none";
        /// Time that a whole exchange may take. Above it, status 408 or 504, or a reset if the response has begun.
        max_stream_duration: Timeout, default "\"off\"";

        /// Bytes of the start line and headers of a message. Above it, status 431 for a request, 502 for a response.
        max_headers_size: Size<1024, 16_777_216>, default "\"60KiB\"";
        /// Number of headers of a message. Above it, status 431 for a request, 502 for a response.
        max_headers_count: Int<1, 1024>, default "100";
        /// Bytes of the path and query in a request line. Above it, status 414.
        max_path_size: Size<64, 16_777_216>, default "\"16KiB\"";
        /// Bytes of a request's body. Above it, status 413.
        max_request_body: SizeOrOff<0>, default "\"off\"";
        /// Bytes per second in which a request's body has to come, on average over each 10 s in which the client was waited
        /// for, after 10 s to begin. Below it, status 408. Time in which this side does not read does not count, nor does the
        /// time after the response has begun; bodies of gRPC have no minimum. `0`: no minimum.
        min_request_body_rate: Int<0, 1_000_000_000>, default "24";
        /// Bytes of one exchange that were received and not yet sent on, in each direction. At the limit nothing more
        /// is received, so that a slow reader slows the sender down.
        buffer_limit: Size<4096, 1_073_741_824>, default "\"256KiB\"";
        /// Requests on one connection; the response to the last one says `connection: close`.
        max_requests_per_connection: IntOrOff<1, { u64::MAX }>, default "\"off\"";
        /// Forward the trailers of chunked messages; otherwise they are dropped.
        enable_trailers: bool, default "false";

        /// Resolve `.` and `..` in paths, also where they are percent-encoded, turn `\\` into `/`, and decode characters
        /// that need no percent-encoding (RFC 3986 section 6), for routes and for the upstream. A path that leaves the
        /// root or holds `%00` gets status 400; a `%` that begins no escape is left as it is.
        normalize_path: bool, default "true";
        /// Replace several slashes in a row in a path by one in what the upstream gets.
        merge_slashes: bool, default "false";
        /// Match several slashes in a row in a path as one: routes and conditions on `:path` see `/a/b` where the client
        /// wrote `//a///b`, and the upstream gets what the client wrote, unless `merge_slashes` is set.
        merge_slashes_for_matching: bool, default "true";
        /// What happens to `%2F` and `%5C` in paths, which some upstreams take for slashes: they are kept, the request
        /// gets status 400, or they become slashes, and the request is forwarded with them (`unescape_and_forward`) or
        /// the client is redirected to the new path (`unescape_and_redirect`).
        path_with_escaped_slashes_action: OneOf<EscapedSlashes>, default "\"keep_unchanged\"";
        /// Remove the port from the host if it is the listener's port.
        strip_matching_host_port: bool, default "false";
        /// Remove a trailing dot from the host.
        strip_trailing_host_dot: bool, default "false";

        /// Take the address of the connection for the client's address, not the one in `x-forwarded-for`, unless the
        /// connection is a trusted proxy's (`xff_trusted_cidrs`). Requests from outside always lose the headers that change
        /// retries and timeouts, such as `x-envoy-max-retries`; with this setting they also lose `x-request-id` and the
        /// other headers that only proxies set. `false` believes `x-forwarded-for` and `x-forwarded-proto` of every client
        /// (Envoy's default): only where all clients are proxies of your own.
        use_remote_address: bool, default "true";
        /// Addresses of the proxies in front of this one, such as a load balancer's. Only from these peers, and from those on
        /// Unix sockets, are `x-forwarded-for` and `x-forwarded-proto` believed: the client's address is the last one in
        /// `x-forwarded-for` that is in none of these ranges. The same headers of other peers are noted once in the log.
        /// Excludes `xff_num_trusted_hops`.
        xff_trusted_cidrs: List<Cidr>, optional "none";
        /// Number of trusted proxies in front of this one, where their addresses are not known. The client's address is the
        /// one that the farthest of them wrote into `x-forwarded-for`. A client that reaches this proxy past them can forge
        /// it; prefer `xff_trusted_cidrs`.
        xff_num_trusted_hops: Int<0, 255>, default "0";
        /// Clients whose requests are internal if no other proxy can have forwarded them: with `use_remote_address`, those
        /// without `x-forwarded-for`; with `xff_trusted_cidrs`, also those of a trusted peer where nothing stands before
        /// the client in that header; with neither of the two keys, those with exactly one address in it, unless hops are
        /// trusted. One from a Unix socket, which has no address, is internal only by that header (Envoy:
        /// internal_address_config).
        internal_addresses: List<Cidr>, optional "none";
        /// Number of retries that an internal request may ask for with `x-envoy-max-retries`. If it asks for more, it gets
        /// this number, or the route's `num_retries` if that is higher.
        max_requested_retries: Int<0, 1000>, default "3";
        /// Further headers that are removed from requests from outside.
        internal_only_headers: List<HeaderName>, optional "none";
        /// What happens to request headers with `_` in their names, which many upstreams cannot tell from `-`:
        /// `drop_shadowing` drops those that would pass for a header that this proxy sets or believes, or that the
        /// configuration names (`x_forwarded_for`, `content_length`, `x_user` where `x-user` is set by
        /// `request_headers_to_add`), and forwards others; `allow`, `reject_request` (status 400) and `drop_header` are
        /// Envoy's and hold for all of them.
        headers_with_underscores_action: OneOf<Underscores>, default "\"drop_shadowing\"";
        /// What happens to `x-forwarded-client-cert` in requests (Envoy: forward_client_cert_details): `sanitize` removes it;
        /// `sanitize_set` replaces it by the client's certificate, `append_forward` adds that, and `forward_only` forwards the
        /// header as it came, each for clients with a verified certificate, and otherwise removes it; `always_forward_only`
        /// forwards it as it came from every client. See [TRUST](TRUST.md#certificates-of-clients).
        forward_client_cert_details: OneOf<ForwardCert>, default "\"sanitize\"";
        /// What `sanitize_set` and `append_forward` say of the certificate in addition to its hash.
        set_current_client_cert_details: SetClientCert, optional "the hash alone";

        /// Headers added to every request, after those of the virtual host.
        request_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Headers removed from every request.
        request_headers_to_remove: List<EditableHeader>, optional "none";
        /// Headers added to every response.
        response_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Headers removed from every response.
        response_headers_to_remove: List<EditableHeader>, optional "none";

        /// Value of the `server` header of responses.
        server_name: HeaderValue, default "\"ringway\"";
        /// What happens to the `server` header of an upstream's response: it is replaced, or kept and only added where
        /// it is missing, or never touched (Envoy: server_header_transformation).
        server_header: OneOf<ServerHeader>, default "\"overwrite\"";
        /// Name that this proxy adds to the `via` header of requests and responses (RFC 9110 section 7.6.3).
        via: ViaName, optional "no `via` is added";
        /// Append the address of the connection's peer to `x-forwarded-for`.
        x_forwarded_for: bool, default "true";
        /// Set `x-forwarded-proto` on every request, unless it comes from a trusted proxy (`xff_trusted_cidrs`,
        /// `xff_num_trusted_hops`, a Unix socket) and has one.
        x_forwarded_proto: bool, default "true";
        /// Set `x-request-id` if the request has none.
        x_request_id: bool, default "true";
        /// Set `x-envoy-upstream-service-time`, in milliseconds, on responses.
        x_envoy_upstream_service_time: bool, default "true";
        /// Tell endpoints in `x-envoy-original-host` which host the client asked for, where a route replaces it. Set it to `false`
        /// where they are another's and the client's host is none of their business.
        x_envoy_original_host: bool, default "true";
    }
}

impl Http {
    /// Whether peers can be proxies that are believed in what they say of the client.
    pub fn believes_peers(&self) -> bool {
        self.xff_trusted_cidrs.given().is_some()
            || self.xff_num_trusted_hops.to_u32() > 0
            || !self.use_remote_address.value
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

impl Word for ClientHalfClose {
    const WORDS: &'static [(&'static str, Self)] = &[("cancel", Self::Cancel), ("serve", Self::Serve)];
    const LATER: &'static [&'static str] = &[];
}

impl Word for Underscores {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("drop_shadowing", Self::DropShadowing),
        ("allow", Self::Allow),
        ("reject_request", Self::RejectRequest),
        ("drop_header", Self::DropHeader),
    ];
    const LATER: &'static [&'static str] = &[];
}

table! {
    /// Parts of `x-forwarded-client-cert` (Envoy: SetCurrentClientCertDetails). `By` (URIs in the own certificate) and `Hash`
    /// (SHA-256 of the client's) are always in it.
    SetClientCert at "listeners[].http.set_current_client_cert_details", example "client-certificates.toml" {
        /// `Cert`: the certificate, as PEM, percent-encoded.
        cert: bool, default "false";
        /// `Chain`: the certificate and those that the client sent with it, in the same form.
        chain: bool, default "false";
        /// `Subject`: the distinguished name, such as `"CN=client,O=example"`.
        subject: bool, default "false";
        /// `URI`: each URI among the alternative names.
        uri: bool, default "false";
        /// `DNS`: each host name among the alternative names.
        dns: bool, default "false";
    }
}

impl Word for ForwardCert {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("sanitize", Self::Sanitize),
        ("forward_only", Self::ForwardOnly),
        ("append_forward", Self::AppendForward),
        ("sanitize_set", Self::SanitizeSet),
        ("always_forward_only", Self::AlwaysForwardOnly),
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
