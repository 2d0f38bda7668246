//! Bodies through stages: what comes out, when it is flushed, and what is refused.

use super::*;
use crate::codec::coding::{Encoder, Settings};
use crate::mux::{Coders, Hooks, Pace};
use crate::ring::{PoolSize, Reactor, Timer};
use crate::stats::Registry;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::time::Duration;

const GZIP: Settings = Settings::Gzip { level: 4, window_bits: 14 };
const FINE: Expansion = Expansion { max_output: 1 << 30, max_ratio: 100 };

struct World {
    reactor: Rc<Reactor>,
    coders: Rc<Coders>,
    registry: Arc<Registry>,
}

fn world() -> World {
    let reactor = Reactor::simulated(1, PoolSize { count: 64, size: 16 * 1024 });
    World { coders: Coders::new(&reactor), reactor, registry: Registry::new() }
}

/// A piece of a body, a moment without one, the end.
#[derive(Clone)]
enum Comes {
    Bytes(Vec<u8>),
    Nothing,
    End,
}

/// What came out: pieces, and a mark where the source had nothing.
type Out = Result<Vec<Vec<u8>>, Violation>;

impl World {
    fn stats(&self) -> Arc<CodingStats> {
        self.registry.scope("test", 0)
    }

    fn encode(&self, settings: Settings) -> Transform {
        Transform::encode(self.coders.encoder(settings).expect("there is room"), self.stats())
    }

    fn decode(&self, coding: Coding, expansion: Expansion) -> Transform {
        Transform::decode(&self.coders, coding, expansion, self.stats()).expect("there is room")
    }

    /// Everything that comes out, in parts: a new one begins when the source goes on after it had nothing for a moment.
    fn run(&self, hooks: impl Into<Hooks>, comes: Vec<Comes>) -> Out {
        let (mut hooks, reactor) = (hooks.into(), self.reactor.clone());
        let mut comes = VecDeque::from(comes);
        self.reactor.block_on(async move {
            let parts = RefCell::new(vec![Vec::new()]);
            let mut waits: Option<Timer> = None;
            let ended = poll_fn(|_| {
                loop {
                    let source = |_: &mut Trailers| match comes.front().expect("the end comes once") {
                        Comes::Nothing if waits.as_ref().is_some_and(Timer::fired) => {
                            waits = None;
                            comes.pop_front();
                            parts.borrow_mut().push(Vec::new());
                            let Some(Comes::Bytes(bytes)) = comes.pop_front() else { panic!("bytes after nothing") };
                            Poll::Ready(Ok(Piece::Data(Buf::from(bytes.into_boxed_slice()))))
                        }
                        Comes::Nothing => {
                            waits.get_or_insert_with(|| Timer::new(&reactor)).arm_in(Duration::from_millis(10));
                            Poll::Pending
                        }
                        Comes::Bytes(_) => {
                            let Some(Comes::Bytes(bytes)) = comes.pop_front() else { unreachable!("it is in front") };
                            Poll::Ready(Ok(Piece::Data(Buf::from(bytes.into_boxed_slice()))))
                        }
                        Comes::End => Poll::Ready(Ok(Piece::End)),
                    };
                    match ready!(hooks.poll(reactor.now(), &mut Trailers::default(), source, |violation| violation)) {
                        Ok(Piece::Data(buf)) => {
                            assert!(!buf.is_empty() && buf.len() <= OUTPUT_MAX);
                            parts.borrow_mut().last_mut().expect("one at least").extend_from_slice(&buf);
                        }
                        Ok(Piece::End) => return Poll::Ready(Ok(())),
                        Err(violation) => return Poll::Ready(Err(violation)),
                    }
                }
            });
            ended.await?;
            Ok(parts.into_inner())
        })
    }

    fn counts(&self) -> (i64, i64) {
        let value = |name: &str| self.registry.value(&format!("http.test.{name}")).unwrap_or(-1);
        (value("total_uncompressed_bytes"), value("total_compressed_bytes"))
    }
}

/// Something that compresses to about a third.
fn text(len: usize) -> Vec<u8> {
    let mut random = 1u32;
    let mut next = || {
        random = random.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        b"abcdefgh"[(random >> 28) as usize & 7]
    };
    (0..len).map(|_| next()).collect()
}

fn encoded(settings: Settings, text: &[u8]) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(settings), vec![0; text.len() + 1000]);
    let (mut taken, mut given) = (0, 0);
    loop {
        let goal = if taken < text.len() { Goal::Take } else { Goal::End };
        let step = encoder.step(&text[taken..], goal, &mut out[given..]).expect("encoding does not fail");
        taken += step.consumed;
        given += step.produced;
        if goal == Goal::End && step.is_done {
            out.truncate(given);
            return out;
        }
    }
}

fn decoded(coding: Coding, mut bytes: &[u8]) -> Vec<u8> {
    let (mut decoder, mut out, mut buffer) = (Decoder::new(coding), Vec::new(), vec![0; 10_000]);
    loop {
        let step = decoder.step(bytes, &mut buffer).expect("what was encoded");
        bytes = &bytes[step.consumed..];
        out.extend_from_slice(&buffer[..step.produced]);
        if step.is_done {
            return out;
        }
    }
}

const ALL: [Settings; 3] = [GZIP, Settings::Brotli { quality: 1 }, Settings::Zstd { level: 3 }];

#[test]
fn what_is_compressed_can_be_restored_on_the_way() {
    for settings in ALL {
        for piece in [1000, 16 * 1024, 100_000] {
            let text = text(100_000);
            let comes = |bytes: &[u8]| {
                bytes.chunks(piece).map(|piece| Comes::Bytes(piece.to_vec())).chain([Comes::End]).collect::<Vec<_>>()
            };
            let world = world();
            let compressed = world.run(world.encode(settings), comes(&text)).expect("fine").concat();
            assert!(compressed.len() < text.len() / 2 && decoded(settings.coding(), &compressed) == text);
            assert_eq!(world.counts(), (text.len() as i64, compressed.len() as i64));
            let mut both = world.decode(settings.coding(), FINE);
            both.append(&mut world.encode(GZIP));
            let again = world.run(both, comes(&compressed)).expect("fine").concat();
            assert!(decoded(Coding::Gzip, &again) == text, "{settings:?} {piece}");
            assert!(again.len() < compressed.len() * 2, "no flush while the first stage waits for a turn");
        }
    }
}

#[test]
fn a_source_that_has_nothing_more_gets_what_it_gave_flushed() {
    for settings in ALL {
        let world = world();
        let bytes = |text: &str| Comes::Bytes(text.as_bytes().to_vec());
        let comes = vec![bytes("one"), Comes::Nothing, bytes("two"), Comes::Nothing, bytes("three"), Comes::End];
        let parts = world.run(world.encode(settings), comes).expect("fine");
        assert_eq!(decoded(settings.coding(), &parts[0]), b"one");
        assert_eq!(decoded(settings.coding(), &parts[..2].concat()), b"onetwo");
        assert_eq!(decoded(settings.coding(), &parts.concat()), b"onetwothree");
    }
}

#[test]
fn an_empty_body_is_the_coding_of_nothing() {
    for settings in ALL {
        let world = world();
        let compressed = world.run(world.encode(settings), vec![Comes::End]).expect("fine").concat();
        assert_eq!(decoded(settings.coding(), &compressed), b"");
        assert_eq!(world.run(world.decode(settings.coding(), FINE), vec![Comes::End]), Ok(vec![Vec::new()]));
    }
}

#[test]
fn bombs_and_broken_bodies_are_refused() {
    for settings in ALL {
        let world = world();
        let bomb = encoded(settings, &vec![b'0'; 4 << 20]);
        let run = |bytes: &[u8], expansion| {
            world.run(world.decode(settings.coding(), expansion), vec![Comes::Bytes(bytes.to_vec()), Comes::End])
        };
        assert_eq!(run(&bomb, FINE), Err(BOMB), "{settings:?}");
        let wide = Expansion { max_ratio: 100_000, ..FINE };
        assert!(run(&bomb, wide).expect("allowed").concat() == vec![b'0'; 4 << 20]);
        assert_eq!(run(&bomb, Expansion { max_output: 1 << 20, ..wide }), Err(TOO_LARGE));
        // A short body may be as regular as it likes.
        assert!(run(&encoded(settings, &[b'0'; 60_000]), FINE).is_ok());
        assert_eq!(run(b"this is not compressed at all, not at all", FINE), Err(CORRUPT));
        let cut = encoded(settings, &text(10_000));
        assert_eq!(run(&cut[..cut.len() - 1], FINE), Err(TRUNCATED));
        assert_eq!(world.coders.used(), 0, "what was refused is not held");
    }
    let world = world();
    world.coders.set_limit(1 << 20);
    // Wants to remember 16 MiB.
    let greedy = world.run(world.decode(Coding::Brotli, FINE), vec![Comes::Bytes(vec![0x0f, 0]), Comes::End]);
    assert_eq!(greedy.map_err(|violation| violation.status), Err(503));
}

/// A coding in another multiplies what each may become, so all of them together are held against the bytes of the wire.
#[test]
fn a_bomb_in_several_layers_is_one() {
    let world = world();
    let plain = vec![b'0'; 8 << 20];
    let gzip = Settings::Gzip { level: 9, window_bits: 15 };
    let twice = encoded(gzip, &encoded(gzip, &plain));
    let layers = |expansion| {
        let mut outer = world.decode(Coding::Gzip, expansion);
        outer.append(&mut world.decode(Coding::Gzip, expansion));
        world.run(outer, vec![Comes::Bytes(twice.clone()), Comes::End])
    };
    let ratio = (plain.len() / twice.len()) as u32;
    // Each layer by itself stays below this.
    let single = Expansion { max_ratio: 1100, ..FINE };
    assert!(ratio > 1100, "{ratio}");
    assert_eq!(layers(single), Err(BOMB));
    assert!(layers(Expansion { max_ratio: ratio + 1, ..FINE }).expect("allowed").concat() == plain);
}

/// One body alone: no slice takes more than its turn, and each turn gets on.
#[test]
fn each_turn_of_the_reactor_sees_one_slice() {
    let world = world();
    let before = world.reactor.turns();
    let mut comes: Vec<_> = text(320 * 1024).chunks(32 * 1024).map(|piece| Comes::Bytes(piece.to_vec())).collect();
    comes.push(Comes::End);
    world.run(world.encode(GZIP), comes).expect("fine");
    let turns = (world.reactor.turns() - before) as usize;
    let slices = 320 * 1024 / GZIP.slice();
    assert!((slices..slices + 5).contains(&turns), "{slices} slices in {turns} turns");
}

#[test]
fn hooks_add_up() {
    let world = world();
    let mut hooks = Hooks::default();
    assert!(hooks.is_empty());
    let reactor = world.reactor.clone();
    let slow = world.reactor.block_on(async move { (Pace::new(&reactor, 1600), Pace::new(&reactor, 100_000)) });
    hooks.add(slow.0.into());
    hooks.add(slow.1.into());
    hooks.add(world.encode(ALL[1]).into());
    hooks.add(world.decode(Coding::Brotli, FINE).into());
    let start = world.reactor.now();
    let out = world.run(hooks, vec![Comes::Bytes(text(1600)), Comes::End]).expect("fine").concat();
    assert!(out == text(1600), "the second one undoes what the first one did");
    let took = (world.reactor.now() - start) / 1_000_000;
    assert!((900..1010).contains(&took), "the slower pace holds for what comes out: {took} ms");
}
