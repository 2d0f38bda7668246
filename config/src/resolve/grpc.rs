//! Routes of gRPC: the time that calls say, and what does not fit them.

use super::{Resolver, is_written};
use crate::diagnostic::Problem;
use crate::document::{self, Http};
use crate::model::{GrpcTimeout, UpstreamProtocol};
use crate::reader::{ClusterName, Located, OffOr, Slot};
use std::time::Duration;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn grpc_timeout(&mut self, written: &'d Located<document::Forward>) -> Option<GrpcTimeout> {
        let offset = written.grpc_timeout_header_offset.given();
        let Some(max) = written.grpc_timeout_header_max.given() else {
            if let (Some(offset), None) = (offset, written.grpc_timeout_header_max.origin()) {
                let message = "`grpc_timeout_header_offset` has no effect without `grpc_timeout_header_max`";
                let problem = Problem::at_key(&offset.origin, message);
                self.problems.push(problem.hint(Some("add grpc_timeout_header_max = \"0s\" for calls of any length")));
            }
            return None;
        };
        let offset = offset.map_or(Duration::ZERO, |offset| offset.0);
        Some(GrpcTimeout { max: Some(max.0).filter(|max| !max.is_zero()), offset })
    }

    /// Warns of what breaks calls, where the file shows that there are calls.
    pub(super) fn check_calls(
        &mut self,
        written: &'d Located<document::Forward>,
        matcher: Option<&'d Located<document::RouteMatch>>,
    ) {
        let takes_calls = matcher.is_some_and(|matcher| matcher.grpc.value);
        let retries_calls = match written.retry_policy.given().map(|policy| &policy.value) {
            Some(OffOr::On(policy)) => policy.retry_on.items().iter().any(|condition| condition.0.is_grpc()),
            Some(OffOr::Off) | None => false,
        };
        if takes_calls || retries_calls || written.grpc_timeout_header_max.origin().is_some() {
            self.check_protocols(written);
        }
        let is_one_method = matcher.is_some_and(|matcher| matcher.path.origin().is_some());
        let cuts = written.timeout.0.is_some() && is_written(&written.timeout.origin, &written.origin);
        if takes_calls && cuts && !is_one_method {
            let message = "`timeout` is the time of the whole response: streams of gRPC are cut by it, too";
            let hint = "write grpc_timeout_header_max, so that calls have the time that they ask for; or match unary methods by `path`";
            self.problems.warn(Problem::at_key(&written.timeout.origin, message).hint(Some(hint)));
        }
    }

    /// Warns of `grpc_web` where no route takes the calls that it makes to where they can be served.
    pub(super) fn check_bridge(&mut self, http: &'d Http) {
        let Some(origin) = http.http_filters.items().iter().find_map(|member| member.grpc_web.origin()) else { return };
        let hosts = http.virtual_hosts.items().iter();
        let hosts =
            hosts.map(|host| (host.routes.items(), skips_bridge(&host.filters))).chain([(http.routes.items(), None)]);
        let routes = hosts.flat_map(|(routes, host)| routes.iter().map(move |route| (route, host)));
        let mut forwards = routes
            .filter(|(route, host)| !skips_bridge(&route.filters).or(*host).unwrap_or(false))
            .filter_map(|(route, _)| route.route.given())
            .peekable();
        let may_serve = |forward: &Located<document::Forward>| {
            forward.cluster_header.origin().is_some() || forward.clusters().any(|name| !self.speaks_http1(name))
        };
        if forwards.peek().is_some() && !forwards.any(may_serve) {
            let message =
                "`grpc_web` makes calls of gRPC, which need HTTP/2, and no route leads to a cluster that speaks it";
            let hint = "add protocol = \"http2\" to the clusters of gRPC servers";
            self.problems.warn(Problem::at_key(origin, message).hint(Some(hint)));
        }
    }

    fn speaks_http1(&self, name: &ClusterName) -> bool {
        let cluster = self.clusters.get(name.0.as_str());
        cluster.is_some_and(|(_, cluster)| cluster.protocol.0 == UpstreamProtocol::Http1)
    }

    fn check_protocols(&mut self, written: &'d Located<document::Forward>) {
        for name in written.clusters() {
            if self.speaks_http1(name) {
                let message = format!("calls of gRPC need HTTP/2, and the cluster `{}` speaks HTTP/1", name.0);
                let hint = "add protocol = \"http2\" to the cluster";
                self.problems.warn(Problem::at(&name.origin, message).hint(Some(hint)));
            }
        }
    }
}

/// Whether requests with these overrides pass `grpc_web` by; `None`: they say nothing of it.
fn skips_bridge(written: &Slot<document::FilterOverrides>) -> Option<bool> {
    let settings = written.given()?.grpc_web.given()?;
    Some(matches!(settings.value, OffOr::Off))
}
