//! Names of scopes that have several parts.

use super::Kind;
use std::fmt;

/// Names the statistics of one method's calls in one cluster, in the registry: the parts stay apart, since names of clusters and
/// services have dots, too. Without service and method it is all calls of the cluster that have no other place.
#[derive(Clone, Copy, Debug)]
pub struct GrpcScope<'a> {
    pub cluster: &'a str,
    pub service: &'a str,
    pub method: &'a str,
}

impl<'a> GrpcScope<'a> {
    /// Calls of methods for which there was no room any more.
    pub fn other(cluster: &'a str) -> Self {
        Self { cluster, service: "other", method: "" }
    }

    pub fn all(cluster: &'a str) -> Self {
        Self { cluster, service: "", method: "" }
    }

    pub fn parse(name: &'a str) -> Option<Self> {
        let mut parts = name.rsplitn(3, '/');
        let (method, service) = (parts.next()?, parts.next()?);
        Some(Self { cluster: parts.next()?, service, method })
    }

    /// Whether it is one method's.
    pub fn is_method(&self) -> bool {
        !self.method.is_empty()
    }
}

impl fmt::Display for GrpcScope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster, self.service, self.method)
    }
}

impl Kind {
    /// What stands between the cluster and the service, for the kinds whose scopes are named by `GrpcScope`.
    fn protocol(self) -> Option<&'static str> {
        match self {
            Self::Grpc | Self::GrpcTime => Some("grpc"),
            Self::GrpcWeb => Some("grpc-web"),
            _ => None,
        }
    }

    /// The cluster whose statistics these are, where they are a cluster's.
    pub fn cluster_of(self, name: &str) -> Option<&str> {
        match self.protocol() {
            Some(_) => GrpcScope::parse(name).map(|scope| scope.cluster),
            None => (self.dotted() == Self::Cluster.dotted()).then_some(name),
        }
    }

    /// The parts of a scope's name as they stand in dotted names.
    pub(super) fn parts(self, name: &str) -> [&str; 4] {
        match self.protocol().zip(GrpcScope::parse(name)) {
            Some((protocol, scope)) => [scope.cluster, protocol, scope.service, scope.method],
            None => [name, "", "", ""],
        }
    }

    /// Prometheus' labels for these parts; a part that is empty has none, and neither has one whose label is empty.
    pub(super) fn labels(self, name: &str) -> [(&'static str, &str); 4] {
        let [first, protocol, service, method] = self.parts(name);
        let grpc = ["envoy_grpc_bridge_service", "envoy_grpc_bridge_method"];
        [(self.label(), first), ("", protocol), (grpc[0], service), (grpc[1], method)]
    }

    /// What names without labels begin with: `cluster.grpc` where Prometheus' family is `envoy_cluster_grpc`.
    pub(super) fn tagged(self) -> String {
        let family = self.family().trim_start_matches("envoy").trim_start_matches("ringway").trim_start_matches('_');
        let root = self.dotted();
        match family.strip_prefix(&root.replace('.', "_")) {
            Some("") => root.into(),
            Some(rest) if !root.is_empty() => format!("{root}.{}", rest.trim_start_matches('_')),
            _ => family.into(),
        }
    }

    /// Prometheus' label for codes: of HTTP, or statuses of gRPC.
    pub(super) fn code_label(self) -> &'static str {
        if self.protocol().is_some() { "envoy_grpc_status" } else { "envoy_response_code" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Format, GrpcStats, GrpcTimeStats, Registry};
    use std::sync::Arc;

    #[test]
    fn methods_have_dotted_names_and_labels() {
        let registry = Registry::new();
        let count = |scope: GrpcScope<'_>, status| {
            let stats: Arc<GrpcStats> = registry.scope(&scope.to_string(), 0);
            stats.total.inc();
            stats.status.inc(status);
            stats.status.inc(99);
        };
        count(GrpcScope { cluster: "a.grpc/b", service: "pkg.Echo", method: "Say" }, 14);
        count(GrpcScope::other("app"), 0);
        count(GrpcScope::all("app"), 16);
        let time: Arc<GrpcTimeStats> = registry.scope(&GrpcScope::all("app").to_string(), 0);
        time.upstream_rq_time.record(1000);
        for (name, value) in [
            ("cluster.a.grpc/b.grpc.pkg.Echo.Say.total", 1),
            ("cluster.a.grpc/b.grpc.pkg.Echo.Say.14", 1),
            ("cluster.app.grpc.other.0", 1),
            ("cluster.app.grpc.total", 1),
            ("cluster.app.grpc.16", 1),
        ] {
            assert_eq!(registry.value(name), Some(value), "{name}");
        }
        assert_eq!(registry.value("cluster.app.grpc.99"), None);
        let text = registry.render(Format::Prometheus, None, true);
        for line in [
            "envoy_cluster_grpc_total{envoy_cluster_name=\"a.grpc/b\",envoy_grpc_bridge_service=\"pkg.Echo\",envoy_grpc_bridge_method=\"Say\"} 1",
            "envoy_cluster_grpc_status{envoy_grpc_status=\"14\",envoy_cluster_name=\"a.grpc/b\",envoy_grpc_bridge_service=\"pkg.Echo\",envoy_grpc_bridge_method=\"Say\"} 1",
            "envoy_cluster_grpc_status{envoy_grpc_status=\"0\",envoy_cluster_name=\"app\",envoy_grpc_bridge_service=\"other\"} 1",
            "envoy_cluster_grpc_upstream_rq_time_count{envoy_cluster_name=\"app\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        registry.reset_counters();
        assert_eq!(registry.value("cluster.app.grpc.total"), Some(0));
        assert_eq!(registry.value("cluster.app.grpc.16"), None);
    }

    #[test]
    fn statistics_know_their_cluster() {
        assert_eq!(Kind::Grpc.cluster_of("a/b/pkg.Echo/Say"), Some("a/b"));
        assert_eq!((Kind::Cluster.cluster_of("a/b"), Kind::Http.cluster_of("a")), (Some("a/b"), None));
    }

    /// The names that there may be from traffic are as many as are allowed, whichever shard asks.
    #[test]
    fn names_from_traffic_are_bounded() {
        let registry = Registry::new();
        let ask = |method: &str, shard, max| {
            let scope = GrpcScope { cluster: "app", service: "pkg.Echo", method };
            registry.scope_of_method::<GrpcStats>(scope, shard, max).is_some()
        };
        let _: Arc<GrpcStats> = registry.scope(&GrpcScope::all("app").to_string(), 0);
        let _: Arc<GrpcStats> = registry.scope("app-2/pkg.Echo/A", 0);
        assert!(ask("A", 0, 2) && ask("B", 1, 2) && !ask("C", 0, 2));
        assert!(ask("A", 1, 2) && ask("B", 0, 2), "known ones are for all shards");
        assert_eq!(
            registry.methods(Kind::Grpc, "app"),
            ["app/pkg.Echo/A".into(), "app/pkg.Echo/B".into()] as [Arc<str>; 2]
        );
        registry.remove(Kind::Grpc, "app/pkg.Echo/B");
        assert!(ask("C", 0, 2));
    }
}
