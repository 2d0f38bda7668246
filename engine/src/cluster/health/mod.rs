//! Active health checks (Envoy: core.v3.HealthCheck): does an endpoint answer, and does it say that it is healthy?
//!
//! They run once for the process, on the control thread ([`super::Supervisor`]), each in its own task. The result is in the
//! host's flags, where all shards see it.
//!
//! In a cluster with checks, an endpoint counts as failed until its first check, as in Envoy, and the server waits for the
//! first checks before it serves. Where they take too long, requests meet panic mode, as in any cluster without a healthy
//! endpoint.

mod event_log;
mod grpc;
mod http;
mod link;
mod missed;
mod session;
mod tcp;
#[cfg(test)]
mod tests;

pub(super) use event_log::{Event, EventKind};
pub use event_log::{EventLog, Written};
use link::Link;
pub(super) use missed::Missed;
pub(super) use session::{Session, Transition, interval};

use super::{ClusterShared, HealthFlags, Host, Report};
use crate::http::{Message, RequestHead, host_name};
use crate::net::{Network, tls};
use crate::ring::{Reactor, Timer};
use crate::stats::ClusterTlsStats;
use ringway_config::model::{Address, GrpcHealthCheck, HealthCheck, HealthCheckKind, HttpHealthCheck};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A check that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// The endpoint called itself degraded: `x-envoy-degraded`.
    pub degraded: bool,
}

/// Why a check failed (Envoy: HealthCheckFailureType).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The answer says that the endpoint is not healthy. `retriable`: only several in a row make it unhealthy.
    Active { retriable: bool },
    /// Seen in the response to a request, not by a check.
    Passive,
    /// No connection, a broken one, or an answer that is not HTTP.
    Network,
    /// No answer in time.
    Timeout,
    /// This host has no descriptor, memory or port left for the check, which says nothing about the endpoint.
    Local,
}

impl Failure {
    fn decides_alone(self) -> bool {
        match self {
            Self::Active { retriable } => !retriable,
            Self::Passive => true,
            Self::Network | Self::Timeout | Self::Local => false,
        }
    }

    pub fn is_network(self) -> bool {
        matches!(self, Self::Network | Self::Timeout)
    }

    /// The name in Envoy's event log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active { .. } => "ACTIVE",
            Self::Passive => "PASSIVE",
            Self::Network => "NETWORK",
            Self::Timeout => "NETWORK_TIMEOUT",
            Self::Local => "LOCAL",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub result: Result<Passed, Missed>,
    /// The endpoint asks to be left out of load balancing: `x-envoy-immediate-health-check-fail`.
    pub excluded: bool,
}

impl Verdict {
    fn passed(degraded: bool) -> Self {
        Self { result: Ok(Passed { degraded }), excluded: false }
    }

    fn failed(missed: Missed) -> Self {
        Self { result: Err(missed), excluded: false }
    }
}

/// Checks one endpoint again and again, on one connection where the configuration allows that.
pub(super) struct Prober {
    reactor: Rc<Reactor>,
    check: HealthCheck,
    link: Link,
    /// Of a check by HTTP or gRPC.
    request: Message<RequestHead>,
}

impl Prober {
    pub fn new(
        reactor: &Rc<Reactor>,
        network: &Network,
        cluster: &ClusterShared,
        host: &Host,
        check: &HealthCheck,
        tls_stats: Option<&Arc<ClusterTlsStats>>,
    ) -> Self {
        let request = request(check, cluster, host);
        let spoken = (cluster.config.protocol, cluster.config.http2);
        let connector = connector(check, cluster, host, tls_stats);
        let link = Link::new(reactor, network, addresses(host), connector, spoken);
        Self { reactor: reactor.clone(), check: check.clone(), link, request }
    }

    /// From the next check on, checks `host`, which is the same host with a new description. Returns whether it has moved.
    pub fn follow(&mut self, cluster: &ClusterShared, host: &Host) -> bool {
        self.request = request(&self.check, cluster, host);
        self.link.aim(addresses(host))
    }

    /// Makes one check.
    pub async fn probe(&mut self) -> Verdict {
        let timer = Timer::new(&self.reactor);
        timer.arm_in(self.check.timeout);
        let verdict = {
            let link = &mut self.link;
            let request = &self.request;
            let kind = &self.check.kind;
            let mut probing = pin!(async {
                match kind {
                    HealthCheckKind::Http(check) => http::probe(check, link, request).await,
                    HealthCheckKind::Tcp(check) => tcp::probe(check, link).await,
                    HealthCheckKind::Grpc(check) => grpc::probe(check, link, request).await,
                }
            });
            poll_fn(|context| match probing.as_mut().poll(context) {
                Poll::Ready(verdict) => Poll::Ready(Some(verdict)),
                Poll::Pending if timer.fired() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            })
            .await
        };
        if verdict.is_none() || !self.check.reuse_connection {
            self.link.close();
        }
        let received = std::mem::take(&mut self.link.received);
        verdict.unwrap_or_else(|| {
            let expected: &[_] = match &self.check.kind {
                HealthCheckKind::Tcp(check) => &check.receive,
                HealthCheckKind::Http(_) | HealthCheckKind::Grpc(_) => &[],
            };
            Verdict::failed(Missed::timeout(self.check.timeout, expected, &received))
        })
    }

    /// Waits until the next check. A connection that the endpoint closes meanwhile is closed here, too.
    pub async fn rest(&mut self, time: Duration) {
        let timer = Timer::new(&self.reactor);
        timer.arm_in(time);
        poll_fn(|_| {
            self.link.sweep();
            if timer.fired() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// The request of a check that makes one.
fn request(check: &HealthCheck, cluster: &ClusterShared, host: &Host) -> Message<RequestHead> {
    match &check.kind {
        HealthCheckKind::Http(http) => http::request(http, &cluster.config.name, host),
        HealthCheckKind::Grpc(grpc) => grpc::request(grpc, &cluster.config.name, host),
        HealthCheckKind::Tcp(_) => Message::default(),
    }
}

/// Where the name of the endpoint is that in Host, a check with a Host of its own asks for that one.
fn connector(
    check: &HealthCheck,
    cluster: &ClusterShared,
    host: &Host,
    stats: Option<&Arc<ClusterTlsStats>>,
) -> Option<Rc<tls::Connector>> {
    let connector = cluster.connector(&host.spec, stats)?;
    let by_name = cluster.is_by_name(&host.spec);
    match &check.kind {
        HealthCheckKind::Http(HttpHealthCheck { host: Some(host), .. })
        | HealthCheckKind::Grpc(GrpcHealthCheck { authority: Some(host), .. })
            if by_name =>
        {
            Some(connector.named(&host_name(host.as_bytes())))
        }
        _ => Some(connector),
    }
}

/// The addresses of the endpoint's checks.
fn addresses(host: &Host) -> Rc<[Address]> {
    let checked = |address: &Address| match (address, host.spec.health_check_port) {
        (Address::Ip(address), Some(port)) => Address::Ip((address.ip(), port).into()),
        (address, _) => address.clone(),
    };
    host.spec.addresses().iter().map(checked).collect()
}

impl ClusterShared {
    /// A response of `host` said `x-envoy-immediate-health-check-fail`. This has no effect in a cluster without checks, where
    /// nothing would make the host healthy again.
    pub fn report_immediate_failure(&self, host: &Arc<Host>) {
        if !self.config.health_checks.is_empty() && !host.flags().contains(HealthFlags::FAILED_ACTIVE_HC) {
            self.reports.push(Report::ImmediateHealthCheckFail(host.clone()));
        }
    }
}
