//! The deadlines of one connection and the exchange on it: several limits, one timer.

use super::Fault;
use crate::base::clock::{Nanos, nanos};
use crate::ring::{Reactor, Timer};
use std::rc::Rc;
use std::time::Duration;

const NEVER: Nanos = Nanos::MAX;

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
    /// Of the connection. It never cuts an exchange short: the connection ends with the exchange it is over in.
    connection: Nanos,
    /// No exchange is under way.
    waiting: bool,
}

impl Deadlines {
    pub fn new(reactor: &Rc<Reactor>, max_connection_duration: Option<Duration>) -> Self {
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
            connection: deadline(reactor.now(), max_connection_duration),
            waiting: true,
        }
    }

    /// Between exchanges only the connection's own limits count.
    pub fn start_waiting(&mut self, now: Nanos, idle: Option<Duration>) {
        (self.head, self.request, self.route, self.life) = (NEVER, NEVER, NEVER, NEVER);
        self.end_try();
        self.idle_limit = idle;
        self.idle = deadline(now, idle);
        self.waiting = true;
        self.arm();
    }

    /// All is said; what is left of it must go out in this time, whatever the connection's own limit is.
    pub fn start_closing(&mut self, now: Nanos, limit: Duration) {
        self.start_waiting(now, Some(limit));
        self.waiting = false;
        self.arm();
    }

    /// A request's first byte has come.
    pub fn start_request(&mut self, now: Nanos, head: Option<Duration>, request: Option<Duration>) {
        self.head = deadline(now, head);
        self.request = deadline(now, request);
        self.idle = NEVER;
        self.idle_limit = None;
        self.waiting = false;
        self.arm();
    }

    /// The head is read; from now on something must move all the time.
    pub fn start_exchange(&mut self, now: Nanos, idle: Option<Duration>) {
        self.head = NEVER;
        self.idle_limit = idle;
        self.idle = deadline(now, idle);
        self.arm();
    }

    /// The exchange, which began at `start`, may last so long.
    pub fn limit_life(&mut self, start: Nanos, limit: Option<Duration>) {
        let life = deadline(start, limit);
        if life != self.life {
            self.life = life;
            self.arm();
        }
    }

    /// From now on so much time may pass without a byte moving.
    pub fn limit_idle(&mut self, now: Nanos, idle: Option<Duration>) {
        self.idle_limit = idle;
        self.idle = deadline(now, idle);
        self.arm();
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

    /// Whatever comes is a new request with new times.
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
        self.idle = deadline(now, self.idle_limit);
        if self.try_idle_limit.is_some() {
            self.try_idle = deadline(now, self.try_idle_limit);
        }
        self.arm();
    }

    /// What has run out, if anything.
    pub fn expired(&mut self, now: Nanos) -> Option<Fault> {
        if !self.timer.fired() {
            return None;
        }
        let all = [
            (self.head, Fault::RequestHeaderTimeout),
            (self.request, Fault::RequestTimeout),
            (self.route, Fault::RouteTimeout),
            (self.life, Fault::MaxStreamDuration),
            (self.try_head, Fault::PerTryTimeout),
            (self.try_idle, Fault::PerTryIdleTimeout),
            (if self.waiting { self.connection } else { NEVER }, Fault::MaxConnectionDuration),
            (self.idle, Fault::StreamIdle),
        ];
        let first = all.into_iter().find(|(deadline, _)| *deadline <= now);
        if first.is_none() {
            self.arm();
        }
        first.map(|(_, fault)| fault)
    }

    /// Whether the connection's time is over.
    pub fn is_connection_over(&self, now: Nanos) -> bool {
        self.connection <= now
    }

    fn arm(&self) {
        let connection = if self.waiting { self.connection } else { NEVER };
        let exchange = self.head.min(self.request).min(self.route).min(self.life).min(self.idle);
        let earliest = exchange.min(self.try_head).min(self.try_idle).min(connection);
        if earliest == NEVER {
            self.timer.disarm();
        } else {
            self.timer.arm_at(earliest);
        }
    }
}

fn deadline(now: Nanos, limit: Option<Duration>) -> Nanos {
    limit.map_or(NEVER, |limit| now.saturating_add(nanos(limit)))
}
