//! Why an exchange failed: whose fault it was, as precisely as it is known.

use crate::codec::h1::{BodyError, RequestError, ResponseError};
use crate::upstream::limits::Overflow;

/// One reason for each way in which an exchange can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    // The downstream's.
    /// The request's head breaks a rule.
    RequestHead(RequestError),
    RequestBody(BodyError),
    /// The path leads out of the root, or has escapes that are not allowed.
    InvalidPath,
    /// The body is longer than the limit.
    RequestTooLarge,
    /// The head took too long.
    RequestHeaderTimeout,
    /// The request took too long.
    RequestTimeout,
    /// The connection broke, or ended within the request.
    DownstreamReset,

    // The upstream's.
    /// No endpoint may be picked.
    NoHealthyUpstream,
    /// A limit of the cluster is reached.
    Overflow(Overflow),
    ConnectFailed,
    ConnectTimeout,
    /// The connection ended or broke before the response began.
    UpstreamClosed,
    /// The connection ended or broke within the response.
    UpstreamTruncated,
    ResponseHead(ResponseError),
    ResponseBody(BodyError),
    TooManyInterim,
    /// No whole response within the route's timeout.
    RouteTimeout,
    /// No response head within the time of one try.
    PerTryTimeout,
    /// Nothing moved on a try for too long.
    PerTryIdleTimeout,

    // Nobody's in particular.
    /// Nothing moved in either direction.
    StreamIdle,
    /// The whole exchange took too long.
    MaxStreamDuration,
    /// The connection's time is over; only between exchanges.
    MaxConnectionDuration,
    /// No descriptor or memory is left on this host.
    LocalResources,
}

impl Fault {
    /// Whether the picked endpoint failed.
    pub fn is_upstreams(self) -> bool {
        matches!(
            self,
            Self::ConnectFailed
                | Self::ConnectTimeout
                | Self::UpstreamClosed
                | Self::UpstreamTruncated
                | Self::ResponseHead(_)
                | Self::ResponseBody(_)
                | Self::TooManyInterim
                | Self::RouteTimeout
                | Self::PerTryTimeout
                | Self::PerTryIdleTimeout
        )
    }
}
