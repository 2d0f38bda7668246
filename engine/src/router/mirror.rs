//! Mirroring: a copy of a request goes to another cluster, and nobody waits for the answer (Envoy: RequestMirrorPolicy).
//!
//! The copy's body streams: it is sent as it comes from the client. A mirror that falls behind by more than
//! `buffer_limit` is given up; the request itself never waits for it.

use super::attempt::{BodyWriter, fault};
use super::forward::Accounting;
use super::tries::connect_fault;
use super::{Deadlines, Fault, encode};
use crate::base::clock::Nanos;
use crate::cluster::{Cluster, Endpoint, PickContext};
use crate::codec::h1::{BodyError, Limits};
use crate::http::{BodyKind, Exchange, Method, ResponseHead, split_port};
use crate::net::{HeadBytes, Outbox};
use crate::ring::{Buf, Reactor, TaskId};
use crate::upstream::limits::{Priority, Resource};
use crate::upstream::{Connection, UpstreamBody, UpstreamExchange, UpstreamHead};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// What a mirror needs to know beside the request.
pub struct MirrorOptions<'a> {
    pub cluster: Rc<Cluster>,
    pub codec_limits: &'a Limits,
    /// Bytes of body received and not yet sent on.
    pub buffer_limit: usize,
    /// For the whole response, from the end of the request.
    pub timeout: Option<Duration>,
    /// Without a byte moving.
    pub idle: Option<Duration>,
    pub priority: Priority,
}

/// Start a copy of the request whose head is in the exchange, edited. `has_body`: pieces of it go into the value
/// returned, which is `None` where there are none to come.
pub fn start(
    reactor: &Rc<Reactor>,
    exchange: &Exchange,
    has_body: bool,
    options: MirrorOptions<'_>,
) -> Option<MirrorBody> {
    let mut head = reactor.take_vec();
    let mut host = reactor.take_vec();
    shadow_host(&mut host, exchange.request.authority.of(exchange.request_view()));
    encode::request_to(&mut head, &exchange.request, exchange.request_view(), &host);
    reactor.give_vec(host);
    let copy = Rc::new(Copied {
        queue: RefCell::default(),
        queued: Cell::new(0),
        limit: options.buffer_limit,
        state: RefCell::new(if has_body { State::Open } else { State::Ended(None) }),
        task: Cell::new(TaskId::NONE),
    });
    let request = MirroredRequest {
        reactor: reactor.clone(),
        cluster: options.cluster,
        method: exchange.request.method,
        chunked: exchange.request.framing == BodyKind::Chunked,
        codec_limits: *options.codec_limits,
        timeout: options.timeout,
        idle: options.idle,
        priority: options.priority,
        copy: copy.clone(),
    };
    copy.task.set(reactor.spawn(request.run(head)));
    has_body.then(|| MirrorBody { reactor: reactor.clone(), copy })
}

/// The host with `-shadow` in front of its port, so that logs can tell copies from requests.
fn shadow_host(out: &mut Vec<u8>, authority: &[u8]) {
    let (host, _) = split_port(authority);
    for part in [host, b"-shadow", &authority[host.len()..]] {
        out.extend_from_slice(part);
    }
}

/// Takes a copy of a body. Dropped before its end, the copy of the request is broken off.
pub struct MirrorBody {
    reactor: Rc<Reactor>,
    copy: Rc<Copied>,
}

/// A body on its way to its mirror.
struct Copied {
    queue: RefCell<VecDeque<Buf>>,
    /// Bytes in the queue.
    queued: Cell<usize>,
    limit: usize,
    state: RefCell<State>,
    task: Cell<TaskId>,
}

enum State {
    /// More may come.
    Open,
    /// The trailers' lines, where there are some.
    Ended(Option<Vec<u8>>),
    /// The rest does not come, or nobody waits for it.
    Broken,
}

impl Copied {
    /// Nothing goes in any more, and nothing is held.
    fn close(&self) {
        *self.state.borrow_mut() = State::Broken;
        self.queue.borrow_mut().clear();
    }
}

impl MirrorBody {
    /// The next piece; where nobody reads it any more, it is dropped. `false`: the mirror is too slow, and just now given up.
    pub fn send(&self, buf: &Buf) -> bool {
        let copy = &self.copy;
        if !matches!(*copy.state.borrow(), State::Open) {
            return true;
        }
        let queued = copy.queued.get() + buf.len();
        if queued > copy.limit {
            self.break_off();
            return false;
        }
        copy.queued.set(queued);
        // A receive buffer that is nearly empty is not kept.
        let piece = if buf.len() * 2 > buf.charge() { buf.slice(0..buf.len()) } else { Buf::from(Box::from(&buf[..])) };
        copy.queue.borrow_mut().push_back(piece);
        self.reactor.wake(copy.task.get());
        true
    }

    /// The body's end.
    pub fn end(&self, trailers: Option<&[u8]>) {
        let mut state = self.copy.state.borrow_mut();
        if matches!(*state, State::Open) {
            *state = State::Ended(trailers.map(Vec::from));
            self.reactor.wake(self.copy.task.get());
        }
    }

    fn break_off(&self) {
        self.copy.close();
        self.reactor.wake(self.copy.task.get());
    }
}

impl Drop for MirrorBody {
    fn drop(&mut self) {
        if matches!(*self.copy.state.borrow(), State::Open) {
            self.break_off();
        }
    }
}

/// A copy on its way.
struct MirroredRequest {
    reactor: Rc<Reactor>,
    cluster: Rc<Cluster>,
    method: Method,
    chunked: bool,
    codec_limits: Limits,
    timeout: Option<Duration>,
    idle: Option<Duration>,
    priority: Priority,
    copy: Rc<Copied>,
}

/// However the copy ended, what comes of its body must not pile up.
impl Drop for MirroredRequest {
    fn drop(&mut self) {
        self.copy.close();
    }
}

/// One try on one connection.
struct Try {
    upstream: UpstreamExchange,
    out: Outbox,
    writer: BodyWriter,
    /// A piece of the body was taken for it: it cannot be sent again.
    begun: bool,
    /// All of the request is sent or in the batch, since then.
    request_end: Option<Nanos>,
    response: ResponseHead,
    response_bytes: HeadBytes,
    received: u64,
}

impl MirroredRequest {
    async fn run(self, head: Vec<u8>) {
        let picked = self.cluster.pick(&PickContext::default()).ok();
        let permit = self.cluster.limits.acquire(Resource::Requests, self.priority).ok();
        match (picked, permit) {
            (Some(endpoint), Some(_permit)) => self.send(&head, &endpoint).await,
            _ => self.cluster.stats.count_status(503),
        }
        self.reactor.give_vec(head);
    }

    async fn send(&self, head: &[u8], endpoint: &Rc<Endpoint>) {
        let mut accounting = Accounting::new(&self.cluster);
        let in_flight = endpoint.request_started(self.reactor.now());
        let mut deadlines = Deadlines::new(&self.reactor, None);
        deadlines.start_exchange(self.reactor.now(), self.idle);
        let mut pooled = endpoint.pool.take();
        loop {
            let connection = match pooled.take() {
                Some(connection) => Ok(connection),
                None => self.connect(endpoint, &mut deadlines).await,
            };
            let fault = match connection {
                Ok(connection) => {
                    let is_reused = connection.is_reused();
                    let mut one = Try::new(connection, self.chunked);
                    one.out.bytes(&self.reactor).extend_from_slice(head);
                    let result = self.exchange(&mut one, &mut deadlines).await;
                    one.response_bytes.clear(&self.reactor);
                    match result {
                        Ok(()) => {
                            in_flight.responded(self.reactor.now());
                            return self.end(one, endpoint, &mut accounting);
                        }
                        // Closed while it was idle, and all of the request is still here.
                        Err(Fault::UpstreamClosed) if is_reused && !one.begun => continue,
                        Err(fault) => fault,
                    }
                }
                Err(fault) => fault,
            };
            in_flight.failed(self.reactor.now());
            return accounting.failed(fault);
        }
    }

    async fn connect(&self, endpoint: &Endpoint, deadlines: &mut Deadlines) -> Result<Connection, Fault> {
        let mut connecting = pin!(endpoint.pool.connect(self.priority));
        poll_fn(|context| match connecting.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(result.map_err(|error| connect_fault(&error))),
            Poll::Pending => self.expired(deadlines),
        })
        .await
    }

    /// Send the request, read the response and forget it.
    async fn exchange(&self, one: &mut Try, deadlines: &mut Deadlines) -> Result<(), Fault> {
        loop {
            match poll_fn(|_| self.poll_head(one, deadlines)).await? {
                UpstreamHead::Final => break,
                UpstreamHead::Interim => {
                    one.response.clear();
                    one.response_bytes.clear(&self.reactor);
                }
            }
        }
        one.upstream.start_body(one.response.framing, &self.codec_limits, false);
        poll_fn(|_| self.poll_body(one, deadlines)).await
    }

    fn poll_head(&self, one: &mut Try, deadlines: &mut Deadlines) -> Poll<Result<UpstreamHead, Fault>> {
        self.send_body(one, deadlines)?;
        let Try { upstream, response, response_bytes, .. } = one;
        let polled = upstream.poll_head(self.method, &self.codec_limits, response_bytes, response, &self.reactor);
        match polled {
            Poll::Ready(Ok(head)) => Poll::Ready(Ok(head)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(fault(&error, upstream.started))),
            Poll::Pending => self.expired(deadlines),
        }
    }

    fn poll_body(&self, one: &mut Try, deadlines: &mut Deadlines) -> Poll<Result<(), Fault>> {
        self.send_body(one, deadlines)?;
        loop {
            match one.upstream.poll_body() {
                Poll::Ready(Ok(UpstreamBody::End(_))) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(UpstreamBody::Data(buf))) => {
                    one.received += buf.len() as u64;
                    deadlines.moved(self.reactor.now());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(fault(&error, true))),
                Poll::Pending => return self.expired(deadlines),
            }
        }
    }

    /// Send what there is of the body, as far as the mirror takes it. A send that fails shows as the response's failure.
    fn send_body(&self, one: &mut Try, deadlines: &mut Deadlines) -> Result<(), Fault> {
        let copy = &self.copy;
        let stream = &one.upstream.connection.stream;
        let mut moved = false;
        while one.request_end.is_none() && matches!(stream.poll_flushed(copy.limit), Poll::Ready(Ok(()))) {
            let piece = copy.queue.borrow_mut().pop_front();
            if let Some(buf) = piece {
                copy.queued.set(copy.queued.get() - buf.len());
                one.begun = true;
                one.writer.data(&mut one.out, buf, &self.reactor);
            } else {
                match &*copy.state.borrow() {
                    State::Open => break,
                    State::Broken => return Err(Fault::RequestBody(BodyError::Truncated)),
                    State::Ended(trailers) => one.writer.end(&mut one.out, trailers.as_deref(), &self.reactor),
                }
                one.request_end = Some(self.reactor.now());
                deadlines.start_route(self.reactor.now(), self.timeout);
            }
            one.out.flush(stream);
            moved = true;
        }
        one.out.flush(stream);
        if moved {
            deadlines.moved(self.reactor.now());
        }
        Ok(())
    }

    fn expired<T>(&self, deadlines: &mut Deadlines) -> Poll<Result<T, Fault>> {
        deadlines.expired(self.reactor.now()).map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)))
    }

    fn end(&self, mut one: Try, endpoint: &Endpoint, accounting: &mut Accounting<'_>) {
        let start = one.request_end.unwrap_or(self.reactor.now());
        let micros = self.reactor.now().saturating_sub(start) / 1000;
        let received = u64::from(one.response.len) + one.received;
        accounting.completed(one.response.status, one.out.take_total(), received, micros);
        let clean = one.request_end.is_some() && one.response.keep_alive && !one.upstream.has_excess();
        if clean && one.upstream.connection.stream.unsent() == 0 {
            endpoint.pool.put(one.upstream.connection);
        }
    }
}

impl Try {
    fn new(connection: Connection, chunked: bool) -> Self {
        Self {
            upstream: UpstreamExchange::new(connection),
            out: Outbox::default(),
            writer: BodyWriter::new(chunked),
            begun: false,
            request_end: None,
            response: ResponseHead::default(),
            response_bytes: HeadBytes::default(),
            received: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::{World, cluster, endpoint};
    use crate::http_filter::testing::exchange_of;
    use ringway_config::model;

    /// Envoy: shadowAppendedHost.
    #[test]
    fn the_hosts_of_copies_can_be_told_apart() {
        for (host, shadow) in [
            ("example.com", "example.com-shadow"),
            ("example.com:8080", "example.com-shadow:8080"),
            ("[::1]", "[::1]-shadow"),
            ("[::1]:80", "[::1]-shadow:80"),
        ] {
            let mut out = Vec::new();
            shadow_host(&mut out, host.as_bytes());
            assert_eq!(String::from_utf8_lossy(&out), shadow);
        }
    }
    /// A mirror that is gone holds nothing, and is not one that was too slow.
    #[test]
    fn a_copy_that_ended_early_takes_nothing_more() {
        let refused = model::Cluster { endpoints: vec![endpoint(1)], ..cluster() };
        for config in [cluster(), refused] {
            let world = World::new(&config, 1);
            let options = MirrorOptions {
                cluster: world.cluster.clone(),
                codec_limits: &Limits::default(),
                buffer_limit: 1500,
                timeout: None,
                idle: None,
                priority: Priority::Default,
            };
            let exchange = exchange_of("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n");
            let body = start(&world.reactor, &exchange, true, options).expect("a body is to come");
            let piece = world.reactor.pool().copy_from(&[b'a'; 1000]);
            assert!(body.send(&piece));
            drop(piece);
            assert_eq!(world.reactor.pool().in_use(), 1, "it waits for the mirror");
            world.advance(Duration::from_secs(60));
            assert_eq!(world.reactor.pool().in_use(), 0);
            for _ in 0..3 {
                assert!(body.send(&world.reactor.pool().copy_from(&[b'a'; 1000])));
                assert_eq!(world.reactor.pool().in_use(), 0);
            }
            body.end(None);
        }
    }
}
