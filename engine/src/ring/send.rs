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
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Buf(buf) => buf,
            Self::Owned(bytes) => bytes,
            Self::Static(bytes) => bytes,
        }
    }

    /// Memory this segment holds, in bytes: all of a buffer (see `Buf::charge`) or a vector, and its place in the queue.
    fn charge(&self) -> usize {
        let bytes = match self {
            Self::Buf(buf) => buf.charge(),
            Self::Owned(bytes) => bytes.capacity(),
            Self::Static(_) => 0,
        };
        bytes + size_of::<Self>()
    }
}

/// Bytes of small pieces that are joined in one vector at most; vectors of this size are kept for reuse.
pub(crate) const JOINED_MAX: usize = 16 * 1024;

/// Memory of unsent segments above which a queue is meant to last.
const BACKLOG: usize = 64 * 1024;

/// Segments in one system call at most.
const IOVECS: usize = 32;

pub(crate) struct SendQueue {
    segments: VecDeque<Segment>,
    /// Bytes of the front segment that are sent already.
    offset: usize,
    /// Unsent bytes.
    pub pending: usize,
    /// Memory held by unsent segments.
    pub charge: usize,
    /// Segments at the front whose bytes are in the kernel's hands.
    in_flight: usize,
    iovecs: [libc::iovec; IOVECS],
    message: libc::msghdr,
}

/// What to hand to the kernel next.
pub(super) enum Submission {
    One { address: *const u8, len: u32 },
    Many { message: *const libc::msghdr },
}

impl SendQueue {
    pub(crate) fn new() -> Box<Self> {
        const EMPTY: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Box::new(Self {
            segments: VecDeque::with_capacity(8),
            offset: 0,
            pending: 0,
            charge: 0,
            in_flight: 0,
            iovecs: [EMPTY; IOVECS],
            // SAFETY: msghdr is plain data for which all zeroes is a valid value (no name, no control data).
            message: unsafe { std::mem::zeroed() },
        })
    }

    /// Behind others, small pieces are joined, so that what a queue holds is hardly more than its bytes; where much waits
    /// already, pieces that fill less than half of their receive buffer are, too. Vectors that are done go to `spare`.
    pub(crate) fn push(&mut self, mut segment: Segment, spare: &mut Vec<Vec<u8>>) {
        let len = segment.bytes().len();
        if len == 0 {
            return;
        }
        self.pending += len;
        if !self.segments.is_empty() {
            match &mut segment {
                Segment::Owned(bytes) if self.join(bytes) => return store(spare, std::mem::take(bytes)),
                Segment::Owned(bytes) => shrink(bytes),
                Segment::Buf(buf) if self.charge > BACKLOG && buf.len() * 2 <= buf.charge() => {
                    if self.join(buf) {
                        return;
                    }
                    let mut copy = spare.pop().unwrap_or_default();
                    copy.extend_from_slice(buf);
                    segment = Segment::Owned(copy);
                }
                Segment::Buf(_) | Segment::Static(_) => {}
            }
        }
        self.charge += segment.charge();
        self.segments.push_back(segment);
    }

    /// Put `bytes` behind those of the last segment, if that may be changed and has room.
    fn join(&mut self, bytes: &[u8]) -> bool {
        if self.segments.len() > self.in_flight
            && let Some(Segment::Owned(last)) = self.segments.back_mut()
            && last.len() + bytes.len() <= JOINED_MAX
        {
            let before = last.capacity();
            last.extend_from_slice(bytes);
            self.charge += last.capacity() - before;
            return true;
        }
        false
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight > 0
    }

    /// The kernel gave the bytes back and took none of them.
    pub(super) fn give_up(&mut self) {
        self.in_flight = 0;
    }

    /// The bytes that are to be sent next, where a copy takes them.
    pub(crate) fn front(&self) -> &[u8] {
        self.segments.front().map_or(&[], |segment| &segment.bytes()[self.offset..])
    }

    /// Describe the front of the queue. The pointers stay valid until `sent` or `clear`: `push` may move the segments
    /// themselves but not the bytes that they own, and this queue is boxed.
    pub(super) fn submission(&mut self) -> Submission {
        debug_assert!(self.in_flight == 0 && !self.segments.is_empty());
        self.in_flight = self.segments.len().min(IOVECS);
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
    pub(crate) fn sent(&mut self, mut n: usize, spare: &mut Vec<Vec<u8>>) {
        self.in_flight = 0;
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
    pub(crate) fn clear(&mut self, spare: &mut Vec<Vec<u8>>) {
        debug_assert!(self.in_flight == 0);
        for segment in self.segments.drain(..) {
            if let Segment::Owned(vec) = segment {
                store(spare, vec);
            }
        }
        (self.offset, self.pending, self.charge) = (0, 0, 0);
    }
}

/// Vectors kept for reuse, and the capacities between which they are.
const SPARE_VECTORS: usize = 256;
pub(super) const FRESH_CAPACITY: usize = 1024;

/// A vector that is nearly empty gives its room back: it may wait for long.
fn shrink(bytes: &mut Vec<u8>) {
    if bytes.capacity() > FRESH_CAPACITY && bytes.len() < bytes.capacity() / 8 {
        *bytes = bytes.as_slice().to_vec();
    }
}

/// Keep a vector for reuse.
pub(super) fn store(spare: &mut Vec<Vec<u8>>, mut vec: Vec<u8>) {
    if spare.len() < SPARE_VECTORS && (FRESH_CAPACITY..=JOINED_MAX).contains(&vec.capacity()) {
        vec.clear();
        spare.push(vec);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{BufPool, PoolSize};

    #[test]
    fn short_sends_resume_where_they_stopped() {
        let mut queue = SendQueue::new();
        let mut spare = Vec::new();
        queue.push(owned(b"hello "), &mut spare);
        queue.push(Segment::Static(b""), &mut spare);
        queue.push(Segment::Static(b"world"), &mut spare);
        assert_eq!(queue.pending, 11);
        assert!(matches!(queue.submission(), Submission::Many { .. }));
        queue.sent(8, &mut spare);
        assert_eq!((queue.pending, queue.charge, spare.len()), (3, size_of::<Segment>(), 1));
        let Submission::One { address, len } = queue.submission() else { panic!("one segment is left") };
        // SAFETY: the pointer is to the queue's own bytes, which live until `sent`.
        assert_eq!(unsafe { std::slice::from_raw_parts(address, len as usize) }, b"rld");
        queue.sent(3, &mut spare);
        assert!(queue.is_empty());
    }

    /// A vector as the reactor gives it.
    fn owned(bytes: &[u8]) -> Segment {
        let mut vec = Vec::with_capacity(FRESH_CAPACITY);
        vec.extend_from_slice(bytes);
        Segment::Owned(vec)
    }

    /// What the queue holds, counted by hand.
    fn held(queue: &SendQueue) -> usize {
        queue.segments.iter().map(Segment::charge).sum()
    }

    #[test]
    fn small_pieces_behind_others_are_joined_and_nothing_in_flight_is_touched() {
        let mut queue = SendQueue::new();
        let mut spare = Vec::new();
        queue.push(owned(b"first"), &mut spare);
        let Submission::One { address, .. } = queue.submission() else { panic!("one segment is there") };
        for i in 0..100_000_u32 {
            queue.push(owned(&i.to_be_bytes()[3..]), &mut spare);
        }
        assert_eq!((queue.segments[0].bytes(), queue.segments[0].bytes().as_ptr()), (&b"first"[..], address));
        assert_eq!(queue.segments.len(), 1 + 100_000_usize.div_ceil(JOINED_MAX));
        assert_eq!(queue.charge, held(&queue));
        assert!(queue.charge < 100_000 + 2 * JOINED_MAX, "{} bytes are held for 100,005", queue.charge);
        assert_eq!(spare.len(), SPARE_VECTORS, "their vectors are used again");
        queue.sent(5, &mut spare);
        for i in 0..100_000_u32 {
            assert_eq!(queue.front()[0], i as u8);
            queue.sent(1, &mut spare);
        }
        assert_eq!((queue.pending, queue.charge, queue.is_empty()), (0, 0, true));
    }

    #[test]
    fn a_few_bytes_between_pieces_do_not_hold_a_large_vector() {
        let mut queue = SendQueue::new();
        let mut spare = Vec::new();
        for _ in 0..10 {
            let mut vec = Vec::with_capacity(JOINED_MAX);
            vec.extend_from_slice(b"\r\n1000\r\n");
            queue.push(Segment::Owned(vec), &mut spare);
            queue.push(Segment::Static(&[0; 4096]), &mut spare);
        }
        assert_eq!(queue.charge, held(&queue));
        assert!(queue.charge < JOINED_MAX + 2048, "{}", queue.charge);
    }

    #[test]
    fn receive_buffers_that_are_half_empty_are_given_back_where_much_waits() {
        let pool = BufPool::new(PoolSize { count: 256, size: 16 * 1024 }).expect("memory");
        for (len, most) in [(2049, BACKLOG), (8192, BACKLOG), (9000, usize::MAX)] {
            let mut queue = SendQueue::new();
            let mut spare = Vec::new();
            for i in 0..100_u8 {
                queue.push(Segment::Buf(pool.copy_from(&vec![i; len])), &mut spare);
            }
            assert_eq!((queue.pending, queue.charge), (100 * len, held(&queue)));
            assert!(pool.in_use() * 16 * 1024 <= most.saturating_add(16 * 1024), "{len}: {} buffers", pool.in_use());
            for i in 0..100_u8 {
                for _ in 0..len {
                    assert_eq!(queue.front()[0], i);
                    queue.sent(1, &mut spare);
                }
            }
            assert_eq!((queue.charge, pool.in_use()), (0, 0));
        }
    }

    #[test]
    fn more_segments_than_one_call_takes() {
        let mut queue = SendQueue::new();
        let mut spare = Vec::new();
        (0..40).for_each(|_| queue.push(Segment::Static(b"ab"), &mut spare));
        queue.submission();
        queue.sent(64, &mut spare);
        assert_eq!(queue.pending, 16);
        queue.submission();
        queue.sent(16, &mut spare);
        assert!(queue.is_empty());
    }
}
