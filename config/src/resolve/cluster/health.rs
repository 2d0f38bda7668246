//! Active health checks.

use crate::diagnostic::Problem;
use crate::document::{self, CheckedStatuses};
use crate::model::{
    GrpcHealthCheck, HealthCheck, HealthCheckKind, HttpHealthCheck, Needed, TcpHealthCheck, UpstreamProtocol,
};
use crate::reader::{HeaderName, HeaderValue, List, Located, Map, Slot};
use crate::resolve::Resolver;

/// Envoy: HttpHealthCheck.expected_statuses.
const STATUS_OK: std::ops::Range<u16> = 200..201;

/// Headers that each kind of check writes itself, and what to write instead.
const HTTP_FIELDS: &[(&str, &str)] = &[("host", "write host = \"...\" next to `path`")];
const GRPC_FIELDS: &[(&str, &str)] = &[
    ("content-type", "leave it out: it is application/grpc"),
    ("host", "write authority = \"...\" next to `initial_metadata`"),
];

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn health_checks(&mut self, cluster: &'d Located<document::Cluster>) -> Vec<HealthCheck> {
        let checks = cluster.health_checks.items().iter();
        checks.filter_map(|check| self.health_check(check, cluster)).collect()
    }

    fn health_check(
        &mut self,
        check: &'d Located<document::HealthCheck>,
        cluster: &'d document::Cluster,
    ) -> Option<HealthCheck> {
        let keys = [("http", check.http.origin()), ("tcp", check.tcp.origin()), ("grpc", check.grpc.origin())];
        self.exactly_one(&check.origin, check.has_unknown, &keys, "the health check does not say what to do");
        let http = check.http.given().and_then(|http| self.http_check(http));
        let tcp = check
            .tcp
            .given()
            .map(|tcp| TcpHealthCheck { send: tcp.send.value().unwrap_or_default(), receive: tcp.receive.values() });
        let grpc = check.grpc.given().map(|grpc| self.grpc_check(grpc, cluster));
        let interval = check.interval.0;
        let unhealthy_interval = check.unhealthy_interval.value().unwrap_or(interval);
        let event_log = check.event_log.given().map(|path| (&path.origin, self.directory.join(&path.0)));
        if let Some((origin, path)) = &event_log {
            self.need(origin, Needed::EventLog(path.clone()));
        }
        Some(HealthCheck {
            place: self.problems.place(&check.origin),
            texts: self.texts(
                document::HealthCheck::spec(),
                &check.origin,
                &[("interval", Some(&check.interval.origin)), ("timeout", Some(&check.timeout.origin))],
            ),
            kind: http
                .map(HealthCheckKind::Http)
                .or(tcp.map(HealthCheckKind::Tcp))
                .or(grpc.map(HealthCheckKind::Grpc))?,
            timeout: check.timeout.0,
            interval,
            interval_jitter: check.interval_jitter.0,
            no_traffic_interval: check.no_traffic_interval.0,
            unhealthy_interval,
            unhealthy_edge_interval: check.unhealthy_edge_interval.value().unwrap_or(unhealthy_interval),
            healthy_edge_interval: check.healthy_edge_interval.value().unwrap_or(interval),
            unhealthy_threshold: check.unhealthy_threshold.to_u32(),
            healthy_threshold: check.healthy_threshold.to_u32(),
            reuse_connection: check.reuse_connection.value,
            event_log: event_log.map(|(_, path)| path),
            always_log_failures: check.always_log_failures.value,
        })
    }

    fn http_check(&mut self, http: &'d Located<document::HttpHealthCheck>) -> Option<HttpHealthCheck> {
        if http.method.0 == "CONNECT" {
            let problem = Problem::at(&http.method.origin, "a health check cannot open a tunnel");
            self.problems
                .push(problem.allowed("any method but CONNECT").hint(Some("to check only the port, write tcp = {}")));
        }
        let hint = "leave it out for status 200";
        self.refuse_empty(&http.expected_statuses, "no status is expected: every check would fail", hint);
        let request_headers = self.check_fields(&http.request_headers, HTTP_FIELDS);
        let expected = ranges(&http.expected_statuses);
        Some(HttpHealthCheck {
            host: http.host.value(),
            path: http.path.value()?,
            method: http.method.0.clone(),
            expected_statuses: if expected.is_empty() { vec![STATUS_OK] } else { expected },
            retriable_statuses: ranges(&http.retriable_statuses),
            request_headers,
        })
    }

    fn grpc_check(
        &mut self,
        grpc: &'d Located<document::GrpcHealthCheck>,
        cluster: &'d document::Cluster,
    ) -> GrpcHealthCheck {
        if cluster.protocol.0 == UpstreamProtocol::Http1 && !cluster.has_unknown {
            let problem = Problem::at_key(&grpc.origin, "a check by gRPC needs HTTP/2, and the cluster speaks HTTP/1");
            self.problems.push(problem.hint(Some("add protocol = \"http2\" to the cluster, or check by http or tcp")));
        }
        GrpcHealthCheck {
            service_name: grpc.service_name.value().unwrap_or_default(),
            authority: grpc.authority.value(),
            initial_metadata: self.check_fields(&grpc.initial_metadata, GRPC_FIELDS),
        }
    }

    fn check_fields(
        &mut self,
        written: &'d Slot<Map<HeaderName, HeaderValue>>,
        own: &[(&str, &str)],
    ) -> Vec<(String, String)> {
        self.check_further_headers("a health check", written, own);
        let entries = written.given().into_iter().flat_map(|map| &map.entries);
        entries.map(|(name, value)| (name.0.clone(), value.0.clone())).collect()
    }
}

fn ranges(written: &Slot<List<CheckedStatuses>>) -> Vec<std::ops::Range<u16>> {
    written.values()
}
