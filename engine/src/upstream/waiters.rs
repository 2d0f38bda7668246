//! Requests that wait for a connection of a pool, served in the order in which they came, those of side work last.

use super::Work;
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
    work: Work,
    outcome: Option<Outcome>,
}

/// Names a waiter until it is removed.
#[derive(Clone, Copy)]
pub(super) struct WaiterKey(usize);

/// The queue. A waiter leaves it with its outcome, or when it is removed.
#[derive(Default)]
pub(super) struct Waiters {
    slots: Slab<Waiter>,
    main: Order,
    side: Order,
    next: u64,
}

/// Slots and numbers in order; those that left early are passed over.
#[derive(Default)]
struct Order {
    queue: VecDeque<(usize, u64)>,
    /// Without an outcome yet.
    waiting: usize,
}

impl Waiters {
    /// Waiters without an outcome.
    pub(super) fn waiting(&self) -> usize {
        self.main.waiting + self.side.waiting
    }

    /// The same of main traffic.
    pub(super) fn waiting_main(&self) -> usize {
        self.main.waiting
    }

    fn order(&mut self, work: Work) -> &mut Order {
        match work {
            Work::Main => &mut self.main,
            Work::Side => &mut self.side,
        }
    }

    /// A new waiter, behind all others of its kind.
    pub(super) fn join(&mut self, task: TaskId, work: Work) -> WaiterKey {
        self.next += 1;
        let number = self.next;
        let slot = self.slots.insert(Waiter { number, task, work, outcome: None });
        let order = self.order(work);
        order.queue.push_back((slot, number));
        order.waiting += 1;
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
        let outcome = match self.main.waiting {
            0 => outcome,
            _ => match self.serve_of(Work::Main, outcome, reactor) {
                Ok(()) => return Ok(()),
                Err(outcome) => outcome,
            },
        };
        self.serve_of(Work::Side, outcome, reactor)
    }

    /// The same for side work alone, if any waits.
    pub(super) fn serve_side(&mut self, outcome: Outcome, reactor: &Reactor) {
        drop(self.serve_of(Work::Side, outcome, reactor));
    }

    fn serve_of(&mut self, work: Work, outcome: Outcome, reactor: &Reactor) -> Result<(), Outcome> {
        while let Some((slot, number)) = self.order(work).queue.pop_front() {
            if let Some(waiter) = self.slots.get_mut(slot).filter(|waiter| waiter.number == number) {
                waiter.outcome = Some(outcome);
                reactor.wake(waiter.task);
                self.order(work).waiting -= 1;
                return Ok(());
            }
        }
        Err(outcome)
    }

    /// A waiter leaves.
    pub(super) fn leave(&mut self, key: WaiterKey) -> Left {
        let waiter = self.slots.remove(key.0);
        let order = self.order(waiter.work);
        match order.queue.iter().rposition(|(_, number)| *number == waiter.number) {
            Some(at) => {
                order.queue.remove(at);
                order.waiting -= 1;
                Left::Unserved
            }
            None => Left::Served(waiter.outcome),
        }
    }
}
