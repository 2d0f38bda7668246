//! Whether the peer of a connection still answers (Envoy: KeepaliveSettings). Whatever comes counts as an answer, because one
//! to a PING may wait behind a body.

use super::link::Link;
use crate::base::clock::{Nanos, nanos};
use crate::codec::h2::frame;
use crate::ring::{Reactor, Timer};
use ringway_config::model::Http2Keepalive;
use std::rc::Rc;
use std::task::Poll;

/// What a PING holds that is sent to hear something.
const LIVING: [u8; 8] = *b"ringway?";

impl Link {
    /// Whether the peer has said what it takes.
    pub fn has_settings(&self) -> bool {
        self.state.borrow().peer.has_come
    }

    /// Whether the peer has said that it gets PINGs too often, since this was last asked.
    pub fn pings_too_often(&self) -> bool {
        std::mem::take(&mut self.state.borrow_mut().pings_too_often)
    }

    /// Ask the peer for a sign of life.
    pub fn ping(&self) {
        frame::ping(&mut self.state.borrow_mut().out, false, LIVING);
        self.flush();
    }
}

/// In the task that drives the connection.
pub struct Pulse {
    timer: Timer,
    /// Between two looks at a connection with exchanges, if any, and how much less or more than that, in percent.
    interval: Option<Nanos>,
    jitter: u64,
    timeout: Nanos,
    /// When the next look is due, and the bytes that had come at the last one.
    next: Option<(Nanos, u64)>,
    /// Until when something is to come, and the bytes that had come before.
    awaited: Option<(Nanos, u64)>,
}

impl Pulse {
    pub fn new(reactor: &Rc<Reactor>, options: &Http2Keepalive) -> Self {
        Self {
            timer: Timer::new(reactor),
            interval: options.interval.map(nanos),
            jitter: u64::from(options.interval_jitter),
            timeout: nanos(options.timeout),
            next: None,
            awaited: None,
        }
    }

    /// The peer is to say something within this time, and its settings if it has not said them.
    pub fn expect(&mut self, link: &Link, within: Nanos) {
        self.awaited = Some((link.reactor.now().saturating_add(within), link.received()));
    }

    /// PINGs came too often.
    pub fn slow_down(&mut self) {
        self.interval = self.interval.map(|interval| interval.saturating_mul(2));
    }

    /// Whether that has not come.
    pub fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    /// Ready when the peer has said nothing in time; to be called whenever something has come, and at each wake.
    pub fn poll(&mut self, link: &Link) -> Poll<()> {
        if link.has_left() {
            self.timer.disarm();
            return Poll::Pending;
        }
        let (now, received) = (link.reactor.now(), link.received());
        if let Some((until, before)) = self.awaited {
            if received > before && link.has_settings() {
                self.awaited = None;
            } else if now >= until {
                return Poll::Ready(());
            }
        }
        if let (Some(interval), None) = (self.interval, self.awaited) {
            // A server of gRPC takes PINGs without calls for an attack.
            self.next = match (self.next, link.exchanges()) {
                (_, 0) => None,
                (Some((due, before)), _) if now >= due && received == before => {
                    link.ping();
                    self.expect(link, self.timeout);
                    None
                }
                (Some((due, before)), _) if now < due => Some((due, before)),
                _ => Some((now + self.vary(link, interval), received)),
            };
        }
        match self.awaited.or(self.next) {
            Some((at, _)) => self.timer.arm_at(at),
            None => self.timer.disarm(),
        }
        Poll::Pending
    }

    fn vary(&self, link: &Link, interval: Nanos) -> Nanos {
        let most = interval / 100 * self.jitter;
        (interval - most).saturating_add(link.reactor.random().below(2 * most + 1))
    }
}
