//! Which shard serves a new HTTP/2 connection. The kernel hands connections to shards without knowing what they will carry,
//! and each of them carries all exchanges of a client: a few connections may leave most shards without work.
//!
//! ```text
//! new connection ── place ──> Here: it counts as new on its shard for a second ──> it counts by its exchanges
//!                      └────> There: a ticket to the shard that has the least to do ── cross
//! ```
//!
//! What a shard carries is in cells that it alone writes: the most exchanges at a time within the last second or two, since at
//! some moment a busy client has none at all. The lock is taken for a new connection of HTTP/2, so that two of them are not
//! sent to the same shard because neither has an exchange yet.

#[cfg(test)]
mod tests;

use super::house::House;
use crate::base::clock::Nanos;
use crate::stats::{Counter, Gauge, ShardStats};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All shards of the process.
#[derive(Debug, Default)]
pub struct Spread(Mutex<Vec<Member>>);

#[derive(Debug)]
struct Member {
    carried: Arc<Carried>,
    /// Connections that were ever meant for it.
    placed: u64,
}

/// What a shard carries. It alone writes, and the others read.
#[derive(Debug)]
pub(super) struct Carried {
    pub shard: usize,
    stats: Arc<ShardStats>,
    /// Connections that are not new any more.
    settled: Gauge,
    /// Those of `Member::placed` that are not new any more.
    begun: Counter,
}

impl Spread {
    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// More connections are meant for a shard than before, or fewer. It may have ended.
    fn change(&self, carried: &Arc<Carried>, by: i64) {
        if let Some(member) = self.lock().iter_mut().find(|member| Arc::ptr_eq(&member.carried, carried)) {
            member.placed = member.placed.saturating_add_signed(by);
        }
    }
}

/// A shard's place among all.
pub struct Spreader {
    pub(super) house: Arc<House>,
    own: Arc<Carried>,
    /// Exchanges on connections that are not new any more.
    exchanges: Cell<i64>,
    /// The most of them since the last tick.
    peak: Cell<i64>,
}

/// Where a new connection is to be served.
pub enum Placement {
    Here(Place),
    There(Ticket),
}

impl Spreader {
    /// `shard` takes part until this is dropped.
    pub fn new(house: &Arc<House>, shard: usize, stats: &Arc<ShardStats>) -> Rc<Self> {
        let (settled, begun) = Default::default();
        let own = Arc::new(Carried { shard, stats: stats.clone(), settled, begun });
        house.spread.lock().push(Member { carried: own.clone(), placed: 0 });
        Rc::new(Self { house: house.clone(), own, exchanges: Cell::new(0), peak: Cell::new(0) })
    }

    pub fn shard(&self) -> usize {
        self.own.shard
    }

    /// To be called once a second: what was before the last second is forgotten.
    pub fn tick(&self) {
        self.own.stats.http2_load.set(self.peak.replace(self.exchanges.get()));
    }

    fn add(&self, exchanges: i64) {
        let now = self.exchanges.get() + exchanges;
        self.exchanges.set(now);
        if now > self.peak.get() {
            self.peak.set(now);
            if now > self.own.stats.http2_load.get() {
                self.own.stats.http2_load.set(now);
            }
        }
    }

    /// The shard for a new connection. It counts as new there.
    pub(super) fn place(self: &Rc<Self>) -> Placement {
        let mut members = self.house.spread.lock();
        let loads: Vec<Load> = members.iter().map(Load::of).collect();
        let Some(own) = members.iter().position(|member| Arc::ptr_eq(&member.carried, &self.own)) else {
            unreachable!("it takes part until it is dropped")
        };
        let chosen = choose(&loads, own);
        members[chosen].placed += 1;
        if chosen == own {
            return Placement::Here(Place(self.clone()));
        }
        Placement::There(Ticket { from: self.clone(), to: members[chosen].carried.clone(), is_used: false })
    }

    /// A new connection is served here, whatever this shard carries.
    pub(super) fn stay(self: &Rc<Self>) -> Place {
        self.house.spread.change(&self.own, 1);
        Place(self.clone())
    }

    /// A new connection has come from another shard, which has placed it here.
    pub fn arrived(self: &Rc<Self>) -> Place {
        self.own.stats.http2_cx_taken_over.inc();
        Place(self.clone())
    }
}

impl Drop for Spreader {
    fn drop(&mut self) {
        self.house.spread.lock().retain(|member| !Arc::ptr_eq(&member.carried, &self.own));
    }
}

/// A connection is new on this shard until this is dropped.
pub struct Place(Rc<Spreader>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.own.begun.inc();
    }
}

/// A connection's way to another shard. Dropped, it has not gone there.
pub struct Ticket {
    pub(super) from: Rc<Spreader>,
    pub(super) to: Arc<Carried>,
    is_used: bool,
}

impl Ticket {
    /// The connection has gone.
    pub(super) fn used(mut self) {
        self.is_used = true;
        self.from.own.stats.http2_cx_handed_over.inc();
    }

    /// It cannot go, and stays.
    pub(super) fn stay(self) -> Place {
        self.from.own.stats.http2_cx_kept.inc();
        self.from.stay()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_used {
            self.from.house.spread.change(&self.to, -1);
        }
    }
}

/// A new connection counts as others do on average, for this time: its own exchanges have hardly begun.
const NEW: Nanos = 1_000_000_000;

/// What a connection that is served adds to what its shard carries.
pub struct Carrying {
    spreader: Rc<Spreader>,
    /// While it is new.
    place: Cell<Option<Place>>,
    is_new: Cell<bool>,
    settles: Nanos,
}

impl Carrying {
    pub fn new(place: Place, now: Nanos) -> Self {
        let spreader = place.0.clone();
        spreader.own.stats.http2_cx_active.inc();
        Self { spreader, place: Cell::new(Some(place)), is_new: Cell::new(true), settles: now + NEW }
    }

    /// An exchange begins next to `others`.
    pub fn begin(&self, others: u32, now: Nanos) {
        self.change(1, others, now);
    }

    /// An exchange ends, and `others` go on.
    pub fn end(&self, others: u32, now: Nanos) {
        self.change(-1, others + 1, now);
    }

    /// It has had no exchange for a while, and at least since it was new.
    pub fn rest(&self) {
        if self.is_new.get() {
            self.settle(0);
        }
    }

    fn change(&self, by: i64, before: u32, now: Nanos) {
        if self.is_new.get() {
            if now < self.settles {
                return;
            }
            self.settle(before);
        }
        self.spreader.add(by);
    }

    fn settle(&self, exchanges: u32) {
        self.is_new.set(false);
        self.place.take();
        self.spreader.own.settled.inc();
        self.spreader.add(exchanges.into());
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        if !self.is_new.get() {
            self.spreader.own.settled.dec();
        }
        self.spreader.own.stats.http2_cx_active.dec();
    }
}

/// What a shard carries, as a new connection finds it.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    /// Exchanges at a time.
    carried: u64,
    settled: u64,
    new: u64,
}

impl Load {
    fn of(member: &Member) -> Self {
        let Member { carried, placed } = member;
        let level = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        Self {
            carried: level(&carried.stats.http2_load),
            settled: level(&carried.settled),
            new: placed.saturating_sub(carried.begun.get()),
        }
    }
}

/// Part of the mean by which a shard may be above it and still keep what comes to it, as 1/x: where many connections come and
/// go, chance alone makes a shard carry a little more or less than others, and half of them would be moved for it. Where
/// there are few, one more is a larger part.
const MARGIN: u64 = 8;

/// The shard for a new connection that has come to `own`: this one, unless it carries clearly more than the mean; then the one
/// that carries least. A new connection counts as the mean number of exchanges on one, and at least as one exchange. Where all
/// carry about the same, connections count: those without exchanges will have some.
fn choose(loads: &[Load], own: usize) -> usize {
    let sum = |of: fn(&Load) -> u64| loads.iter().map(of).sum::<u64>();
    let (carried, settled) = (sum(|load| load.carried), sum(|load| load.settled));
    let each = carried.checked_div(settled).unwrap_or(1).max(1);
    let weight = |load: &Load| (load.carried + load.new * each, load.settled + load.new);
    let total = loads.iter().map(weight).fold((0, 0), |sum, load| (sum.0 + load.0, sum.1 + load.1));
    let count = loads.len() as u64;
    let (exchanges, connections) = weight(&loads[own]);
    let is_above = |own: u64, total: u64| own * count * MARGIN > total * (MARGIN + 1);
    let is_fair = !is_above(exchanges, total.0) && !is_above(connections, total.1);
    if is_fair || exchanges * count < total.0 {
        return own;
    }
    (0..loads.len()).min_by_key(|shard| weight(&loads[*shard])).unwrap_or(own)
}
