//! Draining a shard: connections end with their present exchange, those without one at once.

use crate::ring::{Reactor, TaskId};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The connections of a shard and whether they are to end.
#[derive(Default)]
pub struct Drain {
    draining: Cell<bool>,
    connections: RefCell<Slab<TaskId>>,
    /// The task that accepts.
    acceptor: Cell<Option<TaskId>>,
}

/// A connection's entry; dropped with it.
pub struct Registration {
    drain: Rc<Drain>,
    key: usize,
}

impl Drain {
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The same, to be looked at later.
    pub fn flag(&self) -> &Cell<bool> {
        &self.draining
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Connections end with their present exchange, idle ones at once.
    pub fn start(&self, reactor: &Reactor) {
        self.draining.set(true);
        if let Some(task) = self.acceptor.get() {
            reactor.wake(task);
        }
        self.connections.borrow().iter().for_each(|(_, task)| reactor.wake(*task));
    }

    /// Wake the current task when draining starts, too: it accepts connections.
    pub fn watch(&self, reactor: &Reactor) {
        self.acceptor.set(Some(reactor.current_task()));
    }

    /// End every connection now.
    pub fn abort(&self, reactor: &Reactor) {
        let tasks: Vec<_> = self.connections.borrow().iter().map(|(_, task)| *task).collect();
        tasks.into_iter().for_each(|task| reactor.cancel(task));
    }

    /// Give memory that is only kept for reuse back.
    pub fn trim(&self) {
        self.connections.borrow_mut().shrink_to_fit();
    }

    /// Enter the current task.
    pub fn register(self: &Rc<Self>, reactor: &Reactor) -> Registration {
        let key = self.connections.borrow_mut().insert(reactor.current_task());
        Registration { drain: self.clone(), key }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut connections = self.drain.connections.borrow_mut();
        connections.remove(self.key);
    }
}
