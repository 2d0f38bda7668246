//! "A recipient that receives a message with a major version number that it implements and a minor version number higher
//! than what it implements SHOULD process the message as if it was in the highest minor version within that major
//! version" (RFC 9110 section 2.5).

use super::Limits;

/// Where the digit of `HTTP/1.2` to `HTTP/1.9` stands, if that begins at `version` and one of `ends` follows it, as far as
/// the line has come.
#[cold]
pub(super) fn later_minor(bytes: &[u8], version: usize, ends: &[u8]) -> Option<usize> {
    let digit = version + "HTTP/1.".len();
    let is_end = bytes.get(digit + 1).is_none_or(|end| ends.contains(end));
    let is_later = bytes.get(version..digit) == Some(b"HTTP/1.") && matches!(bytes.get(digit), Some(b'2'..=b'9'));
    (is_later && is_end).then_some(digit)
}

/// The head as one of HTTP/1.1. `digit`: where the minor version stands.
#[cold]
pub(super) fn as_http11(bytes: &[u8], digit: usize, limits: &Limits) -> Vec<u8> {
    // One byte beyond the limit is enough to be refused for it.
    let mut bytes = bytes[..bytes.len().min(limits.head_bytes as usize + 1)].to_vec();
    if let Some(digit) = bytes.get_mut(digit) {
        *digit = b'1';
    }
    bytes
}
