//! When to parse a head again that did not come at once, so that a slow sender costs linear time and not quadratic.

use memchr::memchr_iter;

use super::{Limits, Parse, RequestError, ResponseError, parse_request, parse_response};
use crate::http::{Method, RequestHead, ResponseHead};

/// Remembers how much of an incomplete head has been looked at.
///
/// The first bytes are parsed at once, which is all there is to do for a head that comes whole. After that the parser
/// runs again only when an empty line has come, or when there is twice as much as last time: wrong bytes are still
/// refused early, and the work of all parses together stays within a constant of the head's length.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    /// Bytes that the last parse saw; 0 before the first.
    parsed: u32,
    /// Bytes already searched for an empty line.
    scanned: u32,
}

impl HeadScanner {
    /// [`parse_request`], when it is time. `bytes` begins at the head, as in the calls before, and may be longer.
    #[inline]
    pub fn request(&mut self, bytes: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Parse, RequestError> {
        if !self.is_time(bytes, limits) {
            return Ok(Parse::Partial);
        }
        let result = parse_request(bytes, limits, head);
        self.note(bytes, matches!(result, Ok(Parse::Partial)));
        result
    }

    /// [`parse_response`], when it is time. `bytes` begins at the head, as in the calls before, and may be longer.
    #[inline]
    pub fn response(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        method: Method,
        head: &mut ResponseHead,
    ) -> Result<Parse, ResponseError> {
        if !self.is_time(bytes, limits) {
            return Ok(Parse::Partial);
        }
        let result = parse_response(bytes, limits, method, head);
        self.note(bytes, matches!(result, Ok(Parse::Partial)));
        result
    }

    /// Starts over for the next head.
    #[inline]
    pub fn reset(&mut self) {
        *self = HeadScanner::default();
    }

    #[inline]
    fn note(&mut self, bytes: &[u8], partial: bool) {
        match partial {
            true => self.parsed = bytes.len() as u32,
            false => self.reset(),
        }
    }

    #[inline]
    fn is_time(&mut self, bytes: &[u8], limits: &Limits) -> bool {
        self.parsed == 0 || self.is_time_again(bytes, limits)
    }

    fn is_time_again(&mut self, bytes: &[u8], limits: &Limits) -> bool {
        if bytes.len() >= limits.head_bytes as usize || bytes.len() >= 2 * self.parsed as usize {
            return true;
        }
        // An empty line is LF CRLF, or LF LF from a sender that the parser will then refuse. It may have begun two
        // bytes before those that are new.
        let from = self.scanned.saturating_sub(2) as usize;
        self.scanned = bytes.len() as u32;
        memchr_iter(b'\n', &bytes[from..]).any(|at| matches!(bytes[from + at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
    }
}
