//! Whole exchanges: a client, the proxy and an origin on one reactor, joined by in-memory pipes.
//!
//! Connections are kept alive and everything is warm, so that what is measured is the request path itself: from the
//! request's bytes to the response's, with routing, header edits, pool, statistics and deadlines, but without the
//! kernel. Client and origin do as little as they can; `Route::Direct` shows how little.

use crate::{config, messages};
use ringway::net::PipeEnd;
use ringway::ring::{Reactor, Segment, TaskId};
use ringway::shard::MemoryShard;
use ringway_config::model::Address;
use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;

/// Routes of the proxy; the requests take the eighth.
const ROUTES: usize = 10;
/// Where the route's cluster has its endpoint.
pub(crate) const ORIGIN: &str = "127.0.0.1:8007";
/// Bytes that a pipe holds in each direction.
const CAPACITY: usize = 64 * 1024;
/// Exchanges before anything is measured.
const WARM_UP: u64 = 1000;

/// The kind of traffic.
#[derive(Clone, Copy, Debug)]
pub enum Traffic {
    /// Four fields, and an answer of 46 bytes with a Content-Length.
    Small,
    /// A browser's request, and a chunked answer of 4 KiB.
    Browser,
}

impl Traffic {
    fn request(self) -> &'static [u8] {
        match self {
            Self::Small => messages::SMALL_REQUEST.as_bytes(),
            Self::Browser => messages::BROWSER_REQUEST.as_bytes(),
        }
    }

    fn response(self) -> &'static [u8] {
        match self {
            Self::Small => messages::SMALL_RESPONSE.as_bytes(),
            // Pipes take bytes that live as long as the program without a copy; a bench makes one of these.
            Self::Browser => Vec::leak(messages::browser_response()),
        }
    }
}

/// What lies between client and origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Ten routes and nothing else.
    Proxied,
    /// What a service has in force while all is well: 1,000 routes, a header edit in each direction, retries, circuit
    /// breakers, outlier detection, least request among three endpoints.
    Resilient,
    /// As `Proxied`, traced.
    Traced(Traced),
    /// Nothing: what the harness itself costs.
    Direct,
}

/// What is traced, of requests that come without a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traced {
    /// Nothing; the request goes on with `traceparent`.
    UnsampledW3c,
    /// Nothing; the request goes on with `x-b3-traceid`, `x-b3-spanid` and `x-b3-sampled`.
    UnsampledB3,
    /// Each exchange: a span of it and one of its try.
    SampledW3c,
    /// The same, for OpenTelemetry.
    SampledOtlp,
}

impl Traced {
    fn leaves_spans(self) -> bool {
        match self {
            Self::UnsampledW3c | Self::UnsampledB3 => false,
            Self::SampledW3c | Self::SampledOtlp => true,
        }
    }
}

/// A client that sends its next request when it is told to.
pub struct Rig {
    pub(crate) shard: MemoryShard,
    client: TaskId,
    turns: Turns,
}

/// What a client is told, and what it has done.
#[derive(Clone, Default)]
pub(crate) struct Turns {
    wanted: Rc<Cell<u64>>,
    done: Rc<Cell<u64>>,
}

impl Turns {
    pub(crate) fn done(&self) -> u64 {
        self.done.get()
    }

    /// Wait until another one is wanted.
    pub(crate) async fn next(&self, reactor: &Reactor) {
        while self.done.get() == self.wanted.get() {
            // Virtual time passes, up to the next timeout, as soon as no task is ready: so this one stays ready.
            reactor.yield_now().await;
        }
    }

    pub(crate) fn end(&self) {
        self.done.set(self.done.get() + 1);
    }
}

impl Rig {
    /// Everything connected and warm.
    ///
    /// # Panics
    /// When the answer is not what the origin sends, edited.
    pub fn new(traffic: Traffic, way: Way) -> Self {
        let text = match way {
            Way::Resilient => config::resilient(),
            Way::Traced(traced) => config::traced(ROUTES, traced),
            Way::Proxied | Way::Direct => config::text(ROUTES),
        };
        let shard = MemoryShard::new(config::loaded(&text), 1);
        let origin: SocketAddr = ORIGIN.parse().expect("an address");
        let response = traffic.response();
        for origin in [ORIGIN, "127.0.0.2:8007", "127.0.0.3:8007"] {
            let listener = shard.network.listen(Address::Ip(origin.parse().expect("an address")), CAPACITY);
            let reactor = shard.reactor.clone();
            shard.reactor.spawn(async move {
                let request_len = Cell::new(0);
                let pipe = poll_fn(|_| listener.poll_accept(&reactor)).await;
                loop {
                    read_message(&pipe, &request_len, |bytes| bytes.ends_with(b"\r\n\r\n")).await;
                    pipe.send_one(Segment::Static(response));
                }
            });
        }
        let pipe = match way {
            Way::Proxied | Way::Resilient | Way::Traced(_) => {
                shard.connect(0, "192.0.2.1:40000".parse().expect("an address"))
            }
            Way::Direct => shard.network.connect(&shard.reactor, &Address::Ip(origin)).expect("the origin listens"),
        };
        let rig = Self::with_client(shard, |reactor, turns| ask(reactor, pipe, traffic, turns));
        rig.run(WARM_UP);
        match way {
            Way::Proxied => rig.check(1),
            Way::Traced(traced) => {
                rig.check(1);
                let expected = if traced.leaves_spans() { 2 * WARM_UP } else { 0 };
                let lost = rig.shard.registry.value("http.bench.tracing.spans_lost").unwrap_or_default();
                assert_eq!(rig.spans().len() as u64 + lost as u64, expected);
            }
            Way::Resilient => rig.check(3),
            Way::Direct => {}
        }
        rig
    }

    pub(crate) fn with_client<F: Future<Output = ()> + 'static>(
        shard: MemoryShard,
        client: impl FnOnce(Rc<Reactor>, Turns) -> F,
    ) -> Self {
        let turns = Turns::default();
        let client = shard.reactor.spawn(client(shard.reactor.clone(), turns.clone()));
        Self { shard, client, turns }
    }

    /// This many turns of the client, one after the other.
    pub fn run(&self, turns: u64) {
        let Turns { wanted, done } = &self.turns;
        wanted.set(wanted.get() + turns);
        self.shard.reactor.wake(self.client);
        self.shard.reactor.run_until(|| done.get() == wanted.get());
    }

    pub(crate) fn done(&self) -> u64 {
        self.turns.done()
    }

    /// A statistic that there is.
    pub(crate) fn stat(&self, name: &str) -> i64 {
        self.shard.registry.value(name).unwrap_or_else(|| panic!("no statistic {name}"))
    }

    /// The records of the spans that were left since the last call.
    pub fn spans(&self) -> Vec<Vec<u8>> {
        let mut spans = Vec::new();
        self.shard.tracers().drain(&mut Vec::new(), |record| spans.push(record.to_vec()));
        spans
    }

    /// Every exchange so far was routed, answered with 200, and went over one connection to the proxy and `upstream` from
    /// it.
    fn check(&self, upstream: i64) {
        let done = self.done() as i64;
        for name in ["http.bench.downstream_rq_2xx", "http.bench.rq_total", "cluster.app7.upstream_rq_2xx"] {
            assert_eq!(self.stat(name), done, "{name}");
        }
        assert_eq!(self.stat("http.bench.downstream_cx_total"), 1);
        assert_eq!(self.stat("cluster.app7.upstream_cx_total"), upstream);
        assert_eq!(self.stat("cluster.app7.upstream_rq_retry"), 0);
        assert_eq!(self.shard.reactor.facts().panics, 0, "a task panicked");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shard.reactor.shut_down();
    }
}

/// One exchange.
pub fn exchange(traffic: Traffic, way: Way) -> impl FnMut() {
    let rig = Rig::new(traffic, way);
    move || rig.run(1)
}

async fn ask(reactor: Rc<Reactor>, pipe: PipeEnd, traffic: Traffic, turns: Turns) {
    let request = traffic.request();
    let end: &[u8] = match traffic {
        Traffic::Small => b"The quick brown fox jumps over the lazy dog...",
        Traffic::Browser => b"xxxxxxxx\r\n0\r\n\r\n",
    };
    let response_len = Cell::new(0);
    loop {
        turns.next(&reactor).await;
        pipe.send_one(Segment::Static(request));
        read_message(&pipe, &response_len, |bytes| bytes.starts_with(b"HTTP/1.1 200 OK\r\n") && bytes.ends_with(end))
            .await;
        turns.end();
    }
}

/// Read one message. The first must be a single receive that is `whole`; those that follow have its length.
async fn read_message(pipe: &PipeEnd, len: &Cell<usize>, whole: impl Fn(&[u8]) -> bool) {
    let mut read = 0;
    loop {
        let bytes = poll_fn(|_| pipe.poll_recv()).await.expect("nobody resets").expect("nobody hangs up");
        if len.get() == 0 {
            assert!(whole(&bytes), "not the expected message: {:?}", String::from_utf8_lossy(&bytes));
            len.set(bytes.len());
        }
        read += bytes.len();
        match read.cmp(&len.get()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Greater => panic!("{read} bytes where {} were expected", len.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exchange_is_counted_on_both_ways() {
        for traffic in [Traffic::Small, Traffic::Browser] {
            let rig = Rig::new(traffic, Way::Proxied);
            rig.run(5);
            rig.check(1);
            assert_eq!(rig.done(), WARM_UP + 5);
            let rig = Rig::new(traffic, Way::Resilient);
            rig.run(5);
            rig.check(3);
            for traced in [Traced::UnsampledW3c, Traced::UnsampledB3, Traced::SampledW3c, Traced::SampledOtlp] {
                let rig = Rig::new(traffic, Way::Traced(traced));
                rig.run(5);
                rig.check(1);
                assert_eq!(rig.spans().len(), if traced.leaves_spans() { 10 } else { 0 });
            }
            let rig = Rig::new(traffic, Way::Direct);
            assert_eq!((rig.done(), rig.shard.connections()), (WARM_UP, 0));
        }
    }
}
