//! Where a message's body bytes are, and where the message ends (RFC 9112 sections 6.3 and 7.1).

use std::ops::Range;

use super::chunk::Chunked;
use super::{BodyError, BodyKind, Limits};

/// Finds body bytes in what arrives. It copies nothing: the data are a range of the input.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
}

#[derive(Debug)]
enum State {
    Done,
    /// Bytes still to come, at least one.
    Length(u64),
    UntilClose,
    Chunked(Chunked),
    Failed(BodyError),
}

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are dealt with; what follows belongs to the next call or, when `done`, to the next
    /// message.
    pub consumed: usize,
    /// The body bytes among them, possibly none.
    pub data: Range<usize>,
    /// The message has ended.
    pub done: bool,
}

impl BodyDecoder {
    /// With the default limits; trailers are checked and dropped.
    #[inline]
    pub fn new(kind: BodyKind) -> BodyDecoder {
        BodyDecoder::with_limits(kind, &Limits::default(), false)
    }

    /// With `keep_trailers`, those trailers that may be forwarded are collected for [`BodyDecoder::take_trailers`].
    #[inline]
    pub fn with_limits(kind: BodyKind, limits: &Limits, keep_trailers: bool) -> BodyDecoder {
        let state = match kind {
            BodyKind::None | BodyKind::Length(0) => State::Done,
            BodyKind::Length(length) => State::Length(length),
            BodyKind::Chunked => State::Chunked(Chunked::new(limits, keep_trailers)),
            BodyKind::UntilClose => State::UntilClose,
        };
        BodyDecoder { state }
    }

    /// Takes as much of `input` as gives one contiguous range of body bytes, with the framing around it. Call again
    /// with the rest while `consumed < input.len()` and not `done`. The input may be split at any byte.
    ///
    /// # Errors
    /// The rule that the framing breaks, again on every later call. Body bytes that came before in the same input are
    /// not reported then: the message is void.
    #[inline]
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        match &mut self.state {
            State::Done => Ok(Decoded { done: true, ..Decoded::default() }),
            State::Length(remaining) => {
                let taken = usize::try_from(*remaining).unwrap_or(usize::MAX).min(input.len());
                *remaining -= taken as u64;
                let done = *remaining == 0;
                if done {
                    self.state = State::Done;
                }
                Ok(Decoded { consumed: taken, data: 0..taken, done })
            }
            State::UntilClose => Ok(Decoded { consumed: input.len(), data: 0..input.len(), done: false }),
            State::Chunked(chunked) => {
                let decoded = chunked.decode(input);
                if let Err(error) = decoded {
                    self.state = State::Failed(error);
                }
                decoded
            }
            State::Failed(error) => Err(*error),
        }
    }

    /// Body bytes still to come when the length is known from the head: 0 once it is done. `None` for chunked and
    /// close-delimited bodies.
    #[inline]
    pub fn remaining(&self) -> Option<u64> {
        match &self.state {
            State::Done => Some(0),
            State::Length(remaining) => Some(*remaining),
            State::UntilClose | State::Chunked(_) | State::Failed(_) => None,
        }
    }

    /// Body bytes that may be moved without being looked at, and then told to [`BodyDecoder::skip`]: what remains of
    /// the body, or of the current chunk. `None`: any number, until the connection ends.
    #[inline]
    pub fn skippable(&self) -> Option<u64> {
        match &self.state {
            State::Done | State::Failed(_) => Some(0),
            State::Length(remaining) => Some(*remaining),
            State::UntilClose => None,
            State::Chunked(chunked) => Some(chunked.data_remaining()),
        }
    }

    /// `count` body bytes went past this decoder, from the socket straight to the other side; at most
    /// [`BodyDecoder::skippable`].
    pub fn skip(&mut self, count: u64) {
        debug_assert!(self.skippable().is_none_or(|limit| count <= limit));
        match &mut self.state {
            State::Length(remaining) => {
                *remaining = remaining.saturating_sub(count);
                if *remaining == 0 {
                    self.state = State::Done;
                }
            }
            State::Chunked(chunked) => chunked.skip(count),
            State::Done | State::UntilClose | State::Failed(_) => {}
        }
    }

    /// The message has ended. The trailers, if any were kept, are still there.
    #[inline]
    pub fn is_done(&self) -> bool {
        match &self.state {
            State::Done => true,
            State::Chunked(chunked) => chunked.is_done(),
            State::Length(_) | State::UntilClose | State::Failed(_) => false,
        }
    }

    /// The sender closed its side of the connection.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] when the message is not complete: only a close-delimited body ends this way (RFC 9112
    /// section 8).
    pub fn on_eof(&mut self) -> Result<(), BodyError> {
        match &self.state {
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Failed(error) => Err(*error),
            _ if self.is_done() => Ok(()),
            _ => {
                self.state = State::Failed(BodyError::Truncated);
                Err(BodyError::Truncated)
            }
        }
    }

    /// The trailers that may be forwarded, as `name: value CRLF` lines: at most once, after the end, when asked for and
    /// there are any.
    pub fn take_trailers(&mut self) -> Option<Vec<u8>> {
        match &mut self.state {
            State::Chunked(chunked) if chunked.is_done() => chunked.take_trailers(),
            _ => None,
        }
    }
}
