//! One try on a stream of a connection to a server: the request out, the response in.

use super::body::{Body, Missing, sent_as};
use super::link::{Link, Release};
use super::room;
use super::stream::Key;
use crate::codec::h2::frame::HEADER;
use crate::codec::h2::{Code, write};
use crate::http::{Length, Message, Method, RequestHead, ResponseHead, Trailers, Violation};
use crate::mux::{Broken, Ended, HeadKind, INTERIM_MAX, Limits, Piece};
use crate::net::{ByteStream, tls};
use crate::ring::{Buf, TaskId};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::{Poll, ready};

const TOO_MANY_INTERIM: Violation = Violation { status: 502, details: "http2.too_many_interim_responses" };

const HEAD_TOO_LARGE: Violation = Violation { status: 502, details: "http2.head_too_large" };

/// The server's side of one try. Dropped before its end, the stream is reset. Its memory is for the next one of
/// the thread.
pub struct Asked(Option<Box<Try>>);

impl Deref for Asked {
    type Target = Try;

    fn deref(&self) -> &Try {
        match &self.0 {
            Some(inner) => inner,
            None => unreachable!("it is taken out by drop only"),
        }
    }
}

impl DerefMut for Asked {
    fn deref_mut(&mut self) -> &mut Try {
        match &mut self.0 {
            Some(inner) => inner,
            None => unreachable!("it is taken out by drop only"),
        }
    }
}

#[derive(Default)]
pub struct Try {
    /// `None`: it waits for its next use.
    link: Option<Rc<Link>>,
    /// Once the head is sent. `Err`: it could not be.
    stream: Option<Result<Key, Broken>>,
    limits: Limits,
    method: Method,
    body: Body,
    interim: u8,
    begun: bool,
    head_received: u64,
    sent: u64,
    /// Bytes of the connection before the request went out.
    heard: u64,
    /// The connection is TLS.
    is_secure: bool,
    /// What came breaks a rule.
    malformed: bool,
}

impl Asked {
    pub fn new(link: &Rc<Link>, is_secure: bool) -> Self {
        let mut inner = room::take_try();
        *inner = Try { link: Some(link.clone()), is_secure, ..Try::default() };
        Self(Some(inner))
    }
}

impl Try {
    fn link(&self) -> &Link {
        match &self.link {
            Some(link) => link,
            None => unreachable!("a try in use has its connection"),
        }
    }

    /// Trailers are a part of every message here.
    pub(in crate::mux) fn begin(&mut self, limits: &Limits, _keep_trailers: bool) {
        self.limits = *limits;
    }

    pub(in crate::mux) fn send_head(&mut self, request: &Message<RequestHead>, host: &[u8]) -> u64 {
        self.method = request.head.method;
        self.heard = self.link().received();
        let stream = *self.stream.insert(self.link().open_stream());
        let Ok(key) = stream else { return 0 };
        let (ends, is_secure) = (request.head.length.is_empty(), self.is_secure);
        let len = self.link().send_head(key, true, ends, |out| {
            write::request(out, &request.head, request.view(), host, is_secure);
        });
        self.sent += len;
        len
    }

    fn key(&self) -> Result<Key, Broken> {
        self.stream.unwrap_or(Err(Broken::Closed))
    }

    pub(in crate::mux) fn put(&mut self, buf: Buf) -> usize {
        let len = buf.len();
        self.sent += sent_as(len);
        if let Ok(key) = self.key() {
            self.link().put(key, |queue, reactor| queue.push_passing(buf, || reactor.take_vec()));
        }
        len
    }

    pub(in crate::mux) fn put_bytes(&mut self, bytes: &[u8]) {
        self.sent += sent_as(bytes.len());
        if let Ok(key) = self.key() {
            self.link().put(key, |queue, _| queue.push_bytes(bytes));
        }
    }

    pub(in crate::mux) fn end(&mut self, trailers: &Trailers) {
        if let Ok(key) = self.key() {
            self.sent += self.link().end(key, trailers);
        }
    }

    pub(in crate::mux) fn flush(&mut self) {
        self.link().flush();
    }

    pub(in crate::mux) fn poll_room(&mut self, limit: usize) -> Poll<Result<usize, Broken>> {
        match self.key() {
            Ok(key) => self.link().poll_room(key, limit),
            Err(broken) => Poll::Ready(Err(broken)),
        }
    }

    pub(in crate::mux) fn poll_head(&mut self, response: &mut Message<ResponseHead>) -> Poll<Result<HeadKind, Broken>> {
        let mut block = ready!(self.link().poll_head(self.key()?))?;
        self.begun = true;
        let len = u64::from(block.size) + HEADER as u64;
        self.body.received += len;
        let is_large =
            block.arena.len() > self.limits.head_bytes as usize || block.fields.len() > usize::from(self.limits.fields);
        let read = match is_large {
            true => Err(HEAD_TOO_LARGE),
            false => block.read_response(self.method, &mut response.head),
        };
        response.received.replace(&mut block.arena);
        room::give_block(block);
        read.map_err(|violation| self.violated(violation))?;
        if response.head.is_interim() {
            self.interim += 1;
            return Poll::Ready(match self.interim > INTERIM_MAX {
                true => Err(self.violated(TOO_MANY_INTERIM)),
                false => Ok(HeadKind::Interim),
            });
        }
        response.is_whole = true;
        self.head_received = len;
        self.body.length = match response.head.length {
            // Of length 0: trailers may follow, and nothing else.
            Length::Unknown if response.head.content_length.is_some() => Length::Known(0),
            length => length,
        };
        Poll::Ready(Ok(HeadKind::Final))
    }

    fn violated(&mut self, violation: Violation) -> Broken {
        self.malformed = true;
        Broken::Violation(violation)
    }

    pub(in crate::mux) fn poll_piece(&mut self, trailers: &mut Trailers) -> Poll<Result<Piece, Broken>> {
        if self.body.is_done {
            return Poll::Ready(Ok(Piece::End));
        }
        let (key, Some(link)) = (self.key()?, &self.link) else { return Poll::Ready(Err(Broken::Closed)) };
        let piece = ready!(self.body.poll_piece(link, key, &self.limits, trailers));
        Poll::Ready(piece.map_err(|missing| match missing {
            Missing::Broken(broken) => broken,
            Missing::Malformed(violation) => self.violated(violation),
        }))
    }

    pub(in crate::mux) fn poll_bare_end(&self) -> Poll<bool> {
        self.key().map_or(Poll::Ready(false), |key| self.link().poll_bare_end(key))
    }

    pub(in crate::mux) fn tls_failure(&self) -> Option<tls::Failure> {
        self.link().tls_failure.borrow().clone()
    }

    pub(in crate::mux) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether anything came on the connection since the request went out.
    pub(in crate::mux) fn has_heard(&self) -> bool {
        self.link().received() > self.heard
    }

    pub(in crate::mux) fn received(&self) -> u64 {
        self.body.received
    }

    pub(in crate::mux) fn head_received(&self) -> u64 {
        self.head_received
    }

    pub(in crate::mux) fn sent(&mut self) -> u64 {
        self.sent
    }

    pub(in crate::mux) fn is_broken(&self) -> bool {
        self.key().is_err() || self.key().is_ok_and(|key| self.link().is_broken(key))
    }

    pub(in crate::mux) fn ended_by_peer(&self) -> bool {
        self.link().is_over()
    }

    /// The connection takes further exchanges in any case; what this asks is whether this one left nothing on it.
    pub(in crate::mux) fn is_reusable(&self) -> bool {
        self.body.is_done
    }

    pub(in crate::mux) fn protocol(&self) -> &'static str {
        "HTTP/2"
    }

    /// No shared connection is moved in the table of sockets for one exchange's sake.
    pub(in crate::mux) fn place(&self) -> u32 {
        0
    }

    /// Each piece has its frame.
    pub(in crate::mux) fn plain(&self) -> Option<(&ByteStream, u64)> {
        None
    }

    pub(in crate::mux) fn passed(&mut self, _count: u64) {}

    pub(in crate::mux) fn passed_end(&mut self) -> Result<(), Broken> {
        Err(Broken::Closed)
    }

    pub(in crate::mux) fn poll_idle(&mut self) -> Poll<Ended> {
        if self.link().is_over() { Poll::Ready(Ended { unasked: false }) } else { Poll::Pending }
    }

    pub(in crate::mux) fn watch(&self, task: TaskId) {
        if let Ok(key) = self.key() {
            self.link().set_task(key, task);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let Some(mut inner) = self.0.take() else { return };
        let Some(link) = inner.link.take() else { return };
        if let Some(Ok(key)) = inner.stream {
            let how = match (inner.malformed, inner.body.is_done) {
                (true, _) => Release::Malformed,
                (false, true) => Release::Whole,
                (false, false) => Release::Reset(Code::CANCEL),
            };
            link.release(key, how);
        }
        room::give_try(inner);
    }
}
