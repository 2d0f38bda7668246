//! Response flags: what is said of an exchange besides its status code (Envoy: %RESPONSE_FLAGS%).

use ringway_config::model::RESPONSE_FLAGS;
use std::ops::{BitOr, BitOrAssign};

/// A set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags(u32);

impl ResponseFlags {
    /// No endpoint of the cluster is healthy.
    pub const NO_HEALTHY_UPSTREAM: Self = Self(1 << 1);
    /// No response within the route's timeout.
    pub const UPSTREAM_REQUEST_TIMEOUT: Self = Self(1 << 2);
    /// This side reset the exchange.
    pub const LOCAL_RESET: Self = Self(1 << 3);
    /// The upstream reset the exchange.
    pub const UPSTREAM_REMOTE_RESET: Self = Self(1 << 4);
    /// The connection to the upstream could not be made.
    pub const UPSTREAM_CONNECTION_FAILURE: Self = Self(1 << 5);
    /// The upstream closed the connection during the exchange.
    pub const UPSTREAM_CONNECTION_TERMINATION: Self = Self(1 << 6);
    /// A limit of the cluster was reached.
    pub const UPSTREAM_OVERFLOW: Self = Self(1 << 7);
    /// No route matched.
    pub const NO_ROUTE_FOUND: Self = Self(1 << 8);
    /// The downstream closed the connection during the exchange.
    pub const DOWNSTREAM_CONNECTION_TERMINATION: Self = Self(1 << 9);
    /// Every retry that was allowed failed.
    pub const UPSTREAM_RETRY_LIMIT_EXCEEDED: Self = Self(1 << 10);
    /// Nothing moved for too long.
    pub const STREAM_IDLE_TIMEOUT: Self = Self(1 << 11);
    /// A header field that is meant for the proxy has an invalid value.
    pub const INVALID_REQUEST_HEADERS: Self = Self(1 << 12);
    /// The downstream broke the protocol.
    pub const DOWNSTREAM_PROTOCOL_ERROR: Self = Self(1 << 13);
    /// The exchange or the connection reached its maximum duration.
    pub const DURATION_TIMEOUT: Self = Self(1 << 14);
    /// The upstream broke the protocol.
    pub const UPSTREAM_PROTOCOL_ERROR: Self = Self(1 << 15);
    /// The route's cluster does not exist.
    pub const NO_CLUSTER_FOUND: Self = Self(1 << 16);
    /// Refused to protect the process from overload.
    pub const OVERLOAD_MANAGER: Self = Self(1 << 17);
    /// The downstream reset the exchange.
    pub const DOWNSTREAM_REMOTE_RESET: Self = Self(1 << 18);
    /// The fault filter delayed the request.
    pub const DELAY_INJECTED: Self = Self(1 << 19);
    /// The fault filter aborted the request.
    pub const FAULT_INJECTED: Self = Self(1 << 20);
    /// The rate limit filter refused the request.
    pub const RATE_LIMITED: Self = Self(1 << 21);
    /// The exchange reached its maximum duration.
    pub const UPSTREAM_MAX_STREAM_DURATION_REACHED: Self = Self(1 << 22);

    /// In the order in which they are written; their names are those of [`RESPONSE_FLAGS`].
    const ORDER: [Self; RESPONSE_FLAGS.len()] = [
        Self::NO_HEALTHY_UPSTREAM,
        Self::UPSTREAM_REQUEST_TIMEOUT,
        Self::LOCAL_RESET,
        Self::UPSTREAM_REMOTE_RESET,
        Self::UPSTREAM_CONNECTION_FAILURE,
        Self::UPSTREAM_CONNECTION_TERMINATION,
        Self::UPSTREAM_OVERFLOW,
        Self::NO_ROUTE_FOUND,
        Self::DELAY_INJECTED,
        Self::FAULT_INJECTED,
        Self::RATE_LIMITED,
        Self::DOWNSTREAM_CONNECTION_TERMINATION,
        Self::UPSTREAM_RETRY_LIMIT_EXCEEDED,
        Self::STREAM_IDLE_TIMEOUT,
        Self::INVALID_REQUEST_HEADERS,
        Self::DOWNSTREAM_PROTOCOL_ERROR,
        Self::UPSTREAM_MAX_STREAM_DURATION_REACHED,
        Self::DURATION_TIMEOUT,
        Self::UPSTREAM_PROTOCOL_ERROR,
        Self::NO_CLUSTER_FOUND,
        Self::OVERLOAD_MANAGER,
        Self::DOWNSTREAM_REMOTE_RESET,
    ];

    pub const fn empty() -> Self {
        Self(0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    pub fn insert(&mut self, flags: Self) {
        self.0 |= flags.0;
    }

    /// Whether one of `flags` is set.
    pub const fn intersects(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// The short and long names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let flags = Self::ORDER.into_iter().zip(RESPONSE_FLAGS.iter().copied());
        flags.filter(move |(flag, _)| self.contains(*flag)).map(|(_, (short, long, _))| (short, long))
    }

    /// Appends the short or the long names, with commas between them; `-` where no flag is set.
    pub fn push(self, long: bool, out: &mut Vec<u8>) {
        if self.is_empty() {
            return out.push(b'-');
        }
        for (position, (short_name, long_name)) in self.names().enumerate() {
            if position != 0 {
                out.push(b',');
            }
            out.extend_from_slice(if long { long_name } else { short_name }.as_bytes());
        }
    }

    /// The flag with this short name.
    pub fn named(name: &str) -> Option<Self> {
        let position = RESPONSE_FLAGS.iter().position(|(short, ..)| *short == name)?;
        Some(Self::ORDER[position])
    }
}

impl BitOr for ResponseFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ResponseFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.insert(other);
    }
}
