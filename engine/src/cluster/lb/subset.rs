//! Subsets by metadata: each selector makes one for each combination of its keys' values, and each subset has its own
//! priorities and policy (Envoy: LbSubsetConfig). Weights of localities apply to subsets, too.

use super::level::Levels;
use super::member::Build;
use super::pick::Picking;
use crate::cluster::Endpoint;
use crate::stats::ClusterStats;
use ringway_config::model::{self, SubsetFallback};
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use xxhash_rust::xxh64::xxh64;

pub struct Subsets {
    selectors: Vec<Selector>,
    /// For requests that ask for no subset or for one that does not exist; `None`: nothing is picked.
    fallback: Option<Levels>,
}

struct Selector {
    /// Sorted.
    keys: Vec<String>,
    subsets: Vec<Subset>,
    /// Subsets by the hash of their values.
    index: HashMap<u64, SmallVec<[u32; 1]>>,
}

struct Subset {
    /// In the order of the selector's keys.
    values: Vec<String>,
    levels: Levels,
}

impl Subsets {
    pub(super) fn new(build: &Build<'_>, config: &model::Subsets) -> Self {
        let fallback = match config.fallback {
            SubsetFallback::NoEndpoint => None,
            SubsetFallback::AnyEndpoint => Some(Levels::all(build)),
            SubsetFallback::DefaultSubset => {
                let holds = |at: &u32| {
                    let endpoint = &build.endpoints[*at as usize];
                    config.default_subset.iter().all(|(key, value)| metadata(endpoint, key) == Some(value))
                };
                let members: Vec<u32> = (0..build.endpoints.len() as u32).filter(holds).collect();
                Some(Levels::new(build, &members))
            }
        };
        Self { selectors: config.selectors.iter().map(|keys| Selector::new(build, keys)).collect(), fallback }
    }

    pub(super) fn pick(&self, picking: Picking<'_>) -> Option<u32> {
        if let Some(subset) = self.find(picking.context.metadata_match) {
            picking.stats.lb_subsets_selected.inc();
            return subset.levels.pick(picking);
        }
        let picked = self.fallback.as_ref()?.pick(picking)?;
        picking.stats.lb_subsets_fallback.inc();
        Some(picked)
    }

    /// Whether neither a subset for `criteria` nor the fallback has an endpoint.
    pub(super) fn is_outside(&self, criteria: &[(String, String)]) -> bool {
        self.find(criteria).is_none() && self.fallback.as_ref().is_none_or(Levels::is_empty)
    }

    /// The subset whose selector has exactly these keys.
    fn find(&self, criteria: &[(String, String)]) -> Option<&Subset> {
        if criteria.is_empty() {
            return None;
        }
        let asked = |selector: &&Selector| {
            selector.keys.len() == criteria.len()
                && selector.keys.iter().zip(criteria).all(|(key, (asked, _))| key == asked)
        };
        let selector = self.selectors.iter().find(asked)?;
        let values = || criteria.iter().map(|(_, value)| value.as_str());
        let candidates = selector.index.get(&hash(values()))?;
        let subsets = candidates.iter().map(|at| &selector.subsets[*at as usize]);
        subsets.into_iter().find(|subset| subset.values.iter().map(String::as_str).eq(values()))
    }

    pub(super) fn cost(&self) -> u64 {
        self.levels().map(Levels::cost).sum()
    }

    /// Whether one of them is.
    pub(super) fn is_in_panic(&self) -> bool {
        self.levels().any(Levels::is_in_panic)
    }

    fn levels(&self) -> impl Iterator<Item = &Levels> {
        let subsets = self.selectors.iter().flat_map(|selector| &selector.subsets);
        subsets.map(|subset| &subset.levels).chain(&self.fallback)
    }

    pub(super) fn show(&self, before: Option<&Self>, stats: &ClusterStats) {
        let (now, before) = (self.names(), before.map(Self::names).unwrap_or_default());
        stats.lb_subsets_active.set(now.len() as i64);
        stats.lb_subsets_created.add(now.difference(&before).count() as u64);
        stats.lb_subsets_removed.add(before.difference(&now).count() as u64);
    }

    fn names(&self) -> HashSet<(&[String], &[String])> {
        let selectors = self.selectors.iter();
        let named =
            selectors.flat_map(|selector| selector.subsets.iter().map(|subset| (&*selector.keys, &*subset.values)));
        named.collect()
    }
}

impl Selector {
    fn new(build: &Build<'_>, keys: &[String]) -> Self {
        let mut members: Vec<(Vec<String>, Vec<u32>)> = Vec::new();
        let mut places: HashMap<Vec<&str>, usize> = HashMap::new();
        for (at, endpoint) in build.endpoints.iter().enumerate() {
            let values: Option<Vec<&str>> =
                keys.iter().map(|key| metadata(endpoint, key).map(String::as_str)).collect();
            let Some(values) = values else { continue };
            let owned = || values.iter().map(|value| (*value).to_owned()).collect();
            let place = *places.entry(values.clone()).or_insert_with(|| {
                members.push((owned(), Vec::new()));
                members.len() - 1
            });
            members[place].1.push(at as u32);
        }
        let subset = |(values, members): (Vec<String>, Vec<u32>)| {
            let build = build.at(hash(keys.iter().chain(&values).map(String::as_str)));
            Subset { levels: Levels::new(&build, &members), values }
        };
        let subsets: Vec<Subset> = members.into_iter().map(subset).collect();
        let mut index: HashMap<u64, SmallVec<[u32; 1]>> = HashMap::new();
        for (at, subset) in subsets.iter().enumerate() {
            index.entry(hash(subset.values.iter().map(String::as_str))).or_default().push(at as u32);
        }
        Self { keys: keys.to_vec(), subsets, index }
    }
}

fn metadata<'a>(endpoint: &'a Endpoint, key: &str) -> Option<&'a String> {
    let metadata = &endpoint.host.spec.metadata;
    metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

fn hash<'a>(values: impl Iterator<Item = &'a str>) -> u64 {
    values.fold(0, |seed, value| xxh64(value.as_bytes(), seed))
}
