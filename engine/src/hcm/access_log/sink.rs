//! A file of access logs and its thread.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::base::log_file;
use crate::stats::AccessLogStats;

/// Batches on their way to one file, of all shards together. Each shard has at most three of them.
const QUEUE_LEN: usize = 256;

/// The handle that a log has on a file that is open. Log entries with the same path share the file.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    /// For tables of sinks; that of a sink which is no more is used again.
    pub id: usize,
    /// Its reader looks at each line as it comes.
    pub is_terminal: bool,
    way: Arc<Way>,
    /// Logs have it, and nothing else.
    in_use: Arc<()>,
}

/// The handle that a shard has, for what it has written and not handed over yet.
#[derive(Debug)]
pub(super) struct Outlet {
    way: Arc<Way>,
    in_use: Weak<()>,
}

/// The handle that knows whether there is a sink, and does not keep it.
#[derive(Debug)]
pub(super) struct Known {
    id: usize,
    is_terminal: bool,
    way: Weak<Way>,
    in_use: Weak<()>,
}

/// What leads to a sink's thread, which ends when this is dropped.
#[derive(Debug)]
struct Way {
    queue: SyncSender<Message>,
    orders: Arc<Orders>,
    /// Held until no shard has a table with it.
    _place: Arc<Place>,
}

/// Numbers of sinks.
#[derive(Debug, Default)]
pub(super) struct Places {
    free: Mutex<Vec<usize>>,
    next: AtomicUsize,
}

/// A number. Dropped, it is another sink's.
#[derive(Debug)]
pub(super) struct Place {
    pub id: usize,
    places: Arc<Places>,
}

impl Places {
    pub(super) fn take(self: &Arc<Self>) -> Arc<Place> {
        let freed = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let id = freed.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed));
        Arc::new(Place { id, places: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
    }
}

/// Lines for one sink, with the way back for the buffer.
#[derive(Debug)]
pub(super) struct Batch {
    pub bytes: Vec<u8>,
    pub lines: u64,
    pub give_back: SyncSender<Vec<u8>>,
}

#[derive(Debug)]
pub(super) enum Message {
    Batch(Batch),
    /// There are orders.
    Look,
}

/// Orders, apart from the queue: they must not be lost when it is full.
#[derive(Debug, Default)]
struct Orders {
    reopen: AtomicBool,
    stop: AtomicBool,
}

impl Sink {
    fn new(place: &Arc<Place>, is_terminal: bool, queue: SyncSender<Message>, orders: Arc<Orders>) -> Self {
        let way = Arc::new(Way { queue, orders, _place: place.clone() });
        Self { id: place.id, is_terminal, way, in_use: Arc::default() }
    }

    /// Starts the thread that writes to `file`. It drops `done` when it ends.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(
        place: &Arc<Place>,
        file: LogFile,
        stats: Arc<AccessLogStats>,
        done: impl Send + 'static,
    ) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE_LEN);
        let orders = Arc::new(Orders::default());
        let is_terminal = file.file.as_ref().is_some_and(File::is_terminal);
        let mut thread = Thread { file, orders: orders.clone(), stats };
        // The cells that it counts in are those of its place.
        let until_then = (place.clone(), done);
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            thread.run(messages);
            drop(until_then);
        })?;
        Ok(Self::new(place, is_terminal, queue, orders))
    }

    /// One without a thread of its own: its batches come out of the receiver.
    pub(super) fn export(place: &Arc<Place>) -> (Self, Receiver<Message>) {
        let (queue, messages) = sync_channel(QUEUE_LEN);
        (Self::new(place, false, queue, Arc::default()), messages)
    }

    pub(super) fn outlet(&self) -> Outlet {
        Outlet { way: self.way.clone(), in_use: Arc::downgrade(&self.in_use) }
    }

    pub(super) fn known(&self) -> Known {
        let (way, in_use) = (Arc::downgrade(&self.way), Arc::downgrade(&self.in_use));
        Known { id: self.id, is_terminal: self.is_terminal, way, in_use }
    }
}

impl Known {
    /// The sink, as long as a log has it.
    pub(super) fn sink(&self) -> Option<Sink> {
        let (way, in_use) = (self.way.upgrade()?, self.in_use.upgrade()?);
        Some(Sink { id: self.id, is_terminal: self.is_terminal, way, in_use })
    }

    /// Whether its thread may have something to write.
    pub(super) fn is_there(&self) -> bool {
        self.way.strong_count() > 0
    }

    pub(super) fn reopen(&self) {
        self.order(|orders| &orders.reopen);
    }

    pub(super) fn stop(&self) {
        self.order(|orders| &orders.stop);
    }

    fn order(&self, order: impl FnOnce(&Orders) -> &AtomicBool) {
        let Some(way) = self.way.upgrade() else { return };
        order(&way.orders).store(true, Ordering::Release);
        // When the queue is full the thread is about to look anyway.
        let _ = way.queue.try_send(Message::Look);
    }
}

impl Outlet {
    /// Whether a log has the sink.
    pub(super) fn is_used(&self) -> bool {
        self.in_use.strong_count() > 0
    }

    /// Hands a batch over without waiting; gives it back when the queue is full or the thread has ended.
    pub(super) fn submit(&self, batch: Batch) -> Result<(), Batch> {
        self.way.queue.try_send(Message::Batch(batch)).map_err(|refused| match refused {
            TrySendError::Full(Message::Batch(batch)) | TrySendError::Disconnected(Message::Batch(batch)) => batch,
            TrySendError::Full(Message::Look) | TrySendError::Disconnected(Message::Look) => {
                unreachable!("what comes back is what was sent")
            }
        })
    }
}

/// The thread's side.
struct Thread {
    file: LogFile,
    orders: Arc<Orders>,
    stats: Arc<AccessLogStats>,
}

impl Thread {
    /// Until it is told to stop or the last handle is gone. Takes the queue, so that batches are refused when it is over.
    fn run(&mut self, messages: Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            self.handle(message);
            if self.orders.stop.load(Ordering::Acquire) {
                while let Ok(message) = messages.try_recv() {
                    self.handle(message);
                }
                return;
            }
        }
    }

    fn handle(&mut self, message: Message) {
        if self.orders.reopen.swap(false, Ordering::AcqRel) {
            self.file.reopen(&self.stats);
        }
        let Message::Batch(mut batch) = message else { return };
        let orders = &self.orders;
        // A file that takes nothing for now is let go by a reopening, too.
        let written = self.file.write(&batch, &self.stats, || orders.reopen.load(Ordering::Acquire));
        self.stats.lines_written.add(written);
        self.stats.lines_lost.add(batch.lines - written);
        batch.bytes.clear();
        // A shard that has ended does not want it back.
        let _ = batch.give_back.try_send(batch.bytes);
    }
}

/// Where the lines go.
#[derive(Debug)]
pub(super) struct LogFile {
    /// `None`: standard output, which cannot be opened again.
    path: Option<PathBuf>,
    /// `None`: a FIFO that has no reader yet. Lines are lost until it has one.
    file: Option<File>,
    /// The last write ended within a line.
    torn: bool,
    /// The last write failed; the program log has it once and not for each batch.
    failing: bool,
}

impl LogFile {
    /// The file at `path`, or standard output. Never waits.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let (path, file) = match path {
            None => (None, Some(own_stdout()?)),
            Some(path) => (Some(path.to_path_buf()), log_file::open(path)?),
        };
        Ok(Self { path, file, torn: false, failing: false })
    }

    /// How many of the batch's lines are in the file. What could not be written is not tried again: the disk may stay
    /// full for hours.
    fn write(&mut self, batch: &Batch, stats: &AccessLogStats, gives_up: impl Fn() -> bool) -> u64 {
        let (done, result) = self.write_bytes(&batch.bytes, gives_up);
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
    fn write_bytes(&mut self, bytes: &[u8], gives_up: impl Fn() -> bool) -> (usize, io::Result<()>) {
        if let (None, Some(path)) = (&self.file, &self.path) {
            match log_file::open(path) {
                Ok(file) => self.file = file,
                Err(error) => return (0, Err(error)),
            }
        }
        let Some(file) = &mut self.file else {
            return (0, Err(io::Error::new(ErrorKind::BrokenPipe, "the FIFO has no reader")));
        };
        if self.torn {
            match log_file::write(file, b"\n", &gives_up) {
                (_, Ok(())) => self.torn = false,
                (_, Err(error)) => return (0, Err(error)),
            }
        }
        let (done, result) = log_file::write(file, bytes, gives_up);
        // A format without a line end is the user's wish and not a torn line.
        self.torn = result.is_err() && bytes[..done].last().is_some_and(|byte| *byte != b'\n');
        (done, result)
    }

    fn reopen(&mut self, stats: &AccessLogStats) {
        let Some(path) = &self.path else { return };
        match log_file::open(path) {
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

/// Standard output without std's lock and buffer.
fn own_stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}
