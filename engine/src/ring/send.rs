//! What a socket still has to send: a queue of segments of which the front is in the kernel's hands.

use super::buffer::Buf;
use std::collections::VecDeque;

/// Bytes to send. The queue owns them until the kernel is done with them.
#[derive(Debug)]
pub enum Segment {
    /// Received bytes that go on as they are.
    Buf(Buf),
    /// Bytes made here: heads, chunk sizes. The vector returns to the reactor's store afterwards.
    Owned(Vec<u8>),
    Static(&'static [u8]),
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Buf(buf) => buf,
            Self::Owned(bytes) => bytes,
            Self::Static(bytes) => bytes,
        }
    }

    /// Memory this segment holds, in bytes (see `Buf::charge`).
    fn charge(&self) -> usize {
        match self {
            Self::Buf(buf) => buf.charge(),
            Self::Owned(bytes) => bytes.len(),
            Self::Static(_) => 0,
        }
    }
}

/// Segments in one system call at most.
const IOVECS: usize = 32;

pub(super) struct SendQueue {
    segments: VecDeque<Segment>,
    /// Bytes of the front segment that are sent already.
    offset: usize,
    /// Unsent bytes.
    pub pending: usize,
    /// Memory held by unsent segments.
    pub charge: usize,
    pub in_flight: bool,
    iovecs: [libc::iovec; IOVECS],
    message: libc::msghdr,
}

/// What to hand to the kernel next.
pub(super) enum Submission {
    One { address: *const u8, len: u32 },
    Many { message: *const libc::msghdr },
}

impl SendQueue {
    pub(super) fn new() -> Box<Self> {
        const EMPTY: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Box::new(Self {
            segments: VecDeque::with_capacity(8),
            offset: 0,
            pending: 0,
            charge: 0,
            in_flight: false,
            iovecs: [EMPTY; IOVECS],
            // SAFETY: msghdr is plain data for which all zeroes is a valid value (no name, no control data).
            message: unsafe { std::mem::zeroed() },
        })
    }

    pub(super) fn push(&mut self, segment: Segment) {
        let len = segment.bytes().len();
        if len > 0 {
            self.pending += len;
            self.charge += segment.charge();
            self.segments.push_back(segment);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Describe the front of the queue. The pointers stay valid until `sent` or `clear`: `push` may move the segments
    /// themselves but not the bytes that they own, and this queue is boxed.
    pub(super) fn submission(&mut self) -> Submission {
        debug_assert!(!self.in_flight && !self.segments.is_empty());
        self.in_flight = true;
        if self.segments.len() == 1 {
            let bytes = &self.segments[0].bytes()[self.offset..];
            return Submission::One { address: bytes.as_ptr(), len: u32::try_from(bytes.len()).unwrap_or(u32::MAX) };
        }
        let mut count = 0;
        for (i, segment) in self.segments.iter().take(IOVECS).enumerate() {
            let bytes = if i == 0 { &segment.bytes()[self.offset..] } else { segment.bytes() };
            self.iovecs[i] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            count += 1;
        }
        self.message.msg_iov = self.iovecs.as_mut_ptr();
        self.message.msg_iovlen = count as _;
        Submission::Many { message: &raw const self.message }
    }

    /// The kernel took `n` bytes. Vectors that are done go to `spare`.
    pub(super) fn sent(&mut self, mut n: usize, spare: &mut Vec<Vec<u8>>) {
        self.in_flight = false;
        debug_assert!(n <= self.pending);
        self.pending -= n;
        while let Some(front) = self.segments.front() {
            let left = front.bytes().len() - self.offset;
            if n < left {
                self.offset += n;
                return;
            }
            n -= left;
            self.offset = 0;
            self.charge -= front.charge();
            if let Some(Segment::Owned(vec)) = self.segments.pop_front() {
                store(spare, vec);
            }
        }
    }

    /// Forget everything. Not while a send is in flight.
    pub(super) fn clear(&mut self, spare: &mut Vec<Vec<u8>>) {
        debug_assert!(!self.in_flight);
        for segment in self.segments.drain(..) {
            if let Segment::Owned(vec) = segment {
                store(spare, vec);
            }
        }
        (self.offset, self.pending, self.charge) = (0, 0, 0);
    }
}

/// Vectors kept for reuse, and the capacity past which one is not kept.
const SPARE_VECTORS: usize = 256;
const SPARE_CAPACITY: usize = 16 * 1024;

/// Keep a vector for reuse.
pub(super) fn store(spare: &mut Vec<Vec<u8>>, mut vec: Vec<u8>) {
    if spare.len() < SPARE_VECTORS && vec.capacity() <= SPARE_CAPACITY {
        vec.clear();
        spare.push(vec);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_sends_resume_where_they_stopped() {
        let mut queue = SendQueue::new();
        let mut spare = Vec::new();
        queue.push(Segment::Owned(b"hello ".to_vec()));
        queue.push(Segment::Static(b""));
        queue.push(Segment::Static(b"world"));
        assert_eq!(queue.pending, 11);
        assert!(matches!(queue.submission(), Submission::Many { .. }));
        queue.sent(8, &mut spare);
        assert_eq!((queue.pending, queue.charge, spare.len()), (3, 0, 1));
        let Submission::One { address, len } = queue.submission() else { panic!("one segment is left") };
        // SAFETY: the pointer is to the queue's own bytes, which live until `sent`.
        assert_eq!(unsafe { std::slice::from_raw_parts(address, len as usize) }, b"rld");
        queue.sent(3, &mut spare);
        assert!(queue.is_empty());
    }

    #[test]
    fn more_segments_than_one_call_takes() {
        let mut queue = SendQueue::new();
        let mut spare = Vec::new();
        (0..40).for_each(|_| queue.push(Segment::Static(b"ab")));
        queue.submission();
        queue.sent(64, &mut spare);
        assert_eq!(queue.pending, 16);
        queue.submission();
        queue.sent(16, &mut spare);
        assert!(queue.is_empty());
    }
}
