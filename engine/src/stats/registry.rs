//! The process-wide list of scopes: who counts gets its cells here once, who reads finds all of them here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regex::Regex;

use super::merge::Merged;
use super::{AnyScope, Kind, Scope, render};

/// Every scope of the process. Its lock is taken when a configuration is put to use and when somebody reads, never for
/// a request, and never while text is made.
#[derive(Debug, Default)]
pub struct Registry {
    scopes: Mutex<BTreeMap<(Kind, Arc<str>), Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    /// One copy for each shard that asked for one; a short list, searched from the start.
    shards: Vec<(usize, AnyScope)>,
    /// What the counters were at the last reset. Cells have one writer, so a reset does not touch them.
    baseline: Option<Arc<Merged>>,
}

/// One scope as a reader needs it.
pub(super) struct ScopeView {
    pub kind: Kind,
    pub name: Arc<str>,
    shards: Vec<AnyScope>,
    baseline: Option<Arc<Merged>>,
}

impl ScopeView {
    /// The scope's values, added up over its shards.
    pub fn merge(&self) -> Merged {
        let mut merged = Merged::sum(self.kind, &self.shards);
        if let Some(baseline) = &self.baseline {
            merged.subtract_counters(baseline);
        }
        merged
    }
}

impl Registry {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The cells that `shard` writes for the thing called `name` (a cluster's name, a listener's stat_prefix, ...;
    /// empty where there is only one). They are made at the first call; later calls, also those for a new
    /// configuration, get the same ones, so that counters survive a reload.
    pub fn scope<T: Scope>(&self, name: &str, shard: usize) -> Arc<T> {
        let mut scopes = self.lock();
        let entry = scopes.entry((T::KIND, Arc::from(name))).or_default();
        if let Some((_, scope)) = entry.shards.iter().find(|copy| copy.0 == shard) {
            // The map's key holds the kind, so the copy is of type T.
            return Arc::clone(T::unwrap(scope).expect("a scope is of its key's kind"));
        }
        let scope = Arc::new(T::default());
        entry.shards.push((shard, T::wrap(Arc::clone(&scope))));
        scope
    }

    /// Forgets a scope on all shards: it is no longer shown. Whoever still holds its cells may go on writing them.
    pub fn remove(&self, kind: Kind, name: &str) {
        self.lock().remove(&(kind, Arc::from(name)));
    }

    /// Forgets the scopes for which `keep` is false, as after a reload.
    pub fn retain(&self, mut keep: impl FnMut(Kind, &str) -> bool) {
        self.lock().retain(|(kind, name), _| keep(*kind, name));
    }

    /// The names of all scopes of a kind, in order.
    pub fn names(&self, kind: Kind) -> Vec<Arc<str>> {
        self.lock().keys().filter(|key| key.0 == kind).map(|key| Arc::clone(&key.1)).collect()
    }

    /// The sum over the shards of what `read` gives for each one's cells; 0 without such a scope. Not subject to
    /// `reset_counters`.
    pub fn sum<T: Scope>(&self, name: &str, read: impl Fn(&T) -> i64) -> i64 {
        let scopes = self.lock();
        let copies = scopes.get(&(T::KIND, Arc::from(name))).map_or(&[][..], |entry| &entry.shards);
        copies.iter().filter_map(|copy| T::unwrap(&copy.1)).map(|scope| read(scope)).sum()
    }

    /// A counter or gauge by its full dotted name, as /stats shows it. Slow: renders the statistics of that name.
    pub fn value(&self, name: &str) -> Option<i64> {
        self.views().iter().find_map(|view| render::find(view, name))
    }

    /// Makes every counter show 0 from now on; gauges and histograms stay (Envoy: POST /reset_counters).
    pub fn reset_counters(&self) {
        for entry in self.lock().iter_mut().map(|((kind, _), entry)| (*kind, entry)) {
            let (kind, entry) = entry;
            entry.baseline = Some(Arc::new(Merged::counters(kind, entry.shards.iter().map(|copy| &copy.1))));
        }
    }

    /// `name: value` lines sorted by name, histograms after the rest with their quantiles (Envoy: GET /stats). Only
    /// names that `filter` finds a match in; with `used_only` only what is not zero.
    pub fn render_text(&self, filter: Option<&Regex>, used_only: bool) -> String {
        render::text(&self.views(), filter, used_only)
    }

    /// Envoy: GET /stats?format=json.
    pub fn render_json(&self, filter: Option<&Regex>, used_only: bool) -> String {
        render::json(&self.views(), filter, used_only)
    }

    /// Prometheus' text format 0.0.4 with Envoy's names and labels (Envoy: GET /stats/prometheus). `filter` sees the
    /// dotted names, as in the other formats.
    pub fn render_prometheus(&self, filter: Option<&Regex>, used_only: bool) -> String {
        render::prometheus(&self.views(), filter, used_only)
    }

    fn views(&self) -> Vec<ScopeView> {
        let view = |((kind, name), entry): (&(Kind, Arc<str>), &Entry)| ScopeView {
            kind: *kind,
            name: Arc::clone(name),
            shards: entry.shards.iter().map(|copy| copy.1.clone()).collect(),
            baseline: entry.baseline.clone(),
        };
        self.lock().iter().map(view).collect()
    }

    /// A panic of another holder leaves the map whole, so it stays in use.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Kind, Arc<str>), Entry>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
