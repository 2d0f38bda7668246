//! START READING HERE: one exchange on an HTTP/1 connection, from the request's first bytes to its line in the access
//! log.
//!
//! ```text
//! read_head -> admit -> route -> filters -> Forward: finalize -> router::forward -> respond::upstream -> account
//!                                        -> Redirect, DirectResponse, no route: respond::local -> account
//!                                a filter's answer: respond::local -> account
//!              any fault on the way: respond::fault -> account
//! ```

use super::Hcm;
use super::admit::{Admission, admit};
use super::connection::Connection;
use super::h1::Next;
use super::respond::{self, Serving};
use super::{finalize, log, redirect};
use crate::codec::h1::{BodyDecoder, HeadScanner, Parse};
use crate::http::format::ResponseFlags;
use crate::http::{Exchange, Reply};
use crate::http_filter::{Context, Flow, Run};
use crate::ring::Buf;
use crate::route::hash_policy::{self, Asker, Hashed};
use crate::route::matcher::Request;
use crate::route::{internal_redirect, rewrite};
use crate::router::retry::{self, TryPolicy};
use crate::router::{self, Deadlines, Downstream, Fault, Forwarding, is_too_large};
use ringway_config::model::{ClusterTarget, FilterOverrides, Forward, RouteAction, WeightedCluster};
use smallvec::SmallVec;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// How an exchange ended, for the log.
pub(super) struct Ending {
    pub flags: ResponseFlags,
    pub details: &'static str,
}

/// Serve one request, whose first bytes are `first`.
pub(super) async fn run(
    hcm: &Rc<Hcm>,
    connection: &mut Connection,
    exchange: &mut Exchange,
    first: Buf,
    deadlines: &mut Deadlines,
) -> Next {
    let reactor = &hcm.shard.reactor;
    exchange.times.start = reactor.now();
    exchange.times.start_wall_micros = reactor.wall_micros();
    let timeouts = &hcm.config.timeouts;
    deadlines.start_request(reactor.now(), timeouts.request_headers, timeouts.request);
    let active = ActiveRequest::new(hcm);
    let mut filters = Run::default();
    let result = match read_head(hcm, connection, exchange, first, deadlines).await {
        Ok(()) => answer(hcm, connection, exchange, deadlines, &mut filters).await,
        Err(fault) => Err(fault),
    };
    let (next, ending) = match result {
        Ok(done) => done,
        Err(fault) => respond::fault(hcm, connection, exchange, &mut filters, fault),
    };
    exchange.to_downstream.flush(&connection.stream);
    account(hcm, connection, exchange, next);
    log::write(hcm, connection, exchange, &ending);
    drop(active);
    next
}

/// Read the head into the exchange. What came behind it is put back.
async fn read_head(
    hcm: &Hcm,
    connection: &Connection,
    exchange: &mut Exchange,
    first: Buf,
    deadlines: &mut Deadlines,
) -> Result<(), Fault> {
    let reactor = &hcm.shard.reactor;
    let stream = &connection.stream;
    let mut scanner = HeadScanner::default();
    exchange.request_bytes.append(first, reactor);
    loop {
        let bytes = exchange.request_bytes.as_slice();
        match scanner.request(bytes, &hcm.codec_limits, &mut exchange.request) {
            Err(error) => return Err(Fault::RequestHead(error)),
            Ok(Parse::Complete) => break,
            Ok(Parse::Partial) => {}
        }
        let buf = poll_fn(|_| match stream.poll_recv() {
            Poll::Ready(Ok(Some(buf))) => Poll::Ready(Ok(buf)),
            Poll::Ready(Ok(None) | Err(_)) => Poll::Ready(Err(Fault::DownstreamReset)),
            Poll::Pending => deadlines.expired(reactor.now()).map_or(Poll::Pending, |fault| Poll::Ready(Err(fault))),
        })
        .await?;
        exchange.request_bytes.append(buf, reactor);
    }
    exchange.has_request = true;
    if let Some(rest) = exchange.request_bytes.rest(exchange.request.len as usize, reactor) {
        stream.unread(rest);
    }
    Ok(())
}

/// Find out what is to be done with the request, and do it.
async fn answer(
    hcm: &Rc<Hcm>,
    connection: &Connection,
    exchange: &mut Exchange,
    deadlines: &mut Deadlines,
    filters: &mut Run,
) -> Result<(Next, Ending), Fault> {
    let reactor = &hcm.shard.reactor;
    let limits = &hcm.config.limits;
    if is_too_large(exchange.request.framing, limits.max_request_body) {
        return Err(Fault::RequestTooLarge);
    }
    deadlines.start_exchange(reactor.now(), hcm.config.timeouts.stream_idle);
    deadlines.limit_life(exchange.times.start, hcm.config.timeouts.max_stream_duration);
    let decoder = BodyDecoder::with_limits(exchange.request.framing, &hcm.codec_limits, limits.enable_trailers);
    let mut downstream = Downstream::new(&connection.stream, decoder, limits.max_request_body);
    if downstream.is_done() {
        exchange.times.request_end = Some(reactor.now());
    }
    let close = must_close(hcm, connection, deadlines);
    let mut serving = Serving { hcm, connection, exchange, downstream: &mut downstream, deadlines, filters, close };
    match admit(hcm, connection, serving.exchange) {
        Admission::Admitted => {}
        Admission::InvalidPath => return Err(Fault::InvalidPath),
        Admission::Redirect(path) => {
            let reply = Reply::text(307, "", ResponseFlags::empty(), "path_normalization_redirect");
            return Ok(respond::redirect(&mut serving, &reply, &path).await);
        }
    }
    loop {
        route(&mut serving);
        if !hcm.filters.is_empty()
            // In memory of its own: an exchange without filters needs no room for what they wait for.
        && let Some(done) = reactor.pooled(|| filter(&mut serving)).await?
        {
            return Ok(done);
        }
        if let Acted::Done(next, ending) = act(&mut serving).await? {
            return Ok((next, ending));
        }
        // The filters see what becomes of a redirect as a new request.
        *serving.filters = Run::default();
        serving.deadlines.start_over(reactor.now());
    }
}

/// Find the request's route and, among the clusters that it names, the one for this request.
fn route(serving: &mut Serving<'_, '_>) {
    let Serving { hcm, exchange, .. } = serving;
    let random = hcm.shard.reactor.random();
    (exchange.cluster, exchange.weighted) = (None, None);
    let request = Request::new(&exchange.request, exchange.request_view(), random.next_u64());
    exchange.route = hcm.table.find(&request);
    let Some(RouteAction::Forward(forward)) = exchange.route.map(|at| &hcm.table.route(at).action) else { return };
    match &forward.target {
        ClusterTarget::Cluster(cluster) => exchange.cluster = Some(*cluster),
        ClusterTarget::Weighted(clusters) => {
            let index = pick_weighted(clusters, random.next_u64());
            exchange.weighted = Some(index);
            exchange.cluster = Some(clusters[index].cluster);
        }
        ClusterTarget::Header(name) => {
            let view = exchange.request_view();
            let named = exchange.request.fields.find(name.as_bytes(), view).map(|field| field.value.of(view));
            exchange.cluster = named.and_then(|name| hcm.cluster_index.get(name).copied());
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
async fn filter(serving: &mut Serving<'_, '_>) -> Result<Option<(Next, Ending)>, Fault> {
    let Serving { hcm, exchange, downstream, deadlines, filters, .. } = serving;
    let mut overrides = SmallVec::<[&FilterOverrides; 3]>::new();
    if let Some(at) = exchange.route {
        let host = &hcm.config.virtual_hosts[at.virtual_host as usize];
        let route = &host.routes[at.route as usize];
        if let RouteAction::Forward(forward) = &route.action
            && let Some(cluster) = exchange.weighted_cluster(forward)
        {
            overrides.push(&cluster.filters);
        }
        overrides.extend([&route.filters, &host.filters]);
    }
    let cluster = exchange.cluster.map(|index| hcm.clusters[index].config.name.as_str());
    let mut context = Context { reactor: &hcm.shard.reactor, exchange, downstream, deadlines, cluster };
    match hcm.filters.request(filters, &overrides, &mut context).await? {
        Flow::Continue => Ok(None),
        Flow::Reply(reply) => Ok(Some(respond::local(serving, &reply).await)),
    }
}

/// What came of doing what a route says.
enum Acted {
    Done(Next, Ending),
    /// The upstream redirected the request, and it goes there now.
    Redirected,
}

impl From<(Next, Ending)> for Acted {
    fn from((next, ending): (Next, Ending)) -> Self {
        Self::Done(next, ending)
    }
}

/// Do what the route says.
async fn act(serving: &mut Serving<'_, '_>) -> Result<Acted, Fault> {
    let hcm = serving.hcm;
    let Some(at) = serving.exchange.route else {
        hcm.stats.no_route.inc();
        let reply = Reply::text(404, "", ResponseFlags::NO_ROUTE_FOUND, "route_not_found");
        Reply::begin(serving.exchange, &hcm.shard.reactor);
        return Ok(respond::local(serving, &reply).await.into());
    };
    let route = hcm.table.route(at);
    match &route.action {
        RouteAction::Forward(forward) => forward_to_upstream(serving, forward).await,
        RouteAction::Redirect(redirect) => {
            hcm.stats.rq_redirect.inc();
            let mut location = hcm.shard.reactor.take_vec();
            let exchange = &serving.exchange;
            rewrite::location(redirect, route, &exchange.request, exchange.request_view(), &mut location);
            let reply = Reply::text(redirect.status, "", ResponseFlags::empty(), "direct_response");
            let done = respond::redirect(serving, &reply, &location).await;
            hcm.shard.reactor.give_vec(location);
            Ok(done.into())
        }
        RouteAction::DirectResponse(response) => {
            hcm.stats.rq_direct_response.inc();
            let reply = Reply {
                status: response.status,
                body: &response.body,
                content_type: &response.content_type,
                flags: ResponseFlags::empty(),
                details: "direct_response",
            };
            Reply::begin(serving.exchange, &hcm.shard.reactor);
            Ok(respond::local(serving, &reply).await.into())
        }
    }
}

async fn forward_to_upstream<'a>(serving: &mut Serving<'a, '_>, forward: &'a Forward) -> Result<Acted, Fault> {
    let hcm = serving.hcm;
    hcm.stats.rq_total.inc();
    let Some(cluster) = serving.exchange.cluster else {
        hcm.stats.no_cluster.inc();
        let status = forward.cluster_not_found_status;
        let reply = Reply::text(status, "", ResponseFlags::NO_CLUSTER_FOUND, "cluster_not_found");
        Reply::begin(serving.exchange, &hcm.shard.reactor);
        return Ok(respond::local(serving, &reply).await.into());
    };
    let forwarding = forwarding(serving, forward, cluster);
    let Serving { exchange, downstream, deadlines, .. } = serving;
    let mut current = None;
    let forwarded = router::forward(&forwarding, exchange, downstream, deadlines, &mut current).await;
    downstream.note(exchange);
    forwarded?;
    if let Some(policy) = &forward.internal_redirect
        && internal_redirect::is_followed(policy, exchange.response.status)
    {
        let stats = &forwarding.cluster.stats;
        match redirect::follow(hcm, exchange, downstream, policy) {
            Ok(()) => {
                stats.upstream_internal_redirect_succeeded_total.inc();
                router::Response::discard(&mut current, exchange, downstream);
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

/// Decide what holds for the request and all its tries, and make the last edits of its head.
fn forwarding<'a>(serving: &mut Serving<'a, '_>, forward: &'a Forward, cluster: usize) -> Forwarding<'a> {
    let Serving { hcm, connection, exchange, deadlines, .. } = serving;
    let (hcm, reactor) = (*hcm, &hcm.shard.reactor);
    let policy = TryPolicy::new(forward, &exchange.request, exchange.request_view(), exchange.is_internal);
    retry::consume(&mut exchange.request.fields);
    exchange.timeout_is_204 = policy.timeout_status == 204;
    let timeouts = &hcm.config.timeouts;
    let stream_idle = forward.stream_idle_timeout.unwrap_or(timeouts.stream_idle);
    if forward.stream_idle_timeout.is_some() {
        deadlines.limit_idle(reactor.now(), stream_idle);
    }
    let life = forward.max_stream_duration.unwrap_or(timeouts.max_stream_duration);
    deadlines.limit_life(exchange.times.start, life);
    finalize::request(hcm, connection, exchange, forward);
    let hashed = match &forward.hash_policy[..] {
        [] => Hashed::default(),
        policies => {
            let client = exchange.client.map(|client| client.ip());
            let asker = Asker { client, remote: connection.remote, local: connection.local };
            hash_policy::hash(policies, &exchange.request, exchange.request_view(), asker)
        }
    };
    let weighted = exchange.weighted_cluster(forward);
    let host = exchange.route.map(|at| &hcm.config.virtual_hosts[at.virtual_host as usize]);
    Forwarding {
        reactor,
        cluster: &hcm.clusters[cluster],
        clusters: &hcm.clusters,
        forward,
        policy,
        hash: hashed.hash,
        cookies: hashed.cookies.into_vec(),
        metadata_match: weighted.map_or(&forward.metadata_match, |weighted| &weighted.metadata_match),
        codec_limits: &hcm.codec_limits,
        limits: &hcm.config.limits,
        stream_idle,
        tells_attempts: host.is_some_and(|host| host.include_request_attempt_count),
        stats: &hcm.stats,
    }
}

/// Whether this exchange is the connection's last, whatever the client wants.
fn must_close(hcm: &Hcm, connection: &Connection, deadlines: &Deadlines) -> bool {
    if connection.drain.is_draining() {
        hcm.stats.downstream_cx_drain_close.inc();
        return true;
    }
    if hcm.config.limits.max_requests_per_connection.is_some_and(|max| connection.requests >= max) {
        hcm.stats.downstream_cx_max_requests_reached.inc();
        return true;
    }
    deadlines.is_connection_over(hcm.shard.reactor.now())
}

fn account(hcm: &Hcm, connection: &Connection, exchange: &mut Exchange, next: Next) {
    let stats = &hcm.stats;
    if exchange.status != 0 {
        stats.count_status(exchange.status);
        stats.downstream_rq_completed.add(u64::from(!matches!(next, Next::Abort | Next::Reset)));
    }
    let micros = hcm.shard.reactor.now().saturating_sub(exchange.times.start) / 1000;
    stats.downstream_rq_time.record(micros);
    connection.listener_stats.downstream_rq_time.record(micros);
    let wire = &mut exchange.wire;
    // A head that nothing came of has no body either.
    wire.downstream_received = wire.downstream_received.max(u64::from(exchange.request.len));
    wire.downstream_sent = exchange.to_downstream.take_total() + exchange.spliced;
    stats.downstream_cx_rx_bytes_total.add(wire.downstream_received);
    stats.downstream_cx_tx_bytes_total.add(wire.downstream_sent);
}

/// The request's place in the statistics while it lasts.
struct ActiveRequest<'a> {
    hcm: &'a Hcm,
}

impl<'a> ActiveRequest<'a> {
    fn new(hcm: &'a Hcm) -> Self {
        hcm.stats.downstream_rq_total.inc();
        hcm.stats.downstream_rq_http1_total.inc();
        hcm.stats.downstream_rq_active.inc();
        Self { hcm }
    }
}

impl Drop for ActiveRequest<'_> {
    fn drop(&mut self) {
        self.hcm.stats.downstream_rq_active.dec();
    }
}
