//! The names of one cluster, each looked up again and again, and the members that result.

use super::resolver::Resolver;
use super::target::{Kind, Outcome, Standing, Target};
use crate::base::random::Random;
use crate::cluster::{ClusterShared, FirstLook, HealthFlags, Host, HostSpec, Warm};
use ringway_config::model::{self, Address, Discovery, Dns, EndpointTarget, LookupFamily};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::Instant;

/// Known addresses by name, with which a new watch begins.
pub(super) type Known = HashMap<String, Vec<IpAddr>>;

/// The settings of a cluster that is discovered by DNS.
pub(super) fn dns_of(cluster: &model::Cluster) -> Option<(&Dns, Kind)> {
    match &cluster.discovery {
        Discovery::Static => None,
        Discovery::StrictDns(dns) => Some((dns, Kind::Strict)),
        Discovery::LogicalDns(dns) => Some((dns, Kind::Logical)),
    }
}

/// One cluster's lookups; they end when it is dropped.
pub(super) struct Watch {
    names: Rc<Names>,
    tasks: Vec<AbortHandle>,
}

/// The name of this host has one endpoint whatever the discovery is (RFC 6761 section 6.3): of its addresses, perhaps only
/// one is listened on.
const LOCALHOST: &str = "localhost";

struct Names {
    cluster: Arc<ClusterShared>,
    dns: Dns,
    kind: Kind,
    resolver: Rc<Resolver>,
    random: Rc<Random>,
    /// By host name: a name in several endpoints is looked up once.
    targets: RefCell<BTreeMap<String, Target>>,
    /// Told when the names are to be looked up now.
    again: Notify,
}

impl Watch {
    /// Begins with the `known` addresses. `None` where there is nothing to discover.
    pub(super) fn start(
        cluster: &Arc<ClusterShared>,
        resolver: Rc<Resolver>,
        random: Rc<Random>,
        known: &Known,
        warm: &Warm,
    ) -> Option<Self> {
        let (dns, kind) = dns_of(&cluster.config)?;
        let names = cluster.config.endpoints.iter().filter_map(|endpoint| match &endpoint.target {
            EndpointTarget::Name { host, .. } => Some(host.clone()),
            EndpointTarget::Address(_) => None,
        });
        let target = |host: String| {
            let addresses = known.get(&host).cloned().unwrap_or_default();
            (host, Target::new(addresses))
        };
        let names = Rc::new(Names {
            cluster: cluster.clone(),
            dns: dns.clone(),
            kind,
            resolver,
            random,
            targets: RefCell::new(names.map(target).collect()),
            again: Notify::new(),
        });
        names.publish();
        let hosts: Vec<String> = names.targets.borrow().keys().cloned().collect();
        let follow = |host: String| {
            let first = warm.first_look(&cluster.config.name, &host);
            spawn_local(names.clone().follow(host, first)).abort_handle()
        };
        let tasks = hosts.into_iter().map(follow).collect();
        Some(Self { names, tasks })
    }

    pub(super) fn is_of(&self, cluster: &Arc<ClusterShared>) -> bool {
        Arc::ptr_eq(&self.names.cluster, cluster)
    }

    /// Looks the names up now, whatever time is left of their answers.
    pub(super) fn look_again(&self) {
        self.names.again.notify_waiters();
    }

    /// The last good answers, for a cluster that asks the same name servers for the same families.
    pub(super) fn known_to(&self, cluster: &model::Cluster) -> Known {
        let same = dns_of(cluster).is_some_and(|(dns, kind)| {
            let own = &self.names.dns;
            kind == self.names.kind && dns.resolvers == own.resolvers && dns.lookup_family == own.lookup_family
        });
        if !same {
            return Known::new();
        }
        let targets = self.names.targets.borrow();
        targets.iter().map(|(host, target)| (host.clone(), target.addresses.clone())).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Names {
    /// Looks `host` up until the watch ends.
    async fn follow(self: Rc<Self>, host: String, first: FirstLook) {
        let mut first = Some(first);
        let (kind, family) = (kind_of(self.kind, &host), family_of(&self.dns, &host));
        let start = Instant::now();
        loop {
            let stats = &self.cluster.stats;
            stats.update_attempt.inc();
            let result = self.resolver.lookup(&host, family).await;
            let answer = result.as_ref().map_or_else(ToString::to_string, ToString::to_string);
            let step = match self.targets.borrow_mut().get_mut(&host) {
                Some(target) => target.take(result, kind, &self.dns, &self.random, start.elapsed()),
                None => return,
            };
            match step.outcome {
                Outcome::Changed => {
                    stats.update_success.inc();
                    self.publish();
                }
                Outcome::Unchanged => {
                    stats.update_success.inc();
                    stats.update_no_rebuild.inc();
                }
                Outcome::Failed { empty } => {
                    stats.update_failure.inc();
                    stats.update_empty.add(u64::from(empty));
                }
            }
            self.log(&host, &answer, step.news);
            self.flag_held();
            drop(first.take());
            let _ = tokio::time::timeout(step.wait, self.again.notified()).await;
        }
    }

    fn publish(&self) {
        let members = members(&self.cluster.config, self.kind, &self.targets.borrow());
        let change = self.cluster.set_members(members);
        if !change.is_empty() {
            let list = |hosts: &[Arc<Host>]| hosts.iter().map(|host| &*host.name).collect::<Vec<_>>().join(" ");
            let [added, renewed, removed] = [&change.added, &change.renewed, &change.removed].map(|hosts| list(hosts));
            let cluster = &self.cluster.config.name;
            tracing::info!(target: "ringway::dns", cluster, added, renewed, removed, "members changed");
        }
    }

    /// Flags the hosts that are members only because the last answer stays in force.
    fn flag_held(&self) {
        let targets = self.targets.borrow();
        let held: Vec<Address> = named(&self.cluster.config, self.kind, &targets)
            .filter(|(_, target)| target.is_held())
            .flat_map(|(spec, _)| spec)
            .map(|spec| spec.address)
            .collect();
        let held: HashSet<&Address> = held.iter().collect();
        for host in self.cluster.hosts().iter() {
            self.cluster.set_flag(host, HealthFlags::FAILED_DNS_LOOKUP, held.contains(&host.spec.address));
        }
    }

    /// Only a change is told: name servers that are down for hours do not fill the log. `endpoints`: how many the cluster
    /// has, from all its names.
    fn log(&self, host: &str, answer: &str, news: Option<Standing>) {
        let cluster = &self.cluster.config.name;
        let endpoints = self.cluster.hosts().len();
        match news {
            Some(Standing::Held) => tracing::warn!(
                target: "ringway::dns", cluster, host, answer, endpoints,
                "the name does not resolve; the last answer stays in force"
            ),
            Some(Standing::Missing) if endpoints == 0 => tracing::warn!(
                target: "ringway::dns", cluster, host, answer, endpoints,
                "the name does not resolve, and the cluster has no endpoint"
            ),
            Some(Standing::Missing) => tracing::warn!(
                target: "ringway::dns", cluster, host, answer, endpoints,
                "the name does not resolve and has no endpoints"
            ),
            Some(Standing::Resolves) => tracing::info!(
                target: "ringway::dns", cluster, host, answer, endpoints, "the name resolves again"
            ),
            None => tracing::debug!(target: "ringway::dns", cluster, host, answer, endpoints, "looked up"),
        }
    }
}

/// What the addresses of a name mean in a cluster of this kind.
fn kind_of(kind: Kind, host: &str) -> Kind {
    if host == LOCALHOST { Kind::Logical } else { kind }
}

/// Which addresses of a name are asked for: those of this host in both families, unless only one is wanted.
fn family_of(dns: &Dns, host: &str) -> LookupFamily {
    match dns.lookup_family {
        LookupFamily::Auto | LookupFamily::V4Preferred if host == LOCALHOST => LookupFamily::All,
        family => family,
    }
}

/// The members of a cluster whose names have the addresses in `targets`, in the order of the configuration.
fn members(cluster: &model::Cluster, kind: Kind, targets: &BTreeMap<String, Target>) -> Vec<HostSpec> {
    let mut named = named(cluster, kind, targets);
    let mut members = Vec::new();
    for endpoint in &cluster.endpoints {
        match &endpoint.target {
            EndpointTarget::Address(address) => members.push(HostSpec::new(endpoint, address.clone())),
            EndpointTarget::Name { .. } => members.extend(named.next().into_iter().flat_map(|(specs, _)| specs)),
        }
    }
    members
}

/// For each endpoint with a name the members that come of it, and the name's target.
fn named<'a>(
    cluster: &'a model::Cluster,
    kind: Kind,
    targets: &'a BTreeMap<String, Target>,
) -> impl Iterator<Item = (Vec<HostSpec>, &'a Target)> {
    static NONE: Target = Target::none();
    cluster.endpoints.iter().filter_map(move |endpoint| {
        let EndpointTarget::Name { host, port } = &endpoint.target else { return None };
        let target = targets.get(host).unwrap_or(&NONE);
        let mut addresses = target.addresses.iter().map(|ip| Address::Ip(SocketAddr::new(*ip, *port)));
        let specs = match kind_of(kind, host) {
            Kind::Strict => addresses.map(|address| HostSpec::new(endpoint, address)).collect(),
            Kind::Logical => addresses
                .next()
                .map(|first| HostSpec {
                    logical_name: Some(format!("{host}:{port}").into()),
                    more_addresses: addresses.collect(),
                    ..HostSpec::new(endpoint, first)
                })
                .into_iter()
                .collect(),
        };
        Some((specs, target))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_config::load_str;

    fn config(discovery: &str, endpoints: &str) -> model::Cluster {
        let text = format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\n\
             http.routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\" }} }}]\n\
             [[clusters]]\nname = \"app\"\ndiscovery = \"{discovery}\"\nendpoints = {endpoints}\n"
        );
        let mut config = load_str("test", &text).unwrap_or_else(|problems| panic!("{problems}"));
        config.clusters.remove(0)
    }

    fn targets(known: &[(&str, &[&str])]) -> BTreeMap<String, Target> {
        let target = |addresses: &[&str]| {
            Target::new(addresses.iter().map(|address| address.parse().expect("an address")).collect())
        };
        known.iter().map(|(host, addresses)| ((*host).into(), target(addresses))).collect()
    }

    fn text(members: &[HostSpec]) -> Vec<String> {
        members.iter().map(|spec| format!("{} {}", spec.address, spec.weight)).collect()
    }

    #[test]
    fn every_address_of_every_name_is_a_member_next_to_what_is_an_address_already() {
        let endpoints = r#"["a.test:80", { address = "b.test:81", weight = 3 }, "192.0.2.9:82", "c.test:83"]"#;
        let cluster = config("strict_dns", endpoints);
        let targets =
            targets(&[("a.test", &["192.0.2.1", "192.0.2.2"]), ("b.test", &["2001:db8::1"]), ("c.test", &[])]);
        let members = members(&cluster, Kind::Strict, &targets);
        assert_eq!(text(&members), ["192.0.2.1:80 1", "192.0.2.2:80 1", "[2001:db8::1]:81 3", "192.0.2.9:82 1"]);
        let hostnames: Vec<_> = members.iter().map(|spec| spec.hostname.as_deref()).collect();
        assert_eq!(hostnames, [Some("a.test"), Some("a.test"), Some("b.test"), None]);
        assert!(members.iter().all(|spec| spec.logical_name.is_none()));
    }

    /// RFC 6761 section 6.3; the addresses of one endpoint are tried one after the other.
    #[test]
    fn this_host_is_one_endpoint_with_all_its_addresses() {
        let cluster = config("strict_dns", r#"["localhost:80", "a.test:80"]"#);
        let targets = targets(&[("localhost", &["::1", "127.0.0.1"]), ("a.test", &["192.0.2.1", "192.0.2.2"])]);
        let members = members(&cluster, Kind::Strict, &targets);
        assert_eq!(text(&members), ["[::1]:80 1", "192.0.2.1:80 1", "192.0.2.2:80 1"]);
        let addresses: Vec<_> = members[0].addresses().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["[::1]:80", "127.0.0.1:80"]);
        assert_eq!(members[0].logical_name.as_deref(), Some("localhost:80"));
        let dns = |family: &str| {
            let config = config(&format!("strict_dns\"\ndns_lookup_family = \"{family}"), r#"["localhost:80"]"#);
            family_of(dns_of(&config).expect("by DNS").0, "localhost")
        };
        assert_eq!([dns("auto"), dns("v4_only")], [LookupFamily::All, LookupFamily::V4Only]);
    }

    #[test]
    fn one_name_serves_several_ports() {
        let cluster = config("strict_dns", r#"["a.test:80", "a.test:81"]"#);
        let members = members(&cluster, Kind::Strict, &targets(&[("a.test", &["192.0.2.1"])]));
        assert_eq!(text(&members), ["192.0.2.1:80 1", "192.0.2.1:81 1"]);
    }

    #[test]
    fn a_logical_member_keeps_its_name_when_the_address_changes() {
        let cluster = config("logical_dns", r#"["a.test:443"]"#);
        let names: Vec<_> = ["192.0.2.1", "192.0.2.2"]
            .map(|address| members(&cluster, Kind::Logical, &targets(&[("a.test", &[address])])).remove(0))
            .map(|spec| (spec.logical_name.expect("logical"), spec.hostname.expect("the name")))
            .into();
        assert_eq!(names[0], ("a.test:443".into(), "a.test".into()));
        assert_eq!(names[0], names[1]);
    }
}
