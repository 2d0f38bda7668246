//! Timers while ten thousand others are armed.

use ringway::ring::{PoolSize, Reactor, Timer};
use std::rc::Rc;
use std::time::Duration;

/// Timers that wait while others are measured, as on a shard with as many connections.
const OTHERS: u64 = 10_000;

struct Wheel {
    reactor: Rc<Reactor>,
    timer: Timer,
    _others: Vec<Timer>,
}

impl Wheel {
    fn new() -> Self {
        let reactor = Reactor::simulated(1, PoolSize { count: 1, size: 4096 });
        let armed = |i| {
            let timer = Timer::new(&reactor);
            timer.arm_in(Duration::from_millis(1000 + 7 * i));
            timer
        };
        let others = (0..OTHERS).map(armed).collect();
        Self { timer: Timer::new(&reactor), reactor, _others: others }
    }
}

/// Arm and disarm: what most deadlines of an exchange come to.
pub fn arm_and_cancel() -> impl FnMut() {
    let wheel = Wheel::new();
    move || {
        wheel.timer.arm_in(Duration::from_secs(15));
        wheel.timer.disarm();
        assert!(!wheel.timer.fired());
    }
}

/// Arm earlier than before, so that the timer moves to another slot, and later again.
pub fn rearm_earlier() -> impl FnMut() {
    let wheel = Wheel::new();
    let mut seconds = 0;
    move || {
        seconds = if seconds == 0 { 3600 } else { seconds - 1 };
        wheel.timer.arm_in(Duration::from_secs(seconds));
    }
}

/// A timer made, armed and dropped: a connection's that comes and goes.
pub fn make_arm_and_drop() -> impl FnMut() {
    let wheel = Wheel::new();
    move || {
        let timer = Timer::new(&wheel.reactor);
        timer.arm_in(Duration::from_secs(15));
    }
}
