//! Memory that a connection has only while there are streams: its thread keeps it for the next connection with some. Idle
//! connections hold none of it, and those that come one after the other use the same.

use super::asked::Try;
use super::stream::{IdHasher, Key, Stream};
use crate::base::spare::Spare;
use crate::codec::h2::Block;
use crate::net::HeadBytes;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::thread::LocalKey;

/// Streams up to which a room is kept for another connection.
const STREAMS_KEPT: usize = 256;

/// Pieces of one kind that a thread keeps.
const KEPT: usize = 1024;

#[derive(Default)]
pub(super) struct Room {
    /// Boxed: they are used again, and large.
    pub(super) streams: Slab<Box<Stream>>,
    /// By their ids.
    pub(super) slots: HashMap<u32, usize, BuildHasherDefault<IdHasher>>,
    /// Streams that have DATA to send and may.
    pub(super) sending: VecDeque<Key>,
    /// Streams that are over, the latest last.
    pub(super) gone: VecDeque<(u32, Gone)>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// Both sides had said all.
    Whole,
    /// This side reset it, and the peer may not know yet.
    ResetHere,
    ResetByPeer,
}

/// Boxed: they are handed around.
type Store<T> = Spare<Box<T>, KEPT>;

thread_local! {
    static ROOMS: Store<Room> = const { Spare::new() };
    static STREAMS: Store<Stream> = const { Spare::new() };
    static BLOCKS: Store<Block> = const { Spare::new() };
    static TRIES: Store<Try> = const { Spare::new() };
}

fn take<T: Default>(store: &'static LocalKey<Store<T>>) -> Box<T> {
    store.with(Spare::take).unwrap_or_default()
}

fn give<T>(store: &'static LocalKey<Store<T>>, piece: Box<T>) {
    store.with(|store| store.give(piece));
}

/// Memory that is only kept for reuse goes back.
pub fn trim() {
    ROOMS.with(Spare::trim);
    STREAMS.with(Spare::trim);
    BLOCKS.with(Spare::trim);
    TRIES.with(Spare::trim);
}

pub(super) fn take_room() -> Box<Room> {
    take(&ROOMS)
}

/// No stream is left in it.
pub(super) fn give_room(mut room: Box<Room>) {
    if room.streams.capacity() <= STREAMS_KEPT {
        room.streams.clear();
        room.slots.clear();
        room.sending.clear();
        room.gone.clear();
        give(&ROOMS, room);
    }
}

/// As the one before has left it.
pub(super) fn take_stream() -> Box<Stream> {
    take(&STREAMS)
}

/// It holds nothing of its exchange.
pub(super) fn give_stream(stream: Box<Stream>) {
    give(&STREAMS, stream);
}

pub(super) fn take_block() -> Box<Block> {
    take(&BLOCKS)
}

pub(super) fn give_block(mut block: Box<Block>) {
    block.clear();
    if block.arena.capacity() > HeadBytes::KEPT {
        block.arena = Vec::new();
    }
    give(&BLOCKS, block);
}

pub(super) fn take_try() -> Box<Try> {
    take(&TRIES)
}

pub(super) fn give_try(tried: Box<Try>) {
    give(&TRIES, tried);
}
