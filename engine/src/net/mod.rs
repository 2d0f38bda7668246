//! Byte streams: TCP and Unix sockets on the ring, in-memory pipes with the same behaviour, and the system calls around
//! sockets.
//!
//! Invariant: nothing above this module can tell a socket from a pipe, except the one place that asks for a plain
//! socket in order to splice.

mod accepted;
mod bytes;
mod chain_choice;
mod crossing;
mod delivery;
mod drain;
mod house;
mod limit;
mod listening;
mod loopback;
mod memory;
mod notes;
mod race;
mod refusals;
mod roster;
mod splice;
mod spread;
pub mod sys;
pub mod tls;
pub mod users;

pub use accepted::{Accepted, Arrival, FirstBytes, Served, Transport};
pub use bytes::{HeadBytes, Outbox};
pub use chain_choice::{ChainMatcher, matches};
pub use crossing::{Before, Candidate, Crossing, Placed};
pub use delivery::{Delivery, Stall, Taking};
pub use drain::{Drain, Registration};
pub use house::{Answer, House, Room, Scope};
pub use limit::{Claim, ClientLimit, ConnectionLimit, Full, Limits, Permits};
pub use listening::{ListenOptions, ListeningSocket, SocketOwner};
pub use loopback::Loopback;
pub use memory::{MemoryListener, MemoryNetwork, PipeEnd, pipe};
pub use notes::{Ending, Noted, Notes, Traffic};
pub use roster::Seat;
pub use splice::{SpliceError, SpliceRun, Step};
pub use spread::{Carrying, Place, Spreader};

use crate::ring::{Buf, Reactor, ReceiveClass, Segment, Socket, TaskId};
use ringway_config::model::Address;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;
use tls::TlsStream;

/// A connected stream of bytes in both directions. The methods are those of `ring::Socket`, which documents them.
pub enum ByteStream {
    Socket(Socket),
    Pipe(PipeEnd),
    /// Through records, over one of the others.
    Tls(Box<TlsStream>),
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self {
            Self::Socket($stream) => $call,
            Self::Pipe($stream) => $call,
            Self::Tls($stream) => $call,
        }
    };
}

impl ByteStream {
    pub fn poll_connected(&self) -> Poll<io::Result<()>> {
        match self {
            Self::Socket(socket) => socket.poll_connected(),
            Self::Pipe(_) | Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    pub fn poll_recv(&self) -> Poll<io::Result<Option<Buf>>> {
        forward!(self, stream => stream.poll_recv())
    }

    /// See `ring::Socket::poll_copy`; nothing else can go over to another ring.
    fn poll_copy(&self) -> Poll<io::Result<(OwnedFd, Vec<Buf>)>> {
        match self {
            Self::Socket(socket) => socket.poll_copy(),
            Self::Pipe(_) | Self::Tls(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    pub fn unread(&self, buf: Buf) {
        forward!(self, stream => stream.unread(buf));
    }

    pub fn reactor(&self) -> &Rc<Reactor> {
        forward!(self, stream => stream.reactor())
    }

    /// See `ring::Socket::acknowledge`.
    fn acknowledge(&self) {
        match self {
            Self::Socket(socket) => socket.acknowledge(),
            Self::Pipe(pipe) => pipe.acknowledge(),
            Self::Tls(stream) => stream.below().acknowledge(),
        }
    }

    /// See `ring::Socket::expect_one`; pipes hand out one piece at a time anyway.
    fn expect_one(&self) {
        match self {
            Self::Socket(socket) => socket.expect_one(),
            Self::Pipe(_) => {}
            Self::Tls(stream) => stream.below().expect_one(),
        }
    }

    /// Whether bytes, the end or an error wait.
    pub fn has_received(&self) -> bool {
        forward!(self, stream => stream.has_received())
    }

    /// Whether bytes wait.
    pub fn has_received_bytes(&self) -> bool {
        forward!(self, stream => stream.has_received_bytes())
    }

    /// The same, whether or not the ring has noticed.
    pub fn has_unread_bytes(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.has_unread_bytes(),
            Self::Pipe(pipe) => pipe.has_received_bytes(),
            Self::Tls(stream) => stream.has_unread_bytes(),
        }
    }

    /// Whether a close would be a reset, by which the peer may lose what is on its way: the kernel has bytes that nothing has
    /// asked for.
    pub fn would_reset(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.has_unread_bytes(),
            Self::Pipe(pipe) => pipe.has_received_bytes(),
            Self::Tls(stream) => stream.has_received_bytes() || stream.below().has_unread_bytes(),
        }
    }

    /// See `ring::Socket::set_receive_once`; pipes hand out one piece at a time anyway.
    pub fn set_receive_once(&self, on: bool) {
        match self {
            Self::Socket(socket) => socket.set_receive_once(on),
            Self::Pipe(_) => {}
            Self::Tls(stream) => stream.below().set_receive_once(on),
        }
    }

    /// See `ring::Socket::set_receive_class`; a pipe's pieces always fit into the pool's short buffers.
    pub fn set_receive_class(&self, class: ReceiveClass) {
        match self {
            Self::Socket(socket) => socket.set_receive_class(class),
            Self::Pipe(_) => {}
            Self::Tls(stream) => stream.below().set_receive_class(class),
        }
    }

    pub fn send(&self, segments: &mut Vec<Segment>) {
        forward!(self, stream => stream.send(segments));
    }

    pub fn send_one(&self, segment: Segment) {
        forward!(self, stream => stream.send_one(segment));
    }

    pub fn queue(&self, segment: Segment) {
        match self {
            Self::Socket(socket) => socket.queue(segment),
            // A pipe takes everything at once.
            Self::Pipe(pipe) => pipe.send_one(segment),
            Self::Tls(stream) => stream.queue(segment),
        }
    }

    pub fn start_send(&self) {
        match self {
            Self::Socket(socket) => socket.start_send(),
            Self::Pipe(_) => {}
            Self::Tls(stream) => stream.start_send(),
        }
    }

    /// Nothing follows what is sent next but the end of the stream, at once: both may go out in one segment, and TLS says so
    /// there, too.
    pub fn ends_with_next(&self) {
        match self {
            Self::Socket(socket) => socket.ends_with_next(),
            Self::Pipe(_) => {}
            Self::Tls(stream) => stream.ends_with_next(),
        }
    }

    pub fn poll_flushed(&self, limit: usize) -> Poll<io::Result<()>> {
        match self {
            Self::Socket(stream) => stream.poll_flushed(limit),
            Self::Pipe(stream) => stream.poll_flushed(limit),
            Self::Tls(stream) => stream.poll_room(limit).map_ok(drop),
        }
    }

    pub fn poll_room(&self, limit: usize) -> Poll<io::Result<usize>> {
        match self {
            Self::Socket(stream) => stream.poll_room(limit),
            Self::Pipe(stream) => stream.poll_room(limit),
            Self::Tls(stream) => stream.poll_room(limit),
        }
    }

    pub fn unsent(&self) -> usize {
        forward!(self, stream => stream.unsent())
    }

    /// Whether the connection was reset or a send failed. A FIN alone breaks nothing.
    pub fn is_broken(&self) -> bool {
        forward!(self, stream => stream.is_broken())
    }

    /// Whether the peer's FIN has come, as far as that was noticed.
    pub fn has_ended(&self) -> bool {
        forward!(self, stream => stream.has_ended())
    }

    /// See `ring::Socket::watch_end`; a pipe tells its last receiver.
    pub fn watch_end(&self) {
        match self {
            Self::Socket(socket) => socket.watch_end(),
            Self::Pipe(_) => {}
            Self::Tls(stream) => stream.watch_end(),
        }
    }

    /// Bytes that the kernel has taken.
    pub fn sent(&self) -> u64 {
        match self {
            Self::Socket(socket) => socket.sent(),
            Self::Pipe(pipe) => pipe.sent(),
            Self::Tls(stream) => stream.below().sent(),
        }
    }

    /// How far what was sent came. Where the peer's side of it cannot be seen, which is so for Unix sockets, what the kernel
    /// took counts.
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Socket(socket) => {
                let unsent = socket.unsent() > 0;
                match sys::acknowledged(socket.raw_fd()) {
                    Some((taken, waits)) => Delivery { taken, waits: waits || unsent },
                    None => Delivery { taken: socket.sent(), waits: unsent },
                }
            }
            Self::Pipe(pipe) => pipe.delivery(),
            Self::Tls(stream) => stream.below().delivery(),
        }
    }

    /// All bytes of the connection in both directions, with those of TLS, as the kernel has counted them. `None`: it does not,
    /// because the socket is none of TCP.
    pub fn traffic(&self) -> Option<Traffic> {
        match self {
            Self::Socket(socket) => sys::traffic(socket.raw_fd(), socket.has_ended()),
            Self::Pipe(pipe) => Some(pipe.traffic()),
            Self::Tls(stream) => stream.below().traffic(),
        }
    }

    pub fn shutdown_write(&self) {
        forward!(self, stream => stream.shutdown_write());
    }

    /// The peer is to see a reset instead of the end of the stream when this is dropped, which must be soon.
    pub fn reset_on_close(&self) {
        match self {
            Self::Socket(socket) => {
                socket.forget_end();
                sys::reset_on_close(socket.raw_fd());
            }
            Self::Pipe(pipe) => pipe.reset(),
            Self::Tls(stream) => stream.reset_on_close(),
        }
    }

    pub fn set_receive_waiter(&self, task: TaskId) {
        match self {
            Self::Socket(stream) => stream.set_receive_waiter(task),
            Self::Pipe(stream) => stream.set_receive_waiter(task),
            Self::Tls(stream) => stream.below().set_receive_waiter(task),
        }
    }

    /// This side's address; `None` on a Unix socket and on a pipe.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(socket) => sys::local_address(socket.raw_fd()),
            Self::Pipe(_) => None,
            Self::Tls(stream) => stream.below().local_address(),
        }
    }

    /// The place in the table of sockets: the lower those that stay, the more the table can shrink.
    pub fn place(&self) -> u32 {
        match self {
            Self::Socket(socket) => socket.place(),
            Self::Pipe(_) => 0,
            Self::Tls(stream) => stream.below().place(),
        }
    }

    /// The socket, where plain bytes go through one: what splice needs, and nothing else may ask for.
    pub fn plain_socket(&self) -> Option<&Socket> {
        match self {
            Self::Socket(socket) => Some(socket),
            Self::Pipe(_) | Self::Tls(_) => None,
        }
    }

    /// Why TLS ended the connection, where it did.
    pub fn tls_failure(&self) -> Option<tls::Failure> {
        match self {
            Self::Socket(_) | Self::Pipe(_) => None,
            Self::Tls(stream) => stream.failure().map(|failure| failure.clone()),
        }
    }

    /// What the connection's TLS came to; `None` without.
    pub fn tls(&self) -> Option<&TlsStream> {
        match self {
            Self::Tls(stream) => Some(stream),
            Self::Socket(_) | Self::Pipe(_) => None,
        }
    }

    /// Whether its handshake has agreed on HTTP/2.
    pub fn agrees_on_http2(&self) -> bool {
        self.tls().is_some_and(|tls| tls.facts().application_protocol.as_deref() == Some("h2"))
    }

    /// Give these few bytes to the kernel at once, if it has room: where the connection ends before a send could begin. To be
    /// called only where nothing is unsent.
    fn send_now(&self, bytes: &[u8]) {
        match self {
            Self::Socket(socket) => sys::send_now(socket.raw_fd(), bytes),
            Self::Pipe(pipe) => pipe.write(bytes),
            Self::Tls(stream) => stream.below().send_now(bytes),
        }
    }
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Http1,
    Http2,
}

/// Where connections to upstreams are made.
#[derive(Clone)]
pub enum Network {
    Kernel(Loopback),
    /// Pipes to listeners in the same process: tests and benches.
    Memory(Rc<MemoryNetwork>),
}

impl Network {
    /// Start connecting; `ByteStream::poll_connected` tells the outcome. The caller keeps the deadline.
    ///
    /// # Errors
    /// No descriptor is left, the address family is not there, or (in memory) there is no listener.
    pub fn connect(&self, reactor: &Rc<Reactor>, address: &Address) -> io::Result<ByteStream> {
        match self {
            Self::Kernel(loopback) => {
                let (fd, target) = sys::stream_socket(address, *loopback)?;
                Ok(ByteStream::Socket(Socket::connect(reactor, fd, target)))
            }
            Self::Memory(network) => network.connect(reactor, address).map(ByteStream::Pipe),
        }
    }

    /// The same for side work: EMFILE already where less than a quarter of the descriptors is left.
    fn connect_side(&self, reactor: &Rc<Reactor>, address: &Address) -> io::Result<ByteStream> {
        match self {
            Self::Kernel(loopback) => {
                let (fd, target) = sys::stream_socket(address, *loopback)?;
                // The kernel takes the lowest number that is free: at least this many descriptors are open.
                if fd.as_raw_fd() as u64 >= sys::descriptor_limit() / 4 * 3 {
                    return Err(io::Error::from_raw_os_error(libc::EMFILE));
                }
                Ok(ByteStream::Socket(Socket::connect(reactor, fd, target)))
            }
            Self::Memory(_) => self.connect(reactor, address),
        }
    }
}
