//! A listening socket, as a shard gets it.

use super::Loopback;
use std::os::fd::OwnedFd;

/// What sockets are made with that listen.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Connections that wait in the kernel until they are accepted.
    pub backlog: u32,
    pub loopback: Loopback,
}

/// One shard's descriptor of a listening socket.
#[derive(Debug)]
pub struct ListeningSocket {
    pub fd: OwnedFd,
    pub owner: SocketOwner,
}

/// What else accepts on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOwner {
    /// Nothing: each shard has a socket of its own.
    Shard,
    /// The other shards, which have descriptors of the same socket.
    Process,
    /// The other shards, and after the end of the process the next one: it was passed by the service manager, which keeps
    /// it. What is done to the socket itself stays done.
    Manager,
}
