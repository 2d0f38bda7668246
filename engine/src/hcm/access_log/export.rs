//! Records for programs elsewhere, on their way from the shards to the thread that sends them.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};

use ringway_config::model::LogExport;

use super::sink::{Batch, Message};

/// The records for one program.
#[derive(Debug)]
pub struct LogQueue {
    pub export: Arc<LogExport>,
    messages: Receiver<Message>,
    is_over: Cell<bool>,
}

/// Records of one shard. Their memory goes back to it with this value.
#[derive(Debug)]
pub struct Records(Batch);

/// The queues that no thread has taken yet.
#[derive(Debug, Default)]
pub struct LogQueues(Mutex<Vec<LogQueue>>);

impl LogQueue {
    pub(super) fn new(export: Arc<LogExport>, messages: Receiver<Message>) -> Self {
        Self { export, messages, is_over: Cell::new(false) }
    }

    /// The next records, if there are any.
    pub fn next(&self) -> Option<Records> {
        loop {
            match self.messages.try_recv() {
                Ok(Message::Batch(batch)) => return Some(Records(batch)),
                Ok(Message::Look) => {}
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => {
                    self.is_over.set(true);
                    return None;
                }
            }
        }
    }

    /// Whether no record will come any more: no log has this program, and all records have been taken.
    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }
}

impl Records {
    /// Their fields, one record behind the other.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    pub fn count(&self) -> u64 {
        self.0.lines
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0.bytes);
        bytes.clear();
        // A shard that has ended does not want it back.
        let _ = self.0.give_back.try_send(bytes);
    }
}

impl LogQueues {
    pub(super) fn add(&self, queue: LogQueue) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(queue);
    }

    /// Takes those that are new since the last call.
    pub fn take(&self) -> Vec<LogQueue> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
