//! The admin shard: an HTTP endpoint on its own thread, so that no question delays a request on a shard. It merges the
//! shards' statistics, shows the running configuration, and passes orders to the server.

mod body;
mod certs;
mod clusters;
mod endpoints;
pub mod explain;
mod guests;
mod http;
mod limits;
mod message;
mod process;
mod state;

pub use state::{Control, Source, State};

use crate::hcm::access_log::Writer;
use crate::ring::host::Host;
use crate::ring::{PoolSize, Reactor, ReactorOptions, Unpark};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// Connections that the kernel holds until they are accepted.
pub const BACKLOG: u32 = 128;

/// The thread.
pub struct Thread {
    stopped: Arc<AtomicBool>,
    unpark: Unpark,
    thread: JoinHandle<()>,
}

impl Thread {
    /// Ends it, and waits until its socket is closed.
    pub fn stop(self) {
        self.stopped.store(true, Ordering::Release);
        self.unpark.unpark();
        if self.thread.join().is_err() {
            tracing::error!(target: "ringway::admin", "the admin thread ended with a panic");
        }
    }
}

/// Starts the thread.
///
/// # Errors
/// One sentence: no ring, no thread, or the access log cannot be opened.
pub fn start(socket: OwnedFd, state: Arc<State>, writer: Arc<Writer>, log: Option<PathBuf>) -> Result<Thread, String> {
    let (started, answer) = mpsc::channel();
    let stopped = Arc::new(AtomicBool::new(false));
    let is_over = stopped.clone();
    let log = match log {
        Some(path) => Some(http::Log::new(&writer, &state.registry, &path)?),
        None => None,
    };
    let guests = move || guests::Guests::new(&socket).map(|guests| (guests, socket)).map_err(|error| error.to_string());
    let body = move |host: &Host| match Reactor::new(&reactor_options()).and_then(|reactor| Ok((reactor, guests()?))) {
        Ok((reactor, (guests, socket))) => {
            http::spawn(&reactor, socket, guests, state, log);
            let _ = started.send(Ok(reactor.unpark_handle()));
            host.run(&reactor, async |turns| {
                while !is_over.load(Ordering::Acquire) {
                    reactor.turn();
                    turns.next().await;
                }
            });
            reactor.shut_down();
        }
        Err(why) => drop(started.send(Err(why))),
    };
    let thread = Host::new("admin").start(body)?;
    let unpark = answer.recv().unwrap_or_else(|_| Err("the admin thread ended while it started".into()))?;
    Ok(Thread { stopped, unpark, thread })
}

pub fn reactor_options() -> ReactorOptions {
    ReactorOptions { ring_entries: 64, buffers: PoolSize { count: 64, size: 4096 }, ..ReactorOptions::default() }
}
