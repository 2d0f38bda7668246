//! Frames and heads, byte by byte.

mod frames;
mod heads;
mod sizes;
mod written;

use super::frame::{flag, header, kind};
use super::{Decoder, Error, Event};

/// More than any block of these tests.
const BLOCK_MAX: usize = 1 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&header(payload.len(), kind, flags, stream)[..], payload].concat()
}

/// DATA, or HEADERS, with padding.
fn padded(kind: u8, flags: u8, stream: u32, payload: &[u8], padding: u8) -> Vec<u8> {
    let payload = [&[padding], payload, &vec![0xee; padding.into()]].concat();
    frame(kind, flags | flag::PADDED, stream, &payload)
}

fn block(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(kind, flags, 1, payload)
}

/// What frames say, whatever way their bytes came: parts of one DATA frame are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Event(Event),
    Block {
        stream: u32,
        ends: bool,
        bytes: Vec<u8>,
    },
    Settings(Vec<(u16, u32)>),
    /// `flow`: with padding.
    Data {
        stream: u32,
        bytes: Vec<u8>,
        flow: u32,
        is_empty: bool,
        ends: bool,
    },
}

/// Decode `bytes`, which come in pieces that end at these places, and that have to say what they say as soon as they are there.
fn decode(bytes: &[u8], cuts: &[usize], block_max: usize) -> (Vec<Said>, Result<(), Error>, bool) {
    let (mut decoder, mut said, mut start) = (Decoder::new(block_max), Vec::new(), 0);
    for end in cuts.iter().copied().chain([bytes.len()]) {
        let mut input = &bytes[start..end];
        loop {
            match decoder.next(input) {
                Err(error) => return (said, Err(error), decoder.is_within()),
                Ok((used, event)) => {
                    let Some(event) = event else {
                        assert_eq!(used, input.len(), "without an event all is used");
                        break;
                    };
                    note(&mut said, event, &decoder, input);
                    input = &input[used..];
                    if input.is_empty() {
                        break;
                    }
                }
            }
        }
        start = end;
    }
    (said, Ok(()), decoder.is_within())
}

fn note(said: &mut Vec<Said>, event: Event, decoder: &Decoder, input: &[u8]) {
    match event {
        Event::Headers { stream, ends } => {
            said.push(Said::Block { stream, ends, bytes: decoder.payload(input).to_vec() });
        }
        Event::Settings => said.push(Said::Settings(decoder.settings(input).collect())),
        Event::Data { stream, part, flow, is_empty, ends } => {
            let (new, now) = (input[part].to_vec(), (is_empty, ends));
            if let Some(Said::Data { stream: of, bytes, flow: sum, is_empty, ends }) = said.last_mut()
                && *of == stream
                && !*ends
            {
                bytes.extend(new);
                *sum += flow;
                (*is_empty, *ends) = now;
            } else {
                said.push(Said::Data { stream, bytes: new, flow, is_empty, ends });
            }
        }
        event => said.push(Said::Event(event)),
    }
}

/// What the bytes say, for every way to cut them into two, into three at some places, and byte by byte.
#[track_caller]
fn said(bytes: &[u8]) -> (Vec<Said>, Result<(), Error>) {
    said_within(bytes, BLOCK_MAX)
}

#[track_caller]
fn said_within(bytes: &[u8], block_max: usize) -> (Vec<Said>, Result<(), Error>) {
    let whole = decode(bytes, &[], block_max);
    let step = (bytes.len() / 200).max(1);
    for cut in (0..=bytes.len()).step_by(step) {
        assert_eq!(decode(bytes, &[cut], block_max), whole, "cut at {cut}");
        let second = cut + (bytes.len() - cut) / 2;
        assert_eq!(decode(bytes, &[cut, second], block_max), whole, "cut at {cut} and {second}");
    }
    let all: Vec<usize> = (0..bytes.len()).collect();
    assert_eq!(decode(bytes, &all, block_max), whole, "byte by byte");
    (whole.0, whole.1)
}

/// The only thing that they say.
#[track_caller]
fn one(bytes: &[u8]) -> Said {
    let (mut said, result) = said(bytes);
    assert_eq!((said.len(), result), (1, Ok(())), "{said:?}");
    said.remove(0)
}

/// How they are wrong.
#[track_caller]
fn wrong(bytes: &[u8]) -> Error {
    let (said, result) = said(bytes);
    match (result, said.last()) {
        (Err(error), _) => error,
        (Ok(()), Some(Said::Event(Event::Wrong(error)))) => *error,
        _ => panic!("{said:?}"),
    }
}

fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    super::frame::settings(&mut out, values);
    out
}

/// A whole header block in one HEADERS frame.
fn headers(payload: &[u8]) -> Vec<u8> {
    block(kind::HEADERS, flag::END_HEADERS, payload)
}
