//! What comes on a connection, frame by frame.

use super::guard::EARLY;
use super::link::{Link, Role};
use super::room::{self, Gone};
use super::stream::{Http1, Key, Leaving, State, find};
use crate::codec::h2::frame::{self, FRAME_MAX, STREAM_MAX, WINDOW_MAX, setting};
use crate::codec::h2::{Code, Decoder, Error, Event, Scope, hpack};
use crate::mux::Broken;
use crate::ring::Buf;

/// How a server of gRPC takes leave of a client that sends PINGs too often.
const TOO_MANY_PINGS: &[u8] = b"too_many_pings";

impl Link {
    /// Take what came in `input`. `Some`: a stream that begins, for the driver of a server to serve.
    ///
    /// # Errors
    /// The peer broke a rule, and the connection with it.
    pub(super) fn receive(&self, event: &Event, decoder: &Decoder, input: &Buf) -> Result<Option<Key>, Error> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        match self.dispatch(state, event, decoder, input) {
            Err(Error { scope: Scope::Stream(id), code, reason }) => {
                self.fail_stream(state, id, code, reason)?;
                Ok(None)
            }
            other => other,
        }
    }

    fn dispatch(&self, state: &mut State, event: &Event, decoder: &Decoder, input: &Buf) -> Result<Option<Key>, Error> {
        if !state.peer.has_come && !matches!(event, Event::Settings) {
            return Err(Error::connection(Code::PROTOCOL_ERROR, "SETTINGS do not come first"));
        }
        match *event {
            Event::Headers { stream, ends } => return self.on_block(state, stream, ends, decoder.payload(input)),
            Event::Data { stream, ref part, flow, is_empty, ends } => {
                if is_empty && !ends {
                    state.guard.idle_frame(self.reactor.now())?;
                }
                let piece = (!part.is_empty()).then(|| input.slice(part.clone()));
                self.on_data(state, stream, piece, flow, ends)?;
            }
            Event::Reset { stream, code } => self.on_reset(state, stream, code)?,
            Event::WindowUpdate { stream, increment } => self.on_credit(state, stream, increment)?,
            Event::Settings => self.on_settings(state, decoder.settings(input))?,
            Event::GoAway { last, code } => {
                state.guard.idle_frame(self.reactor.now())?;
                Self::on_http1_required(state, code);
                state.pings_too_often |=
                    code == Code::ENHANCE_YOUR_CALM && decoder.payload(input)[8..] == *TOO_MANY_PINGS;
                if code != Code::NO_ERROR {
                    tracing::debug!(target: "ringway::h2", last, %code, "the peer takes leave for an error");
                }
                self.on_goaway(state, last);
            }
            Event::Ping(data) => {
                state.guard.idle_frame(self.reactor.now())?;
                frame::ping(&mut state.out, true, data);
            }
            Event::PingAck(_) if state.leaving == Leaving::Announced => self.leave_now(state),
            Event::SettingsAck => {
                state.guard.idle_frame(self.reactor.now())?;
                state.hpack.acknowledged();
            }
            Event::Wrong(error) => return Err(error),
            Event::Priority { .. } | Event::PingAck(_) | Event::Unknown => {
                state.guard.idle_frame(self.reactor.now())?;
            }
        }
        Ok(None)
    }

    /// The peer broke a rule on one stream: that one ends.
    ///
    /// # Errors
    /// It does so too often, or on a stream that is not open yet: nothing may be said on that one.
    fn fail_stream(&self, state: &mut State, id: u32, code: Code, reason: &'static str) -> Result<(), Error> {
        if id > state.last.max(state.late) || id.is_multiple_of(2) {
            return Err(Error::connection(code, reason));
        }
        self.note(|stats| stats.stream_errors.inc());
        tracing::debug!(target: "ringway::h2", stream = id, %code, reason, "stream error");
        frame::rst_stream(&mut state.out, id, code);
        match state.key(id) {
            Some(key) => {
                state.change(key, |stream| {
                    stream.break_off(Broken::Violation(super::served::STREAM_ERROR));
                    self.wake(stream);
                });
                state.settle(key);
            }
            None => state.note_gone(id, Gone::ResetHere),
        }
        state.guard.abused()
    }

    /// There was a stream with this id, or it came too late to be one.
    ///
    /// # Errors
    /// It was never opened: no frame of it may come.
    fn was_opened(state: &State, id: u32) -> Result<(), Error> {
        match id % 2 == 1 && id <= state.last.max(state.late) {
            true => Ok(()),
            false => Err(Error::connection(Code::PROTOCOL_ERROR, "a frame for a stream that was never opened")),
        }
    }

    /// What is to become of a part of a message on a stream that there is not. `Ok`: it is ignored.
    ///
    /// # Errors
    /// It must not come.
    fn absent(state: &State, id: u32, reason: &'static str) -> Result<(), Error> {
        Self::was_opened(state, id)?;
        match state.gone(id) {
            Some(Gone::Whole) => Err(Error::connection(Code::STREAM_CLOSED, reason)),
            Some(Gone::ResetByPeer) => Err(Error::stream(id, Code::STREAM_CLOSED, reason)),
            // What was forgotten could be either.
            Some(Gone::ResetHere) | None => Ok(()),
        }
    }

    /// A head or trailers have come. Whatever becomes of them: they are decoded, because later blocks build upon them.
    fn on_block(&self, state: &mut State, id: u32, ends: bool, payload: &[u8]) -> Result<Option<Key>, Error> {
        let mut block = room::take_block();
        if block.arena.capacity() == 0 {
            block.arena = self.reactor.take_vec();
        }
        if let Err(error) = block.decode(&mut state.hpack, payload, ends, &self.limits) {
            let code = match error {
                hpack::Error::Excessive => Code::ENHANCE_YOUR_CALM,
                _ => Code::COMPRESSION_ERROR,
            };
            return Err(Error::connection(code, error.details()));
        }
        if self.role == Role::Server {
            block.refuse_white_space();
        }
        let Some(key) = state.key(id) else {
            if self.role == Role::Server && id > state.last && id % 2 == 1 {
                return self.begin(state, id, block);
            }
            room::give_block(block);
            Self::absent(state, id, "HEADERS on a stream that is over")?;
            // That one was never opened (RFC 9113 section 5.1.1).
            if self.role == Role::Server && !state.may_have_been(id) {
                return Err(Error::connection(Code::PROTOCOL_ERROR, "streams are opened in another order"));
            }
            return Ok(None);
        };
        let taken = state.change(key, |stream| match stream.broken {
            Some(Broken::Reset(_)) => {
                let reason = "HEADERS on a stream that the peer has reset";
                Err((block, Error::stream(id, Code::STREAM_CLOSED, reason)))
            }
            Some(_) => Ok(Some(block)),
            None => {
                let taken = stream.take_block(block).map(|()| None);
                self.wake(stream);
                taken
            }
        });
        match taken {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(block))) => room::give_block(block),
            Some(Err((block, error))) => {
                room::give_block(block);
                return Err(error);
            }
        }
        state.settle(key);
        Ok(None)
    }

    /// A request's head has come.
    fn begin(&self, state: &mut State, id: u32, block: Box<crate::codec::h2::Block>) -> Result<Option<Key>, Error> {
        state.last = match state.leaving {
            // GOAWAY says that it is not served.
            Leaving::Final => {
                state.late = state.late.max(id);
                room::give_block(block);
                state.guard.idle_frame(self.reactor.now())?;
                return Ok(None);
            }
            Leaving::No | Leaving::Announced => id,
        };
        // Exchanges whose streams were reset may still have to end.
        let streams_max = self.streams_max as usize;
        if state.open >= streams_max || state.exchanges >= streams_max.saturating_mul(2) {
            self.note(|stats| stats.stream_refused_errors.inc());
            room::give_block(block);
            frame::rst_stream(&mut state.out, id, Code::REFUSED_STREAM);
            state.note_gone(id, Gone::ResetHere);
            state.guard.idle_frame(self.reactor.now())?;
            return Ok(None);
        }
        state.guard.opened();
        let (key, stream) = state.insert(id, &self.reactor);
        (stream.has_head, stream.in_ended) = (true, block.ends);
        stream.heads.push(block);
        Ok(Some(key))
    }

    fn on_data(&self, state: &mut State, id: u32, piece: Option<Buf>, flow: u32, ends: bool) -> Result<(), Error> {
        // On receipt, for all streams: one that is not read must not keep the others from receiving.
        if !state.window.receive(flow) {
            return Err(Error::connection(Code::FLOW_CONTROL_ERROR, "DATA beyond the connection's window"));
        }
        if let Some(due) = state.window.take(flow, false, &mut state.budget) {
            frame::window_update(&mut state.out, 0, due);
        }
        let Some(key) = state.key(id) else { return Self::absent(state, id, "DATA on a stream that is over") };
        let Some(stream) = find(&mut state.room, key) else { return Ok(()) };
        match stream.broken {
            None if !stream.in_ended => {}
            None => return Err(stream.behind_its_end("DATA on a stream that the peer has ended")),
            Some(Broken::Reset(_)) => {
                return Err(Error::stream(id, Code::STREAM_CLOSED, "DATA on a stream that the peer has reset"));
            }
            Some(_) => return Ok(()),
        }
        if !stream.has_head {
            return Err(Error::stream(id, Code::PROTOCOL_ERROR, "DATA before the response's head"));
        }
        if stream.has_no_body && piece.is_some() {
            return Err(Error::stream(id, Code::PROTOCOL_ERROR, "DATA of a message that announced none"));
        }
        if !stream.window.receive(flow) {
            return Err(Error::stream(id, Code::FLOW_CONTROL_ERROR, "DATA beyond the stream's window"));
        }
        let len = piece.as_ref().map_or(0, Buf::len) as u32;
        if flow > len
            && let Some(due) = stream.window.take(flow - len, false, &mut state.budget)
        {
            // Padding is read at once.
            frame::window_update(&mut state.out, id, due);
        }
        if let Some(piece) = piece {
            let vec = || self.reactor.take_vec();
            match self.reactor.is_scarce(&piece) {
                // A small one would keep the whole buffer that it came in from other connections.
                true => stream.pieces.push_in(piece, vec),
                false => stream.pieces.push_passing(piece, vec),
            }
        }
        self.wake(stream);
        if ends {
            state.change(key, |stream| stream.in_ended = true);
            state.settle(key);
        }
        Ok(())
    }

    fn on_reset(&self, state: &mut State, id: u32, code: Code) -> Result<(), Error> {
        self.note(|stats| stats.rx_reset.inc());
        let Some(key) = state.key(id) else {
            state.guard.idle_frame(self.reactor.now())?;
            return Self::was_opened(state, id);
        };
        let now = self.reactor.now();
        let is_unprocessed = code == Code::REFUSED_STREAM || Self::on_http1_required(state, code);
        let is_early = state.change(key, |stream| {
            let was_open = stream.broken.is_none() && !stream.answered;
            let is_early = self.role == Role::Server && was_open && now.saturating_sub(stream.opened) < EARLY;
            match self.role {
                // A server that has answered may not care for the rest of the request.
                Role::Client if stream.in_ended => stream.stop_sending(),
                Role::Client if is_unprocessed && !stream.has_head => {
                    stream.break_off(Broken::Refused);
                }
                _ => stream.break_off(Broken::Reset(code.0)),
            }
            self.wake(stream);
            is_early
        });
        state.settle(key);
        if is_early == Some(true) { state.guard.abused() } else { Ok(()) }
    }

    fn on_credit(&self, state: &mut State, id: u32, increment: u32) -> Result<(), Error> {
        state.guard.idle_frame(self.reactor.now())?;
        if id == 0 {
            state.credit += i64::from(increment);
            if state.credit > WINDOW_MAX {
                return Err(Error::connection(Code::FLOW_CONTROL_ERROR, "the connection's window is too large"));
            }
            return Ok(());
        }
        let Some(key) = state.key(id) else {
            return Self::was_opened(state, id);
        };
        let peer = state.peer;
        let Some(stream) = find(&mut state.room, key) else { return Ok(()) };
        stream.credit += i64::from(increment);
        if State::stream_credit(&peer, stream) > WINDOW_MAX {
            return Err(Error::stream(id, Code::FLOW_CONTROL_ERROR, "the stream's window is too large"));
        }
        state.schedule(key);
        Ok(())
    }

    fn on_settings(&self, state: &mut State, settings: impl Iterator<Item = (u16, u32)>) -> Result<(), Error> {
        state.guard.idle_frame(self.reactor.now())?;
        let is_first = !std::mem::replace(&mut state.peer.has_come, true);
        if is_first {
            state.peer.streams_max = u32::MAX;
        }
        let invalid = |reason| Err(Error::connection(Code::PROTOCOL_ERROR, reason));
        let mut initial_window = None;
        for (id, value) in settings {
            match id {
                setting::ENABLE_PUSH if value > 1 || self.role == Role::Client && value == 1 => {
                    return invalid("ENABLE_PUSH has no such value");
                }
                setting::MAX_CONCURRENT_STREAMS => state.peer.streams_max = value,
                setting::INITIAL_WINDOW_SIZE if i64::from(value) > WINDOW_MAX => {
                    return Err(Error::connection(Code::FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large"));
                }
                setting::INITIAL_WINDOW_SIZE => initial_window = Some(value),
                setting::MAX_FRAME_SIZE if !(FRAME_MAX..1 << 24).contains(&(value as usize)) => {
                    return invalid("MAX_FRAME_SIZE is out of its range");
                }
                // Frames of the size that all take are large enough.
                _ => {}
            }
        }
        // All streams are looked at once, however often a frame says it.
        if let Some(value) = initial_window {
            self.on_initial_window(state, value)?;
        }
        frame::settings_ack(&mut state.out);
        Ok(())
    }

    fn on_initial_window(&self, state: &mut State, value: u32) -> Result<(), Error> {
        let value = i64::from(value);
        let largest = state.streams().map(|(_, stream)| stream.credit).max().unwrap_or(0);
        if value + largest > WINDOW_MAX {
            return Err(Error::connection(Code::FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE makes a window too large"));
        }
        let grows = value > state.peer.initial_window;
        state.peer.initial_window = value;
        if grows {
            state.keys(|_| true).into_iter().for_each(|key| state.schedule(key));
        }
        Ok(())
    }

    /// A server that wants HTTP/1.1 has not looked at what it resets with this code, and serves no further stream. Whether this is
    /// one.
    fn on_http1_required(state: &mut State, code: Code) -> bool {
        let is_required = code == Code::HTTP_1_1_REQUIRED && state.http1 != Http1::Impossible;
        if is_required {
            (state.http1, state.leaving) = (Http1::Required, Leaving::Final);
        }
        is_required
    }

    /// The server may ask for HTTP/1.1, and is then spoken to in it.
    pub fn allow_http1(&self) {
        self.state.borrow_mut().http1 = Http1::Possible;
    }

    pub fn requires_http1(&self) -> bool {
        self.state.borrow().http1 == Http1::Required
    }

    /// The client says nothing more. What it has asked for whole is answered, as far as there is room for that. Whether
    /// there is anything of that kind.
    pub(super) fn hear_no_more(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.has_left = true;
        for key in state.keys(|_| true) {
            state.change(key, |stream| {
                if !stream.in_ended {
                    stream.break_off(Broken::Closed);
                }
                self.wake(stream);
            });
            state.settle(key);
        }
        let is_awaited = state.streams().any(|(_, stream)| stream.broken.is_none());
        if is_awaited {
            // One that listens no more answers this with a reset of the connection.
            self.leave_now(state);
        }
        is_awaited
    }

    /// Whether the client says nothing more.
    pub(super) fn has_left(&self) -> bool {
        self.state.borrow().has_left
    }

    /// The peer takes leave. A client that does still hears what it has asked for.
    fn on_goaway(&self, state: &mut State, last: u32) {
        if self.role == Role::Server {
            return;
        }
        state.leaving = Leaving::Final;
        for key in state.keys(|stream| stream.id > last.min(STREAM_MAX)) {
            state.change(key, |stream| {
                stream.break_off(Broken::Refused);
                self.wake(stream);
            });
            state.settle(key);
        }
    }
}
