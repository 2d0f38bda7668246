//! One name of a cluster: its current addresses, and the time of its next lookup.

use super::resolver::{Answer, LookupError};
use crate::base::random::Random;
use ringway_config::model::{Dns, LookupFamily};
use std::net::IpAddr;
use std::time::Duration;

/// The shortest time between two lookups of a name, whatever its TTL says.
const REFRESH_MIN: Duration = Duration::from_secs(1);

/// The addresses of one endpoint that are tried at most; an even number.
const TRIED_MAX: usize = 8;

/// What the addresses of an answer mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each address is an endpoint, in any order; no address means no endpoint after a while (Envoy: STRICT_DNS).
    Strict,
    /// All addresses are of one endpoint, to be tried one after the other, and an answer without one is a failure like any
    /// other (Envoy: LOGICAL_DNS).
    Logical,
}

#[derive(Debug, Default)]
pub(super) struct Target {
    /// The last good answer: in ascending order, or in the order in which they are tried.
    pub addresses: Vec<IpAddr>,
    /// Failed lookups in a row.
    failures: u32,
    /// Since when a strict target's lookups say that there is no address.
    missing_since: Option<Duration>,
    /// As it was after the last lookup.
    standing: Standing,
}

/// What the lookups of a name have come to. The log tells each change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// The last lookup found addresses. A new target begins so: its first failure is a change.
    #[default]
    Resolves,
    /// The last lookup failed, and an earlier answer is in force.
    Held,
    /// There is no address.
    Missing,
}

/// The effect of a lookup on its target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub outcome: Outcome,
    /// Until the next lookup.
    pub wait: Duration,
    /// How the name stands now, if that is a change.
    pub news: Option<Standing>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Changed,
    Unchanged,
    /// The last good answer stays in force.
    Failed {
        /// Whether the failure is an empty answer, which is refused.
        empty: bool,
    },
}

impl Target {
    /// A target that begins with known addresses.
    pub(super) fn new(addresses: Vec<IpAddr>) -> Self {
        Self { addresses, ..Self::default() }
    }

    pub(super) const fn none() -> Self {
        Self { addresses: Vec::new(), failures: 0, missing_since: None, standing: Standing::Resolves }
    }

    /// Whether an earlier answer is in force because lookups fail.
    pub(super) fn is_held(&self) -> bool {
        self.standing == Standing::Held
    }

    /// `now` on any clock that does not go back.
    pub(super) fn take(
        &mut self,
        result: Result<Answer, LookupError>,
        kind: Kind,
        dns: &Dns,
        random: &Random,
        now: Duration,
    ) -> Step {
        let is_empty = result.as_ref().is_ok_and(|answer| answer.addresses.is_empty());
        // How much longer the addresses are kept that the name no longer has.
        let mut held = None;
        if is_empty && kind == Kind::Strict && !self.addresses.is_empty() {
            let since = *self.missing_since.get_or_insert(now);
            held = Some(dns.hold_nx.saturating_sub(now.saturating_sub(since))).filter(|held| !held.is_zero());
        }
        let (outcome, wait) = match result {
            Ok(answer) if !is_empty || (kind == Kind::Strict && held.is_none()) => {
                (self.failures, self.missing_since) = (0, None);
                let wait = refresh(&answer, dns) + up_to(dns.jitter, random);
                (self.replace(answer, kind, dns), wait)
            }
            _ => {
                self.failures = self.failures.saturating_add(1);
                let wait = back_off(dns.failure_refresh, self.failures, random).min(held.unwrap_or(Duration::MAX));
                (Outcome::Failed { empty: is_empty }, wait)
            }
        };
        let standing = self.stands();
        let before = std::mem::replace(&mut self.standing, standing);
        Step { outcome, wait, news: Some(standing).filter(|now| *now != before) }
    }

    fn stands(&self) -> Standing {
        match self.addresses.is_empty() {
            true => Standing::Missing,
            false if self.failures > 0 => Standing::Held,
            false => Standing::Resolves,
        }
    }

    fn replace(&mut self, answer: Answer, kind: Kind, dns: &Dns) -> Outcome {
        let mut addresses = answer.addresses;
        if let Some(failed) = answer.failed {
            addresses.extend(self.addresses.iter().filter(|address| failed.holds(address)));
        }
        match kind {
            Kind::Strict => addresses.sort_unstable(),
            Kind::Logical => addresses = interleaved(addresses, dns.lookup_family),
        }
        if addresses == self.addresses {
            return Outcome::Unchanged;
        }
        self.addresses = addresses;
        Outcome::Changed
    }
}

/// The order in which addresses are tried (RFC 8305 section 4): the families take turns.
fn interleaved(addresses: Vec<IpAddr>, family: LookupFamily) -> Vec<IpAddr> {
    let v4_first = family == LookupFamily::V4Preferred;
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == v4_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::new();
    while order.len() < TRIED_MAX {
        let before = order.len();
        order.extend(first.next());
        order.extend(second.next());
        if order.len() == before {
            break;
        }
    }
    order
}

/// The wait after a good answer.
fn refresh(answer: &Answer, dns: &Dns) -> Duration {
    match answer.ttl {
        Some(ttl) if dns.respect_ttl => ttl.min(dns.max_ttl).max(REFRESH_MIN),
        _ => dns.refresh_rate,
    }
}

/// The wait after the failure with this number, from 1: twice as long each time, up to the maximum, of which a random part
/// of at least one half is taken.
fn back_off((base, max): (Duration, Duration), failures: u32, random: &Random) -> Duration {
    let factor = 1u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
    let longest = base.saturating_mul(factor).min(max);
    longest / 2 + up_to(longest / 2, random)
}

fn up_to(max: Duration, random: &Random) -> Duration {
    Duration::from_nanos(random.below(u64::try_from(max.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::super::resolver::Family;
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn dns() -> Dns {
        Dns {
            lookup_family: LookupFamily::Auto,
            refresh_rate: seconds(5),
            jitter: Duration::ZERO,
            failure_refresh: (seconds(2), seconds(60)),
            respect_ttl: true,
            max_ttl: seconds(3600),
            hold_nx: seconds(30),
            resolvers: Vec::new(),
        }
    }

    fn answer(addresses: &[&str], ttl: u64) -> Answer {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        Answer { addresses, ttl: Some(seconds(ttl)), ..Answer::default() }
    }

    fn take(target: &mut Target, result: Result<Answer, LookupError>, kind: Kind, dns: &Dns) -> Step {
        take_at(target, result, kind, dns, 0)
    }

    fn take_at(target: &mut Target, result: Result<Answer, LookupError>, kind: Kind, dns: &Dns, now: u64) -> Step {
        target.take(result, kind, dns, &Random::seeded(7), seconds(now))
    }

    #[test]
    fn the_ttl_decides_when_to_look_again() {
        let mut target = Target::default();
        let mut wait = |answer, dns: &Dns| take(&mut target, Ok(answer), Kind::Strict, dns).wait;
        assert_eq!(wait(answer(&["192.0.2.1"], 30), &dns()), seconds(30));
        assert_eq!(wait(answer(&["192.0.2.1"], 0), &dns()), seconds(1), "no faster than that");
        assert_eq!(wait(answer(&["192.0.2.1"], (1 << 31) - 1), &dns()), seconds(3600), "no slower than that");
        assert_eq!(wait(answer(&["192.0.2.1"], 30), &Dns { respect_ttl: false, ..dns() }), seconds(5));
        assert_eq!(wait(Answer { ttl: None, ..answer(&["192.0.2.1"], 0) }, &dns()), seconds(5), "the hosts file");
        target = Target::default();
        let step = take(&mut target, Ok(Answer::default()), Kind::Strict, &dns());
        assert_eq!(step.wait, seconds(5), "nothing has no TTL");
    }

    #[test]
    fn jitter_is_added_and_spread() {
        let dns = Dns { jitter: seconds(10), ..dns() };
        let random = Random::seeded(1);
        let mut target = Target::default();
        let waits: Vec<_> = (0..1000)
            .map(|_| target.take(Ok(answer(&["192.0.2.1"], 30)), Kind::Strict, &dns, &random, seconds(0)).wait)
            .collect();
        assert!(waits.iter().all(|wait| (seconds(30)..seconds(40)).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < seconds(31)) && waits.iter().any(|wait| *wait > seconds(39)));
    }

    #[test]
    fn a_failure_keeps_the_answer_and_backs_off() {
        let mut target = Target::default();
        let good = answer(&["192.0.2.1", "192.0.2.2"], 30);
        assert_eq!(take(&mut target, Ok(good.clone()), Kind::Strict, &dns()).outcome, Outcome::Changed);
        let mut longest = seconds(2);
        for failure in 0..40 {
            let step = take(&mut target, Err(LookupError::Timeout), Kind::Strict, &dns());
            assert_eq!(step.outcome, Outcome::Failed { empty: false });
            assert_eq!(step.news, (failure == 0).then_some(Standing::Held));
            assert!(step.wait >= longest / 2 && step.wait <= longest, "{failure}: {:?}", step.wait);
            longest = (longest * 2).min(seconds(60));
        }
        assert_eq!(target.addresses, good.addresses);
        let step = take(&mut target, Ok(good), Kind::Strict, &dns());
        assert_eq!(step, Step { outcome: Outcome::Unchanged, wait: seconds(30), news: Some(Standing::Resolves) });
        let step = take(&mut target, Err(LookupError::Timeout), Kind::Strict, &dns());
        assert!(step.wait <= seconds(2), "the back-off begins again");
    }

    /// HAProxy: hold nx.
    #[test]
    fn an_empty_answer_empties_a_strict_target_only_and_after_a_while() {
        let mut target = Target::new(vec![[192, 0, 2, 1].into()]);
        let step = take(&mut target, Ok(Answer::default()), Kind::Logical, &dns());
        assert_eq!((step.outcome, step.news), (Outcome::Failed { empty: true }, Some(Standing::Held)));
        assert_eq!(target.addresses.len(), 1);

        let mut target = Target::new(vec![[192, 0, 2, 1].into()]);
        let mut now = 100;
        for (result, empty) in
            [(Ok(Answer::default()), true), (Err(LookupError::Timeout), false), (Ok(Answer::default()), true)]
        {
            let step = take_at(&mut target, result, Kind::Strict, &dns(), now);
            assert_eq!(step.outcome, Outcome::Failed { empty }, "{now}");
            assert_eq!(step.news, (now == 100).then_some(Standing::Held), "{now}");
            assert!(target.is_held() && step.wait <= seconds(130 - now));
            now += 14;
        }
        // Failures do not count against it; the first empty answer does.
        let step = take_at(&mut target, Err(LookupError::Timeout), Kind::Strict, &dns(), 1000);
        assert!(step.outcome == Outcome::Failed { empty: false } && target.addresses.len() == 1);
        let step = take_at(&mut target, Ok(Answer::default()), Kind::Strict, &dns(), 1001);
        assert_eq!((step.outcome, target.addresses.len()), (Outcome::Changed, 0));
        assert_eq!(step.news, Some(Standing::Missing), "the hold has ended");
        // Nothing is kept that was not there, and a good answer begins anything again.
        let step = take_at(&mut target, Ok(Answer::default()), Kind::Strict, &dns(), 1002);
        assert_eq!(step, Step { outcome: Outcome::Unchanged, wait: seconds(5), news: None });
        for now in [2000, 2029, 2058] {
            take_at(&mut target, Ok(answer(&["192.0.2.1"], 30)), Kind::Strict, &dns(), now - 1);
            take_at(&mut target, Ok(Answer::default()), Kind::Strict, &dns(), now);
            assert_eq!(target.addresses.len(), 1);
        }
        let off = Dns { hold_nx: Duration::ZERO, ..dns() };
        let step = take_at(&mut target, Ok(Answer::default()), Kind::Strict, &off, 2059);
        assert_eq!((step.outcome, target.addresses.len()), (Outcome::Changed, 0));
    }

    /// Each change of a name's standing is news once, whatever the reason of the failures is.
    #[test]
    fn a_name_without_an_address_is_news_once_and_so_is_its_return() {
        for kind in [Kind::Strict, Kind::Logical] {
            let mut target = Target::default();
            let mut news = |result| take(&mut target, result, kind, &Dns { hold_nx: Duration::ZERO, ..dns() }).news;
            assert_eq!(news(Ok(Answer::default())), Some(Standing::Missing));
            assert_eq!([news(Err(LookupError::Timeout)), news(Ok(Answer::default()))], [None; 2]);
            assert_eq!(news(Ok(answer(&["192.0.2.1"], 30))), Some(Standing::Resolves));
            assert_eq!(news(Ok(answer(&["192.0.2.2"], 30))), None);
            assert_eq!(news(Err(LookupError::Timeout)), Some(Standing::Held));
            assert_eq!(news(Ok(answer(&["192.0.2.2"], 30))), Some(Standing::Resolves));
            let mut failing = Target::default();
            assert_eq!(take(&mut failing, Err(LookupError::Timeout), kind, &dns()).news, Some(Standing::Missing));
            assert_eq!(take(&mut failing, Ok(answer(&["192.0.2.1"], 30)), kind, &dns()).news, Some(Standing::Resolves));
        }
    }

    /// RFC 8305 section 4.
    #[test]
    fn the_families_take_turns_in_a_logical_target() {
        let all = answer(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"], 30);
        let order = |family| {
            let mut target = Target::default();
            take(&mut target, Ok(all.clone()), Kind::Logical, &Dns { lookup_family: family, ..dns() });
            target.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(order(LookupFamily::All), "2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3");
        assert_eq!(order(LookupFamily::V4Preferred), "192.0.2.1 2001:db8::1 192.0.2.2 192.0.2.3");
        let many: Vec<String> = (1..40).map(|x| format!("192.0.2.{x}")).collect();
        let many = answer(&many.iter().map(String::as_str).collect::<Vec<_>>(), 30);
        let mut target = Target::default();
        take(&mut target, Ok(many.clone()), Kind::Logical, &dns());
        assert_eq!(target.addresses, many.addresses[..TRIED_MAX]);
    }

    #[test]
    fn the_order_of_an_answer_matters_to_a_logical_target_only() {
        let (one, other) = (answer(&["192.0.2.1", "192.0.2.2"], 30), answer(&["192.0.2.2", "192.0.2.1"], 30));
        for (kind, outcome) in [(Kind::Strict, Outcome::Unchanged), (Kind::Logical, Outcome::Changed)] {
            let mut target = Target::default();
            take(&mut target, Ok(one.clone()), kind, &dns());
            assert_eq!(take(&mut target, Ok(other.clone()), kind, &dns()).outcome, outcome);
            assert_eq!(target.addresses.len(), 2);
        }
    }

    #[test]
    fn half_an_answer_keeps_the_other_half() {
        let mut target = Target::default();
        let whole = answer(&["192.0.2.1", "2001:db8::1"], 30);
        take(&mut target, Ok(whole.clone()), Kind::Strict, &dns());
        let half = Answer { failed: Some(Family::V6), ..answer(&["192.0.2.1"], 30) };
        assert_eq!(take(&mut target, Ok(half), Kind::Strict, &dns()).outcome, Outcome::Unchanged);
        assert_eq!(target.addresses, whole.addresses);
        let half = Answer { failed: Some(Family::V6), ..answer(&["192.0.2.9"], 30) };
        take(&mut target, Ok(half), Kind::Strict, &dns());
        assert_eq!(target.addresses, answer(&["192.0.2.9", "2001:db8::1"], 0).addresses);
    }
}
