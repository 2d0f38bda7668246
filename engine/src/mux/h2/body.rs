//! A message's body and trailers as they are taken off their stream, on either side: how much has come, and whether that is
//! what the head announced (RFC 9113 section 8.1.1).

use super::link::{Incoming, Link};
use super::room;
use super::stream::Key;
use crate::codec::h2::WRONG_LENGTH;
use crate::codec::h2::frame::{FRAME_MAX, HEADER};
use crate::http::{Length, Trailers, Violation};
use crate::mux::{Broken, Limits, Piece};
use std::task::{Poll, ready};

/// Why the next piece is not there.
pub(super) enum Missing {
    Broken(Broken),
    /// The message breaks a rule.
    Malformed(Violation),
}

#[derive(Debug, Default)]
pub(super) struct Body {
    /// What the head announced.
    pub(super) length: Length,
    /// Bytes so far.
    bytes: u64,
    /// Bytes on the wire so far, the head's included.
    pub(super) received: u64,
    /// Its end was handed out.
    pub(super) is_done: bool,
}

impl Body {
    /// The next piece, or its end with the trailers; not to be called after the end.
    pub(super) fn poll_piece(
        &mut self,
        link: &Link,
        key: Key,
        limits: &Limits,
        trailers: &mut Trailers,
    ) -> Poll<Result<Piece, Missing>> {
        let incoming = match ready!(link.poll_piece(key)) {
            Ok(incoming) => incoming,
            Err(broken) => return Poll::Ready(Err(Missing::Broken(broken))),
        };
        Poll::Ready(match incoming {
            Incoming::Data(buf) => {
                self.received += (buf.len() + HEADER) as u64;
                self.bytes += buf.len() as u64;
                match self.length {
                    Length::Known(length) if self.bytes <= length => Ok(Piece::Data(buf)),
                    Length::Unknown => Ok(Piece::Data(buf)),
                    Length::Known(_) | Length::None => Err(Missing::Malformed(WRONG_LENGTH)),
                }
            }
            Incoming::End(_) if matches!(self.length, Length::Known(length) if length != self.bytes) => {
                Err(Missing::Malformed(WRONG_LENGTH))
            }
            Incoming::End(block) => {
                if let Some(block) = block {
                    self.received += u64::from(block.size) + HEADER as u64;
                    let read = block.read_trailers(limits, true, trailers);
                    room::give_block(block);
                    if let Err(violation) = read {
                        return Poll::Ready(Err(Missing::Malformed(violation)));
                    }
                }
                self.is_done = true;
                Ok(Piece::End)
            }
        })
    }
}

/// Bytes on the wire of a piece of a body that goes out.
pub(super) fn sent_as(len: usize) -> u64 {
    (len + len.div_ceil(FRAME_MAX) * HEADER) as u64
}
