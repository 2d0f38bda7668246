//! A shard's side of the access log: a buffer for each sink, handed over full or when the timer says so; a terminal gets each
//! line at once.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::CompiledLog;
use super::sink::{Batch, Outlet, Sink};
use crate::http::format::{Record, SecondCache, format_line};
use crate::stats::{AccessLogStats, Registry};

/// A buffer with this many bytes is handed over at once.
const BATCH_SIZE: usize = 64 * 1024;
/// Room for the line that fills the batch.
const BUFFER_CAPACITY: usize = BATCH_SIZE + 16 * 1024;
/// Buffers that one sink may use on one shard, the one that is being filled included. With the lines that overshoot
/// this is what the log may cost: 4 x 80 KiB for each sink and shard.
const BUFFERS_MAX: usize = 4;
/// A buffer that grew past this for a long line is not kept.
const CAPACITY_KEPT: usize = 2 * BATCH_SIZE;

/// Where a shard's exchanges put their lines. Not shared between threads; `&self`, because every connection of the
/// shard holds it.
#[derive(Debug)]
pub struct ShardLog {
    stats: Arc<AccessLogStats>,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    second: SecondCache,
    /// Indexed by `Sink::id`; made at the first line.
    sinks: Vec<Option<Buffers>>,
}

#[derive(Debug)]
struct Buffers {
    outlet: Outlet,
    filling: Vec<u8>,
    lines: u64,
    /// Buffers that the sink's thread has.
    away: usize,
    give_back: SyncSender<Vec<u8>>,
    given_back: Receiver<Vec<u8>>,
    /// Empty buffers with their capacity.
    spare: Vec<Vec<u8>>,
}

impl ShardLog {
    /// For the shard with this index, whose lost lines are counted in `registry`.
    pub fn new(registry: &Registry, shard: usize) -> Self {
        Self { stats: registry.scope("", shard), state: RefCell::default() }
    }

    /// Formats the line, where the log takes the exchange, and keeps it for the next batch. Never waits and does no I/O.
    pub fn append(&self, log: &CompiledLog, record: &Record<'_>) {
        if !log.takes(record) {
            return;
        }
        let mut state = self.state.borrow_mut();
        let State { second, sinks } = &mut *state;
        let buffers = buffers_of(sinks, &log.sink);
        format_line(&log.format, record, second, &mut buffers.filling);
        buffers.lines += 1;
        if buffers.filling.len() < BATCH_SIZE {
            if log.sink.is_terminal {
                buffers.hand_over();
            }
        } else if !buffers.hand_over() {
            self.stats.lines_lost.add(buffers.lines);
            buffers.filling.clear();
            buffers.lines = 0;
        }
    }

    /// Hands over what there is. For the shard's timer and for its end; when the writer is behind, the lines stay here
    /// until their buffer is full. What belongs to no log any more, because a reload has removed it, is let go.
    pub fn flush(&self) {
        for place in &mut self.state.borrow_mut().sinks {
            let Some(buffers) = place else { continue };
            let is_empty = buffers.filling.is_empty() || buffers.hand_over();
            if is_empty && !buffers.outlet.is_used() {
                *place = None;
            }
        }
    }

    /// Counts what could not be handed over as lost. For the shard's end, after the last `flush`.
    fn give_up(&self) {
        for buffers in self.state.borrow_mut().sinks.iter_mut().flatten() {
            self.stats.lines_lost.add(std::mem::take(&mut buffers.lines));
            buffers.filling.clear();
        }
    }
}

impl Drop for ShardLog {
    fn drop(&mut self) {
        self.flush();
        self.give_up();
    }
}

impl Buffers {
    fn new(outlet: Outlet) -> Self {
        // Room for all that may be away, so that the writer never finds it full.
        let (give_back, given_back) = sync_channel(BUFFERS_MAX);
        let filling = Vec::with_capacity(BUFFER_CAPACITY);
        Self { outlet, filling, lines: 0, away: 0, give_back, given_back, spare: Vec::with_capacity(BUFFERS_MAX) }
    }

    /// Whether the sink's thread took the buffer; a new one is in its place then.
    fn hand_over(&mut self) -> bool {
        self.collect();
        if self.away + 1 >= BUFFERS_MAX {
            return false;
        }
        let empty = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_CAPACITY));
        let batch = Batch {
            bytes: std::mem::replace(&mut self.filling, empty),
            lines: self.lines,
            give_back: self.give_back.clone(),
        };
        match self.outlet.submit(batch) {
            Ok(()) => {
                self.away += 1;
                self.lines = 0;
                true
            }
            Err(batch) => {
                self.spare.push(std::mem::replace(&mut self.filling, batch.bytes));
                false
            }
        }
    }

    /// Takes back what the thread is done with.
    fn collect(&mut self) {
        while let Ok(mut empty) = self.given_back.try_recv() {
            self.away -= 1;
            empty.clear();
            if empty.capacity() <= CAPACITY_KEPT {
                self.spare.push(empty);
            }
        }
    }
}

fn buffers_of<'a>(sinks: &'a mut Vec<Option<Buffers>>, sink: &Sink) -> &'a mut Buffers {
    if sinks.len() <= sink.id {
        sinks.resize_with(sink.id + 1, || None);
    }
    sinks[sink.id].get_or_insert_with(|| Buffers::new(sink.outlet()))
}
