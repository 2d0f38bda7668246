//! The deadlines of one exchange: several limits, one timer. Those of a connection between exchanges are its driver's
//! (`hcm::ConnectionDeadlines`).

use super::Fault;
use super::vigil::FIRST_LOOK;
use crate::base::clock::{NEVER, Nanos, deadline};
use crate::ring::Timer;
use std::time::Duration;

/// All that can run out. The timer is armed for the earliest, and only when something is waited for: an exchange that need
/// not wait costs it nothing.
pub struct Deadlines {
    timer: Timer,
    /// The timer is not armed for the earliest.
    moved: bool,
    /// Of the head, while it is read.
    head: Nanos,
    /// Of the whole request, while it is read.
    request: Nanos,
    /// Of the response's head, all tries together.
    response_head: Nanos,
    /// Of the whole response.
    route: Nanos,
    /// Of the whole exchange.
    life: Nanos,
    /// Of the next byte in either direction.
    idle: Nanos,
    idle_limit: Option<Duration>,
    /// Of one try's response head.
    try_head: Nanos,
    /// Of the next byte on one try.
    try_idle: Nanos,
    try_idle_limit: Option<Duration>,
    /// When to look after the client, and whether it is time to.
    look: Nanos,
    is_look_due: bool,
}

impl Deadlines {
    /// No limit yet. `timer`: the exchange's while it lasts.
    pub fn new(timer: Timer) -> Self {
        Self {
            timer,
            moved: true,
            head: NEVER,
            request: NEVER,
            response_head: NEVER,
            route: NEVER,
            life: NEVER,
            idle: NEVER,
            idle_limit: None,
            try_head: NEVER,
            try_idle: NEVER,
            try_idle_limit: None,
            look: NEVER,
            is_look_due: false,
        }
    }

    /// The exchange is over: its timer, for the next one.
    pub fn into_timer(self) -> Timer {
        self.timer
    }

    /// A request's first byte has come.
    pub fn start_request(&mut self, now: Nanos, head: Option<Duration>, request: Option<Duration>) {
        self.head = deadline(now, head);
        self.request = deadline(now, request);
        self.moved = true;
    }

    /// The head is read; from now on something must move all the time, and the whole, which began at `start`, may last no
    /// longer than `life`.
    pub fn start_exchange(&mut self, now: Nanos, idle: Option<Duration>, start: Nanos, life: Option<Duration>) {
        self.head = NEVER;
        self.idle_limit = idle;
        self.idle = deadline(now, idle);
        self.life = deadline(start, life);
        self.look = now + FIRST_LOOK;
        self.moved = true;
    }

    /// Whether it is time to look after the client.
    #[inline]
    pub fn is_look_due(&self) -> bool {
        self.is_look_due
    }

    /// It was looked after; the next time is this.
    pub fn look_at(&mut self, time: Nanos) {
        (self.look, self.is_look_due) = (time, false);
        self.moved = true;
    }

    /// The exchange began at `start` and may last no longer than `limit`.
    pub fn limit_life(&mut self, start: Nanos, limit: Option<Duration>) {
        let life = deadline(start, limit);
        if life != self.life {
            self.life = life;
            self.moved = true;
        }
    }

    /// From now on no more than `idle` may pass without a byte moving.
    pub fn limit_idle(&mut self, now: Nanos, idle: Option<Duration>) {
        self.idle_limit = idle;
        self.idle = deadline(now, idle);
        self.moved = true;
    }

    /// The response is said, or its last part is on its way. What is left is awaited for `limit`, and nothing else counts.
    pub fn start_reading_away(&mut self, now: Nanos, limit: Duration) {
        (self.head, self.request, self.response_head, self.route, self.life) = (NEVER, NEVER, NEVER, NEVER, NEVER);
        self.end_try();
        self.limit_idle(now, Some(limit));
    }

    /// The request's last byte has come: the times of the response's head and of all of it begin.
    pub fn start_route(&mut self, now: Nanos, head: Option<Duration>, route: Option<Duration>) {
        self.request = NEVER;
        self.response_head = deadline(now, head);
        self.route = deadline(now, route);
        self.moved = true;
    }

    /// The response has begun: the request may take as long as that does.
    pub fn response_begun(&mut self) {
        (self.request, self.response_head) = (NEVER, NEVER);
    }

    /// What follows is a new request with new times.
    pub fn start_over(&mut self, now: Nanos) {
        self.end_try();
        self.start_route(now, None, None);
    }

    /// A try is on its connection and the request is complete. `head`: for the response's head; `idle`: for each byte.
    pub fn start_try(&mut self, now: Nanos, head: Option<Duration>, idle: Option<Duration>) {
        if head.is_some() || idle.is_some() {
            self.try_head = deadline(now, head);
            self.try_idle_limit = idle;
            self.try_idle = deadline(now, idle);
            self.moved = true;
        }
    }

    /// The response's head came; its body has to keep moving.
    pub fn try_responded(&mut self) {
        self.try_head = NEVER;
    }

    /// The try is over.
    pub fn end_try(&mut self) {
        (self.try_head, self.try_idle, self.try_idle_limit) = (NEVER, NEVER, None);
    }

    /// Something moved.
    pub fn moved(&mut self, now: Nanos) {
        // Both only move to later, and the timer finds that out by itself.
        self.idle = deadline(now, self.idle_limit);
        if self.try_idle_limit.is_some() {
            self.try_idle = deadline(now, self.try_idle_limit);
        }
    }

    /// What has run out, if anything. If nothing has, the task is woken when it does.
    #[inline]
    pub fn expired(&mut self, now: Nanos) -> Option<Fault> {
        if std::mem::take(&mut self.moved) || self.timer.fired() { self.look(now) } else { None }
    }

    fn look(&mut self, now: Nanos) -> Option<Fault> {
        if self.earliest() > now {
            self.arm();
            return None;
        }
        // The exchange may go on, as it does after a try whose time is over; then the timer is to be armed for what is left.
        self.moved = true;
        if self.look <= now {
            (self.look, self.is_look_due) = (NEVER, true);
        }
        self.first_expired(now)
    }

    #[cold]
    fn first_expired(&self, now: Nanos) -> Option<Fault> {
        let all = [
            (self.head, Fault::RequestHeaderTimeout),
            (self.request, Fault::RequestTimeout),
            (self.route, Fault::RouteTimeout),
            (self.response_head, Fault::ResponseHeadTimeout),
            (self.life, Fault::MaxStreamDuration),
            (self.try_head, Fault::PerTryTimeout),
            (self.try_idle, Fault::PerTryIdleTimeout),
            (self.idle, Fault::StreamIdle),
        ];
        all.into_iter().find(|(deadline, _)| *deadline <= now).map(|(_, fault)| fault)
    }

    fn earliest(&self) -> Nanos {
        let exchange = self.head.min(self.request).min(self.route).min(self.life).min(self.idle);
        exchange.min(self.response_head).min(self.try_head).min(self.try_idle).min(self.look)
    }

    fn arm(&self) {
        self.timer.arm_at(self.earliest());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{PoolSize, Reactor};
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Poll;

    const MS: Nanos = 1_000_000;

    /// What runs out, and after how many milliseconds.
    async fn wait(reactor: &Rc<Reactor>, deadlines: &mut Deadlines) -> (Fault, Nanos) {
        let fault = poll_fn(|_| deadlines.expired(reactor.now()).map_or(Poll::Pending, Poll::Ready)).await;
        (fault, reactor.now() / MS)
    }

    fn run(test: impl AsyncFnOnce(&Rc<Reactor>, &mut Deadlines, Nanos) + 'static) {
        let reactor = Reactor::simulated(1, PoolSize { count: 16, size: 1024 });
        let within = reactor.clone();
        reactor.block_on(async move {
            let mut deadlines = Deadlines::new(Timer::new(&within));
            let start = within.now();
            test(&within, &mut deadlines, start).await;
        });
    }

    #[test]
    fn a_deadline_that_moved_to_later_is_kept() {
        run(async |reactor, deadlines, start| {
            deadlines.limit_idle(start, Some(Duration::from_millis(100)));
            assert_eq!(deadlines.expired(start), None);
            reactor.sleep(Duration::from_millis(60)).await;
            deadlines.moved(reactor.now());
            let (fault, after) = wait(reactor, deadlines).await;
            assert_eq!(fault, Fault::StreamIdle);
            assert!((160..170).contains(&(after - start / MS)), "{after} ms");
        });
    }

    #[test]
    fn what_is_left_after_a_try_runs_out_too() {
        run(async |reactor, deadlines, start| {
            deadlines.start_route(start, None, Some(Duration::from_millis(500)));
            deadlines.start_try(start, Some(Duration::from_millis(100)), None);
            assert_eq!(wait(reactor, deadlines).await.0, Fault::PerTryTimeout);
            deadlines.end_try();
            deadlines.start_try(reactor.now(), Some(Duration::from_millis(200)), None);
            assert_eq!(wait(reactor, deadlines).await.0, Fault::PerTryTimeout);
            // A try without limits of its own.
            deadlines.end_try();
            deadlines.start_try(reactor.now(), None, None);
            let (fault, after) = wait(reactor, deadlines).await;
            assert_eq!(fault, Fault::RouteTimeout);
            assert!((500..510).contains(&(after - start / MS)), "{after} ms");
            // One whose time is over before it begins, too.
            deadlines.start_route(reactor.now(), None, Some(Duration::from_millis(500)));
            deadlines.start_try(start, Some(Duration::ZERO), None);
            assert_eq!(deadlines.expired(reactor.now()), Some(Fault::PerTryTimeout));
            deadlines.end_try();
            assert_eq!(wait(reactor, deadlines).await.0, Fault::RouteTimeout);
        });
    }
}
