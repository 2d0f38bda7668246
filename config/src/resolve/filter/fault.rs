//! Settings of the fault filter.

use crate::diagnostic::Problem;
use crate::document;
use crate::model::{Fault, FaultAbort, FaultAbortKind, FaultDelay, FaultDelayKind, FaultRateLimit, FaultRateLimitKind};
use crate::reader::Located;
use crate::resolve::Resolver;
use crate::resolve::matcher::fraction;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn fault(&mut self, written: &'d Located<document::Fault>) -> Option<Fault> {
        let faults = [written.delay.origin(), written.abort.origin(), written.response_rate_limit.origin()];
        let others = [written.headers.origin(), written.upstream_cluster.origin(), written.max_active_faults.origin()];
        // An empty table is for a filter that only some routes use.
        if faults.iter().all(Option::is_none) && others.iter().any(Option::is_some) && !written.has_unknown {
            let problem = Problem::at(&written.origin, "the filter injects no fault");
            self.problems.push(problem.allowed("delay, abort, response_rate_limit; at least one"));
        }
        if let Some(name) = written.upstream_cluster.given() {
            self.cluster_named(name);
        }
        Some(Fault {
            delay: written.delay.given().and_then(|delay| self.delay(delay)),
            abort: written.abort.given().and_then(|abort| self.abort(abort)),
            response_rate_limit: written.response_rate_limit.given().and_then(|limit| self.rate_limit(limit)),
            headers: self.header_matches(written.headers.items()),
            upstream_cluster: written.upstream_cluster.value(),
            max_active_faults: written.max_active_faults.given().map(|count| count.to_u32()),
        })
    }

    fn delay(&mut self, written: &'d Located<document::FaultDelay>) -> Option<FaultDelay> {
        let keys = [("fixed_delay", written.fixed_delay.origin()), ("header_delay", written.header_delay.origin())];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "the delay has no duration");
        let fixed = written.fixed_delay.value().map(FaultDelayKind::Fixed);
        let header = written.header_delay.given().map(|_| FaultDelayKind::Header);
        Some(FaultDelay { percentage: fraction(written.percent.given()?.value), kind: fixed.or(header)? })
    }

    fn abort(&mut self, written: &'d Located<document::FaultAbort>) -> Option<FaultAbort> {
        let keys = [
            ("http_status", written.http_status.origin()),
            ("grpc_status", written.grpc_status.origin()),
            ("header_abort", written.header_abort.origin()),
        ];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "the abort has no status");
        let status = written.http_status.given().map(|status| FaultAbortKind::Status(status.to_u16()));
        let grpc = written.grpc_status.given().map(|status| FaultAbortKind::GrpcStatus(status.0.0));
        let header = written.header_abort.given().map(|_| FaultAbortKind::Header);
        Some(FaultAbort { percentage: fraction(written.percent.given()?.value), kind: status.or(grpc).or(header)? })
    }

    fn rate_limit(&mut self, written: &'d Located<document::FaultRateLimit>) -> Option<FaultRateLimit> {
        let keys = [("fixed_limit", written.fixed_limit.origin()), ("header_limit", written.header_limit.origin())];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "the limit has no rate");
        let fixed = written.fixed_limit.value().map(FaultRateLimitKind::Fixed);
        let header = written.header_limit.given().map(|_| FaultRateLimitKind::Header);
        Some(FaultRateLimit { percentage: fraction(written.percent.given()?.value), kind: fixed.or(header)? })
    }
}
