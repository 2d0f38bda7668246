//! Round trips through all codings, in pieces of all sizes; broken input.

use super::*;

const SETTINGS: [Settings; 8] = [
    Settings::Gzip { level: 1, window_bits: 9 },
    Settings::Gzip { level: 4, window_bits: 14 },
    Settings::Gzip { level: 9, window_bits: 14 },
    Settings::Brotli { quality: 0 },
    Settings::Brotli { quality: 1 },
    Settings::Zstd { level: 1 },
    Settings::Zstd { level: 3 },
    Settings::Zstd { level: 9 },
];

/// Text with repetitions near and far, and some noise.
fn text(len: usize) -> Vec<u8> {
    let mut random = 7u64;
    let mut out = Vec::with_capacity(len);
    while out.len() < len {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match random >> 61 {
            0 => out.extend_from_slice(&random.to_le_bytes()),
            word => out.extend_from_slice(
                &b"the quick brown fox jumps over the lazy dog, again and again. "[word as usize * 7..],
            ),
        }
    }
    out.truncate(len);
    out
}

/// Runs steps until the goal is achieved.
fn run(encoder: &mut Encoder, mut input: &[u8], goal: Goal, room: usize, out: &mut Vec<u8>) {
    let mut buffer = vec![0; room];
    for _ in 0..1_000_000 {
        let step = encoder.step(input, goal, &mut buffer).expect("encoding does not fail");
        input = &input[step.consumed..];
        out.extend_from_slice(&buffer[..step.produced]);
        if step.is_done {
            assert!(input.is_empty(), "done means that all input was taken");
            return;
        }
    }
    panic!("{goal:?} does not end");
}

fn encode(encoder: &mut Encoder, text: &[u8], piece: usize, room: usize) -> Vec<u8> {
    let mut out = Vec::new();
    text.chunks(piece).for_each(|piece| run(encoder, piece, Goal::Take, room, &mut out));
    run(encoder, &[], Goal::End, room, &mut out);
    out
}

/// What the decoder makes of these bytes, which come in pieces.
fn decode(decoder: &mut Decoder, bytes: &[u8], piece: usize, room: usize) -> Result<Vec<u8>, Corrupt> {
    let (mut out, mut buffer) = (Vec::new(), vec![0; room]);
    for mut input in bytes.chunks(piece) {
        for steps in 0.. {
            assert!(steps < 1_000_000, "decoding does not end");
            let step = decoder.step(input, &mut buffer)?;
            input = &input[step.consumed..];
            out.extend_from_slice(&buffer[..step.produced]);
            if step.is_done {
                break;
            }
        }
        assert!(input.is_empty());
    }
    Ok(out)
}

#[test]
fn bodies_come_back_whatever_the_pieces() {
    for settings in SETTINGS {
        let mut encoder = Encoder::new(settings);
        for (len, piece, room) in
            [(0, 1, 64), (1, 1, 1), (30, 7, 3), (5000, 1, 100), (300_000, 4096, 16 * 1024), (300_000, 16 * 1024, 1000)]
        {
            encoder.reset();
            let text = text(len);
            let encoded = encode(&mut encoder, &text, piece, room);
            assert!(len < 5000 || encoded.len() < len * 2 / 3, "{settings:?}: {len} to {}", encoded.len());
            for (piece, room) in [(1, 1000), (1000, 1), (16 * 1024, 16 * 1024)] {
                if len > 5000 && room == 1 {
                    continue;
                }
                let mut decoder = Decoder::new(settings.coding());
                assert!(decoder.may_end(), "nothing is the coding of nothing");
                let decoded = decode(&mut decoder, &encoded, piece, room);
                assert!(decoded.as_deref() == Ok(&text[..]), "{settings:?}: {len} in {piece} into {room}");
                assert!(decoder.may_end(), "{settings:?}");
            }
        }
    }
}

/// What was flushed can be read without what follows, however often nothing is flushed again.
#[test]
fn a_flush_makes_everything_readable() {
    for settings in SETTINGS {
        // Fewer bytes than a few markers have room for cannot tell a marker from output that was cut.
        for room in [16 * 1024, 64] {
            let mut encoder = Encoder::new(settings);
            let mut decoder = Decoder::new(settings.coding());
            for len in [1, 100, 20_000, 3] {
                let text = text(len);
                let mut out = Vec::new();
                run(&mut encoder, &text, Goal::Take, room, &mut out);
                run(&mut encoder, &[], Goal::Flush, room, &mut out);
                assert!(decode(&mut decoder, &out, 4096, 4096).as_deref() == Ok(&text[..]), "{settings:?}, {len}");
                assert!(!decoder.may_end(), "{settings:?}: the end has not come");
                let mut more = Vec::new();
                run(&mut encoder, &[], Goal::Flush, room, &mut more);
                assert!(more.len() <= 5, "{settings:?}: {} bytes for nothing", more.len());
                assert_eq!(decode(&mut decoder, &more, 4096, 4096), Ok(Vec::new()));
            }
        }
    }
}

#[test]
fn members_and_frames_follow_one_another() {
    for settings in [SETTINGS[1], SETTINGS[6]] {
        let mut encoded = encode(&mut Encoder::new(settings), b"one, ", 100, 1000);
        encoded.extend(encode(&mut Encoder::new(settings), b"two", 100, 1000));
        for piece in [1, 1000] {
            let mut decoder = Decoder::new(settings.coding());
            assert_eq!(decode(&mut decoder, &encoded, piece, 1000).as_deref(), Ok(&b"one, two"[..]));
            assert!(decoder.may_end());
        }
    }
}

#[test]
fn broken_input_is_refused_or_does_not_end() {
    for settings in SETTINGS {
        let text = text(20_000);
        let encoded = encode(&mut Encoder::new(settings), &text, 4096, 16 * 1024);
        let mut cut = Decoder::new(settings.coding());
        let half = decode(&mut cut, &encoded[..encoded.len() / 2], 1000, 1000).expect("a good beginning");
        assert!(text.starts_with(&half) && !cut.may_end(), "{settings:?}");
        assert!(
            decode(&mut Decoder::new(settings.coding()), b"<!doctype html><p>not compressed at all", 7, 100).is_err()
        );
        let mut longer = encoded.clone();
        longer.extend_from_slice(b"<p>and more");
        assert!(decode(&mut Decoder::new(settings.coding()), &longer, 1000, 1000).is_err(), "{settings:?}");
    }
    // gzip has a checksum.
    let mut encoded = encode(&mut Encoder::new(SETTINGS[1]), b"checked", 100, 1000);
    let at = encoded.len() - 8;
    encoded[at] ^= 1;
    assert_eq!(decode(&mut Decoder::new(Coding::Gzip), &encoded, 100, 100), Err(Corrupt));
}

/// RFC 9659: "decoders MUST support window sizes up to 8 MB", and no more memory than that is taken.
#[test]
fn windows_have_a_bound() {
    // A frame header with a window of 8 MiB, of 16 MiB; then a raw block of one byte.
    for (window, is_fine) in [(13 << 3, true), (14 << 3, false)] {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 0x09, 0x00, 0x00, b'x'];
        let mut decoder = Decoder::new(Coding::Zstd);
        assert_eq!(decode(&mut decoder, &frame, 100, 100).is_ok(), is_fine);
        assert!(decoder.bytes() < 9 << 20);
    }
    let mut decoder = Decoder::new(Coding::Brotli);
    let before = decoder.bytes();
    // WBITS 24, then a byte that is not there yet.
    decode(&mut decoder, &[0x0f], 1, 1).expect("a good beginning");
    assert_eq!(decoder.bytes() - before, 1 << 24);
}
