//! A check that failed: how it counts, and in words what was expected and what was found.

use super::Failure;
use crate::base::span::Span;
use crate::cluster::call::CallError;
use crate::mux::Broken;
use crate::net::tls;
use crate::upstream::is_local_shortage;
use std::io;
use std::ops::Range;
use std::time::Duration;

/// Bytes of a payload that are shown.
const SHOWN_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    pub failure: Failure,
    /// For logs and `/clusters`: `status 500, expected 200-299`.
    pub reason: String,
}

impl Missed {
    fn network(reason: impl Into<String>) -> Self {
        Self { failure: Failure::Network, reason: reason.into() }
    }

    pub(super) fn status(status: u16, expected: &[Range<u16>], retriable: bool) -> Self {
        let range = |range: &Range<u16>| match range.len() {
            1 => range.start.to_string(),
            _ => format!("{}-{}", range.start, range.end - 1),
        };
        let expected = expected.iter().map(range).collect::<Vec<_>>().join(" or ");
        Self { failure: Failure::Active { retriable }, reason: format!("status {status}, expected {expected}") }
    }

    /// What a call of gRPC was answered instead of SERVING.
    pub(super) fn call(reason: impl Into<String>) -> Self {
        Self { failure: Failure::Active { retriable: false }, reason: reason.into() }
    }

    pub(crate) fn passive() -> Self {
        Self { failure: Failure::Passive, reason: "a response has x-envoy-immediate-health-check-fail".into() }
    }

    pub(super) fn closed() -> Self {
        Self::network("connection closed")
    }

    /// What the kernel said while the check did `what`.
    pub(super) fn io(what: &str, error: &io::Error) -> Self {
        let failure = if is_local_shortage(error) { Failure::Local } else { Failure::Network };
        Self { failure, reason: format!("{what}: {}", name_of(error)) }
    }

    pub(super) fn tls(failure: &tls::Failure) -> Self {
        Self::network(format!("TLS: {failure}"))
    }

    /// No whole answer. `tls`: why the connection ended, where TLS says it.
    pub(super) fn answer(error: &CallError, tls: Option<&tls::Failure>) -> Self {
        if let Some(failure) = tls {
            return Self::tls(failure);
        }
        let CallError::Broken { broken, begun } = error else { return Self::network("no response") };
        Self::network(match broken {
            Broken::Violation(violation) => format!("invalid response: {}", violation.details),
            Broken::Reset(_) => "the endpoint reset the check".into(),
            Broken::Refused => "the endpoint refused the check".into(),
            Broken::Truncated | Broken::Closed if *begun => "connection closed within the response".into(),
            Broken::Truncated | Broken::Closed => "connection closed, expected a response".into(),
        })
    }

    /// The connection ended, or too much came, before all of the `expected` bytes had.
    pub(super) fn payload(expected: &[Vec<u8>], received: &[u8]) -> Self {
        Self::network(payload(expected, received))
    }

    /// `expected` and `received`: the bytes of a TCP check.
    pub(super) fn timeout(after: Duration, expected: &[Vec<u8>], received: &[u8]) -> Self {
        let mut reason = format!("timeout after {}", Span(after));
        if !expected.is_empty() {
            reason = format!("{reason}: {}", payload(expected, received));
        }
        Self { failure: Failure::Timeout, reason }
    }
}

fn payload(expected: &[Vec<u8>], received: &[u8]) -> String {
    let expected = expected.iter().map(|bytes| shown(bytes)).collect::<Vec<_>>().join(" and then ");
    match received {
        [] => format!("received nothing, expected {expected}"),
        received => format!("received {}, expected {expected}", shown(received)),
    }
}

fn shown(bytes: &[u8]) -> String {
    match bytes.get(..SHOWN_MAX) {
        Some(begin) if bytes.len() > SHOWN_MAX => format!("\"{}...\" ({} bytes)", begin.escape_ascii(), bytes.len()),
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

/// The name that the kernel's manual pages give an error.
fn name_of(error: &io::Error) -> String {
    let name = match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "ECONNREFUSED",
        Some(libc::ECONNRESET) => "ECONNRESET",
        Some(libc::ECONNABORTED) => "ECONNABORTED",
        Some(libc::ETIMEDOUT) => "ETIMEDOUT",
        Some(libc::EHOSTUNREACH) => "EHOSTUNREACH",
        Some(libc::ENETUNREACH) => "ENETUNREACH",
        Some(libc::EADDRNOTAVAIL) => "EADDRNOTAVAIL",
        Some(libc::EAFNOSUPPORT) => "EAFNOSUPPORT",
        Some(libc::EPIPE) => "EPIPE",
        Some(libc::ENOENT) => "ENOENT",
        Some(libc::EACCES) => "EACCES",
        Some(libc::EPERM) => "EPERM",
        Some(libc::EMFILE) => "EMFILE",
        Some(libc::ENFILE) => "ENFILE",
        Some(libc::ENOBUFS) => "ENOBUFS",
        Some(libc::ENOMEM) => "ENOMEM",
        _ => return error.to_string(),
    };
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_say_what_was_expected() {
        let reason = |expected: &[Range<u16>]| Missed::status(500, expected, false).reason;
        let ranges = [200..201, 300..400];
        assert_eq!(reason(&ranges[..1]), "status 500, expected 200");
        assert_eq!(reason(&ranges[1..]), "status 500, expected 300-399");
        assert_eq!(reason(&ranges), "status 500, expected 200 or 300-399");
    }

    #[test]
    fn errors_of_the_kernel_have_their_names() {
        let missed = |code| Missed::io("connect", &io::Error::from_raw_os_error(code));
        assert_eq!(missed(libc::ECONNREFUSED).reason, "connect: ECONNREFUSED");
        assert_eq!(missed(libc::ECONNREFUSED).failure, Failure::Network);
        assert_eq!(
            (missed(libc::EMFILE).reason, missed(libc::EMFILE).failure),
            ("connect: EMFILE".into(), Failure::Local)
        );
        assert_eq!(missed(libc::EXDEV).reason, "connect: Invalid cross-device link (os error 18)");
    }

    #[test]
    fn payloads_are_shown_without_their_control_characters_and_not_at_any_length() {
        let expected = [b"+OK".to_vec(), b"\r\n".to_vec()];
        let second = Duration::from_secs(1);
        assert_eq!(
            Missed::payload(&expected, b"-ERR\n").reason,
            r#"received "-ERR\n", expected "+OK" and then "\r\n""#
        );
        let timeout = Missed::timeout(second, &expected[..1], b"");
        assert_eq!(timeout.reason, r#"timeout after 1s: received nothing, expected "+OK""#);
        assert_eq!(Missed::timeout(second / 4, &[], b"").reason, "timeout after 250ms");
        let long = Missed::payload(&expected[..1], &[b'x'; 1000]).reason;
        assert_eq!(long, format!("received \"{}...\" (1000 bytes), expected \"+OK\"", "x".repeat(64)));
    }
}
