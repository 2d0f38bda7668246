//! The origin: answers what the URL asks for, byte for byte predictable, and misbehaves on request.
//!
//! Every path is answered; the query decides: see [`answer::Answer`]. A client that begins with the preface of HTTP/2
//! gets HTTP/2; there, calls of gRPC get their own messages back.
pub mod answer;
mod connection;
pub mod h2;
mod server;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use std::{io::Write, thread};

use socket2::{Domain, Protocol, Socket, Type};

use crate::measure::cpus;
use server::Server;

/// How an origin is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// One thread for each, pinned; empty runs one thread, not pinned.
    pub cpus: Vec<usize>,
    /// Added to every answer's own delay.
    pub delay: Duration,
}

/// The backlog holds the connects of the largest scenario; the kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 16_384;

/// Serves until an interrupt. Writes `listening on ADDRESS` to standard output once connects are accepted.
pub fn run(options: &Options) -> io::Result<()> {
    let threads = options.cpus.len().max(1);
    let first = listen(options.listen)?;
    let address = first.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
    let mut listeners = vec![first];
    for _ in 1..threads {
        listeners.push(listen(address)?);
    }
    println!("listening on {address}");
    io::stdout().flush()?;
    let workers: Vec<_> = listeners
        .into_iter()
        .enumerate()
        .map(|(index, listener)| {
            let options = options.clone();
            thread::Builder::new().name(format!("origin-{index}")).spawn(move || {
                if let Some(&cpu) = options.cpus.get(index) {
                    cpus::pin_thread(&[cpu])?;
                }
                Server::new(listener.into(), options.delay)?.run()
            })
        })
        .collect::<io::Result<_>>()?;
    for worker in workers {
        worker.join().map_err(|_| io::Error::other("an origin thread panicked"))??;
    }
    Ok(())
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
