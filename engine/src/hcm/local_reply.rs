//! What a client is told when it does not get an upstream's response: the one place where a fault becomes a status, a
//! response flag and details.

use crate::http::format::ResponseFlags;
use crate::http::grpc::GrpcStatus;
use crate::router::Fault;

/// How a fault is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Telling {
    /// `None`: the client is gone.
    pub status: Option<u16>,
    pub body: &'static str,
    pub flags: ResponseFlags,
    /// Envoy's response code details.
    pub details: &'static str,
    /// What a call of gRPC is told, where that is not what the status of HTTP means.
    pub grpc_status: Option<GrpcStatus>,
    /// Where the next request would begin is unknown, or the client asked for trouble.
    pub close: bool,
}

/// The table. `request_complete`: all of the request has come; `late_is_204`: the client asked for 204 instead of 504
/// when the upstream is late (x-envoy-upstream-rq-timeout-alt-response).
pub(super) fn telling(fault: Fault, request_complete: bool, late_is_204: bool) -> Telling {
    let telling = told(fault);
    let status = match fault {
        // Envoy: 408 while the request is incomplete, 504 after.
        Fault::StreamIdle | Fault::MaxStreamDuration if !request_complete => Some(408),
        Fault::RouteTimeout | Fault::ResponseHeadTimeout | Fault::PerTryTimeout | Fault::PerTryIdleTimeout
            if late_is_204 =>
        {
            Some(204)
        }
        _ => telling.status,
    };
    Telling { status, ..telling }
}

fn told(fault: Fault) -> Telling {
    use ResponseFlags as Flags;
    let closing = |telling: Telling| Telling { close: true, ..telling };
    match fault {
        // Trailers, too, can be too large.
        Fault::RequestHead(violation) | Fault::RequestBody(violation) => {
            let body = if violation.status == 431 { "request header fields too large" } else { "" };
            closing(tell(violation.status, body, Flags::DOWNSTREAM_PROTOCOL_ERROR, violation.details))
        }
        // The client has closed its side within the body.
        Fault::RequestTruncated => {
            closing(tell(400, "", Flags::DOWNSTREAM_CONNECTION_TERMINATION, "http1.body_truncated"))
        }
        Fault::RequestCoding(violation) => closing(tell(violation.status, "", Flags::empty(), violation.details)),
        Fault::InvalidPath => tell(400, "", Flags::empty(), "path_normalization_failed"),
        Fault::MatchCost => tell(431, "", Flags::empty(), "match_cost_exceeded"),
        Fault::Misdirected => tell(421, "", Flags::empty(), "misdirected_request"),
        Fault::UnderscoreInName => tell(400, "", Flags::empty(), "unexpected_underscore"),
        Fault::RequestTooLarge => closing(tell(413, "Payload Too Large", Flags::empty(), "request_payload_too_large")),
        Fault::RequestHeaderTimeout => {
            closing(tell(408, "request header timeout", Flags::DURATION_TIMEOUT, "request_header_timeout"))
        }
        Fault::RequestHeadEvicted => {
            closing(tell(408, "request header timeout", Flags::OVERLOAD_MANAGER, "request_head_evicted"))
        }
        Fault::RequestTimeout => {
            closing(late(tell(408, "request timeout", Flags::DURATION_TIMEOUT, "request_overall_timeout")))
        }
        Fault::RequestBodyTooSlow => {
            closing(tell(408, "request body too slow", Flags::DURATION_TIMEOUT, "request_body_too_slow"))
        }
        Fault::DownstreamStalled => Telling {
            status: None,
            body: "",
            flags: Flags::STREAM_IDLE_TIMEOUT,
            details: "downstream_send_timeout",
            grpc_status: None,
            close: true,
        },
        Fault::DownstreamReset => Telling {
            status: None,
            body: "",
            flags: Flags::DOWNSTREAM_CONNECTION_TERMINATION,
            details: "downstream_remote_disconnect",
            grpc_status: None,
            close: true,
        },
        Fault::StreamIdle => {
            closing(late(tell(504, "stream timeout", Flags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout")))
        }
        Fault::MaxStreamDuration => {
            closing(late(tell(504, "downstream duration timeout", Flags::DURATION_TIMEOUT, "max_duration_timeout")))
        }
        fault => upstream(fault),
    }
}

/// The upstream's faults, and ours on the way to it. The connection to the client is none the worse for them.
fn upstream(fault: Fault) -> Telling {
    use ResponseFlags as Flags;
    let too_late = |details| late(tell(504, "upstream request timeout", Flags::UPSTREAM_REQUEST_TIMEOUT, details));
    match fault {
        Fault::Overflow(overflow) => tell(
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: overflow",
            Flags::UPSTREAM_OVERFLOW,
            overflow.details(),
        ),
        Fault::NoHealthyUpstream(why) => tell(503, "no healthy upstream", Flags::NO_HEALTHY_UPSTREAM, why.details()),
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
        Fault::UpstreamReset { code, begun } => Telling {
            grpc_status: Some(GrpcStatus::of_reset(code)),
            ..tell(
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: remote reset",
                Flags::UPSTREAM_REMOTE_RESET,
                match begun {
                    false => "upstream_reset_before_response_started{remote_reset}",
                    true => "upstream_reset_after_response_started{remote_reset}",
                },
            )
        },
        Fault::UpstreamRefused => tell(
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: remote refused stream reset",
            Flags::UPSTREAM_REMOTE_RESET,
            "upstream_reset_before_response_started{remote_refused_stream_reset}",
        ),
        Fault::ResponseHead(violation) | Fault::ResponseBody(violation) | Fault::ResponseCoding(violation) => {
            tell(502, "upstream sent an invalid response", Flags::UPSTREAM_PROTOCOL_ERROR, violation.details)
        }
        Fault::RouteTimeout => too_late("upstream_response_timeout"),
        Fault::ResponseHeadTimeout => too_late("upstream_response_head_timeout"),
        Fault::PerTryTimeout => too_late("upstream_per_try_timeout"),
        Fault::PerTryIdleTimeout => too_late("upstream_per_try_idle_timeout"),
        // `telling` has told all others.
        _ => tell(503, "", Flags::empty(), "unknown"),
    }
}

fn tell(status: u16, body: &'static str, flags: ResponseFlags, details: &'static str) -> Telling {
    Telling { status: Some(status), body, flags, details, grpc_status: None, close: false }
}

/// Clients of gRPC try again what is unavailable, but not what took too long.
fn late(telling: Telling) -> Telling {
    Telling { grpc_status: Some(GrpcStatus::DEADLINE_EXCEEDED), ..telling }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mux::Broken;

    /// What an endpoint gives up is told by how far it had come.
    #[test]
    fn resets_of_endpoints_stand_before_or_within_their_responses() {
        let told = |fault| {
            let telling = telling(fault, true, false);
            (telling.flags, telling.details, telling.grpc_status)
        };
        let reset = |details, status| (ResponseFlags::UPSTREAM_REMOTE_RESET, details, Some(status));
        let (before, within) = (
            "upstream_reset_before_response_started{remote_reset}",
            "upstream_reset_after_response_started{remote_reset}",
        );
        let cancel = Broken::Reset(8);
        assert_eq!(told(Fault::of_response_head(cancel, false)), reset(before, GrpcStatus::CANCELLED));
        assert_eq!(told(Fault::of_response_body(cancel)), reset(within, GrpcStatus::CANCELLED));
        assert_eq!(told(Fault::of_response_body(Broken::Refused)), reset(within, GrpcStatus::UNAVAILABLE));
    }
}
