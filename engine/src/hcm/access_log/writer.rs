//! The one thread that writes access logs: it owns the files, so that a slow disk delays only log lines.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringway_config::model::AccessLogSink;

use crate::stats::{AccessLogStats, Registry};

/// Batches on their way, of all shards together. Each sink on each shard has at most three of them.
const QUEUE_LEN: usize = 256;

/// The writer's cells in the registry are those of a shard that does not exist: a cell has one writer.
const STATS_SHARD: usize = usize::MAX;

/// A file that the writer has open. Entries with the same path share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkId(usize);

impl SinkId {
    pub(super) fn from_index(index: usize) -> Self {
        Self(index)
    }

    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// Lines for one sink, with the way back for the buffer.
#[derive(Debug)]
pub(super) struct Batch {
    pub sink: SinkId,
    pub bytes: Vec<u8>,
    pub lines: u64,
    pub give_back: SyncSender<Vec<u8>>,
}

/// A file that could not be opened when the log was set up.
#[derive(Debug)]
pub struct OpenError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot open the access log {}: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The handle on the thread. The thread ends by itself, with everything written, when the last handle is gone.
#[derive(Debug)]
pub struct Writer {
    queue: SyncSender<Message>,
    /// Orders, apart from the queue: they must not be lost when it is full.
    orders: Arc<Mutex<Vec<Order>>>,
    sinks: Mutex<HashMap<AccessLogSink, SinkId>>,
    stopped: Mutex<Receiver<()>>,
}

#[derive(Debug)]
enum Message {
    Batch(Batch),
    /// Something may be among the orders.
    Look,
}

#[derive(Debug)]
enum Order {
    Add(Sink),
    Reopen,
    Stop,
}

impl Writer {
    /// Starts the thread. Written and lost lines are counted in `registry` as `access_log.*`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(registry: &Registry) -> io::Result<Arc<Self>> {
        let (queue, messages) = sync_channel(QUEUE_LEN);
        let (stopping, stopped) = sync_channel(1);
        let orders = Arc::new(Mutex::new(Vec::new()));
        let mut thread = Thread {
            sinks: Vec::new(),
            orders: Arc::clone(&orders),
            stats: registry.scope("", STATS_SHARD),
            stopping: false,
        };
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            thread.run(messages);
            // Nobody may be waiting.
            let _ = stopping.try_send(());
        })?;
        Ok(Arc::new(Self { queue, orders, sinks: Mutex::default(), stopped: Mutex::new(stopped) }))
    }

    /// The sink's id; its file is opened (for appending, created if need be) unless it is open already.
    ///
    /// # Errors
    /// When the file cannot be opened; the error names it.
    pub fn open(&self, sink: &AccessLogSink) -> Result<SinkId, OpenError> {
        let mut sinks = lock(&self.sinks);
        if let Some(id) = sinks.get(sink) {
            return Ok(*id);
        }
        let (path, file) = match sink {
            AccessLogSink::Stdout => (None, own_stdout()),
            AccessLogSink::File(path) => (Some(path.clone()), open_file(path)),
        };
        let shown = path.clone().unwrap_or_else(|| PathBuf::from("/dev/stdout"));
        let file = file.map_err(|source| OpenError { path: shown, source })?;
        let id = SinkId(sinks.len());
        self.order(Order::Add(Sink { path, file, torn: false, failing: false }));
        sinks.insert(sink.clone(), id);
        Ok(id)
    }

    /// Opens every file again, so that a rotated one is let go (SIGUSR1). A file that cannot be opened stays in use as
    /// it is; both are counted. Returns before it is done.
    pub fn reopen(&self) {
        self.order(Order::Reopen);
    }

    /// Writes what was handed over and ends the thread; lines handed over later are lost. `false` when that took longer
    /// than `patience`, as with a pipe that nobody reads.
    pub fn stop(&self, patience: Duration) -> bool {
        self.order(Order::Stop);
        // The sender is gone when the thread is, however it ended.
        lock(&self.stopped).recv_timeout(patience) != Err(std::sync::mpsc::RecvTimeoutError::Timeout)
    }

    /// Hands a batch over without waiting; gives it back when the queue is full or the thread has ended.
    pub(super) fn submit(&self, batch: Batch) -> Result<(), Batch> {
        self.queue.try_send(Message::Batch(batch)).map_err(|refused| match refused {
            TrySendError::Full(Message::Batch(batch)) | TrySendError::Disconnected(Message::Batch(batch)) => batch,
            TrySendError::Full(Message::Look) | TrySendError::Disconnected(Message::Look) => {
                unreachable!("what comes back is what was sent")
            }
        })
    }

    fn order(&self, order: Order) {
        lock(&self.orders).push(order);
        // When the queue is full the thread is about to look anyway.
        let _ = self.queue.try_send(Message::Look);
    }
}

/// The thread's side.
struct Thread {
    /// Indexed by `SinkId`.
    sinks: Vec<Sink>,
    orders: Arc<Mutex<Vec<Order>>>,
    stats: Arc<AccessLogStats>,
    stopping: bool,
}

impl Thread {
    /// Until it is told to stop or nobody is left. Takes the queue, so that batches are refused when it is over.
    fn run(&mut self, messages: Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            // A sink is ordered before its first batch is queued, so orders go first.
            self.follow_orders();
            self.handle(message);
            if self.stopping {
                while let Ok(message) = messages.try_recv() {
                    self.follow_orders();
                    self.handle(message);
                }
                return;
            }
        }
    }

    fn follow_orders(&mut self) {
        let orders = std::mem::take(&mut *lock(&self.orders));
        for order in orders {
            match order {
                Order::Add(sink) => self.sinks.push(sink),
                Order::Reopen => self.sinks.iter_mut().for_each(|sink| sink.reopen(&self.stats)),
                Order::Stop => self.stopping = true,
            }
        }
    }

    fn handle(&mut self, message: Message) {
        let Message::Batch(mut batch) = message else { return };
        let written = self.sinks[batch.sink.0].write(&batch, &self.stats);
        self.stats.lines_written.add(written);
        self.stats.lines_lost.add(batch.lines - written);
        batch.bytes.clear();
        // A shard that has ended does not want it back.
        let _ = batch.give_back.try_send(batch.bytes);
    }
}

/// An open file.
#[derive(Debug)]
struct Sink {
    /// `None`: standard output, which cannot be opened again.
    path: Option<PathBuf>,
    file: File,
    /// The last write ended within a line.
    torn: bool,
    /// The last write failed; the program log has it once and not for each batch.
    failing: bool,
}

impl Sink {
    /// How many of the batch's lines are in the file. What could not be written is not tried again: the disk may stay
    /// full for hours.
    fn write(&mut self, batch: &Batch, stats: &AccessLogStats) -> u64 {
        let (done, result) = self.write_bytes(&batch.bytes);
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(target: "access_log", path = %self.shown(), "writing works again");
                }
                batch.lines
            }
            Err(error) => {
                stats.write_failed.inc();
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(target: "access_log", path = %self.shown(), %error, "lines are lost");
                }
                let whole = batch.bytes[..done].iter().filter(|byte| **byte == b'\n').count() as u64;
                whole.min(batch.lines)
            }
        }
    }

    /// How many bytes were written, and why not all of them.
    fn write_bytes(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        if self.torn {
            match self.file.write_all(b"\n") {
                Ok(()) => self.torn = false,
                Err(error) => return (0, Err(error)),
            }
        }
        let mut done = 0;
        while done < bytes.len() {
            match self.file.write(&bytes[done..]) {
                Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    done += n;
                    self.torn = bytes[done - 1] != b'\n';
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (done, Err(error)),
            }
        }
        // A format without a line end is the user's wish and not a torn line.
        self.torn = false;
        (done, Ok(()))
    }

    fn reopen(&mut self, stats: &AccessLogStats) {
        let Some(path) = &self.path else { return };
        match open_file(path) {
            Ok(file) => {
                self.file = file;
                self.torn = false;
                stats.reopened.inc();
            }
            Err(error) => {
                stats.reopen_failed.inc();
                tracing::warn!(target: "access_log", path = %path.display(), %error, "not reopened, the old file stays");
            }
        }
    }

    fn shown(&self) -> std::path::Display<'_> {
        self.path.as_deref().unwrap_or(Path::new("/dev/stdout")).display()
    }
}

/// For appending, so that a rotation that truncates the file works as well as one that renames it.
fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Standard output without std's lock and buffer.
fn own_stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
