//! Routes of gRPC: the time that calls say, and what does not fit them.

use super::{Resolver, is_written};
use crate::diagnostic::Problem;
use crate::document;
use crate::model::{GrpcTimeout, UpstreamProtocol};
use crate::reader::{Located, OffOr};
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

    fn check_protocols(&mut self, written: &'d Located<document::Forward>) {
        for name in written.clusters() {
            let Some((_, cluster)) = self.clusters.get(name.0.as_str()) else { continue };
            if cluster.protocol.0 == UpstreamProtocol::Http1 {
                let message = format!("calls of gRPC need HTTP/2, and the cluster `{}` speaks HTTP/1", name.0);
                let hint = "add protocol = \"http2\" to the cluster";
                self.problems.warn(Problem::at(&name.origin, message).hint(Some(hint)));
            }
        }
    }
}
