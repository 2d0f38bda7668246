//! Where finished spans go: the exporters that configurations name, and the rings in which spans come from the shards.

use crate::base::record_ring::{Reader, Writer, record_ring};
use crate::ring::Unpark;
use ringway_config::model;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Bytes of spans that a shard may be ahead of the thread that exports them: about a thousand spans.
const RING_SIZE: usize = 1 << 20;

/// One for the process, from its start to its end. No lock is taken for a request.
#[derive(Debug, Default)]
pub struct Tracers {
    /// In the order in which they were first named; a span's record has the index.
    exporters: Mutex<Vec<Arc<model::SpanExporter>>>,
    readers: Mutex<Vec<Reader>>,
    /// Wakes the thread that exports.
    unpark: OnceLock<Unpark>,
}

impl Tracers {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The number of this exporter; one that a configuration before had keeps its own.
    pub fn intern(&self, exporter: &Arc<model::SpanExporter>) -> u32 {
        let mut exporters = lock(&self.exporters);
        let known = exporters.iter().position(|known| known == exporter);
        let at = known.unwrap_or_else(|| {
            exporters.push(exporter.clone());
            exporters.len() - 1
        });
        at as u32
    }

    pub fn get(&self, tracer: u32) -> Option<Arc<model::SpanExporter>> {
        lock(&self.exporters).get(tracer as usize).cloned()
    }

    /// A ring for the spans of one more shard.
    pub fn open(&self) -> Writer {
        let (writer, reader) = record_ring(RING_SIZE);
        lock(&self.readers).push(reader);
        writer
    }

    /// Give each record that has come to `take`, through `record`.
    pub fn drain(&self, record: &mut Vec<u8>, mut take: impl FnMut(&[u8])) {
        for reader in lock(&self.readers).iter_mut() {
            while reader.pop(record) {
                take(record);
            }
        }
    }

    /// The thread that exports can be woken by this. `false`: another one came before, and has died; this one is not woken.
    pub fn can_be_woken(&self, unpark: Unpark) -> bool {
        self.unpark.set(unpark).is_ok()
    }

    /// A shard's ring is due.
    #[cold]
    pub fn wake(&self) {
        if let Some(unpark) = self.unpark.get() {
            unpark.unpark();
        }
    }

    /// Of this number of spans, how many each shard may leave until there are as many.
    pub fn share(&self, spans: u64) -> u64 {
        spans.div_ceil(lock(&self.readers).len().max(1) as u64)
    }

    /// The thread that exports sleeps until a shard has left this number of spans, or has a ring that fills. `None`: only then.
    pub fn rest(&self, spans: Option<u64>) {
        lock(&self.readers).iter().for_each(|reader| reader.want(spans));
    }
}

/// What a panic leaves behind is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
