//! Statistics that are sent: at each interval all of them are read once, for all sinks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_config::model::{self, StatsSink};

use super::statsd::{self, Progress, Sink};
use crate::ring::Reactor;
use crate::stats::{Kind, Reader, Registry};

/// After this many datagrams there is a pause: receivers have room for a few hundred in the kernel.
const BURST: u32 = 32;
const PAUSE: Duration = Duration::from_millis(1);
/// Pauses that a sink without room is given in one report; then what is left of it is lost.
const PATIENCE: u32 = 500;

/// All sinks of the configuration.
pub(super) struct Stats {
    reactor: Rc<Reactor>,
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

impl Stats {
    pub fn new(reactor: &Rc<Reactor>, registry: Arc<Registry>) -> Rc<Self> {
        Rc::new(Self {
            reactor: reactor.clone(),
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
    }

    /// Sends a report; `false` if one is under way.
    async fn flush(&self) -> bool {
        let Some(mut work) = self.work.take() else { return false };
        self.registry.refresh();
        let now = self.reactor.wall_micros();
        let Work { reader, sinks } = &mut work;
        if let Some(reader) = reader {
            let mut pace = Pace { reactor: &self.reactor, burst: 0 };
            let lost: Vec<_> = sinks.iter().map(Sink::datagrams_lost).collect();
            let mut patience = vec![PATIENCE; sinks.len()];
            sinks.iter_mut().for_each(|sink| sink.look_up(now));
            reader.begin(&self.registry, now);
            while reader.next(&self.registry, |reading| sinks.iter_mut().for_each(|sink| sink.add(reading))) {
                for (sink, patience) in sinks.iter_mut().zip(&mut patience) {
                    pace.send(sink, patience).await;
                }
            }
            for (sink, (patience, lost)) in sinks.iter_mut().zip(patience.iter_mut().zip(lost)) {
                sink.finish();
                pace.send(sink, patience).await;
                sink.tell(lost);
            }
        }
        self.follow(&mut work);
        self.work.replace(Some(work));
        true
    }

    /// Makes the sinks that are configured, and forgets the others.
    fn follow(&self, work: &mut Work) {
        let config = self.config.borrow();
        let wanted = config.as_ref().map_or(&[][..], |stats| &stats.sinks);
        let now = self.reactor.wall_micros();
        let mut before = std::mem::take(&mut work.sinks);
        for StatsSink::Statsd(config) in wanted {
            let known = before.iter().position(|sink| sink.config() == config);
            let sink = known.map(|at| before.swap_remove(at));
            let mut sink = sink.unwrap_or_else(|| Sink::new(config, &self.registry));
            sink.look_up(now);
            work.sinks.push(sink);
        }
        for gone in before.iter().map(|sink| statsd::scope_name(sink.config())) {
            if !work.sinks.iter().any(|sink| statsd::scope_name(sink.config()) == gone) {
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
mod tests {
    use super::*;
    use crate::ring::PoolSize;
    use crate::stats::{ClusterStats, StatsSinkStats};
    use ringway_config::model::{Address, EndpointTarget, Statsd, StatsdDialect};
    use std::net::UdpSocket;

    struct World {
        reactor: Rc<Reactor>,
        registry: Arc<Registry>,
        stats: Rc<Stats>,
    }

    impl World {
        fn new() -> Self {
            let reactor = Reactor::simulated(1, PoolSize { count: 16, size: 1024 });
            let registry = Registry::new();
            let stats = Stats::new(&reactor, registry.clone());
            Self { reactor, registry, stats }
        }

        fn pass(&self, time: Duration) {
            let reactor = self.reactor.clone();
            self.reactor.block_on(async move { reactor.sleep(time).await });
        }

        fn requests(&self, count: u64) {
            self.registry.scope::<ClusterStats>("app", 0).upstream_rq_total.add(count);
        }
    }

    struct Receiver(UdpSocket);

    impl Receiver {
        fn new() -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
            socket.set_nonblocking(true).expect("a socket");
            Self(socket)
        }

        fn sink(&self, prefix: &str) -> StatsSink {
            let target = EndpointTarget::Address(Address::Ip(self.0.local_addr().expect("bound")));
            let dialect = StatsdDialect::Plain;
            StatsSink::Statsd(Statsd { dialect, target, prefix: prefix.into(), max_bytes_per_datagram: 1432 })
        }

        /// The lines about requests that have come.
        fn requests(&self) -> Vec<String> {
            let mut lines = Vec::new();
            let mut datagram = [0; 65536];
            while let Ok(len) = self.0.recv(&mut datagram) {
                let text = std::str::from_utf8(&datagram[..len]).expect("text");
                lines.extend(text.lines().filter(|line| line.contains("upstream_rq_total")).map(str::to_owned));
            }
            lines
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn config(sinks: &[StatsSink]) -> Option<model::Stats> {
        Some(model::Stats { flush_interval: SECOND, sinks: sinks.to_vec() })
    }

    #[test]
    fn reports_come_at_the_interval_and_follow_the_configuration() {
        let (world, first, second) = (World::new(), Receiver::new(), Receiver::new());
        world.requests(5);
        world.stats.apply(config(&[first.sink("a")]).as_ref());
        world.requests(2);
        world.pass(SECOND / 2);
        assert!(first.requests().is_empty());
        world.pass(SECOND);
        assert_eq!(first.requests(), ["a.cluster.app.upstream_rq_total:2|c"]);
        // Another one: both get what has happened since the last report.
        world.requests(3);
        world.stats.apply(config(&[first.sink("a"), second.sink("b")]).as_ref());
        world.pass(SECOND);
        assert_eq!(first.requests(), ["a.cluster.app.upstream_rq_total:3|c"]);
        assert_eq!(second.requests(), ["b.cluster.app.upstream_rq_total:3|c"]);
        assert_eq!(world.registry.names(Kind::StatsSink).len(), 2);
        // A longer interval, and one sink less.
        let slow = model::Stats { flush_interval: 3 * SECOND, sinks: vec![second.sink("b")] };
        world.stats.apply(Some(&slow));
        assert_eq!(world.registry.names(Kind::StatsSink).len(), 1);
        world.requests(1);
        world.pass(2 * SECOND);
        assert!(second.requests().is_empty());
        world.pass(2 * SECOND);
        assert_eq!(second.requests(), ["b.cluster.app.upstream_rq_total:1|c"]);
        // None at all; what happens meanwhile is nothing new to a later sink.
        world.stats.apply(None);
        world.requests(1);
        world.pass(10 * SECOND);
        world.stats.apply(Some(&slow));
        world.requests(4);
        let stats = world.stats.clone();
        world.reactor.block_on(async move { stats.finish().await });
        assert_eq!(second.requests(), ["b.cluster.app.upstream_rq_total:4|c"]);
        world.requests(1);
        world.pass(10 * SECOND);
        assert!(second.requests().is_empty() && first.requests().is_empty());
    }

    #[test]
    fn thousands_of_statistics_are_sent_in_bursts_with_pauses() {
        let (world, receiver) = (World::new(), Receiver::new());
        (0..1000).for_each(|index| drop(world.registry.scope::<ClusterStats>(&format!("app-{index}"), 0)));
        world.stats.apply(config(&[receiver.sink("a")]).as_ref());
        world.pass(SECOND + PAUSE);
        let StatsSink::Statsd(sink) = receiver.sink("a");
        let stats: Arc<StatsSinkStats> = world.registry.scope(&statsd::scope_name(&sink), crate::cluster::EXPORT);
        let first = stats.datagrams_sent.get();
        assert!((1..=2 * u64::from(BURST)).contains(&first), "{first}");
        world.pass(SECOND / 2);
        assert!(stats.datagrams_sent.get() > 4 * first, "{}", stats.datagrams_sent.get());
        assert_eq!((stats.flushes.get(), stats.datagrams_lost.get()), (1, 0));
    }
}
