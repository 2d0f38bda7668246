//! Threads that keep cores busy and give way to all others.
//!
//! A core that is full serves its threads later than one that sleeps now and then, whatever fills it: most of all on a virtual
//! machine, where the host takes a core away from a guest that uses all of it.
use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::cpus;
use super::precedence::Precedence;

/// Ends with the value.
pub struct Filler {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Filler {
    /// One thread for each of `cores`.
    pub fn start(cores: &[usize]) -> Filler {
        let stop = Arc::new(AtomicBool::new(false));
        let fill = |cpu: usize| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                cpus::pin_thread(&[cpu])?;
                Precedence::Last.claim()?;
                while !stop.load(Ordering::Relaxed) {
                    // No pause instruction: a host takes it for a reason to run another guest.
                    black_box((0..1_000_u64).fold(1, |product, factor| black_box(product) * (factor | 1) % 65_537));
                }
                Ok(())
            })
        };
        let threads = cores.iter().copied().map(fill).collect();
        Filler { stop, threads }
    }

    /// Errors where a thread could not be what it was to be.
    pub fn stop(mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let panicked = |_| Err(io::Error::other("a thread that fills a core panicked"));
        self.threads.drain(..).try_for_each(|thread| thread.join().unwrap_or_else(panicked))
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::cpus::CoreTimes;
    use std::time::Duration;

    #[test]
    fn a_core_is_full_until_it_stops() {
        let core = cpus::allowed().unwrap()[0];
        let before = CoreTimes::read().unwrap();
        let filler = Filler::start(&[core]);
        // Others may take the core meanwhile: it is full then, too.
        thread::sleep(Duration::from_millis(500));
        let busy = CoreTimes::read().unwrap().since(&before, &[core]).busy;
        filler.stop().unwrap();
        assert!(busy > 0.5, "{busy}");
    }
}
