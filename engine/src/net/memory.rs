//! In-memory pipes: what tests, the simulation and the benches use in place of sockets. They behave as sockets do:
//! bounded, splitting where they like, with FIN and reset.

use super::Protocol;
use crate::ring::{Buf, Reactor, Segment, TaskId};
use ringway_config::model::Address;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::task::Poll;

/// One direction.
struct Channel {
    bytes: RefCell<VecDeque<u8>>,
    /// Bytes that the "kernel" takes before the sender has to wait.
    capacity: usize,
    /// Bytes that one receive returns at most.
    read_limit: Cell<usize>,
    /// Put back by the reader.
    unread: RefCell<Vec<Buf>>,
    closed: Cell<bool>,
    reset: Cell<bool>,
    reader: Cell<TaskId>,
    writer: Cell<TaskId>,
    /// Bytes that went through, for tests.
    total: Cell<u64>,
}

impl Channel {
    fn new(capacity: usize) -> Rc<Self> {
        Rc::new(Self {
            bytes: RefCell::new(VecDeque::new()),
            capacity,
            read_limit: Cell::new(usize::MAX),
            unread: RefCell::new(Vec::new()),
            closed: Cell::new(false),
            reset: Cell::new(false),
            reader: Cell::new(TaskId::NONE),
            writer: Cell::new(TaskId::NONE),
            total: Cell::new(0),
        })
    }

    fn overfull(&self) -> usize {
        self.bytes.borrow().len().saturating_sub(self.capacity)
    }
}

/// One end of a pipe. Dropped, the other end reads what is left and then the end of the stream; if bytes for this end
/// were left unread, the other end is reset, as with TCP.
pub struct PipeEnd {
    reactor: Rc<Reactor>,
    incoming: Rc<Channel>,
    outgoing: Rc<Channel>,
}

/// Two connected ends; each direction holds `capacity` bytes.
pub fn pipe(reactor: &Rc<Reactor>, capacity: usize) -> (PipeEnd, PipeEnd) {
    let (one, other) = (Channel::new(capacity), Channel::new(capacity));
    let first = PipeEnd { reactor: reactor.clone(), incoming: one.clone(), outgoing: other.clone() };
    (first, PipeEnd { reactor: reactor.clone(), incoming: other, outgoing: one })
}

impl PipeEnd {
    /// Receives return at most `limit` bytes from now on.
    pub fn set_read_limit(&self, limit: usize) {
        self.incoming.read_limit.set(limit.max(1));
    }

    /// Break the connection in both directions, as RST does.
    pub fn reset(&self) {
        for channel in [&self.incoming, &self.outgoing] {
            channel.reset.set(true);
            channel.bytes.borrow_mut().clear();
            self.reactor.wake(channel.reader.get());
            self.reactor.wake(channel.writer.get());
        }
    }

    /// Bytes received by this end since the start.
    pub fn received_total(&self) -> u64 {
        self.incoming.total.get()
    }

    pub fn poll_recv(&self) -> Poll<io::Result<Option<Buf>>> {
        let channel = &self.incoming;
        // Also when there is something: as with a socket, the last receiver is told of the end and of a reset.
        channel.reader.set(self.reactor.current_task());
        if let Some(buf) = channel.unread.borrow_mut().pop() {
            return Poll::Ready(Ok(Some(buf)));
        }
        if channel.reset.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut bytes = channel.bytes.borrow_mut();
        if bytes.is_empty() {
            if channel.closed.get() {
                return Poll::Ready(Ok(None));
            }
            return Poll::Pending;
        }
        let front = bytes.as_slices().0;
        let n = front.len().min(channel.read_limit.get());
        let buf = self.reactor.pool().copy_from(&front[..n]);
        bytes.drain(..buf.len());
        channel.total.set(channel.total.get() + buf.len() as u64);
        self.reactor.wake(channel.writer.get());
        Poll::Ready(Ok(Some(buf)))
    }

    pub fn unread(&self, buf: Buf) {
        self.incoming.unread.borrow_mut().push(buf);
    }

    pub fn has_received(&self) -> bool {
        self.has_received_bytes() || self.incoming.closed.get() || self.incoming.reset.get()
    }

    pub fn has_received_bytes(&self) -> bool {
        !self.incoming.bytes.borrow().is_empty() || !self.incoming.unread.borrow().is_empty()
    }

    pub fn send(&self, segments: &mut Vec<Segment>) {
        for segment in segments.drain(..) {
            self.send_one(segment);
        }
    }

    pub fn send_one(&self, segment: Segment) {
        if self.outgoing.reset.get() || self.outgoing.closed.get() {
            return;
        }
        match segment {
            Segment::Buf(buf) => self.outgoing.bytes.borrow_mut().extend(&*buf),
            Segment::Owned(bytes) => {
                self.outgoing.bytes.borrow_mut().extend(&bytes);
                self.reactor.give_vec(bytes);
            }
            Segment::Static(bytes) => self.outgoing.bytes.borrow_mut().extend(bytes),
        }
        self.reactor.wake(self.outgoing.reader.get());
    }

    /// Queue plain bytes.
    pub fn write(&self, bytes: &[u8]) {
        self.send_one(Segment::Owned(bytes.to_vec()));
    }

    pub fn poll_flushed(&self, limit: usize) -> Poll<io::Result<()>> {
        if self.outgoing.reset.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.outgoing.overfull() <= limit {
            return Poll::Ready(Ok(()));
        }
        self.outgoing.writer.set(self.reactor.current_task());
        Poll::Pending
    }

    pub fn unsent(&self) -> usize {
        self.outgoing.overfull()
    }

    pub fn is_broken(&self) -> bool {
        self.outgoing.reset.get() || self.incoming.reset.get()
    }

    pub fn shutdown_write(&self) {
        self.outgoing.closed.set(true);
        self.reactor.wake(self.outgoing.reader.get());
    }

    pub fn set_receive_waiter(&self, task: TaskId) {
        self.incoming.reader.set(task);
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let lost = self.has_received_bytes();
        self.incoming.unread.borrow_mut().clear();
        self.incoming.reset.set(true);
        if lost {
            self.outgoing.reset.set(true);
        }
        self.outgoing.closed.set(true);
        self.reactor.wake(self.outgoing.reader.get());
        self.reactor.wake(self.incoming.writer.get());
    }
}

/// Listeners by address.
#[derive(Default)]
pub struct MemoryNetwork {
    listeners: RefCell<HashMap<Address, Rc<Backlog>>>,
    /// Where it is another than HTTP/1.
    protocols: RefCell<HashMap<Address, Protocol>>,
}

#[derive(Default)]
struct Backlog {
    waiting: RefCell<VecDeque<PipeEnd>>,
    acceptor: Cell<Option<TaskId>>,
    /// Bytes each direction of a new connection holds.
    capacity: Cell<usize>,
}

impl MemoryNetwork {
    /// Listen on `address`; connections hold `capacity` bytes in each direction.
    pub fn listen(self: &Rc<Self>, address: Address, capacity: usize) -> MemoryListener {
        let backlog = Rc::new(Backlog { capacity: Cell::new(capacity), ..Backlog::default() });
        self.listeners.borrow_mut().insert(address.clone(), backlog.clone());
        MemoryListener { network: self.clone(), address, backlog }
    }

    /// Speak `protocol` on connections to `address`; to be said before there is a pool for it.
    pub fn set_protocol(&self, address: Address, protocol: Protocol) {
        self.protocols.borrow_mut().insert(address, protocol);
    }

    pub(super) fn protocol(&self, address: &Address) -> Protocol {
        self.protocols.borrow().get(address).copied().unwrap_or_default()
    }

    /// # Errors
    /// ConnectionRefused where there is no listener.
    pub fn connect(&self, reactor: &Rc<Reactor>, address: &Address) -> io::Result<PipeEnd> {
        let listeners = self.listeners.borrow();
        let backlog = listeners.get(address).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = pipe(reactor, backlog.capacity.get());
        backlog.waiting.borrow_mut().push_back(far);
        if let Some(task) = backlog.acceptor.get() {
            reactor.wake(task);
        }
        Ok(near)
    }
}

/// Accepts pipes. Dropped, further connects are refused.
pub struct MemoryListener {
    network: Rc<MemoryNetwork>,
    address: Address,
    backlog: Rc<Backlog>,
}

impl MemoryListener {
    pub fn poll_accept(&self, reactor: &Reactor) -> Poll<PipeEnd> {
        if let Some(end) = self.backlog.waiting.borrow_mut().pop_front() {
            return Poll::Ready(end);
        }
        self.backlog.acceptor.set(Some(reactor.current_task()));
        Poll::Pending
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.network.listeners.borrow_mut().remove(&self.address);
    }
}
