//! Frames as these tests write and read them: any bytes can be written, and what the proxy writes has to be right.

use ringway::codec::h1::Limits;
use ringway::codec::h2::hpack::{Budget, Decoder};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const INTERNAL_ERROR: u32 = 2;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 11;
pub const HTTP_1_1_REQUIRED: u32 = 13;

/// Settings by their ids.
pub const TABLE_SIZE: u16 = 1;
pub const STREAMS_MAX: u16 = 3;
pub const INITIAL_WINDOW: u16 = 4;

pub type Fields = Vec<(String, String)>;

/// Any frame.
pub fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload of a test is short").to_be_bytes();
    [&length[1..], &[kind, flags], &id.to_be_bytes(), payload].concat()
}

pub fn data(id: u32, ends: bool, payload: &[u8]) -> Vec<u8> {
    frame(DATA, u8::from(ends), id, payload)
}

/// DATA with this many bytes of padding.
pub fn padded(id: u32, ends: bool, payload: &[u8], padding: u8) -> Vec<u8> {
    let payload = [&[padding], payload, &vec![0xee; padding.into()]].concat();
    frame(DATA, PADDED | u8::from(ends), id, &payload)
}

pub fn headers(id: u32, ends: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | u8::from(ends), id, &block(fields))
}

/// A request's head with these fields besides those that it must have.
pub fn request(id: u32, ends: bool, method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let begin = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "h")];
    headers(id, ends, &[&begin, fields].concat())
}

pub fn get(id: u32, path: &str) -> Vec<u8> {
    request(id, true, "GET", path, &[])
}

pub fn post(id: u32, path: &str) -> Vec<u8> {
    request(id, false, "POST", path, &[])
}

pub fn response(id: u32, ends: bool, status: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    headers(id, ends, &[&[(":status", status)], fields].concat())
}

pub fn reset(id: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, id, &code.to_be_bytes())
}

pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = pairs.iter().flat_map(|(id, value)| setting(*id, *value)).collect();
    frame(SETTINGS, 0, 0, &payload)
}

fn setting(id: u16, value: u32) -> [u8; 6] {
    let ([a, b], [c, d, e, f]) = (id.to_be_bytes(), value.to_be_bytes());
    [a, b, c, d, e, f]
}

pub fn ping(data: [u8; 8]) -> Vec<u8> {
    frame(PING, 0, 0, &data)
}

/// The answer to a PING.
pub fn pong(data: [u8; 8]) -> Vec<u8> {
    frame(PING, ACK, 0, &data)
}

pub fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// `id` 0: for the connection.
pub fn credit(id: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, id, &increment.to_be_bytes())
}

/// A header block of literals that no table keeps.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            string(&mut out, text.as_bytes());
        }
    }
    out
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    match text.len().checked_sub(127) {
        None => out.push(text.len() as u8),
        Some(mut rest) => {
            out.push(127);
            while rest >= 128 {
                out.push(rest as u8 | 128);
                rest >>= 7;
            }
            out.push(rest as u8);
        }
    }
    out.extend_from_slice(text);
}

/// What the proxy writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Headers { id: u32, ends: bool, fields: Fields },
    Data { id: u32, ends: bool, bytes: Vec<u8> },
    Reset { id: u32, code: u32 },
    Settings(Vec<(u16, u32)>),
    SettingsAck,
    Ping([u8; 8]),
    PingAck([u8; 8]),
    GoAway { last: u32, code: u32 },
    Credit { id: u32, increment: u32 },
}

/// Takes the frame at the front of `bytes` out, if it is whole. Nothing that the proxy sends may need a table of HPACK.
pub fn take(bytes: &mut Vec<u8>, hpack: &mut Decoder) -> Option<Frame> {
    let mut used = 0;
    let (kind, flags, id, mut payload) = part(bytes, &mut used)?;
    let mut more = kind == HEADERS && flags & END_HEADERS == 0;
    while more {
        let (kind, flags, other, rest) = part(bytes, &mut used)?;
        assert!(kind == CONTINUATION && other == id, "CONTINUATION follows");
        payload.extend(rest);
        more = flags & END_HEADERS == 0;
    }
    bytes.drain(..used);
    Some(meaning(kind, flags, id, payload, hpack))
}

fn part(bytes: &[u8], used: &mut usize) -> Option<(u8, u8, u32, Vec<u8>)> {
    let rest = &bytes[*used..];
    let header = rest.get(..9)?;
    let length = number(&header[..3]) as usize;
    assert!(length <= 16_384, "a frame of {length} bytes");
    let payload = rest.get(9..9 + length)?.to_vec();
    *used += 9 + length;
    Some((header[3], header[4], number(&header[5..9]), payload))
}

fn meaning(kind: u8, flags: u8, id: u32, payload: Vec<u8>, hpack: &mut Decoder) -> Frame {
    let (ends, is_ack) = (flags & END_STREAM != 0, flags & ACK != 0);
    assert_eq!(id == 0, matches!(kind, SETTINGS | PING | GOAWAY) || kind == WINDOW_UPDATE && id == 0, "kind {kind}");
    let eight = || payload[..8].try_into().expect("eight bytes");
    match kind {
        DATA => {
            assert!(flags & !END_STREAM == 0 && (ends || !payload.is_empty()), "DATA has a sense");
            Frame::Data { id, ends, bytes: payload }
        }
        HEADERS => Frame::Headers { id, ends, fields: fields(&payload, hpack) },
        RST_STREAM => Frame::Reset { id, code: number(&payload) },
        SETTINGS if is_ack => Frame::SettingsAck,
        SETTINGS => {
            let pairs = payload.chunks(6).map(|pair| (number(&pair[..2]) as u16, number(&pair[2..])));
            Frame::Settings(pairs.collect())
        }
        PING if is_ack => Frame::PingAck(eight()),
        PING => Frame::Ping(eight()),
        GOAWAY => Frame::GoAway { last: number(&payload[..4]), code: number(&payload[4..8]) },
        WINDOW_UPDATE => Frame::Credit { id, increment: number(&payload) },
        _ => panic!("a frame of kind {kind}"),
    }
}

fn fields(block: &[u8], hpack: &mut Decoder) -> Fields {
    let (mut fields, mut arena) = (Vec::new(), Vec::new());
    let mut budget = Budget::new(1 << 20, Limits::FIELDS_MAX);
    let decoded = hpack.decode(block, &mut arena, &mut budget, |field, arena| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a text of the tests is UTF-8");
        fields.push((text(field.name.of(arena)), text(field.value.of(arena))));
        assert!(field.is_valid, "{fields:?}");
    });
    assert_eq!(decoded, Ok(()));
    fields
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
