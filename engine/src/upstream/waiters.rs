//! Requests that wait for a connection of a pool, served in the order in which they came.

use super::connect::ConnectError;
use super::lease::Lease;
use crate::ring::{Reactor, TaskId};
use slab::Slab;
use std::collections::VecDeque;

/// What a waiter gets.
pub(super) type Outcome = Result<Lease, ConnectError>;

/// How a waiter left.
pub(super) enum Left {
    /// It gave up.
    Unserved,
    /// It had its outcome, which is here if it was not taken.
    Served(Option<Outcome>),
}

struct Waiter {
    number: u64,
    task: TaskId,
    outcome: Option<Outcome>,
}

/// Names a waiter until it is removed.
#[derive(Clone, Copy)]
pub(super) struct WaiterKey(usize);

/// The queue. A waiter leaves it with its outcome, or when it is removed.
#[derive(Default)]
pub(super) struct Waiters {
    slots: Slab<Waiter>,
    /// Slots and numbers in order; those that left early are passed over.
    order: VecDeque<(usize, u64)>,
    next: u64,
    /// Without an outcome yet.
    waiting: usize,
}

impl Waiters {
    /// Waiters without an outcome.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// A new waiter, behind all others.
    pub(super) fn join(&mut self, task: TaskId) -> WaiterKey {
        self.next += 1;
        let slot = self.slots.insert(Waiter { number: self.next, task, outcome: None });
        self.order.push_back((slot, self.next));
        self.waiting += 1;
        WaiterKey(slot)
    }

    /// The waiter's outcome, if it is there. `task`: to be woken when it comes.
    pub(super) fn poll(&mut self, key: WaiterKey, task: TaskId) -> Option<Outcome> {
        let waiter = &mut self.slots[key.0];
        waiter.task = task;
        waiter.outcome.take()
    }

    /// Give the oldest waiter its outcome. `Err`: none waits.
    pub(super) fn serve(&mut self, outcome: Outcome, reactor: &Reactor) -> Result<(), Outcome> {
        while let Some((slot, number)) = self.order.pop_front() {
            if let Some(waiter) = self.slots.get_mut(slot).filter(|waiter| waiter.number == number) {
                waiter.outcome = Some(outcome);
                self.waiting -= 1;
                reactor.wake(waiter.task);
                return Ok(());
            }
        }
        Err(outcome)
    }

    /// A waiter leaves.
    pub(super) fn leave(&mut self, key: WaiterKey) -> Left {
        let waiter = self.slots.remove(key.0);
        match self.order.iter().rposition(|(_, number)| *number == waiter.number) {
            Some(at) => {
                self.order.remove(at);
                self.waiting -= 1;
                Left::Unserved
            }
            None => Left::Served(waiter.outcome),
        }
    }
}
