//! `http`: the HTTP connection manager.

use toml::de::DeValue;

use super::read::{Input, List, Located, Read};
use super::route::{Route, VirtualHost};
use super::scalar::{CountOrOff, Int, OneOf};
use super::shape::Shape;
use super::table::table;
use super::text::{FilePath, HeaderValue, Name, Text, ViaName};
use super::units::{Size, SizeOrOff, Timeout};
use crate::diagnostic::Problems;
use crate::model::ServerHeader;

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
        /// What a request passes, in order; each is a table with the filter's name as key; `router` is the last.
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
        max_requests_per_connection: CountOrOff, default "\"off\"";
        /// Forward the trailers of chunked messages; they are dropped otherwise.
        enable_trailers: bool, default "false";

        /// Value of the `server` response header.
        server_name: HeaderValue, default "\"ringway\"";
        /// What happens to a `server` header of the upstream: replaced, kept if there, or never touched (Envoy:
        /// server_header_transformation).
        server_header: OneOf<ServerHeader>, default "\"overwrite\"";
        /// Name under which this proxy adds itself to `via`, on requests and responses (RFC 9110 section 7.6.3).
        via: ViaName, optional "no `via` is added";
        /// Append the peer's address to `x-forwarded-for`.
        x_forwarded_for: bool, default "true";
        /// Set `x-forwarded-proto` where the request has none.
        x_forwarded_proto: bool, default "true";
        /// Set `x-request-id` where the request has none.
        x_request_id: bool, default "true";
        /// Set `x-envoy-upstream-service-time`, in milliseconds, on responses.
        x_envoy_upstream_service_time: bool, default "true";
    }
}

table! {
    /// A filter: a table with exactly one key, the filter's name.
    HttpFilter at "listeners[].http.http_filters[]", example "http.toml" {
        /// Sends the request where its route says; the last filter.
        router: RouterFilter, optional "another filter";
    }
}

table! {
    /// The router filter; it has no keys so far.
    RouterFilter at "listeners[].http.http_filters[].router", example "http.toml" {}
}

table! {
    /// Where a line for each exchange goes, and what it says.
    AccessLog at "listeners[].http.access_log[]", example "access-log.toml" {
        /// File to append to; `/dev/stdout` is the standard output. A relative path starts at this file's directory.
        /// Reopened on SIGUSR1.
        path: FilePath, required;
        /// The line as text with command operators such as `%RESPONSE_CODE%`, listed below; a line end is added where
        /// there is none. Excludes `json`.
        format: Text, optional "Envoy's default format";
        /// The line as a JSON object: keys of your choice, each with a text like `format`. Excludes `format`.
        json: JsonFormat, optional "`format`";
    }
}

/// Keys of the user's choice with texts, in the order of the file.
#[derive(Clone, Debug)]
pub struct JsonFormat(pub Vec<(String, Located<Text>)>);

impl Read for JsonFormat {
    fn shape() -> Shape {
        Shape::Map(Box::new(<Text as Read>::shape()))
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        let DeValue::Table(table) = input.value else {
            input.refuse_type::<Self>(problems);
            return None;
        };
        // The parser sorts by name; the output is to have the order of the file.
        let mut written: Vec<_> = table.iter().collect();
        written.sort_by_key(|(key, _)| key.span().start);
        let mut pairs = Vec::with_capacity(written.len());
        for (key, value) in written {
            let name = key.get_ref().to_string();
            let member = Input::new(value, key.span(), input.origin.path.key(name.clone()));
            if let Some(value) = Text::read(&member, problems) {
                pairs.push((name, Located { value, origin: member.origin }));
            }
        }
        Some(Self(pairs))
    }
}
