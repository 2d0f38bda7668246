//! What the tables of a cluster mean: the model that the engine gets.

use std::time::Duration;

use ringway_config::load_str;
use ringway_config::model::*;

const STATUS_OK: std::ops::Range<u16> = 200..201;

const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:10000\"\n\
                        http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n";

fn load(text: &str) -> Config {
    load_str("conf/test.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The cluster `app` with these keys.
fn cluster(keys: &str) -> Cluster {
    load(&format!("{LISTENER}[[clusters]]\nname = \"app\"\n{keys}\n")).clusters.remove(0)
}

/// The cluster with one static endpoint and these keys.
fn with_endpoint(keys: &str) -> Cluster {
    cluster(&format!("endpoints = [\"127.0.0.1:8080\"]\n{keys}"))
}

fn problems(keys: &str) -> String {
    load_str("test.toml", &format!("{LISTENER}[[clusters]]\nname = \"app\"\n{keys}\n")).unwrap_err().to_string()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_cluster_has_every_default() {
    let cluster = with_endpoint("");
    assert_eq!((cluster.name.as_str(), &cluster.discovery), ("app", &Discovery::Static));
    assert_eq!(cluster.lb_policy, LbPolicy::RoundRobin { slow_start: None });
    let expected = LoadBalancing {
        panic_threshold: None,
        fail_traffic_on_panic: false,
        overprovisioning_factor: 140,
        locality_weights: None,
        subsets: None,
        hash_balance_factor: None,
    };
    assert_eq!(cluster.load_balancing, expected);
    assert!(cluster.health_checks.is_empty() && cluster.outlier_detection.is_none());
    assert_eq!(cluster.circuit_breakers, [CircuitBreakers::default(), CircuitBreakers::default()]);
    assert_eq!((cluster.connect_timeout, cluster.idle_timeout), (secs(5), Some(secs(3600))));
    assert_eq!((cluster.max_idle_connections, cluster.max_requests_per_connection), (1024, None));
    let expected = Endpoint {
        place: Place::default(),
        target: EndpointTarget::Address(Address::Ip(([127, 0, 0, 1], 8080).into())),
        weight: 1,
        priority: 0,
        locality: String::new(),
        metadata: Vec::new(),
        hostname: None,
        health_check_port: None,
    };
    assert_eq!(cluster.endpoints, [expected]);
}

#[test]
fn places_are_those_of_the_file() {
    let cluster = cluster(
        "endpoints = [\"127.0.0.1:1\", { address = \"127.0.0.1:2\" }]\n\
         health_checks = [{ tcp = {} }]\n[clusters.outlier_detection]",
    );
    let place = |place: Place| (place.line, place.column);
    assert_eq!(place(cluster.place), (4, 1));
    assert_eq!(place(cluster.endpoints[0].place), (6, 14));
    assert_eq!(place(cluster.endpoints[1].place), (6, 29));
    assert_eq!(place(cluster.health_checks[0].place), (7, 18));
    assert_eq!(place(cluster.outlier_detection.unwrap().place), (8, 11));
}

#[test]
fn endpoints_have_all_that_is_written() {
    let cluster = cluster(
        "endpoints = [\"[::1]:1\", \"unix:/run/a.sock\", { address = \"127.0.0.1:2\", weight = 1000000, priority = 1, \
         locality = \"b\", metadata = { version = \"2\", stage = \"canary\" }, hostname = \"app.internal:80\", \
         health_check_port = 81 }]",
    );
    assert_eq!(cluster.endpoints[0].target, EndpointTarget::Address(Address::Ip("[::1]:1".parse().unwrap())));
    assert_eq!(cluster.endpoints[1].target, EndpointTarget::Address(Address::Unix("/run/a.sock".into())));
    let endpoint = &cluster.endpoints[2];
    assert_eq!((endpoint.weight, endpoint.priority, endpoint.locality.as_str()), (1_000_000, 1, "b"));
    assert_eq!(endpoint.metadata, pairs(&[("stage", "canary"), ("version", "2")]), "sorted by key");
    assert_eq!((endpoint.hostname.as_deref(), endpoint.health_check_port), (Some("app.internal:80"), Some(81)));
}

#[test]
fn host_names_are_looked_up() {
    let cluster = cluster(
        "discovery = \"strict_dns\"\n\
         endpoints = [\"App.Internal.:8080\", { address = \"b:1\", hostname = \"c\" }, \"127.0.0.1:1\"]",
    );
    let dns = Dns {
        lookup_family: LookupFamily::Auto,
        refresh_rate: secs(5),
        jitter: Duration::ZERO,
        failure_refresh: (secs(5), secs(50)),
        respect_ttl: true,
        max_ttl: secs(3600),
        hold_nx: secs(30),
        resolvers: Vec::new(),
    };
    assert_eq!(cluster.discovery, Discovery::StrictDns(dns));
    let name = |host: &str, port| EndpointTarget::Name { host: host.into(), port };
    assert_eq!(cluster.endpoints[0].target, name("app.internal.", 8080), "the dot stays: no search domain is added");
    let hostnames: Vec<_> = cluster.endpoints.iter().map(|endpoint| endpoint.hostname.as_deref()).collect();
    assert_eq!(hostnames, [Some("app.internal"), Some("c"), None]);
}

#[test]
fn lookups_have_options() {
    let cluster = cluster(
        "discovery = \"logical_dns\"\nendpoints = [\"app:1\"]\ndns_lookup_family = \"all\"\n\
         dns = { respect_ttl = false, max_ttl = \"2m\", hold_nx = \"0s\", refresh_rate = \"1m\", jitter = \"1s\", resolvers = [\"10.0.0.1\", \"::1\", \
         \"[::2]\", \"[::3]:5353\", \"10.0.0.2:54\"], failure_refresh_rate = { base_interval = \"2s\" } }",
    );
    let resolvers = ["10.0.0.1:53", "[::1]:53", "[::2]:53", "[::3]:5353", "10.0.0.2:54"];
    let dns = Dns {
        lookup_family: LookupFamily::All,
        refresh_rate: secs(60),
        jitter: secs(1),
        failure_refresh: (secs(2), secs(20)),
        respect_ttl: false,
        max_ttl: secs(120),
        hold_nx: Duration::ZERO,
        resolvers: resolvers.iter().map(|resolver| resolver.parse().unwrap()).collect(),
    };
    assert_eq!(cluster.discovery, Discovery::LogicalDns(dns));
}

#[test]
fn every_policy_has_its_options() {
    let policy = |keys: &str| {
        let cluster = with_endpoint(keys);
        (cluster.lb_policy, cluster.load_balancing.hash_balance_factor)
    };
    let least = |choice_count, active_request_bias| LbPolicy::LeastRequest {
        choice_count,
        active_request_bias,
        slow_start: None,
    };
    assert_eq!(policy("lb_policy = \"least_request\""), (least(2, 1.0), None));
    let options = "least_request = { choice_count = 5, active_request_bias = 0 }";
    assert_eq!(policy(&format!("lb_policy = \"least_request\"\n{options}")), (least(5, 0.0), None));
    assert_eq!(policy("lb_policy = \"random\""), (LbPolicy::Random, None));
    let ring = LbPolicy::RingHash { minimum_size: 1024, maximum_size: 8_388_608 };
    assert_eq!(policy("lb_policy = \"ring_hash\""), (ring, None));
    let ring = LbPolicy::RingHash { minimum_size: 10, maximum_size: 10 };
    let options = "ring_hash = { minimum_ring_size = 10, maximum_ring_size = 10, hash_balance_factor = 120 }";
    assert_eq!(policy(&format!("lb_policy = \"ring_hash\"\n{options}")), (ring, Some(120)));
    assert_eq!(policy("lb_policy = \"maglev\""), (LbPolicy::Maglev { table_size: 65_537 }, None));
    let options = "maglev = { table_size = 5000011, hash_balance_factor = 100 }";
    let maglev = LbPolicy::Maglev { table_size: 5_000_011 };
    assert_eq!(policy(&format!("lb_policy = \"maglev\"\n{options}")), (maglev, Some(100)));
    assert_eq!(policy("lb_policy = \"peak_ewma\""), (LbPolicy::PeakEwma { decay: secs(10) }, None));
    let options = "lb_policy = \"peak_ewma\"\npeak_ewma = { decay_time = \"3s\" }";
    assert_eq!(policy(options), (LbPolicy::PeakEwma { decay: secs(3) }, None));
}

#[test]
fn slow_start_has_envoys_defaults() {
    let cluster = with_endpoint("round_robin = { slow_start = { window = \"1m\" } }");
    let slow_start = SlowStart { window: secs(60), aggression: 1.0, min_weight_percent: 10.0 };
    assert_eq!(cluster.lb_policy, LbPolicy::RoundRobin { slow_start: Some(slow_start) });
    let cluster = with_endpoint(
        "lb_policy = \"least_request\"\n\
         least_request.slow_start = { window = \"1s\", aggression = 1.5, min_weight_percent = 0.5 }",
    );
    let LbPolicy::LeastRequest { slow_start, .. } = cluster.lb_policy else { panic!("{:?}", cluster.lb_policy) };
    assert_eq!(slow_start, Some(SlowStart { window: secs(1), aggression: 1.5, min_weight_percent: 0.5 }));
}

#[test]
fn localities_and_subsets_keep_their_order() {
    let cluster = cluster(
        "endpoints = [{ address = \"127.0.0.1:1\", locality = \"b\", metadata = { x = \"1\", y = \"2\" } },\n\
         { address = \"127.0.0.1:2\", locality = \"a\" }]\n\
         locality_weights = { b = 3, a = 1 }\npanic_threshold = 0\nfail_traffic_on_panic = true\n\
         overprovisioning_factor = 100\n\
         subsets = { selectors = [[\"y\", \"x\"], [\"x\"]], fallback_policy = \"default_subset\", \
         default_subset = { y = \"2\", x = \"1\" } }",
    );
    let balancing = &cluster.load_balancing;
    assert_eq!(balancing.locality_weights, Some(vec![("b".to_owned(), 3), ("a".to_owned(), 1)]));
    assert_eq!((balancing.panic_threshold, balancing.fail_traffic_on_panic), (Some(0.0), true));
    assert_eq!(balancing.overprovisioning_factor, 100);
    let subsets = balancing.subsets.as_ref().unwrap();
    assert_eq!(subsets.selectors, [vec!["x".to_owned(), "y".to_owned()], vec!["x".to_owned()]]);
    assert_eq!(subsets.fallback, SubsetFallback::DefaultSubset);
    assert_eq!(subsets.default_subset, pairs(&[("x", "1"), ("y", "2")]));
}

#[test]
fn health_checks_have_defaults_that_follow_each_other() {
    let cluster = with_endpoint("health_checks = [{ http.path = \"/healthz\" }]");
    let expected = HealthCheck {
        texts: Texts::default(),
        place: Place::default(),
        kind: HealthCheckKind::Http(HttpHealthCheck {
            host: None,
            path: "/healthz".into(),
            method: "GET".into(),
            expected_statuses: Vec::from([STATUS_OK]),
            retriable_statuses: Vec::new(),
            request_headers: Vec::new(),
        }),
        timeout: secs(1),
        interval: secs(5),
        interval_jitter: Duration::ZERO,
        no_traffic_interval: secs(60),
        unhealthy_interval: secs(5),
        unhealthy_edge_interval: secs(5),
        healthy_edge_interval: secs(5),
        unhealthy_threshold: 3,
        healthy_threshold: 2,
        reuse_connection: true,
        event_log: None,
        always_log_failures: false,
    };
    assert_eq!(cluster.health_checks, [expected]);
    let cluster = with_endpoint(
        "health_checks = [{ tcp = {}, interval = \"7s\", unhealthy_interval = \"3s\", event_log = \"health.log\" }]",
    );
    let check = &cluster.health_checks[0];
    assert_eq!((check.unhealthy_interval, check.unhealthy_edge_interval), (secs(3), secs(3)));
    assert_eq!((check.healthy_edge_interval, check.event_log.as_deref()), (secs(7), Some("conf/health.log".as_ref())));
}

#[test]
fn health_checks_say_what_is_well() {
    let cluster = with_endpoint(
        "[[clusters.health_checks]]\n\
         http = { path = \"/h?x=1\", host = \"a:80\", method = \"HEAD\", expected_statuses = [200, \"202-204\"], \
         retriable_statuses = [\"500-599\"], request_headers = { Z-Last = \"1\", a-first = \"2 3\" } }\n\
         [[clusters.health_checks]]\n\
         tcp = { send = \"PING\\r\\n\", receive = [\"+PONG\", { hex = \"0d0A\" }] }",
    );
    let HealthCheckKind::Http(http) = &cluster.health_checks[0].kind else { panic!("not HTTP") };
    assert_eq!((http.path.as_str(), http.host.as_deref(), http.method.as_str()), ("/h?x=1", Some("a:80"), "HEAD"));
    assert_eq!(http.expected_statuses, [STATUS_OK, 202..205]);
    assert_eq!((http.retriable_statuses.len(), http.retriable_statuses[0].clone()), (1, 500..600));
    assert_eq!(http.request_headers, pairs(&[("z-last", "1"), ("a-first", "2 3")]), "in the order of the file");
    let HealthCheckKind::Tcp(tcp) = &cluster.health_checks[1].kind else { panic!("not TCP") };
    assert_eq!(tcp.send, b"PING\r\n");
    assert_eq!(tcp.receive, [b"+PONG".to_vec(), b"\r\n".to_vec()]);
}

#[test]
fn outlier_detection_has_envoys_defaults() {
    let expected = OutlierDetection {
        texts: Texts::default(),
        place: Place::default(),
        consecutive_5xx: Some(5),
        consecutive_gateway_failure: Some(5),
        consecutive_local_origin_failure: Some(5),
        interval: secs(10),
        base_ejection_time: secs(30),
        max_ejection_time: secs(300),
        max_ejection_time_jitter: Duration::ZERO,
        max_ejection_percent: 10,
        always_eject_one_host: true,
        enforcing_consecutive_5xx: 100,
        enforcing_consecutive_gateway_failure: 0,
        enforcing_consecutive_local_origin_failure: 100,
        enforcing_success_rate: 100,
        enforcing_local_origin_success_rate: 100,
        success_rate_minimum_hosts: 5,
        success_rate_request_volume: 100,
        success_rate_stdev_factor: 1900,
        failure_percentage_threshold: 85,
        enforcing_failure_percentage: 0,
        enforcing_failure_percentage_local_origin: 0,
        failure_percentage_minimum_hosts: 5,
        failure_percentage_request_volume: 50,
        split_external_local_origin_errors: false,
        successful_active_health_check_uneject_host: true,
    };
    assert_eq!(with_endpoint("outlier_detection = {}").outlier_detection, Some(expected));
    let changed = with_endpoint(
        "outlier_detection = { consecutive_5xx = \"off\", base_ejection_time = \"1h\", \
         split_external_local_origin_errors = true, consecutive_local_origin_failure = \"off\", \
         enforcing_failure_percentage_local_origin = 7 }",
    );
    let changed = changed.outlier_detection.unwrap();
    assert_eq!((changed.consecutive_5xx, changed.consecutive_local_origin_failure), (None, None));
    assert_eq!(changed.max_ejection_time, secs(3600), "never shorter than the base");
    assert_eq!(changed.enforcing_failure_percentage_local_origin, 7);
}

#[test]
fn circuit_breakers_limit_what_is_written() {
    let cluster = with_endpoint(
        "[clusters.circuit_breakers]\nmax_connections = 1\nmax_pending_requests = 2\nmax_requests = 4294967295\n\
         max_connections_per_host = 4\nretry_budget = { budget_percent = 12.34 }\nmax_mirrors = 7\nhigh = { max_retries = 5 }",
    );
    let [normal, high] = cluster.circuit_breakers;
    let expected = CircuitBreakers {
        max_connections: Some(1),
        max_pending_requests: Some(2),
        max_requests: Some(u32::MAX),
        max_retries: None,
        retry_budget: Some(RetryBudget { budget_per_10_000: 1234, min_retry_concurrency: 3 }),
        max_connections_per_host: Some(4),
        max_mirrors: 7,
    };
    assert_eq!(normal, expected);
    assert_eq!(with_endpoint("").circuit_breakers[0].max_mirrors, 64);
    assert_eq!(high, CircuitBreakers { max_retries: Some(5), ..CircuitBreakers::default() });
    let cluster = with_endpoint("circuit_breakers = { high = { retry_budget = {} } }");
    let [normal, high] = cluster.circuit_breakers;
    let budget = RetryBudget { budget_per_10_000: 2000, min_retry_concurrency: 3 };
    assert_eq!((normal, high.retry_budget), (CircuitBreakers::default(), Some(budget)));
}

#[test]
fn weights_fit_into_32_bits() {
    let endpoints = |count: u32| {
        let list = (0..count)
            .map(|index| format!("{{ address = \"10.{}.{}.1:1\", weight = 1000000 }}", index / 256, index % 256));
        format!("endpoints = [{}]", list.collect::<Vec<_>>().join(", "))
    };
    assert_eq!(cluster(&endpoints(4294)).endpoints.len(), 4294);
    let refused = problems(&endpoints(4295));
    assert!(refused.contains("the weights up to here add up to 4295000000, more than 4294967295"), "{refused}");
    assert!(refused.ends_with("1 problem\n"), "{refused}");
}
