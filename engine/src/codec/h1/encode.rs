//! Writing heads and chunk framing. Everything appends, and allocates only where the capacity does not suffice.
//!
//! The callers pass parts that a codec or the configuration has validated. Debug builds check that again, since a CR
//! or LF let through here is a response splitting hole.

use crate::http::{grammar, reason};

/// The end of a chunked message without trailers, when the last chunk's data were followed by CRLF.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The same where the CRLF that ends the last chunk's data is still to be written.
pub const LAST_CHUNK_AFTER_DATA: &[u8] = b"\r\n0\r\n\r\n";

/// The end of a chunk's data.
pub const CRLF: &[u8] = b"\r\n";

/// `method SP target SP HTTP/1.1 CRLF` (RFC 9112 section 3); the target comes in pieces, as after a rewrite.
#[inline]
pub fn request_line(out: &mut Vec<u8>, method: &[u8], target: &[&[u8]]) {
    debug_assert!(grammar::is_token(method));
    debug_assert!(target.iter().any(|piece| !piece.is_empty()));
    debug_assert!(target.iter().all(|piece| piece.iter().all(u8::is_ascii_graphic)));
    let target_len: usize = target.iter().map(|piece| piece.len()).sum();
    out.reserve(method.len() + target_len + " HTTP/1.1\r\n".len() + 1);
    out.extend_from_slice(method);
    out.push(b' ');
    for piece in target {
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 SP status SP reason CRLF` (RFC 9112 section 4). `status` has three digits.
#[inline]
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    debug_assert!((100..1000).contains(&status) && grammar::is_value(reason));
    if status == 200 && reason == b"OK" {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    let digit = |place: u16| b'0' + (status / place % 10) as u8;
    let start = [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', digit(100), digit(10), digit(1), b' '];
    out.reserve(start.len() + reason.len() + CRLF.len());
    out.extend_from_slice(&start);
    out.extend_from_slice(reason);
    out.extend_from_slice(CRLF);
}

/// [`status_line`] with the registered reason, or an empty one.
#[inline]
pub fn status(out: &mut Vec<u8>, status: u16) {
    status_line(out, status, reason(status).as_bytes());
}

/// `name: value CRLF` (RFC 9112 section 5). Nearly all names are constants, which need no call to be copied.
#[inline(always)]
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(grammar::is_token(name) && grammar::is_value(value));
    out.reserve(name.len() + value.len() + ": \r\n".len());
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(CRLF);
}

/// `name: value CRLF` with a number, in decimal.
#[inline]
pub fn field_u64(out: &mut Vec<u8>, name: &[u8], value: u64) {
    field(out, name, itoa::Buffer::new().format(value).as_bytes());
}

/// The empty line that ends a head.
#[inline]
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(CRLF);
}

/// The last chunk, behind which trailers follow and then `end`. `after_data`: the CRLF that ends the last chunk's data is
/// still to be written.
pub fn trailers_begin(out: &mut Vec<u8>, after_data: bool) {
    if after_data {
        out.extend_from_slice(CRLF);
    }
    out.extend_from_slice(b"0\r\n");
}

/// The last chunk with trailers: `lines` are whole `name: value CRLF` lines, as `BodyDecoder::take_trailers` gives
/// them. `after_data`: the CRLF that ends the last chunk's data is still to be written.
pub fn last_chunk(out: &mut Vec<u8>, lines: &[u8], after_data: bool) {
    debug_assert!(lines.is_empty() || lines.ends_with(CRLF));
    out.reserve(lines.len() + LAST_CHUNK_AFTER_DATA.len());
    if after_data {
        out.extend_from_slice(CRLF);
    }
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(lines);
    out.extend_from_slice(CRLF);
}

/// The line before a chunk's data, as a value that a list of slices can point to.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHeader {
    /// Written from the end: the CRLF of the chunk before, up to 16 digits, CRLF.
    bytes: [u8; ChunkHeader::LEN_MAX],
    start: u8,
}

impl ChunkHeader {
    /// Bytes of the longest.
    pub const LEN_MAX: usize = 20;

    /// `size CRLF`, for the first chunk. `size` is not 0: that would be the last chunk.
    #[inline]
    pub fn new(size: u64) -> ChunkHeader {
        debug_assert!(size > 0);
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = [0; ChunkHeader::LEN_MAX];
        bytes[ChunkHeader::LEN_MAX - 2..].copy_from_slice(CRLF);
        let mut start = ChunkHeader::LEN_MAX - 2;
        let mut rest = size;
        loop {
            start -= 1;
            bytes[start] = DIGITS[(rest & 15) as usize];
            rest >>= 4;
            if rest == 0 {
                break;
            }
        }
        ChunkHeader { bytes, start: start as u8 }
    }

    /// `CRLF size CRLF`: ends the data of the chunk before, too.
    #[inline]
    pub fn after_data(size: u64) -> ChunkHeader {
        let mut header = ChunkHeader::new(size);
        let start = header.start as usize - 2;
        header.bytes[start..start + 2].copy_from_slice(CRLF);
        header.start = start as u8;
        header
    }

    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start as usize..]
    }
}

impl AsRef<[u8]> for ChunkHeader {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}
