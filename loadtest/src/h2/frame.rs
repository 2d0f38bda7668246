//! Frames: nine bytes of head, then the payload (RFC 9113 section 4.1).
use crate::http::Malformed;

/// What a client sends first.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const HEADER: usize = 9;
/// The longest payload that both sides may send while neither has announced another; the load test announces none.
pub const PAYLOAD_MAX: usize = 16_384;
/// A connection's and a stream's window before anything is announced.
pub const INITIAL_WINDOW: i64 = 65_535;
/// The largest window there is, which the load test opens towards the other side: its own reading never holds up.
pub const WINDOW_MAX: u32 = (1 << 31) - 1;

pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub mod flag {
    /// On SETTINGS and PING.
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
}

pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
}

/// One frame as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: &'b [u8],
}

impl<'b> Frame<'b> {
    fn parse(bytes: &'b [u8]) -> Frame<'b> {
        let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]) & (u32::MAX >> 1);
        Frame { kind: bytes[3], flags: bytes[4], stream, payload: &bytes[HEADER..] }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of DATA and HEADERS without padding and priority (sections 6.1 and 6.2).
    pub fn content(&self) -> Result<&'b [u8], Malformed> {
        let mut content = self.payload;
        let mut padding = 0;
        if self.has(flag::PADDED) {
            let (&len, rest) = content.split_first().ok_or(Malformed("a padded frame without the length of it"))?;
            (padding, content) = (usize::from(len), rest);
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            content = content.get(5..).ok_or(Malformed("HEADERS that end within their priority"))?;
        }
        let len = content.len().checked_sub(padding).ok_or(Malformed("more padding than payload"))?;
        Ok(&content[..len])
    }

    /// The pairs of a SETTINGS frame.
    pub fn settings(&self) -> Result<impl Iterator<Item = (u16, u32)> + use<'b>, Malformed> {
        if !self.payload.len().is_multiple_of(6) || self.stream != 0 {
            return Err(Malformed("SETTINGS of a length or a stream that cannot be"));
        }
        let pair = |c: &[u8]| (u16::from_be_bytes([c[0], c[1]]), u32::from_be_bytes([c[2], c[3], c[4], c[5]]));
        Ok(self.payload.chunks_exact(6).map(pair))
    }

    /// The number in the first four bytes: an increment, an error code, the last stream of a GOAWAY.
    pub fn number(&self) -> Result<u32, Malformed> {
        let bytes = self.payload.first_chunk().ok_or(Malformed("a frame that is too short for its number"))?;
        Ok(u32::from_be_bytes(*bytes) & (u32::MAX >> 1))
    }
}

/// Finds frames in what is received, however it is split.
#[derive(Debug, Default)]
pub struct FrameReader {
    partial: Vec<u8>,
    /// The frame in `partial` was given out.
    is_done: bool,
}

impl FrameReader {
    /// The next whole frame; `None` when the input is used up before its end.
    pub fn next<'b, 'i: 'b>(&'b mut self, input: &mut &'i [u8]) -> Result<Option<Frame<'b>>, Malformed> {
        if self.is_done {
            self.partial.clear();
            self.is_done = false;
        }
        if self.partial.is_empty() {
            if let Some(len) = frame_len(input)?
                && input.len() >= len
            {
                let (frame, rest) = input.split_at(len);
                *input = rest;
                return Ok(Some(Frame::parse(frame)));
            }
            self.partial.extend_from_slice(input);
            *input = &[];
            return Ok(None);
        }
        while self.partial.len() < HEADER {
            let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
            self.partial.push(byte);
            *input = rest;
        }
        let len = frame_len(&self.partial)?.unwrap_or(HEADER);
        let (part, rest) = input.split_at(input.len().min(len - self.partial.len()));
        self.partial.extend_from_slice(part);
        *input = rest;
        if self.partial.len() < len {
            return Ok(None);
        }
        self.is_done = true;
        Ok(Some(Frame::parse(&self.partial)))
    }
}

fn frame_len(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(&[a, b, c]) = bytes.first_chunk() else { return Ok(None) };
    let len = u32::from_be_bytes([0, a, b, c]) as usize;
    if len > PAYLOAD_MAX {
        return Err(Malformed("a frame that is longer than was announced"));
    }
    Ok((bytes.len() >= HEADER).then_some(HEADER + len))
}

/// Writes a frame's head.
pub fn header(out: &mut Vec<u8>, len: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = (len as u32).to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// Writes HEADERS, and CONTINUATION for what does not fit one frame.
pub fn headers(out: &mut Vec<u8>, stream: u32, block: &[u8], ends_stream: bool) {
    let mut pieces = block.chunks(PAYLOAD_MAX).peekable();
    let mut kind = kind::HEADERS;
    let mut flags = if ends_stream { flag::END_STREAM } else { 0 };
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags |= flag::END_HEADERS;
        }
        header(out, piece.len(), kind, flags, stream);
        out.extend_from_slice(piece);
        (kind, flags) = (kind::CONTINUATION, 0);
    }
}

pub fn settings(out: &mut Vec<u8>, pairs: &[(u16, u32)]) {
    header(out, pairs.len() * 6, kind::SETTINGS, 0, 0);
    for (name, value) in pairs {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub fn window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    header(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// The acknowledgement of a SETTINGS or PING frame.
pub fn acknowledge(out: &mut Vec<u8>, frame: &Frame<'_>) {
    let payload = if frame.kind == kind::PING { frame.payload } else { &[] };
    header(out, payload.len(), frame.kind, flag::ACK, 0);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_however_they_are_split() {
        let mut bytes = Vec::new();
        settings(&mut bytes, &[(setting::ENABLE_PUSH, 0)]);
        headers(&mut bytes, 3, &[7; PAYLOAD_MAX + 1], true);
        window_update(&mut bytes, 0, 9);
        for step in [1, 8, 10, 4_000, bytes.len()] {
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            for mut input in bytes.chunks(step) {
                while let Some(frame) = reader.next(&mut input).unwrap() {
                    seen.push((frame.kind, frame.flags, frame.stream, frame.payload.len()));
                }
            }
            assert_eq!(
                seen,
                [
                    (kind::SETTINGS, 0, 0, 6),
                    (kind::HEADERS, flag::END_STREAM, 3, PAYLOAD_MAX),
                    (kind::CONTINUATION, flag::END_HEADERS, 3, 1),
                    (kind::WINDOW_UPDATE, 0, 0, 4),
                ],
                "{step}"
            );
        }
    }

    #[test]
    fn padding_and_priority_are_no_content() {
        let frame = |kind, flags, payload| Frame { kind, flags, stream: 1, payload };
        let padded = frame(kind::DATA, flag::PADDED, &[2, b'a', b'b', 0, 0]);
        assert_eq!(padded.content(), Ok(&b"ab"[..]));
        let both = frame(kind::HEADERS, flag::PADDED | flag::PRIORITY, &[1, 0, 0, 0, 0, 0, b'a', 0]);
        assert_eq!(both.content(), Ok(&b"a"[..]));
        assert!(frame(kind::DATA, flag::PADDED, &[5, b'a']).content().is_err());
        assert!(FrameReader::default().next(&mut &[1, 0, 0, 0, 0, 0, 0, 0, 0][..]).is_err());
    }
}
