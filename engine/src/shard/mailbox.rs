//! How the rest of the process talks to a shard: commands in a queue, and a nudge to look at it.

use super::plan::Plan;
use super::snapshot::Sockets;
use crate::ring::Unpark;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

pub enum Command {
    /// Go over to a new configuration. `sockets` holds those of new listeners.
    Apply { plan: Arc<Plan>, sockets: Sockets, done: Sender<()> },
    /// Stop accepting, end connections with their present exchange, tell when the last is gone.
    Drain { drained: Sender<()> },
    /// End now.
    Stop,
}

pub struct Mailbox {
    commands: Mutex<Vec<Command>>,
    unpark: Unpark,
}

impl Mailbox {
    pub(super) fn new(unpark: Unpark) -> Arc<Self> {
        Arc::new(Self { commands: Mutex::new(Vec::new()), unpark })
    }

    pub fn send(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.unpark.unpark();
    }

    pub(super) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
