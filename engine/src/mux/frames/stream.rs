//! One stream of a connection, and the table of them.

use super::codec::{Event, FrameError, Kind, frame};
use super::link::Role;
use super::{NO_ERROR, head};
use crate::mux::{Broken, Pieces};
use crate::ring::{Buf, TaskId};
use slab::Slab;
use std::collections::{HashMap, VecDeque};

/// Heads that wait in one stream at most: all interim ones that one exchange may have, and the final one.
const HEADS_MAX: usize = 18;

/// Bytes of credit that a peer can give at most.
const CREDIT_MAX: usize = 1 << 31;

/// Names a stream: its place, and its id as a guard against a later stream in that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub(super) slot: usize,
    pub(super) id: u32,
}

#[derive(Default)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// Its exchange's.
    pub(super) task: Option<TaskId>,
    pub(super) heads: VecDeque<Buf>,
    /// The final head has come.
    pub(super) has_head: bool,
    pub(super) pieces: Pieces,
    /// Bytes that the peer may still send, and those that were read and not yet given back to it.
    pub(super) window: usize,
    pub(super) credit_due: usize,
    /// Trailers, once the peer has sent everything and they are there.
    pub(super) end: Option<Buf>,
    pub(super) in_ended: bool,
    /// What becomes of the part that has not come.
    pub(super) broken: Option<Broken>,
    pub(super) out: Pieces,
    /// Bytes that the peer takes.
    pub(super) credit: usize,
    /// Trailers, to go behind the queue.
    pub(super) out_end: Option<Vec<u8>>,
    /// Nothing more goes out.
    pub(super) out_ended: bool,
    pub(super) is_sending: bool,
    /// Its exchange is over.
    pub(super) released: bool,
}

impl Stream {
    pub(super) fn is_over(&self) -> bool {
        self.broken.is_some() || self.in_ended && self.out_ended
    }

    /// Nothing more goes out.
    pub(super) fn stop_sending(&mut self) {
        self.out.clear();
        (self.out_end, self.out_ended) = (None, true);
    }

    /// What has not come will not come.
    pub(super) fn break_off(&mut self, broken: Broken) {
        self.stop_sending();
        if self.broken.is_none() {
            self.broken = Some(broken);
        }
    }

    /// Take what came for this stream, which is not broken.
    ///
    /// # Errors
    /// The peer broke a rule.
    pub(super) fn take(&mut self, event: Event, role: Role) -> Result<(), FrameError> {
        match event {
            Event::Head(_, payload) => {
                let ends = head::ends(&payload).ok_or(FrameError)?;
                if self.has_head || self.heads.len() >= HEADS_MAX {
                    return Err(FrameError);
                }
                self.has_head = !head::is_interim(&payload);
                self.in_ended = self.has_head && ends;
                self.heads.push_back(payload);
            }
            Event::Data(_, piece) => {
                if !self.has_head || self.in_ended || piece.len() > self.window {
                    return Err(FrameError);
                }
                self.window -= piece.len();
                self.pieces.push(piece);
            }
            Event::End(_, payload) => {
                if !self.has_head || self.in_ended {
                    return Err(FrameError);
                }
                (self.end, self.in_ended) = (Some(payload), true);
            }
            Event::Credit(_, more) => {
                self.credit =
                    self.credit.checked_add(more as usize).filter(|credit| *credit <= CREDIT_MAX).ok_or(FrameError)?;
            }
            // A server that has answered may not care for the rest of the request.
            Event::Reset(_, _) if role == Role::Client && self.in_ended => self.stop_sending(),
            Event::Reset(_, code) => self.break_off(Broken::Reset(code)),
            Event::Refused(_) if self.has_head || !self.heads.is_empty() => return Err(FrameError),
            Event::Refused(_) => self.break_off(Broken::Refused),
            Event::GoAway(_) => {}
        }
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) streams: Slab<Stream>,
    pub(super) slots: HashMap<u32, usize>,
    /// The highest stream so far.
    pub(super) last: u32,
    /// Frames to be sent, in order.
    pub(super) out: Vec<u8>,
    /// Streams that have DATA to send and may.
    pub(super) sending: VecDeque<Key>,
    /// No further stream begins.
    pub(super) is_leaving: bool,
    pub(super) is_closed: bool,
    /// Bytes that came.
    pub(super) received: u64,
}

impl State {
    pub(super) fn insert(&mut self, stream: Stream) -> Key {
        let id = stream.id;
        let slot = self.streams.insert(stream);
        self.slots.insert(id, slot);
        Key { slot, id }
    }

    pub(super) fn stream(&mut self, key: Key) -> Option<&mut Stream> {
        self.streams.get_mut(key.slot).filter(|stream| stream.id == key.id)
    }

    /// Remove the stream if its exchange is over and nothing of it is to be sent.
    pub(super) fn settle(&mut self, key: Key) {
        let Some(stream) = self.stream(key).filter(|stream| stream.released) else { return };
        let is_broken = stream.broken.is_some();
        if !(is_broken || stream.out_ended) {
            return;
        }
        if !(is_broken || stream.in_ended) {
            // The rest of the peer's message is of no use.
            frame(&mut self.out, Kind::Reset, key.id, |out| out.extend_from_slice(&NO_ERROR.to_be_bytes()));
        }
        self.streams.remove(key.slot);
        self.slots.remove(&key.id);
    }

    /// The same for all.
    pub(super) fn settle_all(&mut self) {
        let keys: Vec<Key> = self.streams.iter().map(|(slot, stream)| Key { slot, id: stream.id }).collect();
        keys.into_iter().for_each(|key| self.settle(key));
    }
}
