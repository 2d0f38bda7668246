//! In-memory pipes: what tests, the simulation and the benches use in place of sockets. They behave as sockets do:
//! bounded, splitting where they like, with FIN and reset.

use super::{Delivery, Traffic};
use crate::ring::{Buf, Reactor, Segment, SendQueue, TaskId};
use ringway_config::model::Address;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::task::Poll;

/// One direction.
struct Channel {
    /// What the "kernel" has, and how many bytes it takes before the sender has to wait.
    bytes: RefCell<VecDeque<u8>>,
    capacity: usize,
    /// What it has not taken, in the queue that sockets have; made when it is needed.
    queue: RefCell<Option<Box<SendQueue>>>,
    /// Bytes that one receive returns at most.
    read_limit: Cell<usize>,
    /// Put back by the reader.
    unread: RefCell<Vec<Buf>>,
    closed: Cell<bool>,
    reset: Cell<bool>,
    reader: Cell<TaskId>,
    writer: Cell<TaskId>,
    /// Bytes that went through, and times that something was sent, for tests.
    total: Cell<u64>,
    sends: Cell<u64>,
    /// Times that the reader acknowledged what had come, for tests.
    acknowledged: Cell<u64>,
}

impl Channel {
    fn new(capacity: usize) -> Rc<Self> {
        Rc::new(Self {
            bytes: RefCell::new(VecDeque::new()),
            capacity: capacity.max(1),
            queue: RefCell::new(None),
            read_limit: Cell::new(usize::MAX),
            unread: RefCell::new(Vec::new()),
            closed: Cell::new(false),
            reset: Cell::new(false),
            reader: Cell::new(TaskId::NONE),
            writer: Cell::new(TaskId::NONE),
            total: Cell::new(0),
            sends: Cell::new(0),
            acknowledged: Cell::new(0),
        })
    }

    /// Bytes that are on their way or have been read.
    fn written(&self) -> u64 {
        self.total.get() + self.bytes.borrow().len() as u64
    }

    fn send(&self, segment: Segment, reactor: &Reactor) {
        let mut bytes = self.bytes.borrow_mut();
        let mut queue = self.queue.borrow_mut();
        if queue.as_ref().is_none_or(|queue| queue.is_empty()) && bytes.len() + segment.bytes().len() <= self.capacity {
            bytes.extend(segment.bytes());
            if let Segment::Owned(vec) = segment {
                reactor.give_vec(vec);
            }
            return;
        }
        let queue = queue.get_or_insert_with(SendQueue::new);
        reactor.spare(|spare| queue.push(segment, spare));
        take(&mut bytes, queue, self.capacity, reactor);
    }

    /// The "kernel" takes as much of the queue as makes it `capacity` bytes.
    fn fill(&self, capacity: usize, reactor: &Reactor) {
        if let Some(queue) = self.queue.borrow_mut().as_mut() {
            take(&mut self.bytes.borrow_mut(), queue, capacity, reactor);
        }
    }

    fn clear(&self, reactor: &Reactor) {
        self.bytes.borrow_mut().clear();
        self.queue.borrow_mut().iter_mut().for_each(|queue| reactor.spare(|spare| queue.clear(spare)));
    }
}

fn take(bytes: &mut VecDeque<u8>, queue: &mut SendQueue, capacity: usize, reactor: &Reactor) {
    while bytes.len() < capacity && !queue.is_empty() {
        let front = queue.front();
        let count = front.len().min(capacity - bytes.len());
        bytes.extend(&front[..count]);
        reactor.spare(|spare| queue.sent(count, spare));
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
    pub fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }

    /// Receives return at most `limit` bytes from now on.
    pub fn set_read_limit(&self, limit: usize) {
        self.incoming.read_limit.set(limit.max(1));
    }

    /// The other end's receives return at most `limit` bytes from now on.
    pub fn set_write_limit(&self, limit: usize) {
        self.outgoing.read_limit.set(limit.max(1));
    }

    /// Break the connection in both directions, as RST does.
    pub fn reset(&self) {
        for channel in [&self.incoming, &self.outgoing] {
            channel.reset.set(true);
            channel.clear(&self.reactor);
            self.reactor.wake(channel.reader.get());
            self.reactor.wake(channel.writer.get());
        }
    }

    /// Memory that stands for the kernel's, in both directions.
    pub fn kernel_memory(&self) -> usize {
        self.incoming.bytes.borrow().capacity() + self.outgoing.bytes.borrow().capacity()
    }

    /// Bytes that are on their way or have been read.
    pub fn sent(&self) -> u64 {
        self.outgoing.written()
    }

    /// What came, read or not, and what has gone.
    pub fn traffic(&self) -> Traffic {
        Traffic { received: self.incoming.written(), sent: self.outgoing.written() }
    }

    /// The other end takes bytes by reading them.
    pub fn delivery(&self) -> Delivery {
        let channel = &self.outgoing;
        Delivery { taken: channel.total.get(), waits: !channel.bytes.borrow().is_empty() }
    }

    /// Bytes received by this end since the start.
    pub fn received_total(&self) -> u64 {
        self.incoming.total.get()
    }

    /// Times that the other end has sent something, where a socket would begin a send.
    pub fn sends(&self) -> u64 {
        self.incoming.sends.get()
    }

    pub(super) fn acknowledge(&self) {
        self.incoming.acknowledged.set(self.acknowledged() + 1);
    }

    /// Times that this end has acknowledged at once what had come.
    pub fn acknowledged(&self) -> u64 {
        self.incoming.acknowledged.get()
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
        drop(bytes);
        channel.fill(channel.capacity, &self.reactor);
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
        self.outgoing.sends.set(self.outgoing.sends.get() + 1);
        self.outgoing.send(segment, &self.reactor);
        self.reactor.wake(self.outgoing.reader.get());
    }

    /// Queue plain bytes.
    pub fn write(&self, bytes: &[u8]) {
        self.send_one(Segment::Owned(bytes.to_vec()));
    }

    pub fn poll_flushed(&self, limit: usize) -> Poll<io::Result<()>> {
        self.poll_room(limit).map_ok(|_| ())
    }

    pub fn poll_room(&self, limit: usize) -> Poll<io::Result<usize>> {
        if self.outgoing.reset.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let held = self.outgoing.queue.borrow().as_ref().map_or(0, |queue| queue.charge);
        if held <= limit {
            return Poll::Ready(Ok(limit - held));
        }
        self.outgoing.writer.set(self.reactor.current_task());
        Poll::Pending
    }

    pub fn unsent(&self) -> usize {
        self.outgoing.queue.borrow().as_ref().map_or(0, |queue| queue.pending)
    }

    pub fn is_broken(&self) -> bool {
        self.outgoing.reset.get() || self.incoming.reset.get()
    }

    pub fn has_ended(&self) -> bool {
        self.incoming.closed.get()
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
        self.incoming.clear(&self.reactor);
        // With the sender its queue goes, whose buffers are for all.
        self.outgoing.fill(usize::MAX, &self.reactor);
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
    /// The error of the system with which connects fail.
    error: Cell<Option<i32>>,
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

    /// Let connects fail with this error of the system, as where no descriptor is left.
    pub fn fail_connects(&self, error: Option<i32>) {
        self.error.set(error);
    }

    /// # Errors
    /// ConnectionRefused where there is no listener; what `fail_connects` has asked for.
    pub fn connect(&self, reactor: &Rc<Reactor>, address: &Address) -> io::Result<PipeEnd> {
        if let Some(code) = self.error.get() {
            return Err(io::Error::from_raw_os_error(code));
        }
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
