//! One exchange on an upstream connection: reading the response off it, head and body.

use super::connection::Connection;
use crate::codec::h1::{BodyDecoder, BodyError, HeadScanner, Limits, Parse, ResponseError};
use crate::http::{BodyKind, Method, ResponseHead};
use crate::net::HeadBytes;
use crate::ring::{Buf, Reactor};
use std::io;
use std::rc::Rc;
use std::task::Poll;

/// What an upstream did wrong.
#[derive(Debug)]
pub enum UpstreamError {
    /// The connection ended (FIN) before the response did.
    Closed,
    /// The connection broke.
    Reset(io::Error),
    Head(ResponseError),
    Body(BodyError),
    /// More interim responses than anybody sends in good faith.
    TooManyInterim,
}

/// Interim (1xx) responses to one request at most.
const INTERIM_MAX: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamHead {
    /// A 1xx; ask again after it was passed on.
    Interim,
    Final,
}

#[derive(Debug)]
pub enum UpstreamBody {
    Data(Buf),
    /// The body ended; the trailers' lines, where they were asked for and came.
    End(Option<Vec<u8>>),
}

/// Reads one response.
pub struct UpstreamExchange {
    pub connection: Connection,
    scanner: HeadScanner,
    decoder: BodyDecoder,
    /// Received behind the head or behind the last data, not yet decoded.
    rest: Option<Buf>,
    interim: u8,
    /// Bytes of the response so far, interim ones and framing included.
    pub wire: u64,
    /// A byte of the response has come.
    pub started: bool,
}

impl UpstreamExchange {
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            scanner: HeadScanner::default(),
            decoder: BodyDecoder::new(BodyKind::None),
            rest: None,
            interim: 0,
            wire: 0,
            started: false,
        }
    }

    /// Read a head into `head` and `bytes`.
    ///
    /// # Errors
    /// The connection is of no use afterwards.
    pub fn poll_head(
        &mut self,
        method: Method,
        limits: &Limits,
        bytes: &mut HeadBytes,
        head: &mut ResponseHead,
        reactor: &Rc<Reactor>,
    ) -> Poll<Result<UpstreamHead, UpstreamError>> {
        loop {
            let buf = match self.rest.take() {
                Some(buf) => buf,
                None => match self.connection.stream.poll_recv() {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(received) => self.received(received)?,
                },
            };
            self.started = true;
            bytes.append(buf, reactor);
            match self.scanner.response(bytes.as_slice(), limits, method, head) {
                Ok(Parse::Partial) => {}
                Err(error) => return Poll::Ready(Err(UpstreamError::Head(error))),
                Ok(Parse::Complete) => {
                    self.wire += u64::from(head.len);
                    self.rest = bytes.rest(head.len as usize, reactor);
                    if !head.is_interim() {
                        return Poll::Ready(Ok(UpstreamHead::Final));
                    }
                    self.interim += 1;
                    if self.interim > INTERIM_MAX {
                        return Poll::Ready(Err(UpstreamError::TooManyInterim));
                    }
                    return Poll::Ready(Ok(UpstreamHead::Interim));
                }
            }
        }
    }

    /// The final head has been read: what follows is a body of this kind.
    pub fn start_body(&mut self, kind: BodyKind, limits: &Limits, keep_trailers: bool) {
        self.decoder = BodyDecoder::with_limits(kind, limits, keep_trailers);
    }

    /// The next piece of the body, never empty, or its end.
    ///
    /// # Errors
    /// The connection is of no use afterwards, and the message is not complete.
    pub fn poll_body(&mut self) -> Poll<Result<UpstreamBody, UpstreamError>> {
        loop {
            if self.decoder.is_done() {
                return Poll::Ready(Ok(UpstreamBody::End(self.decoder.take_trailers())));
            }
            let mut buf = match self.rest.take() {
                Some(buf) => buf,
                None => match self.connection.stream.poll_recv() {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(None)) => {
                        self.connection.ended_by_peer = true;
                        match self.decoder.on_eof() {
                            Ok(()) => continue,
                            Err(_) => return Poll::Ready(Err(UpstreamError::Closed)),
                        }
                    }
                    Poll::Ready(received) => self.received(received)?,
                },
            };
            let decoded = match self.decoder.decode(&buf) {
                Ok(decoded) => decoded,
                Err(error) => return Poll::Ready(Err(UpstreamError::Body(error))),
            };
            self.wire += decoded.consumed as u64;
            let data = (!decoded.data.is_empty())
                .then(|| if decoded.data == (0..buf.len()) { None } else { Some(buf.slice(decoded.data.clone())) });
            match data {
                Some(None) => return Poll::Ready(Ok(UpstreamBody::Data(buf))),
                Some(Some(slice)) => {
                    self.keep_rest(buf, decoded.consumed);
                    return Poll::Ready(Ok(UpstreamBody::Data(slice)));
                }
                None => {
                    buf.advance(decoded.consumed);
                    if !buf.is_empty() {
                        self.rest = Some(buf);
                    }
                }
            }
        }
    }

    fn keep_rest(&mut self, mut buf: Buf, consumed: usize) {
        buf.advance(consumed);
        if !buf.is_empty() {
            self.rest = Some(buf);
        }
    }

    fn received(&mut self, received: io::Result<Option<Buf>>) -> Result<Buf, UpstreamError> {
        match received {
            Ok(Some(buf)) => Ok(buf),
            Ok(None) => {
                self.connection.ended_by_peer = true;
                Err(UpstreamError::Closed)
            }
            Err(error) => Err(UpstreamError::Reset(error)),
        }
    }

    /// Bytes of body that may go past the decoder (to splice); `None` means any number. Zero while received bytes wait
    /// to be decoded.
    pub fn skippable(&self) -> Option<u64> {
        if self.rest.is_some() || self.decoder.is_done() {
            return Some(0);
        }
        self.decoder.skippable()
    }

    /// Bytes of body still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    /// So many bytes went past the decoder.
    pub fn skip(&mut self, count: u64) {
        self.wire += count;
        self.decoder.skip(count);
    }

    /// The peer's FIN was seen by somebody else (splice).
    ///
    /// # Errors
    /// The body was not complete.
    pub fn on_eof(&mut self) -> Result<(), UpstreamError> {
        self.connection.ended_by_peer = true;
        self.decoder.on_eof().map_err(|_| UpstreamError::Closed)
    }

    pub fn is_body_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether bytes came behind the response: the connection cannot be used again.
    pub fn has_excess(&self) -> bool {
        self.rest.is_some()
    }
}
