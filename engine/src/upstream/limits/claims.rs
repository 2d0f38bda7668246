//! Connections that one shard asks of another: what is idle there must not refuse a request here.
//!
//! A shard that may make no more connections looks at the numbers of connections that the others could spare. Where there is
//! one, it leaves a *claim* at the *desk* of the limits and wakes that shard, which closes a connection and lets the place
//! move to the claimant ([`super::shared`] says how). No third shard can take it on the way.
//!
//! ```text
//! claimant                                    neighbour
//! Asked ── wakes ───────────────────────────> closes a spare connection ── Moved ──┐
//!   │                                         or has none any more ─────── Denied ─┤
//!   └─ withdrawn: the neighbour passes it over     <── wakes ──────────────────────┘
//! ```
//!
//! The desk has a lock. It is taken only where a limit refuses a connection, and never while another lock is waited for.

use super::{Permit, Priority, Resource, ShardLimits};
use crate::stats::{HostStats, PerShard, ShardCopy};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The limit that allows no more connections.
#[derive(Clone, Debug)]
pub enum Lacking {
    /// That of the cluster, for this priority.
    Cluster(Priority),
    /// That of an endpoint, which is known by its statistics.
    Host(Arc<PerShard<HostStats>>),
}

impl PartialEq for Lacking {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cluster(one), Self::Cluster(other)) => one == other,
            (Self::Host(one), Self::Host(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// A shard's request for a place.
#[derive(Debug)]
pub struct Claim {
    pub lacking: Lacking,
    /// The priority of the request that wants the connection.
    pub priority: Priority,
    /// Main traffic wants it: side work gives way.
    pub is_main: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Asked(Option<Waker>),
    Moved(Moved),
    Denied,
    /// Taken, or withdrawn.
    Over,
}

/// What has moved to the claimant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// A place among the cluster's connections of the claimant's priority.
    pub permit: bool,
    /// A place among the endpoint's connections.
    pub host: bool,
}

impl Claim {
    pub fn is_waiting(&self) -> bool {
        matches!(*self.lock(), State::Asked(_))
    }

    /// Tell the claimant what has moved; `None`: there is nothing to spare any more. What is returned was moved for a claim
    /// that is withdrawn: the caller gives it back.
    pub fn answer(&self, moved: Option<Moved>) -> Option<Moved> {
        let mut state = self.lock();
        if !matches!(*state, State::Asked(_)) {
            return moved;
        }
        let State::Asked(waker) = std::mem::replace(&mut *state, moved.map_or(State::Denied, State::Moved)) else {
            return None;
        };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shards that can be asked.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<Vec<Counter>>);

/// One shard's side of the desk.
#[derive(Debug)]
struct Counter {
    shard: usize,
    waker: Waker,
    /// Not looked at yet.
    claims: Vec<Arc<Claim>>,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Vec<Counter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShardLimits {
    /// From now on this shard can be asked, by waking this waker.
    pub fn attend(&self, waker: &Waker) {
        let mut desk = self.shared.desk.lock();
        match desk.iter_mut().find(|counter| counter.shard == self.shard) {
            Some(counter) => counter.waker.clone_from(waker),
            None => desk.push(Counter { shard: self.shard, waker: waker.clone(), claims: Vec::new() }),
        }
    }

    /// What was asked since the last look.
    pub fn claims(&self) -> Vec<Arc<Claim>> {
        let mut desk = self.shared.desk.lock();
        let own = desk.iter_mut().find(|counter| counter.shard == self.shard);
        own.map(|counter| std::mem::take(&mut counter.claims)).unwrap_or_default()
    }

    /// This shard can be asked no longer.
    pub fn leave(&self) {
        let mut desk = self.shared.desk.lock();
        let gone: Vec<Counter> = desk.extract_if(.., |counter| counter.shard == self.shard).collect();
        drop(desk);
        for claim in gone.iter().flat_map(|counter| &counter.claims) {
            claim.answer(None);
        }
    }

    /// What was moved for a claim that is withdrawn.
    pub fn take_back(self: &Rc<Self>, claim: &Claim, lost: Moved) {
        if let Lacking::Host(host) = &claim.lacking
            && lost.host
        {
            drop(HostPlace(Some(Rc::new(host.join(self.shard)))));
        }
        if lost.permit {
            drop(self.permit(Resource::Connections, claim.priority));
        }
    }

    /// Ask the shard that can spare the most. `None`: no shard has a connection to spare that is not asked for already.
    pub fn ask(
        self: &Rc<Self>,
        lacking: &Lacking,
        priority: Priority,
        is_main: bool,
        host: &Rc<ShardCopy<HostStats>>,
    ) -> Option<Asking> {
        let mut desk = self.shared.desk.lock();
        let mut best: Option<(i64, usize)> = None;
        let mut offer = |shard: usize, spare: i64| {
            let Some(at) = desk.iter().position(|counter| counter.shard == shard && shard != self.shard) else {
                return;
            };
            // Those that are withdrawn take nothing.
            let waits = |claim: &&Arc<Claim>| claim.lacking == *lacking && claim.is_waiting();
            let asked = desk[at].claims.iter().filter(waits).count() as i64;
            if spare > asked && best.is_none_or(|(most, _)| spare - asked > most) {
                best = Some((spare - asked, at));
            }
        };
        match lacking {
            Lacking::Cluster(priority) => self.shared.each_spare(*priority, |shard, spare| offer(shard, spare.into())),
            Lacking::Host(host) => host.each(|shard, stats| offer(shard, stats.cx_spare.get())),
        }
        let counter = &mut desk[best?.1];
        let state = Mutex::new(State::Asked(None));
        let claim = Arc::new(Claim { lacking: lacking.clone(), priority, is_main, state });
        counter.claims.push(claim.clone());
        let waker = counter.waker.clone();
        drop(desk);
        waker.wake();
        Some(Asking { claim, limits: self.clone(), host: host.clone() })
    }
}

/// Waits for the answer to a claim. Dropped, the claim is withdrawn, and what has moved already is given back.
pub struct Asking {
    claim: Arc<Claim>,
    limits: Rc<ShardLimits>,
    host: Rc<ShardCopy<HostStats>>,
}

impl Future for Asking {
    /// `None`: the neighbour had nothing to spare any more.
    type Output = Option<Places>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Places>> {
        let mut state = self.claim.lock();
        match &mut *state {
            State::Asked(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            State::Moved(moved) => {
                let places = Places::moved(*moved, &self.limits, self.claim.priority, &self.host);
                *state = State::Over;
                Poll::Ready(Some(places))
            }
            State::Denied | State::Over => Poll::Ready(None),
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.claim.lock(), State::Over);
        if let State::Moved(moved) = state {
            drop(Places::moved(moved, &self.limits, self.claim.priority, &self.host));
        }
    }
}

/// What a new connection needs, as far as it is there.
#[derive(Default)]
pub struct Places {
    pub permit: Option<Permit>,
    pub host: Option<HostPlace>,
}

impl Places {
    /// What has moved here; it was counted elsewhere.
    pub fn moved(moved: Moved, limits: &Rc<ShardLimits>, priority: Priority, host: &Rc<ShardCopy<HostStats>>) -> Self {
        let permit = moved.permit.then(|| limits.permit(Resource::Connections, priority));
        Self { permit, host: moved.host.then(|| HostPlace(Some(host.clone()))) }
    }

    /// Take over what a connection of the same shard, or of another one, gave up under this limit, as far as a request of
    /// this priority has a use for it. The rest is given back.
    pub fn take_over(&mut self, given: Self, lacking: &Lacking, priority: Priority) {
        let permit = given.permit.filter(|permit| permit.is_of(priority));
        let host = given.host.filter(|_| matches!(lacking, Lacking::Host(_)));
        self.permit = self.permit.take().or(permit);
        self.host = self.host.take().or(host);
    }
}

/// A place among the connections of an endpoint. Dropped, it is given back.
#[must_use]
pub struct HostPlace(Option<Rc<ShardCopy<HostStats>>>);

impl HostPlace {
    pub fn new(host: &Rc<ShardCopy<HostStats>>) -> Self {
        host.cx_active.inc();
        Self(Some(host.clone()))
    }

    /// It moves to another shard, which gives it back one day.
    pub fn move_away(mut self) {
        self.0 = None;
    }
}

impl Drop for HostPlace {
    fn drop(&mut self) {
        if let Some(host) = &self.0 {
            host.cx_active.dec();
        }
    }
}
