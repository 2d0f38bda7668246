//! Active health checks (Envoy: core.v3.HealthCheck): is an endpoint there, and does it say that it is well?
//!
//! They run once for the process, on the control thread ([`super::Supervisor`]), each endpoint's in a task of its own.
//! What they find goes into the host's flags, where all shards see it.
//!
//! Before its first check an endpoint of a cluster with checks counts as failed, as in Envoy; the server waits for the
//! first checks before it serves. Whoever comes earlier meets panic mode, as with any cluster that is all unhealthy.

mod event_log;
mod http;
mod link;
mod session;
mod tcp;
#[cfg(test)]
mod tests;

pub use event_log::EventLog;
pub(super) use event_log::{Event, EventKind};
use link::Link;
pub(super) use session::{Session, Transition, interval};

use super::{ClusterShared, HealthFlags, Host, Report};
use crate::http::{Message, RequestHead};
use crate::net::Network;
use crate::ring::{Reactor, Timer};
use ringway_config::model::{Address, HealthCheck, HealthCheckKind};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A check that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// The endpoint said so: `x-envoy-degraded`.
    pub degraded: bool,
}

/// Why a check failed (Envoy: HealthCheckFailureType).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It answered, with something that is not well. `retriable`: it takes several in a row.
    Active { retriable: bool },
    /// Seen in the response to a request, and not by a check.
    Passive,
    /// No connection, or one that broke, or something that is no HTTP.
    Network,
    /// Nothing in time.
    Timeout,
}

impl Failure {
    fn decides_alone(self) -> bool {
        match self {
            Self::Active { retriable } => !retriable,
            Self::Passive => true,
            Self::Network | Self::Timeout => false,
        }
    }

    pub fn is_network(self) -> bool {
        matches!(self, Self::Network | Self::Timeout)
    }

    /// As Envoy's event log has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active { .. } => "ACTIVE",
            Self::Passive => "PASSIVE",
            Self::Network => "NETWORK",
            Self::Timeout => "NETWORK_TIMEOUT",
        }
    }
}

/// What one check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub result: Result<Passed, Failure>,
    /// The endpoint asks to be left out altogether: `x-envoy-immediate-health-check-fail`.
    pub excluded: bool,
}

impl Verdict {
    fn passed(degraded: bool) -> Self {
        Self { result: Ok(Passed { degraded }), excluded: false }
    }

    fn failed(failure: Failure) -> Self {
        Self { result: Err(failure), excluded: false }
    }
}

/// Makes the checks of one endpoint, one after the other, on one connection where that is allowed.
pub(super) struct Prober {
    reactor: Rc<Reactor>,
    check: HealthCheck,
    link: Link,
    /// Of the HTTP check.
    request: Message<RequestHead>,
}

impl Prober {
    pub fn new(
        reactor: &Rc<Reactor>,
        network: &Network,
        cluster: &ClusterShared,
        host: &Host,
        check: &HealthCheck,
    ) -> Self {
        let request = request(check, cluster, host);
        let link = Link::new(reactor, network, address(host));
        Self { reactor: reactor.clone(), check: check.clone(), link, request }
    }

    /// From the next check on, check `host`: the same one, of which discovery says something new. Whether it has moved.
    pub fn follow(&mut self, cluster: &ClusterShared, host: &Host) -> bool {
        self.request = request(&self.check, cluster, host);
        self.link.aim(address(host))
    }

    /// One check.
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
        verdict.unwrap_or(Verdict::failed(Failure::Timeout))
    }

    /// Until the next check. A connection that the endpoint closes meanwhile is closed here, too.
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

/// The request of an HTTP check.
fn request(check: &HealthCheck, cluster: &ClusterShared, host: &Host) -> Message<RequestHead> {
    match &check.kind {
        HealthCheckKind::Http(http) => http::request(http, &cluster.config.name, host),
        HealthCheckKind::Tcp(_) => Message::default(),
    }
}

/// Where checks of the endpoint go.
fn address(host: &Host) -> Address {
    match (&host.spec.address, host.spec.health_check_port) {
        (Address::Ip(address), Some(port)) => Address::Ip((address.ip(), port).into()),
        (address, _) => address.clone(),
    }
}

impl ClusterShared {
    /// A response of `host` said `x-envoy-immediate-health-check-fail`. Of no effect in a cluster without checks, which
    /// would not find the host well again.
    pub fn report_immediate_failure(&self, host: &Arc<Host>) {
        if !self.config.health_checks.is_empty() && !host.flags().contains(HealthFlags::FAILED_ACTIVE_HC) {
            self.reports.push(Report::ImmediateHealthCheckFail(host.clone()));
        }
    }
}
