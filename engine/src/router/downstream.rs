//! The downstream's side of one exchange: its connection, and the request's body on it.

use super::Fault;
use crate::codec::h1::{BodyDecoder, BodyError};
use crate::http::BodyKind;
use crate::net::ByteStream;
use crate::ring::Buf;
use std::task::Poll;

#[derive(Debug)]
pub enum DownstreamBody {
    Data(Buf),
    /// The body ended; the trailers' lines, where they were asked for and came.
    End(Option<Vec<u8>>),
}

/// Reads the body of one request.
pub struct Downstream<'a> {
    pub stream: &'a ByteStream,
    decoder: BodyDecoder,
    /// Bytes of body so far, and how many there may be.
    received: u64,
    limit: u64,
    /// The end was handed out.
    done: bool,
}

impl<'a> Downstream<'a> {
    /// `rest`, what came behind the head, must have been put back to the stream.
    pub fn new(stream: &'a ByteStream, decoder: BodyDecoder, limit: Option<u64>) -> Self {
        let done = decoder.is_done();
        Self { stream, decoder, received: 0, limit: limit.unwrap_or(u64::MAX), done }
    }

    /// Whether the request's last byte has been handed out.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether a byte of the body has come.
    pub fn is_begun(&self) -> bool {
        self.received > 0 || self.done
    }

    /// Bytes of body still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next piece of the body, never empty, or its end; not to be called after the end.
    ///
    /// # Errors
    /// The request is void and the connection must be closed.
    pub fn poll_body(&mut self) -> Poll<Result<DownstreamBody, Fault>> {
        loop {
            if self.decoder.is_done() {
                self.done = true;
                return Poll::Ready(Ok(DownstreamBody::End(self.decoder.take_trailers())));
            }
            let mut buf = match self.stream.poll_recv() {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Some(buf))) => buf,
                Poll::Ready(Ok(None)) => return Poll::Ready(Err(Fault::RequestBody(BodyError::Truncated))),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Fault::DownstreamReset)),
            };
            let decoded = match self.decoder.decode(&buf) {
                Ok(decoded) => decoded,
                Err(error) => return Poll::Ready(Err(Fault::RequestBody(error))),
            };
            self.received += decoded.data.len() as u64;
            if self.received > self.limit {
                return Poll::Ready(Err(Fault::RequestTooLarge));
            }
            let data = (!decoded.data.is_empty()).then(|| buf.slice(decoded.data.clone()));
            // What follows is the next piece or the next request.
            buf.advance(decoded.consumed);
            if !buf.is_empty() {
                self.stream.unread(buf);
            }
            if let Some(data) = data {
                return Poll::Ready(Ok(DownstreamBody::Data(data)));
            }
        }
    }
}

/// Whether a body of this kind is certain to exceed the limit.
pub fn is_too_large(kind: BodyKind, limit: Option<u64>) -> bool {
    matches!((kind, limit), (BodyKind::Length(length), Some(limit)) if length > limit)
}
