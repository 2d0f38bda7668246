//! Windows of what a peer may send (RFC 9113 section 5.2): they grow while they are what holds a body back.

use crate::codec::h2::frame::WINDOW_MAX;

/// A stream's window, as this side counts it.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Bytes that the peer may still send.
    left: u32,
    /// Bytes that were taken, and that the peer has not been given back.
    due: u32,
    /// Bytes that it may send without any being taken.
    size: u32,
}

/// What the windows of a connection's streams begin with, and by how much they may grow altogether.
#[derive(Debug, Default)]
pub(super) struct Budget {
    pub(super) initial: u32,
    pub(super) left: u32,
}

impl Window {
    pub(super) fn new(size: u32) -> Self {
        Self { left: size, due: 0, size }
    }

    /// Bytes have come. `false`: more than the peer may send.
    #[must_use]
    pub(super) fn receive(&mut self, bytes: u32) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }

    /// Bytes were taken. `Some`: how many the peer is to be given. `keeps_pace`: what came is taken at once, so that a larger
    /// window would bring more.
    pub(super) fn take(&mut self, bytes: u32, keeps_pace: bool, budget: &mut Budget) -> Option<u32> {
        self.due += bytes;
        if self.due < self.size.div_ceil(2) {
            return None;
        }
        if keeps_pace {
            let more = self.size.min(budget.left).min(WINDOW_MAX as u32 - self.size);
            budget.left -= more;
            self.size += more;
            self.due += more;
        }
        let due = std::mem::take(&mut self.due);
        self.left += due;
        Some(due)
    }

    /// Whether what the peer may send, and what it has sent and is not given back, `held` bytes of it by a reader that comes, are
    /// the whole window.
    #[cfg(test)]
    pub(super) fn is_balanced(&self, held: usize) -> bool {
        u64::from(self.left) + u64::from(self.due) + held as u64 == u64::from(self.size)
    }

    /// By how much it has grown.
    #[cfg(test)]
    pub(super) fn growth(&self, budget: &Budget) -> u32 {
        self.size.saturating_sub(budget.initial)
    }

    /// The stream is over: what its window has grown by may be another's.
    pub(super) fn close(&mut self, budget: &mut Budget) {
        budget.left += self.size.saturating_sub(budget.initial);
        self.size = budget.initial;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_twice_and_nothing_is_lost() {
        let (mut window, mut budget) = (Window::new(100), Budget { initial: 100, left: 1000 });
        assert!(window.receive(100) && !window.receive(1));
        assert_eq!(window.take(49, false, &mut budget), None);
        assert_eq!(window.take(1, false, &mut budget), Some(50));
        assert!(!window.receive(51) && window.receive(50));
        assert_eq!(window.take(100, false, &mut budget), Some(100));
        assert!(window.receive(100));
        assert_eq!(budget.left, 1000);
    }

    #[test]
    fn a_window_grows_while_its_reader_keeps_pace_and_the_budget_lasts() {
        let (mut window, mut budget) = (Window::new(100), Budget { initial: 100, left: 250 });
        assert!(window.receive(100));
        assert_eq!(window.take(100, true, &mut budget), Some(200));
        assert_eq!(window.take(99, true, &mut budget), None);
        assert_eq!(window.take(1, true, &mut budget), Some(100 + 150));
        assert_eq!((window.size, budget.left), (350, 0));
        assert_eq!(window.take(200, true, &mut budget), Some(200));
        window.close(&mut budget);
        assert_eq!(budget.left, 250);
        window.close(&mut budget);
        assert_eq!(budget.left, 250);
    }

    #[test]
    fn a_window_grows_up_to_the_largest_that_there_is() {
        let size = WINDOW_MAX as u32 - 10;
        let (mut window, mut budget) = (Window::new(size), Budget { initial: size, left: 1000 });
        assert!(window.receive(size));
        assert_eq!(window.take(size, true, &mut budget), Some(WINDOW_MAX as u32));
        assert_eq!(budget.left, 990);
    }
}
