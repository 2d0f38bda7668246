//! Bytes on their way in (a head that may come in pieces) and out (a batch of segments).

use super::ByteStream;
use crate::ring::{Buf, JOINED_MAX, Reactor, Segment};

/// The bytes of a head. As a rule they came in one buffer and are used where they are; a head in pieces is put
/// together in a vector.
#[derive(Debug, Default)]
pub enum HeadBytes {
    #[default]
    Empty,
    One(Buf),
    Joined(Vec<u8>),
}

impl HeadBytes {
    /// Capacity up to which a head's vector is kept for the next one.
    pub const KEPT: usize = 2048;

    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::One(buf) => buf,
            Self::Joined(bytes) => bytes,
        }
    }

    pub fn append(&mut self, buf: Buf, reactor: &Reactor) {
        match self {
            Self::Empty => *self = Self::One(buf),
            Self::Joined(bytes) if bytes.is_empty() => {
                self.release(reactor);
                *self = Self::One(buf);
            }
            Self::One(first) => {
                let mut joined = reactor.take_vec();
                joined.extend_from_slice(first);
                joined.extend_from_slice(&buf);
                *self = Self::Joined(joined);
            }
            Self::Joined(bytes) => bytes.extend_from_slice(&buf),
        }
    }

    /// What follows the first `len` bytes: the body's start or the next message.
    pub fn rest(&self, len: usize, reactor: &Reactor) -> Option<Buf> {
        match self {
            Self::One(buf) if buf.len() > len => Some(buf.slice(len..buf.len())),
            Self::Joined(bytes) if bytes.len() > len => Some(reactor.copy_from(&bytes[len..])),
            _ => None,
        }
    }

    /// Where receive buffers are scarce, copy the first `len` bytes out of theirs: an exchange may last, and its heads
    /// need not keep whole buffers from other connections meanwhile. What was sliced off before keeps its buffer.
    pub fn release_if_scarce(&mut self, len: usize, reactor: &Reactor) {
        if let Self::One(buf) = self
            && reactor.is_scarce(buf)
        {
            let mut copy = reactor.take_vec();
            copy.extend_from_slice(&buf[..len.min(buf.len())]);
            *self = Self::Joined(copy);
        }
    }

    /// Copy the first `len` bytes into memory of just that size: what comes next may be long in coming, and a receive buffer
    /// is much larger than most heads.
    pub fn settle(&mut self, len: usize) {
        if let Self::One(buf) = self {
            let len = len.min(buf.len());
            if len * 2 < buf.charge() {
                *self = Self::Joined(buf[..len].to_vec());
            }
        }
    }

    /// Take over a head in one piece. The memory of the one before is in `bytes` then, which is empty.
    pub fn replace(&mut self, bytes: &mut Vec<u8>) {
        match self {
            Self::Joined(own) => {
                std::mem::swap(own, bytes);
                bytes.clear();
            }
            Self::Empty | Self::One(_) => *self = Self::Joined(std::mem::take(bytes)),
        }
    }

    /// Forget the bytes. A vector stays here for the next head, if it is not large.
    pub fn clear(&mut self, reactor: &Reactor) {
        match self {
            Self::Joined(bytes) if bytes.capacity() <= Self::KEPT => bytes.clear(),
            _ => self.release(reactor),
        }
    }

    fn release(&mut self, reactor: &Reactor) {
        if let Self::Joined(bytes) = std::mem::take(self) {
            reactor.give_vec(bytes);
        }
    }
}

/// Body pieces up to this length are copied behind what goes out before them: that costs less than one more segment in
/// the system call.
const COPY_LIMIT: usize = 2048;

/// What may be written behind joined pieces before the next one asks for room: the framing between two of them.
const ROOM: usize = 32;

/// A batch on its way to a stream: heads and small pieces are written together, larger pieces join the stream's queue as
/// they are. Nothing of it may wait for another turn: `flush` follows in the same poll.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What is written and not yet queued.
    open: Vec<u8>,
    /// Pieces stand in the stream's queue, and their sending was not begun.
    queued: bool,
    /// Bytes handed to the stream and not yet taken into account.
    total: u64,
}

impl Outbox {
    /// Where heads and what stands between pieces of a body are written to.
    #[inline]
    pub fn bytes(&mut self, reactor: &Reactor) -> &mut Vec<u8> {
        if self.open.capacity() == 0 {
            self.open = reactor.take_vec();
        }
        &mut self.open
    }

    /// Append a piece of a body. Gives the memory that it takes.
    pub fn body(&mut self, buf: Buf, stream: &ByteStream, reactor: &Reactor) -> usize {
        let len = buf.len();
        if len <= COPY_LIMIT {
            self.copy(&buf, stream, reactor);
            return len;
        }
        let charge = buf.charge();
        self.queue_open(stream);
        self.total += len as u64;
        stream.queue(Segment::Buf(buf));
        self.queued = true;
        charge
    }

    /// Append a copy of these bytes.
    pub fn copy(&mut self, bytes: &[u8], stream: &ByteStream, reactor: &Reactor) {
        // Vectors of this size are used again, and a longer one would double once more.
        if self.open.len() + bytes.len() > JOINED_MAX - ROOM {
            self.queue_open(stream);
        }
        self.bytes(reactor).extend_from_slice(bytes);
    }

    /// Bytes handed over since the last call.
    pub fn take_total(&mut self) -> u64 {
        std::mem::take(&mut self.total)
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && !self.queued
    }

    /// Begin to send.
    pub fn flush(&mut self, stream: &ByteStream) {
        if !self.open.is_empty() {
            self.total += self.open.len() as u64;
            stream.send_one(Segment::Owned(std::mem::take(&mut self.open)));
        } else if self.queued {
            stream.start_send();
        }
        self.queued = false;
    }

    fn queue_open(&mut self, stream: &ByteStream) {
        if !self.open.is_empty() {
            self.total += self.open.len() as u64;
            stream.queue(Segment::Owned(std::mem::take(&mut self.open)));
            self.queued = true;
        }
    }
}
