//! Receiving: into which buffers, how many at a time, and what its completions do to the socket.

use super::buffer::Buf;
use super::driver::{Io, Kind, Lent, Receive, ReceiveEnd, SlotKey, tag};
use super::pools::ReceiveClass;
use super::task::Executor;
use super::uring::{Completion, buffer_group};
use crate::base::clock::Nanos;
use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use std::os::fd::AsRawFd;

/// Wait before the first try; since Linux 5.19 (IORING_RECVSEND_POLL_FIRST).
const POLL_FIRST: u16 = 1;

/// How long after its first bytes a connection is listened to again, if its task has not asked for more by then.
const WATCH_AFTER: Nanos = 50_000_000;

impl Io {
    /// Ask for as many buffers as come, or for one.
    ///
    /// The first receive of an accepted socket is for one: a client that makes a connection for one request says all it
    /// has to say at once, and then nothing is under way that the close would have to cancel. It begins with waiting,
    /// because a client's first bytes come after its connection. After it nothing listens to the client until the task
    /// asks for more, and a client that goes away would not be noticed; so `watch` sees to that.
    pub(super) fn start_receive(&mut self, key: SlotKey) {
        let wanted = self.socket(key).receive_class;
        let class = self.pools.available(wanted);
        let len = self.pools.of(class).buffer_size() as u32;
        let socket = self.socket(key);
        debug_assert_eq!(socket.receive, Receive::Idle);
        let first = std::mem::take(&mut socket.is_new) && !socket.receive_once;
        socket.receive = Receive::Armed;
        (socket.receive_watch, socket.receive_again) = (first, false);
        socket.receive_multishot = !socket.receive_once && !first;
        let fd = Fd(socket.fd.as_raw_fd());
        let entry = if socket.receive_multishot {
            opcode::RecvMulti::new(fd, buffer_group(class)).build()
        } else {
            let one = opcode::Recv::new(fd, std::ptr::null_mut(), len).buf_group(buffer_group(class));
            one.ioprio(if first { POLL_FIRST } else { 0 }).build().flags(squeue::Flags::BUFFER_SELECT)
        };
        self.submit(key, Kind::Receive, entry);
    }

    /// The first receive of a socket is over.
    fn watch(&mut self, key: SlotKey) {
        self.watched.push_back((self.now + WATCH_AFTER, key));
    }

    /// When `listen_again` has something to do next.
    pub(super) fn next_watch(&mut self) -> Option<Nanos> {
        while let Some(&(time, key)) = self.watched.front() {
            if self.is_watched(key) {
                return Some(time);
            }
            self.watched.pop_front();
        }
        None
    }

    /// Sockets whose first request is still being answered are listened to again: their clients may go away.
    pub(super) fn listen_again(&mut self) {
        while let Some(&(time, key)) = self.watched.front()
            && time <= self.now
        {
            self.watched.pop_front();
            if self.is_watched(key) {
                self.start_receive(key);
            }
        }
    }

    fn is_watched(&self, key: SlotKey) -> bool {
        self.sockets.get(key.index as usize).is_some_and(|socket| {
            let idle = socket.receive == Receive::Idle && socket.receive_end == ReceiveEnd::Open && !socket.closing;
            socket.generation == key.generation && socket.receive_watch && !socket.receive_once && idle
        })
    }

    /// Receive into long buffers from now on, or into short ones. What is under way begins again.
    pub(super) fn receive_into(&mut self, key: SlotKey, class: ReceiveClass) {
        let socket = self.socket(key);
        socket.receive_class = class;
        if socket.receive == Receive::Armed && socket.receive_multishot {
            self.stop_receive(key);
            self.socket(key).receive_again = true;
        }
    }

    pub(super) fn stop_receive(&mut self, key: SlotKey) {
        let socket = self.socket(key);
        (socket.receive_watch, socket.receive_again) = (false, false);
        let kind = match socket.receive {
            Receive::Idle | Receive::Stopping => return,
            // Does not wait, so it ends by itself.
            Receive::Heap => None,
            Receive::Armed => Some(Kind::Receive),
            Receive::Waiting => Some(Kind::ReceiveReady),
        };
        socket.receive = Receive::Stopping;
        if let Some(kind) = kind {
            self.submit_ignored(opcode::AsyncCancel::new(tag(kind, key)).build());
        }
    }

    /// The pool is empty: take one piece into the heap, without waiting, so that this socket goes on.
    fn receive_to_heap(&mut self, key: SlotKey) {
        let is_short = self.socket(key).receive_class == ReceiveClass::Short;
        let len = self.pools.of(if is_short { ReceiveClass::Short } else { ReceiveClass::Long }).buffer_size();
        let socket = self.socket(key);
        if socket.receive == Receive::Idle {
            socket.receive = Receive::Heap;
        }
        let fd = Fd(socket.fd.as_raw_fd());
        let buffer = socket.lend_buffer(vec![0; len].into());
        let entry = opcode::Recv::new(fd, buffer.as_mut_ptr(), len as u32).flags(libc::MSG_DONTWAIT).build();
        self.submit(key, Kind::ReceiveHeap, entry);
    }

    /// Asking for a buffer again before bytes are there would fail at once, again and again, as long as the pool is
    /// empty.
    fn wait_for_bytes(&mut self, key: SlotKey) {
        let socket = self.socket(key);
        socket.receive = Receive::Waiting;
        let events = libc::POLLIN | libc::POLLRDHUP;
        let entry = opcode::PollAdd::new(Fd(socket.fd.as_raw_fd()), events as u32).build();
        self.submit(key, Kind::ReceiveReady, entry);
    }

    pub(super) fn on_receive(&mut self, key: SlotKey, completion: Completion, buf: Option<Buf>, executor: &Executor) {
        let socket = &mut self.sockets[key.index as usize];
        let stopping = socket.receive == Receive::Stopping;
        if !completion.more() {
            socket.receive = Receive::Idle;
        }
        if socket.closing {
            return;
        }
        match (completion.result, buf) {
            (1.., Some(buf)) => self.on_bytes(key, buf),
            (0.., _) => socket.receive_end = ReceiveEnd::Eof,
            (failed, _) => match -failed {
                libc::ENOBUFS if !stopping => {
                    self.counts.out_of_buffers += 1;
                    return self.without_buffer(key);
                }
                libc::ECANCELED | libc::ENOBUFS if self.receive_again(key) => return,
                // Stopped by us, or to be armed again: the wake below makes the task look.
                libc::ECANCELED | libc::ENOBUFS | libc::EINTR | libc::EAGAIN => {}
                errno => self.sockets[key.index as usize].receive_end = ReceiveEnd::failed(errno),
            },
        }
        executor.wake(self.sockets[key.index as usize].receive_waiter);
    }

    fn on_bytes(&mut self, key: SlotKey, buf: Buf) {
        let limit = self.receive_limit;
        let is_whole = buf.is_whole(&self.pools.short);
        let socket = &mut self.sockets[key.index as usize];
        socket.receive_charge += buf.charge();
        socket.received.push(buf);
        let (receive, watch) = (socket.receive, socket.receive_watch);
        if socket.receive_charge > limit {
            self.counts.receive_pauses += u64::from(receive == Receive::Armed || socket.receive_again);
            self.stop_receive(key);
        } else if is_whole && !socket.receive_once && self.pools.has_long() {
            // More came at once than a short buffer holds, and the connection's next message will probably be as long.
            self.receive_into(key, ReceiveClass::Long);
        }
        if receive == Receive::Idle && watch {
            self.watch(key);
        }
        self.receive_again(key);
    }

    /// Start again what was stopped only to change its buffers. Returns whether it was.
    fn receive_again(&mut self, key: SlotKey) -> bool {
        let socket = &mut self.sockets[key.index as usize];
        let again = socket.receive == Receive::Idle && socket.receive_again;
        if again {
            self.start_receive(key);
        }
        again
    }

    /// The kernel had no buffer of the kind that was asked for. It is lent a few of those that are free, and more before the
    /// next receive.
    fn without_buffer(&mut self, key: SlotKey) {
        let has_short = self.pools.short.is_available();
        let has_longer = self.pools.available(self.sockets[key.index as usize].receive_class) != ReceiveClass::Short;
        if has_short || has_longer {
            self.start_receive(key);
        } else {
            self.receive_to_heap(key);
        }
    }

    pub(super) fn on_receive_heap(&mut self, key: SlotKey, result: i32, executor: &Executor) {
        let socket = &mut self.sockets[key.index as usize];
        let stopped = std::mem::replace(&mut socket.receive, Receive::Idle) == Receive::Stopping;
        let lent = std::mem::replace(&mut socket.lent, Lent::None);
        if socket.closing {
            return;
        }
        match (result, lent) {
            (1.., Lent::Buffer(buffer)) => {
                let mut buf = self.pools.short.heap_buf(buffer);
                buf.truncate(result as usize);
                socket.receive_charge += buf.charge();
                socket.received.push(buf);
            }
            (0.., _) => socket.receive_end = ReceiveEnd::Eof,
            (failed, _) => match -failed {
                libc::EAGAIN if !stopped => return self.wait_for_bytes(key),
                libc::EAGAIN | libc::EINTR | libc::ECANCELED => {}
                errno => socket.receive_end = ReceiveEnd::failed(errno),
            },
        }
        executor.wake(socket.receive_waiter);
        if socket.receive_watch {
            self.watch(key);
        }
    }
}
