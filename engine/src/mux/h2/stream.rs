//! One stream of a connection, and what the connection remembers of all.

use super::guard::Guard;
use super::room::{self, Gone, Room};
use super::window::{Budget, Window};
use crate::base::clock::Nanos;
use crate::codec::h2::{Block, Code, Error, frame, hpack};
use crate::mux::{Broken, Pieces};
use crate::ring::{Reactor, TaskId};
use smallvec::SmallVec;
use std::hash::Hasher;

/// Heads that wait in one stream at most: all interim ones that one exchange may have, and the final one.
const HEADS_MAX: usize = 18;

/// Names a stream: its place, and its id as a guard against a later stream in that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub(super) slot: usize,
    pub(super) id: u32,
}

#[derive(Default)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) opened: Nanos,
    /// Its exchange's.
    pub(super) task: Option<TaskId>,
    /// Heads that came and were not looked at.
    pub(super) heads: SmallVec<[Box<Block>; 1]>,
    /// The final head has come.
    pub(super) has_head: bool,
    /// The final head has gone out.
    pub(super) answered: bool,
    pub(super) pieces: Pieces,
    pub(super) window: Window,
    /// Trailers, once the peer has sent everything and they are there.
    pub(super) trailers: Option<Box<Block>>,
    pub(super) in_ended: bool,
    /// Its message announced that it has no body.
    pub(super) has_no_body: bool,
    /// What becomes of the part that has not come.
    pub(super) broken: Option<Broken>,
    pub(super) out: Pieces,
    /// Bytes of DATA that went out.
    pub(super) sent: u64,
    /// Bytes that the peer takes, relative to the window that all streams begin with: when that changes, nothing here does.
    pub(super) credit: i64,
    /// The body ends behind the queue, with this block of trailers if it is not empty.
    pub(super) out_end: Option<Vec<u8>>,
    /// Nothing more goes out.
    pub(super) out_ended: bool,
    pub(super) is_sending: bool,
    /// Its exchange is over.
    pub(super) released: bool,
    /// It is reset with this behind what the peer takes of the queue at once.
    pub(super) reset: Option<Code>,
}

impl Stream {
    /// Begin again, in the memory of one that has ended.
    fn begin(&mut self, of: u32, at: Nanos, size: Window) {
        // All fields, so that none is forgotten.
        let Self {
            id,
            opened,
            task,
            heads,
            has_head,
            answered,
            pieces,
            window,
            trailers,
            in_ended,
            has_no_body,
            broken,
            out,
            sent,
            credit,
            out_end,
            out_ended,
            is_sending,
            released,
            reset,
        } = self;
        (*id, *opened, *window, *task, *broken, *reset) = (of, at, size, None, None, None);
        (*sent, *credit) = (0, 0);
        for flag in [has_head, answered, in_ended, has_no_body, out_ended, is_sending, released] {
            *flag = false;
        }
        debug_assert!(
            heads.is_empty() && pieces.is_empty() && out.is_empty() && trailers.is_none() && out_end.is_none()
        );
    }

    /// What it holds is of no use any more.
    fn end(&mut self) {
        // Most streams have nothing of all that left.
        if !self.heads.is_empty() {
            self.heads.drain(..).for_each(room::give_block);
        }
        self.trailers.take().into_iter().for_each(room::give_block);
        self.pieces.clear();
        self.out.clear();
        self.out_end = None;
    }

    /// Neither side has anything to say (RFC 9113 section 5.1: closed).
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
        self.broken.get_or_insert(broken);
    }

    /// What a part of a message is that comes behind its end: an error of the stream, or of the connection once the stream is
    /// closed, which it is for the peer whether or not its exchange goes on here (RFC 9113 section 5.1).
    pub(super) fn behind_its_end(&self, reason: &'static str) -> Error {
        match self.out_ended {
            true => Error::connection(Code::STREAM_CLOSED, reason),
            false => Error::stream(self.id, Code::STREAM_CLOSED, reason),
        }
    }

    /// Take a head or trailers that came.
    ///
    /// # Errors
    /// Neither may stand here (RFC 9113 section 8.1), and `block` is given back.
    pub(super) fn take_block(&mut self, block: Box<Block>) -> Result<(), (Box<Block>, Error)> {
        let fail = |block, code, reason| Err((block, Error::stream(self.id, code, reason)));
        if self.in_ended {
            return Err((block, self.behind_its_end("HEADERS on a stream that the peer has ended")));
        }
        if self.has_head {
            if !block.ends {
                return fail(block, Code::PROTOCOL_ERROR, "trailers do not end their stream");
            }
            (self.trailers, self.in_ended) = (Some(block), true);
            return Ok(());
        }
        if self.heads.len() >= HEADS_MAX {
            return fail(block, Code::ENHANCE_YOUR_CALM, "too many interim responses");
        }
        self.has_head = !block.is_interim();
        self.in_ended = block.ends;
        self.heads.push(block);
        Ok(())
    }
}

/// Streams that are over are remembered, because frames of them may still come: up to this many while there are others, and
/// without others.
const RECENT_MAX: usize = 64;
const REST: usize = 4;

/// Of ids, of which a peer can have few at a time.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, id: u32) {
        // An odd multiplier moves what tells ids apart into the upper bits, which the table looks at, too.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

/// What the peer has said of itself (RFC 9113 section 6.5.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerSettings {
    /// It has said so.
    pub(super) has_come: bool,
    pub(super) initial_window: i64,
    pub(super) streams_max: u32,
}

/// Streams that a server is thought to take before it has said so: any takes one, and what it says is on its way.
const STREAMS_BEFORE_SETTINGS: u32 = 1;

impl Default for PeerSettings {
    fn default() -> Self {
        Self { has_come: false, initial_window: i64::from(frame::INITIAL_WINDOW), streams_max: STREAMS_BEFORE_SETTINGS }
    }
}

/// How far a side has come with taking leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaving {
    #[default]
    No,
    /// The peer knows that it is to open no more streams; those that are on their way are still served.
    Announced,
    /// What comes from now on is not.
    Final,
}

/// Whether a server may ask for HTTP/1.1 instead (RFC 9113 section 7: HTTP_1_1_REQUIRED).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Http1 {
    /// HTTP/2 is all that is spoken with it.
    #[default]
    Impossible,
    Possible,
    /// It does.
    Required,
}

/// The stream with this key, if it is still there.
#[inline]
pub(super) fn find(room: &mut Option<Box<Room>>, key: Key) -> Option<&mut Stream> {
    room.as_mut()?.streams.get_mut(key.slot).map(|stream| &mut **stream).filter(|stream| stream.id == key.id)
}

pub(super) struct State {
    /// While there are streams.
    pub(super) room: Option<Box<Room>>,
    /// Streams that are not over.
    pub(super) open: usize,
    /// Streams whose exchanges go on.
    pub(super) exchanges: usize,
    /// The latest streams that are over, for the time without a room.
    rest: [Option<(u32, Gone)>; REST],
    /// The highest stream that is over and was forgotten.
    forgotten: u32,
    /// The highest stream so far that was opened by the client.
    pub(super) last: u32,
    /// The highest one that came behind the last GOAWAY, and is ignored.
    pub(super) late: u32,
    /// Frames to be sent, in order.
    pub(super) out: Vec<u8>,
    /// Bytes of the frames that stand before all others, and whether they have gone out.
    pub(super) first_frames: usize,
    pub(super) has_begun: bool,
    pub(super) leaving: Leaving,
    pub(super) http1: Http1,
    pub(super) is_closed: bool,
    /// The peer says that PINGs came too often.
    pub(super) pings_too_often: bool,
    /// The client says nothing more, and may still listen.
    pub(super) has_left: bool,
    /// Streams with a reset behind their queue.
    pub(super) resetting: usize,
    /// Bytes that came.
    pub(super) received: u64,
    /// Nothing was sent so far that a block stands in.
    pub(super) is_first_block: bool,
    pub(super) hpack: hpack::Decoder,
    pub(super) peer: PeerSettings,
    /// Bytes of DATA that the peer takes on the whole connection.
    pub(super) credit: i64,
    pub(super) window: Window,
    pub(super) budget: Budget,
    pub(super) guard: Guard,
}

impl State {
    pub(super) fn new(window: Window, budget: Budget, table: u32) -> Self {
        Self {
            room: None,
            open: 0,
            exchanges: 0,
            rest: [None; REST],
            forgotten: 0,
            last: 0,
            late: 0,
            out: Vec::new(),
            first_frames: 0,
            has_begun: false,
            leaving: Leaving::No,
            http1: Http1::Impossible,
            is_closed: false,
            pings_too_often: false,
            has_left: false,
            resetting: 0,
            received: 0,
            is_first_block: true,
            hpack: hpack::Decoder::new(table),
            peer: PeerSettings::default(),
            credit: i64::from(frame::INITIAL_WINDOW),
            window,
            budget,
            guard: Guard::default(),
        }
    }

    /// A stream begins.
    pub(super) fn insert(&mut self, id: u32, reactor: &Reactor) -> (Key, &mut Stream) {
        let room = match &mut self.room {
            Some(room) => room,
            none => {
                if self.out.capacity() == 0 {
                    self.out = reactor.take_vec();
                }
                let mut room = room::take_room();
                room.gone.extend(self.rest.iter().flatten());
                none.insert(room)
            }
        };
        let mut stream = room::take_stream();
        stream.begin(id, reactor.now(), Window::new(self.budget.initial));
        let slot = room.streams.insert(stream);
        room.slots.insert(id, slot);
        self.open += 1;
        self.exchanges += 1;
        (Key { slot, id }, &mut room.streams[slot])
    }

    #[inline]
    pub(super) fn stream(&mut self, key: Key) -> Option<&mut Stream> {
        find(&mut self.room, key)
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = (usize, &Stream)> {
        self.room.iter().flat_map(|room| room.streams.iter().map(|(slot, stream)| (slot, &**stream)))
    }

    /// Of all streams of this kind: they may be changed or removed meanwhile.
    pub(super) fn keys(&self, which: impl Fn(&Stream) -> bool) -> Vec<Key> {
        let streams = self.streams().filter(|(_, stream)| which(stream));
        streams.map(|(slot, stream)| Key { slot, id: stream.id }).collect()
    }

    pub(super) fn key(&self, id: u32) -> Option<Key> {
        let slot = self.room.as_ref()?.slots.get(&id)?;
        Some(Key { slot: *slot, id })
    }

    /// Of a stream that is over, how it ended, if that is remembered.
    pub(super) fn gone(&self, id: u32) -> Option<Gone> {
        let is_it = |gone: &&(u32, Gone)| gone.0 == id;
        let found = match &self.room {
            Some(room) => room.gone.iter().rev().find(is_it),
            None => self.rest.iter().flatten().find(is_it),
        };
        found.map(|(_, gone)| *gone)
    }

    /// Whether there may have been a stream with this id.
    pub(super) fn may_have_been(&self, id: u32) -> bool {
        id <= self.forgotten || self.gone(id).is_some()
    }

    /// A stream is over, or never was more than its first frame.
    pub(super) fn note_gone(&mut self, id: u32, gone: Gone) {
        let oldest = match &mut self.room {
            Some(room) => {
                room.gone.push_back((id, gone));
                if room.gone.len() > RECENT_MAX { room.gone.pop_front() } else { None }
            }
            None => {
                self.rest.rotate_left(1);
                self.rest[REST - 1].replace((id, gone))
            }
        };
        if let Some((oldest, _)) = oldest {
            self.forgotten = self.forgotten.max(oldest);
        }
    }

    /// The room goes back once no stream is in it.
    fn leave_room(&mut self) {
        let Some(room) = self.room.take_if(|room| room.streams.is_empty()) else { return };
        let forgotten = room.gone.len().saturating_sub(REST);
        let highest = room.gone.range(..forgotten).map(|(id, _)| *id).max();
        self.forgotten = self.forgotten.max(highest.unwrap_or(0));
        self.rest = [None; REST];
        room.gone.range(forgotten..).for_each(|(id, gone)| self.note_gone(*id, *gone));
        room::give_room(room);
    }

    /// Bytes that the peer takes of the stream's body now.
    #[inline]
    pub(super) fn stream_credit(peer: &PeerSettings, stream: &Stream) -> i64 {
        peer.initial_window + stream.credit
    }

    /// The stream may have something to send that it had not, or was not allowed to.
    pub(super) fn schedule(&mut self, key: Key) {
        let peer = self.peer;
        let Some(stream) = self.stream(key) else { return };
        let may = !stream.is_sending && !stream.out.is_empty() && Self::stream_credit(&peer, stream) > 0;
        if may {
            stream.is_sending = true;
            self.room.iter_mut().for_each(|room| room.sending.push_back(key));
        }
    }

    /// Make a change to a stream that may end it.
    pub(super) fn change<T>(&mut self, key: Key, change: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        let stream = find(&mut self.room, key)?;
        let was_over = stream.is_over();
        let result = change(stream);
        if !was_over && stream.is_over() {
            self.open -= 1;
        }
        Some(result)
    }

    /// Remove the stream if its exchange is over and nothing of it is to be sent.
    #[inline]
    pub(super) fn settle(&mut self, key: Key) {
        let is_settled = |stream: &mut Stream| stream.released && (stream.broken.is_some() || stream.out_ended);
        if self.stream(key).is_some_and(is_settled) {
            self.settled(key);
        }
    }

    fn settled(&mut self, key: Key) {
        let Some(stream) = self.stream(key) else { return };
        let (is_broken, is_over) = (stream.broken, stream.is_over());
        let gone = match is_broken {
            Some(Broken::Reset(_) | Broken::Refused) => Gone::ResetByPeer,
            Some(_) => Gone::ResetHere,
            None if is_over => Gone::Whole,
            None => {
                // The rest of the peer's message is of no use (RFC 9113 section 8.1).
                frame::rst_stream(&mut self.out, key.id, Code::NO_ERROR);
                Gone::ResetHere
            }
        };
        self.remove(key, gone);
    }

    fn remove(&mut self, key: Key, gone: Gone) {
        let Some(room) = &mut self.room else { return };
        let mut stream = room.streams.remove(key.slot);
        room.slots.remove(&key.id);
        if !stream.is_over() {
            self.open -= 1;
        }
        stream.window.close(&mut self.budget);
        self.resetting -= usize::from(stream.reset.is_some());
        if stream.is_sending && self.credit <= 0 {
            // Nothing takes it out of there before the peer gives credit, which it may never do.
            room.sending.retain(|other| *other != key);
        }
        stream.end();
        room::give_stream(stream);
        self.note_gone(key.id, gone);
        self.leave_room();
    }
}
