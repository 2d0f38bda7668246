//! The part of a connection that its driver and its exchanges share: what has come for each stream, and what each wants to send.

use super::stream::{Key, Leaving, State, Stream, find};
use super::window::{Budget, Window};
use crate::codec::h2::frame::{self, FRAME_MAX, PREFACE, STREAM_MAX, setting};
use crate::codec::h2::hpack::encode;
use crate::codec::h2::{Block, Code, Error, write};
use crate::http::Trailers;
use crate::mux::{Broken, Limits, Pieces};
use crate::net::{Delivery, tls};
use crate::ring::{Buf, Reactor, TaskId};
use crate::stats::{Http2Cells, Http2Stats};
use ringway_config::model::Http2Options;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;

/// Bytes of our table for the peer's header blocks (SETTINGS_HEADER_TABLE_SIZE, the default).
const TABLE: u32 = 4096;

/// What the PING holds that is sent with the first of two GOAWAYs: once it is answered, the client knows.
const LEAVING: [u8; 8] = *b"leaving.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

pub struct Link {
    pub reactor: Rc<Reactor>,
    pub(super) role: Role,
    /// Streams that the peer may have open.
    pub(super) streams_max: u32,
    /// Of heads that come.
    pub(super) limits: Limits,
    stats: Http2Stats,
    driver: Cell<TaskId>,
    /// The driver is woken, and has not looked yet.
    is_flushing: Cell<bool>,
    /// What an exchange found the connection to end by.
    pub(super) failure: Cell<Option<Error>>,
    /// Why TLS ended the connection, where it did.
    pub(super) tls_failure: RefCell<Option<tls::Failure>>,
    pub(super) state: RefCell<State>,
}

/// What a stream gives its reader.
#[derive(Debug)]
pub(super) enum Incoming {
    Data(Buf),
    /// The end, with the trailers, if there were any.
    End(Option<Box<Block>>),
}

/// How an exchange leaves its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// What it put goes out to its end.
    Whole,
    Reset(Code),
    /// The same behind what the peer takes at once of what was put.
    Broken(Code),
    /// A reset, because what came breaks a rule.
    Malformed,
}

impl Link {
    /// A new connection, whose first frames are ready to be sent.
    pub fn new(
        reactor: &Rc<Reactor>,
        role: Role,
        options: &Http2Options,
        limits: &Limits,
        stats: Http2Stats,
    ) -> Rc<Self> {
        let stream_window = options.initial_stream_window_size;
        let connection_window = options.initial_connection_window_size.max(frame::INITIAL_WINDOW);
        let budget = Budget { initial: stream_window, left: options.stream_window_growth };
        let mut state = State::new(Window::new(connection_window), budget, TABLE);
        state.out = reactor.take_vec();
        let mut settings = [(0, 0); 4];
        settings[0] = match role {
            Role::Client => (setting::ENABLE_PUSH, 0),
            Role::Server => (setting::MAX_CONCURRENT_STREAMS, options.max_concurrent_streams),
        };
        settings[1] = (setting::INITIAL_WINDOW_SIZE, stream_window);
        settings[2] = (setting::MAX_HEADER_LIST_SIZE, limits.head_bytes);
        settings[3] = (setting::NO_RFC7540_PRIORITIES, 1);
        if role == Role::Client {
            state.out.extend_from_slice(PREFACE);
        }
        frame::settings(&mut state.out, &settings);
        if connection_window > frame::INITIAL_WINDOW {
            frame::window_update(&mut state.out, 0, connection_window - frame::INITIAL_WINDOW);
        }
        state.first_frames = state.out.len();
        Rc::new(Self {
            reactor: reactor.clone(),
            role,
            streams_max: options.max_concurrent_streams,
            limits: *limits,
            stats,
            driver: Cell::new(TaskId::NONE),
            is_flushing: Cell::new(false),
            failure: Cell::new(None),
            tls_failure: RefCell::default(),
            state: RefCell::new(state),
        })
    }

    pub(super) fn note(&self, count: impl FnOnce(&Http2Cells<'_>)) {
        count(&self.stats.cells());
    }

    /// Whether a client that has `exchanges` with the server may begin another one. An exchange has no stream before it sends
    /// its head.
    pub fn has_room(&self, exchanges: u32) -> bool {
        let state = self.state.borrow();
        !state.is_closed
            && state.leaving == Leaving::No
            && exchanges.max(state.open as u32) < state.peer.streams_max.min(self.streams_max)
            && state.last < STREAM_MAX / 2
    }

    /// Exchanges that the peer serves at a time, as it says or, before that, as is thought.
    pub fn peer_streams_max(&self) -> u32 {
        self.state.borrow().peer.streams_max
    }

    /// The same before the peer has said it.
    pub fn expect_streams_max(&self, streams_max: u32) {
        self.state.borrow_mut().peer.streams_max = streams_max;
    }

    /// Whether no stream is left and nothing is to be sent.
    pub fn is_quiet(&self) -> bool {
        let state = self.state.borrow();
        state.room.is_none() && state.out.is_empty()
    }

    /// Bytes of bodies that wait to be sent.
    pub fn queued(&self) -> usize {
        self.state.borrow().streams().map(|(_, stream)| stream.out.bytes()).sum()
    }

    /// Streams whose exchanges go on.
    pub fn exchanges(&self) -> usize {
        self.state.borrow().exchanges
    }

    pub fn leaving(&self) -> Leaving {
        self.state.borrow().leaving
    }

    pub(super) fn received(&self) -> u64 {
        self.state.borrow().received
    }

    pub fn is_over(&self) -> bool {
        self.state.borrow().is_closed
    }

    /// Tell a client that it is to open no more streams. Those that are on their way are served until it knows
    /// (RFC 9113 section 6.8).
    pub fn leave(&self) {
        let mut state = self.state.borrow_mut();
        if state.leaving != Leaving::No || state.is_closed {
            return;
        }
        state.leaving = match self.role {
            Role::Server => {
                frame::goaway(&mut state.out, STREAM_MAX, Code::NO_ERROR, b"");
                frame::ping(&mut state.out, false, LEAVING);
                self.note(|stats| stats.goaway_sent.inc());
                Leaving::Announced
            }
            Role::Client => Leaving::Final,
        };
        drop(state);
        self.flush();
    }

    /// No stream beyond those that have come is served.
    pub fn leave_finally(&self) {
        let mut state = self.state.borrow_mut();
        self.leave_now(&mut state);
        drop(state);
        self.flush();
    }

    pub(super) fn leave_now(&self, state: &mut State) {
        if state.leaving != Leaving::Final && self.role == Role::Server {
            frame::goaway(&mut state.out, state.last, Code::NO_ERROR, b"");
        }
        state.leaving = Leaving::Final;
    }

    /// The peer broke a rule: it is told which one, and the connection is over.
    pub(super) fn fail(&self, error: &Error) {
        let mut state = self.state.borrow_mut();
        // What was to be sent is of no use any more, and may be what the peer floods this side with. Settings come first in any
        // case (RFC 9113 section 3.4).
        if state.has_begun {
            state.out.clear();
        } else {
            let first = state.first_frames;
            state.out.truncate(first);
        }
        let last = if self.role == Role::Server { state.last } else { 0 };
        frame::goaway(&mut state.out, last, error.code, error.reason.as_bytes());
        self.note(|stats| {
            stats.goaway_sent.inc();
            stats.flood.add(u64::from(error.code == Code::ENHANCE_YOUR_CALM));
        });
        let goodbye = std::mem::take(&mut state.out);
        drop(state);
        self.close();
        self.state.borrow_mut().out = goodbye;
    }

    /// The connection is over, and every exchange hears of it.
    pub fn close(&self) {
        let mut state = self.state.borrow_mut();
        state.is_closed = true;
        for key in state.keys(|_| true) {
            state.change(key, |stream| {
                if self.role == Role::Client && stream.in_ended {
                    stream.stop_sending();
                } else {
                    stream.break_off(Broken::Closed);
                }
                self.wake(stream);
            });
            state.settle(key);
        }
        state.out.clear();
    }

    /// Something happened to the stream.
    #[inline]
    pub(super) fn wake(&self, stream: &Stream) {
        stream.task.iter().for_each(|task| self.reactor.wake(*task));
    }

    /// The task that is being polled drives the connection from now on.
    pub(super) fn driven(&self) {
        self.driver.set(self.reactor.current_task());
        self.is_flushing.set(false);
    }

    /// Send what there is, in this turn or the next.
    #[inline]
    pub(super) fn flush(&self) {
        if !self.is_flushing.replace(true) {
            self.reactor.wake(self.driver.get());
        }
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
        if state.leaving != Leaving::No || state.open >= state.peer.streams_max as usize {
            return Err(Broken::Refused);
        }
        let id = if state.last == 0 { 1 } else { state.last + 2 };
        state.last = id;
        state.guard.opened();
        let (key, stream) = state.insert(id, &self.reactor);
        stream.task = Some(self.reactor.current_task());
        Ok(key)
    }

    /// The task of a stream's exchange, to be woken when anything happens to it.
    pub fn set_task(&self, key: Key, task: TaskId) {
        if let Some(stream) = self.state.borrow_mut().stream(key) {
            stream.task = Some(task);
        }
    }

    /// Send a head that `write` appends the block of. `ends`: nothing follows it. `is_final`: no further head does. Returns
    /// its bytes.
    pub(super) fn send_head(&self, key: Key, is_final: bool, ends: bool, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        match state.stream(key) {
            Some(stream) if !stream.out_ended => stream.answered |= is_final,
            _ => return 0,
        }
        let is_first = std::mem::take(&mut state.is_first_block);
        let len = frame::headers(&mut state.out, key.id, ends, FRAME_MAX, |out| {
            if is_first {
                encode::begin(out);
            }
            write(out);
        });
        if ends {
            state.change(key, |stream| stream.out_ended = true);
            state.settle(key);
        }
        len as u64
    }

    /// Send a piece of the body when the peer takes it; `fill` puts it into the queue.
    pub(super) fn put(&self, key: Key, fill: impl FnOnce(&mut Pieces, &Reactor)) {
        let mut state = self.state.borrow_mut();
        let Some(stream) = state.stream(key).filter(|stream| !stream.out_ended) else { return };
        fill(&mut stream.out, &self.reactor);
        state.schedule(key);
    }

    /// The body ends behind what was put. Returns the bytes that say so.
    pub(super) fn end(&self, key: Key, trailers: &Trailers) -> u64 {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(stream) = find(&mut state.room, key) else { return 0 };
        if stream.out_ended || stream.out_end.is_some() {
            return 0;
        }
        if !stream.out.is_empty() {
            let mut block = Vec::new();
            if trailers.follow_body() {
                block = self.reactor.take_vec();
                write::trailers(&mut block, trailers);
            }
            let len = block.len();
            stream.out_end = Some(block);
            return if len > 0 { (len + frame::HEADER) as u64 } else { 0 };
        }
        let before = state.out.len();
        if !trailers.follow_body() {
            state.out.extend_from_slice(&frame::data_header(0, key.id, true));
        } else {
            frame::headers(&mut state.out, key.id, true, FRAME_MAX, |out| write::trailers(out, trailers));
        }
        let len = state.out.len() - before;
        state.change(key, |stream| stream.out_ended = true);
        state.settle(key);
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

    /// How far the stream's body came.
    pub(super) fn delivery(&self, key: Key) -> Option<Delivery> {
        let mut state = self.state.borrow_mut();
        let stream = state.stream(key)?;
        Some(Delivery { taken: stream.sent, waits: !stream.out.is_empty() })
    }

    /// Whether a part of the body waits here.
    pub(super) fn has_received(&self, key: Key) -> bool {
        self.state.borrow_mut().stream(key).is_some_and(|stream| !stream.pieces.is_empty())
    }

    /// The next head.
    pub(super) fn poll_head(&self, key: Key) -> Poll<Result<Box<Block>, Broken>> {
        let mut state = self.state.borrow_mut();
        let Some(stream) = state.stream(key) else { return Poll::Ready(Err(Broken::Closed)) };
        stream.task = Some(self.reactor.current_task());
        if !stream.heads.is_empty() {
            return Poll::Ready(Ok(stream.heads.remove(0)));
        }
        stream.broken.map_or(Poll::Pending, |broken| Poll::Ready(Err(broken)))
    }

    /// The next piece of the body, or its end.
    pub(super) fn poll_piece(&self, key: Key) -> Poll<Result<Incoming, Broken>> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(stream) = find(&mut state.room, key) else {
            return Poll::Ready(Err(Broken::Closed));
        };
        stream.task = Some(self.reactor.current_task());
        if let Some(piece) = stream.pieces.pop(usize::MAX) {
            let expects_more = !stream.in_ended && stream.broken.is_none();
            let keeps_pace = stream.pieces.is_empty();
            if expects_more && let Some(due) = stream.window.take(piece.len() as u32, keeps_pace, &mut state.budget) {
                frame::window_update(&mut state.out, key.id, due);
                self.flush();
            }
            return Poll::Ready(Ok(Incoming::Data(piece)));
        }
        if stream.in_ended {
            return Poll::Ready(Ok(Incoming::End(stream.trailers.take())));
        }
        stream.broken.map_or(Poll::Pending, |broken| Poll::Ready(Err(broken)))
    }

    /// Whether the peer's message ends behind its head, ready when that is known.
    pub(super) fn poll_bare_end(&self, key: Key) -> Poll<bool> {
        let mut state = self.state.borrow_mut();
        let Some(stream) = state.stream(key) else { return Poll::Ready(false) };
        stream.task = Some(self.reactor.current_task());
        match (stream.pieces.is_empty(), stream.in_ended) {
            (true, true) => Poll::Ready(true),
            (true, false) if stream.broken.is_none() => Poll::Pending,
            _ => Poll::Ready(false),
        }
    }

    /// Whether the peer gave the stream up, or the connection is over.
    pub(super) fn is_broken(&self, key: Key) -> bool {
        self.broken(key).is_some()
    }

    /// What broke the stream off, if anything did.
    pub(super) fn broken(&self, key: Key) -> Option<Broken> {
        self.state.borrow_mut().stream(key).map_or(Some(Broken::Closed), |stream| stream.broken)
    }

    /// What has come behind a message's head by now: whether its last byte has, and whether there is a body. `has_none`: its head
    /// says that there is none, and what comes of one later breaks a rule.
    ///
    /// # Errors
    /// The peer has given the message up.
    pub(super) fn look_behind_head(&self, key: Key, has_none: bool) -> Result<(bool, bool), Broken> {
        let mut state = self.state.borrow_mut();
        let Some(stream) = state.stream(key) else { return Err(Broken::Closed) };
        stream.has_no_body |= has_none;
        stream.broken.map_or(Ok((stream.in_ended, !stream.pieces.is_empty())), Err)
    }

    /// The exchange is over.
    pub(super) fn release(&self, key: Key, how: Release) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(stream) = find(&mut state.room, key) else { return };
        stream.released = true;
        stream.task = None;
        state.exchanges -= 1;
        let is_said = stream.out_ended || stream.out_end.is_some();
        let reset = match how {
            _ if stream.broken.is_some() => None,
            Release::Whole if is_said => None,
            // The server has answered: it is not sent the rest of the request.
            Release::Whole if self.role == Role::Client => Some(Code::CANCEL),
            Release::Whole => Some(Code::INTERNAL_ERROR),
            // The stream waits in the queue of those that may send.
            Release::Broken(code) if stream.is_sending && state.credit > 0 => {
                stream.reset = Some(code);
                state.resetting += 1;
                None
            }
            Release::Reset(code) | Release::Broken(code) => Some(code),
            Release::Malformed => Some(Code::PROTOCOL_ERROR),
        };
        if how == Release::Malformed {
            self.note(|stats| stats.rx_messaging_error.inc());
            if self.role == Role::Server
                && let Err(error) = state.guard.abused()
            {
                self.failure.set(Some(error));
            }
        }
        match reset {
            Some(code) => self.reset(state, key, code),
            None => state.settle(key),
        }
        self.flush();
    }
}
