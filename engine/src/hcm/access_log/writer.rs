//! All files of access logs. Each has a thread of its own, so that a slow disk or a pipe that is not read delays and costs
//! only its own lines.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringway_config::model::AccessLogSink;

use super::export::{LogQueue, LogQueues};
use super::sink::{Known, LogFile, Place, Places, Sink};
use crate::stats::Registry;

/// A sink's cells in the registry are those of a shard that does not exist, counted from here downwards: a cell has one
/// writer.
const STATS_SHARD: usize = usize::MAX - 1;

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

/// The handle on the threads. A thread ends by itself, with everything written, when the last handle is gone.
#[derive(Debug)]
pub struct Writer {
    registry: Arc<Registry>,
    /// Those that logs have. A sink ends with its last log, when what was written for it has gone.
    sinks: Mutex<HashMap<AccessLogSink, Known>>,
    places: Arc<Places>,
    queues: Arc<LogQueues>,
    /// Each thread has a copy of the sender; `None` once they were told to stop.
    running: Mutex<Option<Sender<()>>>,
    stopped: Mutex<Receiver<()>>,
}

impl Writer {
    /// Written and lost lines are counted in `registry` as `access_log.*`.
    pub fn new(registry: &Arc<Registry>) -> Arc<Self> {
        let (running, stopped) = channel();
        Arc::new(Self {
            registry: registry.clone(),
            sinks: Mutex::default(),
            places: Arc::default(),
            queues: Arc::default(),
            running: Mutex::new(Some(running)),
            stopped: Mutex::new(stopped),
        })
    }

    /// The sink; its file is opened (for appending, created if need be) unless it is open already. Never waits, not even
    /// for the reader of a FIFO.
    ///
    /// # Errors
    /// When the file cannot be opened or its thread not be started; the error names it.
    pub(super) fn open(&self, sink: &AccessLogSink) -> Result<Sink, OpenError> {
        let mut sinks = lock(&self.sinks);
        if let Some(open) = sinks.get(sink).and_then(Known::sink) {
            return Ok(open);
        }
        sinks.retain(|_, known| known.is_there());
        let place = self.places.take();
        let open = match sink {
            AccessLogSink::Export(export) => {
                let (open, messages) = Sink::export(&place);
                self.queues.add(LogQueue::new(export.clone(), messages));
                open
            }
            AccessLogSink::Stdout => self.open_file(&place, None)?,
            AccessLogSink::File(path) => self.open_file(&place, Some(path))?,
        };
        sinks.insert(sink.clone(), open.known());
        Ok(open)
    }

    fn open_file(&self, place: &Arc<Place>, path: Option<&Path>) -> Result<Sink, OpenError> {
        let stats = self.registry.scope("", STATS_SHARD - place.id);
        let running = lock(&self.running).clone();
        let open = LogFile::open(path).and_then(|file| Sink::start(place, file, stats, running));
        let shown = path.unwrap_or(Path::new("/dev/stdout"));
        open.map_err(|source| OpenError { path: shown.into(), source })
    }

    /// Where the records for programs elsewhere come out.
    pub fn queues(&self) -> Arc<LogQueues> {
        self.queues.clone()
    }

    /// Opens every file again, so that a rotated one is let go (SIGUSR1). A file that cannot be opened stays in use as
    /// it is; both are counted. Returns before it is done.
    pub fn reopen(&self) {
        lock(&self.sinks).values().for_each(Known::reopen);
    }

    /// Writes what was handed over and ends the threads; lines handed over later are lost. `false` when that took longer
    /// than `patience`, as with a pipe that is not read.
    pub fn stop(&self, patience: Duration) -> bool {
        lock(&self.running).take();
        lock(&self.sinks).values().for_each(Known::stop);
        // A thread's sender is gone when the thread is, however it ended.
        lock(&self.stopped).recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
