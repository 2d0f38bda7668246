//! The downstream's side of one exchange: its connection, and the request's body on it.

use super::Fault;
use super::mirror::MirrorBody;
use super::replay::Replay;
use crate::codec::h1::{BodyDecoder, BodyError};
use crate::http::{BodyKind, Exchange};
use crate::net::ByteStream;
use crate::ring::Buf;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::task::Poll;

#[derive(Debug)]
pub enum DownstreamBody {
    Data(Buf),
    /// The body ended; the trailers' lines, where they were asked for and came.
    End(Option<Vec<u8>>),
}

/// What `Downstream::poll_collect` has read.
#[derive(Clone, Copy, Debug)]
pub struct Collected {
    pub bytes: u64,
    pub is_whole: bool,
    pub has_trailers: bool,
}

/// Reads the body of one request.
pub struct Downstream<'a> {
    pub stream: &'a ByteStream,
    decoder: BodyDecoder,
    /// Bytes of body so far, and how many there may be.
    received: u64,
    limit: u64,
    /// The same with its framing.
    wire: u64,
    /// The end was handed out.
    done: bool,
    /// Read ahead of time, to be handed out before anything else: whole pieces, and the one that is being put together.
    held: VecDeque<Buf>,
    gathered: Vec<u8>,
    /// The body's end was read ahead of time, too.
    held_end: Option<Option<Vec<u8>>>,
    /// What went to an upstream, in case it has to go again.
    pub replay: Replay,
    /// Where copies of it go.
    pub mirrors: SmallVec<[MirrorBody; 1]>,
}

impl<'a> Downstream<'a> {
    /// `rest`, what came behind the head, must have been put back to the stream.
    pub fn new(stream: &'a ByteStream, decoder: BodyDecoder, limit: Option<u64>) -> Self {
        let done = decoder.is_done();
        Self {
            stream,
            decoder,
            received: 0,
            wire: 0,
            limit: limit.unwrap_or(u64::MAX),
            done,
            held: VecDeque::new(),
            gathered: Vec::new(),
            held_end: None,
            replay: Replay::default(),
            mirrors: SmallVec::new(),
        }
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

    /// Tell the exchange what has come.
    pub fn note(&self, exchange: &mut Exchange) {
        exchange.received = self.received;
        exchange.wire.downstream_received = u64::from(exchange.request.len) + self.wire;
    }

    /// The next piece of the body, never empty, or its end; not to be called after the end.
    ///
    /// # Errors
    /// The request is void and the connection must be closed.
    pub fn poll_body(&mut self) -> Poll<Result<DownstreamBody, Fault>> {
        if let Some(buf) = self.held.pop_front() {
            return Poll::Ready(Ok(DownstreamBody::Data(buf)));
        }
        if let Some(trailers) = self.held_end.take() {
            self.done = true;
            return Poll::Ready(Ok(DownstreamBody::End(trailers)));
        }
        self.poll_receive()
    }

    /// Read the body ahead of time, to its end or to more than `limit` bytes; `poll_body` hands it out afterwards.
    /// Gives the bytes that are held, and whether that is all. Not to be called after the end.
    ///
    /// # Errors
    /// The request is void and the connection must be closed.
    pub fn poll_collect(&mut self, limit: u64) -> Poll<Result<Collected, Fault>> {
        while self.held_end.is_none() {
            match self.poll_receive() {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Ready(Ok(DownstreamBody::Data(buf))) => self.hold(&buf),
                Poll::Ready(Ok(DownstreamBody::End(trailers))) => {
                    self.done = false;
                    self.held_end = Some(trailers);
                }
            }
            if self.received > limit {
                self.close_piece();
                return Poll::Ready(Ok(Collected { bytes: self.received, is_whole: false, has_trailers: false }));
            }
        }
        self.close_piece();
        let has_trailers = matches!(&self.held_end, Some(Some(lines)) if !lines.is_empty());
        Poll::Ready(Ok(Collected { bytes: self.received, is_whole: true, has_trailers }))
    }

    /// Copied, because a body may stay for long and receive buffers are for everybody; into large pieces, because it may
    /// come byte by byte.
    fn hold(&mut self, bytes: &[u8]) {
        const PIECE: usize = 64 * 1024;
        if self.gathered.len() + bytes.len() > PIECE {
            self.close_piece();
        }
        self.gathered.extend_from_slice(bytes);
    }

    fn close_piece(&mut self) {
        if !self.gathered.is_empty() {
            self.held.push_back(Buf::from(std::mem::take(&mut self.gathered).into_boxed_slice()));
        }
    }

    fn poll_receive(&mut self) -> Poll<Result<DownstreamBody, Fault>> {
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
            self.wire += decoded.consumed as u64;
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
