//! A rule of the protocol that a message breaks, as a client and the access log are told of it.

/// Why a message was refused. Each codec's errors convert into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What a client is answered with, if its message broke the rule.
    pub status: u16,
    /// Response code details for the access log, in Envoy's style.
    pub details: &'static str,
}
