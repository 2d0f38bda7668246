//! Statistics that are sent: at each interval all of them are read once, for all sinks.

mod otlp;
mod statsd;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_config::model::{self, StatsSink};

use super::Clusters;
use crate::ring::Reactor;
use crate::stats::{Kind, Reader, Reading, Registry};

/// After this many datagrams there is a pause: receivers have room for a few hundred in the kernel.
const BURST: u32 = 32;
const PAUSE: Duration = Duration::from_millis(1);
/// Pauses that a sink without room is given in one report; then what is left of it is lost.
const PATIENCE: u32 = 500;

/// All sinks of the configuration.
pub(super) struct Stats {
    reactor: Rc<Reactor>,
    clusters: Rc<Clusters>,
    registry: Arc<Registry>,
    config: RefCell<Option<model::Stats>>,
    /// `None`: a report is under way.
    work: RefCell<Option<Work>>,
    /// Counts the times that the interval changed: each has a task, which ends when it notices that another one has come.
    timer: Cell<u64>,
}

#[derive(Default)]
struct Work {
    /// `None` while there is no sink.
    reader: Option<Reader>,
    sinks: Vec<Sink>,
}

enum Sink {
    Statsd(statsd::Sink),
    Otlp(otlp::Sink),
}

/// What has become of a try to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// One datagram or report was sent, or is lost.
    One,
    /// The receiver has no room at the moment.
    Full,
    /// There is nothing more to send.
    Done,
}

impl Stats {
    pub fn new(reactor: &Rc<Reactor>, clusters: &Rc<Clusters>, registry: Arc<Registry>) -> Rc<Self> {
        Rc::new(Self {
            reactor: reactor.clone(),
            clusters: clusters.clone(),
            registry,
            config: RefCell::default(),
            work: RefCell::new(Some(Work::default())),
            timer: Cell::new(0),
        })
    }

    /// Switches over to a new configuration: a sink that stays goes on with what has changed since its last report.
    pub fn apply(self: &Rc<Self>, config: Option<&model::Stats>) {
        let interval = |config: Option<&model::Stats>| config.map(|stats| stats.flush_interval);
        let before = self.config.replace(config.cloned());
        if let Some(work) = &mut *self.work.borrow_mut() {
            self.follow(work);
        }
        if interval(before.as_ref()) == interval(config) {
            return;
        }
        self.timer.set(self.timer.get() + 1);
        if let Some(interval) = interval(config) {
            self.reactor.spawn(report(self.clone(), interval, self.timer.get()));
        }
    }

    /// Sends a last report.
    pub async fn finish(&self) {
        // The timers end.
        self.timer.set(self.timer.get() + 1);
        while !self.flush().await {
            self.reactor.sleep(PAUSE).await;
        }
        let Some(work) = self.work.take() else { return };
        work.sinks.iter().for_each(Sink::give_up_later);
        while !work.sinks.iter().all(Sink::is_idle) {
            self.reactor.sleep(PAUSE).await;
        }
    }

    /// Sends a report; `false` if one is under way.
    async fn flush(&self) -> bool {
        let Some(mut work) = self.work.take() else { return false };
        self.registry.refresh();
        let now = self.reactor.wall_micros();
        let Work { reader, sinks } = &mut work;
        if let Some(reader) = reader {
            let mut pace = Pace { reactor: &self.reactor, burst: 0 };
            let mut patience = vec![PATIENCE; sinks.len()];
            reader.begin(&self.registry, now);
            sinks.iter_mut().for_each(|sink| sink.begin(reader.interval()));
            while reader.next(&self.registry, |reading| sinks.iter_mut().for_each(|sink| sink.add(reading))) {
                for (sink, patience) in sinks.iter_mut().zip(&mut patience) {
                    pace.send(sink, patience).await;
                }
            }
            for (sink, patience) in sinks.iter_mut().zip(&mut patience) {
                sink.finish();
                pace.send(sink, patience).await;
            }
        }
        self.follow(&mut work);
        self.work.replace(Some(work));
        true
    }

    fn sink(&self, config: &StatsSink, now: u64) -> Sink {
        match config {
            StatsSink::Statsd(config) => {
                let mut sink = statsd::Sink::new(config, &self.registry);
                sink.look_up(now);
                Sink::Statsd(sink)
            }
            StatsSink::Otlp(config) => {
                Sink::Otlp(otlp::Sink::new(config, &self.reactor, &self.clusters, &self.registry))
            }
        }
    }

    /// Makes the sinks that are configured, and forgets the others.
    fn follow(&self, work: &mut Work) {
        let config = self.config.borrow();
        let wanted = config.as_ref().map_or(&[][..], |stats| &stats.sinks);
        let now = self.reactor.wall_micros();
        let mut before = std::mem::take(&mut work.sinks);
        for config in wanted {
            let known = before.iter().position(|sink| sink.is(config));
            let sink = known.map(|at| before.swap_remove(at));
            work.sinks.push(sink.unwrap_or_else(|| self.sink(config, now)));
        }
        for gone in before.iter().map(Sink::scope_name) {
            if !work.sinks.iter().any(|sink| sink.scope_name() == gone) {
                self.registry.remove(Kind::StatsSink, &gone);
            }
        }
        match work.sinks.is_empty() {
            true => work.reader = None,
            false => {
                let start = now - self.reactor.now() / 1000;
                work.reader.get_or_insert_with(|| Reader::new(&self.registry, start, now));
            }
        }
    }
}

impl Sink {
    fn is(&self, config: &StatsSink) -> bool {
        match (self, config) {
            (Self::Statsd(sink), StatsSink::Statsd(config)) => sink.config() == config,
            (Self::Otlp(sink), StatsSink::Otlp(config)) => sink.config() == config,
            _ => false,
        }
    }

    fn scope_name(&self) -> String {
        match self {
            Self::Statsd(sink) => statsd::scope_name(sink.config()),
            Self::Otlp(sink) => otlp::scope_name(sink.config()),
        }
    }

    fn begin(&mut self, interval: (u64, u64)) {
        match self {
            Self::Statsd(sink) => sink.begin(interval.1),
            Self::Otlp(sink) => sink.begin(interval),
        }
    }

    fn add(&mut self, reading: &Reading<'_>) {
        match self {
            Self::Statsd(sink) => sink.add(reading),
            Self::Otlp(sink) => sink.add(reading),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Statsd(sink) => sink.finish(),
            Self::Otlp(sink) => sink.finish(),
        }
    }

    fn send(&mut self, gives_up: bool) -> Progress {
        match self {
            Self::Statsd(sink) => sink.send(gives_up),
            Self::Otlp(sink) => sink.send(gives_up),
        }
    }

    /// The process ends: what could not be sent is not put off any more.
    fn give_up_later(&self) {
        match self {
            Self::Statsd(_) => {}
            Self::Otlp(sink) => sink.give_up_later(),
        }
    }

    /// Whether nothing is under way.
    fn is_idle(&self) -> bool {
        match self {
            Self::Statsd(_) => true,
            Self::Otlp(sink) => sink.is_idle(),
        }
    }
}

/// Sends reports as long as `timer` is the last one.
async fn report(stats: Rc<Stats>, interval: Duration, timer: u64) {
    let start = stats.reactor.now();
    let interval_nanos = interval.as_nanos() as u64;
    loop {
        // A report that takes longer than the interval delays none of the later ones.
        let rest = interval_nanos - (stats.reactor.now() - start) % interval_nanos;
        stats.reactor.sleep(Duration::from_nanos(rest)).await;
        if stats.timer.get() != timer {
            return;
        }
        stats.flush().await;
    }
}

/// Sends no faster than receivers take datagrams.
struct Pace<'a> {
    reactor: &'a Rc<Reactor>,
    /// Datagrams since the last pause.
    burst: u32,
}

impl Pace<'_> {
    async fn send(&mut self, sink: &mut Sink, patience: &mut u32) {
        loop {
            match sink.send(*patience == 0) {
                Progress::Done => return,
                Progress::One => self.burst += 1,
                Progress::Full => {
                    *patience -= 1;
                    self.burst = BURST;
                }
            }
            if self.burst >= BURST {
                self.burst = 0;
                self.reactor.sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
