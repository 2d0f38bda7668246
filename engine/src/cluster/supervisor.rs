//! The control side of the clusters: it runs their health checks and outlier detection on one reactor, for the whole
//! process, and follows changes of members and configurations.
//!
//! Each check of an endpoint is a task, and so is a cluster's outlier detection. Reports of shards and changes by discovery
//! arrive through the cluster's queue, which wakes the reactor ([`Supervisor::look`]).

use super::health::{Event, EventKind, EventLog, Failure, Missed, Prober, Session, Transition, Verdict, interval};
use super::host::{HealthFlags, Host, HostState};
use super::members::{CONTROL, ClusterShared};
use super::outlier::Detector;
use super::report::Report;
use super::warm::{FirstLook, Warm};
use crate::base::clock::nanos;
use crate::net::Network;
use crate::ring::{Reactor, TaskId};
use crate::stats::{ClusterStats, ClusterTlsStats, HealthCheckStats, Registry};
use ringway_config::model::{self, HealthCheck};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often the wall clock is read again, since events carry its time.
const RESYNC: Duration = Duration::from_secs(1);

pub struct Supervisor {
    reactor: Rc<Reactor>,
    network: Network,
    registry: Arc<Registry>,
    events: EventLog,
    clusters: RefCell<Vec<Rc<Watched>>>,
}

impl Supervisor {
    pub fn new(reactor: &Rc<Reactor>, network: Network, registry: Arc<Registry>, events: EventLog) -> Self {
        reactor.spawn(follow_clock(reactor.clone()));
        Self { reactor: reactor.clone(), network, registry, events, clusters: RefCell::default() }
    }

    /// Whether the cluster has anything to supervise.
    pub fn is_needed(cluster: &model::Cluster) -> bool {
        !cluster.health_checks.is_empty() || cluster.outlier_detection.is_some()
    }

    /// Switches over to these clusters. Those that were watched before continue as they are; `warm` is dropped when each
    /// endpoint of the others has been checked once.
    pub fn apply(&self, clusters: &[Arc<ClusterShared>], warm: &Warm) {
        let stays: HashSet<_> = clusters.iter().map(Arc::as_ptr).collect();
        let is_kept = |watched: &Rc<Watched>| stays.contains(&Arc::as_ptr(&watched.shared));
        let (kept, gone): (Vec<_>, Vec<_>) = self.clusters.take().into_iter().partition(is_kept);
        gone.iter().for_each(|watched| watched.end());
        let kept: HashMap<_, _> = kept.into_iter().map(|watched| (Arc::as_ptr(&watched.shared), watched)).collect();
        let watched = |shared: &Arc<ClusterShared>| {
            kept.get(&Arc::as_ptr(shared)).cloned().unwrap_or_else(|| self.watch(shared, warm))
        };
        self.clusters.replace(clusters.iter().filter(|shared| Self::is_needed(&shared.config)).map(watched).collect());
    }

    /// Handles reports and changes of the members.
    pub fn look(&self) {
        // Handling a report adds no cluster, so the list stays borrowed.
        for watched in self.clusters.borrow().iter() {
            watched.look();
        }
    }

    fn watch(&self, shared: &Arc<ClusterShared>, warm: &Warm) -> Rc<Watched> {
        let name = &shared.config.name;
        shared.reports.attach(self.reactor.unpark_handle());
        let checked = !shared.config.health_checks.is_empty();
        let ejects = shared.outlier.is_some();
        let detector = ejects.then(|| Detector::new(shared, self.registry.scope(name, CONTROL))).flatten();
        let watched = Rc::new(Watched {
            reactor: self.reactor.clone(),
            network: self.network.clone(),
            registry: self.registry.clone(),
            events: self.events.clone(),
            stats: checked.then(|| self.registry.scope(name, CONTROL)),
            tls_stats: (checked && shared.speaks_tls()).then(|| self.registry.scope(name, CONTROL)),
            detector: RefCell::new(detector),
            shared: shared.clone(),
            members: RefCell::new(Arc::new([])),
            checked: RefCell::default(),
            ejector: Cell::new(TaskId::NONE),
            traffic: Cell::new(false),
        });
        watched.follow_members(Some(warm));
        let interval = watched.detector.borrow().as_ref().map(Detector::interval);
        if let Some(interval) = interval {
            watched.ejector.set(self.reactor.spawn(eject(watched.clone(), interval)));
        }
        watched
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.clusters.borrow().iter().for_each(|watched| watched.end());
    }
}

/// One cluster under supervision.
struct Watched {
    reactor: Rc<Reactor>,
    network: Network,
    registry: Arc<Registry>,
    events: EventLog,
    shared: Arc<ClusterShared>,
    /// `None` without health checks.
    stats: Option<Arc<HealthCheckStats>>,
    /// Where handshakes of checks count, if they make any.
    tls_stats: Option<Arc<ClusterTlsStats>>,
    detector: RefCell<Option<Detector>>,
    /// The members at the last look.
    members: RefCell<Arc<[Arc<Host>]>>,
    checked: RefCell<HashMap<*const HostState, Checked>>,
    ejector: Cell<TaskId>,
    /// The cluster has had a connection for a request.
    traffic: Cell<bool>,
}

/// One endpoint under checks.
struct Checked {
    /// With its current description.
    host: Arc<Host>,
    /// One for each check of the cluster.
    sessions: Vec<Session>,
    tasks: Vec<TaskId>,
    /// For each check, why it failed last; `None` once it finds the endpoint healthy.
    reasons: Vec<Option<Arc<str>>>,
}

/// The effect of one check on its endpoint.
struct Step {
    /// It was the first result of this check for the endpoint.
    first: bool,
    transition: Transition,
    /// The endpoint has become healthy or unhealthy, by all of its checks together.
    turned: bool,
    /// At least one check finds the endpoint degraded.
    degraded: bool,
    /// At least one check finds it failed by a timeout.
    timed_out: bool,
    /// No check finds the endpoint failed or wants to leave it out.
    included: bool,
}

impl Checked {
    fn is_failed(&self) -> bool {
        self.sessions.iter().any(Session::is_failed)
    }
}

impl Watched {
    fn look(self: &Rc<Self>) {
        for report in self.shared.reports.take() {
            match report {
                Report::Members => self.follow_members(None),
                Report::Consecutive(host, ejection) => {
                    if let Some(detector) = &mut *self.detector.borrow_mut() {
                        detector.on_consecutive(&host, ejection, self.reactor.now(), self.reactor.random());
                    }
                }
                Report::ImmediateHealthCheckFail(host) => {
                    if self.checked.borrow().contains_key(&Arc::as_ptr(&host.state)) {
                        for index in 0..self.shared.config.health_checks.len() {
                            self.exclude(&host, index);
                            self.fail(&host, index, Missed::passive());
                        }
                    }
                }
            }
        }
    }

    /// Begins the checks of new endpoints and ends those of removed ones.
    fn follow_members(self: &Rc<Self>, warm: Option<&Warm>) {
        let members = self.shared.hosts();
        if Arc::ptr_eq(&members, &self.members.borrow()) {
            return;
        }
        if let Some(detector) = &mut *self.detector.borrow_mut() {
            detector.follow_members();
        }
        if self.stats.is_some() {
            let mut before = self.checked.take();
            let mut after = HashMap::with_capacity(members.len());
            for host in members.iter() {
                let key = Arc::as_ptr(&host.state);
                let known = before.remove(&key).map(|checked| Checked { host: host.clone(), ..checked });
                let checked = known.unwrap_or_else(|| self.begin(host, warm));
                after.insert(key, checked);
            }
            before.into_values().flat_map(|gone| gone.tasks).for_each(|task| self.reactor.cancel(task));
            self.checked.replace(after);
            self.count();
        }
        self.members.replace(members);
    }

    fn begin(self: &Rc<Self>, host: &Arc<Host>, warm: Option<&Warm>) -> Checked {
        let flags = host.flags();
        let checks = &self.shared.config.health_checks;
        let look = || warm.map(|warm| warm.first_look(&self.shared.config.name, &host.name));
        let task = |index| self.reactor.spawn(check(self.clone(), host.clone(), index, look()));
        Checked {
            host: host.clone(),
            sessions: checks.iter().map(|_| Session::new(flags)).collect(),
            tasks: (0..checks.len()).map(task).collect(),
            reasons: vec![None; checks.len()],
        }
    }

    /// Ends all tasks, which hold this, and takes back the gauges of the current state.
    fn end(&self) {
        self.count_check(|stats| {
            stats.healthy.set(0);
            stats.degraded.set(0);
        });
        if let Some(detector) = self.detector.take() {
            detector.end();
        }
        self.reactor.cancel(self.ejector.get());
        self.checked.take().into_values().flat_map(|gone| gone.tasks).for_each(|task| self.reactor.cancel(task));
    }

    /// Records the end of a check and returns the time until the next one.
    fn record(&self, host: &Arc<Host>, index: usize, verdict: Verdict) -> Duration {
        let passed = verdict.result.is_ok();
        if verdict.excluded {
            self.exclude(host, index);
        }
        let transition = match verdict.result {
            // It counts neither as passed nor as failed, and what was known of the endpoint stays.
            Err(Missed { failure: Failure::Local, .. }) => {
                self.count_check(|stats| stats.local_shortage.inc());
                Transition::Unchanged
            }
            Ok(passed) => self.pass(host, index, passed.degraded),
            Err(missed) => self.fail(host, index, missed),
        };
        let check = &self.shared.config.health_checks[index];
        let time = interval(check, passed, transition, self.has_traffic());
        let jitter = nanos(check.interval_jitter);
        let jitter = if jitter > 0 { self.reactor.random().below(jitter) } else { 0 };
        // Never at once, so that other tasks of the thread run.
        (time + Duration::from_nanos(jitter)).max(Duration::from_millis(1))
    }

    fn pass(&self, host: &Arc<Host>, index: usize, degraded: bool) -> Transition {
        let check = &self.shared.config.health_checks[index];
        let Some(step) = self.step(host, index, |session| session.pass(check, degraded)) else {
            return Transition::Unchanged;
        };
        let Step { first, transition, turned, degraded, timed_out, included } = step;
        self.count_check(|stats| stats.success.inc());
        if transition != Transition::Pending {
            self.note(host, index, None);
        }
        // Also where the endpoint does not turn: another check may find it failed while this one wanted to leave it out.
        let over = [
            (turned, HealthFlags::FAILED_ACTIVE_HC),
            (!timed_out, HealthFlags::ACTIVE_HC_TIMEOUT),
            (included, HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL),
        ];
        let over = over.iter().filter(|(over, _)| *over).fold(0, |flags, (_, flag)| flags | flag.0);
        self.shared.set_flag(host, HealthFlags(over), false);
        if turned {
            tracing::info!(
                target: "ringway::health", cluster = %self.shared.config.name, host = %host.name, first, "healthy"
            );
            self.event(check, host, EventKind::AddHealthy { first });
        }
        if self.shared.set_flag(host, HealthFlags::DEGRADED_ACTIVE_HC, degraded) {
            let change = if degraded { "degraded" } else { "no longer degraded" };
            tracing::info!(
                target: "ringway::health", cluster = %self.shared.config.name, host = %host.name, "{change}"
            );
            self.event(check, host, if degraded { EventKind::Degraded } else { EventKind::NoLongerDegraded });
            self.count_check(|stats| stats.degraded.add(if degraded { 1 } else { -1 }));
        }
        if let Some(detector) = &mut *self.detector.borrow_mut() {
            detector.on_check_passed(host, self.reactor.now());
        }
        transition
    }

    fn fail(&self, host: &Arc<Host>, index: usize, missed: Missed) -> Transition {
        let check = &self.shared.config.health_checks[index];
        let Missed { failure, reason } = &missed;
        let step = self.step(host, index, |session| session.fail(check, *failure));
        let Some(Step { first, transition, turned, timed_out, .. }) = step else {
            return Transition::Unchanged;
        };
        self.count_check(|stats| {
            stats.failure.inc();
            stats.network_failure.add(u64::from(failure.is_network()));
            stats.passive_failure.add(u64::from(*failure == Failure::Passive));
        });
        self.note(host, index, Some(reason));
        let (cluster, name) = (&self.shared.config.name, &host.name);
        let failure = failure.name();
        if turned {
            tracing::warn!(target: "ringway::health", %cluster, host = %name, failure, reason, "unhealthy");
            self.event(check, host, EventKind::EjectUnhealthy(&missed));
            self.shared.set_flag(host, HealthFlags::FAILED_ACTIVE_HC, true);
        } else if first {
            tracing::warn!(target: "ringway::health", %cluster, host = %name, failure, reason, "first check failed");
        } else {
            tracing::debug!(target: "ringway::health", %cluster, host = %name, failure, reason, "check failed");
        }
        self.shared.set_flag(host, HealthFlags::ACTIVE_HC_TIMEOUT, timed_out);
        if first || check.always_log_failures {
            self.event(check, host, EventKind::Failure { missed: &missed, first });
        }
        transition
    }

    /// Keeps why a check failed, or that it finds the endpoint healthy. `/clusters` shows the first check that fails.
    fn note(&self, host: &Arc<Host>, index: usize, reason: Option<&str>) {
        if let Some(checked) = self.checked.borrow_mut().get_mut(&Arc::as_ptr(&host.state))
            && checked.reasons[index].as_deref() != reason
        {
            checked.reasons[index] = reason.map(Into::into);
            host.state.set_failure(checked.reasons.iter().flatten().next().cloned());
        }
    }

    /// Leaves the endpoint out, at its own request, until this check finds it healthy.
    fn exclude(&self, host: &Arc<Host>, index: usize) {
        if let Some(checked) = self.checked.borrow_mut().get_mut(&Arc::as_ptr(&host.state)) {
            checked.sessions[index].excluded = true;
            self.shared.set_flag(host, HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL, true);
        }
    }

    /// Passes the result of a check to its session. `None`: the endpoint is gone.
    fn step(&self, host: &Arc<Host>, index: usize, tell: impl FnOnce(&mut Session) -> Transition) -> Option<Step> {
        let mut checked = self.checked.borrow_mut();
        let checked = checked.get_mut(&Arc::as_ptr(&host.state))?;
        let (first, before) = (checked.sessions[index].is_first(), checked.is_failed());
        let transition = tell(&mut checked.sessions[index]);
        let after = checked.is_failed();
        self.count_check(|stats| stats.healthy.add(i64::from(before) - i64::from(after)));
        let sessions = &checked.sessions;
        Some(Step {
            first,
            transition,
            turned: before != after,
            degraded: sessions.iter().any(|session| session.degraded),
            timed_out: sessions.iter().any(Session::is_timed_out),
            included: !sessions.iter().any(|session| session.is_failed() || session.excluded),
        })
    }

    /// The endpoint with its current description; `None` where that is still `host`.
    fn renewed(&self, host: &Arc<Host>) -> Option<Arc<Host>> {
        let checked = self.checked.borrow();
        let now = &checked.get(&Arc::as_ptr(&host.state))?.host;
        (!Arc::ptr_eq(now, host)).then(|| now.clone())
    }

    fn has_traffic(&self) -> bool {
        if !self.traffic.get() {
            let total = |stats: &ClusterStats| stats.upstream_cx_total.get() as i64;
            self.traffic.set(self.registry.sum(&self.shared.config.name, total) > 0);
        }
        self.traffic.get()
    }

    fn count_check(&self, count: impl FnOnce(&HealthCheckStats)) {
        if let Some(stats) = &self.stats {
            count(stats);
        }
    }

    fn count(&self) {
        let checked = self.checked.borrow();
        let degraded = |checked: &&Checked| checked.host.flags().contains(HealthFlags::DEGRADED_ACTIVE_HC);
        self.count_check(|stats| {
            stats.healthy.set(checked.values().filter(|checked| !checked.is_failed()).count() as i64);
            stats.degraded.set(checked.values().filter(degraded).count() as i64);
        });
    }

    fn event(&self, check: &HealthCheck, host: &Host, kind: EventKind<'_>) {
        if let Some(path) = &check.event_log {
            let (cluster, wall) = (self.shared.config.name.as_str(), self.reactor.wall_micros());
            self.events.write(path, &Event { kind, cluster, host, check: &check.kind, wall });
        }
    }
}

/// One check of one endpoint, again and again while it is a member, also when its address changes.
async fn check(watched: Rc<Watched>, mut host: Arc<Host>, index: usize, first: Option<FirstLook>) {
    let check = &watched.shared.config.health_checks[index];
    let Watched { reactor, network, shared, tls_stats, .. } = &*watched;
    let mut prober = Prober::new(reactor, network, shared, &host, check, tls_stats.as_ref());
    let mut first = first;
    // Follows the endpoint and says whether it has moved.
    let follow = |host: &mut Arc<Host>, prober: &mut Prober| {
        let Some(renewed) = watched.renewed(host) else { return false };
        let has_moved = prober.follow(&watched.shared, &renewed);
        *host = renewed;
        has_moved
    };
    loop {
        follow(&mut host, &mut prober);
        watched.count_check(|stats| stats.attempt.inc());
        let mut verdict = prober.probe().await;
        // The check failed at an address that requests no longer use. Checked again only once, so that an endpoint that
        // keeps moving gets a result, too.
        if verdict.result.is_err() && follow(&mut host, &mut prober) {
            watched.count_check(|stats| stats.attempt.inc());
            verdict = prober.probe().await;
        }
        let time = watched.record(&host, index, verdict);
        first.take();
        prober.rest(time).await;
    }
}

/// Runs the intervals of a cluster's outlier detection.
async fn eject(watched: Rc<Watched>, interval: Duration) {
    loop {
        watched.reactor.sleep(interval).await;
        if let Some(detector) = &mut *watched.detector.borrow_mut() {
            detector.on_interval(watched.reactor.now(), watched.reactor.random());
        }
    }
}

async fn follow_clock(reactor: Rc<Reactor>) {
    loop {
        reactor.sleep(RESYNC).await;
        reactor.resync_clock();
    }
}
