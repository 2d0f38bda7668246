//! Why an exchange failed: whose fault it was, as precisely as it is known.

use crate::cluster::NoHost;
use crate::http::Violation;
use crate::mux::Broken;
use crate::mux::h2::Code;
use crate::upstream::limits::Overflow;

/// One reason for each way in which an exchange can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    // The downstream's.
    /// The request's head breaks a rule.
    RequestHead(Violation),
    RequestBody(Violation),
    /// The body is not what its coding says, or becomes too large.
    RequestCoding(Violation),
    /// The client ended its side within the body.
    RequestTruncated,
    /// The path leads out of the root, or has escapes that are not allowed.
    InvalidPath,
    /// To compare the request with what the configuration asks for would cost too much.
    MatchCost,
    /// A header's name has a `_`, and the configuration allows none.
    UnderscoreInName,
    /// The host is one whose clients are asked for other certificates than this one was.
    Misdirected,
    /// The body is longer than the limit.
    RequestTooLarge,
    /// The head took too long.
    RequestHeaderTimeout,
    /// The head was not whole when a new connection needed this one's place.
    RequestHeadEvicted,
    /// The request took too long.
    RequestTimeout,
    /// The body comes too slowly.
    RequestBodyTooSlow,
    /// The client takes nothing of the response.
    DownstreamStalled,
    /// The connection broke, or the client gave the exchange up.
    DownstreamReset,

    // The upstream's.
    /// No endpoint may be picked.
    NoHealthyUpstream(NoHost),
    /// A limit of the cluster is reached.
    Overflow(Overflow),
    ConnectFailed,
    ConnectTimeout,
    /// The connection ended or broke before the response began.
    UpstreamClosed,
    /// The connection ended or broke within the response.
    UpstreamTruncated,
    /// The upstream gave the exchange up, with this code, and keeps the connection. `begun`: within its response.
    UpstreamReset {
        code: u32,
        begun: bool,
    },
    /// The upstream refused the exchange without looking at it.
    UpstreamRefused,
    ResponseHead(Violation),
    ResponseBody(Violation),
    /// As `RequestCoding`, for the response.
    ResponseCoding(Violation),
    /// No whole response within the route's timeout.
    RouteTimeout,
    /// No response head within the route's time for it.
    ResponseHeadTimeout,
    /// No response head within the time of one try.
    PerTryTimeout,
    /// Nothing moved on a try for too long.
    PerTryIdleTimeout,

    // Neither side's in particular.
    /// Nothing moved in either direction.
    StreamIdle,
    /// The whole exchange took too long.
    MaxStreamDuration,
    /// No descriptor or memory is left on this host.
    LocalResources,
}

impl Fault {
    /// For the program log.
    pub fn words(self) -> &'static str {
        match self {
            Self::RequestHead(violation)
            | Self::RequestBody(violation)
            | Self::RequestCoding(violation)
            | Self::ResponseHead(violation)
            | Self::ResponseBody(violation)
            | Self::ResponseCoding(violation) => violation.details,
            Self::RequestTruncated => "the client ended its side within the body",
            Self::InvalidPath => "the path is not allowed",
            Self::MatchCost => "to compare the request would cost too much",
            Self::UnderscoreInName => "a header's name has a _",
            Self::Misdirected => "the host needs another client certificate",
            Self::RequestTooLarge => "the body is too long",
            Self::RequestHeaderTimeout => "the head took too long",
            Self::RequestHeadEvicted => "a new connection needed the place",
            Self::RequestTimeout => "the request took too long",
            Self::RequestBodyTooSlow => "the body comes too slowly",
            Self::DownstreamStalled => "the client takes nothing",
            Self::DownstreamReset => "the client is gone",
            Self::NoHealthyUpstream(why) => why.details(),
            Self::Overflow(overflow) => overflow.details(),
            Self::ConnectFailed => "the connection failed",
            Self::ConnectTimeout => "the connection took too long",
            Self::UpstreamClosed => "the endpoint closed the connection before it answered",
            Self::UpstreamTruncated => "the endpoint closed the connection within its response",
            Self::UpstreamReset { .. } => "the endpoint reset the exchange",
            Self::UpstreamRefused => "the endpoint refused the exchange unseen",
            Self::RouteTimeout => "no whole response within the route's timeout",
            Self::ResponseHeadTimeout => "no response within response_head_timeout",
            Self::PerTryTimeout => "no response within per_try_timeout",
            Self::PerTryIdleTimeout => "nothing moved within per_try_idle_timeout",
            Self::StreamIdle => "nothing moved in either direction",
            Self::MaxStreamDuration => "the exchange took too long",
            Self::LocalResources => "no descriptor, memory or port is left on this host",
        }
    }

    /// What a failed read of the request's head means.
    pub fn of_request_head(broken: Broken) -> Self {
        match broken {
            Broken::Violation(violation) => Self::RequestHead(violation),
            Broken::Truncated | Broken::Closed | Broken::Reset(_) | Broken::Refused => Self::DownstreamReset,
        }
    }

    /// What a failed read of the request's body means.
    pub fn of_request_body(broken: Broken) -> Self {
        match broken {
            Broken::Violation(violation) => Self::RequestBody(violation),
            Broken::Truncated => Self::RequestTruncated,
            Broken::Closed | Broken::Reset(_) | Broken::Refused => Self::DownstreamReset,
        }
    }

    /// What a failed read of the response's head means. `begun`: a byte of it had come.
    pub fn of_response_head(broken: Broken, begun: bool) -> Self {
        match broken {
            Broken::Violation(violation) => Self::ResponseHead(violation),
            Broken::Refused => Self::UpstreamRefused,
            Broken::Reset(code) => Self::UpstreamReset { code, begun: false },
            Broken::Truncated | Broken::Closed if begun => Self::UpstreamTruncated,
            Broken::Truncated | Broken::Closed => Self::UpstreamClosed,
        }
    }

    /// What a failed read of the response's body means.
    pub fn of_response_body(broken: Broken) -> Self {
        match broken {
            Broken::Violation(violation) => Self::ResponseBody(violation),
            Broken::Reset(code) => Self::UpstreamReset { code, begun: true },
            // It has begun to answer, whatever it says of that.
            Broken::Refused => Self::UpstreamReset { code: Code::REFUSED_STREAM.0, begun: true },
            Broken::Truncated | Broken::Closed => Self::UpstreamTruncated,
        }
    }

    /// The code to give a client's stream up with, where its response has begun: what the endpoint said of that exchange. Other
    /// codes speak of the endpoint's connection, REFUSED_STREAM of a request that was not looked at, and NO_ERROR is no reason.
    pub fn reset_code(self) -> u32 {
        const PASSED: [u32; 3] = [Code::CANCEL.0, Code::ENHANCE_YOUR_CALM.0, Code::INADEQUATE_SECURITY.0];
        match self {
            Self::UpstreamReset { code, .. } if PASSED.contains(&code) => code,
            // One that has closed its side, and may still listen.
            Self::DownstreamReset => Code::CANCEL.0,
            _ => Code::INTERNAL_ERROR.0,
        }
    }

    /// Whether the picked endpoint failed.
    pub fn is_upstreams(self) -> bool {
        matches!(
            self,
            Self::ConnectFailed
                | Self::ConnectTimeout
                | Self::UpstreamClosed
                | Self::UpstreamTruncated
                | Self::UpstreamReset { .. }
                | Self::UpstreamRefused
                | Self::ResponseHead(_)
                | Self::ResponseBody(_)
                | Self::RouteTimeout
                | Self::ResponseHeadTimeout
                | Self::PerTryTimeout
                | Self::PerTryIdleTimeout
        )
    }
}
