//! `ringway explain` and POST /explain: what a request would meet, from the listener to the cluster, and which line of the
//! configuration decides it. Nothing is sent and nothing is counted.

mod action;
mod page;
mod question;
mod secure;
#[cfg(test)]
mod tests;

pub use question::Question;

use crate::hcm::{Admission, NamedFields, Peer, admit_fields, admit_head};
use crate::http::{Exchange, HeadView, matcher};
use crate::net::tls::Facts;
use crate::net::{self, Arrival, FirstBytes};
use crate::route::RouteTable;
use crate::route::explain::{ALL, ChosenHost, Tried, Verdict, choose_host, per_cent, walk};
use crate::route::matcher::Request;
use page::Page;
use ringway_config::model::{
    Address, Config, FilterChain, FilterChainMatch, Hcm, Listener, NetworkFilter, TransportProtocol,
};
use ringway_config::quoted;
use std::net::SocketAddr;
use std::rc::Rc;

/// The answer.
#[derive(Debug)]
pub struct Explanation {
    pub text: String,
    /// Whether a route takes the request, or a share of such requests.
    pub is_found: bool,
}

/// # Errors
/// One sentence: a part of the question is not part of a request, or its listener does not exist.
pub fn explain(config: &Config, question: &Question) -> Result<Explanation, String> {
    let mut exchange = question.exchange()?;
    let listener = choose_listener(config, question)?;
    let remote = SocketAddr::new(question.from, 0);
    let local = match &listener.address {
        Address::Ip(address) => Some(*address),
        Address::Unix(_) => None,
    };
    let mut page = Page::new(&config.file);
    page.line("request", format!("{} {}", question.method, question.url));
    page.line_at("listener", format!("{} on {}", listener.name, listener.address), listener.place);
    let first = listener.inspects_tls().then(|| Rc::new(question.first_bytes()));
    let arrival = Arrival { remote: Some(remote), local, first, ..Arrival::default() };
    let Some(chain) = choose_chain(&mut page, listener, &arrival) else {
        page.line("result", "no filter chain matches: the connection is closed");
        return Ok(Explanation { text: page.text, is_found: false });
    };
    let Ok(tls) = secure::handshake(&mut page, chain, question) else {
        return Ok(Explanation { text: page.text, is_found: false });
    };
    let NetworkFilter::Http(hcm) = &chain.filter;
    let is_secure = tls.is_some() || question.is_https();
    let is_found = admission(&mut page, hcm, remote, local, is_secure, &mut exchange)
        && !secure::is_misdirected(&mut page, listener, chain, &arrival, tls.as_ref(), &exchange)
        && routing(&mut page, config, hcm, &exchange, remote, tls.as_ref());
    local_replies(&mut page, hcm);
    Ok(Explanation { text: page.text, is_found })
}

/// The listener that is named, else the one with the URL's port, else the first.
fn choose_listener<'c>(config: &'c Config, question: &Question) -> Result<&'c Listener, String> {
    let Some(name) = question.listener.as_deref() else {
        let wanted = question.port();
        let port = |listener: &&Listener| match &listener.address {
            Address::Ip(address) => wanted == Some(address.port()),
            Address::Unix(_) => false,
        };
        let listener = config.listeners.iter().find(port).or(config.listeners.first());
        return listener.ok_or_else(|| "there is no listener".into());
    };
    let is_it = |listener: &&Listener| listener.name == name || listener.address.to_string() == name;
    config.listeners.iter().find(is_it).ok_or_else(|| {
        let names: Vec<_> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
        format!("there is no listener {name}; there are: {}", names.join(", "), name = quoted(name))
    })
}

fn choose_chain<'c>(page: &mut Page<'_>, listener: &'c Listener, arrival: &Arrival) -> Option<&'c FilterChain> {
    for chain in &listener.filter_chains {
        let Some(matcher) = &chain.matcher else {
            page.line_at("chain", format!("{}: takes every connection", chain.name), chain.place);
            return Some(chain);
        };
        let matches = net::matches(matcher, arrival);
        let verdict = if matches { "yes" } else { "no" };
        let text = format!("{}: {verdict}: wants {}; got {}", chain.name, criteria(matcher), described(arrival));
        page.line_at("chain", text, chain.place);
        if matches {
            return Some(chain);
        }
    }
    None
}

fn described(arrival: &Arrival) -> String {
    let client = arrival.remote.map_or("a client".into(), |remote| format!("a client at {}", remote.ip()));
    let port = arrival.local.map_or("no port".into(), |local| format!("port {}", local.port()));
    let first = match arrival.first.as_deref() {
        None => String::new(),
        Some(FirstBytes::Raw) => ", without TLS".into(),
        Some(FirstBytes::Tls { asked, .. }) => match &asked.server_name {
            Some(name) => format!(", with TLS for {name}"),
            None => ", with TLS for no name".into(),
        },
    };
    format!("{client} on {port}{first}")
}

fn criteria(matcher: &FilterChainMatch) -> String {
    let ranges = matcher.source_prefix_ranges.iter().map(|range| format!("{}/{}", range.address, range.prefix_len));
    let ports = matcher.destination_ports.iter().map(|port| format!("port {port}"));
    let either = |list: Vec<String>| (!list.is_empty()).then(|| list.join(" or "));
    let source = either(ranges.collect()).map(|ranges| format!("a client in {ranges}"));
    let name = either(matcher.server_names.clone()).map(|names| format!("TLS for {names}"));
    let protocol = either(matcher.application_protocols.clone()).map(|protocols| format!("TLS with {protocols}"));
    let transport = matcher.transport_protocol.filter(|_| name.is_none() && protocol.is_none());
    let transport = transport.map(|transport| match transport {
        TransportProtocol::Tls => "TLS".into(),
        TransportProtocol::RawBuffer => "no TLS".into(),
    });
    let parts = [source, either(ports.collect()), name, protocol, transport];
    let criteria: Vec<_> = parts.into_iter().flatten().collect();
    if criteria.is_empty() { "nothing".into() } else { criteria.join(" and ") }
}

/// What may become of replies that are made here: this result, or an error of the upstream.
fn local_replies(page: &mut Page<'_>, hcm: &Hcm) {
    if !hcm.local_replies.is_empty() {
        page.blank();
    }
    for (index, reply) in hcm.local_replies.iter().enumerate() {
        page.line_at("local_reply", format!("{}: {}", index + 1, reply.text), reply.place);
    }
}

/// Describes what happens to the head before routing. Returns whether the request is routed at all.
fn admission(
    page: &mut Page<'_>,
    hcm: &Hcm,
    remote: SocketAddr,
    local: Option<SocketAddr>,
    is_secure: bool,
    exchange: &mut Exchange,
) -> bool {
    let before = (target(exchange), authority(exchange));
    match admit_fields(hcm.trust.underscores, &NamedFields::new(hcm), exchange) {
        Some(0) => {}
        Some(dropped) => page.line("headers", format!("{dropped} dropped for the _ in the name")),
        None => {
            page.line("result", "status 400: the name of a header has a _");
            return false;
        }
    }
    let text = remote.ip().to_canonical().to_string();
    let peer = Peer { remote: Some(remote), local, text: text.as_bytes(), is_secure, client: None };
    let admission = admit_head(hcm, &peer, exchange, || *b"00000000-0000-4000-8000-000000000000");
    let side = if exchange.facts.is_internal { "internal: its x-envoy-* fields count" } else { "from outside" };
    let client =
        exchange.facts.client.map_or_else(|| "unknown".into(), |client| client.ip().to_canonical().to_string());
    page.line("client", format!("{client}, {side}"));
    match admission {
        Admission::Admitted => {}
        Admission::InvalidPath | Admission::Underscore => {
            page.line("result", "status 400: the path cannot be normalized, or holds escaped slashes");
            return false;
        }
        Admission::Redirect(path) => {
            page.line("result", format!("status 307 to {}, without escaped slashes", String::from_utf8_lossy(&path)));
            return false;
        }
    }
    let after = (target(exchange), authority(exchange));
    if after.0 != before.0 {
        page.line("path", format!("{} (it was {})", after.0, before.0));
    }
    let (head, view) = (&exchange.request.head, exchange.request.view());
    if head.match_path(view) != head.path(view) {
        let seen = String::from_utf8_lossy(head.match_path(view));
        page.line("path", format!("{seen} for routes and conditions; the upstream gets it as it came"));
    }
    if after.1 != before.1 {
        page.line("authority", format!("{} (it was {})", after.1, before.1));
    }
    true
}

fn target(exchange: &Exchange) -> String {
    String::from_utf8_lossy(&exchange.request.head.target(exchange.request.view()).concat()).into_owned()
}

fn authority(exchange: &Exchange) -> String {
    String::from_utf8_lossy(exchange.request.head.authority.of(exchange.request.view())).into_owned()
}

/// Describes the virtual host, the routes, and the action of those that take the request. Returns whether one does.
fn routing(
    page: &mut Page<'_>,
    config: &Config,
    hcm: &Hcm,
    exchange: &Exchange,
    remote: SocketAddr,
    tls: Option<&Facts>,
) -> bool {
    let view: HeadView<'_> = exchange.request.view();
    let request = Request::new(&exchange.request.head, view, 0).from(exchange.facts.client.as_ref(), Some(&remote));
    let request = request.over(tls);
    let Some(chosen) = choose_host(&hcm.virtual_hosts, request.authority) else {
        page.line("host", format!("no virtual host has a domain for {}", quoted(&authority(exchange))));
        page.line("result", "status 404: no route");
        return false;
    };
    let ChosenHost { host, domain, why, .. } = chosen;
    page.line_at("host", format!("{}: by its domain {domain}, {why}", host.name, domain = quoted(domain)), host.place);
    let tried = walk(host, &request);
    for tried in &tried {
        let name = tried.route.name.as_deref().map(|name| format!(" {name}", name = quoted(name))).unwrap_or_default();
        page.line_at("route", format!("{}{name}: {}", tried.index + 1, verdict(tried, &request)), tried.route.place);
    }
    if matcher::is_exhausted(&exchange.request.head.work) {
        page.line("result", "status 431: to compare the request with all of this would cost too much");
        return false;
    }
    let taken: Vec<_> = tried.iter().filter(|tried| matches!(tried.verdict, Verdict::Taken { .. })).collect();
    let table = RouteTable::new(std::slice::from_ref(host));
    for tried in &taken {
        page.blank();
        let scene = action::Scene { config, hcm, host, exchange, table: &table };
        action::describe(page, &scene, tried);
    }
    let covered = tried.iter().map(|tried| if let Verdict::Taken { to, .. } = tried.verdict { to } else { 0 }).max();
    let covered = covered.unwrap_or(0);
    if covered < ALL {
        let of = if covered == 0 { String::new() } else { format!(" for {} % of them", per_cent(ALL - covered)) };
        page.line("result", format!("status 404{of}: no route"));
    }
    covered > 0
}

fn verdict(tried: &Tried<'_>, request: &Request<'_>) -> String {
    match &tried.verdict {
        Verdict::Failed(predicate) => format!("no: wants {}; got {}", predicate.wanted(), predicate.had(request)),
        Verdict::Exhausted => "no: it matches, but its share is taken by routes before it".into(),
        Verdict::Taken { from: 0, to: ALL } => "yes".into(),
        Verdict::Taken { from, to } => format!("yes, for {} % of such requests", per_cent(to - from)),
    }
}
