//! What the process is told to do, by signals and through the admin endpoint.

use crate::admin::Control;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// The orders that wait to be obeyed, the oldest first.
pub(super) struct Orders {
    received: Receiver<Control>,
    waiting: VecDeque<Control>,
}

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(5);

impl Orders {
    /// And the way to give orders.
    pub(super) fn new() -> (Sender<Control>, Self) {
        let (sender, received) = channel();
        (sender, Self { received, waiting: VecDeque::new() })
    }

    /// The next order; without a limit, as soon as there is one.
    pub(super) fn next(&mut self, limit: Option<Duration>) -> Result<Control, RecvTimeoutError> {
        match (self.waiting.pop_front(), limit) {
            (Some(order), _) => Ok(order),
            (None, Some(limit)) => self.received.recv_timeout(limit),
            (None, None) => self.received.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Whether the process is told to stop, so that nothing may be waited for.
    pub(super) fn say_stop(&mut self) -> bool {
        self.waiting.extend(self.received.try_iter());
        self.waiting.iter().any(|order| is_stop(*order))
    }

    /// Looks at `done` until it has a result, but not past `deadline` and not when the process is told to stop.
    pub(super) fn wait<T>(&mut self, deadline: Instant, mut done: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            if let Some(result) = done() {
                return Some(result);
            }
            if Instant::now() >= deadline || self.say_stop() {
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// The name of the thread that waits for signals.
pub(super) const SIGNALS: &str = "signals";

pub(super) fn is_stop(order: Control) -> bool {
    matches!(order, Control::Signal(SIGTERM | SIGINT) | Control::Quit)
}

/// Signals become orders from now on. The third one that says stop ends the process at once, whatever its threads do.
///
/// # Errors
/// Signals cannot be handled, or no thread can be made.
pub(super) fn forward_signals(orders: Sender<Control>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let body = move || {
        let mut stops = 0;
        for signal in signals.forever() {
            // The receiver is gone only when the process is about to end.
            let _ = orders.send(Control::Signal(signal));
            stops += u32::from(is_stop(Control::Signal(signal)));
            if stops == 3 {
                let _ = emulate_default_handler(signal);
            }
        }
    };
    std::thread::Builder::new().name(SIGNALS.into()).spawn(body).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_to_stop_ends_a_wait_and_is_obeyed_in_its_turn() {
        let (sender, mut orders) = Orders::new();
        let far = Instant::now() + Duration::from_secs(3600);
        sender.send(Control::ReopenLogs).expect("it is read");
        let mut looks = 0;
        let waited = orders.wait(far, || {
            looks += 1;
            (looks == 3).then_some("done")
        });
        assert_eq!((waited, looks), (Some("done"), 3), "other orders end no wait");
        sender.send(Control::Quit).expect("it is read");
        assert_eq!(orders.wait(far, || None::<()>), None);
        assert_eq!(orders.next(None), Ok(Control::ReopenLogs));
        assert!(orders.say_stop());
        assert_eq!(orders.next(None), Ok(Control::Quit));
        assert!(!orders.say_stop());
        assert_eq!(orders.wait(Instant::now(), || None::<()>), None, "the deadline");
        drop(sender);
        assert_eq!(orders.next(Some(LOOK)), Err(RecvTimeoutError::Disconnected));
    }
}
