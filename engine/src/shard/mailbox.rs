//! How the rest of the process talks to a shard: commands in a queue, and a nudge to look at it.

use super::plan::Plan;
use super::snapshot::Sockets;
use crate::hcm::CutOff;
use crate::ring::Unpark;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub enum Command {
    /// Go over to a new configuration. `sockets` holds those of new listeners.
    Apply { plan: Arc<Plan>, sockets: Sockets, done: Sender<()> },
    /// Stop accepting, end connections with their present exchange, tell when the last is gone.
    Drain { drained: Sender<()> },
    /// End now, and tell which exchanges that cuts off.
    Stop { cut_off: Sender<CutOff> },
}

pub struct Mailbox {
    /// `None`: the shard has ended.
    commands: Mutex<Option<Vec<Command>>>,
    unpark: Unpark,
}

impl Mailbox {
    pub(super) fn new(unpark: Unpark) -> Arc<Self> {
        Arc::new(Self { commands: Mutex::new(Some(Vec::new())), unpark })
    }

    /// A shard that has ended drops the command, and with it the sender of the answer.
    pub fn send(&self, command: Command) {
        if let Some(commands) = &mut *self.lock() {
            commands.push(command);
        }
        self.unpark.unpark();
    }

    pub(super) fn take(&self) -> Vec<Command> {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Command>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by the shard's thread: however that ends, its answer is no longer waited for.
pub(super) struct Reading(pub Arc<Mailbox>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.lock().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{PoolSize, Reactor};
    use std::sync::mpsc::{Receiver, TryRecvError, channel};

    #[test]
    fn nobody_waits_for_a_shard_that_has_ended() {
        let reactor = Reactor::simulated(1, PoolSize { count: 16, size: 1024 });
        let mailbox = Mailbox::new(reactor.unpark_handle());
        let ask = || -> Receiver<()> {
            let (drained, answer) = channel();
            mailbox.send(Command::Drain { drained });
            answer
        };
        let (reading, before) = (mailbox.clone(), ask());
        let died = std::thread::spawn(move || {
            let _reading = Reading(reading);
            panic!("as a test wants it");
        });
        assert!(died.join().is_err());
        assert_eq!([before, ask()].map(|answer| answer.try_recv()), [Err(TryRecvError::Disconnected); 2]);
        assert!(mailbox.take().is_empty());
    }
}
