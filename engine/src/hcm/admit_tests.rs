//! Which fields are believed, what is removed, and which path a request means.

use super::*;
use crate::http_filter::testing::{exchange, exchange_of, lines};
use crate::net::tls::{Facts, Identities, Identity, Known, Names};
use ringway_config::model::{Cidr, NetworkFilter};
use std::sync::Arc;

const ID: RequestId = *b"00000000-0000-4000-8000-000000000000";

fn config(http: &str) -> Arc<model::Hcm> {
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:1\"\n[listeners.http]\n{http}\n[[listeners.http.routes]]\n\
         match = {{ prefix = \"/\" }}\ndirect_response = {{ status = 200 }}\n"
    );
    let mut config = ringway_config::load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let NetworkFilter::Http(hcm) = config.listeners.remove(0).filter_chains.remove(0).filter;
    hcm
}

/// Admit a request from `remote` to port 10000.
fn admitted(http: &str, remote: &str, exchange: &mut Exchange) -> Admission {
    let text = remote.to_owned();
    let peer = Peer {
        remote: remote.parse().ok().map(|ip: IpAddr| (ip, 4000).into()),
        local: Some(([192, 0, 2, 200], 10000).into()),
        text: text.as_bytes(),
        is_secure: false,
        client: None,
    };
    let config = config(http);
    match admit_fields(config.trust.underscores, &NamedFields::new(&config), exchange) {
        Some(_) => admit_head(&config, &peer, exchange, || ID),
        None => Admission::Underscore,
    }
}

/// The client, whether it is inside, and the request's lines after Host.
fn identified(http: &str, remote: &str, fields: &str) -> (String, bool, Vec<String>) {
    let mut exchange = exchange(fields);
    assert_eq!(admitted(http, remote, &mut exchange), Admission::Admitted);
    let client = exchange.facts.client.map(|client| client.ip().to_string()).unwrap_or_default();
    (client, exchange.facts.is_internal, lines(&exchange.request.edit()).split_off(1))
}

fn client(http: &str, remote: &str, forwarded_for: &str) -> (String, bool) {
    let fields = if forwarded_for.is_empty() { String::new() } else { format!("X-Forwarded-For: {forwarded_for}\r\n") };
    let (client, is_internal, _) = identified(http, remote, &fields);
    (client, is_internal)
}

/// Private addresses and this machine's.
const INSIDE: &str = "internal_addresses = [\"10.0.0.0/8\", \"fd00::/8\"]\n";

/// Envoy's documentation of x-forwarded-for has these cases.
#[test]
fn who_the_client_is() {
    const IN: bool = true;
    const OUT: bool = false;
    let (edge, behind) = (INSIDE, &*format!("{INSIDE}use_remote_address = false"));
    let hops = |count| format!("{INSIDE}xff_num_trusted_hops = {count}");
    let (one, two, behind_one) = (hops(1), hops(2), format!("{behind}\nxff_num_trusted_hops = 1"));
    let other = "use_remote_address = false\ninternal_addresses = [\"203.0.113.0/24\"]";
    for (http, remote, forwarded_for, expected, is_internal) in [
        // At the edge the peer is the client, whatever it says.
        (edge, "198.51.100.1", "", "198.51.100.1", OUT),
        (edge, "198.51.100.1", "10.0.0.1", "198.51.100.1", OUT),
        (edge, "10.0.0.9", "", "10.0.0.9", IN),
        (edge, "10.0.0.9", "203.0.113.5", "10.0.0.9", OUT),
        (edge, "::ffff:10.0.0.9", "", "::ffff:10.0.0.9", IN),
        // One proxy in front: what it wrote last.
        (&one, "10.0.0.9", "203.0.113.5", "203.0.113.5", OUT),
        (&one, "10.0.0.9", "1.2.3.4, 203.0.113.5", "203.0.113.5", OUT),
        (&one, "10.0.0.9", "203.0.113.5,10.0.0.8", "10.0.0.8", OUT),
        (&one, "10.0.0.9", "", "10.0.0.9", IN),
        (&one, "10.0.0.9", "unknown", "10.0.0.9", OUT),
        // Two of them.
        (&two, "10.0.0.9", "1.2.3.4, 203.0.113.5, 10.0.0.8", "203.0.113.5", OUT),
        (&two, "10.0.0.9", "203.0.113.5", "10.0.0.9", OUT),
        // Behind an edge: its word is taken, and a single address from inside makes the request internal.
        (behind, "10.0.0.9", "203.0.113.5", "203.0.113.5", OUT),
        (behind, "10.0.0.9", "10.1.2.3", "10.1.2.3", IN),
        (behind, "198.51.100.1", "fd12::1", "fd12::1", IN),
        (behind, "10.0.0.9", "10.1.2.3, 10.0.0.8", "10.0.0.8", OUT),
        (behind, "10.0.0.9", "", "10.0.0.9", OUT),
        (&behind_one, "10.0.0.9", "10.1.2.3, 10.0.0.8", "10.1.2.3", OUT),
        (other, "10.0.0.9", "203.0.113.5", "203.0.113.5", IN),
        (other, "10.0.0.9", "10.1.2.3", "10.1.2.3", OUT),
    ] {
        let said = client(http, remote, forwarded_for);
        assert_eq!(said, (expected.to_owned(), is_internal), "{remote} with {forwarded_for:?} and {http}");
    }
    // Several lines are one list.
    let lines = "X-Forwarded-For: 1.2.3.4, 203.0.113.5\r\nX-Other: 1\r\nX-Forwarded-For: 10.0.0.8\r\n";
    assert_eq!(identified(&two, "10.0.0.9", lines).0, "203.0.113.5");
}

/// Only from trusted peers, and through no other proxies than those, with the client behind the last of them.
#[test]
fn trusted_proxies_say_who_the_client_is() {
    const IN: bool = true;
    const OUT: bool = false;
    let trusted = "xff_trusted_cidrs = [\"10.9.0.0/16\", \"2001:db8::/32\"]\n";
    let edge = &*format!("{trusted}{INSIDE}");
    let behind = &*format!("{edge}use_remote_address = false");
    for (http, remote, forwarded_for, expected, is_internal) in [
        // From others it is not believed.
        (edge, "198.51.100.1", "203.0.113.5", "198.51.100.1", OUT),
        (edge, "198.51.100.1", "10.1.2.3", "198.51.100.1", OUT),
        (edge, "10.8.0.1", "203.0.113.5", "10.8.0.1", OUT),
        (edge, "10.8.0.1", "", "10.8.0.1", IN),
        (behind, "198.51.100.1", "10.1.2.3", "198.51.100.1", OUT),
        // A balancer, and several in a row.
        (edge, "10.9.0.1", "203.0.113.5", "203.0.113.5", OUT),
        (edge, "10.9.0.1", "1.2.3.4, 10.1.1.1, 203.0.113.5", "203.0.113.5", OUT),
        (edge, "10.9.0.1", "1.2.3.4, 203.0.113.5, 2001:db8::7, 10.9.3.3", "203.0.113.5", OUT),
        (edge, "::ffff:10.9.0.1", "203.0.113.5, ::ffff:10.9.3.3", "203.0.113.5", OUT),
        (behind, "10.9.0.1", "1.2.3.4, 203.0.113.5", "203.0.113.5", OUT),
        // All the way from a client inside.
        (edge, "10.9.0.1", "10.1.2.3, 10.9.3.3", "10.1.2.3", IN),
        (edge, "10.9.0.1", "203.0.113.5, 10.1.2.3", "10.1.2.3", OUT),
        // The balancer itself asks.
        (edge, "10.9.0.1", "", "10.9.0.1", IN),
        (edge, "10.9.0.1", "10.9.3.3, 10.9.4.4", "10.9.3.3", IN),
        // What is no address ends the way.
        (edge, "10.9.0.1", "203.0.113.5, unknown", "10.9.0.1", OUT),
        (edge, "10.9.0.1", "203.0.113.5, unknown, 10.9.3.3", "10.9.3.3", OUT),
        (edge, "10.9.0.1", "203.0.113.5, , 10.9.3.3", "10.9.3.3", OUT),
    ] {
        let said = client(http, remote, forwarded_for);
        assert_eq!(said, (expected.to_owned(), is_internal), "{remote} with {forwarded_for:?} and {http}");
    }
}

/// A peer on a Unix socket, which has no address, is one trusted hop.
#[test]
fn a_unix_peer_says_who_the_client_is() {
    for (http, forwarded_for, expected) in [
        ("", "1.2.3.4, 203.0.113.5", "203.0.113.5"),
        ("", "", ""),
        ("xff_num_trusted_hops = 1", "1.2.3.4, 203.0.113.5", "203.0.113.5"),
        ("xff_num_trusted_hops = 2", "1.2.3.4, 203.0.113.5", "1.2.3.4"),
        ("xff_trusted_cidrs = [\"203.0.113.0/24\"]", "1.2.3.4, 203.0.113.5", "1.2.3.4"),
        ("use_remote_address = false", "1.2.3.4, 203.0.113.5", "203.0.113.5"),
    ] {
        assert_eq!(client(http, "", forwarded_for), (expected.to_owned(), false), "{forwarded_for:?} and {http}");
        let (_, _, lines) = identified(http, "", "x-forwarded-proto: https\r\n");
        assert!(lines.contains(&"x-forwarded-proto=https".to_owned()), "{lines:?} with {http}");
    }
}

#[test]
fn ranges_of_addresses() {
    let range = |text: &str| {
        let (address, len) = text.split_once('/').expect("a range");
        Cidr { address: address.parse().expect("an address"), prefix_len: len.parse().expect("a length") }
    };
    for (text, inside, outside) in [
        ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
        ("172.16.0.0/12", "172.31.255.255", "172.32.0.0"),
        ("192.0.2.1/32", "192.0.2.1", "192.0.2.2"),
        ("fd00::/8", "fdff::1", "fe00::"),
        ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
        ("0.0.0.0/0", "255.255.255.255", "::"),
    ] {
        let is_in = |address: &str| range(text).contains(address.parse().expect("an address"));
        assert!(is_in(inside) && !is_in(outside), "{text}");
    }
}

const INTERNAL_FIELDS: &str = "x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 9\r\nx-envoy-upstream-rq-timeout-ms: 1\r\n\
                               x-envoy-original-url: http://x/\r\nx-envoy-internal: true\r\n";
const EDGE_FIELDS: &str = "x-envoy-external-address: 1.1.1.1\r\nx-envoy-original-path: /x\r\n\
                           x-envoy-decorator-operation: x\r\nx-request-id: mine\r\nx-forwarded-proto: https\r\n";

#[test]
fn what_a_request_from_outside_may_not_say() {
    let all = format!("{INTERNAL_FIELDS}{EDGE_FIELDS}x-user: me\r\nx-envoy-other: 1\r\n");
    let own = "internal_only_headers = [\"x-user\"]\nx_forwarded_for = false\n";
    let id = format!("x-request-id={}", String::from_utf8_lossy(&ID));

    let (_, _, edge) = identified(&format!("{own}{INSIDE}"), "198.51.100.1", &all);
    let set_here = ["x-forwarded-proto=http", &id, "x-envoy-external-address=198.51.100.1"];
    assert_eq!(edge, [&["x-envoy-other=1"], &set_here[..]].concat());

    // Behind an edge it is the edge's word that stands in some of them.
    let (_, is_internal, behind) = identified(&format!("{own}{INSIDE}use_remote_address = false"), "10.0.0.9", &all);
    let kept = EDGE_FIELDS.replace(": ", "=");
    let kept: Vec<_> = kept.lines().chain(["x-envoy-other=1"]).collect();
    assert_eq!((is_internal, behind), (false, kept.iter().map(|line| (*line).to_owned()).collect()));

    let (_, is_internal, inside) = identified(&format!("{own}{INSIDE}"), "10.0.0.9", &all);
    assert!(is_internal);
    for line in ["x-envoy-retry-on=5xx", "x-envoy-max-retries=9", "x-request-id=mine", "x-user=me"] {
        assert!(inside.contains(&line.to_owned()), "{line} in {inside:?}");
    }
    assert_eq!(inside.iter().filter(|line| line.starts_with("x-envoy-internal=")).count(), 1);
    assert!(!inside.iter().any(|line| line.starts_with("x-envoy-external-address=198")), "{inside:?}");
}

/// A field that is switched off passes as the client sent it.
#[test]
fn fields_that_are_switched_off_stay_as_they_are() {
    let http = "x_request_id = false\nx_forwarded_proto = false\nx_forwarded_for = false";
    let fields = "x-request-id: mine\r\nx-forwarded-proto: https\r\nx-forwarded-for: 1.2.3.4\r\n";
    let (_, _, lines) = identified(http, "198.51.100.1", fields);
    let external = "x-envoy-external-address=198.51.100.1";
    assert_eq!(lines, ["x-request-id=mine", "x-forwarded-proto=https", "x-forwarded-for=1.2.3.4", external]);
}

#[test]
fn the_scheme_is_the_nearest_trusted_proxys_word() {
    let proto = |http: &str| {
        let (_, _, lines) =
            identified(http, "10.0.0.9", "x-forwarded-for: 203.0.113.5\r\nx-forwarded-proto: https\r\n");
        lines.into_iter().find(|line| line.starts_with("x-forwarded-proto")).unwrap_or_default()
    };
    assert_eq!(proto(""), "x-forwarded-proto=http");
    assert_eq!(proto("use_remote_address = false"), "x-forwarded-proto=https");
    assert_eq!(proto("xff_num_trusted_hops = 1"), "x-forwarded-proto=https");
    assert_eq!(proto("xff_trusted_cidrs = [\"10.0.0.0/24\"]"), "x-forwarded-proto=https");
    assert_eq!(proto("xff_trusted_cidrs = [\"10.0.1.0/24\"]"), "x-forwarded-proto=http");
    assert_eq!(proto("use_remote_address = false\nxff_trusted_cidrs = [\"10.0.1.0/24\"]"), "x-forwarded-proto=http");
}

/// The target after admission, or why there is none.
fn target(http: &str, target: &str) -> Result<String, Admission> {
    let mut exchange = exchange_of(&format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n"));
    match admitted(http, "198.51.100.1", &mut exchange) {
        Admission::Admitted => {
            let view = exchange.request.view();
            assert_eq!(exchange.request.head.query(view), target.split_once('?').map(|(_, query)| query.as_bytes()));
            Ok(String::from_utf8(exchange.request.head.target(view).concat()).expect("a text"))
        }
        other => Err(other),
    }
}

#[test]
fn paths_are_made_canonical_in_envoys_order() {
    let (normal, off) = ("", "normalize_path = false");
    let merge = "normalize_path = false\nmerge_slashes = true";
    let slashes = |action: &str| format!("normalize_path = false\npath_with_escaped_slashes_action = \"{action}\"");
    let forward = slashes("unescape_and_forward");
    let all = "merge_slashes = true\npath_with_escaped_slashes_action = \"unescape_and_forward\"";
    for (http, path, expected) in [
        (off, "/a/../b//c%2Fd\\e", "/a/../b//c%2Fd\\e"),
        (off, "/..", "/.."),
        (normal, "/100%?50%", "/100%?50%"),
        (normal, "/%zz/../%4", "/%4"),
        (normal, "/a%20b%2Fc", "/a%20b%2Fc"),
        (normal, "//a///b", "//a///b"),
        (normal, "/a/../b//c%2fd?q=../x", "/b//c%2fd?q=../x"),
        (normal, "/a/%2e%2e/%62", "/b"),
        (normal, "/a\\b", "/a/b"),
        (merge, "//a///b?c//d", "/a/b?c//d"),
        (merge, "/a/../b", "/a/../b"),
        (&forward, "/a%2Fb%5Cc?d%2Fe", "/a/b\\c?d%2Fe"),
        (all, "/a%2f%2e%2e%2f%2fb?x", "/b?x"),
        (all, "/a%2F..//b%5c%5Cc", "/b/c"),
        (all, "/plain?x", "/plain?x"),
        (all, "http://example.com?x", "/?x"),
    ] {
        assert_eq!(target(http, path), Ok(expected.to_owned()), "{path} with {http}");
    }
    for (http, path) in [
        (normal, "/.."),
        (normal, "/%2e%2e/x"),
        (normal, "/%00"),
        (&slashes("reject_request"), "/a%2fb"),
        (&slashes("reject_request"), "/a%5Cb"),
        (all, "/a%2f..%2f..%2fb"),
    ] {
        assert_eq!(target(http, path), Err(Admission::InvalidPath), "{path} with {http}");
    }
    let redirect = "path_with_escaped_slashes_action = \"unescape_and_redirect\"";
    assert_eq!(target(redirect, "/a/./b%2Fc?d"), Err(Admission::Redirect(b"/a/b/c?d".to_vec())));
    assert_eq!(target(redirect, "/a/./b?d"), Ok("/a/b?d".to_owned()), "nothing was escaped");
}

#[test]
fn forms_without_a_path_stay_as_they_are() {
    let mut exchange = exchange_of("OPTIONS * HTTP/1.1\r\nHost: example.com\r\n");
    assert_eq!(admitted("", "198.51.100.1", &mut exchange), Admission::Admitted);
    let (head, view) = (&exchange.request.head, exchange.request.view());
    assert_eq!((head.target(view).concat(), head.match_path(view)), (b"*".to_vec(), &b"/"[..]));
    assert_eq!(head.match_target(view).concat(), b"*");
}

/// What conditions see, and what goes on.
#[test]
fn rows_of_slashes_are_one_for_conditions() {
    let seen = |http: &str, target: &str| {
        let mut exchange = exchange_of(&format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n"));
        assert_eq!(admitted(http, "198.51.100.1", &mut exchange), Admission::Admitted);
        let (head, view) = (&exchange.request.head, exchange.request.view());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(head.match_path(view)), text(&head.match_target(view).concat()), text(&head.target(view).concat()))
    };
    let same = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(seen("", "//a///b/?c//d"), same("/a/b/", "/a/b/?c//d", "//a///b/?c//d"));
    assert_eq!(seen("", "//a/.././/b"), same("/b", "/b", "///b"));
    assert_eq!(seen("", "//a%2F/b"), same("/a%2F/b", "/a%2F/b", "//a%2F/b"));
    assert_eq!(seen("", "/a/b?c"), same("/a/b", "/a/b?c", "/a/b?c"));
    assert_eq!(seen("", "http://example.com//a"), same("/a", "/a", "//a"));
    assert_eq!(seen("merge_slashes = true", "//a"), same("/a", "/a", "/a"));
    assert_eq!(seen("merge_slashes_for_matching = false", "//a"), same("//a", "//a", "//a"));
    assert_eq!(seen("normalize_path = false", "//a/../b"), same("/a/../b", "/a/../b", "//a/../b"));
}

/// Behind CGI or WSGI `x_user` and `x-user` are one variable.
#[test]
fn names_with_underscores_do_not_pass_for_others() {
    let added = "request_headers_to_add = [{ name = \"x-user\", value = \"me\" }, { name = \"x_own\", value = \"1\" }]";
    let own = format!(
        "use_remote_address = false\nx_forwarded_for = false\nx_forwarded_proto = false\nx_request_id = false\n{added}"
    );
    let kept = |http: &str, name: &str| {
        let mut exchange = exchange(&format!("{name}: 1\r\n"));
        match admitted(&format!("{http}{own}"), "198.51.100.1", &mut exchange) {
            Admission::Admitted => lines(&exchange.request.edit()).len() == 2,
            refused => {
                assert_eq!(refused, Admission::Underscore, "{name}");
                false
            }
        }
    };
    let shadows = ["X_Forwarded_For", "x-forwarded_proto", "X_FORWARDED_ANYTHING", "x_envoy_internal", "x_request_id"];
    for name in shadows.iter().chain(&["Content_Length", "transfer_encoding", "proxy_connection", "X_User", "x_user"]) {
        assert!(!kept("", name), "{name}");
        assert!(kept("headers_with_underscores_action = \"allow\"\n", name), "{name}");
    }
    // The configuration's own name, and those that look like nothing.
    for name in ["x_own", "x_other", "api_key", "_"] {
        assert!(kept("", name), "{name}");
        assert!(!kept("headers_with_underscores_action = \"drop_header\"\n", name), "{name}");
        assert!(!kept("headers_with_underscores_action = \"reject_request\"\n", name), "{name}");
    }
    assert!(kept("headers_with_underscores_action = \"reject_request\"\n", "x-other"));
}

#[test]
fn clients_name_neither_certificates_nor_proxies() {
    let fields = "Proxy: http://evil.example/\r\nX-Forwarded-Client-Cert: By=me\r\nx-a: 1\r\n";
    let kept = |http: &str, remote: &str| {
        let (_, _, lines) = identified(http, remote, fields);
        let is_kept = |name: &str| lines.iter().any(|line| line.to_ascii_lowercase().starts_with(name));
        assert!(is_kept("x-a="));
        (is_kept("proxy="), is_kept("x-forwarded-client-cert="))
    };
    for http in ["use_remote_address = false", ""] {
        assert_eq!((kept(http, "198.51.100.1"), kept(http, "10.0.0.9")), ((false, false), (false, false)));
        let forward = format!("{http}\nforward_client_cert_details = \"always_forward_only\"");
        assert_eq!((kept(&forward, "198.51.100.1"), kept(&forward, "10.0.0.9")), ((false, true), (false, true)));
    }
}

fn names(names: &[&str]) -> Names {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Envoy's documentation of x-forwarded-client-cert has these modes.
#[test]
fn upstreams_are_told_of_verified_certificates() {
    let identity = Identity {
        subject: "CN=a\\,b".into(),
        sha256: "ab".into(),
        uris: names(&["spiffe://a/b", "urn:c;d"]),
        dns: names(&["a.example"]),
        ..Identity::default()
    };
    let own = Identity { uris: names(&["spiffe://me"]), ..Identity::default() };
    let certificates = [&b"a"[..], b"b"].map(Box::from).into();
    let shown = Identities { peer: Some(identity), own: Some(own), certificates, ..Identities::default() };
    let facts = Facts::default();
    let header = |http: &str, client: Option<&Identities>, field: &str| {
        let client = client.map(|client| Known::Noted(&facts, Some(client)));
        let mut exchange = exchange(field);
        let peer = Peer { remote: None, local: None, text: b"", is_secure: true, client };
        assert_eq!(admit_head(&config(http), &peer, &mut exchange, || ID), Admission::Admitted);
        let lines = lines(&exchange.request.edit());
        let is_it = |line: &&String| line.to_ascii_lowercase().starts_with("x-forwarded-client-cert=");
        lines.iter().filter(is_it).map(|line| line.split_once('=').expect("it").1.to_owned()).collect::<Vec<_>>()
    };
    let sent = "X-Forwarded-Client-Cert: By=x;Hash=1\r\n";
    let old = "By=x;Hash=1";
    let new = "By=spiffe://me;Hash=ab";
    let both = format!("{old}, {new}");
    type Lines<'a> = &'a [&'a str];
    let cases: [(&str, [Lines<'_>; 3]); 5] = [
        ("sanitize", [&[], &[], &[]]),
        ("forward_only", [&[old], &[], &[]]),
        ("append_forward", [&[&both], &[new], &[]]),
        ("sanitize_set", [&[new], &[new], &[]]),
        ("always_forward_only", [&[old], &[], &[old]]),
    ];
    for (mode, [with, without, of_others]) in cases {
        let http = format!("forward_client_cert_details = \"{mode}\"");
        assert_eq!(header(&http, Some(&shown), sent), with, "{mode}");
        assert_eq!(header(&http, Some(&shown), ""), without, "{mode}");
        assert_eq!(header(&http, None, sent), of_others, "{mode}");
        assert!(header(&http, None, "").is_empty(), "{mode}");
    }
    let all = "forward_client_cert_details = \"sanitize_set\"\n\
               set_current_client_cert_details = { subject = true, cert = true, chain = true, uri = true, dns = true }";
    let (begin, end) = ("-----BEGIN%20CERTIFICATE-----%0A", "%0A-----END%20CERTIFICATE-----%0A");
    let (a, b) = (format!("{begin}YQ%3D%3D{end}"), format!("{begin}Yg%3D%3D{end}"));
    let expected = format!(
        "{new};Cert=\"{a}\";Chain=\"{a}{b}\";Subject=\"CN=a\\,b\";URI=spiffe://a/b;URI=\"urn:c;d\";DNS=a.example"
    );
    assert_eq!(header(all, Some(&shown), sent), [expected]);
}

#[test]
fn hosts_lose_their_port_and_their_dot() {
    let (port, dot) = ("strip_matching_host_port = true", "strip_trailing_host_dot = true");
    let both = format!("{port}\n{dot}");
    for (http, host, expected) in [
        ("", "example.com.:10000", "example.com.:10000"),
        (port, "example.com:10000", "example.com"),
        (port, "example.com:1000", "example.com:1000"),
        (port, "[::1]:10000", "[::1]"),
        (port, "[::1]", "[::1]"),
        (dot, "example.com.", "example.com"),
        (dot, "example.com.:81", "example.com:81"),
        (dot, "example.com:81", "example.com:81"),
        (&both, "example.com.:10000", "example.com"),
        (&both, "example.com.:81", "example.com:81"),
    ] {
        let mut exchange = exchange_of(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n"));
        assert_eq!(admitted(http, "198.51.100.1", &mut exchange), Admission::Admitted);
        let now = exchange.request.head.authority.of(exchange.request.view());
        assert_eq!(String::from_utf8_lossy(now), expected, "{host} with {http}");
    }
}
