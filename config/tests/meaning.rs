//! What right files mean: the model that the engine gets.

use std::time::Duration;

use ringway_config::load_str;
use ringway_config::model::*;

const CLUSTER: &str = "\n[[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:8080\"]\n";

fn load(text: &str) -> Config {
    load_str("test.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The configuration with one listener that has these keys, and the cluster `app`.
fn with_listener(keys: &str) -> Config {
    load(&format!("[[listeners]]\naddress = \"127.0.0.1:10000\"\n{keys}\n{CLUSTER}"))
}

fn hcm(config: &Config, chain: usize) -> &Hcm {
    let NetworkFilter::Http(hcm) = &config.listeners[0].filter_chains[chain].filter;
    hcm
}

/// All of a configuration as text, but where things stand in the file.
fn without_places(config: &Config) -> String {
    let text = format!("{config:?}");
    let mut parts = text.split("Place { line: ");
    let mut rest: String = parts.next().unwrap().into();
    parts.for_each(|part| rest.push_str(part.split_once('}').unwrap().1));
    rest
}

fn only_route(route: &str) -> Route {
    let config = with_listener(&format!("http.routes = [{route}]"));
    hcm(&config, 0).virtual_hosts[0].routes[0].clone()
}

#[test]
fn the_smallest_file_has_every_default() {
    let config = with_listener("http.routes = [{ match = { prefix = \"/\" }, route = { cluster = \"app\" } }]");
    let runtime = &config.runtime;
    assert_eq!((&runtime.shards, runtime.placement), (&Shards::Auto, Placement::Spread));
    assert_eq!((runtime.ring_entries, runtime.buffer_count, runtime.buffer_size), (1024, 1024, 16 << 10));
    assert_eq!(
        (runtime.backlog, runtime.drain_time, runtime.drain_delay),
        (4096, Duration::from_secs(30), Duration::ZERO)
    );
    assert_eq!((runtime.max_connections, runtime.splice_threshold), (None, Some(64 << 10)));
    assert_eq!((runtime.compression_memory, runtime.loopback_pacing), (64 << 20, false));
    assert_eq!((runtime.access_log_flush_interval, runtime.log.as_str()), (Duration::from_secs(1), "info"));
    assert!(config.admin.is_none());

    let listener = &config.listeners[0];
    assert_eq!((listener.name.as_str(), listener.stat_prefix.as_str()), ("127.0.0.1:10000", "127.0.0.1_10000"));
    assert_eq!((listener.filter_chains.len(), listener.max_connections), (1, None));
    assert!(listener.filter_chains[0].matcher.is_none());

    let hcm = hcm(&config, 0);
    assert_eq!(hcm.stat_prefix, "ingress_http");
    assert!(hcm.http_filters.is_empty());
    assert!(hcm.access_logs.is_empty());
    assert_eq!(hcm.timeouts.idle, Some(Duration::from_secs(3600)));
    assert_eq!(hcm.timeouts.request_headers, Some(Duration::from_secs(10)));
    assert_eq!((hcm.timeouts.request, hcm.timeouts.max_connection_duration), (None, None));
    assert_eq!(hcm.timeouts.stream_idle, Some(Duration::from_secs(300)));
    let limits = &hcm.limits;
    assert_eq!((limits.max_headers_size, limits.max_headers_count, limits.max_path_size), (60 << 10, 100, 16 << 10));
    assert_eq!((limits.max_request_body, limits.buffer_limit), (None, 256 << 10));
    assert_eq!((limits.min_request_body_rate, hcm.timeouts.send), (24, Some(Duration::from_secs(60))));
    assert_eq!((limits.max_requests_per_connection, limits.enable_trailers), (None, false));
    let headers = &hcm.headers;
    assert_eq!((headers.server_name.as_str(), headers.server_header), ("ringway", ServerHeader::Overwrite));
    assert!(headers.via.is_none() && headers.x_forwarded_for && headers.x_forwarded_proto);
    assert!(headers.x_request_id && headers.x_envoy_upstream_service_time && headers.x_envoy_original_host);

    let host = &hcm.virtual_hosts[0];
    assert_eq!((host.name.as_str(), &host.domains[..]), ("default", &["*".to_owned()][..]));
    let RouteAction::Forward(forward) = &host.routes[0].action else { panic!("not forwarded") };
    assert!(matches!(forward.target, ClusterTarget::Cluster(0)));
    assert_eq!((forward.timeout, forward.response_head_timeout), (None, Some(Duration::from_secs(60))));
    assert!(host.routes[0].matcher.case_sensitive);

    let cluster = &config.clusters[0];
    assert_eq!(cluster.lb_policy, LbPolicy::RoundRobin { slow_start: None });
    assert_eq!(cluster.connect_timeout, Duration::from_secs(5));
    assert_eq!(cluster.idle_timeout, Some(Duration::from_secs(3600)));
    assert_eq!((cluster.max_idle_connections, cluster.max_requests_per_connection), (1024, None));
    let [endpoint] = &cluster.endpoints[..] else { panic!("not one endpoint") };
    assert_eq!(endpoint.target, EndpointTarget::Address(Address::Ip(([127, 0, 0, 1], 8080).into())));
    assert_eq!((endpoint.weight, endpoint.priority), (1, 0));
}

#[test]
fn everything_can_be_switched_off() {
    let config = load(&format!(
        "[runtime]\nsplice_threshold = \"off\"\ndrain_time = \"0s\"\ndrain_delay = \"5s\"\n\
         [[listeners]]\naddress = \"[::1]:0\"\n[listeners.http]\nidle_timeout = \"off\"\nstream_idle_timeout = \"0s\"\n\
         request_headers_timeout = \"0ms\"\nmax_requests_per_connection = \"off\"\n\
         routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\", timeout = \"0s\" }} }}]\n{CLUSTER}"
    ));
    assert_eq!((config.runtime.splice_threshold, config.runtime.drain_time), (None, Duration::ZERO));
    assert_eq!(config.runtime.drain_delay, Duration::from_secs(5));
    assert_eq!(config.listeners[0].stat_prefix, "[__1]_0");
    let timeouts = &hcm(&config, 0).timeouts;
    assert_eq!((timeouts.idle, timeouts.stream_idle, timeouts.request_headers), (None, None, None));
    let RouteAction::Forward(forward) = &hcm(&config, 0).virtual_hosts[0].routes[0].action else { panic!() };
    assert_eq!(forward.timeout, None);
}

#[test]
fn the_long_form_means_what_the_short_form_does() {
    let route = "{ match = { prefix = \"/\" }, route = { cluster = \"app\" } }";
    let short = with_listener(&format!("http.routes = [{route}]"));
    let long = with_listener(&format!(
        "[[listeners.filter_chains]]\nname = \"default\"\n\
         [[listeners.filter_chains.http.virtual_hosts]]\nname = \"default\"\ndomains = [\"*\"]\nroutes = [{route}]"
    ));
    assert_eq!(without_places(&short), without_places(&long));
}

#[test]
fn filter_chains_keep_their_order_and_matches() {
    let http = "http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]";
    let config = with_listener(&format!(
        "[[listeners.filter_chains]]\nmatch = {{ source_prefix_ranges = [\"10.0.0.0/8\", \"::1\"], destination_ports = [80] }}\n\
         {http}\n[[listeners.filter_chains]]\nname = \"rest\"\n{http}"
    ));
    let chains = &config.listeners[0].filter_chains;
    assert_eq!((chains[0].name.as_str(), chains[1].name.as_str()), ("filter_chain_0", "rest"));
    let matcher = chains[0].matcher.as_ref().unwrap();
    let lengths: Vec<_> = matcher.source_prefix_ranges.iter().map(|range| range.prefix_len).collect();
    assert_eq!((lengths, &matcher.destination_ports[..]), (vec![8, 128], &[80][..]));
    assert!(chains[1].matcher.is_none());
}

#[test]
fn clusters_are_found_by_name_wherever_they_stand() {
    let config = load(
        "[[clusters]]\nname = \"a\"\nendpoints = [\"unix:/run/a\"]\n\
         [[listeners]]\naddress = \"127.0.0.1:1\"\nhttp.routes = [{ match.prefix = \"/\", route.cluster = \"b\" }]\n\
         [[clusters]]\nname = \"b\"\nendpoints = [{ address = \"127.0.0.1:1\", weight = 128 }, \"[::1]:2\"]\n",
    );
    let RouteAction::Forward(forward) = &hcm(&config, 0).virtual_hosts[0].routes[0].action else { panic!() };
    assert!(matches!(forward.target, ClusterTarget::Cluster(1)));
    assert_eq!(config.clusters[1].name, "b");
    assert_eq!(config.clusters[0].endpoints[0].target, EndpointTarget::Address(Address::Unix("/run/a".into())));
    assert_eq!(config.clusters[1].endpoints[0].weight, 128);
}

#[test]
fn patterns_match_the_whole_path_as_bytes() {
    let route = only_route("{ match = { regex = '/a|/b.*' }, direct_response = { status = 200 } }");
    let PathMatch::Regex(pattern) = &route.matcher.path else { panic!("not a pattern") };
    for (path, expected) in [(&b"/a"[..], true), (b"/ax", false), (b"x/a", false), (b"/b\xff", true), (b"/a\n", false)]
    {
        assert_eq!(pattern.is_match(path), expected, "{path:?}");
    }
}

#[test]
fn matches_are_lowered_where_case_does_not_count() {
    let route = only_route(
        "{ match = { path_separated_prefix = \"/Api\", case_sensitive = false, methods = [\"GET\", \"purge\"], headers = [\
         { name = \"X-A\", exact = \"Yes\" }, { name = \"X-B\" }, { name = \"x-c\", present = false }, \
         { name = \"x-d\", present = false, invert = true }] }, direct_response = { status = 200 } }",
    );
    assert!(matches!(&route.matcher.path, PathMatch::PathSeparatedPrefix(prefix) if prefix == "/Api"));
    assert!(!route.matcher.case_sensitive);
    assert_eq!(route.matcher.methods, ["GET", "purge"]);
    let headers = &route.matcher.headers;
    let HeaderMatchKind::Value(StringMatch { kind: StringMatchKind::Exact(value), ignore_case: false }) =
        &headers[0].kind
    else {
        panic!("{:?}", headers[0])
    };
    assert_eq!((headers[0].name.as_str(), value.as_str(), headers[0].invert), ("x-a", "Yes", false));
    let inverted: Vec<_> = headers[1..].iter().map(|header| header.invert).collect();
    assert_eq!(inverted, [false, true, false]);
    assert!(headers[1..].iter().all(|header| matches!(header.kind, HeaderMatchKind::Present)));

    let config = with_listener(
        "http.virtual_hosts = [{ name = \"a\", domains = [\"A.Example.COM\", \"*.B.com\", \"c.*\", \"[::1]\"], routes = [] }]",
    );
    assert_eq!(hcm(&config, 0).virtual_hosts[0].domains, ["a.example.com", "*.b.com", "c.*", "[::1]"]);
}

#[test]
fn answers_without_an_upstream() {
    let route = only_route("{ match = { prefix = \"/\" }, direct_response = { status = 503, body = \"down\\n\" } }");
    let RouteAction::DirectResponse(direct) = route.action else { panic!() };
    assert_eq!((direct.status, &direct.body[..], direct.content_type.as_str()), (503, &b"down\n"[..], "text/plain"));

    let route = only_route(
        "{ match = { prefix = \"/\" }, redirect = { scheme = \"https\", port = 8443, path = \"/a?b\", status = 307, strip_query = true } }",
    );
    let RouteAction::Redirect(redirect) = route.action else { panic!() };
    assert_eq!((redirect.scheme.as_deref(), redirect.host, redirect.port), (Some("https"), None, Some(8443)));
    assert!(matches!(redirect.path, Some(RedirectPath::Path(path)) if path == "/a?b"));
    assert_eq!((redirect.status, redirect.strip_query), (307, true));
}

#[test]
fn a_body_file_is_read_beside_the_configuration() {
    let directory = std::env::temp_dir().join(format!("ringway-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("page.html"), "<p>hello").unwrap();
    let file = directory.join("proxy.toml");
    let route = |name: &str| {
        format!(
            "[[listeners]]\naddress = \"127.0.0.1:1\"\nhttp.routes = [{{ match.prefix = \"/\", \
             direct_response = {{ status = 200, body_file = \"{name}\" }} }}]\n"
        )
    };
    std::fs::write(&file, route("page.html")).unwrap();
    let loaded = ringway_config::load_file(&file);
    let refused = load_str(file.to_str().unwrap(), &route("../"));
    let device = load_str(file.to_str().unwrap(), &route("/dev/zero"));
    std::fs::remove_dir_all(&directory).unwrap();
    let RouteAction::DirectResponse(direct) = &hcm(&loaded.unwrap(), 0).virtual_hosts[0].routes[0].action.clone()
    else {
        panic!()
    };
    assert_eq!(direct.body, b"<p>hello");
    assert!(refused.is_err());
    assert!(device.unwrap_err().to_string().contains("not a regular file"));
}

#[test]
fn access_logs_are_compiled_in_the_order_of_the_file() {
    let config = with_listener(
        "http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n\
         http.access_log = [{ path = \"/dev/stdout\", json = { z = \"%PROTOCOL%\", a = \"x\" } }, { path = \"a.log\" }]",
    );
    let logs = &hcm(&config, 0).access_logs;
    assert_eq!((&logs[0].sink, &logs[1].sink), (&AccessLogSink::Stdout, &AccessLogSink::File("a.log".into())));
    let AccessLogFormat::Json(pairs) = &logs[0].format else { panic!("not JSON") };
    assert_eq!(pairs[0], ("z".to_owned(), vec![FormatPiece::Operator(CommandOperator::Protocol)]));
    assert_eq!(pairs[1], ("a".to_owned(), vec![FormatPiece::Literal("x".into())]));
    let AccessLogFormat::Text(pieces) = &logs[1].format else { panic!("not text") };
    assert!(pieces.len() > 20, "the default line");
}

#[test]
fn listeners_log_connections() {
    let config = load(include_str!("../../docs/examples/connection-log.toml"));
    assert!(config.warnings.is_empty(), "the clusters are used: {:?}", config.warnings);
    let [json, failed, service] = &config.listeners[0].access_logs[..] else { panic!("three") };
    let AccessLogFormat::Json(pairs) = &json.format else { panic!("not JSON") };
    let requests = vec![FormatPiece::Operator(CommandOperator::ConnectionRequests)];
    assert!(pairs.contains(&("requests".to_owned(), requests)), "{pairs:?}");
    assert!(json.filter.is_none() && hcm(&config, 0).access_logs.is_empty());
    assert!(matches!(&failed.filter, Some(AccessLogFilter::ResponseFlag(flags)) if flags.is_empty()));
    let AccessLogFormat::Text(pieces) = &failed.format else { panic!("not text") };
    let details = FormatPiece::Operator(CommandOperator::ConnectionTerminationDetails);
    assert!(pieces.contains(&details), "the default line");
    let (AccessLogSink::Export(export), AccessLogFormat::Fields(fields)) = (&service.sink, &service.format) else {
        panic!("{service:?}")
    };
    assert_eq!(export.to.path, "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs");
    assert_eq!(export.kind, LogExportKind::TcpService { log_name: "connections".into() });
    assert_eq!((export.to.timeout, fields.len()), (Duration::from_secs(5), CONNECTION_FIELDS.len()));
    let config = with_listener(
        "http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n\
         access_log = [{ path = \"/dev/stdout\", filter = { and = [{ duration = { at_least = \"2s\" } }, \
         { or = [{ sample_percent = 5 }, { not = { response_flags = [\"NR\"] } }] }] } }]",
    );
    let log = &config.listeners[0].access_logs[0];
    assert_eq!(
        format!("{:?}", log.filter),
        "Some(And([Duration { op: AtLeast, value: 2s }, Or([Sample(Fraction { per_million: 50000 }), \
         Not(ResponseFlag([\"NR\"]))])]))"
    );
    assert!(
        load(
            "[[listeners]]\naddress = \"127.0.0.1:1\"\nhttp.routes = [{ match = { prefix = \"/\" }, \
                  direct_response = { status = 200 } }]"
        )
        .listeners[0]
            .access_logs
            .is_empty()
    );
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let missing = ringway_config::load_file("no/such/file.toml").unwrap_err().to_string();
    assert!(missing.starts_with("no/such/file.toml: cannot read the configuration: "), "{missing}");
    let path = std::env::temp_dir().join(format!("ringway-config-{}.toml", std::process::id()));
    std::fs::write(&path, b"[admin]\naddress = \"\xff\"\n").unwrap();
    let refused = ringway_config::load_file(&path).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(refused.contains(":2:12: the file is not UTF-8 from here on"), "{refused}");
}

#[test]
fn braces_may_span_lines() {
    let route =
        only_route("{\n  match = {\n    prefix = \"/\", # every path\n  },\n  direct_response = { status = 200 },\n}");
    assert!(matches!(&route.matcher.path, PathMatch::Prefix(prefix) if prefix == "/"));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_no_harm() {
    let text = "[[listeners]]\r\naddress = \"127.0.0.1:1\"\r\n\
                http.routes = [{ match.prefix = \"/\", direct_response.status = 200 }]\r\n";
    assert_eq!(load(&format!("\u{feff}{text}")).listeners.len(), 1);
    let refused = load_str("x.toml", &format!("\u{feff}x = 1\r\n{text}")).unwrap_err().to_string();
    assert!(refused.contains("1 | \u{feff}x = 1\n") || refused.contains("1 | x = 1\n"), "{refused}");
}

#[test]
fn sockets_have_a_mode_and_an_owner_where_they_are_written() {
    let routes = "http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]";
    let text = format!(
        "[admin]\nsocket_group = \"12\"\naddress = \"unix:/run/admin.sock\"\nallowed_hosts = [\"Ringway\", \"*.Svc\"]\n\
         [[listeners]]\naddress = \"unix:/run/a.sock\"\nsocket_mode = \"640\"\nsocket_user = \"www-data\"\n{routes}\n\
         [[listeners]]\naddress = \"unix:/run/b.sock\"\n{routes}\n"
    );
    let config = load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let access = |mode, user: Option<&str>, group: Option<&str>| SocketAccess {
        mode,
        user: user.map(Into::into),
        group: group.map(Into::into),
    };
    assert_eq!(config.listeners[0].access, access(Some(0o640), Some("www-data"), None));
    assert_eq!(config.listeners[1].access, SocketAccess::default());
    let admin = config.admin.unwrap();
    assert_eq!(admin.access, access(None, None, Some("12")));
    assert_eq!(admin.allowed_hosts, ["ringway", "*.svc"]);
}

#[test]
fn local_replies_say_a_status_a_body_or_both() {
    let dir = std::env::temp_dir().join(format!("ringway-local-reply-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("ringway.toml");
    let load = |page: &str, replies: &str| {
        std::fs::write(dir.join("page.html"), page).unwrap();
        let text = format!(
            "[[listeners]]\naddress = \"127.0.0.1:10000\"\n[listeners.http]\n\
             routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }}]\nlocal_reply = [{replies}]\n"
        );
        std::fs::write(&file, text).unwrap();
        ringway_config::load_file(&file)
    };
    let config = load(
        "<p>100%% %PROTOCOL% %TLS_JA4_FINGERPRINT%</p>\n",
        "{ filter = { status = { equal = 404 } }, body_file = \"page.html\" }, { status_code = 503, json = { a = \"b\" } }",
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    let [page, json] = &hcm(&config, 0).local_replies[..] else { panic!("not two") };
    assert!(matches!(page.filter, Some(AccessLogFilter::Status { op: ComparisonOp::Equal, value: 404 })));
    assert_eq!((page.status, &*page.content_type), (None, "text/html"));
    let Some(AccessLogFormat::Text(pieces)) = &page.body else { panic!("no text") };
    assert_eq!(pieces[0], FormatPiece::Literal("<p>100% ".into()));
    assert_eq!(pieces[1], FormatPiece::Operator(CommandOperator::Protocol));
    assert_eq!(config.listeners[0].fingerprints, TlsFingerprints { ja3: false, ja4: true });
    assert!(json.filter.is_none());
    assert_eq!((json.status, &*json.content_type), (Some(503), "application/json"));
    assert!(matches!(&json.body, Some(AccessLogFormat::Json(pairs)) if pairs.len() == 1));
    // What is wrong in the file is said with its line.
    let refused = load("<p>\nwidth: 60%;\n", "{ body_file = \"page.html\" }").unwrap_err().to_string();
    assert!(refused.contains("line 2 of") && refused.contains("page.html"), "{refused}");
    std::fs::remove_dir_all(dir).unwrap();
}

/// With port 0 the address alone does not tell them apart.
#[test]
fn listeners_with_port_0_have_bindings_of_their_own() {
    let listener = |address: &str| {
        format!(
            "[[listeners]]\naddress = \"{address}\"\n\
             http.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }}]\n"
        )
    };
    let text: String = ["127.0.0.1:0", "127.0.0.1:80", "127.0.0.1:0", "[::1]:0"].map(listener).concat();
    let config = ringway_config::load_str("test", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let nth: Vec<_> = config.listeners.iter().map(|listener| listener.binding().nth).collect();
    assert_eq!(nth, [0, 0, 1, 0]);
}

const ROUTES: &str = "http.routes = [{ match = { prefix = \"/\" }, route = { cluster = \"app\" } }]";

fn stats(keys: &str) -> Stats {
    let text = format!("[stats]\n{keys}\n[[listeners]]\naddress = \"127.0.0.1:10000\"\n{ROUTES}\n{CLUSTER}");
    load(&text).stats.expect("it is written")
}

#[test]
fn statistics_are_sent_to_sinks() {
    assert!(with_listener(ROUTES).stats.is_none());
    let defaults = stats("sinks = [{ statsd = { address = \"127.0.0.1:8125\" } }]");
    let target = EndpointTarget::Address(Address::Ip("127.0.0.1:8125".parse().unwrap()));
    let statsd =
        Statsd { dialect: StatsdDialect::Plain, target, prefix: "ringway".into(), max_bytes_per_datagram: 1432 };
    assert_eq!(defaults.flush_interval, Duration::from_secs(5));
    assert_eq!(defaults.sinks, [StatsSink::Statsd(statsd)]);
    let written = stats(
        "flush_interval = \"1m\"\nsinks = [{ statsd = { address = \"unix:/run/dsd.sock\" } }, \
         { dog_statsd = { address = \"Agent:8125\", prefix = \"envoy\", max_bytes_per_datagram = 512 } }]",
    );
    let target = EndpointTarget::Name { host: "agent".into(), port: 8125 };
    let datadog =
        Statsd { dialect: StatsdDialect::Datadog, target, prefix: "envoy".into(), max_bytes_per_datagram: 512 };
    assert_eq!((written.flush_interval, written.sinks.len()), (Duration::from_secs(60), 2));
    assert_eq!(written.sinks[1], StatsSink::Statsd(datadog));
}

#[test]
fn statistics_are_sent_to_collectors() {
    let otlp = |keys: &str| {
        let StatsSink::Otlp(sink) =
            stats(&format!("sinks = [{{ otlp = {{ cluster = \"app\", {keys} }} }}]")).sinks.remove(0)
        else {
            panic!("another sink")
        };
        sink
    };
    let to = Destination {
        cluster: "app".into(),
        host: "app".into(),
        path: "/v1/metrics".into(),
        headers: Vec::new(),
        timeout: Duration::from_secs(5),
    };
    let defaults = OtlpStats {
        to: to.clone(),
        protocol: OtlpProtocol::Http,
        service_name: "ringway".into(),
        attributes: Vec::new(),
        prefix: "ringway".into(),
        temporality: Temporality::Cumulative,
    };
    assert_eq!(otlp(""), defaults);
    let written = otlp(
        "host = \"a.example\", path = \"/in\", service_name = \"edge\", attributes = { zone = \"a\" }, prefix = \"envoy\", \
         temporality = \"delta\", timeout = \"1s\", headers = { X-Tenant = \"shop 1\" }",
    );
    let expected = OtlpStats {
        to: Destination {
            host: "a.example".into(),
            path: "/in".into(),
            headers: vec![("x-tenant".into(), Secret("shop 1".into()))],
            timeout: Duration::from_secs(1),
            ..to
        },
        service_name: "edge".into(),
        attributes: vec![("zone".into(), "a".into())],
        prefix: "envoy".into(),
        temporality: Temporality::Delta,
        ..defaults
    };
    assert_eq!(written, expected);
    let text = "[stats]\nsinks = [{ otlp = { cluster = \"c\", protocol = \"grpc\" } }]\n[[clusters]]\nname = \"c\"\n\
                endpoints = [\"127.0.0.1:4317\"]\nprotocol = \"http2\"\n[[listeners]]\naddress = \"127.0.0.1:10000\"\n\
                http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n";
    let config = load(text);
    let Some(StatsSink::Otlp(grpc)) = config.stats.as_ref().map(|stats| &stats.sinks[0]) else {
        panic!("another sink")
    };
    assert_eq!(grpc.to.path, "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
    assert!(config.warnings.is_empty(), "the cluster is used: {:?}", config.warnings);
}

#[test]
fn access_logs_go_to_programs_elsewhere() {
    let config = load(include_str!("../../docs/examples/access-log-export.toml"));
    assert!(config.warnings.is_empty(), "the clusters are used: {:?}", config.warnings);
    let exports: Vec<_> = hcm(&config, 0)
        .access_logs
        .iter()
        .map(|log| match (&log.sink, &log.format) {
            (AccessLogSink::Export(export), AccessLogFormat::Fields(fields)) => (export, fields),
            other => panic!("{other:?}"),
        })
        .collect();
    let [(otlp, otlp_fields), (service, service_fields)] = exports[..] else { panic!("two") };
    assert_eq!(
        (otlp.to.path.as_str(), otlp.to.host.as_str(), otlp.to.timeout),
        ("/v1/logs", "collector", Duration::from_secs(5))
    );
    let kind = LogExportKind::Otlp {
        protocol: OtlpProtocol::Http,
        service_name: "edge".into(),
        resource: Vec::new(),
        attributes: vec!["http.response.status_code".into(), "url.path".into()],
    };
    assert_eq!((&otlp.kind, otlp_fields.len()), (&kind, OTLP_FIELDS.len() + 3));
    let body = &otlp_fields[OTLP_FIELDS.len()];
    assert!(matches!(body.last(), Some(FormatPiece::Operator(CommandOperator::ResponseCode))), "no line end: {body:?}");
    assert_eq!(service.to.path, "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs");
    let kind = LogExportKind::Service {
        log_name: "failures".into(),
        request_headers: vec!["x-tenant".into()],
        response_headers: Vec::new(),
    };
    assert_eq!((&service.kind, service_fields.len()), (&kind, SERVICE_FIELDS.len() + 1));
    assert!(hcm(&config, 0).access_logs[1].filter.is_some());
}
