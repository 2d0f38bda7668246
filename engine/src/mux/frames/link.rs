//! A connection's streams: what has come for each and what each wants to send. The connection's driver moves it from and to
//! the wire; exchanges, each in a task of its own, take and add.
//!
//! ```text
//! exchange ── HEAD, END, RESET ──────> out ─────────────┐
//!     └────── DATA ── its own queue ── sending, in turn ─┴─> driver ── bytes
//! bytes ── driver ── receive ── the stream's slot ── poll_head, poll_piece ──> exchange
//! ```

use super::codec::{Event, FrameError, HEADER, Kind, frame, header};
use super::stream::{Key, State, Stream};
use super::{DATA_MAX, WINDOW, head};
use crate::http::Trailers;
use crate::mux::{Broken, Pieces};
use crate::net::{ByteStream, Outbox};
use crate::ring::{Buf, Reactor, TaskId};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;

/// Bytes of DATA that one turn puts into the batch at most.
const TURN_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// The part of a connection that its driver and its exchanges share.
pub struct Link {
    pub reactor: Rc<Reactor>,
    role: Role,
    streams_max: usize,
    driver: Cell<TaskId>,
    state: RefCell<State>,
}

/// What a stream gives its reader.
#[derive(Debug)]
pub(super) enum Incoming {
    Data(Buf),
    /// The end, with the payload that holds the trailers, if there was one.
    End(Option<Buf>),
}

impl Link {
    /// A connection on which at most `streams_max` streams are open at a time.
    pub fn new(reactor: &Rc<Reactor>, role: Role, streams_max: u32) -> Rc<Self> {
        let state = State::default();
        let (reactor, driver) = (reactor.clone(), Cell::new(TaskId::NONE));
        Rc::new(Self { reactor, role, streams_max: streams_max as usize, driver, state: RefCell::new(state) })
    }

    /// Whether another stream may begin.
    pub fn has_room(&self) -> bool {
        let state = self.state.borrow();
        !state.is_closed && !state.is_leaving
    }

    /// Whether no stream is left and nothing is to be sent.
    pub fn is_quiet(&self) -> bool {
        let state = self.state.borrow();
        state.streams.is_empty() && state.out.is_empty()
    }

    /// Bytes of bodies that wait to be sent.
    pub fn queued(&self) -> usize {
        self.state.borrow().streams.iter().map(|(_, stream)| stream.out.bytes()).sum()
    }

    /// Streams whose exchanges go on.
    pub fn exchanges(&self) -> usize {
        self.state.borrow().streams.iter().filter(|(_, stream)| !stream.released).count()
    }

    pub fn is_leaving(&self) -> bool {
        self.state.borrow().is_leaving
    }

    pub(super) fn received(&self) -> u64 {
        self.state.borrow().received
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.borrow().is_closed
    }

    /// No further stream begins, and a client is told so; those that there are go on.
    pub fn leave(&self) {
        let mut state = self.state.borrow_mut();
        if !std::mem::replace(&mut state.is_leaving, true) && self.role == Role::Server {
            let last = state.last;
            frame(&mut state.out, Kind::GoAway, last, |_| {});
        }
        drop(state);
        self.flush();
    }

    /// The connection is over, and every exchange hears of it.
    pub fn close(&self) {
        let mut state = self.state.borrow_mut();
        state.is_closed = true;
        state.out.clear();
        for (_, stream) in &mut state.streams {
            if self.role == Role::Client && stream.in_ended {
                stream.stop_sending();
            } else {
                stream.break_off(Broken::Closed);
            }
            stream.task.iter().for_each(|task| self.reactor.wake(*task));
        }
        state.settle_all();
        state.out.clear();
    }

    /// The task that is being polled drives the connection from now on.
    pub(super) fn driven(&self) {
        self.driver.set(self.reactor.current_task());
    }

    /// Send what there is, in this turn or the next.
    pub(super) fn flush(&self) {
        self.reactor.wake(self.driver.get());
    }

    /// Whether the driver may put DATA into its batch.
    pub(super) fn has_data(&self) -> bool {
        !self.state.borrow().sending.is_empty()
    }

    /// Put frames into the driver's batch; `with_data`: DATA, too.
    pub(super) fn write(&self, batch: &mut Outbox, wire: &ByteStream, with_data: bool) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if !state.out.is_empty() {
            batch.bytes(&self.reactor).append(&mut state.out);
        }
        let mut left = TURN_BYTES;
        while with_data && left > 0 {
            let Some(key) = state.sending.pop_front() else { break };
            let Some(stream) = state.stream(key) else { continue };
            let most = stream.credit.min(DATA_MAX);
            let Some(piece) = (if most > 0 { stream.out.pop(most) } else { None }) else {
                stream.is_sending = false;
                continue;
            };
            stream.credit -= piece.len();
            left = left.saturating_sub(piece.len());
            batch.bytes(&self.reactor).extend_from_slice(&header(Kind::Data, key.id, piece.len()));
            batch.body(piece, wire, &self.reactor);
            stream.task.iter().for_each(|task| self.reactor.wake(*task));
            let goes_on = !stream.out.is_empty() && stream.credit > 0;
            stream.is_sending = goes_on;
            let end = if stream.out.is_empty() { stream.out_end.take() } else { None };
            if let Some(trailers) = end {
                stream.out_ended = true;
                frame(batch.bytes(&self.reactor), Kind::End, key.id, |out| out.extend_from_slice(&trailers));
            }
            if goes_on {
                state.sending.push_back(key);
            }
            state.settle(key);
        }
        if !state.out.is_empty() {
            batch.bytes(&self.reactor).append(&mut state.out);
        }
    }

    /// Take what came. `Some`: a stream that begins, for the driver of a server to serve.
    ///
    /// # Errors
    /// The peer broke a rule, and the connection with it.
    pub(super) fn receive(&self, event: Event) -> Result<Option<Key>, FrameError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        match event {
            Event::Head(id, payload) if self.role == Role::Server => return self.begin(state, id, payload),
            Event::GoAway(last) if self.role == Role::Client => {
                state.is_leaving = true;
                for (_, stream) in state.streams.iter_mut().filter(|(_, stream)| stream.id > last) {
                    stream.break_off(Broken::Refused);
                    stream.task.iter().for_each(|task| self.reactor.wake(*task));
                }
                return Ok(None);
            }
            Event::Refused(_) | Event::GoAway(_) if self.role == Role::Server => return Err(FrameError),
            _ => {}
        }
        let id = match &event {
            Event::Head(id, _) | Event::Data(id, _) | Event::End(id, _) => *id,
            Event::Reset(id, _) | Event::Credit(id, _) | Event::Refused(id) | Event::GoAway(id) => *id,
        };
        let Some(slot) = state.slots.get(&id).copied() else {
            // A stream that is over may have had something under way.
            return if id > state.last { Err(FrameError) } else { Ok(None) };
        };
        let key = Key { slot, id };
        let stream = &mut state.streams[slot];
        if stream.broken.is_none() {
            stream.take(event, self.role)?;
            stream.task.iter().for_each(|task| self.reactor.wake(*task));
            if !stream.is_sending && !stream.out.is_empty() && stream.credit > 0 {
                stream.is_sending = true;
                state.sending.push_back(key);
            }
        }
        state.settle(key);
        Ok(None)
    }

    /// A request's head has come.
    fn begin(&self, state: &mut State, id: u32, payload: Buf) -> Result<Option<Key>, FrameError> {
        if id <= state.last {
            return Err(FrameError);
        }
        if state.is_leaving {
            // GOAWAY says that it is not served.
            return Ok(None);
        }
        state.last = id;
        if state.streams.iter().filter(|(_, stream)| !stream.is_over()).count() >= self.streams_max {
            frame(&mut state.out, Kind::Refused, id, |_| {});
            return Ok(None);
        }
        let mut stream = Stream { id, window: WINDOW, credit: WINDOW, has_head: true, ..Stream::default() };
        stream.in_ended = head::ends(&payload).ok_or(FrameError)?;
        stream.heads.push_back(payload);
        Ok(Some(state.insert(stream)))
    }

    /// Bytes that came, counted for what tells a connection that was closed while it was idle.
    pub(super) fn note_received(&self, bytes: usize) {
        self.state.borrow_mut().received += bytes as u64;
    }

    /// A new stream of a client, which belongs to the current task.
    ///
    /// # Errors
    /// The connection takes none: nothing was sent.
    pub(super) fn open_stream(&self) -> Result<Key, Broken> {
        let mut state = self.state.borrow_mut();
        if state.is_closed {
            return Err(Broken::Closed);
        }
        if state.is_leaving {
            return Err(Broken::Refused);
        }
        state.last += 1;
        let (id, task) = (state.last, Some(self.reactor.current_task()));
        Ok(state.insert(Stream { id, task, window: WINDOW, credit: WINDOW, ..Stream::default() }))
    }

    /// The task of a stream's exchange, to be woken when anything happens to it.
    pub fn set_task(&self, key: Key, task: TaskId) {
        if let Some(stream) = self.state.borrow_mut().stream(key) {
            stream.task = Some(task);
        }
    }

    /// Put a HEAD frame into the batch; `write` appends its payload, and says whether a body follows. Returns its bytes.
    /// A server's `interim` heads say nothing of the body.
    pub(super) fn send_head(&self, key: Key, interim: bool, write: impl FnOnce(&mut Vec<u8>) -> bool) -> u64 {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(stream) = state.streams.get_mut(key.slot).filter(|stream| stream.id == key.id) else { return 0 };
        if stream.out_ended {
            return 0;
        }
        let mut follows = true;
        let len = frame(&mut state.out, Kind::Head, key.id, |out| follows = write(out));
        stream.out_ended = !follows && !interim;
        state.settle(key);
        len as u64
    }

    /// Send a piece of the body when the peer takes it; `fill` puts it into the queue.
    pub(super) fn put(&self, key: Key, fill: impl FnOnce(&mut Pieces)) {
        let mut state = self.state.borrow_mut();
        let Some(stream) = state.stream(key).filter(|stream| !stream.out_ended) else { return };
        fill(&mut stream.out);
        if !stream.is_sending && !stream.out.is_empty() && stream.credit > 0 {
            stream.is_sending = true;
            state.sending.push_back(key);
        }
    }

    /// The body ends behind what was put. Returns the bytes that say so.
    pub(super) fn end(&self, key: Key, trailers: &Trailers) -> u64 {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(stream) = state.streams.get_mut(key.slot).filter(|stream| stream.id == key.id) else { return 0 };
        if stream.out_ended || stream.out_end.is_some() {
            return 0;
        }
        let mut payload = Vec::new();
        head::write_trailers(&mut payload, trailers);
        let len = payload.len() + HEADER;
        if stream.out.is_empty() {
            stream.out_ended = true;
            frame(&mut state.out, Kind::End, key.id, |out| out.extend_from_slice(&payload));
            state.settle(key);
        } else {
            stream.out_end = Some(payload);
        }
        len as u64
    }

    /// Ready when what waits of the body holds at most `limit` bytes, with what is left up to the limit.
    ///
    /// # Errors
    /// The peer takes nothing more of it.
    pub(super) fn poll_room(&self, key: Key, limit: usize) -> Poll<Result<usize, Broken>> {
        let mut state = self.state.borrow_mut();
        let Some(stream) = state.stream(key) else { return Poll::Ready(Err(Broken::Closed)) };
        if let Some(broken) = stream.broken {
            return Poll::Ready(Err(broken));
        }
        stream.task = Some(self.reactor.current_task());
        limit.checked_sub(stream.out.charge()).map_or(Poll::Pending, |room| Poll::Ready(Ok(room)))
    }

    /// Whether a part of the body waits here.
    pub(super) fn has_received(&self, key: Key) -> bool {
        self.state.borrow_mut().stream(key).is_some_and(|stream| !stream.pieces.is_empty())
    }

    /// The next head's payload.
    pub(super) fn poll_head(&self, key: Key) -> Poll<Result<Buf, Broken>> {
        let mut state = self.state.borrow_mut();
        let Some(stream) = state.stream(key) else { return Poll::Ready(Err(Broken::Closed)) };
        stream.task = Some(self.reactor.current_task());
        match (stream.heads.pop_front(), stream.broken) {
            (Some(payload), _) => Poll::Ready(Ok(payload)),
            (None, Some(broken)) => Poll::Ready(Err(broken)),
            (None, None) => Poll::Pending,
        }
    }

    /// The next piece of the body, or its end.
    pub(super) fn poll_piece(&self, key: Key) -> Poll<Result<Incoming, Broken>> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(stream) = state.streams.get_mut(key.slot).filter(|stream| stream.id == key.id) else {
            return Poll::Ready(Err(Broken::Closed));
        };
        stream.task = Some(self.reactor.current_task());
        if let Some(piece) = stream.pieces.pop(usize::MAX) {
            stream.credit_due += piece.len();
            if stream.credit_due >= WINDOW / 2 && !stream.in_ended && stream.broken.is_none() {
                let due = std::mem::take(&mut stream.credit_due);
                stream.window += due;
                frame(&mut state.out, Kind::Credit, key.id, |out| out.extend_from_slice(&(due as u32).to_be_bytes()));
                self.flush();
            }
            return Poll::Ready(Ok(Incoming::Data(piece)));
        }
        if stream.in_ended {
            return Poll::Ready(Ok(Incoming::End(stream.end.take())));
        }
        stream.broken.map_or(Poll::Pending, |broken| Poll::Ready(Err(broken)))
    }

    /// Whether the peer gave the stream up, or the connection is over.
    pub(super) fn is_broken(&self, key: Key) -> bool {
        self.state.borrow_mut().stream(key).is_none_or(|stream| stream.broken.is_some())
    }

    /// Whether the peer's last byte has come, whether or not it was read.
    pub(super) fn has_ended(&self, key: Key) -> bool {
        self.state.borrow_mut().stream(key).is_some_and(|stream| stream.in_ended)
    }

    /// The exchange is over. `whole`: what it put goes out to its end; otherwise the stream is reset with `code`.
    pub(super) fn release(&self, key: Key, whole: bool, code: u32) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(stream) = state.streams.get_mut(key.slot).filter(|stream| stream.id == key.id) else { return };
        stream.released = true;
        stream.task = None;
        if stream.broken.is_none() && !(whole && (stream.out_ended || stream.out_end.is_some())) {
            frame(&mut state.out, Kind::Reset, key.id, |out| out.extend_from_slice(&code.to_be_bytes()));
            stream.break_off(Broken::Closed);
        }
        state.settle(key);
        self.flush();
    }
}
