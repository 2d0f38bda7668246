//! HTTP/2 as its peers in tests write and read it: strict, slow, and but for the decoding of header blocks independent of the
//! engine's codec. What one frame of the wire means may be two things here, such as a body's last bytes and its end.

use ringway::codec::h1::Limits;
use ringway::codec::h2::hpack::{Budget, Decoder};

pub const HEAD: u8 = 1;
pub const DATA: u8 = 2;
/// The message has ended; its trailers are in the fields.
pub const END: u8 = 3;
pub const RESET: u8 = 4;
pub const REFUSED: u8 = 5;
pub const GOAWAY: u8 = 6;
pub const CREDIT: u8 = 7;
/// What is to be answered with these bytes.
pub const ANSWER: u8 = 8;

/// Bytes of DATA that a receiver takes without having given credit, and bytes in one DATA frame.
pub const WINDOW: usize = 64 * 1024;
pub const DATA_MAX: usize = 16 * 1024;

/// The last stream that there can be.
pub const LAST: u32 = (1 << 31) - 1;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub type Fields = Vec<(String, String)>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub id: u32,
    pub payload: Vec<u8>,
    pub head: Head,
}

/// The id of the stream that a client opens after `last`; 0: its first.
pub fn next_id(last: u32) -> u32 {
    if last == 0 { 1 } else { last + 2 }
}

fn raw(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload of a test is short").to_be_bytes();
    [&length[1..], &[kind, flags], &id.to_be_bytes(), payload].concat()
}

/// What an end says first: windows of `WINDOW` bytes for each stream, and a boundless one for all.
pub fn begin(is_client: bool) -> Vec<u8> {
    let settings = [&4u16.to_be_bytes()[..], &(WINDOW as u32).to_be_bytes()].concat();
    let all = (LAST - 65_535).to_be_bytes();
    let preface = if is_client { PREFACE } else { b"" };
    [preface, &raw(4, 0, 0, &settings), &raw(8, 0, 0, &all)].concat()
}

pub fn data(id: u32, payload: &[u8]) -> Vec<u8> {
    raw(0, 0, id, payload)
}

/// The end of a message with a body.
pub fn end(id: u32, trailers: &Fields) -> Vec<u8> {
    match trailers.is_empty() {
        true => raw(0, 1, id, b""),
        false => raw(1, 1 | 4, id, &block(trailers)),
    }
}

pub fn reset(id: u32, code: u32) -> Vec<u8> {
    raw(3, 0, id, &code.to_be_bytes())
}

pub fn refuse(id: u32) -> Vec<u8> {
    reset(id, 7)
}

pub fn go_away(last: u32) -> Vec<u8> {
    raw(7, 0, 0, &[&last.to_be_bytes()[..], &[0; 4]].concat())
}

pub fn credit(id: u32, bytes: usize) -> Vec<u8> {
    raw(8, 0, id, &(bytes as u32).to_be_bytes())
}

/// What stands at the front of `bytes`, if it is whole; it is taken out.
pub fn take(bytes: &mut Vec<u8>) -> Option<Vec<Frame>> {
    if bytes.starts_with(&PREFACE[..bytes.len().min(4)]) && bytes.len() >= 4 {
        if bytes.len() < PREFACE.len() {
            return None;
        }
        assert_eq!(&bytes[..PREFACE.len()], PREFACE);
        bytes.drain(..PREFACE.len());
    }
    let mut used = 0;
    let (kind, flags, id, mut payload) = part(bytes, &mut used)?;
    let mut is_whole = kind != 1 || flags & 4 != 0;
    while !is_whole {
        let (kind, more, other, rest) = part(bytes, &mut used)?;
        assert!(kind == 9 && other == id, "CONTINUATION follows");
        payload.extend(rest);
        is_whole = more & 4 != 0;
    }
    bytes.drain(..used);
    Some(meaning(kind, flags, id, payload))
}

fn part(bytes: &[u8], used: &mut usize) -> Option<(u8, u8, u32, Vec<u8>)> {
    let rest = &bytes[*used..];
    let header = rest.get(..9)?;
    let length = header[..3].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    assert!(length <= DATA_MAX, "a frame of {length} bytes");
    let payload = rest.get(9..9 + length)?.to_vec();
    *used += 9 + length;
    Some((header[3], header[4], value(&header[5..9]), payload))
}

fn meaning(kind: u8, flags: u8, id: u32, payload: Vec<u8>) -> Vec<Frame> {
    let frame = |kind, payload| Frame { kind, id, payload, ..Frame::default() };
    let ends = flags & 1 != 0;
    match kind {
        0 => {
            assert!(flags & !1 == 0, "flags {flags} of DATA");
            assert!(ends || !payload.is_empty(), "DATA of nothing that is not the end");
            let data = (!payload.is_empty()).then(|| frame(DATA, payload));
            data.into_iter().chain(ends.then(|| frame(END, Vec::new()))).collect()
        }
        1 => {
            assert!(flags & !5 == 0, "flags {flags} of HEADERS");
            let head = Head::read(&payload, ends);
            let is_head = !head.method.is_empty() || head.status != 0;
            assert!(is_head || ends, "trailers end their message");
            vec![Frame { kind: if is_head { HEAD } else { END }, id, payload: Vec::new(), head }]
        }
        3 if value(&payload) == 7 => vec![frame(REFUSED, payload)],
        3 => vec![frame(RESET, payload)],
        4 if ends => vec![],
        4 => vec![frame(ANSWER, raw(4, 1, 0, b""))],
        6 if ends => vec![],
        6 => vec![frame(ANSWER, raw(6, 1, 0, &payload))],
        7 => vec![Frame { id: value(&payload[..4]), kind: GOAWAY, payload, ..Frame::default() }],
        // That of the whole connection was boundless from its first frames on.
        8 if id == 0 => vec![],
        8 => vec![frame(CREDIT, payload)],
        _ => panic!("a frame of kind {kind}"),
    }
}

pub fn value(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload.try_into().expect("four bytes"))
}

/// A request's or a response's head, or only fields. `ends`: nothing follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub ends: bool,
    pub method: String,
    pub target: String,
    pub authority: String,
    /// Empty stands for `http`.
    pub scheme: String,
    pub status: u16,
    pub fields: Fields,
}

impl Head {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }

    /// As a frame. A 1xx ends nothing.
    pub fn frame(&self, id: u32) -> Vec<u8> {
        let pairs = match self.status {
            0 => vec![(":method", &self.method), (":path", &self.target), (":authority", &self.authority)],
            _ => vec![],
        };
        let mut all: Fields = pairs.into_iter().map(|(name, value)| (name.into(), value.clone())).collect();
        match self.status {
            0 if self.scheme.is_empty() => all.push((":scheme".into(), "http".into())),
            0 => all.push((":scheme".into(), self.scheme.clone())),
            status => all.push((":status".into(), status.to_string())),
        }
        all.extend(self.fields.iter().cloned());
        let ends = self.ends && !(100..200).contains(&self.status);
        raw(1, 4 | u8::from(ends), id, &block(&all))
    }

    fn read(block: &[u8], ends: bool) -> Self {
        let mut head = Self { ends, ..Self::default() };
        let mut arena = Vec::new();
        let mut budget = Budget::new(1 << 20, Limits::FIELDS_MAX);
        // Nothing that the engine sends stands in a table.
        let decoded = Decoder::new(0).decode(block, &mut arena, &mut budget, |field, arena| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a text of the tests is UTF-8");
            let (name, value) = (text(field.name.of(arena)), text(field.value.of(arena)));
            assert!(field.is_valid, "{name}: {value}");
            match name.as_str() {
                ":method" => head.method = value,
                ":path" => head.target = value,
                ":authority" => head.authority = value,
                ":status" => head.status = value.parse().expect("a status"),
                ":scheme" if value == "http" => {}
                ":scheme" => head.scheme = value,
                _ => {
                    let is_hop_by_hop = ["connection", "keep-alive", "transfer-encoding", "upgrade", "host"];
                    assert!(name != "te" || value == "trailers", "te: {value}");
                    assert!(!is_hop_by_hop.contains(&name.as_str()), "{name} is no field of this wire");
                    head.fields.push((name, value));
                }
            }
        });
        assert_eq!(decoded, Ok(()));
        head
    }
}

/// A header block of literals.
fn block(fields: &Fields) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            match u8::try_from(text.len()).ok().filter(|len| *len < 127) {
                Some(len) => out.push(len),
                None => {
                    let mut rest = text.len() - 127;
                    out.push(127);
                    while rest >= 128 {
                        out.push(rest as u8 | 128);
                        rest >>= 7;
                    }
                    out.push(rest as u8);
                }
            }
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}
