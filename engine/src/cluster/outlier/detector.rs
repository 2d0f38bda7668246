//! The deciding side of outlier detection, on the control thread: which endpoints are ejected, for how long, and when they
//! return. Follows Envoy's outlier_detection_impl.cc step by step.

use super::monitor::{Ejection, reset};
use super::rates::{NO_RATE, Origin, Tally, threshold};
use super::shared::OutlierShared;
use crate::base::clock::{Nanos, nanos};
use crate::base::random::Random;
use crate::base::span::Span;
use crate::cluster::host::{Health, HealthFlags, Host, HostState};
use crate::cluster::members::ClusterShared;
use crate::stats::{Counter, OutlierStats};
use ringway_config::model::OutlierDetection;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Outlier detection of one cluster.
pub struct Detector {
    cluster: Arc<ClusterShared>,
    config: OutlierDetection,
    stats: Arc<OutlierStats>,
    monitored: HashMap<*const HostState, Monitored>,
    active: u32,
}

/// The memory of one endpoint.
struct Monitored {
    host: Arc<Host>,
    ejections: u32,
    ejected_at: Nanos,
    returned_at: Option<Nanos>,
    /// Ejection time in units of `base_ejection_time`; grows with each ejection, shrinks with each good interval.
    multiplier: u32,
    jitter: Nanos,
    /// Ejected beyond `max_ejection_percent`, which holds while its priority has another usable endpoint.
    beyond: bool,
    /// What the log said was not enforced since the last ejection, and when.
    said: Vec<((Ejection, Kept), Nanos)>,
    seen: [Tally; 2],
}

/// Why an endpoint that is detected stays in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// By its percentage of ejections to enforce.
    BySetting,
    /// Too many are ejected.
    ByPercentage,
}

impl Monitored {
    fn is_ejected(&self) -> bool {
        self.host.flags().contains(HealthFlags::FAILED_OUTLIER_CHECK)
    }
}

/// An endpoint with enough requests in the interval.
struct Rated {
    host: *const HostState,
    rate: f64,
    volume: u64,
}

impl Detector {
    /// `None` for a cluster without outlier detection.
    pub fn new(cluster: &Arc<ClusterShared>, stats: Arc<OutlierStats>) -> Option<Self> {
        let config = cluster.config.outlier_detection.clone()?;
        let mut detector = Self { cluster: cluster.clone(), config, stats, monitored: HashMap::new(), active: 0 };
        detector.follow_members();
        Some(detector)
    }

    /// The cluster is gone from the configuration or has changed.
    pub fn end(self) {
        self.stats.ejections_active.set(0);
    }

    pub fn interval(&self) -> Duration {
        self.config.interval
    }

    /// Takes over the cluster's current members.
    pub fn follow_members(&mut self) {
        let hosts = self.cluster.hosts();
        let mut before = std::mem::take(&mut self.monitored);
        for host in hosts.iter() {
            let key = Arc::as_ptr(&host.state);
            // The host may have been described again.
            let known = before.remove(&key).map(|monitored| Monitored { host: host.clone(), ..monitored });
            let monitored = known.unwrap_or_else(|| Monitored {
                host: host.clone(),
                ejections: 0,
                ejected_at: 0,
                returned_at: None,
                multiplier: 0,
                jitter: 0,
                beyond: false,
                said: Vec::new(),
                seen: Origin::ALL.map(|origin| Tally::of(origin, &host.state.stats)),
            });
            self.monitored.insert(key, monitored);
        }
        self.set_active(self.monitored.values().filter(|monitored| monitored.is_ejected()).count() as u32);
    }

    /// An endpoint has reached the limit of failures in a row.
    pub fn on_consecutive(&mut self, host: &Arc<Host>, ejection: Ejection, now: Nanos, random: &Random) {
        let key = Arc::as_ptr(&host.state);
        // The endpoint was removed meanwhile, or ejected for another reason.
        if self.monitored.get(&key).is_none_or(Monitored::is_ejected) {
            return;
        }
        self.detected(ejection).inc();
        self.eject(key, ejection, None, now, random);
        if let Some(counter) = host.state.monitor.consecutive(ejection) {
            reset(counter);
        }
    }

    /// An active health check passed. Envoy: successful_active_health_check_uneject_host.
    pub fn on_check_passed(&mut self, host: &Arc<Host>, now: Nanos) {
        let flags = host.flags();
        if self.config.successful_active_health_check_uneject_host
            && flags.contains(HealthFlags::FAILED_OUTLIER_CHECK)
            && !flags.contains(HealthFlags::FAILED_ACTIVE_HC)
        {
            self.bring_back(Arc::as_ptr(&host.state), now, "active health check passed");
        }
    }

    /// Once each interval.
    pub fn on_interval(&mut self, now: Nanos, random: &Random) {
        let over: Vec<_> =
            self.monitored.iter().filter(|(_, monitored)| self.is_over(monitored, now)).map(|(key, _)| *key).collect();
        for key in over {
            self.bring_back(key, now, "ejection time is over");
        }
        let mut beyond = self.monitored.iter().filter(|(_, monitored)| monitored.beyond && monitored.is_ejected());
        let lonely = beyond.find(|(key, _)| !self.has_usable_next_to(**key)).map(|(key, _)| *key);
        if let Some(key) = lonely {
            self.bring_back(key, now, "no other endpoint of its priority is usable");
        }
        for origin in Origin::ALL {
            self.judge_rates(origin, now, random);
        }
        for monitored in self.monitored.values_mut().filter(|monitored| !monitored.is_ejected()) {
            let calm = monitored.returned_at.is_some_and(|at| now.saturating_sub(at) >= nanos(self.config.interval));
            if calm {
                monitored.multiplier = monitored.multiplier.saturating_sub(1);
            }
        }
    }

    /// Whether another endpoint of its priority is usable.
    fn has_usable_next_to(&self, key: *const HostState) -> bool {
        let priority = self.monitored[&key].host.spec.priority;
        self.monitored.iter().any(|(other, Monitored { host, .. })| {
            *other != key && host.spec.priority == priority && host.health() != Health::Unhealthy
        })
    }

    fn is_over(&self, monitored: &Monitored, now: Nanos) -> bool {
        monitored.is_ejected() && now.saturating_sub(monitored.ejected_at) >= self.ejection_time(monitored)
    }

    fn ejection_time(&self, monitored: &Monitored) -> Nanos {
        let grown = nanos(self.config.base_ejection_time).saturating_mul(monitored.multiplier.into());
        grown.min(nanos(self.config.max_ejection_time)).saturating_add(monitored.jitter)
    }

    /// Success rates and failure percentages of the interval that ends now.
    fn judge_rates(&mut self, origin: Origin, now: Nanos, random: &Random) {
        let config = self.config.clone();
        let rated = self.rate(origin);
        self.shared().set_success_rates(origin, NO_RATE, NO_RATE);
        let hosts = self.monitored.len();
        let minimum = config.success_rate_minimum_hosts.min(config.failure_percentage_minimum_hosts) as usize;
        if hosts < minimum {
            return;
        }
        let (by_rate, by_percentage) = match origin {
            Origin::External => (Ejection::SuccessRate, Ejection::FailurePercentage),
            Origin::Local => (Ejection::SuccessRateLocalOrigin, Ejection::FailurePercentageLocalOrigin),
        };
        let enough = |volume: u32| rated.iter().filter(move |rated| rated.volume >= volume.into());
        let rates: Vec<f64> = enough(config.success_rate_request_volume).map(|rated| rated.rate).collect();
        if !rates.is_empty() && rates.len() >= config.success_rate_minimum_hosts as usize {
            let (mean, least) = threshold(&rates, config.success_rate_stdev_factor);
            self.shared().set_success_rates(origin, mean, least);
            for outlier in enough(config.success_rate_request_volume).filter(|rated| rated.rate < least) {
                self.detected(by_rate).inc();
                self.eject(outlier.host, by_rate, Some((outlier.rate, least)), now, random);
            }
        }
        let volume = config.failure_percentage_request_volume;
        let count = enough(volume).count();
        if count > 0 && count >= config.failure_percentage_minimum_hosts as usize {
            let least = 100.0 - f64::from(config.failure_percentage_threshold);
            for failing in enough(volume).filter(|rated| rated.rate <= least) {
                self.detected(by_percentage).inc();
                self.eject(failing.host, by_percentage, Some((failing.rate, least)), now, random);
            }
        }
    }

    /// The interval's rates of the endpoints that are not ejected.
    fn rate(&mut self, origin: Origin) -> Vec<Rated> {
        let least =
            u64::from(self.config.success_rate_request_volume.min(self.config.failure_percentage_request_volume));
        let mut rated = Vec::new();
        for (key, monitored) in &mut self.monitored {
            let tally = Tally::of(origin, &monitored.host.state.stats);
            let seen = std::mem::replace(&mut monitored.seen[origin as usize], tally);
            let interval = tally.since(seen);
            let rate = interval.rate().filter(|_| interval.results >= least && !monitored.is_ejected());
            monitored.host.state.monitor.set_success_rate(origin, rate.unwrap_or(NO_RATE));
            if let Some(rate) = rate {
                rated.push(Rated { host: *key, rate, volume: interval.results });
            }
        }
        // The map has no order. Where few ejections are left, the worst endpoints are ejected first.
        rated.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        rated
    }

    /// Ejects an endpoint, unless too many are already ejected or the configuration only wants to know. `rates` are the
    /// percentages of the endpoint and of the threshold.
    fn eject(
        &mut self,
        key: *const HostState,
        ejection: Ejection,
        rates: Option<(f64, f64)>,
        now: Nanos,
        random: &Random,
    ) {
        let share = 100.0 * f64::from(self.active + 1) / self.monitored.len().max(1) as f64;
        let beyond = share > f64::from(self.config.max_ejection_percent);
        if self.monitored.get(&key).is_none_or(Monitored::is_ejected) {
            return;
        }
        let (enforced, counter) = enforcement(&self.config, &self.stats, ejection);
        if beyond && !(self.config.always_eject_one_host && self.active == 0 && self.has_usable_next_to(key)) {
            self.stats.ejections_overflow.inc();
            // What is never enforced stays for that reason, however many others are ejected.
            let why = if enforced == 0 { Kept::BySetting } else { Kept::ByPercentage };
            return self.say_not_enforced(key, ejection, rates, why, now);
        }
        let Some(monitored) = self.monitored.get_mut(&key) else { return };
        if random.below(100) >= enforced.into() {
            return self.say_not_enforced(key, ejection, rates, Kept::BySetting, now);
        }
        monitored.ejections += 1;
        monitored.beyond = beyond;
        monitored.ejected_at = now;
        monitored.said.clear();
        let jitter = nanos(self.config.max_ejection_time_jitter);
        monitored.jitter = random.below(jitter.saturating_add(1));
        let base = nanos(self.config.base_ejection_time);
        let longest = nanos(self.config.max_ejection_time).saturating_add(base);
        if base.saturating_mul(monitored.multiplier.into()) < longest {
            monitored.multiplier += 1;
        }
        self.stats.ejections_enforced_total.inc();
        counter.inc();
        self.cluster.set_flag(&monitored.host, HealthFlags::FAILED_OUTLIER_CHECK, true);
        let monitored = &self.monitored[&key];
        let time = Span(Duration::from_nanos(self.ejection_time(monitored)));
        let (name, host, number) = (&self.cluster.config.name, &monitored.host.name, monitored.ejections);
        let (reason, (rate, least)) = (ejection.name(), rates.unzip());
        tracing::warn!(
            target: "ringway::outlier",
            cluster = %name, %host, reason, enforced = true, %time, number, success_rate = rate, threshold = least,
            "ejected"
        );
        self.set_active(self.active + 1);
    }

    /// Told once an interval for each endpoint and reason: one that fails and stays in may be detected many times a second.
    fn say_not_enforced(
        &mut self,
        key: *const HostState,
        ejection: Ejection,
        rates: Option<(f64, f64)>,
        why: Kept,
        now: Nanos,
    ) {
        let endpoints = self.monitored.len();
        let Some(Monitored { said, host, .. }) = self.monitored.get_mut(&key) else { return };
        let interval = nanos(self.config.interval);
        match said.iter_mut().find(|(said, _)| *said == (ejection, why)) {
            Some((_, at)) if now.saturating_sub(*at) < interval => return,
            Some((_, at)) => *at = now,
            None => said.push(((ejection, why), now)),
        }
        let (cluster, host, reason) = (&self.cluster.config.name, &host.name, ejection.name());
        let (rate, least) = rates.unzip();
        match why {
            Kept::BySetting => tracing::info!(
                target: "ringway::outlier",
                %cluster, %host, reason, enforced = false, success_rate = rate, threshold = least,
                "would be ejected, but {} does not enforce it", ejection.enforcing_key()
            ),
            Kept::ByPercentage => tracing::warn!(
                target: "ringway::outlier",
                %cluster, %host, reason, enforced = false, success_rate = rate, threshold = least,
                ejected = self.active, endpoints,
                "would be ejected, but max_ejection_percent is reached"
            ),
        }
    }

    fn bring_back(&mut self, key: *const HostState, now: Nanos, reason: &str) {
        let Some(monitored) = self.monitored.get_mut(&key) else { return };
        monitored.returned_at = Some(now);
        let host = &monitored.host;
        // Failures from before the ejection must not count towards the next one.
        let counters = [
            &host.state.monitor.consecutive_5xx,
            &host.state.monitor.consecutive_gateway_failure,
            &host.state.monitor.consecutive_local_origin_failure,
        ];
        counters.into_iter().for_each(|counter| counter.store(0, Relaxed));
        self.cluster.set_flag(host, HealthFlags::FAILED_OUTLIER_CHECK, false);
        let after = Span(Duration::from_nanos(now.saturating_sub(monitored.ejected_at)));
        tracing::info!(
            target: "ringway::outlier",
            cluster = %self.cluster.config.name, host = %host.name, reason, %after, "back in"
        );
        self.set_active(self.active.saturating_sub(1));
    }

    fn set_active(&mut self, active: u32) {
        self.active = active;
        self.stats.ejections_active.set(active.into());
    }

    fn shared(&self) -> &OutlierShared {
        self.cluster.outlier.as_ref().expect("a cluster with outlier detection has it on all sides")
    }

    fn detected(&self, ejection: Ejection) -> &Counter {
        let stats = &self.stats;
        match ejection {
            Ejection::Consecutive5xx => &stats.ejections_detected_consecutive_5xx,
            Ejection::ConsecutiveGatewayFailure => &stats.ejections_detected_consecutive_gateway_failure,
            Ejection::ConsecutiveLocalOriginFailure => &stats.ejections_detected_consecutive_local_origin_failure,
            Ejection::SuccessRate => &stats.ejections_detected_success_rate,
            Ejection::SuccessRateLocalOrigin => &stats.ejections_detected_local_origin_success_rate,
            Ejection::FailurePercentage => &stats.ejections_detected_failure_percentage,
            Ejection::FailurePercentageLocalOrigin => &stats.ejections_detected_local_origin_failure_percentage,
        }
    }
}

/// The percentage of cases in which the ejection is made, and the counter of those that are.
fn enforcement<'a>(config: &OutlierDetection, stats: &'a OutlierStats, ejection: Ejection) -> (u32, &'a Counter) {
    match ejection {
        Ejection::Consecutive5xx => (config.enforcing_consecutive_5xx, &stats.ejections_enforced_consecutive_5xx),
        Ejection::ConsecutiveGatewayFailure => {
            (config.enforcing_consecutive_gateway_failure, &stats.ejections_enforced_consecutive_gateway_failure)
        }
        Ejection::ConsecutiveLocalOriginFailure => (
            config.enforcing_consecutive_local_origin_failure,
            &stats.ejections_enforced_consecutive_local_origin_failure,
        ),
        Ejection::SuccessRate => (config.enforcing_success_rate, &stats.ejections_enforced_success_rate),
        Ejection::SuccessRateLocalOrigin => {
            (config.enforcing_local_origin_success_rate, &stats.ejections_enforced_local_origin_success_rate)
        }
        Ejection::FailurePercentage => {
            (config.enforcing_failure_percentage, &stats.ejections_enforced_failure_percentage)
        }
        Ejection::FailurePercentageLocalOrigin => (
            config.enforcing_failure_percentage_local_origin,
            &stats.ejections_enforced_local_origin_failure_percentage,
        ),
    }
}
