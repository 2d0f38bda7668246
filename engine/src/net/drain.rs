//! Draining a shard: connections end with their present exchange, and those without one with their next, if it begins within
//! a second.

use super::house::{Demand, Room};
use super::limit::Permits;
use super::roster::{Roster, Seat};
use super::spread::Spreader;
use crate::base::clock::{Nanos, nanos};
use crate::ring::{Reactor, TaskId};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The connections of a listener on a shard, and whether they are to end.
pub struct Drain {
    draining: Cell<bool>,
    since: Cell<Nanos>,
    /// What may still bring a connection: the task that accepts, and connections that wait for a place.
    arriving: Cell<usize>,
    connections: RefCell<Roster>,
    /// The task that accepts.
    acceptor: Cell<Option<TaskId>>,
    spreader: Rc<Spreader>,
}

/// A connection's entry; dropped with it.
pub struct Registration {
    drain: Rc<Drain>,
    seat: Seat,
}

/// How long a connection without a request has for its next one when a drain begins. Its client cannot know of the drain, and
/// a request that it is about to send would be lost with the connection.
const GRACE: Duration = Duration::from_secs(1);

/// See `Drain::arriving`.
pub struct Arriving(Rc<Drain>);

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.arriving.set(self.0.arriving.get() - 1);
    }
}

impl Registration {
    pub fn seat(&self) -> Seat {
        self.seat
    }
}

impl Drain {
    pub fn new(room: Arc<Room>, spreader: &Rc<Spreader>) -> Rc<Self> {
        Rc::new(Self {
            draining: Cell::default(),
            since: Cell::default(),
            arriving: Cell::default(),
            connections: RefCell::new(Roster::new(room)),
            acceptor: Cell::default(),
            spreader: spreader.clone(),
        })
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The same, to be looked at later.
    pub fn flag(&self) -> &Cell<bool> {
        &self.draining
    }

    /// Until when a connection that has waited for a request since `waits` waits for one. `None`: it does not drain.
    pub fn ends_waiting(&self, waits: Nanos) -> Option<Nanos> {
        self.draining.get().then(|| self.since.get().max(waits) + nanos(GRACE))
    }

    /// Something may bring a connection until this is dropped.
    pub fn arriving(self: &Rc<Self>) -> Arriving {
        self.arriving.set(self.arriving.get() + 1);
        Arriving(self.clone())
    }

    /// Whether it drains, and no connection is left or still to come.
    pub fn is_over(&self) -> bool {
        self.draining.get() && self.arriving.get() == 0 && self.connections() == 0
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// As other shards see it.
    pub fn room(&self) -> Arc<Room> {
        self.connections.borrow().room.clone()
    }

    /// What its shard has to do with connections of other shards.
    pub fn spreader(&self) -> &Rc<Spreader> {
        &self.spreader
    }

    /// The connection goes, and keeps its permits.
    pub(super) fn take_permits(&self, seat: Seat) -> Option<Permits> {
        self.connections.borrow_mut().take_permits(seat)
    }

    /// Connections end with their present exchange. Those that wait for a request still get one, within a second.
    pub fn start(&self, reactor: &Reactor) {
        if !self.draining.replace(true) {
            self.since.set(reactor.now());
        }
        if let Some(task) = self.acceptor.get() {
            reactor.wake(task);
        }
        let connections = self.connections.borrow();
        connections.room.wake_keeper();
        connections.tasks().for_each(|task| reactor.wake(task));
    }

    /// Wake the current task when draining starts, too: it accepts connections.
    pub fn watch(&self, reactor: &Reactor) {
        self.acceptor.set(Some(reactor.current_task()));
    }

    /// End every connection now.
    pub fn abort(&self, reactor: &Reactor) {
        let tasks: Vec<_> = self.connections.borrow().tasks().collect();
        tasks.into_iter().for_each(|task| reactor.cancel(task));
    }

    /// Give memory that is only kept for reuse back.
    pub fn trim(&self) {
        self.connections.borrow_mut().trim();
    }

    /// Enter the current task, which waits for its first request.
    pub fn register(self: &Rc<Self>, reactor: &Reactor, permits: Option<Permits>) -> Registration {
        let mut connections = self.connections.borrow_mut();
        let seat = connections.insert(reactor.current_task(), permits);
        connections.waits(seat, reactor.now());
        drop(connections);
        Registration { drain: self.clone(), seat }
    }

    /// The connection waits for a request from now on, and may be asked to give up its place: the longer it waits, the sooner.
    #[inline]
    pub fn waits(&self, seat: Seat, now: Nanos) {
        self.connections.borrow_mut().waits(seat, now);
    }

    /// The connection no longer waits. If it was asked to give up its place, it declines.
    #[inline]
    pub fn works(&self, seat: Seat) {
        self.connections.borrow_mut().works(seat);
    }

    /// Whether the connection, which waits, is asked to give up its place. It answers with `give_up`, `waits` or `works`.
    #[inline]
    pub fn is_asked(&self, seat: Seat) -> bool {
        self.connections.borrow().is_asked(seat)
    }

    /// The connection closes, and another one has its permits.
    pub fn give_up(&self, seat: Seat) {
        self.connections.borrow_mut().give_up(seat);
    }

    /// Asks the connection that has waited longest for its place.
    pub fn ask(&self, reactor: &Reactor, demand: Demand) {
        self.connections.borrow_mut().ask(reactor, demand);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.drain.connections.borrow_mut().remove(self.seat);
    }
}
