//! The admin shard: an HTTP endpoint on its own thread, so that no question delays a request on a shard. It merges the
//! shards' statistics, shows the running configuration, and passes orders to the server.

mod body;
mod clusters;
mod endpoints;
pub mod explain;
mod guests;
mod http;
mod limits;
mod message;
mod state;

pub use state::{Control, Source, State};

use crate::hcm::access_log::Writer;
use crate::net::sys;
use crate::ring::host::Host;
use crate::ring::{PoolSize, Reactor, ReactorOptions};
use ringway_config::model;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

/// # Errors
/// What bind(2) reports.
pub fn bind(admin: &model::Admin) -> io::Result<OwnedFd> {
    if let model::Address::Ip(address) = &admin.address {
        sys::check_port_is_free(*address)?;
    }
    sys::listen(&admin.address, 128)
}

/// Starts the thread, which ends with the process.
///
/// # Errors
/// One sentence: no ring, no thread, or the access log cannot be opened.
pub fn start(socket: OwnedFd, state: Arc<State>, writer: Arc<Writer>, log: Option<PathBuf>) -> Result<(), String> {
    let (started, answer) = mpsc::channel();
    let log = match log {
        Some(path) => Some(http::Log::new(&writer, &state.registry, &path)?),
        None => None,
    };
    let guests = move || guests::Guests::new(&socket).map(|guests| (guests, socket)).map_err(|error| error.to_string());
    let body = move |host: &Host| match Reactor::new(&reactor_options()).and_then(|reactor| Ok((reactor, guests()?))) {
        Ok((reactor, (guests, socket))) => {
            http::spawn(&reactor, socket, guests, state, log);
            let _ = started.send(Ok(()));
            host.run(&reactor, async |turns| {
                loop {
                    reactor.turn();
                    turns.next().await;
                }
            });
        }
        Err(why) => drop(started.send(Err(why))),
    };
    Host::new("admin").start(body)?;
    answer.recv().unwrap_or_else(|_| Err("the admin thread ended while it started".into()))
}

pub fn reactor_options() -> ReactorOptions {
    ReactorOptions { ring_entries: 64, buffers: PoolSize { count: 64, size: 4096 }, ..ReactorOptions::default() }
}
