//! Load balancing: policies with their options, localities, subsets.

use std::collections::{BTreeSet, HashMap};

use crate::diagnostic::{Problem, name_list};
use crate::document::{self, EndpointEntry, LbPolicyName};
use crate::model::{LbPolicy, LoadBalancing, SlowStart, SubsetFallback, Subsets};
use crate::reader::{Located, Map, Name, Slot};
use crate::resolve::Resolver;

use super::or_defaults;

impl<'d> Resolver<'d, '_, '_> {
    /// The policy, and the load bound of the consistent hashes in per cent of the mean load.
    pub(super) fn lb_policy(&mut self, cluster: &'d Located<document::Cluster>) -> (LbPolicy, Option<u32>) {
        let name = cluster.lb_policy.value().unwrap_or(LbPolicyName::RoundRobin);
        let is_known = match cluster.lb_policy {
            Slot::Given(_) => true,
            // A misspelt key may have been meant.
            Slot::Absent => !cluster.has_unknown,
            Slot::Invalid(_) => false,
        };
        if is_known {
            self.check_policy_options(name, cluster);
        }
        self.check_ring_sizes(cluster.ring_hash.given());
        self.check_table_size(cluster.maglev.given());
        match name {
            LbPolicyName::RoundRobin => {
                let slow_start = slow_start(&or_defaults(&cluster.round_robin).slow_start);
                (LbPolicy::RoundRobin { slow_start }, None)
            }
            LbPolicyName::LeastRequest => {
                let options = or_defaults(&cluster.least_request);
                let policy = LbPolicy::LeastRequest {
                    choice_count: options.choice_count.to_u32(),
                    active_request_bias: options.active_request_bias.0,
                    slow_start: slow_start(&options.slow_start),
                };
                (policy, None)
            }
            LbPolicyName::Random => (LbPolicy::Random, None),
            LbPolicyName::RingHash => {
                let options = or_defaults(&cluster.ring_hash);
                let (minimum_size, maximum_size) = (options.minimum_ring_size.0, options.maximum_ring_size.0);
                let factor = options.hash_balance_factor.given().map(|factor| factor.to_u32());
                (LbPolicy::RingHash { minimum_size, maximum_size }, factor)
            }
            LbPolicyName::Maglev => {
                let options = or_defaults(&cluster.maglev);
                let factor = options.hash_balance_factor.given().map(|factor| factor.to_u32());
                (LbPolicy::Maglev { table_size: options.table_size.0 }, factor)
            }
            LbPolicyName::PeakEwma => {
                (LbPolicy::PeakEwma { decay: or_defaults(&cluster.peak_ewma).decay_time.0 }, None)
            }
        }
    }

    fn check_policy_options(&mut self, chosen: LbPolicyName, cluster: &document::Cluster) {
        let options = [
            ("round_robin", LbPolicyName::RoundRobin, cluster.round_robin.origin()),
            ("least_request", LbPolicyName::LeastRequest, cluster.least_request.origin()),
            ("ring_hash", LbPolicyName::RingHash, cluster.ring_hash.origin()),
            ("maglev", LbPolicyName::Maglev, cluster.maglev.origin()),
            ("peak_ewma", LbPolicyName::PeakEwma, cluster.peak_ewma.origin()),
        ];
        for (key, policy, origin) in options {
            let Some(origin) = origin.filter(|_| policy != chosen) else { continue };
            let message = format!("`{key}` has options of a policy that this cluster does not use");
            let hint = format!("add lb_policy = \"{key}\", or leave it out");
            self.problems.push(Problem::at_key(origin, message).hint(Some(hint)));
        }
    }

    fn check_ring_sizes(&mut self, options: Option<&Located<document::RingHash>>) {
        let Some(options) = options else { return };
        let (minimum, maximum) = (options.minimum_ring_size.0, options.maximum_ring_size.0);
        if minimum > maximum {
            let message = format!("`maximum_ring_size` is {maximum}, but `minimum_ring_size` is {minimum}");
            let problem = Problem::at(&options.maximum_ring_size.origin, message);
            self.problems.push(problem.allowed(format!("{minimum} to 8388608")));
        }
    }

    fn check_table_size(&mut self, options: Option<&Located<document::Maglev>>) {
        let Some(size) = options.map(|options| &options.table_size).filter(|size| !is_prime(size.0)) else {
            return;
        };
        let size_written = size.0;
        let near = (size_written..).find(|number| is_prime(*number)).unwrap_or(size_written);
        let problem = Problem::at(&size.origin, format!("{size_written} is not a prime number"));
        self.problems
            .push(problem.allowed("a prime number from 2 to 5000011").hint(Some(format!("the next is {near}"))));
    }

    pub(super) fn load_balancing(
        &mut self,
        cluster: &'d Located<document::Cluster>,
        hash_balance_factor: Option<u32>,
    ) -> LoadBalancing {
        LoadBalancing {
            panic_threshold: cluster.panic_threshold.given().map(|threshold| threshold.0),
            fail_traffic_on_panic: cluster.fail_traffic_on_panic.value,
            overprovisioning_factor: cluster.overprovisioning_factor.to_u32(),
            locality_weights: self.locality_weights(cluster),
            subsets: self.subsets(cluster),
            hash_balance_factor,
        }
    }

    fn locality_weights(&mut self, cluster: &'d Located<document::Cluster>) -> Option<Vec<(String, u32)>> {
        let weights = cluster.locality_weights.given()?;
        if weights.is_empty {
            let problem = Problem::at(&weights.origin, "`locality_weights` names no locality");
            self.problems.push(problem.hint(Some("leave it out if localities do not matter")));
            return None;
        }
        let entries = cluster.endpoints.items();
        if !is_incomplete(cluster) {
            let known: BTreeSet<&str> =
                entries.iter().filter_map(|entry| entry.locality()).map(|locality| locality.0.as_str()).collect();
            for (name, _) in weights.entries.iter().filter(|(name, _)| !known.contains(name.0.as_str())) {
                self.refuse_unknown(name, &known, "no endpoint is in the locality");
            }
        }
        for entry in entries.iter().filter(|_| !weights.is_incomplete) {
            let has_weight = |locality: &&Located<Name>| weights.entries.iter().any(|(it, _)| it.0 == locality.0);
            let message = match entry.locality() {
                Some(locality) if has_weight(&locality) => continue,
                Some(locality) => {
                    format!("the locality `{}` has no weight: this endpoint would get nothing", locality.0)
                }
                None if entry.is_incomplete() => continue,
                None => "this endpoint is in no locality and would get nothing".to_owned(),
            };
            let place = entry.locality().map_or(&entry.origin, |locality| &locality.origin);
            let hint = match entry.locality() {
                Some(_) => "give it a weight in `locality_weights`",
                None => "add locality = \"...\", with a weight in `locality_weights`",
            };
            self.problems.push(Problem::at(place, message).hint(Some(hint)));
        }
        Some(weights.entries.iter().map(|(name, weight)| (name.0.clone(), weight.to_u32())).collect())
    }

    fn subsets(&mut self, cluster: &'d Located<document::Cluster>) -> Option<Subsets> {
        let written = cluster.subsets.given()?;
        let keys: Option<BTreeSet<&str>> = (!is_incomplete(cluster)).then(|| {
            let pairs = cluster.endpoints.items().iter().flat_map(|entry| entry.metadata());
            pairs.map(|(key, _)| key.0.as_str()).collect()
        });
        let selectors = self.selectors(written, keys.as_ref());
        let fallback = written.fallback_policy.0;
        let subset = written.default_subset.given();
        match (fallback, written.default_subset.origin()) {
            (SubsetFallback::DefaultSubset, None) => {
                let problem = Problem::at(&written.fallback_policy.origin, "`default_subset` is missing");
                self.problems
                    .push(problem.hint(Some("say which endpoints it contains: default_subset = { version = \"1\" }")));
            }
            (SubsetFallback::NoEndpoint | SubsetFallback::AnyEndpoint, Some(origin)) => {
                let problem = Problem::at_key(origin, "`default_subset` has no effect with this `fallback_policy`");
                self.problems.push(problem.hint(Some("add fallback_policy = \"default_subset\"")));
            }
            _ => {}
        }
        if let Some(subset) = subset {
            self.check_default_subset(subset, cluster, keys.as_ref());
        }
        let default_subset = subset.map(|subset| sorted_pairs(&subset.entries)).unwrap_or_default();
        Some(Subsets { selectors, fallback, default_subset })
    }

    /// The selectors, each sorted. A key that no endpoint has is refused, because it must be a misspelling.
    fn selectors(
        &mut self,
        written: &'d Located<document::Subsets>,
        known: Option<&BTreeSet<&str>>,
    ) -> Vec<Vec<String>> {
        let hint = "list keys of the endpoints' metadata: selectors = [[\"version\"]]";
        self.refuse_empty(&written.selectors, "without a selector there are no subsets", hint);
        let mut selectors = Vec::new();
        let mut first = HashMap::new();
        for selector in written.selectors.items() {
            if selector.is_empty {
                self.problems.push(Problem::at(&selector.origin, "the selector has no key"));
            }
            let mut seen = HashMap::new();
            for key in &selector.items {
                self.unique(&mut seen, key.0.as_str(), &key.origin, |key| format!("`{key}` is listed twice"));
                if let Some(known) = known.filter(|known| !known.contains(key.0.as_str())) {
                    self.refuse_unknown(key, known, "no endpoint has metadata with the key");
                }
            }
            let keys: BTreeSet<&str> = selector.items.iter().map(|key| key.0.as_str()).collect();
            let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
            self.unique(&mut first, keys.clone(), &selector.origin, |_| {
                "there is a selector with the same keys".to_owned()
            });
            selectors.push(keys);
        }
        selectors
    }

    fn check_default_subset(
        &mut self,
        subset: &'d Located<Map<Name, Name>>,
        cluster: &document::Cluster,
        known: Option<&BTreeSet<&str>>,
    ) {
        if subset.is_empty {
            let problem = Problem::at(&subset.origin, "the default subset has no keys");
            self.problems.push(problem.hint(Some("for every endpoint, write fallback_policy = \"any_endpoint\"")));
            return;
        }
        let Some(known) = known.filter(|_| !subset.is_incomplete) else { return };
        let unknown: Vec<_> = subset.entries.iter().filter(|(key, _)| !known.contains(key.0.as_str())).collect();
        for (key, _) in &unknown {
            self.refuse_unknown(key, known, "no endpoint has metadata with the key");
        }
        let belongs = |entry: &Located<EndpointEntry>| {
            let has = |key: &Name, value: &Name| entry.metadata().iter().any(|(k, v)| k.0 == key.0 && v.0 == value.0);
            subset.entries.iter().all(|(key, value)| has(key, value))
        };
        if unknown.is_empty() && !cluster.endpoints.items().iter().any(belongs) {
            self.problems.push(Problem::at(&subset.origin, "no endpoint belongs to the default subset"));
        }
    }

    pub(super) fn refuse_unknown(&mut self, name: &Located<Name>, known: &BTreeSet<&str>, what: &str) {
        let near = self.problems.suggest(&name.0, known.iter().copied());
        let mut problem = Problem::at(&name.origin, format!("{what} `{}`", name.0));
        if !known.is_empty() {
            problem = problem.allowed(name_list(known.iter().copied()));
        }
        self.problems.push(problem.hint(near.map(|near| format!("did you mean `{near}`?"))));
    }
}

/// Whether an endpoint's localities and metadata are not all known.
pub(super) fn is_incomplete(cluster: &document::Cluster) -> bool {
    let list = cluster.endpoints.given();
    list.is_none_or(|list| list.is_incomplete || list.items.iter().any(|entry| entry.is_incomplete()))
}

fn slow_start(written: &Slot<document::SlowStart>) -> Option<SlowStart> {
    let written = written.given()?;
    Some(SlowStart {
        window: written.window.value()?,
        aggression: written.aggression.0,
        min_weight_percent: written.min_weight_percent.0,
    })
}

/// Keys and values, sorted by key.
pub(super) fn sorted_pairs(written: &[(Located<Name>, Located<Name>)]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = written.iter().map(|(key, value)| (key.0.clone(), value.0.clone())).collect();
    pairs.sort();
    pairs
}

fn is_prime(number: u64) -> bool {
    number >= 2
        && !(2..).take_while(|divisor| divisor * divisor <= number).any(|divisor| number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn primes() {
        let primes: HashSet<u64> = (0..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, HashSet::from([2, 3, 5, 7, 11, 13, 17, 19, 23, 29]));
        assert!(is_prime(65_537) && is_prime(5_000_011) && !is_prime(65_536) && !is_prime(257 * 257));
    }
}
