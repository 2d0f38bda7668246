//! How much of a body is waited for before it is moved on. From a source that is about as fast as this side, each look would
//! find one segment, which costs a wake-up, two system calls and a segment of its own to the target.

use super::deadline::Timer;
use super::socket::Socket;
use std::os::fd::RawFd;
use std::time::Duration;

/// Waits for the next bytes of one source, whose receive is stopped.
pub struct Batch {
    /// What the socket has as SO_RCVLOWAT: it is readable with this many bytes, and at its end.
    mark: u64,
    /// At most this many bytes are waited for.
    most: u64,
    /// No more than this can be taken at a time: a pipe has room for a number of fragments.
    limit: u64,
    /// The source had no more than was taken.
    drained: bool,
    /// As many bytes as the mark says are there.
    is_ripe: bool,
    /// Runs while bytes are held back.
    patience: Option<Timer>,
    held_back: bool,
}

/// With twice as much, an exchange of 1 MiB costs the same.
const MOST: u64 = 256 * 1024;
/// Where even this much takes longer than the patience, each segment goes on as it comes.
const LEAST: u64 = 16 * 1024;
/// How long bytes are held back; timers may be a millisecond late.
const PATIENCE: Duration = Duration::from_millis(1);
/// The mark of a socket on which nothing is waited for.
const ANY: u64 = 1;

impl Batch {
    pub fn new() -> Self {
        Self { mark: ANY, most: MOST, limit: MOST, drained: false, is_ripe: false, patience: None, held_back: false }
    }

    /// Whether to wait, of a source from which `rest` bytes are still wanted; the current task is woken when there is enough,
    /// or the patience has ended.
    pub fn waits(&mut self, from: &Socket, rest: u64) -> bool {
        self.waits_for(PATIENCE, from, rest)
    }

    fn waits_for(&mut self, patience: Duration, from: &Socket, rest: u64) -> bool {
        if !self.drained {
            return false;
        }
        self.set_mark(from, rest);
        let is_ready = from.poll_readable().is_ready();
        if !is_ready && self.mark == ANY {
            return true;
        }
        if is_ready || self.patience.as_ref().is_some_and(|timer| self.held_back && timer.fired()) {
            (self.drained, self.is_ripe) = (false, is_ready);
            return false;
        }
        if !self.held_back {
            self.held_back = true;
            self.patience.get_or_insert_with(|| Timer::new(from.reactor())).arm_in(patience);
        }
        true
    }

    /// `count` of the bytes that were `wanted` were taken.
    pub fn took(&mut self, count: u64, wanted: u64) {
        let is_late = match &self.patience {
            Some(timer) if std::mem::take(&mut self.held_back) => {
                let fired = timer.fired();
                timer.disarm();
                fired
            }
            _ => false,
        };
        if std::mem::take(&mut self.is_ripe) && (1..self.mark).contains(&count) {
            self.limit = count;
        }
        let most = if is_late { count / 2 } else { self.most.max(2 * count) };
        self.most = most.min(self.limit);
        // Without a mark there is a poll for each segment, and trying costs less.
        self.drained = count == 0 || (count < wanted.min(self.limit) && self.most >= LEAST);
    }

    /// The socket has no mark any more; a poll may be under way on it. To be called at the end.
    pub fn stop(&mut self, from: &Socket) {
        if self.mark != ANY {
            set_receive_mark(from.raw_fd(), ANY);
        }
        *self = Self::new();
    }

    fn set_mark(&mut self, from: &Socket, rest: u64) {
        if self.held_back && self.mark != ANY {
            return;
        }
        let mark = match self.most {
            most if most < LEAST => ANY,
            // The sender must not run out of its window meanwhile, nor the kernel enlarge the buffer.
            most => most.min(rest).min(receive_buffer(from.raw_fd()) / 4).max(ANY),
        };
        if mark != self.mark {
            self.mark = mark;
            set_receive_mark(from.raw_fd(), mark);
        }
    }
}

/// A socket counts as readable with `bytes` (SO_RCVLOWAT), at its end, and when its buffer is full.
fn set_receive_mark(fd: RawFd, bytes: u64) {
    let bytes = bytes as libc::c_int;
    // SAFETY: the kernel reads one int, which outlives the call.
    // Without it, a socket is readable with each byte.
    unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, (&raw const bytes).cast(), 4) };
}

/// What the kernel may hold for this side at the moment, in bytes.
fn receive_buffer(fd: RawFd) -> u64 {
    option(fd, libc::SO_RCVBUF)
}

fn option(fd: RawFd, name: libc::c_int) -> u64 {
    let (mut value, mut size): (libc::c_int, libc::socklen_t) = (0, 4);
    // SAFETY: the kernel writes one int, for which there is room.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut size) };
    value.max(0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{Reactor, ReactorOptions};
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::rc::Rc;
    use std::task::Poll;

    const WANTED: u64 = 1 << 20;

    fn receive_mark(fd: RawFd) -> u64 {
        option(fd, libc::SO_RCVLOWAT)
    }

    const LONG: Duration = Duration::from_secs(3600);

    struct Taking {
        batch: Batch,
        from: Socket,
        /// The same socket.
        bytes: TcpStream,
    }

    impl Taking {
        fn waits(&mut self, patience: Duration, rest: u64) -> bool {
            self.batch.waits_for(patience, &self.from, rest)
        }

        fn new(reactor: &Rc<Reactor>) -> (Self, TcpStream) {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
            let (bytes, _) = listener.accept().expect("it came");
            // A read that waits would wait for as much, too.
            bytes.set_nonblocking(true).expect("a socket");
            let from = Socket::new(reactor, bytes.try_clone().expect("a descriptor").into());
            (Self { batch: Batch::new(), from, bytes }, peer)
        }

        async fn take(&mut self, patience: Duration, rest: u64) -> u64 {
            self.take_at_most(WANTED, patience, rest).await
        }

        /// Waits until it is time to take something, and takes it.
        async fn take_at_most(&mut self, most: u64, patience: Duration, rest: u64) -> u64 {
            poll_fn(|_| if self.waits(patience, rest) { Poll::Pending } else { Poll::Ready(()) }).await;
            let count = self.bytes.read(&mut vec![0; most as usize]).expect("bytes") as u64;
            self.batch.took(count, WANTED);
            count
        }

        fn mark(&self) -> u64 {
            receive_mark(self.from.raw_fd())
        }
    }

    #[test]
    fn as_much_is_waited_for_as_comes_within_the_patience() {
        let reactor = Reactor::new(&ReactorOptions::default()).expect("a ring");
        let (mut taking, mut peer) = Taking::new(&reactor);
        reactor.block_on(async move {
            peer.write_all(&[0; 100]).expect("sent");
            // What is there goes on at once.
            assert!(!taking.waits(LONG, WANTED));
            assert_eq!((taking.take(LONG, WANTED).await, taking.mark()), (100, ANY));
            // As much as the kernel has room for anyway.
            assert!(taking.waits(LONG, WANTED));
            let highest = MOST.min(receive_buffer(taking.from.raw_fd()) / 4);
            assert!(highest >= LEAST, "{highest}");
            assert_eq!(taking.mark(), highest);
            // It is there, in several parts.
            for part in 1..=4 {
                assert!(taking.waits(LONG, WANTED), "{part}");
                peer.write_all(&vec![0; highest.div_ceil(4) as usize]).expect("sent");
            }
            assert!(taking.take(LONG, WANTED).await >= highest);
            // Never more than is still to come.
            assert!(taking.waits(LONG, 10));
            assert_eq!(taking.mark(), 10);
            peer.write_all(&[0; 10]).expect("sent");
            assert_eq!(taking.take(LONG, 10).await, 10);
            // The source is slow.
            peer.write_all(&[0; 9]).expect("sent");
            assert_eq!(taking.take(PATIENCE, WANTED).await, 9);
            assert!(!taking.waits(LONG, WANTED), "a try costs less than a poll");
            taking.batch.took(0, WANTED);
            assert!(taking.waits(LONG, WANTED));
            assert_eq!(taking.mark(), ANY);
            // It is quick again.
            peer.write_all(&vec![0; LEAST as usize]).expect("sent");
            let count = taking.take(LONG, WANTED).await;
            assert!(taking.waits(LONG, WANTED));
            assert_eq!(taking.mark(), if 2 * count < LEAST { ANY } else { 2 * count });
            // The end comes without a batch.
            drop(peer);
            while taking.take(LONG, WANTED).await > 0 {}
            let Taking { mut batch, from, .. } = taking;
            batch.stop(&from);
            assert_eq!(receive_mark(from.raw_fd()), ANY);
        });
    }

    /// The pipe of a user whose quota is used up has room for two fragments.
    #[test]
    fn what_a_pipe_cannot_take_at_once_is_not_waited_for() {
        let reactor = Reactor::new(&ReactorOptions::default()).expect("a ring");
        let (mut taking, mut peer) = Taking::new(&reactor);
        reactor.block_on(async move {
            taking.batch.took(100, WANTED);
            assert!(taking.waits(LONG, WANTED));
            let mark = taking.mark();
            peer.write_all(&vec![0; mark as usize]).expect("sent");
            for left in (0..mark.div_ceil(3000)).rev() {
                assert_eq!(taking.take_at_most(3000, LONG, WANTED).await == 3000, left > 0 || mark % 3000 == 0);
            }
            assert!(!taking.waits(LONG, WANTED), "a try costs less than a poll");
            taking.batch.took(0, WANTED);
            assert!(taking.waits(LONG, WANTED));
            assert_eq!(taking.mark(), ANY);
        });
    }
}
