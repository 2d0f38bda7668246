//! Everything that a log line can say about one exchange, borrowed from who knows it.

use std::net::SocketAddr;

use super::ResponseFlags;
use crate::http::{HeadView, RequestHead, ResponseHead};

/// A field that the proxy set, with its name in lower case, or `:path` and `:authority` after a rewrite. It takes the
/// place of the fields of that name in the head.
pub type EditedField<'a> = (&'a str, &'a [u8]);

/// One exchange at its end. Times are in microseconds, sizes in bytes; `None` and empty strings are written as `-`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// When the first byte of the request arrived, since the epoch.
    pub start_unix_micros: u64,
    /// The head and the bytes that its spans name; `None` when no head could be parsed.
    pub request: Option<(&'a RequestHead, HeadView<'a>)>,
    /// What `%REQ(...)%` finds before it looks into the head; the last one of a name counts.
    pub request_edits: &'a [EditedField<'a>],
    /// The upstream's head; `None` for a local reply.
    pub response: Option<(&'a ResponseHead, HeadView<'a>)>,
    /// What `%RESP(...)%` finds before it looks into the head.
    pub response_edits: &'a [EditedField<'a>],
    /// `%REQ(:scheme)%` where the request's target has none: "http" or "https".
    pub scheme: &'a str,
    /// "HTTP/1.1"; `None` when no head could be parsed.
    pub protocol: Option<&'static str>,
    /// 0 when no response was begun, as Envoy writes it.
    pub response_code: u16,
    /// Why this code (Envoy: response code details): "via_upstream", "route_not_found", ...
    pub response_code_details: Option<&'static str>,
    pub response_flags: ResponseFlags,
    /// Of the request's body.
    pub bytes_received: u64,
    /// Of the response's body.
    pub bytes_sent: u64,
    /// From the start of the request to the last byte out.
    pub duration_micros: Option<u64>,
    /// From the start of the request to its last byte in.
    pub request_duration_micros: Option<u64>,
    /// From the start of the request to the first byte from upstream.
    pub response_duration_micros: Option<u64>,
    /// The endpoint's address in its text form.
    pub upstream_host: Option<&'a str>,
    pub upstream_cluster: Option<&'a str>,
    pub upstream_local_address: Option<SocketAddr>,
    /// `None` on a Unix socket.
    pub downstream_remote_address: Option<SocketAddr>,
    pub downstream_local_address: Option<SocketAddr>,
    pub route_name: Option<&'a str>,
    pub virtual_host_name: Option<&'a str>,
    pub connection_id: u64,
}
