//! From the document to the model: checks everything that depends on more than one key, resolves names, fills the
//! model. Reports every problem; the model is used only if there is none.

mod access_log;
mod cluster;
mod connection_log;
mod destination;
mod filter;
mod filter_chain;
mod format;
pub use format::{OPERATORS, TIME_FIELDS, TIME_POINTS, format_pieces};
mod forward;
mod grpc;
mod header;
mod http;
mod http2;
mod implies;
mod listener;
mod local_reply;
mod log_export;
mod matcher;
mod never;
mod reach;
mod retry;
mod route;
mod socket;
mod source;
mod spelling;
mod stats;
mod texts;
mod tls;
mod tracing;
mod unused;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::diagnostic::{Problem, Problems};
use crate::document::{self, Document};
use crate::model::{self, Config, Shards};
use crate::place::Origin;
use crate::reader::{List, Located, Slot, absent};

/// State that the parts of the resolver share.
struct Resolver<'d, 't, 'p> {
    problems: &'p mut Problems<'t>,
    /// Each cluster and its index by its name.
    clusters: HashMap<&'d str, (usize, &'d Located<document::Cluster>)>,
    /// Names in the order of the file.
    cluster_names: Vec<&'d str>,
    /// Clusters that a route, a mirror or an exporter names.
    used: HashSet<usize>,
    /// Whether a header of the request names clusters, too.
    names_are_dynamic: bool,
    /// Names of the filters of the current `http`, and whether all of them could be read.
    chain: Vec<&'static str>,
    chain_is_known: bool,
    /// How the paths of requests to the current `http` are spelled.
    spelling: spelling::Spelling,
    /// Whether peers of the current `http` are believed in what they say of the scheme.
    believes_schemes: bool,
    /// Whether the current `http` has tracing.
    traces: bool,
    /// Those that the texts of the current listener tell.
    fingerprints: model::TlsFingerprints,
    /// Where relative paths start.
    directory: &'d Path,
    /// What the host must have.
    needs: Vec<model::Need>,
    file: &'d str,
    /// Whether files that the configuration names may be missing.
    is_portable: bool,
}

/// The model for `document`. It is complete only if `problems` is still empty afterwards.
pub fn resolve(
    document: &Document,
    file: &str,
    directory: &Path,
    is_portable: bool,
    problems: &mut Problems<'_>,
) -> Config {
    let (mut clusters, mut cluster_names) = (HashMap::new(), Vec::new());
    for cluster in document.clusters.items() {
        let Some(name) = cluster.name.given().map(|name| name.0.as_str()) else { continue };
        clusters.entry(name).or_insert((cluster_names.len(), cluster));
        cluster_names.push(name);
    }
    let mut resolver = Resolver {
        problems,
        clusters,
        cluster_names,
        used: HashSet::new(),
        names_are_dynamic: false,
        traces: false,
        chain: Vec::new(),
        chain_is_known: true,
        spelling: spelling::Spelling::default(),
        believes_schemes: false,
        fingerprints: model::TlsFingerprints::default(),
        directory,
        needs: Vec::new(),
        file,
        is_portable,
    };
    let runtime = resolver.runtime(document.runtime.given());
    let listeners = resolver.listeners(document);
    let clusters = resolver.all_clusters(document);
    let admin = document.admin.given().map(|admin| resolver.admin(admin, document));
    let stats = document.stats.given().and_then(|stats| resolver.stats(stats));
    resolver.check_unused(document);
    resolver.check_overlap(document);
    let needs = resolver.needs.into();
    Config { file: file.to_owned(), runtime, admin, stats, listeners, clusters, warnings: Vec::new(), needs }
}

impl Resolver<'_, '_, '_> {
    fn runtime(&mut self, written: Option<&Located<document::Runtime>>) -> model::Runtime {
        let defaults = absent::<document::Runtime>();
        let runtime = match written.or(defaults.as_ref()) {
            Some(runtime) => &runtime.value,
            None => unreachable!("an empty [runtime] has every default"),
        };
        if let (Slot::Given(group), None) = (&runtime.group, runtime.user.origin()) {
            let problem = Problem::at_key(&group.origin, "`group` is written without `user`");
            self.problems.push(problem.hint(Some("the group is only used together with a user: add user = \"...\"")));
        }
        if let Some(origin) = runtime.user.origin() {
            self.need(origin, model::Needed::User);
        }
        if let Some(origin) = runtime.group.origin() {
            self.need(origin, model::Needed::Group);
        }
        let buffers =
            written.map(|runtime| [&runtime.buffer_count.origin, &runtime.buffer_size.origin, &runtime.origin]);
        if let Some([count, size, table]) = buffers {
            let at = [count, size].into_iter().find(|origin| is_written(origin, table));
            let at = at.or(runtime.cpus.origin()).or(runtime.shards.origin());
            at.into_iter().for_each(|at| self.need(at, model::Needed::Buffers));
        }
        if let Some(origin) = runtime.cpus.origin().or(runtime.shards.origin()) {
            self.need(origin, model::Needed::Cores);
        }
        model::Runtime {
            shards: self.shards(runtime),
            placement: runtime.placement.0,
            ring_entries: runtime.ring_entries.0.to_u32(),
            buffer_count: runtime.buffer_count.0.to_u16(),
            buffer_size: runtime.buffer_size.to_u32(),
            backlog: runtime.backlog.to_u32(),
            drain_time: runtime.drain_time.0,
            drain_delay: runtime.drain_delay.0,
            max_connections: runtime.max_connections.value(),
            splice_threshold: runtime.splice_threshold.0,
            loopback_pacing: runtime.loopback_pacing.value,
            compression_memory: runtime.compression_memory.0,
            max_handshakes: runtime.max_handshakes.to_u32(),
            access_log_flush_interval: runtime.access_log_flush_interval.0,
            user: runtime.user.value(),
            group: runtime.group.value(),
            log: runtime.log.0.clone(),
            log_format: runtime.log_format.0,
        }
    }

    fn shards(&mut self, runtime: &document::Runtime) -> Shards {
        if let (Some(_), Some(cpus)) = (runtime.shards.origin(), runtime.cpus.origin()) {
            let problem = Problem::at_key(cpus, "`cpus` and `shards` exclude each other");
            self.problems.push(problem.hint(Some("`cpus` already says how many shards there are: remove `shards`")));
        }
        let Some(list) = runtime.cpus.given() else {
            return match runtime.shards.given().map(|shards| shards.value) {
                Some(document::ShardCount::Count(count)) => Shards::Count(count.to_usize()),
                Some(document::ShardCount::Auto) | None => Shards::Auto,
            };
        };
        if list.is_empty {
            let problem = Problem::at(&list.origin, "`cpus` names no core");
            self.problems.push(problem.hint(Some("leave it out for a shard on each core")));
        }
        let mut first = HashMap::new();
        for cpu in &list.items {
            self.unique(&mut first, cpu.0, &cpu.origin, |cpu| format!("core {cpu} is listed twice"));
        }
        Shards::Cpus(list.items.iter().map(|cpu| cpu.to_usize()).collect())
    }

    fn admin(&mut self, admin: &Located<document::Admin>, document: &Document) -> model::Admin {
        let is_same = |listener: &&Located<document::Listener>| {
            listener.address.given().is_some_and(|address| address.value == admin.address.value)
        };
        if let Some(listener) =
            document.listeners.items().iter().find(is_same).filter(|_| !port_is_free(&admin.address))
        {
            let message = format!("the admin endpoint has the address of a listener, {}", admin.address.value);
            let problem = Problem::at(&admin.address.origin, message).earlier(&listener.origin);
            self.problems.push(problem.hint(Some("give it another port")));
        }
        self.need(&admin.address.origin, model::Needed::Address(admin.address.value.clone()));
        let access_log = admin.access_log.given().map(|path| (&path.origin, self.directory.join(&path.0)));
        if let Some((origin, path)) = &access_log {
            self.need(origin, model::Needed::LogFile(path.clone()));
        }
        let (mode, user, group) = (&admin.socket_mode, &admin.socket_user, &admin.socket_group);
        model::Admin {
            address: admin.address.value.clone(),
            access: self.socket_access(&admin.address.value, mode, user, group),
            access_log: access_log.map(|(_, path)| path),
            allowed_hosts: admin.allowed_hosts.values(),
        }
    }

    /// Notes that the value at `origin` needs something of the host.
    fn need(&mut self, origin: &Origin, what: model::Needed) {
        let at = self.problems.located(self.file, Problem::at(origin, ""));
        self.needs.push(model::Need { what, at });
    }

    /// Where a need at `origin` stands: at the value, where `Problems::place` gives that of the key.
    fn place_of_value(&self, origin: &Origin) -> model::Place {
        self.problems.place_of(&origin.span)
    }

    /// Reports `value` if it is already among the `first` ones, else adds it.
    fn unique<'o, T: Eq + std::hash::Hash>(
        &mut self,
        first: &mut HashMap<T, &'o Origin>,
        value: T,
        origin: &'o Origin,
        message: impl Fn(&T) -> String,
    ) {
        match first.entry(value) {
            Entry::Occupied(first) => {
                self.problems.push(Problem::at(origin, message(first.key())).earlier(first.get()));
            }
            Entry::Vacant(first) => drop(first.insert(origin)),
        }
    }

    /// Reports a list that is written without members.
    fn refuse_empty<T>(&mut self, list: &Slot<List<T>>, message: &str, hint: &str) {
        if let Some(list) = list.given().filter(|list| list.is_empty) {
            self.problems.push(Problem::at(&list.origin, message).hint(Some(hint)));
        }
    }

    /// Whether exactly one of `keys` is written. If none is, that is reported, unless a misspelt key may have been
    /// meant; each further one is reported.
    fn exactly_one(
        &mut self,
        table: &Origin,
        has_unknown: bool,
        keys: &[(&str, Option<&Origin>)],
        missing: &str,
    ) -> bool {
        if keys.iter().any(|(_, origin)| origin.is_some()) {
            return self.at_most_one(keys);
        }
        if !has_unknown {
            let names = keys.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", ");
            let names = if keys.len() == 1 { names } else { format!("exactly one of {names}") };
            self.problems.push(Problem::at(table, missing).allowed(names));
        }
        false
    }

    /// Whether no more than one of `keys` is written; each further one is reported.
    fn at_most_one(&mut self, keys: &[(&str, Option<&Origin>)]) -> bool {
        let written = keys.iter().filter_map(|(key, origin)| origin.map(|origin| (*key, origin)));
        let mut written: Vec<_> = written.collect();
        written.sort_by_key(|(_, origin)| origin.key.start);
        let Some(((first, _), further)) = written.split_first() else {
            return true;
        };
        for (key, origin) in further {
            let problem = Problem::at_key(origin, format!("`{key}` and `{first}` exclude each other"));
            self.problems.push(problem.hint(Some(format!("keep one of them; `{first}` is written before it"))));
        }
        further.is_empty()
    }
}

/// With port 0 the kernel chooses, so that two such addresses do not collide.
fn port_is_free(address: &model::Address) -> bool {
    matches!(address, model::Address::Ip(address) if address.port() == 0)
}

/// Whether the value at `origin` was written; a default has the place of its table.
fn is_written(origin: &Origin, table: &Origin) -> bool {
    origin.key != table.key
}
