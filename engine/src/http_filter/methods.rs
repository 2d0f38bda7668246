//! The statistics of the methods of gRPC that calls have named, as one shard knows them.
//!
//! Invariant: a call of a method that is known costs two look-ups in the shard's own tables, and so does one of a method for which
//! there is no room. Only a method's first call on a shard goes to the registry.

use crate::stats::{GrpcScope, GrpcTimeStats, Registry, Scope};
use ringway_config::is_grpc_name;
use ringway_config::model::GrpcMethods;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Cells that the shard refers to from many places: references to an `Arc` are counted with atomic operations.
pub type Own<S> = Rc<Arc<S>>;

/// The cells of one method in one cluster, or of all methods that have none.
pub struct Cells<S> {
    pub stats: Own<S>,
    /// Where times are kept.
    pub time: Option<Arc<GrpcTimeStats>>,
}

/// The cells of all methods in all clusters.
pub struct Methods<S> {
    registry: Arc<Registry>,
    shard: usize,
    which: GrpcMethods,
    keeps_times: bool,
    clusters: RefCell<HashMap<Box<str>, Table<S>>>,
}

struct Table<S> {
    /// By path; `None`: not called on this shard so far.
    methods: HashMap<Box<[u8]>, Option<Rc<Cells<S>>>>,
    /// Of all that are not in `methods`.
    rest: Option<Rc<Cells<S>>>,
    /// There will be no other methods.
    is_closed: bool,
}

/// Longest path of a method that has a place of its own.
const PATH_MAX: usize = 256;

impl<S: Scope> Methods<S> {
    pub fn new(registry: &Arc<Registry>, shard: usize, which: &GrpcMethods, keeps_times: bool) -> Self {
        let (registry, which) = (registry.clone(), which.clone());
        Self { registry, shard, which, keeps_times, clusters: RefCell::default() }
    }

    /// The cells for a call; `None`: it is the first one of its method, whose end decides whether there will be some.
    pub fn find(&self, cluster: &str, path: &[u8]) -> Option<Rc<Cells<S>>> {
        if let Some(table) = self.clusters.borrow().get(cluster) {
            match (table.methods.get(path), &table.rest) {
                (Some(Some(cells)), _) => return Some(cells.clone()),
                (None, Some(rest)) if table.is_closed => return Some(rest.clone()),
                _ => {}
            }
        }
        self.look(cluster, path)
    }

    #[cold]
    fn look(&self, cluster: &str, path: &[u8]) -> Option<Rc<Cells<S>>> {
        let mut clusters = self.clusters.borrow_mut();
        let table = clusters.entry(cluster.into()).or_insert_with(|| Table::new(&self.which));
        let Some((service, method)) = split(path) else { return Some(self.rest(table, cluster)) };
        match table.methods.get_mut(path) {
            Some(cells) => {
                let scope = GrpcScope { cluster, service, method };
                Some(cells.get_or_insert_with(|| self.cells(scope)).clone())
            }
            None if table.is_closed => Some(self.rest(table, cluster)),
            None => None,
        }
    }

    /// The cells of a call for which `find` had none. A method that its server does not know gets no place: clients could make
    /// up any number of them.
    #[cold]
    pub fn admit(&self, cluster: &str, path: &[u8], is_unknown: bool) -> Rc<Cells<S>> {
        let mut clusters = self.clusters.borrow_mut();
        let table = clusters.entry(cluster.into()).or_insert_with(|| Table::new(&self.which));
        let (GrpcMethods::All { max }, Some((service, method)), false) = (&self.which, split(path), is_unknown) else {
            return self.rest(table, cluster);
        };
        let scope = GrpcScope { cluster, service, method };
        if let Some(stats) = self.registry.scope_of_method(scope, self.shard, *max as usize) {
            let cells = Rc::new(self.with_time(stats, scope));
            table.methods.insert(path.into(), Some(cells.clone()));
            return cells;
        }
        // From now on, those that other shards have found are all that there are.
        table.is_closed = true;
        for name in self.registry.methods(S::KIND, cluster) {
            let Some(GrpcScope { service, method, .. }) = GrpcScope::parse(&name) else { continue };
            table.methods.entry(format!("/{service}/{method}").into_bytes().into()).or_default();
        }
        self.rest(table, cluster)
    }

    fn rest(&self, table: &mut Table<S>, cluster: &str) -> Rc<Cells<S>> {
        let scope = match self.which {
            GrpcMethods::All { .. } => GrpcScope::other(cluster),
            GrpcMethods::Listed(_) => GrpcScope::all(cluster),
        };
        table.rest.get_or_insert_with(|| self.cells(scope)).clone()
    }

    fn cells(&self, scope: GrpcScope<'_>) -> Rc<Cells<S>> {
        Rc::new(self.with_time(self.registry.scope(&scope.to_string(), self.shard), scope))
    }

    fn with_time(&self, stats: Arc<S>, scope: GrpcScope<'_>) -> Cells<S> {
        let time = self.keeps_times.then(|| self.registry.scope(&scope.to_string(), self.shard));
        Cells { stats: Rc::new(stats), time }
    }
}

impl<S> Table<S> {
    fn new(which: &GrpcMethods) -> Self {
        let (listed, is_closed): (&[_], _) = match which {
            GrpcMethods::All { .. } => (&[], false),
            GrpcMethods::Listed(listed) => (listed, true),
        };
        let path = |(service, method): &(String, String)| format!("/{service}/{method}").into_bytes().into();
        Self { methods: listed.iter().map(|listed| (path(listed), None)).collect(), rest: None, is_closed }
    }
}

/// Service and method of a path, where they are names as gRPC's languages have them.
fn split(path: &[u8]) -> Option<(&str, &str)> {
    let path = std::str::from_utf8(path.strip_prefix(b"/")?).ok()?;
    let (service, method) = path.split_once('/')?;
    let are_names = is_grpc_name(service, true) && is_grpc_name(method, false);
    (path.len() < PATH_MAX && are_names).then_some((service, method))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::GrpcStats;

    fn count(methods: &Methods<GrpcStats>, path: &str, is_unknown: bool) {
        let found = methods.find("app", path.as_bytes());
        let cells = found.unwrap_or_else(|| methods.admit("app", path.as_bytes(), is_unknown));
        cells.stats.total.inc();
    }

    #[test]
    fn methods_of_all_shards_are_within_the_limit() {
        let registry = Registry::new();
        let shards = [0, 1].map(|shard| Methods::new(&registry, shard, &GrpcMethods::All { max: 2 }, true));
        count(&shards[0], "/pkg.Echo/A", false);
        count(&shards[1], "/pkg.Echo/B", false);
        for _ in 0..2 {
            for shard in &shards {
                ["A", "B", "C", "D"].iter().for_each(|method| count(shard, &format!("/pkg.Echo/{method}"), false));
            }
        }
        let total = |method: &str| registry.value(&format!("cluster.app.grpc.{method}.total"));
        let counts = ["pkg.Echo.A", "pkg.Echo.B", "pkg.Echo.C", "other"].map(total);
        assert_eq!(counts, [Some(5), Some(5), None, Some(8)]);
        assert!(shards.iter().all(|shard| shard.find("app", b"/never/heard").is_some()), "the tables are closed");
    }

    #[test]
    fn what_servers_do_not_know_has_no_place() {
        let registry = Registry::new();
        let methods = Methods::new(&registry, 0, &GrpcMethods::All { max: 10 }, false);
        count(&methods, "/pkg.Echo/Made-up", true);
        for path in ["/", "/Echo", "/Echo/", "//Say", "/Echo/Say/More", "/Echo/Say.More", "/Echo\u{e9}/Say", "*"] {
            count(&methods, path, false);
        }
        count(&methods, &format!("/{}/Say", "x".repeat(PATH_MAX)), false);
        assert_eq!(registry.value("cluster.app.grpc.other.total"), Some(10));
        count(&methods, "/Echo/Say", false);
        assert_eq!(registry.value("cluster.app.grpc.Echo.Say.total"), Some(1));
        assert_eq!(registry.methods(GrpcStats::KIND, "app").len(), 1);
    }

    #[test]
    fn others_than_the_listed_ones_are_counted_together() {
        let registry = Registry::new();
        let listed = vec![("pkg.Echo".to_owned(), "Say".to_owned())];
        let methods = Methods::new(&registry, 0, &GrpcMethods::Listed(listed), true);
        ["Say", "Shout", "Say"].iter().for_each(|method| count(&methods, &format!("/pkg.Echo/{method}"), false));
        assert_eq!(registry.value("cluster.app.grpc.pkg.Echo.Say.total"), Some(2));
        assert_eq!(registry.value("cluster.app.grpc.total"), Some(1));
    }
}
