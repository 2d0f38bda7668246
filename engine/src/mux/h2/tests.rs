//! A connection without sockets and without exchanges: whatever frames come and whatever is done with its streams, what it counts
//! stays true.

use super::link::{Incoming, Link, Release, Role};
use super::room::{self, Gone, Room};
use super::stream::{Key, State};
use super::window::{Budget, Window};
use super::{Code, Driver};
use crate::codec::h2::frame::{self, INITIAL_WINDOW, PREFACE};
use crate::codec::h2::hpack::encode;
use crate::http::Trailers;
use crate::mux::Limits;
use crate::net::{ByteStream, PipeEnd, pipe};
use crate::ring::{PoolSize, Reactor};
use crate::stats::{Http2Stats, Registry};
use ringway_config::model::Http2Options;
use std::rc::Rc;
use std::task::Poll;

const STEPS: u32 = 150;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn is_one_of(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

struct World {
    dice: Dice,
    link: Rc<Link>,
    driver: Driver,
    wire: ByteStream,
    peer: PipeEnd,
    /// Streams whose exchanges go on.
    keys: Vec<Key>,
    /// The highest stream that was opened, by either side.
    last: u32,
    growth: u32,
    /// Bytes of DATA that the peer has allowed on the whole connection, and that came there.
    allowed: u64,
    came: u64,
    unread: Vec<u8>,
    /// The peer has closed its side.
    has_left: bool,
    is_over: bool,
}

impl World {
    fn new(reactor: &Rc<Reactor>, role: Role, seed: u64) -> Self {
        let options = Http2Options {
            max_concurrent_streams: 8,
            initial_stream_window_size: 65_536,
            initial_connection_window_size: 65_536,
            stream_window_growth: 200_000,
            ..Http2Options::default()
        };
        let stats = match role {
            Role::Server => Http2Stats::Clients(Registry::new().scope("http", 0)),
            Role::Client => Http2Stats::Endpoints(Registry::new().scope("app", 0)),
        };
        let link = Link::new(reactor, role, &options, &Limits::default(), stats);
        let (peer, wire) = pipe(reactor, 1 << 20);
        let mut out = if role == Role::Server { PREFACE.to_vec() } else { Vec::new() };
        frame::settings(&mut out, &[]);
        peer.write(&out);
        let driver = Driver::new(&link, None);
        Self {
            dice: Dice(seed),
            link,
            driver,
            wire: ByteStream::Pipe(wire),
            peer,
            keys: Vec::new(),
            last: 0,
            growth: options.stream_window_growth,
            allowed: INITIAL_WINDOW.into(),
            came: 0,
            unread: Vec::new(),
            has_left: false,
            is_over: false,
        }
    }

    /// A stream that there may be, or have been, or that never was.
    fn some_id(&mut self) -> u32 {
        match self.dice.below(300) {
            0 => self.dice.below(u64::from(self.last) + 4) as u32,
            1..6 => self.last.saturating_sub(2).max(1),
            _ if !self.keys.is_empty() => self.keys[self.dice.below(self.keys.len() as u64) as usize].id,
            _ => self.last,
        }
    }

    fn head(&mut self, id: u32, is_request: bool) -> Vec<u8> {
        let (mut out, ends, is_bad) = (Vec::new(), self.dice.is_one_of(3), self.dice.is_one_of(20));
        frame::headers(&mut out, id, ends, 16_384, |out| {
            if is_request {
                encode::method(out, b"GET");
                encode::scheme(out, false);
                encode::path(out, [&b"/"[..], b""]);
                encode::authority(out, b"h");
            } else {
                encode::status(out, if is_bad { 103 } else { 200 });
            }
        });
        out
    }

    /// What the peer does.
    fn peer_acts(&mut self) {
        if self.has_left {
            return;
        }
        let id = self.some_id();
        let mut out = Vec::new();
        let is_idle = self.keys.is_empty();
        match self.dice.below(20) {
            0..4 if self.link.role == Role::Server => {
                self.last = if self.last == 0 { 1 } else { self.last + 2 };
                out = self.head(self.last, true);
            }
            // A head on a stream that is over ends the connection, and so do other frames on one that there never was.
            0..15 if is_idle => frame::ping(&mut out, false, [0; 8]),
            0..5 => out = self.head(id, false),
            5..11 => {
                let (len, padding, ends) =
                    (self.dice.below(3000) as usize, self.dice.below(256), self.dice.is_one_of(8));
                let padding = padding as usize;
                let is_padded = self.dice.is_one_of(2);
                let payload = if is_padded { len + padding + 1 } else { len };
                let mut header = frame::data_header(payload, id, ends);
                header[4] |= if is_padded { 8 } else { 0 };
                out.extend_from_slice(&header);
                if is_padded {
                    out.push(padding as u8);
                }
                out.resize(9 + payload, b'x');
            }
            11 => frame::rst_stream(&mut out, id, Code(self.dice.below(12) as u32)),
            12..15 => {
                let (to, more) = (if self.dice.is_one_of(2) { 0 } else { id }, self.dice.below(30_000) as u32);
                // Nothing at all breaks a rule, and is tried seldom enough.
                let more = if self.dice.is_one_of(300) { 0 } else { more + 1 };
                self.allowed += if to == 0 { u64::from(more) } else { 0 };
                frame::window_update(&mut out, to, more);
            }
            15 => frame::settings(&mut out, &[(4, self.dice.below(40_000) as u32), (3, self.dice.below(10) as u32)]),
            16 => frame::ping(&mut out, self.dice.is_one_of(2), [0; 8]),
            17 if self.dice.is_one_of(10) => frame::goaway(&mut out, self.last.saturating_sub(2), Code::NO_ERROR, b""),
            18 if self.dice.is_one_of(20) => out.extend((0..9).map(|_| self.dice.below(256) as u8)),
            _ => frame::settings_ack(&mut out),
        }
        self.peer.write(&out);
        if self.dice.is_one_of(200) {
            self.has_left = true;
            self.peer.shutdown_write();
        }
    }

    /// What an exchange, or the connection, does here.
    fn acts(&mut self) {
        let link = self.link.clone();
        if link.role == Role::Client
            && self.dice.is_one_of(4)
            && let Ok(key) = link.open_stream()
        {
            let ends = self.dice.is_one_of(2);
            link.send_head(key, true, ends, |out| encode::method(out, b"GET"));
            (self.last, _) = (key.id, self.keys.push(key));
        }
        if self.keys.is_empty() {
            return;
        }
        let at = self.dice.below(self.keys.len() as u64) as usize;
        let key = self.keys[at];
        match self.dice.below(12) {
            0..2 => {
                if let Poll::Ready(Ok(block)) = link.poll_head(key) {
                    room::give_block(block);
                }
            }
            2..6 => {
                if let Poll::Ready(Ok(Incoming::End(Some(block)))) = link.poll_piece(key) {
                    room::give_block(block);
                }
            }
            6 => drop(link.send_head(key, true, self.dice.is_one_of(4), |out| encode::status(out, 200))),
            7..9 => {
                let len = self.dice.below(20_000) as usize;
                link.put(key, |queue, _| queue.push_bytes(&vec![b'y'; len]));
            }
            9 => {
                let mut trailers = Trailers::default();
                if self.dice.is_one_of(2) {
                    trailers.add(b"a", b"b");
                }
                link.end(key, &trailers);
            }
            10 => {
                let broken = Release::Broken(Code::CANCEL);
                let ways = [Release::Whole, Release::Reset(Code::CANCEL), broken, broken, Release::Malformed];
                link.release(key, ways[self.dice.below(ways.len() as u64) as usize]);
                self.keys.swap_remove(at);
            }
            _ if self.dice.is_one_of(40) => link.leave(),
            _ => {}
        }
    }

    fn drive(&mut self) {
        let mut begun = Vec::new();
        for _ in 0..3 {
            if !self.is_over && self.driver.poll(&self.wire, |key| begun.push(key)).is_ready() {
                self.is_over = true;
                self.link.close();
            }
        }
        self.keys.append(&mut begun);
        while let Poll::Ready(Ok(Some(bytes))) = self.peer.poll_recv() {
            self.unread.extend_from_slice(&bytes);
        }
        if self.unread.starts_with(PREFACE) {
            self.unread.drain(..PREFACE.len());
        }
        while let Some(header) = self.unread.get(..9) {
            let len = header[..3].iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
            let is_data = header[3] == 0;
            self.came += if is_data { len as u64 } else { 0 };
            if self.unread.len() < 9 + len {
                break;
            }
            self.unread.drain(..9 + len);
        }
    }

    #[track_caller]
    fn check(&self, what: &str) {
        let state = self.link.state.borrow();
        let streams: Vec<_> = state.streams().collect();
        assert!(streams.is_empty() == state.room.is_none(), "{what}: a room for nothing");
        let empty = Room::default();
        let room = state.room.as_deref().unwrap_or(&empty);
        let open = streams.iter().filter(|(_, stream)| !stream.is_over()).count();
        assert_eq!(state.open, open, "{what}: open streams");
        assert_eq!(state.exchanges, streams.iter().filter(|(_, stream)| !stream.released).count(), "{what}: exchanges");
        assert_eq!(state.exchanges, self.keys.len(), "{what}: exchanges that were begun");
        let resetting = streams.iter().filter(|(_, stream)| stream.reset.is_some()).count();
        assert_eq!(state.resetting, resetting, "{what}: resets behind a queue");
        assert_eq!(room.slots.len(), streams.len(), "{what}");
        assert!(streams.iter().all(|(slot, stream)| room.slots.get(&stream.id) == Some(slot)), "{what}");
        for (slot, stream) in &streams {
            let key = Key { slot: *slot, id: stream.id };
            let places = room.sending.iter().filter(|other| **other == key).count();
            assert!(places == usize::from(stream.is_sending), "{what}: {places} places among those that send");
            let has_left = stream.released && (stream.broken.is_some() || stream.out_ended);
            assert!(!has_left, "{what}: a stream that is over is kept");
            assert!(stream.reset.is_none() || stream.is_sending, "{what}: a reset that nothing holds up");
            assert!(!self.has_left || stream.broken.is_some() || stream.in_ended, "{what}: a request is awaited");
            let is_blocked = state.credit <= 0 || State::stream_credit(&state.peer, stream) <= 0;
            assert!(!(self.has_left && is_blocked) || stream.out.is_empty(), "{what}: there will never be room");
            if stream.broken.is_none() && !stream.in_ended {
                assert!(stream.window.is_balanced(stream.pieces.bytes()), "{what}: {:?}", stream.window);
            }
        }
        let is_there = |key: &Key| room.streams.get(key.slot).is_some_and(|stream| stream.id == key.id);
        assert!(room.sending.iter().all(is_there), "{what}: a stream that is gone still sends");
        assert!(state.window.is_balanced(0), "{what}: {:?}", state.window);
        let grown: u32 = streams.iter().map(|(_, stream)| stream.window.growth(&state.budget)).sum();
        assert_eq!(state.budget.left + grown, self.growth, "{what}: what windows may grow by");
        assert!(self.came <= self.allowed, "{what}: {} bytes of {}", self.came, self.allowed);
        assert_eq!(state.credit, self.allowed as i64 - self.came as i64, "{what}: credit");
    }
}

fn run(role: Role) {
    let reactor = Reactor::simulated(1, PoolSize { count: 64, size: 16 * 1024 });
    let inner = reactor.clone();
    reactor.block_on(async move {
        let mut lived = 0;
        for seed in 0..150 {
            let mut world = World::new(&inner, role, seed);
            world.drive();
            world.check("begin");
            for step in 0..STEPS {
                world.peer_acts();
                world.drive();
                if world.is_over {
                    break;
                }
                world.check(&format!("{role:?}, seed {seed}, step {step}, the peer"));
                world.acts();
                world.drive();
                if world.is_over {
                    break;
                }
                world.check(&format!("{role:?}, seed {seed}, step {step}"));
                lived += 1;
            }
            world.link.close();
            while let Some(key) = world.keys.pop() {
                world.link.release(key, Release::Reset(Code::CANCEL));
            }
            let state = world.link.state.borrow();
            assert_eq!((state.open, state.exchanges, state.room.is_none()), (0, 0, true), "{seed}");
            assert_eq!(state.budget.left, world.growth, "{seed}");
        }
        // Most connections live long enough to tell something.
        assert!(lived > 150 * STEPS / 4, "{lived}");
    });
}

#[test]
fn a_server_counts_right_whatever_comes() {
    run(Role::Server);
}

#[test]
fn a_client_counts_right_whatever_comes() {
    run(Role::Client);
}

/// Without streams, the latest ones that are over are still known; those before them may have been.
#[test]
fn the_latest_streams_are_remembered_without_a_room() {
    let reactor = Reactor::simulated(1, PoolSize { count: 16, size: 16 * 1024 });
    let budget = Budget { initial: INITIAL_WINDOW, left: 0 };
    let mut state = State::new(Window::new(INITIAL_WINDOW), budget, 4096);
    let serve = |state: &mut State, ids: &[u32]| {
        for id in ids {
            let (key, stream) = state.insert(*id, &reactor);
            (stream.in_ended, stream.released) = (true, true);
            state.exchanges -= 1;
            state.change(key, |stream| stream.out_ended = true);
            state.settle(key);
        }
    };
    let known = |state: &State| (1..16).step_by(2).filter(|id| state.gone(*id).is_some()).collect::<Vec<_>>();
    serve(&mut state, &[1, 3]);
    assert!(state.room.is_none());
    state.note_gone(5, Gone::ResetHere);
    assert_eq!((known(&state), state.may_have_been(7)), (vec![1, 3, 5], false));
    serve(&mut state, &[7, 9, 11]);
    assert_eq!(known(&state), [5, 7, 9, 11]);
    assert_eq!((state.gone(5), state.gone(11)), (Some(Gone::ResetHere), Some(Gone::Whole)));
    assert!(state.may_have_been(1) && state.may_have_been(3) && !state.may_have_been(13));
}
