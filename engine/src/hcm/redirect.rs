//! Following an upstream's redirect: the request is turned to its new place, if there is a route there.

use super::Hcm;
use super::admit::{self, Admission};
use crate::http::{Exchange, FieldId, Scheme, matcher};
use crate::net::sys;
use crate::route::internal_redirect::{self, NoRedirect};
use crate::route::matcher::Request;
use crate::router::Downstream;
use ringway_config::model::InternalRedirect;

/// Make the request in the exchange the one that the response in it asks for.
///
/// # Errors
/// The redirect is the client's, and the request is as it was.
pub(super) fn follow(
    hcm: &Hcm,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    policy: &InternalRedirect,
) -> Result<(), NoRedirect> {
    if !downstream.is_done() || !downstream.replay.is_possible() {
        return Err(NoRedirect::BodyGone);
    }
    let status = exchange.response.status;
    let scheme = match matcher::scheme(&exchange.request, exchange.request_view()) {
        "https" => Scheme::Https,
        _ => Scheme::Http,
    };
    let Exchange { request, request_bytes, request_edits, response, response_bytes, .. } = exchange;
    let location = response.fields.value(FieldId::Location, response_bytes.as_slice());
    let max_path = hcm.config.limits.max_path_size as usize;
    let target = internal_redirect::target(policy, location, scheme, exchange.redirects, max_path)?;
    let mut head = request.clone();
    let drops_body =
        internal_redirect::apply(&mut head, request_bytes.as_slice(), request_edits, scheme, &target, status);
    let old = std::mem::replace(&mut exchange.request, head);
    if let Err(refused) = arrive(hcm, exchange, downstream) {
        exchange.request = old;
        return Err(refused);
    }
    exchange.redirects += 1;
    if drops_body {
        downstream.replay.forget_body(&hcm.shard.reactor);
    }
    Ok(())
}

/// The new request is made canonical as one from a client is, or a rule for a path could be passed by with another
/// spelling of it. There must be a route for what it is then.
fn arrive(hcm: &Hcm, exchange: &mut Exchange, downstream: &Downstream<'_>) -> Result<(), NoRedirect> {
    let paths = &hcm.config.paths;
    match admit::canonical_path(paths, exchange) {
        Admission::Admitted => {}
        Admission::InvalidPath | Admission::Redirect(_) => return Err(NoRedirect::BadLocation),
    }
    let socket = downstream.stream.plain_socket().filter(|_| paths.strip_matching_host_port);
    admit::canonical_host(paths, socket.and_then(|socket| sys::local_address(socket.raw_fd())), exchange);
    let random = hcm.shard.reactor.random().next_u64();
    let request = Request::new(&exchange.request, exchange.request_view(), random);
    hcm.table.find(&request).map(drop).ok_or(NoRedirect::NoRoute)
}
