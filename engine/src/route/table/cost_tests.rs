//! What one request may cost, in steps of about two nanoseconds, whatever it is and whatever is asked of it.

use super::*;
use crate::codec::h1::{Limits, Parse, parse_request};
use crate::http::matcher::{is_exhausted, take};
use crate::http::{HeadView, RequestHead};
use crate::route::rewrite;
use ringway_config::model::{MATCH_STEPS_MAX, NetworkFilter};

/// The table of these routes, each of which answers by itself unless it says something else, with one for all others behind.
fn table(routes: impl Iterator<Item = String>) -> RouteTable {
    let answers = |route: String| match route.contains("redirect") {
        true => format!("{{ {route} }},\n"),
        false => format!("{{ {route}, direct_response = {{ status = 403 }} }},\n"),
    };
    let routes: String = routes.chain(["match = { prefix = \"/\" }".into()]).map(answers).collect();
    let config = format!("[[listeners]]\naddress = \"127.0.0.1:1\"\n[listeners.http]\nroutes = [\n{routes}]\n");
    let mut config = ringway_config::load_str("cost.toml", &config).unwrap_or_else(|problems| panic!("{problems}"));
    let NetworkFilter::Http(hcm) = config.listeners.remove(0).filter_chains.remove(0).filter;
    RouteTable::new(&hcm.virtual_hosts)
}

/// The route of a request with this target and these fields, and what it cost to find it.
fn found(table: &RouteTable, target: &str, fields: &str) -> (Option<u32>, u64) {
    with_head(target, fields, |head, view| {
        let at = table.find(&Request::new(head, view, 0));
        (at.map(|at| at.route), head.work.taken())
    })
}

fn with_head<T>(target: &str, fields: &str, then: impl FnOnce(&RequestHead, HeadView<'_>) -> T) -> T {
    let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let mut head = RequestHead::default();
    let parsed = parse_request(text.as_bytes(), &Limits::default(), &mut head);
    assert!(matches!(parsed, Ok(Parse::Complete(_))));
    then(&head, HeadView::new(text.as_bytes()))
}

/// Five routes with `.{300}` and a URI of 16 KB took 92 ms.
#[test]
fn patterns_with_a_small_automaton_cost_a_step_for_each_byte() {
    let path = format!("/{}", "a".repeat(16_000));
    for pattern in ["/x.{300}", "/.{300}", ".*[0-9]{300}", "/[a-z]+/.{300}", "(?:/a.{300}|/b.{300}).*x"] {
        let table = table((0..5).map(|at| format!("match = {{ regex = '{pattern}{at}' }}")));
        let (route, steps) = found(&table, &path, "");
        assert_eq!(route, Some(5), "{pattern}");
        assert!(steps <= 5 * 16_100, "{steps} steps for {pattern}");
    }
}

/// Of others the text that is compared with them is bounded: not by a guess, but by what the comparison may take at worst.
#[test]
fn patterns_without_one_end_with_the_steps_of_the_request() {
    let table = table((0..5).map(|at| format!("match = {{ regex = '.*a.{{100}}b.*{at}' }}")));
    let short = format!("/{}b01234", "a".repeat(60));
    let (route, steps) = found(&table, &short, "");
    assert!(route == Some(5) && steps < MATCH_STEPS_MAX, "{steps} steps for a short path");
    let long = format!("/{}b01234", "a".repeat(16_000));
    with_head(&long, "", |head, view| {
        let _ = table.find(&Request::new(head, view, 0));
        assert!(is_exhausted(&head.work));
    });
}

/// 100 routes by cookie and 58 KB of cookies took 6.2 ms; so do query parameters.
#[test]
fn cookies_and_parameters_are_walked_along_once() {
    let cookies: Vec<_> = (0..2600).map(|at| format!("cookie{at:04}=v12345678")).collect();
    let fields = format!("Cookie: {}\r\n", cookies.join("; "));
    let query: Vec<_> = (0..1600).map(|at| format!("p{at:04}=v1")).collect();
    let target = format!("/?{}", query.join("&"));
    for (kind, target, fields) in [
        ("cookies = [{ name = \"none", "/", &*fields),
        ("cookies = [{ name = \"cookie2", "/", &fields),
        ("query_parameters = [{ name = \"none", &target, ""),
    ] {
        let routes = (100..200).map(|at| format!("match = {{ prefix = \"/\", {kind}{at}\", exact = \"1\" }}] }}"));
        let (route, steps) = found(&table(routes), target, fields);
        assert_eq!(route, Some(100), "{kind}");
        assert!(steps < 400_000, "{steps} steps for {kind}");
    }
}

/// A thousand conditions on headers, and as many lines as a head may have.
#[test]
fn conditions_on_headers_cost_the_lines() {
    let lines: String = (0..90).map(|at| format!("x-line-{at}: {}\r\n", "v".repeat(600))).collect();
    let routes = (0..1000)
        .map(|at| format!("match = {{ prefix = \"/\", headers = [{{ name = \"x-{at}\", contains = \"w\" }}] }}"));
    let (route, steps) = found(&table(routes), "/", &lines);
    assert_eq!(route, Some(1000));
    assert!(steps < 200_000, "{steps}");
}

/// A search that begins behind each match may look at the rest of the text each time: that is a square.
#[test]
fn rewrites_end_with_the_steps_of_the_request() {
    let redirect = |pattern: &str, with: &str| {
        let rewrite = format!("{{ pattern = '{pattern}', substitution = '{with}' }}");
        table([format!("match = {{ prefix = \"/\" }}, redirect = {{ regex_rewrite = {rewrite} }}")].into_iter())
    };
    let location = |table: &RouteTable, target: &str| {
        with_head(target, "", |head, view| {
            let at = RouteRef { virtual_host: 0, route: 0 };
            let model::RouteAction::Redirect(redirect) = &table.route(at).action else { panic!("a redirect") };
            let mut out = Vec::new();
            rewrite::location(redirect, table.route(at), head, view, &mut out);
            (out.len(), is_exhausted(&head.work), head.work.taken())
        })
    };
    let long = format!("/{}", "A".repeat(16_000));
    for (pattern, with) in [("(.*[^A-Z]|[A-Z])", "\\1"), (".*[^A-Z/]|[A-Z]", "x")] {
        let (_, is_exhausted, steps) = location(&redirect(pattern, with), &long);
        assert!(is_exhausted && steps < MATCH_STEPS_MAX + 100_000, "{steps} steps for {pattern}");
    }
    for (pattern, with) in [("A", "b"), ("^/(A+)$", "/\\1"), ("[A-Z]{1,8}", "c")] {
        let (len, is_exhausted, steps) = location(&redirect(pattern, with), &long);
        assert!(len > 2000 && !is_exhausted, "{steps} steps for {pattern}");
    }
}

/// The request that has no steps left finds nothing, and is refused for it.
#[test]
fn nothing_is_compared_beyond_the_steps() {
    let table = table(["match = { regex = '/a+b' }".to_owned()].into_iter());
    with_head("/aab", "", |head, view| {
        let find = || table.find(&Request::new(head, view, 0)).map(|at| at.route);
        assert_eq!(find(), Some(0));
        take(&head.work, MATCH_STEPS_MAX);
        assert_eq!((find(), is_exhausted(&head.work)), (Some(1), true));
    });
}
