//! Frames on their way out, and what all frames have (RFC 9113 sections 4 and 6).

use super::error::Code;

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes before each payload.
pub const HEADER: usize = 9;

/// Bytes of payload that are received at most, and that may be sent before the peer says more (SETTINGS_MAX_FRAME_SIZE).
pub const FRAME_MAX: usize = 16_384;

/// The largest window, and the largest stream (RFC 9113 sections 6.9.1 and 5.1.1).
pub const WINDOW_MAX: i64 = (1 << 31) - 1;
pub const STREAM_MAX: u32 = (1 << 31) - 1;

/// The windows of a new connection (RFC 9113 section 6.9.2).
pub const INITIAL_WINDOW: u32 = 65_535;

pub mod kind {
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
}

pub mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
}

/// Settings by their ids (RFC 9113 section 6.5.2, RFC 9218 section 2.1).
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub const NO_RFC7540_PRIORITIES: u16 = 9;
}

/// The header of a frame with `len` bytes of payload.
#[inline]
pub(super) fn header(len: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEADER] {
    let ([_, a, b, c], [d, e, f, g]) = ((len as u32).to_be_bytes(), stream.to_be_bytes());
    [a, b, c, kind, flags, d, e, f, g]
}

/// The header of a DATA frame.
#[inline]
pub fn data_header(len: usize, stream: u32, ends: bool) -> [u8; HEADER] {
    header(len, kind::DATA, if ends { flag::END_STREAM } else { 0 }, stream)
}

/// Append a header block that `write` appends, in as many frames as it takes of at most `frame_max` bytes. Returns the bytes
/// of all.
pub fn headers(
    out: &mut Vec<u8>,
    stream: u32,
    ends: bool,
    frame_max: usize,
    write: impl FnOnce(&mut Vec<u8>),
) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    write(out);
    let block = out.len() - start - HEADER;
    let ends = if ends { flag::END_STREAM } else { 0 };
    if block <= frame_max {
        out[start..start + HEADER].copy_from_slice(&header(block, kind::HEADERS, ends | flag::END_HEADERS, stream));
        return block + HEADER;
    }
    // Each further frame's header moves what is behind it: such heads are rare.
    out[start..start + HEADER].copy_from_slice(&header(frame_max, kind::HEADERS, ends, stream));
    let (mut at, mut left) = (start + HEADER + frame_max, block - frame_max);
    while left > 0 {
        let now = left.min(frame_max);
        let flags = if now == left { flag::END_HEADERS } else { 0 };
        out.splice(at..at, header(now, kind::CONTINUATION, flags, stream));
        at += HEADER + now;
        left -= now;
    }
    out.len() - start
}

pub fn rst_stream(out: &mut Vec<u8>, stream: u32, code: Code) {
    out.extend_from_slice(&header(4, kind::RST_STREAM, 0, stream));
    out.extend_from_slice(&code.0.to_be_bytes());
}

pub fn settings(out: &mut Vec<u8>, values: &[(u16, u32)]) {
    out.extend_from_slice(&header(values.len() * 6, kind::SETTINGS, 0, 0));
    for (id, value) in values {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub fn settings_ack(out: &mut Vec<u8>) {
    out.extend_from_slice(&header(0, kind::SETTINGS, flag::ACK, 0));
}

pub fn ping(out: &mut Vec<u8>, is_ack: bool, data: [u8; 8]) {
    out.extend_from_slice(&header(8, kind::PING, if is_ack { flag::ACK } else { 0 }, 0));
    out.extend_from_slice(&data);
}

/// `debug`: additional data for people.
pub fn goaway(out: &mut Vec<u8>, last: u32, code: Code, debug: &[u8]) {
    out.extend_from_slice(&header(8 + debug.len(), kind::GOAWAY, 0, 0));
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(debug);
}

/// `stream` 0: for the connection.
pub fn window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    out.extend_from_slice(&header(4, kind::WINDOW_UPDATE, 0, stream));
    out.extend_from_slice(&increment.to_be_bytes());
}
