//! START READING HERE: one exchange, from the request's head to its line in the access log, whatever the wire it came on.
//!
//! ```text
//! admit -> route -> filters -> Forward: finalize -> router::forward -> respond::upstream -> account, log
//!                           -> Redirect, DirectResponse, no route: respond::local -> account, log
//!                   a filter's answer: respond::local -> account, log
//! any fault on the way, the head's included: respond::fault -> account, log
//! ```

use super::admit::{Admission, admit};
use super::connection::Connection;
use super::manager::Hcm;
use super::misdirected::is_misdirected;
use super::respond;
use super::serving::{Ending, Serving};
use super::{finalize, log, redirect, trace};
use crate::cluster::RequestEnd;
use crate::http::format::ResponseFlags;
use crate::http::{Exchange, FieldId, Message, Reply, RequestHead, matcher};
use crate::http_filter::{Context, Flow, Passed};
use crate::mux::Downstream;
use crate::net::{Arrival, Stall};
use crate::route::hash_policy::{self, Asker};
use crate::route::{internal_redirect, rewrite};
use crate::router::retry::{self, TryPolicy};
use crate::router::{self, Client, Deadlines, Fault, Forwarding, Try, Upload, Vigil};
use ringway_config::model::{ClusterTarget, FilterOverrides, Forward, RouteAction, WeightedCluster};
use smallvec::SmallVec;
use std::rc::Rc;

/// A request begins: its first byte has come, or all of its head. The value returned counts it while it lasts.
pub(super) fn begin<'a>(hcm: &'a Hcm, exchange: &mut Exchange, deadlines: &mut Deadlines) -> ActiveRequest<'a> {
    let (reactor, timeouts) = (&hcm.shard.reactor, &hcm.config.timeouts);
    exchange.facts.times.start = reactor.now();
    exchange.facts.times.start_wall_micros = reactor.wall_micros();
    deadlines.start_request(reactor.now(), timeouts.request_headers, timeouts.request);
    ActiveRequest::new(hcm)
}

/// Serve one request whose head is in the exchange, or tell what is wrong with it; `stall` knows whether the client takes what
/// is said. Whether the response was sent whole.
///
/// `SHARED`: the connection serves others at the same time. It changes nothing here, but gives each driver a copy of its own,
/// which the compiler makes one piece with it: that is 1 % of an exchange's instructions.
pub(super) async fn run<const SHARED: bool>(
    hcm: &Rc<Hcm>,
    connection: &Connection,
    stall: &Stall,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
    head: Result<(), Fault>,
) -> bool {
    let reactor = &hcm.shard.reactor;
    let upload = Upload::new(downstream, hcm.config.limits.max_request_body);
    let client = Client { reactor, upload, deadlines, vigil: Vigil::new(stall) };
    let mut serving = Serving { hcm, connection, exchange, client, filters: Passed::default(), has_ended: false };
    let result = match head {
        Ok(()) => serve(&mut serving).await,
        Err(fault) => Err(fault),
    };
    let ending = match result {
        Ok(ending) => ending,
        Err(fault) => respond::fault(&mut serving, fault).await,
    };
    account(&mut serving, &ending);
    log::write(hcm, connection, serving.exchange, &ending);
    serving.has_ended = true;
    ending.is_whole
}

/// Find out what is to be done with the request, and do it.
async fn serve(serving: &mut Serving<'_, '_, '_>) -> Result<Ending, Fault> {
    if let Some(path) = start(serving)? {
        let reply = Reply::text(307, "", ResponseFlags::empty(), "path_normalization_redirect");
        return respond::redirect(serving, &reply, &path).await;
    }
    let reactor = &serving.hcm.shard.reactor;
    loop {
        route(serving);
        affordable(serving)?;
        if !serving.hcm.is_plain {
            trace::begin(serving.hcm, serving.connection, serving.exchange);
            // In memory of its own: an exchange without filters needs no room for what they wait for.
            if !serving.hcm.filters.is_empty()
                && let Some(ending) = reactor.pooled(|| filter(serving)).await?
            {
                return Ok(ending);
            }
        }
        affordable(serving)?;
        if let Acted::Done(ending) = act(serving).await? {
            return Ok(ending);
        }
        // The filters see what becomes of a redirect as a new request.
        serving.filters.start_over();
        serving.client.deadlines.start_over(reactor.now());
    }
}

/// Start the exchange's deadlines and make the head fit for what follows. `Some`: the client is to ask for this path instead.
fn start(serving: &mut Serving<'_, '_, '_>) -> Result<Option<Vec<u8>>, Fault> {
    let Serving { hcm, connection, exchange, client, .. } = serving;
    if exchange.request.head.length.exceeds(hcm.config.limits.max_request_body) {
        return Err(Fault::RequestTooLarge);
    }
    let (now, timeouts, times) = (client.reactor.now(), &hcm.config.timeouts, &mut exchange.facts.times);
    client.deadlines.start_exchange(now, timeouts.stream_idle, times.start, timeouts.max_stream_duration);
    let is_complete = client.upload.is_done();
    if hcm.config.fin_cancels {
        client.vigil.expect_no_fin(is_complete.then_some(now));
    }
    if is_complete {
        times.request_end = Some(now);
    } else if !has_messages(&exchange.request) {
        client.vigil.expect_body(now, hcm.config.limits.min_request_body_rate);
    }
    exchange.facts.random = client.reactor.random().next_u64();
    match admit(hcm, connection, client.upload.wire, exchange) {
        Admission::Admitted if is_misdirected(hcm, connection, exchange) => {
            hcm.stats.downstream_rq_misdirected.inc();
            Err(Fault::Misdirected)
        }
        Admission::Admitted => Ok(None),
        Admission::InvalidPath => Err(Fault::InvalidPath),
        Admission::Underscore => Err(Fault::UnderscoreInName),
        Admission::Redirect(path) => Ok(Some(path)),
    }
}

/// Whether the body is a stream of messages, of which there may be none for long: of gRPC or a relative of it.
fn has_messages(request: &Message<RequestHead>) -> bool {
    let content_type = request.head.fields.get(FieldId::ContentType);
    content_type.is_some_and(|field| field.value.of(request.view()).starts_with(b"application/grpc"))
}

/// What conditions found of a request that would have cost too much is not to be relied upon: a guard may not have seen it.
#[inline]
fn affordable(serving: &Serving<'_, '_, '_>) -> Result<(), Fault> {
    match matcher::is_exhausted(&serving.exchange.request.head.work) {
        true => Err(Fault::MatchCost),
        false => Ok(()),
    }
}

/// Find the request's route and, among the clusters that it names, the one for this request.
fn route(serving: &mut Serving<'_, '_, '_>) {
    let Serving { hcm, connection, exchange, .. } = serving;
    (exchange.facts.cluster, exchange.facts.weighted) = (None, None);
    exchange.facts.route = hcm.table.find(&connection.routed(exchange));
    let Some(RouteAction::Forward(forward)) = exchange.facts.route.map(|at| &hcm.table.route(at).action) else {
        return;
    };
    match &forward.target {
        ClusterTarget::Cluster(cluster) => exchange.facts.cluster = Some(*cluster),
        ClusterTarget::Weighted(clusters) => {
            let index = pick_weighted(clusters, hcm.shard.reactor.random().next_u64());
            exchange.facts.weighted = Some(index);
            exchange.facts.cluster = Some(clusters[index].cluster);
        }
        ClusterTarget::Header(name) => {
            let view = exchange.request.view();
            let named = exchange.request.head.fields.find(name.as_bytes(), view).map(|field| field.value.of(view));
            exchange.facts.cluster = named.and_then(|name| hcm.cluster_index.get(name).copied());
        }
    }
}

/// An index by weight; the weights' sum is 1 or more.
fn pick_weighted(clusters: &[WeightedCluster], random: u64) -> usize {
    let total: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    let mut point = random % total.max(1);
    for (index, cluster) in clusters.iter().enumerate() {
        match point.checked_sub(u64::from(cluster.weight)) {
            Some(rest) => point = rest,
            None => return index,
        }
    }
    0
}

/// Let the filters see the request. `Some`: one of them answered it.
async fn filter(serving: &mut Serving<'_, '_, '_>) -> Result<Option<Ending>, Fault> {
    let Serving { hcm, exchange, client, filters, .. } = serving;
    let mut overrides = SmallVec::<[&FilterOverrides; 3]>::new();
    if let Some(at) = exchange.facts.route {
        let host = &hcm.config.virtual_hosts[at.virtual_host as usize];
        let route = &host.routes[at.route as usize];
        if let RouteAction::Forward(forward) = &route.action
            && let Some(cluster) = exchange.weighted_cluster(forward)
        {
            overrides.push(&cluster.filters);
        }
        overrides.extend([&route.filters, &host.filters]);
    }
    let cluster = exchange.facts.cluster.map(|index| hcm.clusters[index].config.name.as_str());
    let mut context = Context { exchange, client, cluster };
    match hcm.filters.request(filters, &overrides, &mut context).await? {
        Flow::Continue | Flow::Hooked(_) => Ok(None),
        Flow::Reply(reply) => Ok(Some(respond::local(serving, &reply).await?)),
    }
}

/// What came of doing what a route says.
enum Acted {
    Done(Ending),
    /// The upstream redirected the request, and it goes there now.
    Redirected,
}

impl From<Ending> for Acted {
    fn from(ending: Ending) -> Self {
        Self::Done(ending)
    }
}

/// Do what the route says.
async fn act(serving: &mut Serving<'_, '_, '_>) -> Result<Acted, Fault> {
    let hcm = serving.hcm;
    let Some(at) = serving.exchange.facts.route else {
        hcm.stats.no_route.inc();
        let reply = Reply::text(404, "", ResponseFlags::NO_ROUTE_FOUND, "route_not_found");
        Reply::begin(serving.exchange, &hcm.shard.reactor);
        return Ok(respond::local(serving, &reply).await?.into());
    };
    let route = hcm.table.route(at);
    match &route.action {
        RouteAction::Forward(forward) => forward_to_upstream(serving, forward).await,
        RouteAction::Redirect(redirect) => {
            hcm.stats.rq_redirect.inc();
            let mut location = hcm.shard.reactor.take_vec();
            let exchange = &serving.exchange;
            rewrite::location(redirect, route, &exchange.request.head, exchange.request.view(), &mut location);
            affordable(serving)?;
            let reply = Reply::text(redirect.status, "", ResponseFlags::empty(), "direct_response");
            let done = respond::redirect(serving, &reply, &location).await;
            hcm.shard.reactor.give_vec(location);
            Ok(done?.into())
        }
        RouteAction::DirectResponse(response) => {
            hcm.stats.rq_direct_response.inc();
            let reply = Reply {
                status: response.status,
                body: &response.body,
                content_type: &response.content_type,
                flags: ResponseFlags::empty(),
                details: "direct_response",
                grpc_status: None,
            };
            Reply::begin(serving.exchange, &hcm.shard.reactor);
            Ok(respond::local(serving, &reply).await?.into())
        }
    }
}

async fn forward_to_upstream<'a>(serving: &mut Serving<'a, '_, '_>, forward: &'a Forward) -> Result<Acted, Fault> {
    let hcm = serving.hcm;
    hcm.stats.rq_total.inc();
    let Some(cluster) = serving.exchange.facts.cluster else {
        hcm.stats.no_cluster.inc();
        let status = forward.cluster_not_found_status;
        let reply = Reply::text(status, "", ResponseFlags::NO_CLUSTER_FOUND, "cluster_not_found");
        Reply::begin(serving.exchange, &hcm.shard.reactor);
        return Ok(respond::local(serving, &reply).await?.into());
    };
    let mut forwarding = forwarding(serving, forward, cluster);
    prepare(serving, &mut forwarding)?;
    affordable(serving)?;
    let Serving { exchange, client, .. } = serving;
    let mut current = None;
    let forwarded = router::forward(&forwarding, exchange, client, &mut current).await;
    client.upload.note(exchange);
    forwarded?;
    if let Some(policy) = &forward.internal_redirect
        && internal_redirect::is_followed(policy, exchange.response.head.status)
    {
        let stats = &forwarding.cluster.stats;
        match redirect::follow(serving, policy) {
            Ok(()) => {
                stats.upstream_internal_redirect_succeeded_total.inc();
                Try::discard(&mut current, serving.exchange, &serving.client.upload, RequestEnd::Redirected);
                return Ok(Acted::Redirected);
            }
            Err(refused) => {
                stats.upstream_internal_redirect_failed_total.inc();
                refused.count(&hcm.stats);
            }
        }
    }
    Ok(respond::upstream(serving, &mut current).await?.into())
}

/// Decide what holds for the request and all its tries, as far as the route says it; `prepare` looks at the request. Inlined,
/// since what it gives is large.
#[inline(always)]
fn forwarding<'a>(serving: &Serving<'a, '_, '_>, forward: &'a Forward, cluster: usize) -> Forwarding<'a> {
    let (hcm, exchange) = (serving.hcm, &*serving.exchange);
    let weighted = exchange.weighted_cluster(forward);
    let host = exchange.facts.route.map(|at| &hcm.config.virtual_hosts[at.virtual_host as usize]);
    Forwarding {
        reactor: &hcm.shard.reactor,
        cluster: &hcm.clusters[cluster],
        clusters: &hcm.clusters,
        forward,
        policy: TryPolicy::of_route(forward),
        hash: None,
        cookies: Vec::new(),
        metadata_match: weighted.map_or(&forward.metadata_match, |weighted| &weighted.metadata_match),
        codec_limits: &hcm.codec_limits,
        limits: &hcm.config.limits,
        stream_idle: forward.stream_idle_timeout.unwrap_or(hcm.config.timeouts.stream_idle),
        tells_tries: host.is_some_and(|host| host.include_request_attempt_count),
        tells_host: hcm.config.headers.x_envoy_original_host,
        stats: &hcm.stats,
    }
}

/// How many retries the request may ask for: only one from inside may.
fn may_ask(serving: &Serving<'_, '_, '_>) -> Option<u32> {
    serving.exchange.facts.is_internal.then_some(serving.hcm.config.limits.max_requested_retries)
}

/// Apply what the request says of its tries, set the deadlines of all, and make the last edits of its head.
#[inline]
fn prepare<'a>(serving: &mut Serving<'a, '_, '_>, forwarding: &mut Forwarding<'a>) -> Result<(), Fault> {
    let may_ask = may_ask(serving);
    let Serving { hcm, connection, exchange, client, .. } = serving;
    let (forward, policy) = (forwarding.forward, &mut forwarding.policy);
    policy.apply(&exchange.request.head, exchange.request.view(), may_ask);
    let mut life = forward.max_stream_duration.unwrap_or(hcm.config.timeouts.max_stream_duration);
    if has_messages(&exchange.request) {
        // A stream may have nothing to say for long, not even a head.
        policy.timeouts.response_head = None;
        policy.is_grpc = exchange.request.is_grpc();
        if policy.is_grpc {
            life = TryPolicy::call_limit(forward, &exchange.request, may_ask.is_some()).or(life);
        }
    }
    retry::consume(&mut exchange.request.head.fields);
    exchange.facts.timeout_is_204 = policy.timeout_status == 204;
    if forward.stream_idle_timeout.is_some() {
        client.deadlines.limit_idle(client.reactor.now(), forwarding.stream_idle);
    }
    client.deadlines.limit_life(exchange.facts.times.start, life);
    finalize::request(hcm, connection, exchange, forward)?;
    if !forward.hash_policy.is_empty() {
        let address = exchange.facts.client.map(|client| client.ip());
        let Arrival { remote, local, .. } = connection.arrival;
        let asker = Asker { client: address, remote, local };
        let hashed = hash_policy::hash(&forward.hash_policy, &exchange.request.head, exchange.request.view(), asker);
        (forwarding.hash, forwarding.cookies) = (hashed.hash, hashed.cookies.into_vec());
    }
    Ok(())
}

fn account(serving: &mut Serving<'_, '_, '_>, ending: &Ending) {
    let Serving { hcm, connection, exchange, client, .. } = serving;
    let (stats, facts, wire) = (&hcm.stats, &mut exchange.facts, &mut client.upload.wire);
    wire.flush();
    if facts.status != 0 {
        stats.count_status(facts.status);
        stats.downstream_rq_completed.add(u64::from(ending.is_whole));
    }
    let micros = client.reactor.now().saturating_sub(facts.times.start) / 1000;
    stats.downstream_rq_time.record(micros);
    connection.listener_stats.downstream_rq_time.record(micros);
    serving.measure();
}

/// The request's place in the statistics while it lasts.
pub(super) struct ActiveRequest<'a> {
    hcm: &'a Hcm,
}

impl<'a> ActiveRequest<'a> {
    fn new(hcm: &'a Hcm) -> Self {
        hcm.stats.downstream_rq_total.inc();
        hcm.stats.downstream_rq_active.inc();
        Self { hcm }
    }
}

impl Drop for ActiveRequest<'_> {
    fn drop(&mut self) {
        self.hcm.stats.downstream_rq_active.dec();
    }
}
