//! The records of a batch on their way to the stream that sends them.

use super::sealing::Room;
use super::session::Session;
use crate::ring::{Reactor, Segment};
use rustls::Error;
use smallvec::SmallVec;

pub(super) struct Records<'r> {
    reactor: &'r Reactor,
    /// Whole ones, before those in `room`.
    done: SmallVec<[Segment; 4]>,
    room: Option<Room>,
    /// Plain bytes that are still to come.
    left: usize,
    /// What the library has to say before the records that are being sealed; empty otherwise.
    message: Vec<u8>,
}

impl<'r> Records<'r> {
    /// `plain`: bytes that will be sealed.
    pub fn new(reactor: &'r Reactor, plain: usize) -> Self {
        Self { reactor, done: SmallVec::new(), room: None, left: plain, message: Vec::new() }
    }

    /// Records with these bytes, behind the others. `unread`: what the last `Session::process` left of its input.
    ///
    /// # Errors
    /// The connection may send nothing more.
    pub fn seal(&mut self, session: &mut Session, mut plain: &[u8], unread: &mut [u8]) -> Result<(), Error> {
        if !session.seals_within() {
            return self.append(|out| session.seal(plain, unread, out));
        }
        while !plain.is_empty() {
            let room = self.room.get_or_insert_with(|| Room::new(self.left, self.reactor));
            let (count, before) = (room.takes(plain.len()), room.filled());
            if count == 0 {
                self.done.extend(self.room.take().map(Room::into_segment));
                continue;
            }
            // Behind the room's memory: the vector that was used last, which is the first to be had, may be as long as the room has to be.
            if self.message.capacity() == 0 {
                self.message = self.reactor.take_vec();
            }
            let (now, rest) = plain.split_at(count);
            session.seal_within(now, unread, &mut self.room, &mut self.message)?;
            if !self.message.is_empty() {
                self.insert(before);
            }
            (plain, self.left) = (rest, self.left.saturating_sub(count));
        }
        Ok(())
    }

    /// A message for TLS alone that goes before the last records, which begin at `place`.
    fn insert(&mut self, place: usize) {
        if let Some(room) = self.room.take() {
            let segment = room.into_segment();
            let (before, behind) = segment.bytes().split_at(place);
            self.done.push(Segment::Owned([before, &self.message, behind].concat()));
        }
        self.message.clear();
    }

    /// What `write` writes, behind the records.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) -> Result<(), Error> {
        self.done.extend(self.room.take().map(Room::into_segment));
        match self.done.last_mut() {
            Some(Segment::Owned(bytes)) => write(bytes),
            _ => {
                let mut out = self.reactor.take_vec();
                let written = write(&mut out);
                self.done.push(Segment::Owned(out));
                written
            }
        }
    }

    /// All of them, behind `segments`.
    pub fn take(mut self, segments: &mut Vec<Segment>) {
        segments.extend(self.done.drain(..));
        segments.extend(self.room.take().map(Room::into_segment));
        self.reactor.give_vec(self.message);
    }
}
