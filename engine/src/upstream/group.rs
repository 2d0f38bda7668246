//! The pools of one cluster on one shard, and what they give up when connections are limited: for each other, and for the
//! pools of other shards.
//!
//! A connection is spare while it is idle, while it is being made and no request waits for it any more, and while side work
//! such as a mirror uses it. Each is counted where the other shards see it ([`set_spare`](super::connection::Slot::set_spare)).

use super::connection::Connection;
use super::lease::Lease;
use super::limits::{Claim, HostPlace, Lacking, Moved, Permit, Places, ShardLimits};
use super::pool::Pool;
use crate::ring::{Reactor, TaskId};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::Poll;

/// The pools of one cluster on one shard, which share its limits.
pub struct PoolGroup {
    reactor: Rc<Reactor>,
    pub limits: Rc<ShardLimits>,
    /// Connections are limited.
    is_limited: bool,
    pools: RefCell<Vec<Weak<Pool>>>,
    /// Connections that side work uses, oldest use first.
    loans: RefCell<Vec<(TaskId, Rc<Connection>)>>,
    /// Answers what other shards ask for.
    clerk: Cell<TaskId>,
}

impl PoolGroup {
    pub fn new(reactor: &Rc<Reactor>, limits: Rc<ShardLimits>) -> Rc<Self> {
        let is_limited = limits.shared().limits_connections();
        let group = Rc::new(Self {
            reactor: reactor.clone(),
            limits,
            is_limited,
            pools: RefCell::default(),
            loans: RefCell::default(),
            clerk: Cell::new(TaskId::NONE),
        });
        if is_limited {
            group.clerk.set(reactor.spawn(answer(Rc::downgrade(&group))));
        }
        group
    }

    pub(super) fn is_limited(&self) -> bool {
        self.is_limited
    }

    pub(super) fn add(&self, pool: &Rc<Pool>) {
        let mut pools = self.pools.borrow_mut();
        if pools.len() == pools.capacity() {
            // Before it grows: dead ones make room.
            pools.retain(|pool| pool.strong_count() > 0);
        }
        pools.push(Rc::downgrade(pool));
    }

    /// Close a connection that is spare and whose end makes room under this limit. What it counted for is returned.
    pub(super) fn give_up(&self, lacking: &Lacking, is_main: bool) -> Option<Places> {
        if !self.is_limited {
            return None;
        }
        let pools: Vec<Rc<Pool>> = self.pools.borrow().iter().filter_map(Weak::upgrade).collect();
        let oldest = pools.iter().filter_map(|pool| pool.idle_since(Some(lacking)).map(|since| (since, pool)));
        if let Some((_, pool)) = oldest.min_by_key(|(since, _)| *since) {
            return pool.give_up_idle(Some(lacking));
        }
        if let Some(places) = pools.iter().find_map(|pool| pool.give_up_connect(lacking)) {
            return Some(places);
        }
        if is_main { self.give_up_loan(lacking) } else { None }
    }

    fn give_up_loan(&self, lacking: &Lacking) -> Option<Places> {
        let mut loans = self.loans.borrow_mut();
        let at = loans.iter().position(|(_, connection)| connection.slot.fits(lacking))?;
        let (task, connection) = loans.remove(at);
        drop(loans);
        let places = connection.slot.vacate();
        self.reactor.cancel(task);
        Some(places)
    }

    /// Let the place of a spare connection move to the shard that asks.
    fn give_to(&self, claim: &Claim) -> Option<Moved> {
        let Places { permit, host } = self.give_up(&claim.lacking, claim.is_main)?;
        let permit = permit.filter(|permit| permit.is_of(claim.priority));
        let host = host.filter(|_| matches!(claim.lacking, Lacking::Host(_)));
        let moved = Moved { permit: permit.is_some(), host: host.is_some() };
        permit.into_iter().for_each(Permit::move_away);
        host.into_iter().for_each(HostPlace::move_away);
        Some(moved)
    }

    fn answer(self: &Rc<Self>) {
        for claim in self.limits.claims() {
            if !claim.is_waiting() {
                continue;
            }
            let moved = self.give_to(&claim);
            if let Some(lost) = claim.answer(moved) {
                self.limits.take_back(&claim, lost);
            }
        }
    }

    /// The lease serves side work from now on, in the task that is being polled.
    pub(super) fn lend(self: &Rc<Self>, lease: &Lease) -> Option<Loan> {
        if !self.is_limited || !lease.wire.is_exclusive() {
            return None;
        }
        let connection = lease.connection.clone();
        connection.slot.set_spare(true);
        self.loans.borrow_mut().push((self.reactor.current_task(), connection.clone()));
        Some(Loan { group: self.clone(), connection })
    }
}

impl Drop for PoolGroup {
    fn drop(&mut self) {
        if self.is_limited {
            self.reactor.cancel(self.clerk.get());
            self.limits.leave();
        }
    }
}

/// A connection serves side work as long as this lives.
pub struct Loan {
    group: Rc<PoolGroup>,
    connection: Rc<Connection>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.group.loans.borrow_mut().retain(|(_, connection)| !Rc::ptr_eq(connection, &self.connection));
        self.connection.slot.set_spare(self.connection.active.get() == 0);
    }
}

/// Runs as long as the group lives.
async fn answer(group: Weak<PoolGroup>) {
    let mut attends = false;
    poll_fn(|context| {
        let Some(group) = group.upgrade() else { return Poll::Ready(()) };
        if !std::mem::replace(&mut attends, true) {
            group.limits.attend(context.waker());
        }
        group.answer();
        Poll::Pending
    })
    .await;
}
