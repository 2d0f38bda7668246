//! Listening sockets: all of them are made, one for each shard, before anything starts, so that a port that is taken is
//! reported at once and nothing has changed yet.

use crate::net::sys;
use crate::shard::Sockets;
use ringway_config::model::{Address, Listener};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The sockets of each shard, and the actual address of each listener (port 0 lets the kernel choose).
pub(super) struct Bound {
    pub shards: Vec<Sockets>,
    pub addresses: Vec<Address>,
}

/// Binds `listeners` for `shards` shards.
///
/// # Errors
/// One sentence: address, cause, remedy.
pub(super) fn bind<'a>(
    listeners: impl Iterator<Item = &'a Listener>,
    shards: usize,
    backlog: u32,
) -> Result<Bound, String> {
    let mut bound = Bound { shards: (0..shards).map(|_| Sockets::new()).collect(), addresses: Vec::new() };
    for listener in listeners {
        let sockets =
            bind_one(&listener.address, shards, backlog).map_err(|error| explain(&listener.address, &error))?;
        bound.addresses.push(actual(&listener.address, sockets.first()));
        for (shard, socket) in bound.shards.iter_mut().zip(sockets) {
            shard.insert(listener.address.clone(), socket);
        }
    }
    Ok(bound)
}

fn bind_one(address: &Address, shards: usize, backlog: u32) -> io::Result<Vec<OwnedFd>> {
    if let Address::Ip(address) = address {
        sys::check_port_is_free(*address)?;
    }
    let mut sockets = vec![sys::listen(address, backlog)?];
    let address = actual(address, sockets.first());
    while sockets.len() < shards {
        sockets.push(match &address {
            Address::Ip(_) => sys::listen(&address, backlog)?,
            Address::Unix(_) => sockets[0].try_clone()?,
        });
    }
    Ok(sockets)
}

/// The address that the kernel has bound: in place of port 0, the port that it chose.
pub(super) fn actual(address: &Address, socket: Option<&OwnedFd>) -> Address {
    match (address, socket.and_then(|socket| sys::local_address(socket.as_raw_fd()))) {
        (Address::Ip(_), Some(bound)) => Address::Ip(bound),
        _ => address.clone(),
    }
}

pub(super) fn explain(address: &Address, error: &io::Error) -> String {
    let remedy = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => "another process listens there; stop it or choose another port",
        Some(libc::EACCES) => "ports below 1024 need root (then set runtime.user to drop it) or CAP_NET_BIND_SERVICE",
        Some(libc::EADDRNOTAVAIL) => "no interface of this host has that address",
        Some(libc::ENOENT) => "the directory does not exist",
        _ => "check the address",
    };
    format!("cannot listen on {address}: {error}: {remedy}")
}
