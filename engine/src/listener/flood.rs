//! Accepting while more connections come than the shard can make handshakes for.
//!
//! They wait in the kernel's backlog, first come, first served, and grow old there: of 4,096 in a flood, each is accepted when its
//! client is about to give up or has gone. So the backlog is short for as long as a flood lasts, and fewer are taken from it. What
//! the kernel drops then is a client's first segment (SYN), which the client sends again after a second, and which costs the shard
//! little. And one connection is accepted whenever the shard has nothing else to do.

use crate::base::clock::Nanos;
use crate::net::{sys, tls::Handshakes};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

const MS: Nanos = 1_000_000;
/// How long the backlog is as long as before: many clients that come at once, and no more after them, wait in it.
const BURST: Nanos = 250 * MS;
/// A flood is over when its handshakes have not been too many for this time, or all are done. Accepting may wait for half of
/// it until there is room.
const OVER: Nanos = 2_000 * MS;
/// Between two looks whether it is.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// How long a connection in the backlog waits for the shard to be idle, at most.
pub(super) const IDLE_MAX: Duration = Duration::from_millis(1);

pub(super) struct Flood {
    handshakes: Rc<Handshakes>,
    /// The socket is this process's own: another one's backlog would stay short if this process were killed.
    is_own: bool,
    since: Nanos,
    /// When there were too many handshakes last.
    last: Option<Nanos>,
    /// Connections wait in the backlog since then.
    is_behind: bool,
    /// How long the backlog was before.
    long: Option<u32>,
    /// The handshakes were told.
    is_told: bool,
}

impl Flood {
    pub(super) fn new(handshakes: &Rc<Handshakes>, is_own: bool) -> Self {
        let handshakes = handshakes.clone();
        Self { handshakes, is_own, since: 0, last: None, is_behind: false, long: None, is_told: false }
    }

    /// There were too many handshakes just now.
    pub(super) fn swells(&mut self, fd: RawFd, now: Nanos) {
        if self.is_over(now, || false) {
            self.since = now;
        }
        (self.last, self.is_behind) = (Some(now), true);
        if !self.is_own || now < self.since + BURST {
            return;
        }
        let Some(backlog) = sys::backlog(fd) else { return };
        let long = *self.long.get_or_insert(backlog.max);
        // Its keys may be of the other kind than they seemed to be.
        let short = self.handshakes.outside_max().min(long);
        if short != backlog.max {
            sys::set_backlog(fd, short);
        }
        // Those that came before are old. The sooner they are through, the sooner clients come that are still there.
        if !self.is_told && backlog.waiting <= short + 1 {
            self.is_told = true;
            self.handshakes.flood_begins();
        }
    }

    /// A connection was accepted, and was the last one that waited if `has_caught_up`. Returns whether others wait.
    pub(super) fn brings(&mut self, has_caught_up: bool) -> bool {
        self.is_behind &= !has_caught_up;
        self.is_behind
    }

    /// `is_done`: no handshake is left, and nothing waits in the backlog.
    pub(super) fn is_over(&self, now: Nanos, is_done: impl FnOnce() -> bool) -> bool {
        self.last.is_none_or(|last| now >= last + OVER) || is_done()
    }

    /// It is over: the backlog is as long as it was.
    pub(super) fn ends(&mut self, fd: RawFd) {
        (self.last, self.is_behind) = (None, false);
        if let Some(long) = self.long.take() {
            sys::set_backlog(fd, long);
        }
        self.tell_end();
    }

    fn tell_end(&mut self) {
        if std::mem::take(&mut self.is_told) {
            self.handshakes.flood_ends();
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.tell_end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{PoolSize, Reactor};
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::sync::Arc;

    fn handshakes() -> Rc<Handshakes> {
        let handshakes = Handshakes::new(&Reactor::simulated(1, PoolSize { count: 16, size: 1024 }), &Arc::default());
        handshakes.set_max(1_000);
        handshakes
    }

    fn max(fd: RawFd) -> u32 {
        sys::backlog(fd).expect("it listens").max
    }

    fn listener() -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        sys::set_backlog(listener.as_raw_fd(), 1000);
        listener
    }

    #[test]
    fn the_backlog_is_short_from_a_quarter_of_a_second_on() {
        let listener = listener();
        let fd = listener.as_raw_fd();
        let handshakes = handshakes();
        let mut flood = Flood::new(&handshakes, true);
        for start in [10_000 * MS, 20_000 * MS] {
            for after in [0, 100, 249] {
                flood.swells(fd, start + after * MS);
                assert_eq!((max(fd), handshakes.floods()), (1000, 0), "after {after} ms");
            }
            flood.swells(fd, start + 250 * MS);
            assert_eq!((max(fd), handshakes.floods()), (128, 1));
            assert!(flood.brings(false));
            assert!(!flood.brings(true), "none has waited behind the last one");
            flood.swells(fd, start + 900 * MS);
            assert!(flood.brings(false));
            assert_eq!((max(fd), handshakes.floods()), (128, 1));
            flood.ends(fd);
            assert!(!flood.brings(false));
            assert_eq!((max(fd), handshakes.floods()), (1000, 0));
        }
        [30_000, 30_300].into_iter().for_each(|ms| flood.swells(fd, ms * MS));
        assert_eq!(handshakes.floods(), 1);
        drop(flood);
        assert_eq!(handshakes.floods(), 0, "with the listener");
    }

    #[test]
    fn those_that_came_before_come_in_first() {
        let listener = listener();
        let fd = listener.as_raw_fd();
        let handshakes = handshakes();
        let mut flood = Flood::new(&handshakes, true);
        let _clients: Vec<_> =
            (0..130).map(|_| std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap()).collect();
        [5_000, 5_250].into_iter().for_each(|ms| flood.swells(fd, ms * MS));
        assert_eq!((max(fd), handshakes.floods()), (128, 0));
        let _accepted = listener.accept().unwrap();
        flood.swells(fd, 5_260 * MS);
        assert_eq!((max(fd), handshakes.floods()), (128, 1));
        flood.ends(fd);
        assert_eq!((max(fd), handshakes.floods()), (1000, 0));
    }

    #[test]
    fn floods_apart_are_not_one() {
        let listener = listener();
        let fd = listener.as_raw_fd();
        let mut flood = Flood::new(&handshakes(), true);
        (1..10).for_each(|time| flood.swells(fd, time * OVER));
        assert_eq!(max(fd), 1000);
    }

    #[test]
    fn a_flood_is_over_when_all_are_done_or_after_two_seconds() {
        let listener = listener();
        let fd = listener.as_raw_fd();
        let mut flood = Flood::new(&handshakes(), true);
        flood.swells(fd, 5_000 * MS);
        assert!(!flood.is_over(6_999 * MS, || false) && flood.is_over(7_000 * MS, || false));
        assert!(flood.is_over(5_050 * MS, || true));
        flood.ends(fd);
        // The next one has its quarter of a second, too.
        [5_100, 5_349].into_iter().for_each(|ms| flood.swells(fd, ms * MS));
        assert_eq!(max(fd), 1000);
        flood.swells(fd, 5_350 * MS);
        assert_eq!(max(fd), 128);
    }

    #[test]
    fn backlogs_that_are_short_or_another_process_s_stay() {
        for (is_own, len) in [(true, 10), (false, 1000)] {
            let listener = listener();
            let fd = listener.as_raw_fd();
            sys::set_backlog(fd, len);
            let handshakes = handshakes();
            let mut flood = Flood::new(&handshakes, is_own);
            [5_000, 5_500].into_iter().for_each(|ms| flood.swells(fd, ms * MS));
            assert_eq!((max(fd), handshakes.floods()), (len, u32::from(is_own)));
            flood.ends(fd);
            assert_eq!((max(fd), handshakes.floods()), (len, 0));
        }
    }
}
