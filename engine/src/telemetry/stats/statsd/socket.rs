//! The socket to a receiver of datagrams. It never waits: names are looked up by a thread of their own.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use ringway_config::model::{Address, EndpointTarget};

/// How long an address is good for, in microseconds: names of services move.
const LOOKUP_INTERVAL: u64 = 60_000_000;

#[derive(Debug)]
pub(super) struct Socket {
    target: EndpointTarget,
    open: Option<Open>,
    /// The address that the name had.
    found: Option<SocketAddr>,
    lookup: Option<Receiver<io::Result<SocketAddr>>>,
    /// When the name was looked up last, in microseconds since the epoch.
    looked_up: u64,
}

#[derive(Debug)]
enum Open {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Socket {
    pub fn new(target: EndpointTarget) -> Self {
        Self { target, open: None, found: None, lookup: None, looked_up: 0 }
    }

    /// Begins to look the name up, if the address is one and was not looked up within the last minute.
    pub fn look_up(&mut self, now: u64) {
        let EndpointTarget::Name { host, port } = &self.target else { return };
        if self.lookup.is_some() || now.saturating_sub(self.looked_up) < LOOKUP_INTERVAL {
            return;
        }
        self.looked_up = now;
        let (tell, told) = channel();
        let (host, port) = (host.clone(), *port);
        let find = move || {
            let found = (host.as_str(), port).to_socket_addrs().and_then(|mut found| {
                found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
            });
            // The sink may be gone.
            let _ = tell.send(found);
        };
        // Without a thread it is tried again in a minute.
        self.lookup = std::thread::Builder::new().name("stats-dns".into()).spawn(find).ok().map(|_| told);
    }

    /// # Errors
    /// Nothing was sent. `WouldBlock`: there is no room at the moment.
    pub fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let looked_up = self.take_lookup();
        if self.open.is_none() {
            self.open = Some(self.connect().map_err(|error| looked_up.err().unwrap_or(error))?);
        }
        let result = match &self.open {
            Some(Open::Udp(socket)) => socket.send(datagram),
            Some(Open::Unix(socket)) => socket.send(datagram),
            None => unreachable!("it was opened"),
        };
        let is_lasting = |error: &io::Error| {
            let is_full = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory);
            !is_full && error.raw_os_error() != Some(libc::ENOBUFS)
        };
        // A Unix socket that was replaced has to be connected again; with UDP, an address may be reached from elsewhere now.
        if result.as_ref().is_err_and(is_lasting) {
            self.open = None;
        }
        result.map(drop).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOBUFS) => io::ErrorKind::WouldBlock.into(),
            _ => error,
        })
    }

    /// Takes what a lookup has found. The old address stays in use where it failed.
    fn take_lookup(&mut self) -> io::Result<()> {
        let Some(lookup) = &self.lookup else { return Ok(()) };
        let result = match lookup.try_recv() {
            Ok(Ok(address)) if self.found != Some(address) => {
                self.found = Some(address);
                self.open = None;
                Ok(())
            }
            Ok(result) => result.map(drop),
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => Ok(()),
        };
        self.lookup = None;
        result
    }

    fn connect(&self) -> io::Result<Open> {
        match (&self.target, self.found) {
            (EndpointTarget::Address(Address::Ip(address)), _) => udp(*address).map(Open::Udp),
            (EndpointTarget::Name { .. }, Some(address)) => udp(address).map(Open::Udp),
            (EndpointTarget::Address(Address::Unix(path)), _) => unix(path).map(Open::Unix),
            (EndpointTarget::Name { .. }, None) => {
                Err(io::Error::new(io::ErrorKind::NotFound, "the name is not looked up yet"))
            }
        }
    }
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    Ok(socket)
}

fn unix(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}
