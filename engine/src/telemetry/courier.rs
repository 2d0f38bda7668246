//! Takes reports to a collector: a bounded queue, retries with back-off, and one line of the log when the collector turns bad
//! and one when it is well again.
//!
//! ```text
//! send ──> queue ──> try ──> taken
//!            │        ├────> refused: given up
//!            │        └────> failed, or "later": back-off, and another try, up to `TRIES_MAX`
//!            └ full: the oldest report is lost
//! ```

use super::Clusters;
use super::verdict::{Protocol, Verdict, judge};
use crate::cluster::Cluster;
use crate::cluster::call::{Call, CallBody, CallError, TimeLimit};
use crate::http::{FieldId, Length, Message, RequestHead, Trailers};
use crate::mux::{Limits, Piece, Source};
use crate::ring::{Buf, Reactor, TaskId, Timer};
use crate::upstream::Work;
use crate::upstream::limits::{Priority, Resource};
use ringway_config::model::{self, OtlpProtocol};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Where reports go, and how.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its time is for each try, with its connection.
    pub to: model::Destination,
    pub protocol: Protocol,
    pub content_type: &'static str,
    /// Reports under way at a time.
    pub at_once: usize,
}

impl Destination {
    /// A program that takes OpenTelemetry's protocol.
    pub fn otlp(to: &model::Destination, protocol: OtlpProtocol, at_once: usize) -> Self {
        let (protocol, content_type) = match protocol {
            OtlpProtocol::Http => (Protocol::OtlpHttp, "application/x-protobuf"),
            OtlpProtocol::Grpc => (Protocol::OtlpGrpc, "application/grpc"),
        };
        Self { to: to.clone(), protocol, content_type, at_once }
    }
}

/// What has become of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The collector took it, save for this number of its items.
    Taken { rejected: u64 },
    /// The collector refused it, or said "later" too often.
    Refused,
    /// The collector did not answer, too often.
    Unanswered,
    /// The configuration has no such cluster any more.
    NoCluster,
    /// It was the oldest in a full queue.
    Overflow,
}

/// Counts what becomes of reports.
pub trait Tally {
    /// A report with this number of items.
    fn ended(&self, fate: Fate, items: u64);
    /// A report is sent again.
    fn retried(&self);
}

/// Bytes of reports that wait.
const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Tries for one report.
const TRIES_MAX: u32 = 5;
/// The first back-off, which doubles with each try.
const BACK_OFF: Duration = Duration::from_millis(500);
/// The longest, also where the collector names a time.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// Tries that fail in a row before the log says that the collector is bad.
const BAD_AFTER: u32 = 2;
const USER_AGENT: &str = concat!("Ringway/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer that are looked at.
const ANSWER_MAX: u64 = 64 * 1024;

/// A report that waits.
struct Report {
    body: Buf,
    /// What is in it: spans, for example.
    items: u64,
}

pub struct Courier {
    reactor: Rc<Reactor>,
    clusters: Rc<Clusters>,
    destination: Destination,
    tally: Box<dyn Tally>,
    queue: RefCell<VecDeque<Report>>,
    queued_bytes: Cell<usize>,
    /// Each takes reports from the queue until it is empty.
    tasks: RefCell<Vec<TaskId>>,
    /// The process ends: nothing is put off any more.
    finishing: Cell<bool>,
    standing: Standing,
}

/// What is known of the collector, for the log.
#[derive(Default)]
struct Standing {
    /// Tries that have failed in a row.
    failures: Cell<u32>,
    is_bad: Cell<bool>,
    /// Items lost since it is.
    lost: Cell<u64>,
    /// It takes a part of what it gets, and the log has said so.
    rejects: Cell<bool>,
}

impl Courier {
    pub fn new(
        reactor: &Rc<Reactor>,
        clusters: &Rc<Clusters>,
        destination: Destination,
        tally: impl Tally + 'static,
    ) -> Rc<Self> {
        Rc::new(Self {
            reactor: reactor.clone(),
            clusters: clusters.clone(),
            destination,
            tally: Box::new(tally),
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            tasks: RefCell::default(),
            finishing: Cell::new(false),
            standing: Standing::default(),
        })
    }

    /// Sends `message`, which has this number of items, as soon as those before it are sent.
    pub fn send(self: &Rc<Self>, message: Vec<u8>, items: u64) {
        let body = match self.destination.protocol {
            Protocol::Http | Protocol::OtlpHttp => message,
            Protocol::OtlpGrpc => {
                let length = (message.len() as u32).to_be_bytes();
                [&[0][..], &length, &message].concat()
            }
        };
        self.queued_bytes.set(self.queued_bytes.get() + body.len());
        self.queue.borrow_mut().push_back(Report { body: body.into_boxed_slice().into(), items });
        while self.queued_bytes.get() > QUEUE_BYTES_MAX
            && let Some(oldest) = self.next()
        {
            self.end(Fate::Overflow, oldest.items);
        }
        if self.tasks.borrow().len() < self.destination.at_once {
            let task = self.reactor.spawn(work(self.clone()));
            self.tasks.borrow_mut().push(task);
        }
    }

    /// Bytes of reports that are not under way yet.
    pub fn waiting(&self) -> usize {
        self.queued_bytes.get()
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.tasks.borrow().is_empty()
    }

    /// The process ends: what waits for another try gets its last one now.
    pub fn finish(&self) {
        self.finishing.set(true);
        self.tasks.borrow().iter().for_each(|task| self.reactor.wake(*task));
    }

    fn next(&self) -> Option<Report> {
        let report = self.queue.borrow_mut().pop_front()?;
        self.queued_bytes.set(self.queued_bytes.get() - report.body.len());
        Some(report)
    }

    fn end(&self, fate: Fate, items: u64) {
        if !matches!(fate, Fate::Taken { .. }) {
            self.standing.lost.set(self.standing.lost.get() + items);
        }
        self.tally.ended(fate, items);
    }

    async fn deliver(&self, report: &Report) -> Fate {
        let mut tries = 1;
        loop {
            let is_last = self.finishing.get() || tries == TRIES_MAX;
            let Some(cluster) = self.clusters.get(&self.destination.to.cluster) else {
                self.failed("there is no such cluster any more", true);
                return Fate::NoCluster;
            };
            let (why, answered, after) = match self.attempt(&cluster, report).await {
                Verdict::Taken { rejected, why } => {
                    self.taken(rejected, &why);
                    return Fate::Taken { rejected };
                }
                Verdict::Refused(why) => {
                    self.failed(&why, true);
                    return Fate::Refused;
                }
                Verdict::Later { why, answered, after } => (why, answered, after),
            };
            self.failed(&why, false);
            if is_last {
                return if answered { Fate::Refused } else { Fate::Unanswered };
            }
            self.pause(tries, after).await;
            tries += 1;
            self.tally.retried();
            cluster.stats.upstream_rq_retry.inc();
        }
    }

    async fn attempt(&self, cluster: &Rc<Cluster>, report: &Report) -> Verdict {
        let permit = match cluster.limits.acquire(Resource::Requests, Priority::Default) {
            Ok(permit) => permit,
            Err(overflow) => {
                return Verdict::Later { why: overflow.config_key().into(), answered: false, after: None };
            }
        };
        let call = Call {
            cluster: cluster.clone(),
            permit,
            priority: Priority::Default,
            work: Work::Main,
            time: TimeLimit::Whole(self.destination.to.timeout),
            limits: Limits::default(),
            buffer_limit: 2 * report.body.len(),
        };
        let mut body = Body { whole: &report.body, taken: false };
        let outcome = call.ask(&self.reactor, &self.request(report), &mut body, ANSWER_MAX).await;
        judge(self.destination.protocol, outcome, self.destination.to.timeout, self.reactor.wall_micros() / 1_000_000)
    }

    fn request(&self, report: &Report) -> Message<RequestHead> {
        let Destination { to, protocol, content_type, .. } = &self.destination;
        let mut request = Message::request(b"POST", to.path.as_bytes(), to.host.as_bytes());
        let mut head = request.edit();
        head.add_known(FieldId::ContentType, |out| out.extend_from_slice(content_type.as_bytes()));
        head.add(b"user-agent", USER_AGENT.as_bytes());
        if *protocol == Protocol::OtlpGrpc {
            let timeout = format!("{}m", to.timeout.as_millis().clamp(1, 99_999_999));
            head.add_known(FieldId::GrpcTimeout, |out| out.extend_from_slice(timeout.as_bytes()));
        }
        to.headers.iter().for_each(|(name, value)| head.add(name.as_bytes(), value.0.as_bytes()));
        request.head.length = match protocol {
            Protocol::OtlpGrpc => Length::Unknown,
            Protocol::Http | Protocol::OtlpHttp => Length::Known(report.body.len() as u64),
        };
        request
    }

    /// Waits for the next try: about twice as long each time, or as long as the collector wants.
    async fn pause(&self, tries: u32, after: Option<Duration>) {
        let most = BACK_OFF * 2u32.pow(tries - 1);
        let jitter = Duration::from_nanos(self.reactor.random().below(most.as_nanos() as u64 / 2 + 1));
        let pause = after.map_or(most / 2, |after| after.min(BACK_OFF_MAX)) + jitter;
        let timer = Timer::new(&self.reactor);
        timer.arm_in(pause);
        poll_fn(|_| if timer.fired() || self.finishing.get() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn failed(&self, why: &str, is_final: bool) {
        let standing = &self.standing;
        standing.failures.set(standing.failures.get() + 1);
        if !(is_final || standing.failures.get() >= BAD_AFTER) || standing.is_bad.replace(true) {
            return;
        }
        standing.lost.set(0);
        tracing::warn!(
            target: "ringway::telemetry", cluster = %self.destination.to.cluster, path = %self.destination.to.path, reason = why,
            "the collector takes no reports: a few are kept and tried again, the others are lost and counted"
        );
    }

    fn taken(&self, rejected: u64, why: &str) {
        let standing = &self.standing;
        standing.failures.set(0);
        if standing.is_bad.replace(false) {
            tracing::info!(
                target: "ringway::telemetry", cluster = %self.destination.to.cluster, path = %self.destination.to.path, lost = standing.lost.get(),
                "the collector takes reports again"
            );
        }
        if standing.rejects.replace(rejected > 0) != (rejected > 0) && rejected > 0 {
            tracing::warn!(
                target: "ringway::telemetry", cluster = %self.destination.to.cluster, path = %self.destination.to.path, rejected, reason = why,
                "the collector does not take all that is in a report"
            );
        }
    }
}

/// Sends reports until there are none.
async fn work(courier: Rc<Courier>) {
    let _working = Working(&courier);
    while let Some(report) = courier.next() {
        let fate = courier.deliver(&report).await;
        courier.end(fate, report.items);
    }
}

/// Dropped, in whichever way the task ends, its place is free.
struct Working<'c>(&'c Courier);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let own = self.0.reactor.current_task();
        self.0.tasks.borrow_mut().retain(|task| *task != own);
    }
}

/// A report on its way, which may be sent again from its beginning.
struct Body<'r> {
    whole: &'r Buf,
    taken: bool,
}

impl Source for Body<'_> {
    type Error = CallError;

    fn poll_piece(&mut self) -> Poll<Result<Piece, CallError>> {
        let is_new = !std::mem::replace(&mut self.taken, true);
        let whole = || Piece::Data(self.whole.slice(0..self.whole.len()));
        Poll::Ready(Ok(if is_new && !self.whole.is_empty() { whole() } else { Piece::End }))
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

impl CallBody for Body<'_> {
    fn restart(&mut self) -> bool {
        self.taken = false;
        true
    }
}

#[cfg(test)]
#[path = "courier_tests.rs"]
mod tests;
