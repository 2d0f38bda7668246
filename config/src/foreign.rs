//! Keys that people bring from Envoy, nginx and HAProxy, or from a later Ringway: what to write here instead.
//!
//! A pass over the problems that the reader reported: only above the tables are all keys of all tables known.

mod cluster;
mod http;
mod stray;
mod tls;
mod variables;

use std::collections::HashSet;

use crate::diagnostic::{KeyFault, Problem, Problems};
use crate::document::all_tables;
use crate::place::KeyPath;
use crate::reader::TableSpec;
use crate::syntax::{Kind, Statement, statements};
use http::COMPRESSION;
pub use stray::warn as warn_of_variables;
pub use variables::{VARIABLES, known_variable, variable};

const ERROR_PAGES: &str =
    "error pages are local_reply, in `http`: [{ filter = { status = { equal = 404 } }, body_file = \"404.html\" }]";

/// Keys for the top level of the file only; some of them exist in other tables.
const TOP_LEVEL: &[(&str, &str)] = &[
    ("listener", "it is called [[listeners]]"),
    ("frontend", "it is called [[listeners]]"),
    ("cluster", "it is called [[clusters]]"),
    ("upstream", "it is called [[clusters]]"),
    ("backend", "it is called [[clusters]]"),
    ("gzip", COMPRESSION),
    ("http", "`http` belongs in a listener: write [[listeners]] and address = \"0.0.0.0:10000\" before it"),
];

/// Key and hint, for every table that has no such key.
const ANYWHERE: &[(&str, &str)] = &[
    ("load_assignment", "write the endpoints directly: endpoints = [\"127.0.0.1:8080\"]"),
    ("hosts", "write endpoints = [\"127.0.0.1:8080\"]"),
    ("servers", "write endpoints = [\"127.0.0.1:8080\"]"),
    ("server", "write endpoints = [\"127.0.0.1:8080\"]"),
    ("typed_config", "there are no typed configs: a filter is a table with its name as key, { fault = { ... } }"),
    ("@type", "there are no typed configs: a filter is a table with its name as key, { fault = { ... } }"),
    ("typed_per_filter_config", "it is called filters: filters = { fault = { ... }, buffer = \"off\" }"),
    ("typed_extension_protocol_options", "write the settings directly in the cluster"),
    (
        "http2_protocol_options",
        "it is called http2, in `http` and in [[clusters]]; protocol = \"http2\" there switches it on",
    ),
    ("explicit_http_config", "it is called protocol, in [[clusters]]: protocol = \"http2\""),
    ("auto_config", "it is called protocol, in [[clusters]]: protocol = \"auto\""),
    ("proto", "it is called codec_type, in `http`, and protocol, in [[clusters]]"),
    ("proxy_http_version", "it is called protocol, in [[clusters]]; HTTP/1.1 is the default"),
    ("grpc_pass", "write route = { cluster = \"name\" } and [[clusters]] with that name and protocol = \"http2\""),
    ("http2_max_concurrent_streams", "it is called max_concurrent_streams, in http2 of `http`"),
    ("http2_body_preread_size", "it is called initial_stream_window_size, in http2 of `http`"),
    ("hpack_table_size", "leave it out: what is sent uses no table"),
    ("http_protocol_options", "write the settings directly in `http`"),
    ("common_http_protocol_options", "write the settings directly: idle_timeout, max_connection_duration, ..."),
    ("route_config", "write `virtual_hosts` or `routes` directly in `http`"),
    ("rds", "routes come from this file only"),
    ("static_resources", "write [[listeners]] and [[clusters]] at the top level"),
    ("dynamic_resources", "configuration comes from this file only"),
    ("node", "configuration comes from this file only, so there is no node to name"),
    ("layered_runtime", "there is no runtime layer; [runtime] holds the process's settings"),
    ("stats_sinks", "write [stats] with sinks = [{ statsd = { address = \"127.0.0.1:8125\" } }]"),
    ("stats_flush_interval", "it is called flush_interval, in [stats]"),
    ("spawn_upstream_span", "leave it out: each try has a span of its own"),
    ("start_child_span", "leave it out: each try has a span of its own"),
    ("custom_tags", "it is called tags, in `tracing`: tags = { tenant = \"%REQ(x-tenant)%\" }"),
    ("collector_cluster", "it is called cluster, in zipkin of `tracing`"),
    ("collector_endpoint", "it is called path, in zipkin of `tracing`"),
    ("collector_hostname", "it is called host, in zipkin of `tracing`"),
    ("collector_endpoint_version", "it is called format, in zipkin of `tracing`"),
    ("shared_span_context", "it is called shared_span, in zipkin of `tracing`"),
    ("trace_context_option", "it is called inject, in `tracing`: inject = [\"b3_multi\", \"w3c\"]"),
    ("decorator", "it is called tracing, next to `route`: tracing = { operation = \"checkout\" }"),
    ("overload_manager", "the limits are keys of [runtime], [[listeners]] and `http`"),
    ("concurrency", "it is called shards"),
    ("worker_processes", "it is called shards"),
    ("nbthread", "it is called shards"),
    ("threads", "it is called shards"),
    ("worker_connections", "it is called max_connections"),
    ("maxconn", "it is called max_connections"),
    ("limit_conn", "it is called max_connections_per_client, in [[listeners]]"),
    ("log_level", "it is called log, in [runtime]"),
    ("access_log_path", "it is called access_log"),
    ("socket_address", "write the address as one string: address = \"0.0.0.0:10000\""),
    ("listen", "it is called address: address = \"0.0.0.0:10000\""),
    ("bind", "it is called address: address = \"0.0.0.0:10000\""),
    ("port_value", "the port belongs in the address: \"127.0.0.1:8080\""),
    (
        "listener_filters",
        "leave it out: TLS is looked at where a chain's `match` needs it; no other listener filter is supported yet",
    ),
    ("http_connection_manager", "it is called http"),
    ("tcp_proxy", "TCP proxying is not supported yet: only http"),
    ("default_filter_chain", "write it as the last of filter_chains, without match"),
    ("filter_chain_match", "it is called match"),
    (
        "prefix_ranges",
        "matching by destination address is not supported yet; source_prefix_ranges and destination_ports are",
    ),
    ("destination_port", "it is a list: destination_ports = [8080]"),
    ("safe_regex", "it is called regex, with the pattern as a string"),
    ("safe_regex_match", "it is called regex, with the pattern as a string"),
    ("regex_match", "it is called regex"),
    ("string_match", "write exact, prefix, suffix, contains or regex directly"),
    ("exact_match", "it is called exact"),
    ("prefix_match", "it is called prefix"),
    ("suffix_match", "it is called suffix"),
    ("contains_match", "it is called contains"),
    ("present_match", "it is called present"),
    ("invert_match", "it is called invert"),
    ("host_rewrite_literal", "it is called host_rewrite"),
    ("cors", "CORS is not supported yet"),
    ("runtime_fraction", "it is called percent, a number: percent = 10"),
    ("add_header", "it is called response_headers_to_add: [{ name = \"x-a\", value = \"b\" }]"),
    ("proxy_set_header", "it is called request_headers_to_add: [{ name = \"x-a\", value = \"b\" }]"),
    ("proxy_hide_header", "it is called response_headers_to_remove: [\"x-a\"]"),
    ("per_request_buffer_limit_bytes", "it is called max_replay_bytes, in retry_policy"),
    ("request_body_buffer_limit", "it is called max_replay_bytes, in retry_policy"),
    ("upgrade_configs", "upgrades are not supported yet"),
    ("https_redirect", "write scheme = \"https\""),
    ("host_redirect", "it is called host"),
    ("path_redirect", "it is called path"),
    ("port_redirect", "it is called port"),
    ("scheme_redirect", "it is called scheme"),
    ("response_code", "it is called status, a number: status = 301"),
    ("inline_string", "write the text directly: body = \"...\""),
    ("keepalive", "see idle_timeout and max_idle_connections"),
    ("keepalive_timeout", "it is called idle_timeout"),
    ("client_header_timeout", "it is called request_headers_timeout"),
    (
        "client_body_timeout",
        "min_request_body_rate bounds how slowly a body comes, request_timeout how long all of it takes",
    ),
    ("client_max_body_size", "it is called max_request_body"),
    ("max_request_headers_kb", "it is called max_headers_size, with a unit: \"60KiB\""),
    ("max_request_headers_size", "it is called max_headers_size"),
    ("per_connection_buffer_limit_bytes", "it is called buffer_limit, in `http`, with a unit: \"256KiB\""),
    ("tcp_backlog_size", "it is called backlog, in [runtime]"),
    ("drain_timeout", "it is called drain_time, in [runtime]"),
    ("server_header_transformation", "it is called server_header"),
    ("generate_request_id", "it is called x_request_id"),
    ("suppress_envoy_headers", "write x_envoy_upstream_service_time = false and x_envoy_original_host = false"),
    ("text_format", "it is called format"),
    ("json_format", "it is called json"),
    ("proxy_pass", "write route = { cluster = \"name\" } and [[clusters]] with that name"),
    ("location", "write it as match = { prefix = \"/\" }"),
    ("return", "write direct_response = { status = 200 }"),
    ("include", "one file holds the whole configuration; a template or `cat` can join parts before the start"),
    ("gzip_types", "it is content_type of the filter `compressor`"),
    ("compress", COMPRESSION),
    ("compression", COMPRESSION),
    ("encode", COMPRESSION),
    ("basic_auth", "basic auth is not supported yet"),
    ("basicauth", "basic auth is not supported yet"),
    ("auth_basic", "basic auth is not supported yet"),
    ("auth_basic_user_file", "basic auth is not supported yet"),
    ("forward_auth", "external authorization is not supported yet"),
    ("auth_request", "external authorization is not supported yet"),
    ("websocket", "upgrades such as WebSocket are not supported yet"),
    ("websockets", "upgrades such as WebSocket are not supported yet"),
    ("leastconn", "write lb_policy = \"least_request\", in [[clusters]]"),
    ("least_conn", "write lb_policy = \"least_request\", in [[clusters]]"),
    ("balance", "it is called lb_policy, in [[clusters]]"),
    ("load_balancing", "it is called lb_policy, in [[clusters]]"),
    ("ip_hash", "write lb_policy = \"ring_hash\", and hash_policy = [{ source_ip = true }] in the route"),
    ("sticky", "write lb_policy = \"ring_hash\", and a hash_policy with a cookie in the route"),
    ("backup", "endpoints with priority = 1 are only used when those with priority 0 are not enough"),
    ("upstreams", "they are called [[clusters]]"),
    ("backends", "they are called [[clusters]]"),
    ("default_backend", "write it as the last route: match = { prefix = \"/\" }"),
    ("use_backend", "write a route: match = { ... }, route = { cluster = \"name\" }"),
    ("acl", "conditions belong in the match of a route"),
    ("reverse_proxy", "write route = { cluster = \"name\" } and [[clusters]] with that name"),
    ("root", "files are not served: this is a proxy"),
    ("try_files", "files are not served: this is a proxy"),
    ("autoindex", "files are not served: this is a proxy"),
    ("rewrite", "write prefix_rewrite, regex_rewrite or template_rewrite, in `route`"),
    ("error_page", ERROR_PAGES),
    ("errorfile", ERROR_PAGES),
    ("error_log", "the program log goes to standard error; its level is log, in [runtime]"),
    ("proxy_connect_timeout", "it is called connect_timeout, in [[clusters]]"),
    ("proxy_read_timeout", "it is called stream_idle_timeout; a limit for the whole response is timeout, in `route`"),
    ("proxy_send_timeout", "it is called stream_idle_timeout"),
    ("proxy_next_upstream", "it is called retry_policy"),
    ("proxy_redirect", "location headers of responses are not rewritten"),
    ("proxy_buffering", "bodies are streamed: buffer_limit, in `http`, bounds what waits"),
    ("proxy_buffers", "bodies are streamed: buffer_limit, in `http`, bounds what waits"),
    ("proxy_cache", "there is no cache"),
    ("cache", "there is no cache"),
    ("limit_req_zone", "it is a filter of `http`: http_filters = [{ local_ratelimit = { ... } }]"),
    ("limit_rate", "it is the response_rate_limit of the filter `fault`"),
    ("large_client_header_buffers", "it is called max_headers_size, in `http`"),
    ("timeout_connect", "it is called connect_timeout, in [[clusters]]"),
    ("timeout_client", "it is called stream_idle_timeout and idle_timeout, in `http`"),
    ("timeout_server", "it is called stream_idle_timeout; a limit for the whole response is timeout, in `route`"),
    ("httpchk", "it is called health_checks, in [[clusters]]"),
    ("option", "each option is a key of its table; docs/CONFIG.md lists them"),
    ("middlewares", "they are http_filters, in `http`"),
    ("plugins", "they are http_filters, in `http`"),
    ("entrypoints", "they are called [[listeners]]"),
    ("workers", "it is called shards"),
    (
        "http-request",
        "deny is a route with direct_response = { status = 403 }, redirect one with redirect = { ... }, set-header is \
         request_headers_to_add",
    ),
    ("http-response", "set-header is response_headers_to_add, del-header response_headers_to_remove"),
    (
        "stick-table",
        "stickiness needs no table: lb_policy = \"ring_hash\" in [[clusters]] and a hash_policy in the route; rates of \
         clients are bounded by the filter `local_ratelimit`",
    ),
    ("stick", "write lb_policy = \"ring_hash\" in [[clusters]], and a hash_policy in the route"),
    ("tcp-check", "write health_checks = [{ tcp = {} }], in [[clusters]]"),
    ("http-check", "write health_checks = [{ http = { path = \"/healthz\" } }], in [[clusters]]"),
    ("send-proxy", "the PROXY protocol is not supported yet"),
    ("send-proxy-v2", "the PROXY protocol is not supported yet"),
    ("accept-proxy", "the PROXY protocol is not supported yet"),
    ("hash-type", "leave it out: \"ring_hash\" and \"maglev\" of lb_policy are consistent"),
    ("observe", "see outlier_detection, in [[clusters]]: outlier_detection = { consecutive_5xx = 5 }"),
    (
        "monitor-uri",
        "write a route with direct_response = { status = 200 } and match = { path = \"/healthz\" }; [admin] has /ready",
    ),
    ("default-server", "write what holds for all servers in the cluster"),
];

/// HTTP filters of Envoy that do not exist here yet.
const FILTERS_LATER: &[&str] = &[
    "cors",
    "csrf",
    "ext_authz",
    "ext_proc",
    "header_mutation",
    "health_check",
    "jwt_auth",
    "jwt_authn",
    "lua",
    "oauth2",
    "ratelimit",
    "rbac",
    "wasm",
];

/// A key of another proxy, the table in which it is a mistake (`None`: any), and what to write instead.
pub struct Word {
    pub table: Option<&'static str>,
    pub name: &'static str,
    pub hint: &'static str,
}

/// All of them.
pub fn words() -> Vec<Word> {
    let top = TOP_LEVEL.iter().map(|&(name, hint)| Word { table: Some(""), name, hint });
    let anywhere = ANYWHERE.iter().chain(tls::ANYWHERE).map(|&(name, hint)| Word { table: None, name, hint });
    let placed = placed().map(|&(table, name, hint)| Word { table: Some(table), name, hint });
    let filters = "listeners[].http.http_filters[]";
    let later = |name: &&'static str| Word { table: Some(filters), name, hint: "this filter is not supported yet" };
    top.chain(anywhere).chain(placed).chain(FILTERS_LATER.iter().map(later)).collect()
}

/// Adds a hint to each unknown key: what to write instead of a key of another proxy, the most similar key of the table,
/// or the tables that have such a key. A suggested key is not reported as missing in addition.
pub fn explain(problems: &mut Problems<'_>) {
    let list = problems.take();
    let tables = if list.is_empty() { Vec::new() } else { all_tables() };
    let mut suggested: HashSet<(KeyPath, &'static str)> = HashSet::new();
    let mut explained = Vec::with_capacity(list.len());
    let text = problems.text();
    let written = if list.is_empty() { Vec::new() } else { statements(text, text.len()) };
    for problem in list {
        let Some(KeyFault::Unknown { table, place, key }) = problem.key_fault() else {
            explained.push(problem);
            continue;
        };
        if let Some((header, owner, known)) = below_header(&tables, &written, problem.start(), place, key) {
            suggested.insert((table.parent(), known));
            let header_text = header.text(text);
            let owner = if owner.is_empty() { "the top level".to_owned() } else { format!("`{owner}`") };
            let hint = format!("it is a key of {owner}: move it above {header_text}, which takes all lines below it");
            let problem = problem.hint(Some(hint));
            explained.push(
                problem
                    .with_message(|message| format!("{message} in the table of {header_text}"))
                    .earlier_at(header.span.start),
            );
            continue;
        }
        let text = match hint(place, key) {
            Some(hint) => Some(hint.to_owned()),
            None => match similar_key(&tables, place, key, problems) {
                Some(name) => {
                    suggested.insert((table.clone(), name));
                    Some(format!("did you mean `{name}`?"))
                }
                None => misplaced(&tables, key),
            },
        };
        explained.push(problem.hint(text));
    }
    let is_wanted = |problem: &Problem| match problem.key_fault() {
        Some(KeyFault::Missing { table, key }) => !suggested.contains(&(table.clone(), *key)),
        _ => true,
    };
    explained.into_iter().filter(is_wanted).for_each(|problem| problems.push(problem));
}

/// The header that makes the key at `at` one of its table, if a table around that table has such a key.
fn below_header<'s, 't>(
    tables: &[&'static TableSpec],
    written: &'s [Statement<'t>],
    at: usize,
    place: &str,
    key: &str,
) -> Option<(&'s Statement<'t>, &'static str, &'static str)> {
    let index = written.partition_point(|it| it.span.start <= at).checked_sub(1)?;
    let statement = &written[index];
    // Its own key, and not one inside of its value.
    if statement.kind != Kind::Key || at >= statement.span.end || statement.path.last() != Some(&key) {
        return None;
    }
    let header = written[..index].iter().rfind(|it| it.kind != Kind::Key)?;
    // A key that dots lead to is in another table than that of the header.
    if statement.path.len() != header.path.len() + 1 {
        return None;
    }
    let (outer, _) = place.rsplit_once('.')?;
    let spec = tables.iter().find(|spec| spec.place == outer)?;
    let known = spec.keys.iter().find(|known| known.name == key)?;
    Some((header, spec.place, known.name))
}

/// The key of the table declared at `place` that `written` probably stands for.
fn similar_key(
    tables: &[&'static TableSpec],
    place: &str,
    written: &str,
    problems: &mut Problems<'_>,
) -> Option<&'static str> {
    let spec = tables.iter().find(|spec| spec.place == place)?;
    problems.suggest(written, spec.keys.iter().map(|known| known.name))
}

/// The hint for `key`, which the table at `place` does not have.
fn hint(place: &str, key: &str) -> Option<&'static str> {
    if place.ends_with("http_filters[]") && FILTERS_LATER.contains(&key) {
        return Some("this filter is not supported yet");
    }
    if let Some((_, _, hint)) = placed().find(|(table, known, _)| *table == place && *known == key) {
        return Some(hint);
    }
    let top_level = TOP_LEVEL.iter().filter(|_| place.is_empty());
    top_level.chain(ANYWHERE).chain(tls::ANYWHERE).find(|(known, _)| *known == key).map(|(_, hint)| *hint)
}

/// Every hint for one table: table, key and hint.
fn placed() -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    http::PLACED.iter().chain(cluster::FOREIGN).chain(tls::PLACED)
}

/// The tables that have this key, if it exists elsewhere.
fn misplaced(tables: &[&'static TableSpec], key: &str) -> Option<String> {
    let has_key = |spec: &&TableSpec| spec.keys.iter().any(|known| known.name == key);
    let places: Vec<_> = tables.iter().copied().filter(has_key).map(TableSpec::title).take(4).collect();
    if places.is_empty() { None } else { Some(format!("`{key}` is a key of {}", places.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/WORDS.md says what `check` says.
    #[test]
    fn the_page_of_words_has_the_hints_that_people_see() {
        for word in words() {
            let place = word.table.unwrap_or("runtime");
            assert_eq!(hint(place, word.name), Some(word.hint), "{} in {place}", word.name);
        }
    }

    #[test]
    fn no_hint_is_stale_or_shadowed() {
        let anywhere: Vec<_> = ANYWHERE.iter().chain(tls::ANYWHERE).collect();
        for (index, (key, _)) in anywhere.iter().enumerate() {
            let owners: Vec<_> =
                all_tables().into_iter().filter(|table| table.keys.iter().any(|it| it.name == *key)).collect();
            assert!(owners.is_empty(), "`{key}` exists now, in {}: remove its hint", owners[0].title());
            assert!(!anywhere[..index].iter().any(|(earlier, _)| earlier == key), "`{key}` is listed twice");
        }
        for (index, (place, key, _)) in placed().enumerate() {
            let table = all_tables().into_iter().find(|table| table.place == *place);
            let table = table.unwrap_or_else(|| panic!("there is no table {place}"));
            assert!(!table.keys.iter().any(|it| it.name == *key), "{place} has `{key}` now: remove its hint");
            let mut earlier = placed().take(index);
            assert!(!earlier.any(|(table, it, _)| table == place && it == key), "`{key}` of {place} is listed twice");
        }
        for filter in FILTERS_LATER {
            assert!(
                !crate::document::HttpFilter::spec().keys.iter().any(|key| key.name == *filter),
                "{filter} exists now"
            );
        }
    }

    /// `explain` finds a table by its place.
    #[test]
    fn each_place_has_one_table() {
        let mut places: Vec<_> = all_tables().into_iter().map(|table| table.place).collect();
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), count);
    }
}
