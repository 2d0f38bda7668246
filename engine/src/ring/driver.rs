//! The socket table and the operations on it. Receiving is receive.rs's, what the other completions do dispatch.rs's.

use super::accept::AcceptorState;
use super::buffer::Buf;
use super::paged::Paged;
use super::pools::{Pools, ReceiveClass};
use super::send::{Segment, SendQueue, Submission};
use super::task::{Executor, TaskId};
use super::uring::{Completion, Uring};
use crate::base::clock::Nanos;
use io_uring::types::{CancelBuilder, Fd};
use io_uring::{opcode, squeue};
use slab::Slab;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

/// What an entry's completion is about; the top byte of its user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// No task waits for it: cancel, close.
    Ignored,
    Accept,
    Connect,
    /// Multishot into the kernel's choice of buffer.
    Receive,
    /// One receive into a buffer from the heap, when the pool is empty.
    ReceiveHeap,
    /// Bytes have come for a socket that had to do without a buffer.
    ReceiveReady,
    Send,
    PollIn,
    PollOut,
    /// The peer reset the connection, or closed both of its directions.
    PollEnd,
    Event,
}

const KINDS: [Kind; 11] = [
    Kind::Ignored,
    Kind::Accept,
    Kind::Connect,
    Kind::Receive,
    Kind::ReceiveHeap,
    Kind::ReceiveReady,
    Kind::Send,
    Kind::PollIn,
    Kind::PollOut,
    Kind::PollEnd,
    Kind::Event,
];

const GENERATION_MASK: u32 = (1 << 24) - 1;

/// A slot of a table and the generation that tells this use of it from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotKey {
    pub index: u32,
    pub generation: u32,
}

pub(super) fn tag(kind: Kind, key: SlotKey) -> u64 {
    (kind as u64) << 56 | u64::from(key.generation & GENERATION_MASK) << 32 | u64::from(key.index)
}

pub(super) fn untag(user_data: u64) -> Option<(Kind, SlotKey)> {
    let kind = *KINDS.get((user_data >> 56) as usize)?;
    Some((kind, SlotKey { index: user_data as u32, generation: (user_data >> 32) as u32 & GENERATION_MASK }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    Idle,
    Armed,
    /// The pool is empty: one receive into the heap is under way.
    Heap,
    /// The pool was empty and nothing had come: a poll entry says when it has.
    Waiting,
    /// A cancel is on its way; data may still arrive before it.
    Stopping,
}

/// How the receiving direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceiveEnd {
    Open,
    Eof,
    /// An errno value.
    Failed(u16),
}

impl ReceiveEnd {
    pub fn failed(errno: i32) -> Self {
        // None is above 4,095.
        Self::Failed(errno as u16)
    }
}

pub(super) struct SocketState {
    pub fd: OwnedFd,
    pub generation: u32,
    /// Completions that will still come.
    pub operations: u8,
    /// The handle is gone; the slot only waits for its completions.
    pub closing: bool,
    pub receive: Receive,
    /// Which buffers the next receive asks for.
    pub receive_class: ReceiveClass,
    /// One buffer at a time instead of as many as come.
    pub receive_once: bool,
    /// Just accepted, or about to hear one thing as if it were: the next receive is its first.
    pub is_new: bool,
    /// The first receive is under way or over, and nothing has been asked for since.
    pub receive_watch: bool,
    /// The receive that is being stopped starts again at once, with other buffers.
    pub receive_again: bool,
    /// The receive that is armed takes as many as come.
    pub receive_multishot: bool,
    pub receive_end: ReceiveEnd,
    /// Received and not yet taken.
    pub received: SmallVec<[Buf; 1]>,
    pub receive_charge: usize,
    pub receive_waiter: TaskId,
    pub lent: Lent,
    pub send: Option<Box<SendQueue>>,
    pub send_waiter: TaskId,
    /// errno of a failed send or connect; nothing is sent after it.
    pub send_error: i32,
    /// What is sent next is the last.
    pub ends_with_next: bool,
    pub poll_in: PollState,
    pub poll_out: PollState,
    /// Bytes that the kernel has taken.
    pub sent: u64,
    pub end_watch: EndWatch,
}

/// Memory of a socket's own that the kernel reads from or writes to; boxed, so that it stays where it is.
pub(super) enum Lent {
    None,
    /// Until the connection stands.
    Address(Box<socket2::SockAddr>),
    /// What a receive without a buffer of the pool writes to.
    Buffer(Box<[u8]>),
}

impl SocketState {
    pub fn is_connecting(&self) -> bool {
        matches!(self.lent, Lent::Address(_))
    }

    fn lend_address(&mut self, address: Box<socket2::SockAddr>) -> &socket2::SockAddr {
        self.lent = Lent::Address(address);
        let Lent::Address(address) = &self.lent else { unreachable!("it was put there") };
        address
    }

    pub fn lend_buffer(&mut self, buffer: Box<[u8]>) -> &mut [u8] {
        self.lent = Lent::Buffer(buffer);
        let Lent::Buffer(buffer) = &mut self.lent else { unreachable!("it was put there") };
        buffer
    }
}

/// Noticing a reset where nothing is received.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndWatch {
    pub armed: bool,
    /// The peer is gone.
    pub gone: bool,
    /// The peer's FIN has come.
    pub fin: bool,
    /// This side has closed its direction, so that the peer's FIN closes both.
    pub shut: bool,
    pub waiter: TaskId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PollState {
    Idle,
    Waiting,
    Ready,
}

/// Counts since the start, for the statistics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IoCounts {
    pub completions: u64,
    pub sleeps: u64,
    pub out_of_buffers: u64,
    pub receive_pauses: u64,
    pub stale_completions: u64,
}

pub(super) struct Io {
    pub uring: Uring,
    pub sockets: Paged<SocketState>,
    pub acceptors: Slab<AcceptorState>,
    generation: u32,
    /// Sockets that are being closed: their handle is gone, and the kernel has not yet been asked to close them.
    closing: usize,
    /// Closes that the kernel has not seen yet.
    pub closes_queued: usize,
    pub pools: Pools,
    /// Sockets whose first receive is over, and when to listen to them again; see receive.rs.
    pub watched: VecDeque<(Nanos, SlotKey)>,
    /// Time at the start of this turn.
    pub now: Nanos,
    /// Vectors to use again.
    pub spare: Vec<Vec<u8>>,
    /// Send queues to use again. Boxed: the kernel holds their addresses.
    #[allow(clippy::vec_box)]
    pub spare_queues: Vec<Box<SendQueue>>,
    pub completions: Vec<Completion>,
    pub event: Event,
    pub counts: IoCounts,
    /// Received and untaken bytes (as charged) of one socket above which its receive stops.
    pub receive_limit: usize,
}

/// The eventfd through which other threads make the loop turn.
pub(super) struct Event {
    fd: OwnedFd,
    /// Boxed: the kernel writes to it.
    value: Box<u64>,
    pub armed: bool,
}

/// Queues kept for reuse.
const SPARE_QUEUES: usize = 1024;

impl Io {
    pub(super) fn new(uring: Uring, pools: Pools, event: OwnedFd, receive_limit: usize) -> Self {
        let pools = uring.served_by(pools);
        Self {
            uring,
            sockets: Paged::new(),
            acceptors: Slab::new(),
            generation: 0,
            closing: 0,
            closes_queued: 0,
            pools,
            watched: VecDeque::new(),
            now: 0,
            spare: Vec::new(),
            spare_queues: Vec::new(),
            completions: Vec::with_capacity(1024),
            event: Event { fd: event, value: Box::new(0), armed: false },
            counts: IoCounts::default(),
            receive_limit,
        }
    }

    pub(super) fn next_generation(&mut self) -> u32 {
        self.generation = (self.generation + 1) & GENERATION_MASK;
        self.generation
    }

    /// `is_new`: the descriptor was just accepted.
    pub(super) fn adopt(&mut self, fd: OwnedFd, is_new: bool) -> SlotKey {
        let generation = self.next_generation();
        let index = self.sockets.insert(SocketState {
            fd,
            generation,
            operations: 0,
            closing: false,
            receive: Receive::Idle,
            receive_class: ReceiveClass::Short,
            receive_once: false,
            is_new,
            receive_watch: false,
            receive_again: false,
            receive_multishot: false,
            receive_end: ReceiveEnd::Open,
            received: SmallVec::new(),
            receive_charge: 0,
            receive_waiter: TaskId::NONE,
            lent: Lent::None,
            send: None,
            send_waiter: TaskId::NONE,
            send_error: 0,
            ends_with_next: false,
            poll_in: PollState::Idle,
            poll_out: PollState::Idle,
            sent: 0,
            end_watch: EndWatch { armed: false, gone: false, fin: false, shut: false, waiter: TaskId::NONE },
        });
        SlotKey { index: index as u32, generation }
    }

    pub(super) fn socket(&mut self, key: SlotKey) -> &mut SocketState {
        let socket = &mut self.sockets[key.index as usize];
        debug_assert_eq!(socket.generation, key.generation);
        socket
    }

    pub(super) fn submit(&mut self, key: SlotKey, kind: Kind, entry: squeue::Entry) {
        self.sockets[key.index as usize].operations += 1;
        self.uring.push(&entry.user_data(tag(kind, key)));
    }

    pub(super) fn submit_ignored(&mut self, entry: squeue::Entry) {
        let silent = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(Kind::Ignored as u64);
        self.uring.push(&silent);
    }

    /// `one`: one connection. Where rings share the socket, this one then waits behind the others: the kernel tells the first
    /// of them of each connection, and an accept of many connections would stay the first one.
    pub(super) fn submit_accept(&mut self, key: SlotKey, fd: RawFd, one: bool) {
        let entry = match one {
            true => opcode::Accept::new(Fd(fd), ptr::null_mut(), ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build(),
            false => opcode::AcceptMulti::new(Fd(fd)).flags(libc::SOCK_CLOEXEC).build(),
        };
        self.uring.push(&entry.user_data(tag(Kind::Accept, key)));
    }

    pub(super) fn cancel_accept(&mut self, key: SlotKey) {
        self.submit_ignored(opcode::AsyncCancel::new(tag(Kind::Accept, key)).build());
    }

    pub(super) fn start_connect(&mut self, key: SlotKey, address: socket2::SockAddr) {
        let socket = self.socket(key);
        let fd = Fd(socket.fd.as_raw_fd());
        let address = socket.lend_address(Box::new(address));
        let entry = opcode::Connect::new(fd, address.as_ptr().cast(), address.len()).build();
        self.submit(key, Kind::Connect, entry);
    }

    /// Put a segment behind what the socket has to send.
    pub(super) fn queue(&mut self, key: SlotKey, segment: Segment) {
        let socket = &mut self.sockets[key.index as usize];
        let queue = socket.send.get_or_insert_with(|| self.spare_queues.pop().unwrap_or_else(SendQueue::new));
        queue.push(segment, &mut self.spare);
    }

    /// Hand the front of the socket's queue to the kernel, unless a send is under way already.
    pub(super) fn start_send(&mut self, key: SlotKey) {
        let socket = self.socket(key);
        if socket.is_connecting() {
            return;
        }
        let Some(queue) = &mut socket.send else { return };
        if queue.is_in_flight() || queue.is_empty() {
            return;
        }
        let fd = Fd(socket.fd.as_raw_fd());
        let flags = libc::MSG_NOSIGNAL | if socket.ends_with_next { libc::MSG_MORE } else { 0 };
        let entry = match queue.submission() {
            Submission::One { address, len } => opcode::Send::new(fd, address, len).flags(flags).build(),
            Submission::Many { message } => opcode::SendMsg::new(fd, message).flags(flags as u32).build(),
        };
        self.submit(key, Kind::Send, entry);
    }

    pub(super) fn start_poll(&mut self, key: SlotKey, kind: Kind) {
        let socket = self.socket(key);
        let events = if kind == Kind::PollIn {
            socket.poll_in = PollState::Waiting;
            libc::POLLIN | libc::POLLRDHUP
        } else {
            socket.poll_out = PollState::Waiting;
            libc::POLLOUT
        };
        let entry = opcode::PollAdd::new(Fd(socket.fd.as_raw_fd()), events as u32).build();
        self.submit(key, kind, entry);
    }

    /// Wait for a FIN and a reset for as long as the socket is open: after the one, the other may still come.
    pub(super) fn watch_end(&mut self, key: SlotKey, waiter: TaskId) {
        let socket = self.socket(key);
        socket.end_watch.waiter = waiter;
        if !socket.end_watch.armed && !socket.end_watch.gone {
            socket.end_watch.armed = true;
            let entry = opcode::PollAdd::new(Fd(socket.fd.as_raw_fd()), libc::POLLRDHUP as u32).multi(true).build();
            self.submit(key, Kind::PollEnd, entry);
        }
    }

    /// The handle is gone: end what is under way and close. The slot, and with it every byte the kernel may still
    /// look at, stays until the last completion.
    /// Send FIN behind what the kernel has.
    ///
    /// The plain call, which does not wait: IORING_OP_SHUTDOWN always goes to a worker thread, which looks the
    /// descriptor up only when it runs. By then it may be closed, and its number another connection's.
    pub(super) fn shutdown_write(&mut self, key: SlotKey) {
        let socket = self.socket(key);
        socket.end_watch.shut = true;
        // SAFETY: no pointers are passed, and the descriptor is open as long as the socket is in the table.
        unsafe { libc::shutdown(socket.fd.as_raw_fd(), libc::SHUT_WR) };
    }

    pub(super) fn close(&mut self, key: SlotKey) {
        self.closing += 1;
        let socket = self.socket(key);
        socket.closing = true;
        socket.received.clear();
        socket.receive_waiter = TaskId::NONE;
        socket.send_waiter = TaskId::NONE;
        socket.end_watch.waiter = TaskId::NONE;
        if socket.operations > 0 {
            // The close is behind what is to be cancelled, and what waits for the FIN does not wait for that.
            if socket.ends_with_next && !socket.end_watch.shut {
                self.shutdown_write(key);
            }
            let socket = self.socket(key);
            let cancel = CancelBuilder::fd(Fd(socket.fd.as_raw_fd())).all();
            self.submit_ignored(opcode::AsyncCancel2::new(cancel).build());
        }
        self.free_if_done(key);
    }

    pub(super) fn free_if_done(&mut self, key: SlotKey) {
        let socket = &self.sockets[key.index as usize];
        if !socket.closing || socket.operations > 0 {
            return;
        }
        let mut socket = self.sockets.remove(key.index as usize);
        self.closing -= 1;
        self.closes_queued += 1;
        if let Some(queue) = socket.send.take() {
            self.give_queue(queue);
        }
        let fd = std::os::fd::IntoRawFd::into_raw_fd(socket.fd);
        self.submit_ignored(opcode::Close::new(Fd(fd)).build());
    }

    /// Descriptors that are free in a turn or two.
    pub(super) fn closing(&self) -> usize {
        self.closing + self.closes_queued
    }

    pub(super) fn give_queue(&mut self, mut queue: Box<SendQueue>) {
        queue.clear(&mut self.spare);
        if self.spare_queues.len() < SPARE_QUEUES {
            self.spare_queues.push(queue);
        }
    }

    /// Drop what is kept for reuse.
    pub(super) fn trim(&mut self) {
        self.uring.trim();
        self.spare_queues.clear();
        self.spare_queues.shrink_to_fit();
        self.spare.clear();
        self.spare.shrink_to_fit();
        self.sockets.trim();
        self.completions.shrink_to(1024);
        self.watched.shrink_to(64);
        self.acceptors.iter_mut().for_each(|(_, state)| state.trim());
    }

    pub(super) fn arm_event(&mut self) {
        if !self.event.armed {
            self.event.armed = true;
            let address: *mut u64 = &raw mut *self.event.value;
            let entry = opcode::Read::new(Fd(self.event.fd.as_raw_fd()), address.cast(), 8).build();
            self.uring.push(&entry.user_data((Kind::Event as u64) << 56));
        }
    }

    /// Operations under way, the eventfd's and those of closed slots included.
    pub(super) fn outstanding(&self) -> usize {
        let sockets: usize = self.sockets.values().map(|socket| socket.operations as usize).sum();
        sockets + self.acceptors.iter().filter(|(_, state)| state.armed).count() + usize::from(self.event.armed)
    }

    /// End everything, for good. Returns whether nothing is under way any more.
    pub(super) fn end_all(&mut self, executor: &Executor) -> bool {
        self.submit_ignored(opcode::AsyncCancel2::new(CancelBuilder::any()).build());
        for _ in 0..64 {
            self.uring.enter(Some(Some(Duration::from_millis(1))));
            self.dispatch(executor);
            if self.outstanding() == 0 {
                // The last completions have queued the closing of their descriptors.
                self.uring.enter(None);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_keeps_kind_slot_and_generation() {
        for kind in KINDS {
            let key = SlotKey { index: 0x00ab_cdef, generation: 0x0012_3456 };
            assert_eq!(untag(tag(kind, key)), Some((kind, key)));
        }
        assert_eq!(untag(u64::MAX), None);
    }
}
