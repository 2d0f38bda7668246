//! The load generator: one thread per core given, each an epoll loop over its share of the connections.
//!
//! Start reading at [`worker`]; [`spec`] says what is sent, [`recorder`] what is counted and when.
pub mod background;
mod calls;
pub mod connection;
pub mod flight;
mod h1;
mod h2;
pub mod recorder;
pub mod schedule;
pub mod spec;
mod transport;
pub mod worker;

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use recorder::{Failure, Outcome};
pub use spec::Spec;

use crate::measure::cpus;
use recorder::Window;
use worker::Worker;

/// A run in progress. Its measurement window is fixed from the start, so that CPU times can be read at the same two
/// instants at which the workers begin and stop counting.
pub struct Running {
    workers: Vec<JoinHandle<io::Result<Outcome>>>,
    epoch: Instant,
    window: Window,
}

/// Starts the workers; the load begins at once and counts from the end of the warm-up on.
pub fn start(spec: &Arc<Spec>) -> io::Result<Running> {
    let threads = spec.threads.clamp(1, spec.connections.max(1));
    let window = Window::new(spec.warmup, spec.duration);
    let epoch = Instant::now();
    let workers = (0..threads)
        .map(|index| {
            let spec = Arc::clone(spec);
            let cpu = spec.cpus.get(index % spec.cpus.len().max(1)).copied();
            thread::Builder::new().name(format!("load-{index}")).spawn(move || {
                if let Some(cpu) = cpu {
                    cpus::pin_thread(&[cpu])?;
                }
                spec.precedence.claim()?;
                // The default slack of 50 us would show up as latency in an open loop.
                rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
                Worker::new(&spec, index, threads, epoch, window)?.run()
            })
        })
        .collect::<io::Result<Vec<_>>>()?;
    Ok(Running { workers, epoch, window })
}

impl Running {
    /// When counting starts.
    pub fn begins(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.window.from)
    }

    /// When counting stops.
    pub fn ends(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.window.until)
    }

    /// Waits for all workers and adds up what they counted.
    pub fn join(self) -> io::Result<Outcome> {
        let mut total: Option<Outcome> = None;
        for worker in self.workers {
            let outcome = worker.join().map_err(|_| io::Error::other("a load worker panicked"))??;
            match &mut total {
                Some(total) => total.add(&outcome),
                None => total = Some(outcome),
            }
        }
        total.ok_or_else(|| io::Error::other("no load worker ran"))
    }
}

/// Runs `spec` to its end.
pub fn run(spec: &Arc<Spec>) -> io::Result<Outcome> {
    start(spec)?.join()
}
