//! What goes out on a connection: frames in the order of their making, and DATA of all streams in turn behind them.

use super::link::Link;
use super::stream::{Key, State, find};
use crate::codec::h2::Code;
use crate::codec::h2::frame::{self, FRAME_MAX};
use crate::mux::Broken;
use crate::net::{ByteStream, Outbox};

/// Bytes of DATA that one batch has at most.
const BATCH_BYTES: usize = 128 * 1024;

impl Link {
    /// Whether the driver may put DATA into its batch.
    pub(super) fn has_data(&self) -> bool {
        let state = self.state.borrow();
        state.credit > 0 && state.room.as_ref().is_some_and(|room| !room.sending.is_empty())
    }

    /// Put frames into the driver's batch; `with_data`: DATA, too.
    pub(super) fn write(&self, batch: &mut Outbox, wire: &ByteStream, with_data: bool) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        self.hand_over(state, batch, wire);
        let mut left = BATCH_BYTES;
        while with_data && left > 0 && state.credit > 0 {
            let Some(key) = state.room.as_mut().and_then(|room| room.sending.pop_front()) else { break };
            let peer = state.peer;
            let Some(stream) = find(&mut state.room, key) else { continue };
            let credit = State::stream_credit(&peer, stream).min(state.credit).max(0) as usize;
            let most = credit.min(FRAME_MAX);
            let Some(piece) = (if most > 0 { stream.out.pop(most) } else { None }) else {
                stream.is_sending = false;
                if let Some(code) = stream.reset {
                    self.reset(state, key, code);
                }
                continue;
            };
            let len = piece.len();
            stream.credit -= len as i64;
            stream.sent += len as u64;
            state.credit -= len as i64;
            left = left.saturating_sub(len);
            let end = if stream.out.is_empty() { stream.out_end.take() } else { None };
            let ends = end.as_ref().is_some_and(Vec::is_empty);
            batch.bytes(&self.reactor).extend_from_slice(&frame::data_header(len, key.id, ends));
            batch.body(piece, wire, &self.reactor);
            state.guard.step();
            self.wake(stream);
            let goes_on = !stream.out.is_empty() && State::stream_credit(&peer, stream) > 0;
            stream.is_sending = goes_on;
            let reset = stream.reset.filter(|_| !goes_on);
            if let Some(trailers) = end {
                if !ends {
                    let out = batch.bytes(&self.reactor);
                    frame::headers(out, key.id, true, FRAME_MAX, |out| out.extend_from_slice(&trailers));
                }
                self.reactor.give_vec(trailers);
                state.change(key, |stream| stream.out_ended = true);
                state.settle(key);
            }
            if goes_on {
                state.room.iter_mut().for_each(|room| room.sending.push_back(key));
            } else if let Some(code) = reset {
                self.reset(state, key, code);
            }
        }
        self.give_up_blocked(state);
        self.hand_over(state, batch, wire);
    }

    /// Streams whose reset waits behind bytes that the peer has no room for are reset without these. So are all with such bytes
    /// if the peer says nothing more: it will never have room.
    fn give_up_blocked(&self, state: &mut State) {
        if !state.has_left && (state.resetting == 0 || state.credit > 0) {
            return;
        }
        let (all, is_full, peer) = (state.has_left, state.credit <= 0, state.peer);
        let blocked = state.keys(|stream| {
            let is_blocked = is_full || State::stream_credit(&peer, stream) <= 0;
            is_blocked && !stream.out.is_empty() && (all || stream.reset.is_some())
        });
        for key in blocked {
            let code = state.stream(key).and_then(|stream| stream.reset).unwrap_or(Code::CANCEL);
            self.reset(state, key, code);
        }
    }

    /// Reset the stream, whose queue is of no use any more.
    pub(super) fn reset(&self, state: &mut State, key: Key, code: Code) {
        self.note(|stats| stats.tx_reset.inc());
        frame::rst_stream(&mut state.out, key.id, code);
        state.change(key, |stream| {
            stream.break_off(Broken::Closed);
            self.wake(stream);
        });
        state.settle(key);
    }

    fn hand_over(&self, state: &mut State, batch: &mut Outbox, wire: &ByteStream) {
        if !state.out.is_empty() {
            batch.copy(&state.out, wire, &self.reactor);
            state.out.clear();
            state.has_begun = true;
        }
        if state.room.is_none() && state.out.capacity() > 0 {
            self.reactor.give_vec(std::mem::take(&mut state.out));
        }
    }
}
