//! Mirroring: a copy of a request goes to another cluster, and its answer is thrown away (Envoy: RequestMirrorPolicy).
//!
//! The copy's body streams: it is sent as it comes from the client. A mirror that falls behind by more than three quarters of
//! `buffer_limit` is given up; the request itself never waits for it. Copies are side work: they have a limit of their own,
//! and give way to main traffic where connections, descriptors or memory are short.

use crate::cluster::Cluster;
use crate::cluster::call::{Call, CallBody, CallError, TimeLimit};
use crate::http::{Exchange, Message, RequestHead, Trailers, split_port};
use crate::mux::{Limits, Piece, Pieces, Source};
use crate::ring::{Buf, Reactor, TaskId};
use crate::upstream::Work;
use crate::upstream::limits::Priority;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// What a mirror needs to know next to the request.
pub struct MirrorOptions<'a> {
    pub cluster: Rc<Cluster>,
    pub codec_limits: &'a Limits,
    /// Bytes of memory for body received and not yet sent on: most of it for what the mirror has not taken up, the rest
    /// for what it has.
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
    let limits = &options.cluster.limits;
    let permit = limits.acquire_mirror(options.priority)?;
    if reactor.pool().is_short() {
        limits.count_shed();
        return None;
    }
    let mut request = Message::<RequestHead>::default();
    request.copy_head(&exchange.request);
    let mut host = reactor.take_vec();
    shadow_host(&mut host, request.head.authority.of(request.view()));
    let copy = Rc::new(Copied {
        queue: RefCell::default(),
        limit: options.buffer_limit - options.buffer_limit / 4,
        state: RefCell::new(if has_body { State::Open } else { State::Ended(Trailers::default()) }),
        begun: Cell::new(false),
        task: Cell::new(TaskId::NONE),
    });
    let call = Call {
        cluster: options.cluster,
        permit,
        priority: options.priority,
        work: Work::Side,
        time: TimeLimit::Streaming { answer: options.timeout, idle: options.idle },
        limits: *options.codec_limits,
        buffer_limit: options.buffer_limit / 16,
    };
    let body = CopiedBody { copy: copy.clone(), trailers: Trailers::default() };
    copy.task.set(reactor.spawn_yielding(mirror(reactor.clone(), call, request, host, body)));
    has_body.then(|| MirrorBody { reactor: reactor.clone(), copy })
}

async fn mirror(reactor: Rc<Reactor>, call: Call, request: Message<RequestHead>, host: Vec<u8>, mut body: CopiedBody) {
    let mut shed = CountsShed(Some(call.cluster.clone()));
    // What came of it is in the cluster's statistics.
    let _: Result<(), CallError> = call.run(&reactor, &request, &host, &mut body).await;
    shed.0 = None;
    reactor.give_vec(host);
}

/// Dropped before the copy has ended, the copy was given up.
struct CountsShed(Option<Rc<Cluster>>);

impl Drop for CountsShed {
    fn drop(&mut self) {
        self.0.iter().for_each(|cluster| cluster.limits.count_shed());
    }
}

/// The host with `-shadow` in front of its port, so that logs can tell copies from requests. Behind an IPv6 address nothing
/// can stand but a port.
fn shadow_host(out: &mut Vec<u8>, authority: &[u8]) {
    let (host, _) = split_port(authority);
    let mark: &[u8] = if host.starts_with(b"[") { b"" } else { b"-shadow" };
    for part in [host, mark, &authority[host.len()..]] {
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
    queue: RefCell<Pieces>,
    /// Bytes in the queue at most.
    limit: usize,
    state: RefCell<State>,
    /// A piece was taken out.
    begun: Cell<bool>,
    task: Cell<TaskId>,
}

enum State {
    /// More may come.
    Open,
    Ended(Trailers),
    /// The rest does not come, or is of no use any more.
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
    /// The next piece; where the mirror does not read any more, it is dropped. `false`: the mirror is too slow, and just
    /// now given up.
    pub fn send(&self, buf: &Buf) -> bool {
        let copy = &self.copy;
        if !matches!(*copy.state.borrow(), State::Open) {
            return true;
        }
        let queued = copy.queue.borrow().bytes();
        // Where memory is short, a mirror that is behind gives way first.
        if queued + buf.len() > copy.limit || queued > 0 && self.reactor.pool().is_short() {
            self.break_off();
            return false;
        }
        copy.queue.borrow_mut().push(buf.slice(0..buf.len()));
        self.reactor.wake(copy.task.get());
        true
    }

    /// The body's end.
    pub fn end(&self, trailers: &Trailers) {
        let mut state = self.copy.state.borrow_mut();
        if matches!(*state, State::Open) {
            let mut copied = Trailers::default();
            copied.copy_from(trailers);
            *state = State::Ended(copied);
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

/// The other end of it, in the mirror's task.
struct CopiedBody {
    copy: Rc<Copied>,
    trailers: Trailers,
}

impl Source for CopiedBody {
    type Error = CallError;

    fn poll_piece(&mut self) -> Poll<Result<Piece, CallError>> {
        let copy = &self.copy;
        if let Some(buf) = copy.queue.borrow_mut().pop(usize::MAX) {
            copy.begun.set(true);
            return Poll::Ready(Ok(Piece::Data(buf)));
        }
        match &*copy.state.borrow() {
            State::Open => Poll::Pending,
            State::Broken => Poll::Ready(Err(CallError::BodyGone)),
            State::Ended(trailers) => {
                self.trailers.copy_from(trailers);
                Poll::Ready(Ok(Piece::End))
            }
        }
    }

    fn trailers(&self) -> &Trailers {
        &self.trailers
    }

    fn passed_end(&mut self) -> Result<(), CallError> {
        Err(CallError::BodyGone)
    }

    fn broken(&self) -> CallError {
        CallError::BodyGone
    }

    fn is_gone(&self) -> bool {
        matches!(*self.copy.state.borrow(), State::Broken)
    }
}

impl CallBody for CopiedBody {
    fn restart(&mut self) -> bool {
        !self.copy.begun.get()
    }
}

/// However the copy ended, what comes of its body must not pile up.
impl Drop for CopiedBody {
    fn drop(&mut self) {
        self.copy.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::{World, cluster, endpoint};
    use crate::http_filter::testing::exchange_of;
    use ringway_config::model::{self, Address};

    /// Envoy: shadowAppendedHost.
    #[test]
    fn the_hosts_of_copies_can_be_told_apart() {
        for (host, shadow) in [
            ("example.com", "example.com-shadow"),
            ("example.com:8080", "example.com-shadow:8080"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]:80"),
        ] {
            let mut out = Vec::new();
            shadow_host(&mut out, host.as_bytes());
            assert_eq!(String::from_utf8_lossy(&out), shadow);
        }
    }

    /// A copy of a request begins, whose body is to come.
    fn begin(world: &World, buffer_limit: usize) -> MirrorBody {
        let options = MirrorOptions {
            cluster: world.cluster.clone(),
            codec_limits: &Limits::default(),
            buffer_limit,
            timeout: None,
            idle: None,
            priority: Priority::Default,
        };
        let exchange = exchange_of("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n");
        start(&world.reactor, &exchange, true, options).expect("a body is to come")
    }

    /// Its connection is full, and nothing tells that this will ever change.
    #[test]
    fn a_copy_that_is_given_up_ends_though_the_mirror_takes_nothing() {
        let config = model::Cluster { endpoints: vec![endpoint(1)], ..cluster() };
        let world = World::new(&config, 1);
        let _silent = world.network.listen(Address::Ip(([10, 0, 0, 1], 80).into()), 2000);
        let tasks = world.reactor.facts().tasks;
        let body = begin(&world, 8000);
        let sent = (1..100).find(|_| {
            world.advance(Duration::from_millis(1));
            !body.send(&world.reactor.pool().copy_from(&[b'a'; 1000]))
        });
        assert!(sent.is_some_and(|sent| sent > 8), "{sent:?}: the mirror has taken some of it");
        world.advance(Duration::from_millis(1));
        assert_eq!((world.reactor.facts().tasks, world.reactor.pool().in_use()), (tasks, 0));
    }

    /// A mirror that is gone holds nothing, and is not one that was too slow.
    #[test]
    fn a_copy_that_ended_early_takes_nothing_more() {
        let refused = model::Cluster { endpoints: vec![endpoint(1)], ..cluster() };
        for config in [cluster(), refused] {
            let world = World::new(&config, 1);
            let body = begin(&world, 1500);
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
            body.end(&Trailers::default());
        }
    }
}
