//! Active health checks.

use std::collections::HashMap;

use crate::diagnostic::Problem;
use crate::document::{self, CheckedStatuses, HeaderName, List, Located, Slot};
use crate::model::{HealthCheck, HealthCheckKind, HttpHealthCheck, TcpHealthCheck};
use crate::resolve::Resolver;

/// Envoy: HttpHealthCheck.expected_statuses.
const STATUS_OK: std::ops::Range<u16> = 200..201;

/// Fields that the check itself writes, or that speak of the connection (RFC 9110 section 7.6.1).
const OWN_FIELDS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn health_checks(&mut self, cluster: &'d Located<document::Cluster>) -> Vec<HealthCheck> {
        cluster.health_checks.items().iter().filter_map(|check| self.health_check(check)).collect()
    }

    fn health_check(&mut self, check: &'d Located<document::HealthCheck>) -> Option<HealthCheck> {
        let keys = [("http", check.http.origin()), ("tcp", check.tcp.origin())];
        self.exactly_one(&check.origin, check.has_unknown, &keys, "the health check does not say what to do");
        let http = check.http.given().and_then(|http| self.http_check(http));
        let tcp = check.tcp.given().map(|tcp| TcpHealthCheck {
            send: tcp.send.given().map(|bytes| bytes.value.0.clone()).unwrap_or_default(),
            receive: tcp.receive.items().iter().map(|bytes| bytes.value.0.clone()).collect(),
        });
        let interval = check.interval.value.0;
        let unhealthy_interval = check.unhealthy_interval.given().map_or(interval, |time| time.value.0);
        Some(HealthCheck {
            place: self.problems.place(&check.origin),
            kind: http.map(HealthCheckKind::Http).or(tcp.map(HealthCheckKind::Tcp))?,
            timeout: check.timeout.value.0,
            interval,
            interval_jitter: check.interval_jitter.value.0,
            no_traffic_interval: check.no_traffic_interval.value.0,
            unhealthy_interval,
            unhealthy_edge_interval: check.unhealthy_edge_interval.given().map_or(unhealthy_interval, |it| it.value.0),
            healthy_edge_interval: check.healthy_edge_interval.given().map_or(interval, |time| time.value.0),
            unhealthy_threshold: check.unhealthy_threshold.to_u32(),
            healthy_threshold: check.healthy_threshold.to_u32(),
            reuse_connection: check.reuse_connection.value,
            event_log: check.event_log.given().map(|path| self.directory.join(&path.value.0)),
            always_log_failures: check.always_log_failures.value,
        })
    }

    fn http_check(&mut self, http: &'d Located<document::HttpHealthCheck>) -> Option<HttpHealthCheck> {
        if http.method.value.0 == "CONNECT" {
            let problem = Problem::at(&http.method.origin, "a health check cannot open a tunnel");
            self.problems
                .push(problem.allowed("any method but CONNECT").hint(Some("for the port alone, write tcp = {}")));
        }
        let hint = "leave it out for status 200";
        self.refuse_empty(&http.expected_statuses, "no status is expected: every check would fail", hint);
        let mut first = HashMap::new();
        let mut request_headers = Vec::new();
        if let Some(map) = http.request_headers.given() {
            for (name, value) in &map.entries {
                self.unique(&mut first, name.0.as_str(), &name.origin, |name| format!("`{name}` is written twice"));
                self.check_field(name);
                request_headers.push((name.0.clone(), value.0.clone()));
            }
        }
        let expected = ranges(&http.expected_statuses);
        Some(HttpHealthCheck {
            host: http.host.given().map(|host| host.value.0.clone()),
            path: http.path.given()?.value.0.clone(),
            method: http.method.value.0.clone(),
            expected_statuses: if expected.is_empty() { vec![STATUS_OK] } else { expected },
            retriable_statuses: ranges(&http.retriable_statuses),
            request_headers,
        })
    }

    fn check_field(&mut self, name: &Located<HeaderName>) {
        if !OWN_FIELDS.contains(&name.value.0.as_str()) {
            return;
        }
        let hint = (name.value.0 == "host").then_some("write host = \"...\" beside `path`");
        let problem = Problem::at(&name.origin, format!("a health check writes `{}` itself", name.value.0));
        self.problems.push(problem.allowed("any field that does not speak of the connection").hint(hint));
    }
}

fn ranges(written: &Slot<List<CheckedStatuses>>) -> Vec<std::ops::Range<u16>> {
    written.items().iter().map(|statuses| statuses.value.0.clone()).collect()
}
