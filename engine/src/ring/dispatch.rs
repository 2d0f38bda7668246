//! What each completion does to the socket table.

use super::driver::{Io, Kind, Lent, PollState, Receive, SlotKey, untag};
use super::task::Executor;
use super::uring::Completion;

impl Io {
    /// Handle everything that has completed. Returns whether the event fired.
    pub(super) fn dispatch(&mut self, executor: &Executor) -> bool {
        // The kernel closes at once what it is asked to close.
        self.closes_queued = 0;
        let mut completions = std::mem::take(&mut self.completions);
        self.uring.completions(&mut completions);
        self.counts.completions += completions.len() as u64;
        let mut event = false;
        for completion in completions.drain(..) {
            let Some((kind, key)) = untag(completion.user_data) else { continue };
            match kind {
                Kind::Ignored => {}
                Kind::Accept => self.on_accept(key, completion, executor),
                Kind::Event => {
                    self.event.armed = false;
                    event = true;
                }
                _ => self.on_socket(kind, key, completion, executor),
            }
        }
        self.completions = completions;
        event
    }

    fn on_socket(&mut self, kind: Kind, key: SlotKey, completion: Completion, executor: &Executor) {
        let buf = completion.buffer().map(|number| self.pools.received(number, completion.result.max(0) as u32));
        let Some(socket) =
            self.sockets.get_mut(key.index as usize).filter(|socket| socket.generation == key.generation)
        else {
            self.counts.stale_completions += 1;
            return;
        };
        let closing = socket.closing;
        if !completion.more() {
            socket.operations -= 1;
        } else if let Some(bytes) = &buf
            && !closing
            && socket.receive_charge + bytes.charge() < self.receive_limit
            && !bytes.is_whole(&self.pools.short)
        {
            // What nearly every receive brings: a message that leaves room, on a socket that goes on receiving.
            socket.receive_charge += bytes.charge();
            socket.received.extend(buf);
            return executor.wake(socket.receive_waiter);
        }
        match kind {
            Kind::Receive => self.on_receive(key, completion, buf, executor),
            Kind::ReceiveHeap => self.on_receive_heap(key, completion.result, executor),
            Kind::ReceiveReady => {
                socket.receive = Receive::Idle;
                executor.wake(socket.receive_waiter);
            }
            Kind::Send => self.on_send(key, completion.result, executor),
            Kind::Connect => {
                socket.lent = Lent::None;
                socket.send_error = -completion.result.min(0);
                executor.wake(socket.send_waiter);
                // A task may have asked for bytes before the connection stood.
                executor.wake(socket.receive_waiter);
                if completion.result >= 0 && !socket.closing {
                    self.start_send(key);
                }
            }
            Kind::PollIn => {
                socket.poll_in = PollState::Ready;
                executor.wake(socket.receive_waiter);
            }
            Kind::PollOut => {
                socket.poll_out = PollState::Ready;
                executor.wake(socket.send_waiter);
            }
            Kind::PollEnd => {
                let watch = &mut socket.end_watch;
                watch.armed = completion.more();
                let events = completion.result.max(0) as i16;
                if events & libc::POLLERR != 0 || (events & libc::POLLHUP != 0 && !watch.shut) {
                    watch.gone = true;
                    executor.wake(watch.waiter);
                }
                if events & libc::POLLRDHUP != 0 && !std::mem::replace(&mut watch.fin, true) {
                    executor.wake(watch.waiter);
                }
            }
            Kind::Ignored | Kind::Accept | Kind::Event => unreachable!("dispatched before"),
        }
        if closing {
            self.free_if_done(key);
        }
    }

    fn on_send(&mut self, key: SlotKey, result: i32, executor: &Executor) {
        let socket = &mut self.sockets[key.index as usize];
        let Some(queue) = &mut socket.send else { return };
        match result {
            0.. => {
                socket.sent += result as u64;
                queue.sent(result as usize, &mut self.spare);
            }
            _ if matches!(-result, libc::EINTR | libc::EAGAIN) => queue.give_up(),
            _ => {
                queue.give_up();
                queue.clear(&mut self.spare);
                socket.send_error = -result;
                // A task that waits for an answer will not get one either.
                executor.wake(socket.receive_waiter);
            }
        }
        executor.wake(socket.send_waiter);
        if !queue.is_empty() && !socket.closing {
            self.start_send(key);
        } else if let Some(queue) = socket.send.take() {
            self.give_queue(queue);
        }
    }

    fn on_accept(&mut self, key: SlotKey, completion: Completion, executor: &Executor) {
        // SAFETY: a completion of accept carries a new descriptor without another owner.
        let accepted =
            (completion.result >= 0).then(|| unsafe { std::os::fd::FromRawFd::from_raw_fd(completion.result) });
        // A connection that arrives after its listener is gone is dropped here, which closes it.
        if let Some(state) = self.acceptors.get_mut(key.index as usize)
            && state.generation == key.generation
        {
            let stop = state.on_completion(accepted, completion);
            executor.wake(state.waiter);
            if state.is_done() {
                self.acceptors.remove(key.index as usize);
            }
            if stop {
                self.cancel_accept(key);
            }
        }
    }
}
