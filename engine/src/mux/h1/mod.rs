//! HTTP/1 as a wire: one exchange after the other on a connection, each with the connection to itself.

mod asked;
mod body_writer;
mod encode;
mod served;

pub use asked::Asked;
pub use encode::connection;
pub use served::{Disposition, Served};

use super::LONG_BODY;
use crate::codec::h1::{BodyDecoder, BodyError, Decoded};
use crate::http::Trailers;
use crate::net::ByteStream;
use crate::ring::{BULK_SIZE, Buf, ReceiveClass};
use std::io;
use std::task::Poll;

/// Whether a body of which `received` bytes came is long, as far as is known.
fn is_long(decoder: &BodyDecoder, received: u64) -> bool {
    received >= LONG_BODY || decoder.remaining().is_some_and(|left| left >= LONG_BODY)
}

/// Bytes of data in one piece from which on a body comes fast.
const FAST: usize = 16 * 1024;
/// Bytes that must be left of the body, or of the chunk, for a bulk buffer: each slice of it counts as all of it.
const AHEAD: u64 = 64 * 1024;

/// What must be free of the sink's room before a piece of a fast body is asked for, which then may be as long as a bulk buffer. With
/// it the sink holds at most 96 KiB more than its limit, and nothing else has been received: no more than of other bodies.
pub(super) const WANTED: usize = BULK_SIZE / 4;

/// How the connection's bodies are received.
#[derive(Default)]
struct Intake {
    /// One piece at a time.
    streams: bool,
    /// The last piece was long.
    is_fast: bool,
    /// There is room for a bulk buffer, and the next pieces may fill one, as far as `wanted` has said.
    has_room: bool,
    /// What the stream was told last.
    class: ReceiveClass,
}

impl Intake {
    /// See `Source::wanted`.
    #[inline]
    fn wanted(&mut self, limit: usize, decoder: &BodyDecoder) -> usize {
        if !self.streams {
            return 0;
        }
        let is_long = || decoder.skippable().is_none_or(|left| left >= AHEAD);
        self.has_room = self.is_fast && BULK_SIZE <= limit && is_long();
        if self.has_room { WANTED } else { 0 }
    }

    /// `len` bytes of data came in one piece.
    #[inline]
    fn note(&mut self, len: usize) {
        self.is_fast = len >= FAST;
    }

    #[inline]
    fn poll_recv(&mut self, stream: &ByteStream) -> Poll<io::Result<Option<Buf>>> {
        if self.streams {
            let class = if self.has_room { ReceiveClass::Bulk } else { ReceiveClass::Long };
            self.receive_into(class, stream);
        }
        stream.poll_recv()
    }

    /// Whether a body is received one piece at a time from now on.
    #[inline]
    fn stream(&mut self, on: bool, stream: &ByteStream) {
        if self.streams != on {
            self.streams = on;
            stream.set_receive_once(on);
        }
        if !on {
            self.end(stream);
        }
    }

    /// The body has ended. What comes next is a head.
    #[inline]
    fn end(&mut self, stream: &ByteStream) {
        self.has_room = false;
        if self.class == ReceiveClass::Bulk {
            self.receive_into(ReceiveClass::Long, stream);
        }
    }

    fn receive_into(&mut self, class: ReceiveClass, stream: &ByteStream) {
        if self.class != class {
            self.class = class;
            stream.set_receive_class(class);
        }
    }
}

/// Chunks up to this length are joined with those that follow in the same buffer.
const SMALL_CHUNK: usize = 2048;

/// The next piece of the body in `buf`. Where it is a small chunk, the data of all chunks behind it are moved next to its own,
/// so that a buffer full of tiny chunks is one piece and costs no more than that on the rest of its way.
#[inline]
fn decode(decoder: &mut BodyDecoder, buf: &mut Buf) -> Result<Decoded, BodyError> {
    let decoded = decoder.decode(buf)?;
    let is_small = (1..=SMALL_CHUNK).contains(&decoded.data.len());
    if is_small && decoded.consumed < buf.len() { join_chunks(decoder, buf, decoded) } else { Ok(decoded) }
}

fn join_chunks(decoder: &mut BodyDecoder, buf: &mut Buf, mut joined: Decoded) -> Result<Decoded, BodyError> {
    let Some(bytes) = buf.unique_mut() else { return Ok(joined) };
    while joined.consumed < bytes.len() && !decoder.is_done() {
        let next = decoder.decode(&bytes[joined.consumed..])?;
        let data = joined.consumed + next.data.start..joined.consumed + next.data.end;
        bytes.copy_within(data, joined.data.end);
        joined.data.end += next.data.len();
        joined.consumed += next.consumed;
        joined.done = next.done;
    }
    Ok(joined)
}

/// Put the trailers that were kept, if any came, into the message.
fn take_trailers(decoder: &mut BodyDecoder, trailers: &mut Trailers) {
    let Some(lines) = decoder.take_trailers() else { return };
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            trailers.add(&line[..colon], line[colon + 1..].trim_ascii());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::h1::BodyKind;
    use crate::ring::{PoolSize, Reactor};

    #[test]
    fn small_chunks_in_one_buffer_are_one_piece() {
        let reactor = Reactor::simulated(1, PoolSize { count: 4, size: 16 * 1024 });
        let wire = format!("{}5\r\nhello\r\n3;x=y\r\nbye\r\n0\r\n\r\nnext", "1\r\na\r\n".repeat(1000));
        let expected = format!("{}hellobye", "a".repeat(1000));
        for shares_its_buffer in [false, true] {
            let mut decoder = BodyDecoder::new(BodyKind::Chunked);
            let mut buf = reactor.pool().copy_from(wire.as_bytes());
            let other = shares_its_buffer.then(|| buf.slice(0..1));
            let (mut data, mut pieces) = (Vec::new(), 0);
            while !decoder.is_done() {
                let decoded = decode(&mut decoder, &mut buf).expect("valid");
                data.extend_from_slice(&buf[decoded.data.clone()]);
                buf.advance(decoded.consumed);
                pieces += 1;
            }
            assert_eq!((String::from_utf8_lossy(&data), &*buf), (expected.as_str().into(), &b"next"[..]));
            assert_eq!(pieces, if shares_its_buffer { 1002 } else { 1 });
            drop(other);
        }
    }

    /// A rule broken behind small chunks breaks the message, whatever is in front of it.
    #[test]
    fn a_violation_behind_small_chunks_is_one() {
        let reactor = Reactor::simulated(1, PoolSize { count: 4, size: 16 * 1024 });
        let mut decoder = BodyDecoder::new(BodyKind::Chunked);
        let mut buf = reactor.pool().copy_from(b"1\r\na\r\n1\r\na\r\nno\r\n");
        assert_eq!(decode(&mut decoder, &mut buf), Err(BodyError::InvalidChunkSize));
    }
}
