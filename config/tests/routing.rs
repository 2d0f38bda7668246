//! What routes, retry policies, header edits, trust and path options mean: every default, every option.

use std::time::Duration;

use ringway_config::load_str;
use ringway_config::model::*;

/// Two clusters, of which `app` has subsets.
const CLUSTERS: &str = "\n[[clusters]]\nname = \"app\"\nsubsets = { selectors = [[\"stage\"], [\"stage\", \"zone\"]] }\n\
    endpoints = [{ address = \"127.0.0.1:8080\", metadata = { stage = \"canary\", zone = \"a\" } }]\n\
    [[clusters]]\nname = \"other\"\nendpoints = [\"127.0.0.1:8081\"]\n";

/// The configuration whose `http` has these keys.
fn hcm(keys: &str) -> std::sync::Arc<Hcm> {
    let text = format!("[[listeners]]\naddress = \"127.0.0.1:10000\"\n[listeners.http]\n{keys}\n{CLUSTERS}");
    let config = load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let NetworkFilter::Http(hcm) = &config.listeners[0].filter_chains[0].filter;
    hcm.clone()
}

fn only_route(route: &str) -> Route {
    hcm(&format!("routes = [{{ {route} }}]")).virtual_hosts[0].routes[0].clone()
}

fn matcher(keys: &str) -> RouteMatch {
    only_route(&format!("match = {{ {keys} }}, direct_response = {{ status = 200 }}")).matcher
}

fn forward(keys: &str) -> Forward {
    forward_of(&only_route(&format!("match = {{ prefix = \"/\" }}, route = {{ {keys} }}")))
}

fn forward_of(route: &Route) -> Forward {
    let RouteAction::Forward(forward) = &route.action else { panic!("not forwarded: {route:?}") };
    (**forward).clone()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_route_that_says_nothing_has_envoys_defaults() {
    let forward = forward("cluster = \"other\"");
    assert!(matches!(forward.target, ClusterTarget::Cluster(1)));
    assert_eq!((forward.cluster_not_found_status, forward.append_x_forwarded_host), (503, false));
    assert!(forward.path_rewrite.is_none() && forward.host_rewrite.is_none());
    assert_eq!((forward.timeout, forward.response_head_timeout), (None, Some(ms(60_000))));
    assert_eq!((forward.stream_idle_timeout, forward.max_stream_duration), (None, None));
    assert!(forward.retry.is_none() && !forward.hedge_on_per_try_timeout);
    assert!(forward.hash_policy.is_empty() && forward.mirrors.is_empty() && forward.internal_redirect.is_none());
    assert_eq!((forward.priority, forward.metadata_match), (Priority::Default, vec![]));
    assert_eq!(forward.timeout_place.line, 0);
}

#[test]
fn http_has_envoys_defaults() {
    let hcm = hcm("routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]");
    assert!(hcm.mutations.request.is_empty() && hcm.mutations.response.is_empty());
    let expected = PathOptions {
        normalize: true,
        merge_slashes: false,
        matches_merged_slashes: true,
        escaped_slashes: EscapedSlashes::Keep,
        strip_matching_host_port: false,
        strip_trailing_host_dot: false,
    };
    assert_eq!(hcm.paths, expected);
    let sanitize = ClientCertDetails { forward: ForwardCert::Sanitize, set: vec![] };
    let shadowing = (Underscores::DropShadowing, sanitize);
    assert_eq!((hcm.trust.underscores, hcm.trust.client_cert_details.clone()), shadowing);
    assert_eq!((hcm.trust.use_remote_address, hcm.trust.xff_num_trusted_hops), (true, 0));
    assert!(hcm.trust.internal_addresses.is_empty() && hcm.trust.xff_trusted_cidrs.is_empty());
    assert!(hcm.trust.internal_only_headers.is_empty());
    assert_eq!(hcm.timeouts.max_stream_duration, None);
    let route = &hcm.virtual_hosts[0].routes[0];
    assert!(route.filters.is_empty() && route.headers.request.is_empty() && route.headers.response.is_empty());
}

#[test]
fn trust_and_paths() {
    let hcm = hcm("use_remote_address = true\nxff_num_trusted_hops = 2\ninternal_addresses = [\"100.64.0.0/10\"]\n\
         internal_only_headers = [\"X-Internal\"]\nnormalize_path = false\nmerge_slashes = true\n\
         merge_slashes_for_matching = false\n\
         path_with_escaped_slashes_action = \"unescape_and_forward\"\nstrip_matching_host_port = true\n\
         strip_trailing_host_dot = true\nmax_stream_duration = \"1m\"\nroutes = []");
    assert_eq!((hcm.trust.use_remote_address, hcm.trust.xff_num_trusted_hops), (true, 2));
    assert_eq!((hcm.trust.internal_addresses.len(), hcm.trust.internal_addresses[0].prefix_len), (1, 10));
    assert_eq!(hcm.trust.internal_only_headers, ["x-internal"]);
    let on = PathOptions {
        normalize: false,
        merge_slashes: true,
        matches_merged_slashes: false,
        escaped_slashes: EscapedSlashes::UnescapeAndForward,
        strip_matching_host_port: true,
        strip_trailing_host_dot: true,
    };
    assert_eq!((&hcm.paths, hcm.timeouts.max_stream_duration), (&on, Some(ms(60_000))));
    for (word, expected) in [
        ("keep_unchanged", EscapedSlashes::Keep),
        ("reject_request", EscapedSlashes::Reject),
        ("unescape_and_redirect", EscapedSlashes::UnescapeAndRedirect),
    ] {
        let hcm = self::hcm(&format!("path_with_escaped_slashes_action = \"{word}\"\nroutes = []"));
        assert_eq!(hcm.paths.escaped_slashes, expected);
    }
    for (word, expected) in [
        ("allow", Underscores::Allow),
        ("reject_request", Underscores::RejectRequest),
        ("drop_header", Underscores::DropHeader),
        ("drop_shadowing", Underscores::DropShadowing),
    ] {
        let hcm = self::hcm(&format!("headers_with_underscores_action = \"{word}\"\nroutes = []"));
        assert_eq!(hcm.trust.underscores, expected, "{word}");
    }
    let hcm = self::hcm("forward_client_cert_details = \"always_forward_only\"\nroutes = []");
    assert_eq!(hcm.trust.client_cert_details.forward, ForwardCert::AlwaysForwardOnly);
}

#[test]
fn templates_become_patterns_with_their_variables() {
    let matcher = matcher("template = \"/videos/{id}/*.ts\"");
    let PathMatch::Template(template) = matcher.path else { panic!("not a template") };
    assert_eq!(template.text, "/videos/{id}/*.ts");
    let captures = template.regex.captures(b"/videos/7/a.ts").unwrap();
    assert_eq!(captures.name("id").unwrap().as_bytes(), b"7");
    assert!(!template.regex.is_match(b"/videos/7/a.mp4"));
}

#[test]
fn conditions_on_header_fields() {
    let matcher = matcher(
        "prefix = \"/\", headers = [{ name = \":METHOD\", exact = \"GET\" }, { name = \"a\", prefix = \"B\", ignore_case = true }, \
         { name = \"a\", range = { start = -5, end = 0x10 } }, { name = \"a\", suffix = \"b\", invert = true, \
         treat_missing_header_as_empty = true }, { name = \"a\", contains = \"b\" }, { name = \"a\", regex = 'b+' }]",
    );
    let headers = &matcher.headers;
    assert_eq!(headers[0].name, ":method");
    let HeaderMatchKind::Value(value) = &headers[1].kind else { panic!() };
    assert!(matches!(&value.kind, StringMatchKind::Prefix(text) if text == "B") && value.ignore_case);
    assert!(matches!(headers[2].kind, HeaderMatchKind::Range { start: -5, end: 16 }));
    assert!(headers[3].invert && headers[3].missing_as_empty && !headers[2].missing_as_empty);
    let kinds = headers[3..].iter().map(|header| match &header.kind {
        HeaderMatchKind::Value(StringMatch { kind: StringMatchKind::Suffix(_), ignore_case: false }) => "suffix",
        HeaderMatchKind::Value(StringMatch { kind: StringMatchKind::Contains(_), .. }) => "contains",
        HeaderMatchKind::Value(StringMatch { kind: StringMatchKind::Regex(regex), .. }) if !regex.is_match(b"abb") => {
            "regex"
        }
        kind => panic!("{kind:?}"),
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["suffix", "contains", "regex"]);
}

#[test]
fn conditions_on_queries_cookies_and_shares() {
    let matcher = matcher(
        "prefix = \"/\", query_parameters = [{ name = \"q\" }, { name = \"l\", exact = \"DE\", ignore_case = true }], \
         cookies = [{ name = \"sid\", regex = '\\d+', invert = true }], percent = 0.25",
    );
    assert_eq!(matcher.query_parameters.len(), 2);
    assert!(matcher.query_parameters[0].value.is_none());
    let value = matcher.query_parameters[1].value.as_ref().unwrap();
    assert!(matches!(&value.kind, StringMatchKind::Exact(text) if text == "DE") && value.ignore_case);
    assert_eq!((matcher.cookies[0].name.as_str(), matcher.cookies[0].invert), ("sid", true));
    assert_eq!(matcher.fraction, Some(Fraction { per_million: 2_500 }));
}

#[test]
fn weighted_clusters_have_edits_filters_and_the_routes_metadata() {
    let route = only_route(
        "match = { prefix = \"/\" }, route = { metadata_match = { stage = \"canary\", zone = \"b\" }, weighted_clusters = [\
         { cluster = \"app\", weight = 0 }, { cluster = \"app\", weight = 7, host_rewrite = \"a\", \
         metadata_match = { zone = \"a\" }, request_headers_to_add = [{ name = \"X-A\", value = \"b\" }], \
         response_headers_to_remove = [\"X-B\"] }] }",
    );
    let forward = forward_of(&route);
    let ClusterTarget::Weighted(clusters) = &forward.target else { panic!("not weighted") };
    assert_eq!((clusters[0].cluster, clusters[0].weight, clusters[1].weight), (0, 0, 7));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(clusters[0].metadata_match, [pair("stage", "canary"), pair("zone", "b")]);
    assert_eq!(clusters[1].metadata_match, [pair("stage", "canary"), pair("zone", "a")]);
    assert_eq!(clusters[1].host_rewrite.as_deref(), Some("a"));
    assert!(matches!(&clusters[1].headers.request[..], [HeaderMutation::Set { name, .. }] if name == "x-a"));
    assert!(matches!(&clusters[1].headers.response[..], [HeaderMutation::Remove(name)] if name == "x-b"));
    assert!(clusters[1].filters.is_empty());
}

#[test]
fn a_header_names_the_cluster() {
    let forward = forward("cluster_header = \"X-Cluster\", cluster_not_found_status = 404");
    assert!(matches!(&forward.target, ClusterTarget::Header(name) if name == "x-cluster"));
    assert_eq!(forward.cluster_not_found_status, 404);
}

#[test]
fn rewrites_of_the_path() {
    let rewrite = |keys: &str| forward(&format!("cluster = \"app\", {keys}")).path_rewrite.unwrap();
    assert!(matches!(rewrite("prefix_rewrite = \"/v2\""), PathRewrite::Prefix(prefix) if prefix == "/v2"));
    let PathRewrite::Regex(regex) = rewrite("regex_rewrite = { pattern = '^/a/(b)', substitution = '/x\\1\\0y' }")
    else {
        panic!("not a pattern")
    };
    assert!(regex.pattern.is_match(b"/a/b/c"), "it need not match all of the path");
    let pieces = [("/x".to_owned(), Some(1)), (String::new(), Some(0)), ("y".to_owned(), None)];
    assert_eq!(regex.substitution, pieces);
    let route = only_route(
        "match = { template = \"/a/{id}\" }, route = { cluster = \"app\", template_rewrite = \"/b/{id}/c\" }",
    );
    let Some(PathRewrite::Template(pieces)) = forward_of(&route).path_rewrite else { panic!("not a template") };
    assert_eq!(format!("{pieces:?}"), r#"[Literal("/b/"), Variable("id"), Literal("/c")]"#);
}

#[test]
fn rewrites_of_the_host() {
    let rewrite = |keys: &str| forward(&format!("cluster = \"app\", append_x_forwarded_host = true, {keys}"));
    let literal = rewrite("host_rewrite = \"a.internal\"");
    assert!(literal.append_x_forwarded_host);
    assert!(matches!(literal.host_rewrite, Some(HostRewrite::Literal(host)) if host == "a.internal"));
    assert!(matches!(rewrite("auto_host_rewrite = true").host_rewrite, Some(HostRewrite::Auto)));
    let header = rewrite("host_rewrite_header = \"X-Host\"").host_rewrite;
    assert!(matches!(header, Some(HostRewrite::Header(name)) if name == "x-host"));
    let regex =
        rewrite("host_rewrite_path_regex = { pattern = '^/(a)/.*', substitution = '\\1.internal' }").host_rewrite;
    assert!(matches!(regex, Some(HostRewrite::PathRegex(_))));
}

#[test]
fn redirects_replace_a_pattern() {
    let route =
        only_route("match = { prefix = \"/\" }, redirect = { regex_rewrite = { pattern = 'a', substitution = 'b' } }");
    let RouteAction::Redirect(redirect) = route.action else { panic!() };
    assert!(matches!(redirect.path, Some(RedirectPath::Regex(_))));
}

#[test]
fn a_retry_policy_has_envoys_defaults() {
    let policy = forward("cluster = \"app\", retry_policy = { retry_on = [\"5xx\"] }").retry.unwrap();
    assert_eq!((policy.retry_on, policy.num_retries), (RetryOn::SERVER_ERROR, 1));
    assert_eq!((policy.per_try_timeout, policy.per_try_idle_timeout), (None, None));
    assert_eq!(policy.back_off, (ms(25), ms(250)));
    assert!(policy.rate_limited_back_off.is_none() && policy.retriable_status_codes.is_empty());
    assert!(policy.retriable_headers.is_empty() && policy.retriable_request_headers.is_empty());
    assert_eq!((policy.avoid_previous_hosts, policy.host_selection_max_attempts), (false, 1));
    assert_eq!((policy.previous_priorities, policy.max_replay_bytes), (None, None));
}

#[test]
fn every_part_of_a_retry_policy() {
    let forward = forward(
        "cluster = \"app\", hedge_on_per_try_timeout = true, retry_policy = { retry_on = [\"reset\", \
         \"retriable-status-codes\", \"retriable-headers\"], num_retries = 5, per_try_timeout = \"1s\", \
         per_try_idle_timeout = \"2s\", retry_back_off = { base_interval = \"10ms\" }, rate_limited_retry_back_off = { \
         reset_headers = [{ name = \"Retry-After\" }, { name = \"X-Reset\", format = \"unix_timestamp\" }] }, \
         retriable_status_codes = [409, 429], retriable_headers = [{ name = \"x-a\" }], \
         retriable_request_headers = [{ name = \":method\", exact = \"GET\" }], \
         retry_host_predicate = [\"previous_hosts\"], host_selection_retry_max_attempts = 4, \
         retry_priority = { update_frequency = 2 }, max_replay_bytes = \"1KiB\" }",
    );
    assert!(forward.hedge_on_per_try_timeout);
    let policy = forward.retry.unwrap();
    let all = [RetryOn::RESET, RetryOn::RETRIABLE_STATUS_CODES, RetryOn::RETRIABLE_HEADERS];
    assert!(all.into_iter().all(|it| policy.retry_on.contains(it)) && !policy.retry_on.contains(RetryOn::SERVER_ERROR));
    assert_eq!((policy.num_retries, policy.per_try_timeout), (5, Some(ms(1_000))));
    assert_eq!(policy.per_try_idle_timeout, Some(ms(2_000)));
    assert_eq!(policy.back_off, (ms(10), ms(100)), "ten times the base");
    let limited = policy.rate_limited_back_off.unwrap();
    let headers: Vec<_> = limited.reset_headers.iter().map(|it| (it.name.as_str(), it.is_unix_timestamp)).collect();
    assert_eq!((headers, limited.max_interval), (vec![("retry-after", false), ("x-reset", true)], ms(300_000)));
    assert_eq!(policy.retriable_status_codes, [409, 429]);
    assert_eq!((policy.retriable_headers.len(), policy.retriable_request_headers.len()), (1, 1));
    assert_eq!((policy.avoid_previous_hosts, policy.host_selection_max_attempts), (true, 4));
    assert_eq!((policy.previous_priorities, policy.max_replay_bytes), (Some(2), Some(1024)));
}

#[test]
fn every_retry_condition_has_its_word() {
    for (flag, word) in RetryOn::NAMES {
        let keys = match word {
            "retriable-status-codes" => ", retriable_status_codes = [409]",
            "retriable-headers" => ", retriable_headers = [{ name = \"a\" }]",
            _ => "",
        };
        let forward = forward(&format!("cluster = \"app\", retry_policy = {{ retry_on = [\"{word}\"]{keys} }}"));
        assert_eq!(forward.retry.unwrap().retry_on, flag, "{word}");
    }
}

#[test]
fn a_route_takes_the_retry_policy_of_its_virtual_host() {
    let hcm = hcm("[[listeners.http.virtual_hosts]]\nname = \"a\"\ndomains = [\"*\"]\n\
         include_request_attempt_count = true\n\
         retry_policy = { retry_on = [\"reset\"], num_retries = 7 }\nroutes = [\n\
         { match = { prefix = \"/a\" }, route = { cluster = \"app\" } },\n\
         { match = { prefix = \"/b\" }, route = { cluster = \"app\", retry_policy = { retry_on = [\"5xx\"] } } },\n\
         { match = { prefix = \"/c\" }, route = { cluster = \"app\", retry_policy = \"off\" } }]");
    let host = &hcm.virtual_hosts[0];
    assert!(host.include_request_attempt_count && !host.include_attempt_count_in_response);
    let retries: Vec<_> = hcm.virtual_hosts[0].routes.iter().map(|route| forward_of(route).retry).collect();
    assert_eq!(retries[0].as_ref().unwrap().num_retries, 7);
    assert_eq!(retries[0].as_ref().unwrap().place.line, 8, "where it was written");
    assert_eq!((retries[1].as_ref().unwrap().num_retries, retries[1].as_ref().unwrap().place.line), (1, 11));
    assert!(retries[2].is_none());
}

#[test]
fn hash_policies() {
    let forward = forward(
        "cluster = \"app\", hash_policy = [{ header = \"X-User\", terminal = true }, { cookie = { name = \"sid\" } }, \
         { cookie = { name = \"sid\", ttl = \"0s\", path = \"/\" } }, { source_ip = true }, { query_parameter = \"u\" }, \
         { header = \":path\" }]",
    );
    let terminal: Vec<_> = forward.hash_policy.iter().map(|policy| policy.terminal).collect();
    assert_eq!(terminal, [true, false, false, false, false, false]);
    let kinds: Vec<_> = forward.hash_policy.iter().map(|policy| format!("{:?}", policy.kind)).collect();
    let expected = [
        "Header(\"x-user\")",
        "Cookie { name: \"sid\", ttl: None, path: None }",
        "Cookie { name: \"sid\", ttl: Some(0ns), path: Some(\"/\") }",
        "SourceIp",
        "QueryParameter(\"u\")",
        "Header(\":path\")",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn mirrors_internal_redirects_and_the_rest() {
    let forward = forward(
        "cluster = \"app\", request_mirror_policies = [{ cluster = \"other\" }, { cluster = \"app\", percent = 0.01 }], \
         internal_redirect_policy = {}, priority = \"high\", stream_idle_timeout = \"off\", max_stream_duration = \"3s\", \
         metadata_match = { stage = \"canary\" }",
    );
    let mirrors: Vec<_> = forward.mirrors.iter().map(|it| (it.cluster, it.fraction.per_million)).collect();
    assert_eq!(mirrors, [(1, 1_000_000), (0, 100)]);
    let redirect = forward.internal_redirect.unwrap();
    assert_eq!((redirect.max_redirects, &redirect.codes[..], redirect.allow_cross_scheme), (1, &[302][..], false));
    assert_eq!((forward.priority, forward.stream_idle_timeout), (Priority::High, Some(None)));
    assert_eq!(forward.max_stream_duration, Some(Some(ms(3_000))));
    assert_eq!(forward.metadata_match, [("stage".to_owned(), "canary".to_owned())]);
    let redirect = self::forward(
        "cluster = \"app\", internal_redirect_policy = { max_internal_redirects = 5, redirect_response_codes = [301, 307], \
         allow_cross_scheme_redirect = true }",
    );
    let redirect = redirect.internal_redirect.unwrap();
    assert_eq!((redirect.max_redirects, &redirect.codes[..], redirect.allow_cross_scheme), (5, &[301, 307][..], true));
}

#[test]
fn header_edits_remove_first_and_keep_their_order() {
    let hcm = hcm(
        "request_headers_to_add = [{ name = \"X-A\", value = \"a %PROTOCOL%\" }, { name = \"x-b\", value = \"b\", \
         append_action = \"add_if_absent\" }, { name = \"x-c\", value = \"c\", append_action = \"overwrite_if_exists_or_add\" }, \
         { name = \"x-d\", value = \"d\", append_action = \"overwrite_if_exists\" }]\n\
         request_headers_to_remove = [\"X-Z\"]\nresponse_headers_to_add = [{ name = \"x-code\", value = \"%RESPONSE_CODE%\" }]\n\
         [[listeners.http.virtual_hosts]]\nname = \"a\"\ndomains = [\"*\"]\nresponse_headers_to_remove = [\"server\"]\n\
         routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 }, \
         response_headers_to_add = [{ name = \"x-a\", value = \"100%%\" }] }]",
    );
    assert!(matches!(&hcm.mutations.request[0], HeaderMutation::Remove(name) if name == "x-z"));
    let actions: Vec<_> = hcm.mutations.request[1..]
        .iter()
        .map(|edit| match edit {
            HeaderMutation::Set { action, .. } => *action,
            HeaderMutation::Remove(name) => panic!("{name}"),
        })
        .collect();
    let expected = [
        AppendAction::AppendIfExistsOrAdd,
        AppendAction::AddIfAbsent,
        AppendAction::OverwriteIfExistsOrAdd,
        AppendAction::OverwriteIfExists,
    ];
    assert_eq!(actions, expected);
    let HeaderMutation::Set { name, value, .. } = &hcm.mutations.request[1] else { panic!() };
    let pieces = [FormatPiece::Literal("a ".into()), FormatPiece::Operator(CommandOperator::Protocol)];
    assert_eq!((name.as_str(), &value[..]), ("x-a", &pieces[..]));
    assert_eq!(hcm.mutations.response.len(), 1);
    let host = &hcm.virtual_hosts[0];
    assert!(matches!(&host.headers.response[..], [HeaderMutation::Remove(name)] if name == "server"));
    let HeaderMutation::Set { value, .. } = &host.routes[0].headers.response[0] else { panic!() };
    assert_eq!(value[..], [FormatPiece::Literal("100%".into())]);
}

#[test]
fn places_are_where_things_were_written() {
    let text = "[[listeners]]\naddress = \"127.0.0.1:10000\"\n\n[[listeners.http.virtual_hosts]]\nname = \"ä\"\n\
                domains = [\"*\"]\n  [[listeners.http.virtual_hosts.routes]]\n  match.prefix = \"/\"\n\
                route = { cluster = \"app\", timeout = \"1s\", retry_policy = { retry_on = [\"5xx\"] } }\n";
    let config = load_str("dir/test.toml", &format!("{text}{CLUSTERS}")).unwrap();
    assert_eq!(config.file, "dir/test.toml");
    let at = |place: Place| (place.line, place.column);
    let listener = &config.listeners[0];
    assert_eq!(at(listener.place), (1, 1));
    let chain = &listener.filter_chains[0];
    let NetworkFilter::Http(hcm) = &chain.filter;
    let host = &hcm.virtual_hosts[0];
    assert_eq!(at(host.place), (4, 1));
    let route = &host.routes[0];
    assert_eq!(at(route.place), (7, 3));
    let forward = forward_of(route);
    assert_eq!(at(forward.timeout_place), (9, 28));
    assert_eq!(at(forward.retry.unwrap().place), (9, 44));
    let wide = "# ü\n[[listeners]]\naddress = \"127.0.0.1:1\"\nhttp = { via = \"a\", routes = [ { name = \"üü\", match.prefix = \"/\", \
                route = { cluster = \"app\", timeout = \"1s\" } } ] }\n";
    let config = load_str("test.toml", &format!("{wide}{CLUSTERS}")).unwrap();
    let NetworkFilter::Http(hcm) = &config.listeners[0].filter_chains[0].filter;
    let forward = forward_of(&hcm.virtual_hosts[0].routes[0]);
    let line = wide.lines().nth(3).unwrap();
    let column = line[..line.find("timeout").unwrap()].chars().count() + 1;
    assert_eq!(at(forward.timeout_place), (4, u32::try_from(column).unwrap()), "columns count characters");
}

#[test]
fn addresses_are_a_list_or_say_that_they_are_not_to_be() {
    assert!(matcher("prefix = \"/\"").addresses.is_empty());
    let keys = "prefix = \"/\", remote_ip = [\"10.0.0.0/8\", \"::1\"], direct_remote_ip = { ranges = [\"192.0.2.1\"] }";
    let both = matcher(keys).addresses;
    let [client, peer] = &both[..] else { panic!("not two: {both:?}") };
    assert_eq!((client.whose, client.invert, peer.whose, peer.invert), (Whose::Client, false, Whose::Peer, false));
    let text = |ranges: &Ranges| ranges.written.iter().map(|it| format!("{}/{}", it.address, it.prefix_len)).collect();
    let written: [Vec<String>; 2] = [text(&client.ranges), text(&peer.ranges)];
    assert_eq!(written, [vec!["10.0.0.0/8", "::1/128"], vec!["192.0.2.1/32"]]);
    let other = matcher("prefix = \"/\", remote_ip = { ranges = [\"10.0.0.0/8\"], invert = true }").addresses;
    assert!(other[0].invert && other[0].holds(None) && !other[0].holds(Some("10.1.1.1".parse().unwrap())));
}
