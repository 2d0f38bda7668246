//! What a client is told when it does not get an upstream's response: the one place where a fault becomes a status, a
//! response flag and details.

use super::Hcm;
use super::access_log::ResponseFlags;
use crate::codec::h1::{BodyError, HeadError, RequestError, encode};
use crate::http::{Exchange, Method};
use crate::router::Fault;
use crate::router::encode::connection;

/// A response made here.
pub(super) struct LocalReply<'a> {
    pub status: u16,
    pub body: &'a [u8],
    pub content_type: &'a str,
    pub location: Option<&'a [u8]>,
}

impl<'a> LocalReply<'a> {
    /// A status with a line of text for whoever looks at it.
    pub(super) fn text(status: u16, body: &'a str) -> Self {
        Self { status, body: body.as_bytes(), content_type: "text/plain", location: None }
    }

    /// Write it to the batch for the downstream.
    pub(super) fn write(&self, hcm: &Hcm, exchange: &mut Exchange, close: bool) {
        let reactor = &hcm.shard.reactor;
        let mut outbox = std::mem::take(&mut exchange.to_downstream);
        let out = outbox.bytes(reactor);
        encode::status(out, self.status);
        if let Some(location) = self.location {
            encode::field(out, b"location", location);
        }
        // 204 and 304 have no body and no length (RFC 9110 section 8.6).
        let bodiless = matches!(self.status, 204 | 304);
        if !bodiless {
            encode::field_u64(out, b"content-length", self.body.len() as u64);
            if !self.body.is_empty() {
                encode::field(out, b"content-type", self.content_type.as_bytes());
            }
        }
        if matches!(self.status, 405) {
            // RFC 9110 section 15.5.6 wants the methods that would be allowed; only TRACE comes here.
            encode::field(out, b"allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
        }
        encode::field(out, b"date", &hcm.shard.date());
        if !hcm.config.headers.server_name.is_empty() {
            encode::field(out, b"server", hcm.config.headers.server_name.as_bytes());
        }
        connection(out, &exchange.request, close);
        encode::end(out);
        if !bodiless && exchange.request.method != Method::Head {
            out.extend_from_slice(self.body);
            exchange.sent = self.body.len() as u64;
        }
        exchange.to_downstream = outbox;
        exchange.status = self.status;
    }
}

/// How a fault is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Telling {
    /// `None`: there is nobody to tell, or nothing that could be said.
    pub status: Option<u16>,
    pub body: &'static str,
    pub flags: ResponseFlags,
    /// Envoy's response code details.
    pub details: &'static str,
    /// Where the next request would begin is unknown, or the client asked for trouble.
    pub close: bool,
}

/// The table.
pub(super) fn telling(fault: Fault) -> Telling {
    use ResponseFlags as Flags;
    let tell = |status: u16, body, flags, details| Telling { status: Some(status), body, flags, details, close: false };
    let closing = |telling: Telling| Telling { close: true, ..telling };
    match fault {
        Fault::RequestHead(error) => {
            let body = match error {
                RequestError::Head(HeadError::HeadTooLarge | HeadError::TooManyFields) => {
                    "request header fields too large"
                }
                _ => "",
            };
            closing(tell(error.status(), body, Flags::DOWNSTREAM_PROTOCOL_ERROR, error.details()))
        }
        // The client is gone or has closed its side within the body.
        Fault::RequestBody(BodyError::Truncated) => closing(Telling {
            status: Some(400),
            body: "",
            flags: Flags::DOWNSTREAM_CONNECTION_TERMINATION,
            details: BodyError::Truncated.details(),
            close: true,
        }),
        Fault::RequestBody(error) => closing(tell(400, "", Flags::DOWNSTREAM_PROTOCOL_ERROR, error.details())),
        Fault::RequestTooLarge => closing(tell(413, "Payload Too Large", Flags::empty(), "request_payload_too_large")),
        Fault::RequestHeaderTimeout => {
            closing(tell(408, "request header timeout", Flags::DURATION_TIMEOUT, "request_header_timeout"))
        }
        Fault::RequestTimeout => {
            closing(tell(408, "request timeout", Flags::DURATION_TIMEOUT, "request_overall_timeout"))
        }
        Fault::DownstreamReset => Telling {
            status: None,
            body: "",
            flags: Flags::DOWNSTREAM_CONNECTION_TERMINATION,
            details: "downstream_remote_disconnect",
            close: true,
        },
        Fault::ConnectFailed => tell(
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            Flags::UPSTREAM_CONNECTION_FAILURE,
            "upstream_reset_before_response_started{remote_connection_failure}",
        ),
        Fault::ConnectTimeout => tell(
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
            Flags::UPSTREAM_CONNECTION_FAILURE,
            "upstream_reset_before_response_started{connection_timeout}",
        ),
        Fault::LocalResources => tell(
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: local connection failure",
            Flags::UPSTREAM_CONNECTION_FAILURE,
            "upstream_reset_before_response_started{local_connection_failure}",
        ),
        Fault::UpstreamClosed => tell(
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            Flags::UPSTREAM_CONNECTION_TERMINATION,
            "upstream_reset_before_response_started{connection_termination}",
        ),
        Fault::UpstreamTruncated => tell(
            502,
            "upstream closed the connection within its response",
            Flags::UPSTREAM_CONNECTION_TERMINATION,
            "upstream_reset_after_response_started{connection_termination}",
        ),
        Fault::ResponseHead(error) => {
            tell(502, "upstream sent an invalid response", Flags::UPSTREAM_PROTOCOL_ERROR, error.details())
        }
        Fault::ResponseBody(error) => {
            tell(502, "upstream sent an invalid response", Flags::UPSTREAM_PROTOCOL_ERROR, error.details())
        }
        Fault::TooManyInterim => tell(
            502,
            "upstream sent an invalid response",
            Flags::UPSTREAM_PROTOCOL_ERROR,
            "http1.too_many_interim_responses",
        ),
        Fault::RouteTimeout => {
            tell(504, "upstream request timeout", Flags::UPSTREAM_REQUEST_TIMEOUT, "upstream_response_timeout")
        }
        // Envoy: 408 while the request is incomplete, 504 after; exchange.rs knows which.
        Fault::StreamIdle => closing(tell(504, "stream timeout", Flags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout")),
        // Never within an exchange; there is nobody to tell.
        Fault::MaxConnectionDuration => Telling {
            status: None,
            body: "",
            flags: Flags::DURATION_TIMEOUT,
            details: "max_connection_duration",
            close: true,
        },
    }
}
