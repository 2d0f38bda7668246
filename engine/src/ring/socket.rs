//! A connected (or connecting) stream socket on this shard's ring.

use super::buffer::Buf;
use super::driver::{Kind, PollState, Receive, ReceiveEnd, SlotKey};
use super::pools::ReceiveClass;
use super::reactor::Reactor;
use super::send::Segment;
use super::task::TaskId;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Poll, ready};

/// One socket. Each direction has one waiting task: the last that polled it. Dropped, the socket is closed and
/// what was not yet sent is lost; flush first.
pub struct Socket {
    reactor: Rc<Reactor>,
    pub(super) key: SlotKey,
}

impl Socket {
    /// Take over a connected descriptor. It must not be in non-blocking mode: the ring would report EAGAIN instead of
    /// waiting.
    pub fn new(reactor: &Rc<Reactor>, fd: OwnedFd) -> Self {
        Self { reactor: reactor.clone(), key: reactor.io(|io| io.adopt(fd, false)) }
    }

    /// The same for a descriptor that was just accepted and has received nothing yet: whether it serves more than one
    /// request is not known, and what only pays off then begins with the second receive.
    pub fn accepted(reactor: &Rc<Reactor>, fd: OwnedFd) -> Self {
        Self { reactor: reactor.clone(), key: reactor.io(|io| io.adopt(fd, true)) }
    }

    /// Start connecting `fd` to `address`.
    pub fn connect(reactor: &Rc<Reactor>, fd: OwnedFd, address: socket2::SockAddr) -> Self {
        let socket = Self::new(reactor, fd);
        reactor.io(|io| io.start_connect(socket.key, address));
        socket
    }

    /// Whether the connection stands. The caller keeps the deadline: drop the socket to give up.
    ///
    /// # Errors
    /// What connect(2) reports.
    pub fn poll_connected(&self) -> Poll<io::Result<()>> {
        let task = self.reactor.current_task();
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            if socket.is_connecting() {
                socket.send_waiter = task;
                return Poll::Pending;
            }
            Poll::Ready(result(socket.send_error))
        })
    }

    /// The next received bytes, never empty; `None` after the peer's FIN. Asking for more lets the peer send more:
    /// what is not asked for stays, beyond a limit, in the kernel's buffer and so with the peer.
    ///
    /// # Errors
    /// What recv(2) reports, after everything received before it has been taken.
    pub fn poll_recv(&self) -> Poll<io::Result<Option<Buf>>> {
        let task = self.reactor.current_task();
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            if !socket.received.is_empty() {
                let buf = socket.received.remove(0);
                socket.receive_charge -= buf.charge();
                return Poll::Ready(Ok(Some(buf)));
            }
            match socket.receive_end {
                ReceiveEnd::Eof => return Poll::Ready(Ok(None)),
                ReceiveEnd::Failed(errno) => return Poll::Ready(Err(io::Error::from_raw_os_error(errno.into()))),
                ReceiveEnd::Open => {}
            }
            socket.receive_waiter = task;
            if socket.receive == Receive::Idle && !socket.is_connecting() {
                io.start_receive(self.key);
            }
            Poll::Pending
        })
    }

    /// Put back bytes that were taken by `poll_recv` and not used; they come first again.
    pub fn unread(&self, buf: Buf) {
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            socket.receive_charge += buf.charge();
            socket.received.insert(0, buf);
        });
    }

    /// The next receive is as the first one of an accepted socket: for one buffer, since all that the peer has to say until it has
    /// an answer comes at once.
    pub fn expect_one(&self) {
        self.reactor.io(|io| io.socket(self.key).is_new = true);
    }

    /// Whether `poll_recv` would be ready, without asking for more.
    pub fn has_received(&self) -> bool {
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            !socket.received.is_empty() || socket.receive_end != ReceiveEnd::Open
        })
    }

    /// Whether bytes wait, end of stream aside. After the first receive of an accepted socket, when the ring does not
    /// listen, the kernel is asked: a close with bytes left there would be a reset.
    pub fn has_received_bytes(&self) -> bool {
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            let deaf = socket.receive_watch && socket.receive == Receive::Idle;
            !socket.received.is_empty() || (deaf && has_bytes(socket.fd.as_raw_fd()))
        })
    }

    /// The same, where the kernel is asked in any case: behind a body that was spliced or fetched one buffer at a time, bytes
    /// may wait that the ring does not know of.
    pub fn has_unread_bytes(&self) -> bool {
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            !socket.received.is_empty() || has_bytes(socket.fd.as_raw_fd())
        })
    }

    /// Tell the peer at once that its bytes have come, and not with the next ones that go there, or 40 ms later.
    pub fn acknowledge(&self) {
        // Without TCP there is nothing to be said.
        self.reactor.io(|io| {
            let _ = rustix::net::sockopt::set_tcp_quickack(&io.socket(self.key).fd, true);
        });
    }

    /// Queue `segments` (left empty) behind what is queued already, and start sending. After a failed send nothing
    /// more is sent; `poll_flushed` says so.
    pub fn send(&self, segments: &mut Vec<Segment>) {
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            if socket.send_error != 0 && !socket.is_connecting() {
                return segments.clear();
            }
            segments.drain(..).for_each(|segment| io.queue(self.key, segment));
            io.start_send(self.key);
        });
    }

    /// As `send`, for one segment.
    pub fn send_one(&self, segment: Segment) {
        self.reactor.io(|io| {
            if io.socket(self.key).send_error == 0 {
                io.queue(self.key, segment);
                io.start_send(self.key);
            }
        });
    }

    /// Queue a segment behind what is queued already, without starting to send: `start_send` or the next `send_one` does.
    pub fn queue(&self, segment: Segment) {
        self.reactor.io(|io| {
            if io.socket(self.key).send_error == 0 {
                io.queue(self.key, segment);
            }
        });
    }

    /// Start sending what is queued.
    pub fn start_send(&self) {
        self.reactor.io(|io| io.start_send(self.key));
    }

    /// Nothing follows what is sent next but the FIN, at once: by `shutdown_write` or by dropping this. The kernel may keep
    /// the last bytes for a segment with both (MSG_MORE), but not for longer than 200 ms.
    pub fn ends_with_next(&self) {
        self.reactor.io(|io| io.socket(self.key).ends_with_next = true);
    }

    /// There is to be no FIN after all, but a reset.
    pub fn forget_end(&self) {
        self.reactor.io(|io| io.socket(self.key).ends_with_next = false);
    }

    /// Ready when unsent segments hold at most `limit` bytes of memory.
    ///
    /// # Errors
    /// What a send before reported.
    pub fn poll_flushed(&self, limit: usize) -> Poll<io::Result<()>> {
        self.poll_room(limit).map_ok(|_| ())
    }

    /// The same, with the bytes that are left up to the limit.
    ///
    /// # Errors
    /// What a send before reported.
    pub fn poll_room(&self, limit: usize) -> Poll<io::Result<usize>> {
        let task = self.reactor.current_task();
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            if socket.send_error != 0 {
                return Poll::Ready(Err(io::Error::from_raw_os_error(socket.send_error)));
            }
            let held = socket.send.as_ref().map_or(0, |queue| queue.charge);
            if held > limit {
                socket.send_waiter = task;
                return Poll::Pending;
            }
            Poll::Ready(Ok(limit - held))
        })
    }

    /// Bytes queued and not yet taken by the kernel.
    pub fn unsent(&self) -> usize {
        self.reactor.io(|io| io.socket(self.key).send.as_ref().map_or(0, |queue| queue.pending))
    }

    /// Whether the connection was reset or a send failed. A FIN alone breaks nothing.
    pub fn is_broken(&self) -> bool {
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            socket.send_error != 0 || socket.end_watch.gone || matches!(socket.receive_end, ReceiveEnd::Failed(_))
        })
    }

    /// Whether the peer's FIN has come, as far as that was noticed: by a receive, or by `watch_end`. Bytes before it may be
    /// unread.
    pub fn has_ended(&self) -> bool {
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            socket.end_watch.fin || socket.receive_end == ReceiveEnd::Eof
        })
    }

    /// Notice a FIN and a reset even where nothing is received, because it is not asked for or may not come: `has_ended` and
    /// `is_broken` say so, and the current task is woken. From the first call on as long as the socket is open; until then
    /// that costs nothing.
    pub fn watch_end(&self) {
        let task = self.reactor.current_task();
        self.reactor.io(|io| io.watch_end(self.key, task));
    }

    /// Bytes that the kernel has taken.
    pub fn sent(&self) -> u64 {
        self.reactor.io(|io| io.socket(self.key).sent)
    }

    /// Send FIN behind what the kernel has; flush first.
    pub fn shutdown_write(&self) {
        self.reactor.io(|io| io.shutdown_write(self.key));
    }

    /// Stop receiving, so that splice may read from the descriptor. Ready when the ring no longer
    /// touches it; bytes that came before that still come out of `poll_recv`, which must not be called meanwhile.
    pub fn poll_receive_stopped(&self) -> Poll<()> {
        let task = self.reactor.current_task();
        self.reactor.io(|io| {
            io.stop_receive(self.key);
            let socket = io.socket(self.key);
            if socket.receive == Receive::Idle {
                return Poll::Ready(());
            }
            socket.receive_waiter = task;
            Poll::Pending
        })
    }

    /// A second descriptor of the connection for another ring, with what has come and was not taken. Ready once this ring
    /// receives nothing any more; this handle is then to be dropped.
    ///
    /// # Errors
    /// No descriptor is left, the peer has ended the connection or broken it, or something is unsent. The connection stays,
    /// and `poll_recv` goes on.
    pub fn poll_copy(&self) -> Poll<io::Result<(OwnedFd, Vec<Buf>)>> {
        ready!(self.poll_receive_stopped());
        Poll::Ready(self.reactor.io(|io| {
            let socket = io.socket(self.key);
            let is_unsent = socket.send.as_ref().is_some_and(|queue| !queue.is_empty());
            if socket.receive_end != ReceiveEnd::Open || socket.send_error != 0 || socket.is_connecting() || is_unsent {
                return Err(io::ErrorKind::NotConnected.into());
            }
            let fd = socket.fd.try_clone()?;
            socket.receive_charge = 0;
            Ok((fd, socket.received.drain(..).collect()))
        }))
    }

    /// Receive one buffer at a time: while a body streams, what is not asked for stays with the peer (or in the kernel,
    /// for splice). Or again as many as come, which costs less where a connection waits for small messages.
    pub fn set_receive_once(&self, on: bool) {
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            socket.receive_once = on;
            if on && socket.receive_multishot {
                io.stop_receive(self.key);
            }
        });
    }

    /// Receive into buffers of this class from now on, if there are any. Without being told, a socket changes to long ones
    /// once it has filled a short one, unless it receives one at a time.
    pub fn set_receive_class(&self, class: ReceiveClass) {
        self.reactor.io(|io| io.receive_into(self.key, class));
    }

    /// Ready once the descriptor is readable (or at its end); one readiness is used up by each ready answer.
    pub fn poll_readable(&self) -> Poll<()> {
        let task = self.reactor.current_task();
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            socket.receive_waiter = task;
            match socket.poll_in {
                PollState::Ready => {
                    socket.poll_in = PollState::Idle;
                    Poll::Ready(())
                }
                PollState::Waiting => Poll::Pending,
                PollState::Idle => {
                    io.start_poll(self.key, Kind::PollIn);
                    Poll::Pending
                }
            }
        })
    }

    /// Ready once the descriptor takes bytes; one readiness is used up by each ready answer.
    pub fn poll_writable(&self) -> Poll<()> {
        let task = self.reactor.current_task();
        self.reactor.io(|io| {
            let socket = io.socket(self.key);
            socket.send_waiter = task;
            match socket.poll_out {
                PollState::Ready => {
                    socket.poll_out = PollState::Idle;
                    Poll::Ready(())
                }
                PollState::Waiting => Poll::Pending,
                PollState::Idle => {
                    io.start_poll(self.key, Kind::PollOut);
                    Poll::Pending
                }
            }
        })
    }

    /// The task to wake when bytes arrive, in place of the one that polled last.
    pub fn set_receive_waiter(&self, task: TaskId) {
        self.reactor.io(|io| io.socket(self.key).receive_waiter = task);
    }

    /// The slot in the reactor's table: the lower those that stay, the more the table can shrink.
    pub fn place(&self) -> u32 {
        self.key.index
    }

    /// The descriptor, for socket options and addresses.
    pub fn raw_fd(&self) -> RawFd {
        self.reactor.io(|io| io.socket(self.key).fd.as_raw_fd())
    }

    pub fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reactor.io(|io| io.close(self.key));
    }
}

/// Whether the kernel holds received bytes for this descriptor.
fn has_bytes(fd: RawFd) -> bool {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, for which there is room.
    unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut count) == 0 && count > 0 }
}

fn result(errno: i32) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}
