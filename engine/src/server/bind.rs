//! Listening sockets: all of them are made, one for each shard, before anything starts, so that a port that is taken is
//! reported at once and nothing has changed yet.

use super::holders::{self, Holder};
use super::host;
use super::orders::Orders;
use super::passed::{Assigned, PassedSocket};
use crate::net::{ListenOptions, ListeningSocket, SocketOwner, sys, users};
use crate::shard::Sockets;
use ringway_config::access::{self, Want};
use ringway_config::model::{Address, Binding, Listener, Runtime, SocketAccess};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::fchown;
use std::time::{Duration, Instant};

/// How long addresses that are taken are tried again, all of them together: a process that was killed leaves its sockets
/// to the kernel, which closes them some 10 ms later.
const PATIENCE: Duration = Duration::from_secs(1);

/// The sockets of each shard, and the actual address of each listener (port 0 lets the kernel choose).
pub(super) struct Bound {
    pub shards: Vec<Sockets>,
    pub addresses: Vec<Address>,
}

/// Binds addresses.
pub(super) struct Binder<'a> {
    deadline: Instant,
    orders: &'a mut Orders,
    /// The user and group that sockets are made for. Sockets share a port only with those of the same user, which those
    /// of a reload must, when the process no longer is root.
    owner: Option<(u32, u32)>,
    passed: Assigned<'a>,
}

impl<'a> Binder<'a> {
    /// For the user that this process is. `passed` are the bindings that need not be bound.
    pub(super) fn new(orders: &'a mut Orders, passed: Assigned<'a>) -> Self {
        Self { deadline: Instant::now() + PATIENCE, orders, owner: None, passed }
    }

    /// For the user that this process is going to be.
    ///
    /// # Errors
    /// One sentence: there is no such user.
    pub(super) fn at_start(runtime: &Runtime, orders: &'a mut Orders, passed: Assigned<'a>) -> Result<Self, String> {
        let user = runtime.user.as_deref().filter(|_| users::is_root());
        let owner = user.map(|user| users::ids(user, runtime.group.as_deref())).transpose()?;
        Ok(Self { owner: owner.map(|ids| (ids.user, ids.group)), ..Self::new(orders, passed) })
    }

    /// Binds `listeners` for `shards` shards.
    ///
    /// # Errors
    /// One sentence: address, cause, remedy.
    pub(super) fn listeners<'b>(
        &mut self,
        listeners: impl Iterator<Item = &'b Listener>,
        shards: usize,
        options: ListenOptions,
    ) -> Result<Bound, String> {
        let mut bound = Bound { shards: (0..shards).map(|_| Sockets::new()).collect(), addresses: Vec::new() };
        for listener in listeners {
            let sockets = self.bind(&listener.binding(), &listener.access, shards, options)?;
            bound.addresses.push(actual(&listener.address, sockets.first().map(|socket| &socket.fd)));
            for (shard, socket) in bound.shards.iter_mut().zip(sockets) {
                shard.insert(listener.binding(), socket);
            }
        }
        Ok(bound)
    }

    /// Binds one address, `shards` times, or takes the socket that was passed for it.
    ///
    /// # Errors
    /// One sentence: address, cause, remedy.
    pub(super) fn bind(
        &mut self,
        binding: &Binding,
        access: &SocketAccess,
        shards: usize,
        options: ListenOptions,
    ) -> Result<Vec<ListeningSocket>, String> {
        if let Some(passed) = self.passed.get(binding) {
            return share(passed, shards);
        }
        let owner = match binding.address {
            Address::Unix(_) if shards > 1 => SocketOwner::Process,
            Address::Unix(_) | Address::Ip(_) => SocketOwner::Shard,
        };
        let sockets = self.make(binding, access, shards, options)?;
        Ok(sockets.into_iter().map(|fd| ListeningSocket { fd, owner }).collect())
    }

    fn make(
        &mut self,
        binding: &Binding,
        access: &SocketAccess,
        shards: usize,
        options: ListenOptions,
    ) -> Result<Vec<OwnedFd>, String> {
        let address = &binding.address;
        let mut last = None;
        // Reads all of /proc/net/tcp, so once for all tries.
        let mut ours = None;
        let mut is_ours = || *ours.get_or_insert_with(|| holders::are_ours(binding));
        let bound = self.orders.wait(self.deadline, || match bind(binding, access, shards, options, &mut is_ours) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) && may_become_free(address) => {
                last = Some(error);
                None
            }
            done => Some(done),
        });
        let sockets = match (bound, last) {
            (Some(Ok(sockets)), _) => sockets,
            (Some(Err(error)), _) | (None, Some(error)) => return Err(explain(binding, &error)),
            (None, None) => return Err(format!("cannot listen on {address}: told to stop")),
        };
        if let Some((user, group)) = self.owner {
            // Without it, only a reload that needs to share the port fails, and says so.
            sockets.iter().for_each(|socket| drop(fchown(socket, Some(user), Some(group))));
        }
        Ok(sockets)
    }
}

fn share(passed: &PassedSocket, shards: usize) -> Result<Vec<ListeningSocket>, String> {
    let shared = (0..shards).map(|_| {
        let fd =
            sys::share(&passed.socket.fd).map_err(|error| format!("the socket {passed} cannot be shared: {error}"))?;
        Ok(ListeningSocket { fd, owner: SocketOwner::Manager })
    });
    shared.collect()
}

/// A file that is no socket stays.
fn may_become_free(address: &Address) -> bool {
    match address {
        Address::Ip(_) => true,
        Address::Unix(path) => sys::is_socket(path),
    }
}

fn bind(
    binding: &Binding,
    access: &SocketAccess,
    shards: usize,
    options: ListenOptions,
    is_ours: &mut dyn FnMut() -> bool,
) -> io::Result<Vec<OwnedFd>> {
    if let Address::Ip(ip) = binding.address {
        match sys::check_port_is_free(ip, binding.ipv4_compat) {
            // Sockets of this process that have the port, at an address that overlaps, share it: that of another
            // listener, or of one that is being replaced and still drains.
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) && is_ours() => {}
            checked => checked?,
        }
    }
    let mut sockets = vec![sys::listen(binding, access, options)?];
    let binding = Binding { address: actual(&binding.address, sockets.first()), ..*binding };
    while sockets.len() < shards {
        sockets.push(match &binding.address {
            Address::Ip(_) => sys::listen(&binding, access, options)?,
            Address::Unix(_) => sys::share(&sockets[0])?,
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

pub(super) fn explain(binding: &Binding, error: &io::Error) -> String {
    let address = &binding.address;
    if let (Address::Unix(path), Some(code @ (libc::EACCES | libc::EPERM | libc::EROFS | libc::ENOENT))) =
        (address, error.raw_os_error())
    {
        let directory = host::directory(path);
        let shown = directory.display();
        let remedy = match code {
            libc::ENOENT => format!("there is no directory {shown}"),
            libc::EACCES | libc::EROFS => {
                format!("this user may not make files in {shown}; {}", access::refused(&directory, Want::MakeFiles))
            }
            _ => format!("this user may not make files in {shown}"),
        };
        return format!("cannot listen on {address}: {error}: {remedy}");
    }
    let remedy = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => return format!("cannot listen on {address}: {error}: {}", taken(binding)),
        Some(libc::EACCES) => "ports below 1024 need root (then set runtime.user to drop it) or CAP_NET_BIND_SERVICE",
        Some(libc::EADDRNOTAVAIL) => "no interface of this host has that address",
        // What concerns the file of a socket says itself what helps.
        None => return format!("cannot listen on {address}: {error}"),
        _ => "check the address",
    };
    format!("cannot listen on {address}: {error}: {remedy}")
}

/// What has the address, and what helps.
fn taken(binding: &Binding) -> String {
    let (place, remedy) = match &binding.address {
        Address::Unix(path) if !sys::is_socket(path) => {
            return "a file that is no socket is at that path; remove it or choose another path".into();
        }
        Address::Unix(_) => ("path", "choose another path"),
        Address::Ip(_) => ("port", "choose another port"),
    };
    let holders = holders::of(binding);
    if holders.iter().eq([&Holder::Ours]) {
        return format!(
            "this process itself has the {place}, and cannot share it; a listener that a reload has removed frees it within a \
             second: reload again, restart it or {remedy}"
        );
    }
    let is_draining = holders.iter().any(|holder| matches!(holder, Holder::Draining { .. }));
    let wait = if is_draining { "wait for its end (runtime.drain_delay and runtime.drain_time), " } else { "" };
    let names: Vec<_> = holders.iter().map(ToString::to_string).collect();
    match names.is_empty() {
        true => format!("another process has the {place}, for a socket that does not listen; {remedy}"),
        false => format!("{} listens there; {wait}stop it or {remedy}", names.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const OPTIONS: ListenOptions = ListenOptions { backlog: 16, loopback: crate::net::Loopback::AsSystem };

    fn address(text: &str, port: u16) -> Address {
        Address::Ip(format!("{text}:{port}").parse().expect("an address"))
    }

    /// Binds at once or says why not.
    fn try_bind(address: &Address) -> Result<Vec<ListeningSocket>, String> {
        let (_, mut orders) = Orders::new();
        let mut binder = Binder { deadline: Instant::now(), orders: &mut orders, owner: None, passed: Assigned::new() };
        binder.bind(&address.clone().into(), &SocketAccess::default(), 2, OPTIONS)
    }

    #[test]
    fn sockets_of_this_process_share_a_port_that_overlaps() {
        let first = try_bind(&address("127.0.0.1", 0)).expect("a port");
        let Address::Ip(bound) = actual(&address("127.0.0.1", 0), first.first().map(|socket| &socket.fd)) else {
            unreachable!("an address")
        };
        let any = address("0.0.0.0", bound.port());
        let second = try_bind(&any).expect("the port is ours");
        // And back.
        drop(first);
        try_bind(&Address::Ip(bound)).expect("the port is ours");
        drop(second);
        // A socket that shares with no other one.
        let _taken = TcpListener::bind(bound).expect("the port is free");
        let why = try_bind(&any).expect_err("it is taken");
        assert!(why.contains("this process itself has the port, and cannot share it"), "{why}");
    }

    #[test]
    fn a_file_and_a_socket_of_another_kind_stay_where_they_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, datagrams) = (directory.path().join("file"), directory.path().join("datagrams"));
        std::fs::write(&file, "").expect("written");
        let why = try_bind(&Address::Unix(file.clone())).expect_err("it is taken");
        assert!(why.contains("a file that is no socket is at that path; remove it"), "{why}");
        let _socket = std::os::unix::net::UnixDatagram::bind(&datagrams).expect("bound");
        assert!(try_bind(&Address::Unix(datagrams.clone())).is_err());
        assert!(file.exists() && datagrams.exists());
        // What a process that was killed left behind is replaced.
        let stale = directory.path().join("stale");
        drop(std::os::unix::net::UnixListener::bind(&stale).expect("bound"));
        try_bind(&Address::Unix(stale.clone())).expect("no one listens there");
        drop(std::os::unix::net::UnixListener::bind(directory.path().join("other")).expect("bound"));
    }

    /// The address is tried until it is free: here the holder ends meanwhile.
    #[test]
    fn an_address_that_becomes_free_in_time_is_taken() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let bound = socket.local_addr().expect("bound");
        let (_, mut orders) = Orders::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut binder = Binder { deadline, orders: &mut orders, owner: None, passed: Assigned::new() };
        let closing = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            drop(socket);
        });
        binder.bind(&Address::Ip(bound).into(), &SocketAccess::default(), 1, OPTIONS).expect("it becomes free");
        closing.join().expect("no panic");
    }
}
