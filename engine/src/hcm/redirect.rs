//! Following an upstream's redirect: the request is turned to its new place, if there is a route there.

use super::admit::{self, Admission};
use super::serving::Serving;
use crate::http::{Exchange, FieldId, Scheme, TryFacts, matcher};
use crate::route::internal_redirect::{self, NoRedirect};
use ringway_config::model::InternalRedirect;

/// Make the request in the exchange the one that the response in it asks for.
///
/// # Errors
/// The redirect is the client's, and the request is as it was.
pub(super) fn follow(serving: &mut Serving<'_, '_, '_>, policy: &InternalRedirect) -> Result<(), NoRedirect> {
    let Serving { hcm, exchange, client, .. } = serving;
    if !client.upload.is_done() || !client.upload.replay.is_possible() {
        return Err(NoRedirect::BodyGone);
    }
    let status = exchange.response.head.status;
    let Exchange { request, response, facts, .. } = &mut **exchange;
    let scheme = match matcher::scheme(&request.head, request.view()) {
        "https" => Scheme::Https,
        _ => Scheme::Http,
    };
    let location = response.head.fields.value(FieldId::Location, response.received.as_slice());
    let max_path = hcm.config.limits.max_path_size as usize;
    let target = internal_redirect::target(policy, location, scheme, facts.redirects, max_path)?;
    let mut head = request.head.clone();
    let received = request.received.as_slice();
    let drops_body = internal_redirect::apply(&mut head, received, &mut request.edits, scheme, &target, status);
    let old = std::mem::replace(&mut request.head, head);
    if let Err(refused) = arrive(serving) {
        serving.exchange.request.head = old;
        return Err(refused);
    }
    let Serving { exchange, client, .. } = serving;
    if let Some(tries) = exchange.traced_tries() {
        tries.redirect(old);
    }
    exchange.facts.redirects += 1;
    // The redirect says which host is asked for now.
    if std::mem::take(&mut exchange.facts.host_replaced) {
        exchange.request.head.fields.remove_id(FieldId::XEnvoyOriginalHost);
    }
    // The next endpoint is another one, or there is none.
    exchange.last = TryFacts::default();
    if drops_body {
        client.upload.replay.forget_body(client.reactor);
        exchange.request.trailers.clear();
    }
    Ok(())
}

/// The new request is made canonical as one from a client is, or a rule for a path could be passed by with another
/// spelling of it. There must be a route for what it is then.
fn arrive(serving: &mut Serving<'_, '_, '_>) -> Result<(), NoRedirect> {
    let Serving { hcm, connection, exchange, .. } = serving;
    let paths = &hcm.config.paths;
    match admit::canonical_path(paths, exchange) {
        Admission::Admitted => {}
        Admission::InvalidPath | Admission::Underscore | Admission::Redirect(_) => return Err(NoRedirect::BadLocation),
    }
    admit::canonical_host(paths, connection.arrival.local, exchange);
    hcm.table.find(&connection.routed(exchange)).map(drop).ok_or(NoRedirect::NoRoute)
}
