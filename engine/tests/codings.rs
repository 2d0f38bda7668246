//! The memory of content codings, counted: an encoder's state stays within the figure by which a shard's sum of them is
//! kept, and within what one body may take.
#![allow(unsafe_code)]

use ringway::codec::coding::{Decoder, Encoder, Goal, STATE_MAX, Settings};
use ringway::http::coding::Coding;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends frees after its thread-local storage is gone.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting touches only thread-local cells without
// destructors and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The most bytes that `run` had at the same time.
fn peak(run: impl FnOnce()) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    run();
    (PEAK.get() - before) as usize
}

fn text(len: usize) -> Vec<u8> {
    let mut random = 1u32;
    let mut next = || {
        random = random.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        (random >> 16) as u8 & 0x3f
    };
    (0..len).map(|_| next()).collect()
}

/// Encodes in slices, flushing now and then, into `out`. Gives the bytes written.
fn encode(encoder: &mut Encoder, settings: Settings, text: &[u8], out: &mut [u8]) -> usize {
    let mut given = 0;
    let mut run = |mut input: &[u8], goal| {
        loop {
            let end = out.len().min(given + 16 * 1024);
            let step = encoder.step(input, goal, &mut out[given..end]).expect("encoding does not fail");
            (input, given) = (&input[step.consumed..], given + step.produced);
            if step.is_done {
                return;
            }
        }
    };
    for (at, slice) in text.chunks(settings.slice()).enumerate() {
        run(slice, Goal::Take);
        if at % 3 == 2 {
            run(&[], Goal::Flush);
        }
    }
    run(&[], Goal::End);
    given
}

fn all() -> Vec<Settings> {
    let gzip = (1..=9).flat_map(|level| (9..=14).map(move |window_bits| Settings::Gzip { level, window_bits }));
    let brotli = (0..=1).map(|quality| Settings::Brotli { quality });
    gzip.chain(brotli).chain((1..=9).map(|level| Settings::Zstd { level })).collect()
}

#[test]
fn encoders_take_what_the_shard_is_told() {
    let text = text(400_000);
    let mut out = vec![0; 600_000];
    for settings in all() {
        let mut native = 0;
        let rust = peak(|| {
            let mut encoder = Encoder::new(settings);
            for _ in 0..2 {
                encode(&mut encoder, settings, &text, &mut out);
                native = native.max(encoder.native_bytes());
                encoder.reset();
            }
        });
        let (taken, told) = (rust + native, settings.state_bytes());
        println!("{settings:?}: {taken} bytes, {told} in the sum");
        assert!(taken <= told, "{settings:?} takes {taken} bytes, and the shard counts {told}");
        assert!(told <= STATE_MAX && taken * 2 > told, "{settings:?}: {told} bytes for {taken}");
    }
}

#[test]
fn decoders_take_what_the_shard_is_told() {
    let text = text(400_000);
    for (coding, settings) in [
        (Coding::Gzip, Settings::Gzip { level: 4, window_bits: 14 }),
        (Coding::Brotli, Settings::Brotli { quality: 1 }),
        (Coding::Zstd, Settings::Zstd { level: 3 }),
    ] {
        let mut out = vec![0; 600_000];
        let len = encode(&mut Encoder::new(settings), settings, &text, &mut out);
        let (mut told, mut native) = (0, 0);
        let mut plain = vec![0; 16 * 1024];
        let rust = peak(|| {
            let mut decoder = Decoder::new(coding);
            let mut input = &out[..len];
            while !input.is_empty() {
                let step = decoder.step(input, &mut plain).expect("what was encoded");
                input = &input[step.consumed..];
                told = told.max(decoder.bytes());
            }
            native = decoder.native_bytes();
        });
        println!("{coding:?}: {} bytes, {told} in the sum", rust + native);
        assert!(rust + native <= told, "{coding:?} takes {} bytes, and the shard counts {told}", rust + native);
    }
}
