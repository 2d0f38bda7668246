//! What HTTP filters, their overrides and the filters of access logs mean: every default, every option.

use std::sync::Arc;
use std::time::Duration;

use ringway_config::load_str;
use ringway_config::model::*;

const CLUSTERS: &str = "\n[[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:8080\"]\n";
const ROUTE: &str = "routes = [{ match = { prefix = \"/\" }, route = { cluster = \"app\" } }]";

/// The configuration whose `http` has these keys.
fn hcm(keys: &str) -> Arc<Hcm> {
    let text = format!("[[listeners]]\naddress = \"127.0.0.1:10000\"\n[listeners.http]\n{keys}\n{CLUSTERS}");
    let config = load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let NetworkFilter::Http(hcm) = &config.listeners[0].filter_chains[0].filter;
    hcm.clone()
}

fn refusal(keys: &str) -> String {
    let text = format!("[[listeners]]\naddress = \"127.0.0.1:10000\"\n[listeners.http]\n{keys}\n{CLUSTERS}");
    load_str("test.toml", &text).map(|_| panic!("accepted: {keys}")).unwrap_err().to_string()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn filters_stand_in_the_order_of_the_file_without_the_router() {
    let hcm = hcm(&format!(
        "http_filters = [{{ buffer = {{ max_request_bytes = \"1MiB\" }} }}, {{ fault = {{ abort = {{ http_status = 503, \
         percent = 1 }} }} }}, {{ local_ratelimit = {{}} }}, {{ router = {{}} }}]\n{ROUTE}"
    ));
    let names: Vec<_> = hcm.http_filters.iter().map(HttpFilter::name).collect();
    assert_eq!(names, ["buffer", "fault", "local_ratelimit"]);
    assert!(matches!(&hcm.http_filters[0], HttpFilter::Buffer(buffer) if buffer.max_request_bytes == 1 << 20));
    for chain in ["[]", "[{ router = {} }]"] {
        assert!(self::hcm(&format!("http_filters = {chain}\n{ROUTE}")).http_filters.is_empty());
    }
}

#[test]
fn a_local_rate_limit_has_defaults() {
    let hcm = hcm(&format!("http_filters = [{{ local_ratelimit = {{}} }}]\n{ROUTE}"));
    let [HttpFilter::LocalRateLimit(limit)] = &hcm.http_filters[..] else { panic!() };
    assert_eq!((limit.stat_prefix.as_str(), limit.token_bucket), ("http_local_rate_limiter", None));
    assert!(limit.rate_limits.is_empty() && limit.descriptors.is_empty());
    assert_eq!((limit.max_dynamic_descriptors, limit.status, limit.x_ratelimit_headers), (10_000, 429, false));
    assert_eq!((limit.enabled.per_million, limit.enforced.per_million), (1_000_000, 1_000_000));
}

#[test]
fn every_part_of_a_local_rate_limit() {
    let hcm = hcm(&format!(
        "http_filters = [{{ local_ratelimit = {{ stat_prefix = \"a\", token_bucket = {{ max_tokens = 9, fill_interval = \"2s\" }}, \
         max_dynamic_descriptors = 5, enabled_percent = 50, enforced_percent = 0, status = 503, x_ratelimit_headers = true, \
         rate_limits = [{{ actions = [{{ remote_address = {{}} }}, {{ request_headers = {{ header_name = \"X-U\", \
         descriptor_key = \"u\" }} }}, {{ generic_key = {{ descriptor_value = \"g\" }} }}, {{ header_value_match = {{ \
         descriptor_value = \"h\", headers = [{{ name = \"x-h\" }}] }} }}] }}], descriptors = [{{ entries = [\
         {{ key = \"remote_address\", value = \"10.0.0.1\" }}, {{ key = \"u\" }}, {{ key = \"generic_key\", value = \"g\" }}, \
         {{ key = \"header_match\" }}], token_bucket = {{ max_tokens = 1, tokens_per_fill = 3, fill_interval = \"1s\" }} }}] }} }}]\n{ROUTE}"
    ));
    let [HttpFilter::LocalRateLimit(limit)] = &hcm.http_filters[..] else { panic!() };
    let bucket = TokenBucket { max_tokens: 9, tokens_per_fill: 1, fill_interval: ms(2_000) };
    assert_eq!((limit.stat_prefix.as_str(), limit.token_bucket), ("a", Some(bucket)));
    assert_eq!((limit.max_dynamic_descriptors, limit.status, limit.x_ratelimit_headers), (5, 503, true));
    assert_eq!((limit.enabled.per_million, limit.enforced.per_million), (500_000, 0));
    let actions = &limit.rate_limits[0].actions;
    assert!(matches!(&actions[0], RateLimitAction::RemoteAddress));
    assert!(matches!(&actions[1], RateLimitAction::RequestHeader { name, key } if name == "x-u" && key == "u"));
    assert!(matches!(&actions[2], RateLimitAction::GenericKey { key, value } if key == "generic_key" && value == "g"));
    let RateLimitAction::HeaderValueMatch { key, value, headers } = &actions[3] else { panic!() };
    assert_eq!((key.as_str(), value.as_str(), headers.len()), ("header_match", "h", 1));
    let entries = &limit.descriptors[0].entries;
    assert_eq!((entries.len(), entries[0].1.as_deref(), entries[1].1.as_deref()), (4, Some("10.0.0.1"), None));
    assert_eq!(limit.descriptors[0].token_bucket.tokens_per_fill, 3);
}

#[test]
fn every_part_of_a_fault() {
    let fault = |keys: &str| {
        let hcm = hcm(&format!("http_filters = [{{ fault = {{ {keys} }} }}]\n{ROUTE}"));
        let [HttpFilter::Fault(fault)] = &hcm.http_filters[..] else { panic!() };
        fault.settings.clone()
    };
    let fixed = fault(
        "delay = { fixed_delay = \"1s\", percent = 10 }, abort = { http_status = 500, percent = 0.0001 }, \
         response_rate_limit = { fixed_limit = \"1KiB\", percent = 100 }, headers = [{ name = \"x-a\" }], \
         upstream_cluster = \"app\", max_active_faults = 0",
    );
    let delay = fixed.delay.unwrap();
    assert!(matches!(delay.kind, FaultDelayKind::Fixed(length) if length == ms(1_000)));
    assert_eq!(delay.percentage.per_million, 100_000);
    let abort = fixed.abort.unwrap();
    assert!(matches!(abort.kind, FaultAbortKind::Status(500)));
    assert_eq!(abort.percentage.per_million, 1);
    assert!(matches!(fixed.response_rate_limit.unwrap().kind, FaultRateLimitKind::Fixed(1024)));
    assert_eq!(
        (fixed.headers.len(), fixed.upstream_cluster.as_deref(), fixed.max_active_faults),
        (1, Some("app"), Some(0))
    );
    let none = fault("");
    assert!(none.delay.is_none() && none.abort.is_none() && none.response_rate_limit.is_none());
    let by_header = fault(
        "delay = { header_delay = {}, percent = 1 }, abort = { header_abort = {}, percent = 1 }, \
         response_rate_limit = { header_limit = {}, percent = 1 }",
    );
    assert!(matches!(by_header.delay.unwrap().kind, FaultDelayKind::Header));
    assert!(matches!(by_header.abort.unwrap().kind, FaultAbortKind::Header));
    assert!(matches!(by_header.response_rate_limit.unwrap().kind, FaultRateLimitKind::Header));
    assert_eq!((by_header.upstream_cluster, by_header.max_active_faults), (None, None));
}

#[test]
fn filters_are_overridden_at_hosts_routes_and_weights() {
    let hcm = hcm("http_filters = [{ buffer = { max_request_bytes = \"1MiB\" } }]\n\
         [[listeners.http.virtual_hosts]]\nname = \"a\"\ndomains = [\"*\"]\nfilters = { buffer = \"off\" }\n\
         routes = [{ match = { prefix = \"/\" }, filters = { buffer = { max_request_bytes = \"2KiB\" } }, \
         route = { weighted_clusters = [{ cluster = \"app\", weight = 1, filters = {} }] } }]");
    let host = &hcm.virtual_hosts[0];
    assert!(matches!(host.filters.buffer, FilterOverride::Disabled));
    assert!(matches!(host.filters.fault, FilterOverride::None));
    let route = &host.routes[0];
    assert!(matches!(&route.filters.buffer, FilterOverride::Settings(buffer) if buffer.max_request_bytes == 2_048));
    let RouteAction::Forward(forward) = &route.action else { panic!() };
    let ClusterTarget::Weighted(clusters) = &forward.target else { panic!() };
    assert!(clusters[0].filters.is_empty());
}

#[test]
fn what_is_missing_is_not_reported_where_a_key_was_misspelt() {
    let refused = refusal(&format!("http_filtres = [{{ buffer = {{ max_request_bytes = \"1MiB\" }} }}]\n{ROUTE}"));
    assert!(refused.contains("did you mean `http_filters`?"), "{refused}");
    let route =
        "routes = [{ match = { prefix = \"/\" }, route = { cluster = \"app\" }, filters = { buffer = \"off\" } }]";
    let refused = refusal(&format!("http_filtres = []\n{route}"));
    assert!(refused.ends_with("\n1 problem\n"), "the chain is not known: {refused}");
    assert!(refusal(route).contains("there is no filter `buffer` in `http_filters`"));
}

#[test]
fn log_filters() {
    let filter = |filter: &str| {
        let hcm = hcm(&format!("access_log = [{{ path = \"/dev/stdout\", filter = {{ {filter} }} }}]\n{ROUTE}"));
        format!("{:?}", hcm.access_logs[0].filter.clone().unwrap())
    };
    assert_eq!(filter("status = { at_least = 500 }"), "Status { op: AtLeast, value: 500 }");
    assert_eq!(filter("status = { equal = 0 }"), "Status { op: Equal, value: 0 }");
    assert_eq!(filter("duration = { at_most = \"250ms\" }"), "Duration { op: AtMost, value: 250ms }");
    assert_eq!(filter("response_flags = [\"UF\", \"UO\"]"), "ResponseFlag([\"UF\", \"UO\"])");
    assert_eq!(filter("response_flags = []"), "ResponseFlag([])");
    assert_eq!(filter("sample_percent = 1"), "Sample(Fraction { per_million: 10000 })");
    assert!(filter("header = { name = \"X-A\" }").starts_with("Header(HeaderMatch { name: \"x-a\", kind: Present"));
    let nested = filter(
        "not = { or = [{ and = [{ sample_percent = 1 }, { response_flags = [] }] }, { not = { sample_percent = 2 } }] }",
    );
    let expected = "Not(Or([And([Sample(Fraction { per_million: 10000 }), ResponseFlag([])]), \
                    Not(Sample(Fraction { per_million: 20000 }))]))";
    assert_eq!(nested, expected);
    assert!(hcm(&format!("access_log = [{{ path = \"/dev/stdout\" }}]\n{ROUTE}")).access_logs[0].filter.is_none());
}

#[test]
fn a_compressor_has_defaults() {
    let hcm = hcm(&format!("http_filters = [{{ compressor = {{}} }}, {{ decompressor = {{}} }}]\n{ROUTE}"));
    let [HttpFilter::Compressor(compressor), HttpFilter::Decompressor(decompressor)] = &hcm.http_filters[..] else {
        panic!()
    };
    assert_eq!(compressor.libraries, [CompressorSettings::Gzip { level: 4, window_bits: 14 }]);
    let response = compressor.response.as_ref().expect("responses are compressed");
    assert_eq!((response.min_content_length, response.content_type.len()), (30, 10));
    assert!(response.content_type.iter().any(|it| it == "text/html"));
    assert!(!response.disable_on_etag_header && !response.remove_accept_encoding_header);
    assert!(response.uncompressible_response_codes.is_empty() && compressor.request.is_none());
    assert_eq!(decompressor.libraries, [Coding::Gzip, Coding::Brotli, Coding::Zstd]);
    assert!(decompressor.advertise_accept_encoding);
    assert_eq!((decompressor.max_output_bytes, decompressor.max_inflate_ratio), (Some(1 << 30), 100));
    for direction in [decompressor.request, decompressor.response] {
        assert!(!direction.expect("both directions").ignore_no_transform);
    }
}

#[test]
fn every_part_of_a_compressor() {
    let hcm = hcm(&format!(
        "http_filters = [{{ compressor = {{ compressor_library = [{{ zstd = {{ compression_level = 9 }} }}, {{ brotli = \
         {{ quality = 0 }} }}, {{ gzip = {{ compression_level = 1, window_bits = 9 }} }}], response = \"off\", request = {{ \
         min_content_length = 5, content_type = [\"Text/*\"] }} }} }}, {{ decompressor = {{ decompressor_library = \
         [\"zstd\"], request = \"off\", response = {{ ignore_no_transform_header = true }}, advertise_accept_encoding = \
         false, max_output_bytes = \"off\", max_inflate_ratio = 7 }} }}]\n{ROUTE}"
    ));
    let [HttpFilter::Compressor(compressor), HttpFilter::Decompressor(decompressor)] = &hcm.http_filters[..] else {
        panic!()
    };
    assert_eq!(
        compressor.libraries,
        [
            CompressorSettings::Zstd { level: 9 },
            CompressorSettings::Brotli { quality: 0 },
            CompressorSettings::Gzip { level: 1, window_bits: 9 }
        ]
    );
    let request = compressor.request.as_ref().expect("requests are compressed");
    assert!(compressor.response.is_none() && request.min_content_length == 5 && request.content_type == ["text/*"]);
    assert!(decompressor.request.is_none() && decompressor.response.is_some_and(|it| it.ignore_no_transform));
    assert_eq!((&decompressor.libraries[..], decompressor.advertise_accept_encoding), (&[Coding::Zstd][..], false));
    assert_eq!((decompressor.max_output_bytes, decompressor.max_inflate_ratio), (None, 7));
}

#[test]
fn methods_of_grpc_are_counted_as_the_filter_says() {
    let stats = |keys: &str| {
        let hcm = hcm(&format!("http_filters = [{{ grpc_stats = {{ {keys} }} }}]\n{ROUTE}"));
        let [HttpFilter::GrpcStats(stats)] = &hcm.http_filters[..] else { panic!() };
        (stats.methods.clone(), stats.enable_upstream_stats)
    };
    assert_eq!(stats(""), (GrpcMethods::Listed(Vec::new()), false));
    assert_eq!(
        stats("stats_for_all_methods = true, enable_upstream_stats = true"),
        (GrpcMethods::All { max: 500 }, true)
    );
    assert_eq!(stats("stats_for_all_methods = true, max_methods = 7").0, GrpcMethods::All { max: 7 });
    let list = "individual_method_stats_allowlist = { services = [{ name = \"a.B\", method_names = [\"C\", \"D\"] }] }";
    let named = |method: &str| ("a.B".to_owned(), method.to_owned());
    assert_eq!(stats(list).0, GrpcMethods::Listed(vec![named("C"), named("D")]));
}

#[test]
fn grpc_web_bounds_its_names() {
    for (keys, max) in [("", 500), ("max_methods = 3", 3)] {
        let hcm = hcm(&format!("http_filters = [{{ grpc_web = {{ {keys} }} }}]\n{ROUTE}"));
        assert!(matches!(&hcm.http_filters[..], [HttpFilter::GrpcWeb(web)] if web.max_methods == max));
    }
}
