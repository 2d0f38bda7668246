//! Requests of the proxy's own making: mirrors, health checks, reports and whatever else asks a cluster without a client that
//! waits.

use super::outlier::Outcome;
use super::{Accounting, Cluster, Endpoint, PickContext, RequestEnd};
use crate::base::clock::{NEVER, Nanos, deadline};
use crate::http::{Message, RequestHead, ResponseHead, Trailers};
use crate::mux::{Broken, HeadKind, Limits, Moved, Piece, Pump, Sink, Source, Upstream};
use crate::ring::{Buf, Reactor, Timer};
use crate::upstream::limits::{Permit, Priority};
use crate::upstream::{ConnectError, Lease, Pool, Work, is_local_shortage};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Why a call came to nothing.
#[derive(Debug)]
pub enum CallError {
    NoHost,
    Connect(ConnectError),
    /// `begun`: a byte of the answer had come.
    Broken {
        broken: Broken,
        begun: bool,
    },
    /// The rest of the request's body does not come.
    BodyGone,
    /// No whole answer in time.
    Timeout,
    /// Nothing moved for too long.
    Idle,
}

/// A body that is there, as one piece or none.
pub struct MadeBody(pub Option<Buf>);

impl Source for MadeBody {
    type Error = CallError;

    fn poll_piece(&mut self) -> Poll<Result<Piece, CallError>> {
        Poll::Ready(Ok(self.0.take().map_or(Piece::End, Piece::Data)))
    }

    fn trailers(&self) -> &Trailers {
        const NONE: &Trailers = &Trailers::NONE;
        NONE
    }

    fn passed_end(&mut self) -> Result<(), CallError> {
        Ok(())
    }

    fn broken(&self) -> CallError {
        CallError::BodyGone
    }
}

/// How long a call waits. One timer, armed for what comes first.
pub struct Patience {
    timer: Timer,
    answer_limit: Option<Duration>,
    /// When the answer has to be whole.
    end: Nanos,
    idle_limit: Option<Duration>,
    idle: Nanos,
}

impl Patience {
    /// `answer`: for the whole answer, from the end of the request; `idle`: without a byte moving.
    pub fn new(reactor: &Rc<Reactor>, answer: Option<Duration>, idle: Option<Duration>) -> Self {
        let idle_until = deadline(reactor.now(), idle);
        let this =
            Self { timer: Timer::new(reactor), answer_limit: answer, end: NEVER, idle_limit: idle, idle: idle_until };
        this.arm();
        this
    }

    /// For all of it, from now.
    fn for_all(reactor: &Rc<Reactor>, limit: Duration) -> Self {
        let mut this = Self::new(reactor, None, None);
        this.end = deadline(reactor.now(), Some(limit));
        this.arm();
        this
    }

    fn request_ended(&mut self, now: Nanos) {
        self.end = self.end.min(deadline(now, self.answer_limit));
        self.arm();
    }

    fn moved(&mut self, now: Nanos) {
        self.idle = deadline(now, self.idle_limit);
    }

    fn poll<T>(&mut self, now: Nanos) -> Poll<Result<T, CallError>> {
        if !self.timer.fired() {
            return Poll::Pending;
        }
        if self.end <= now {
            return Poll::Ready(Err(CallError::Timeout));
        }
        if self.idle <= now {
            return Poll::Ready(Err(CallError::Idle));
        }
        self.arm();
        Poll::Pending
    }

    fn arm(&self) {
        self.timer.arm_at(self.end.min(self.idle));
    }
}

/// One request on one wire.
pub struct Conversation<'m, B> {
    pub reactor: &'m Rc<Reactor>,
    pub request: &'m Message<RequestHead>,
    pub host: &'m [u8],
    pub body: &'m mut B,
    pub patience: &'m mut Patience,
    pub limits: &'m Limits,
    /// Bytes of body that may wait to be sent.
    pub buffer_limit: usize,
    /// Bytes of the answer's body after which the rest of it is left: the wire is of no further use then.
    pub answer_limit: u64,
    /// When all of the request was sent.
    pub request_end: Option<Nanos>,
    pub answer: Message<ResponseHead>,
    /// The answer's body, where it is wanted.
    pub kept: Option<Vec<u8>>,
}

impl<B: Source<Error = CallError>> Conversation<'_, B> {
    /// Send the request and read the answer, whose head is in `answer` afterwards.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn run(&mut self, wire: &mut Upstream) -> Result<(), CallError> {
        wire.begin(self.limits, false);
        wire.send_head(self.request, self.host);
        let mut pump = Pump::new(self.buffer_limit);
        while let HeadKind::Interim = poll_fn(|_| self.poll_head(wire, &mut pump)).await? {
            self.answer.clear(self.reactor);
        }
        let mut left = self.answer_limit;
        poll_fn(|_| self.poll_body(wire, &mut pump, &mut left)).await
    }

    fn poll_head(&mut self, wire: &mut Upstream, pump: &mut Pump) -> Poll<Result<HeadKind, CallError>> {
        self.send(wire, pump)?;
        match wire.poll_head(&mut self.answer) {
            Poll::Ready(Ok(kind)) => Poll::Ready(Ok(kind)),
            Poll::Ready(Err(broken)) => Poll::Ready(Err(CallError::Broken { broken, begun: wire.has_begun() })),
            Poll::Pending => self.patience.poll(self.reactor.now()),
        }
    }

    fn poll_body(&mut self, wire: &mut Upstream, pump: &mut Pump, left: &mut u64) -> Poll<Result<(), CallError>> {
        self.send(wire, pump)?;
        loop {
            match wire.poll_piece(&mut self.answer.trailers) {
                Poll::Ready(Ok(Piece::End)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(Piece::Data(buf))) => {
                    let Some(still) = left.checked_sub(buf.len() as u64) else { return Poll::Ready(Ok(())) };
                    *left = still;
                    if let Some(kept) = &mut self.kept {
                        kept.extend_from_slice(&buf);
                    }
                    self.patience.moved(self.reactor.now());
                }
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(CallError::Broken { broken, begun: true })),
                Poll::Pending => return self.patience.poll(self.reactor.now()),
            }
        }
    }

    /// Send what there is of the body, as far as the other side takes it. A send that fails shows as the answer's failure.
    fn send(&mut self, wire: &mut Upstream, pump: &mut Pump) -> Result<(), CallError> {
        while self.request_end.is_none() {
            match pump.poll(self.body, &mut WireSink(wire), self.reactor) {
                Poll::Pending => break,
                Poll::Ready(moved) => {
                    let now = self.reactor.now();
                    self.patience.moved(now);
                    if moved? == Moved::All {
                        self.request_end = Some(now);
                        self.patience.request_ended(now);
                    }
                }
            }
        }
        wire.flush();
        Ok(())
    }
}

struct WireSink<'w>(&'w mut Upstream);

impl Sink<CallError> for WireSink<'_> {
    fn put(&mut self, buf: Buf) -> usize {
        self.0.put(buf)
    }

    fn end(&mut self, trailers: &Trailers) {
        self.0.end(trailers);
        self.0.flush();
    }

    fn flush(&mut self) {
        self.0.flush();
    }

    fn poll_room(&mut self, limit: usize) -> Poll<Result<usize, CallError>> {
        match self.0.poll_room(limit) {
            Poll::Ready(Ok(room)) => Poll::Ready(Ok(room)),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    fn note_pause(&mut self, _: bool) {}

    fn broken(&self) -> CallError {
        CallError::BodyGone
    }
}

/// Times that one call may go out again because it was not looked at.
const REPEATS_MAX: u32 = 3;

/// Whether the server has not looked at the request: it said so, or had closed the connection before.
fn is_unseen(error: &CallError, lease: &Lease) -> bool {
    match error {
        CallError::Broken { broken: Broken::Refused, .. } => true,
        CallError::Broken { broken: Broken::Closed, .. } => lease.connection.is_reused() && !lease.wire.has_heard(),
        _ => false,
    }
}

/// One request to a cluster: an endpoint is picked, and the request is in its statistics as any other.
pub struct Call {
    pub cluster: Rc<Cluster>,
    /// Its place among the side work of the cluster.
    pub permit: Permit,
    pub priority: Priority,
    pub work: Work,
    pub time: TimeLimit,
    pub limits: Limits,
    /// Bytes of body that may wait to be sent.
    pub buffer_limit: usize,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub enum TimeLimit {
    /// `answer`: for the whole answer, from the end of the request; `idle`: without a byte moving.
    Streaming { answer: Option<Duration>, idle: Option<Duration> },
    /// From its beginning to its end.
    Whole(Duration),
}

/// What a cluster answered.
pub struct Answer {
    pub message: Message<ResponseHead>,
    /// As much of it as the caller wanted.
    pub body: Vec<u8>,
}

/// A body that may be sent a second time.
pub trait CallBody: Source<Error = CallError> {
    /// Begin again. `false`: a piece of it was taken, and it is gone.
    fn restart(&mut self) -> bool;
}

impl Call {
    /// Send `request` for `host` and throw the answer away.
    ///
    /// # Errors
    /// There is no whole answer. It has been counted.
    pub async fn run<B: CallBody>(
        &self,
        reactor: &Rc<Reactor>,
        request: &Message<RequestHead>,
        host: &[u8],
        body: &mut B,
    ) -> Result<(), CallError> {
        let mut answer = self.exchange(reactor, request, host, body, (u64::MAX, None)).await?;
        answer.message.clear(reactor);
        Ok(())
    }

    /// Send `request`, which says its host, and give the answer, with at most this many bytes of its body: where there are
    /// more, the connection is of no further use.
    ///
    /// # Errors
    /// There is no whole answer. It has been counted.
    pub async fn ask<B: CallBody>(
        &self,
        reactor: &Rc<Reactor>,
        request: &Message<RequestHead>,
        body: &mut B,
        body_max: u64,
    ) -> Result<Answer, CallError> {
        let host = request.head.authority.of(request.view());
        self.exchange(reactor, request, host, body, (body_max, Some(Vec::new()))).await
    }

    async fn exchange<B: CallBody>(
        &self,
        reactor: &Rc<Reactor>,
        request: &Message<RequestHead>,
        host: &[u8],
        body: &mut B,
        (answer_limit, kept): (u64, Option<Vec<u8>>),
    ) -> Result<Answer, CallError> {
        let Ok(endpoint) = self.cluster.pick(&PickContext::default()) else {
            self.cluster.stats.count_status(503);
            return Err(CallError::NoHost);
        };
        let mut accounting = Accounting::new(&self.cluster);
        let in_flight = endpoint.request_started(reactor.now());
        let mut patience = match self.time {
            TimeLimit::Streaming { answer, idle } => Patience::new(reactor, answer, idle),
            TimeLimit::Whole(limit) => Patience::for_all(reactor, limit),
        };
        let (request_end, answer) = (None, Message::default());
        let (limits, buffer_limit) = (&self.limits, self.buffer_limit);
        let patience = &mut patience;
        let mut conversation = Conversation {
            reactor,
            request,
            host,
            body,
            patience,
            limits,
            buffer_limit,
            answer_limit,
            request_end,
            answer,
            kept,
        };
        let result = self.converse(&endpoint, &mut conversation).await;
        let Conversation { request_end, answer: mut message, kept, .. } = conversation;
        let is_main = self.work == Work::Main;
        match result {
            Ok((sent, received)) => {
                in_flight.responded(reactor.now());
                let micros = reactor.now().saturating_sub(request_end.unwrap_or(reactor.now())) / 1000;
                accounting.completed(message.head.status, sent, received, micros);
                if is_main {
                    // That of a call of gRPC, where it is one.
                    self.cluster.report(&endpoint, Outcome::Status(message.status_of_call().unwrap_or(200)));
                }
                Ok(Answer { message, body: kept.unwrap_or_default() })
            }
            Err(error) => {
                in_flight.failed(reactor.now());
                accounting.ended(self.count(&error));
                if is_main && let Some(outcome) = outcome(&error) {
                    self.cluster.report(&endpoint, outcome);
                }
                message.clear(reactor);
                Err(error)
            }
        }
    }

    /// Returns the bytes sent and received.
    async fn converse<B: CallBody>(
        &self,
        endpoint: &Endpoint,
        conversation: &mut Conversation<'_, B>,
    ) -> Result<(u64, u64), CallError> {
        let named = endpoint.pool.named(conversation.host);
        let pool = named.as_ref().unwrap_or(&endpoint.pool);
        let mut idle = pool.take();
        let mut repeats = 0;
        loop {
            let mut lease = match idle.take() {
                Some(lease) => lease,
                None => self.acquire(pool, conversation).await?,
            };
            // From side work, main traffic may take it away.
            let _loan = if self.work == Work::Side { pool.lend(&lease) } else { None };
            match conversation.run(&mut lease.wire).await {
                Ok(()) => {
                    let bytes = (lease.wire.sent(), lease.wire.received());
                    if conversation.request_end.is_some() && lease.wire.is_reusable() {
                        pool.put(lease);
                    }
                    return Ok(bytes);
                }
                // Closed while it was idle, or not looked at, and all of the request is still here.
                Err(error) if repeats < REPEATS_MAX && is_unseen(&error, &lease) && conversation.body.restart() => {
                    repeats += 1;
                }
                Err(error) => return Err(error),
            }
            conversation.answer.clear(conversation.reactor);
            conversation.kept.iter_mut().for_each(Vec::clear);
            conversation.request_end = None;
        }
    }

    async fn acquire<B>(&self, pool: &Rc<Pool>, conversation: &mut Conversation<'_, B>) -> Result<Lease, CallError> {
        let mut acquiring = pin!(pool.acquire(self.priority, self.work));
        poll_fn(|context| match acquiring.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(result.map_err(CallError::Connect)),
            Poll::Pending => conversation.patience.poll(conversation.reactor.now()),
        })
        .await
    }

    fn count(&self, error: &CallError) -> RequestEnd {
        let stats = &self.cluster.stats;
        match error {
            CallError::NoHost | CallError::Connect(_) => RequestEnd::NoConnection,
            CallError::Broken { broken: Broken::Violation(_), .. } => {
                stats.upstream_cx_protocol_error.inc();
                RequestEnd::SentReset
            }
            CallError::Broken { .. } => RequestEnd::ReceivedReset,
            CallError::Timeout => {
                stats.upstream_rq_timeout.inc();
                RequestEnd::SentReset
            }
            CallError::BodyGone | CallError::Idle => RequestEnd::SentReset,
        }
    }
}

/// What outlier detection hears of a failure; `None`: it is not the endpoint's.
fn outcome(error: &CallError) -> Option<Outcome> {
    match error {
        CallError::Connect(ConnectError::Timeout { .. }) => Some(Outcome::ConnectTimeout),
        CallError::Connect(ConnectError::Failed(error)) if is_local_shortage(error) => None,
        CallError::Connect(ConnectError::Failed(_) | ConnectError::Tls(_)) => Some(Outcome::ConnectFailed),
        CallError::Broken { .. } => Some(Outcome::Reset),
        CallError::Timeout => Some(Outcome::ResponseTimeout),
        CallError::NoHost | CallError::Connect(ConnectError::Overflow(_)) | CallError::BodyGone | CallError::Idle => {
            None
        }
    }
}
