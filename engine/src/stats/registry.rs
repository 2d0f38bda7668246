//! The process-wide list of scopes: a writer gets its cells here once, a reader finds all cells here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use regex::Regex;

use super::merge::{Merged, ScopeView};
use super::render::{self, Format, Rendering};
use super::{AnyScope, GrpcScope, Kind, Scope};

/// Every scope of the process. Its lock is taken when a configuration is put in force, by readers, and at a shard's first call of
/// a method of gRPC, but never for any other request and never while text is written.
#[derive(Default)]
pub struct Registry {
    scopes: Mutex<Scopes>,
    refresh: OnceLock<Refresh>,
}

/// Brings up to date what is written only when it is read.
type Refresh = Box<dyn Fn() + Send + Sync>;

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Scopes {
    entries: BTreeMap<(Kind, Arc<str>), Entry>,
    /// The keys in the order of the names that readers see; `None` after a change. All readers share it.
    keys: Option<Arc<[Key]>>,
    /// Times that the keys changed.
    changes: u64,
}

/// Names a scope.
pub(super) type Key = (Kind, Arc<str>);

#[derive(Debug, Default)]
struct Entry {
    /// One copy for each shard that asked for one: a short list, searched from the start.
    shards: Vec<(usize, AnyScope)>,
    /// What the counters were at the last reset. Cells have one writer, so a reset does not touch them.
    baseline: Option<Arc<Merged>>,
}

impl Registry {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The cells that `shard` writes for the thing called `name` (a cluster's name, a listener's stat_prefix, ...;
    /// empty where there is only one). They are made at the first call; later calls, also those for a new
    /// configuration, get the same ones, so that counters survive a reload.
    pub fn scope<T: Scope>(&self, name: &str, shard: usize) -> Arc<T> {
        self.lock().scope(name, shard)
    }

    /// The same for a method's calls. One that no shard has counted yet gets a place only while fewer than `max` of the
    /// cluster's methods have one: names come from clients.
    pub fn scope_of_method<T: Scope>(&self, scope: GrpcScope<'_>, shard: usize, max: usize) -> Option<Arc<T>> {
        let name = scope.to_string();
        let mut scopes = self.lock();
        let is_known = scopes.entries.contains_key(&(T::KIND, Arc::from(&*name)));
        (is_known || scopes.methods(T::KIND, scope.cluster).count() < max).then(|| scopes.scope(&name, shard))
    }

    /// The names of the scopes of a cluster's methods.
    pub fn methods(&self, kind: Kind, cluster: &str) -> Vec<Arc<str>> {
        self.lock().methods(kind, cluster).cloned().collect()
    }

    /// Forgets a scope on all shards: it is no longer shown. A shard that still holds its cells may continue to write them.
    pub fn remove(&self, kind: Kind, name: &str) {
        let mut scopes = self.lock();
        scopes.entries.remove(&(kind, Arc::from(name)));
        scopes.changed();
    }

    /// Forgets the scopes for which `keep` is false. For reloads.
    pub fn retain(&self, mut keep: impl FnMut(Kind, &str) -> bool) {
        let mut scopes = self.lock();
        scopes.entries.retain(|(kind, name), _| keep(*kind, name));
        scopes.changed();
    }

    /// Has `refresh` called before statistics are read, so that levels which are only written then are up to date. Once for each
    /// registry.
    pub fn refresh_by(&self, refresh: impl Fn() + Send + Sync + 'static) {
        let is_first = self.refresh.set(Box::new(refresh)).is_ok();
        debug_assert!(is_first, "there is one that does it");
    }

    /// For readers that want all statistics up to date.
    pub fn refresh(&self) {
        if let Some(refresh) = self.refresh.get() {
            refresh();
        }
    }

    /// The names of all scopes of a kind, in order.
    pub fn names(&self, kind: Kind) -> Vec<Arc<str>> {
        self.lock().entries.keys().filter(|key| key.0 == kind).map(|key| Arc::clone(&key.1)).collect()
    }

    /// The sum of `read` over the cells of all shards; 0 without such a scope. Not affected by `reset_counters`.
    pub fn sum<T: Scope>(&self, name: &str, read: impl Fn(&T) -> i64) -> i64 {
        let scopes = self.lock();
        let copies = scopes.entries.get(&(T::KIND, Arc::from(name))).map_or(&[][..], |entry| &entry.shards);
        copies.iter().filter_map(|copy| T::unwrap(&copy.1)).map(|scope| read(scope)).sum()
    }

    /// A counter or gauge by its full dotted name, as /stats shows it. Slow: renders the statistics of that name.
    pub fn value(&self, name: &str) -> Option<i64> {
        self.keys().iter().filter_map(|key| self.view(key)).find_map(|view| render::find(&view, name))
    }

    /// Makes every counter show 0 from now on; gauges and histograms stay (Envoy: POST /reset_counters).
    pub fn reset_counters(&self) {
        for entry in self.lock().entries.iter_mut().map(|((kind, _), entry)| (*kind, entry)) {
            let (kind, entry) = entry;
            entry.baseline = Some(Arc::new(Merged::counters(kind, entry.shards.iter().map(|copy| &copy.1))));
        }
    }

    /// The statistics in `format`, all at once. `filter` sees the dotted names; with `used_only`, no counters
    /// that are zero and no empty histograms.
    pub fn render(&self, format: Format, filter: Option<&Regex>, used_only: bool) -> String {
        let mut out = String::new();
        let mut rendering = Rendering::new(self, format, filter.cloned(), used_only);
        while rendering.step(self, &mut out) {}
        out
    }

    /// The names of all scopes, in the order in which their statistics are shown.
    pub(super) fn keys(&self) -> Arc<[Key]> {
        let scopes = self.lock();
        if let Some(keys) = &scopes.keys {
            return keys.clone();
        }
        let (mut keys, changes): (Vec<Key>, _) = (scopes.entries.keys().cloned().collect(), scopes.changes);
        drop(scopes);
        // Sorted without the lock, for which a shard may wait.
        keys.sort_by_cached_key(render::prefix);
        let keys: Arc<[Key]> = keys.into();
        let mut scopes = self.lock();
        if scopes.changes == changes {
            scopes.keys = Some(keys.clone());
        }
        keys
    }

    /// `None`: the scope is gone.
    pub(super) fn view(&self, key: &Key) -> Option<ScopeView> {
        let scopes = self.lock();
        let entry = scopes.entries.get(key)?;
        Some(ScopeView {
            kind: key.0,
            name: Arc::clone(&key.1),
            shards: entry.shards.iter().map(|copy| copy.1.clone()).collect(),
            baseline: entry.baseline.clone(),
        })
    }

    /// A panic of another holder leaves the map whole, so it stays in use.
    fn lock(&self) -> MutexGuard<'_, Scopes> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scopes {
    fn changed(&mut self) {
        self.keys = None;
        self.changes += 1;
    }

    fn scope<T: Scope>(&mut self, name: &str, shard: usize) -> Arc<T> {
        let key = (T::KIND, Arc::from(name));
        if !self.entries.contains_key(&key) {
            self.changed();
        }
        let entry = self.entries.entry(key).or_default();
        if let Some((_, scope)) = entry.shards.iter().find(|copy| copy.0 == shard) {
            // The map's key holds the kind, so the copy is of type T.
            return Arc::clone(T::unwrap(scope).expect("a scope is of its key's kind"));
        }
        let scope = Arc::new(T::default());
        entry.shards.push((shard, T::wrap(Arc::clone(&scope))));
        scope
    }

    fn methods<'s>(&'s self, kind: Kind, cluster: &'s str) -> impl Iterator<Item = &'s Arc<str>> {
        let start = (kind, Arc::from(cluster));
        let of_cluster =
            move |name: &str| GrpcScope::parse(name).is_some_and(|scope| scope.cluster == cluster && scope.is_method());
        let names = self.entries.range(start..).map(|(key, _)| key);
        let names = names.take_while(move |key| key.0 == kind && key.1.starts_with(cluster)).map(|key| &key.1);
        names.filter(move |name| of_cluster(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{ClusterStats, HttpStats, ServerState, ServerStats, server_version};

    #[test]
    fn shards_add_up() {
        let registry = Registry::new();
        let shards: Vec<Arc<ClusterStats>> = (0..3).map(|shard| registry.scope("app", shard)).collect();
        for (shard, stats) in shards.iter().enumerate() {
            stats.upstream_cx_total.add(10 + shard as u64);
            stats.upstream_rq_time.record(10 * (shard as u64 + 1));
            stats.count_status(200 + shard as u16);
        }
        // Opened on one shard, closed on another.
        shards[0].upstream_cx_active.set(5);
        shards[1].upstream_cx_active.add(-2);
        assert_eq!(registry.value("cluster.app.upstream_cx_total"), Some(33));
        assert_eq!(registry.value("cluster.app.upstream_cx_active"), Some(3));
        assert_eq!(registry.value("cluster.app.upstream_rq_2xx"), Some(3));
        assert_eq!(registry.value("cluster.app.upstream_rq_201"), Some(1));
        assert_eq!(registry.value("cluster.app.upstream_rq_404"), None);
        assert_eq!(registry.value("cluster.ap.upstream_cx_total"), None);
        assert_eq!(registry.sum("app", |stats: &ClusterStats| stats.upstream_cx_active.get()), 3);
        let text = registry.render(Format::Text, Some(&Regex::new("upstream_rq_time$").unwrap()), false);
        assert!(text.starts_with("cluster.app.upstream_rq_time: P0(nan,0.01) "), "{text}");
        assert!(text.contains(" P50(nan,0.02) ") && text.ends_with(" P100(nan,0.03)\n"), "{text}");
    }

    #[test]
    fn the_same_name_and_shard_get_the_same_cells_after_a_reload() {
        let registry = Registry::new();
        let before: Arc<HttpStats> = registry.scope("ingress_http", 1);
        before.downstream_rq_total.inc();
        let after: Arc<HttpStats> = registry.scope("ingress_http", 1);
        assert!(Arc::ptr_eq(&before, &after));
        // Of another kind, with the same name.
        let _: Arc<ClusterStats> = registry.scope("ingress_http", 1);
        assert_eq!(registry.value("http.ingress_http.downstream_rq_total"), Some(1));
    }

    #[test]
    fn removed_scopes_are_not_shown_and_begin_at_zero_again() {
        let registry = Registry::new();
        for name in ["a", "b", "c"] {
            registry.scope::<ClusterStats>(name, 0).upstream_rq_total.inc();
        }
        let held: Arc<ClusterStats> = registry.scope("a", 0);
        registry.remove(Kind::Cluster, "a");
        registry.retain(|kind, name| kind != Kind::Cluster || name == "b");
        held.upstream_rq_total.inc();
        assert_eq!(registry.names(Kind::Cluster), [Arc::from("b")]);
        assert_eq!(registry.value("cluster.a.upstream_rq_total"), None);
        registry.scope::<ClusterStats>("a", 0);
        assert_eq!(registry.value("cluster.a.upstream_rq_total"), Some(0));
    }

    #[test]
    fn a_reset_zeroes_counters_without_writing_cells() {
        let registry = Registry::new();
        let stats: Arc<ClusterStats> = registry.scope("app", 0);
        stats.upstream_rq_total.add(7);
        stats.upstream_rq_active.set(2);
        stats.upstream_rq_time.record(5000);
        stats.count_status(503);
        registry.reset_counters();
        assert_eq!(stats.upstream_rq_total.get(), 7);
        stats.upstream_rq_total.inc();
        // A shard that appears after the reset has nothing to take off.
        registry.scope::<ClusterStats>("app", 1).upstream_rq_total.inc();
        assert_eq!(registry.value("cluster.app.upstream_rq_total"), Some(2));
        assert_eq!(registry.value("cluster.app.upstream_rq_5xx"), Some(0));
        assert_eq!(registry.value("cluster.app.upstream_rq_503"), None);
        assert_eq!(registry.value("cluster.app.upstream_rq_active"), Some(2));
        assert!(
            registry
                .render(Format::Prometheus, None, true)
                .contains("upstream_rq_time_count{envoy_cluster_name=\"app\"} 1")
        );
        registry.reset_counters();
        assert_eq!(registry.value("cluster.app.upstream_rq_total"), Some(0));
    }

    #[test]
    fn a_reader_next_to_the_writer_sees_counters_grow_and_nothing_lost() {
        const EVENTS: u64 = 200_000;
        let registry = Registry::new();
        std::thread::scope(|threads| {
            for shard in 0..2 {
                let stats: Arc<ClusterStats> = registry.scope("app", shard);
                threads.spawn(move || (0..EVENTS).for_each(|_| stats.upstream_rq_total.inc()));
            }
            let mut last = 0;
            while last < 2 * EVENTS as i64 {
                let now = registry.value("cluster.app.upstream_rq_total").unwrap();
                assert!(now >= last && now <= 2 * EVENTS as i64);
                last = now;
            }
        });
    }

    #[test]
    fn shards_do_not_share_cache_lines() {
        assert_eq!((align_of::<ClusterStats>(), size_of::<ServerStats>() % 128), (128, 0));
    }

    #[test]
    fn server_facts() {
        let stats = ServerStats::default();
        stats.set_state(ServerState::Live);
        assert_eq!((stats.state.get(), stats.live.get()), (0, 1));
        stats.set_state(ServerState::Draining);
        assert_eq!((stats.state.get(), stats.live.get()), (1, 0));
        assert_eq!(server_version("1.12.3-rc.1"), 1_012_003);
        assert_eq!(server_version("0.1"), 1_000);
    }
}
