//! The deadlines of one exchange: several limits, one timer. Those of a connection between exchanges are its driver's
//! (`hcm::ConnectionDeadlines`).

use super::Fault;
use crate::base::clock::{NEVER, Nanos, deadline};
use crate::ring::{Reactor, Timer};
use std::rc::Rc;
use std::time::Duration;

/// All that can run out. The timer is armed for the earliest; moving one to later costs a store.
pub struct Deadlines {
    timer: Timer,
    /// Of the head, while it is read.
    head: Nanos,
    /// Of the whole request, while it is read.
    request: Nanos,
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
}

impl Deadlines {
    /// No limit yet.
    pub fn new(reactor: &Rc<Reactor>) -> Self {
        Self {
            timer: Timer::new(reactor),
            head: NEVER,
            request: NEVER,
            route: NEVER,
            life: NEVER,
            idle: NEVER,
            idle_limit: None,
            try_head: NEVER,
            try_idle: NEVER,
            try_idle_limit: None,
        }
    }

    /// A request's first byte has come.
    pub fn start_request(&mut self, now: Nanos, head: Option<Duration>, request: Option<Duration>) {
        self.head = deadline(now, head);
        self.request = deadline(now, request);
        self.arm();
    }

    /// The head is read; from now on something must move all the time, and the whole, which began at `start`, may last no
    /// longer than `life`.
    pub fn start_exchange(&mut self, now: Nanos, idle: Option<Duration>, start: Nanos, life: Option<Duration>) {
        self.head = NEVER;
        self.idle_limit = idle;
        self.idle = deadline(now, idle);
        self.life = deadline(start, life);
        self.arm();
    }

    /// The exchange began at `start` and may last no longer than `limit`.
    pub fn limit_life(&mut self, start: Nanos, limit: Option<Duration>) {
        let life = deadline(start, limit);
        if life != self.life {
            self.life = life;
            self.arm();
        }
    }

    /// From now on no more than `idle` may pass without a byte moving.
    pub fn limit_idle(&mut self, now: Nanos, idle: Option<Duration>) {
        self.idle_limit = idle;
        self.idle = deadline(now, idle);
        self.arm();
    }

    /// The response is said, or its last part is on its way. What is left is awaited for `limit`, and nothing else counts.
    pub fn start_reading_away(&mut self, now: Nanos, limit: Duration) {
        (self.head, self.request, self.route, self.life) = (NEVER, NEVER, NEVER, NEVER);
        self.end_try();
        self.limit_idle(now, Some(limit));
    }

    /// The request's last byte has come: the response's time begins.
    pub fn start_route(&mut self, now: Nanos, route: Option<Duration>) {
        self.request = NEVER;
        self.route = deadline(now, route);
        self.arm();
    }

    /// The response has begun: the request may take as long as that does.
    pub fn response_begun(&mut self) {
        self.request = NEVER;
    }

    /// What follows is a new request with new times.
    pub fn start_over(&mut self, now: Nanos) {
        self.end_try();
        self.start_route(now, None);
    }

    /// A try is on its connection and the request is complete. `head`: for the response's head; `idle`: for each byte.
    pub fn start_try(&mut self, now: Nanos, head: Option<Duration>, idle: Option<Duration>) {
        if head.is_some() || idle.is_some() {
            self.try_head = deadline(now, head);
            self.try_idle_limit = idle;
            self.try_idle = deadline(now, idle);
            self.arm();
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

    /// What has run out, if anything.
    #[inline]
    pub fn expired(&mut self, now: Nanos) -> Option<Fault> {
        if self.timer.fired() { self.first_expired(now) } else { None }
    }

    #[cold]
    fn first_expired(&mut self, now: Nanos) -> Option<Fault> {
        let all = [
            (self.head, Fault::RequestHeaderTimeout),
            (self.request, Fault::RequestTimeout),
            (self.route, Fault::RouteTimeout),
            (self.life, Fault::MaxStreamDuration),
            (self.try_head, Fault::PerTryTimeout),
            (self.try_idle, Fault::PerTryIdleTimeout),
            (self.idle, Fault::StreamIdle),
        ];
        let first = all.into_iter().find(|(deadline, _)| *deadline <= now);
        if first.is_none() {
            self.arm();
        }
        first.map(|(_, fault)| fault)
    }

    fn arm(&self) {
        let exchange = self.head.min(self.request).min(self.route).min(self.life).min(self.idle);
        let earliest = exchange.min(self.try_head).min(self.try_idle);
        if earliest == NEVER {
            self.timer.disarm();
        } else {
            self.timer.arm_at(earliest);
        }
    }
}
