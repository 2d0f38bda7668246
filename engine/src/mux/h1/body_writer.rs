//! Writing a body with the framing that its head announced.

use crate::codec::h1::encode::{ChunkHeader, LAST_CHUNK, LAST_CHUNK_AFTER_DATA, field, trailers_begin};
use crate::http::Trailers;
use crate::net::{ByteStream, Outbox};
use crate::ring::{Buf, Reactor};

#[derive(Debug, Default)]
pub(super) struct BodyWriter {
    pub chunked: bool,
    keeps_trailers: bool,
    /// A chunk has been written.
    begun: bool,
}

impl BodyWriter {
    pub fn new(chunked: bool, keeps_trailers: bool) -> Self {
        Self { chunked, keeps_trailers, begun: false }
    }

    /// Gives the memory that the piece takes.
    #[inline]
    pub fn data(&mut self, out: &mut Outbox, buf: Buf, stream: &ByteStream, reactor: &Reactor) -> usize {
        let framing = if self.chunked { self.chunk(out.bytes(reactor), buf.len()) } else { 0 };
        framing + out.body(buf, stream, reactor)
    }

    pub fn bytes(&mut self, out: &mut Outbox, bytes: &[u8], stream: &ByteStream, reactor: &Reactor) {
        if self.chunked {
            self.chunk(out.bytes(reactor), bytes.len());
        }
        out.copy(bytes, stream, reactor);
    }

    pub fn end(&mut self, out: &mut Outbox, trailers: &Trailers, reactor: &Reactor) {
        if !self.chunked {
            return;
        }
        let out = out.bytes(reactor);
        if !trailers.follow_body() || !self.keeps_trailers {
            return out.extend_from_slice(if self.begun { LAST_CHUNK_AFTER_DATA } else { LAST_CHUNK });
        }
        trailers_begin(out, self.begun);
        trailers.iter().for_each(|(name, value)| field(out, name, value));
        crate::codec::h1::encode::end(out);
    }

    /// Gives the bytes written.
    fn chunk(&mut self, out: &mut Vec<u8>, len: usize) -> usize {
        let size = len as u64;
        let header = if self.begun { ChunkHeader::after_data(size) } else { ChunkHeader::new(size) };
        out.extend_from_slice(header.as_slice());
        self.begun = true;
        header.as_slice().len()
    }
}
