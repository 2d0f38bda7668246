//! What is received: content, whose credit goes back, and header blocks, which may come in pieces.
use super::frame::{self, Frame, flag, kind};
use super::hpack::Decoder;
use crate::http::Malformed;

/// Content bytes that are received before the connection's window is opened again.
const RETURN_CREDIT: u32 = 1 << 29;

/// A connection's receiving side.
#[derive(Debug, Default)]
pub struct Receiver {
    decoder: Decoder,
    /// A header block that CONTINUATION goes on with, its stream, and whether it ends that.
    block: Vec<u8>,
    block_of: Option<(u32, bool)>,
    unreturned: u32,
}

impl Receiver {
    /// The content of a DATA frame. What it took of the connection's window is given back in time.
    pub fn data<'b>(&mut self, frame: &Frame<'b>, out: &mut Vec<u8>) -> Result<&'b [u8], Malformed> {
        self.unreturned += frame.payload.len() as u32;
        if self.unreturned >= RETURN_CREDIT {
            frame::window_update(out, 0, std::mem::take(&mut self.unreturned));
        }
        frame.content()
    }

    /// Takes HEADERS or CONTINUATION. With the last frame of a block, `on_field` is given each name and value in turn, and
    /// the block's stream comes back with whether it ends there.
    pub fn headers(
        &mut self,
        frame: &Frame<'_>,
        on_field: impl FnMut(&[u8], &[u8]),
    ) -> Result<Option<(u32, bool)>, Malformed> {
        let is_first = frame.kind == kind::HEADERS;
        let (id, ends) = match self.block_of.take() {
            None if is_first => (frame.stream, frame.has(flag::END_STREAM)),
            Some((id, ends)) if !is_first && id == frame.stream => (id, ends),
            _ => return Err(Malformed("HEADERS or CONTINUATION out of place")),
        };
        let content = if is_first { frame.content()? } else { frame.payload };
        if !frame.has(flag::END_HEADERS) || !is_first {
            self.block.extend_from_slice(content);
        }
        if !frame.has(flag::END_HEADERS) {
            self.block_of = Some((id, ends));
            return Ok(None);
        }
        self.decoder.decode(if is_first { content } else { &self.block }, on_field)?;
        self.block.clear();
        Ok(Some((id, ends)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::hpack::Blocks;
    use super::*;

    #[test]
    fn a_block_is_read_at_its_end() {
        let block = Blocks::new(&[("a", "b"), ("c", "d")]).alone;
        let (mut receiver, mut fields) = (Receiver::default(), Vec::new());
        let mut read = |frame: Frame<'_>| {
            receiver.headers(&frame, |name, value| fields.push([name, value].concat())).map(|end| (end, fields.len()))
        };
        let frame = |kind, flags, stream, payload| Frame { kind, flags, stream, payload };
        let whole = frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block[..]);
        assert_eq!(read(whole), Ok((Some((1, true)), 2)));
        assert_eq!(read(frame(kind::HEADERS, 0, 3, &block[..3])), Ok((None, 2)));
        assert_eq!(read(frame(kind::CONTINUATION, 0, 3, &block[3..4])), Ok((None, 2)));
        assert_eq!(read(frame(kind::CONTINUATION, flag::END_HEADERS, 3, &block[4..])), Ok((Some((3, false)), 4)));
        assert!(read(frame(kind::CONTINUATION, flag::END_HEADERS, 3, &block[..])).is_err(), "none is begun");
        assert_eq!(read(frame(kind::HEADERS, 0, 5, &block[..3])), Ok((None, 4)));
        assert!(read(frame(kind::CONTINUATION, flag::END_HEADERS, 7, &block[3..])).is_err(), "of another stream");
    }

    #[test]
    fn credit_goes_back_before_the_window_is_used_up() {
        let (mut receiver, mut out) = (Receiver { unreturned: RETURN_CREDIT - 3, ..Receiver::default() }, Vec::new());
        let frame = Frame { kind: kind::DATA, flags: flag::PADDED, stream: 1, payload: &[1, b'a', 0] };
        assert_eq!((receiver.data(&frame, &mut out), out.len()), (Ok(&b"a"[..]), frame::HEADER + 4));
        assert_eq!(
            (out[3], out[frame::HEADER..].to_vec()),
            (kind::WINDOW_UPDATE, RETURN_CREDIT.to_be_bytes().to_vec())
        );
        assert_eq!((receiver.data(&frame, &mut out), out.len()), (Ok(&b"a"[..]), frame::HEADER + 4));
    }
}
