//! The local rate limit filter.

use super::filters::{filtering, get, origin, refusal, start};
use super::support::{Client, eventually};
use std::net::{SocketAddr, TcpStream};

const FEW: &str = "token_bucket = { max_tokens = 3, fill_interval = \"1h\" }";

fn limit(settings: &str) -> String {
    format!("{{ local_ratelimit = {{ stat_prefix = \"limit\", {settings} }} }}")
}

#[test]
fn requests_over_the_limit_are_refused() {
    let origin = origin();
    let proxy = filtering(&origin, &limit(FEW), "");
    let mut client = proxy.connect();
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!((answer.status(), answer.field("x-ratelimit-limit")), (200, None));
    }
    let refused = client.get("/");
    assert_eq!((refused.status(), refused.text()), (429, "local_rate_limited"));
    assert_eq!(refused.field("x-envoy-ratelimited"), Some("true"));
    let seconds: u64 = refused.field("retry-after").and_then(|value| value.parse().ok()).expect("seconds");
    assert!((1..=3600).contains(&seconds), "{seconds}");
    // The connection goes on, and no upstream has seen the request.
    assert_eq!(client.get("/").status(), 429);
    assert_eq!(origin.requests().len(), 3);
    for (name, value) in [("enabled", 5), ("ok", 3), ("rate_limited", 2), ("enforced", 2)] {
        assert_eq!(proxy.stat(&format!("limit.http_local_rate_limit.{name}")), value, "{name}");
    }
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_4xx"), 2);
    let lines = proxy.log_lines("log", 5);
    assert_eq!((lines[0].as_str(), lines[4].as_str()), ("200 - via_upstream", "429 RL local_rate_limited"));
}

#[test]
fn tokens_come_back() {
    let origin = origin();
    let settings = "token_bucket = { max_tokens = 1, fill_interval = \"100ms\" }, status = 503";
    let proxy = filtering(&origin, &limit(settings), "");
    let mut client = proxy.connect();
    let mut statuses = [0; 2];
    eventually("ten requests have passed, and some were refused", || {
        let status = client.get("/").status();
        assert!(matches!(status, 200 | 503), "{status}");
        statuses[usize::from(status == 503)] += 1;
        statuses[0] >= 10 && statuses[1] > 0
    });
    assert!(statuses[0] <= origin.requests().len());
}

#[test]
fn clients_are_told_what_is_left() {
    let origin = origin();
    let bucket = "token_bucket = { max_tokens = 2, tokens_per_fill = 2, fill_interval = \"100s\" }";
    let proxy = filtering(&origin, &limit(&format!("{bucket}, x_ratelimit_headers = true")), "");
    for (status, left) in [(200, "1"), (200, "0"), (429, "0")] {
        let answer = proxy.get("/");
        assert_eq!((answer.status(), answer.field("x-ratelimit-limit")), (status, Some("2")));
        assert_eq!(answer.field("x-ratelimit-remaining"), Some(left));
        let reset: u64 = answer.field("x-ratelimit-reset").and_then(|value| value.parse().ok()).expect("seconds");
        assert!((1..=100).contains(&reset), "{reset}");
        if status == 429 {
            let retry: u64 = answer.field("retry-after").and_then(|value| value.parse().ok()).expect("seconds");
            assert!(retry.abs_diff(reset) <= 1, "{retry} and {reset}");
        }
    }
}

/// A connection from another address of the loopback.
fn connect_from(from: [u8; 4], to: SocketAddr) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("the loopback has the address");
    socket.connect(&to.into()).expect("it listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(super::support::PATIENCE)).expect("SO_RCVTIMEO");
    Client::new(stream)
}

#[test]
fn each_client_has_a_bucket_and_some_users_have_a_larger_one() {
    let origin = origin();
    let proxy = super::filters::start(
        &origin,
        &limit(&format!(
            "rate_limits = [{{ actions = [{{ remote_address = {{}} }}] }}, \
             {{ actions = [{{ request_headers = {{ header_name = \"x-user\", descriptor_key = \"user\" }} }}] }}], \
             descriptors = [{{ entries = [{{ key = \"remote_address\" }}], {FEW} }}, \
             {{ entries = [{{ key = \"user\", value = \"ann\" }}], token_bucket = {{ max_tokens = 1, fill_interval = \"1h\" }} }}]"
        )),
        "",
        "xff_trusted_cidrs = [\"127.0.0.9/32\"]",
        "",
    );
    let passing = |last: u8, fields: &str| {
        let mut client = connect_from([127, 0, 0, last], proxy.address(0));
        let request = format!("GET / HTTP/1.1\r\nHost: example.com\r\n{fields}\r\n");
        (0..5)
            .filter(|_| {
                client.send(request.as_bytes());
                client.response().status() == 200
            })
            .count()
    };
    assert_eq!((passing(1, ""), passing(2, ""), passing(1, "")), (3, 3, 0));
    assert_eq!((passing(3, "X-User: bob\r\n"), passing(4, "X-User: ann\r\n")), (3, 1));
    // A stranger's word is no new bucket, a trusted peer says which address is the client's.
    assert_eq!(passing(1, "X-Forwarded-For: 203.0.113.5\r\n"), 0);
    assert_eq!(passing(9, "X-Forwarded-For: 203.0.113.5\r\n"), 3);
    assert_eq!(passing(9, "X-Forwarded-For: 203.0.113.5\r\n"), 0);
    assert_eq!(passing(9, "X-Forwarded-For: 203.0.113.6\r\n"), 3);
}

#[test]
fn a_route_has_its_own_limit() {
    let origin = origin();
    let own =
        "local_ratelimit = { stat_prefix = \"login\", token_bucket = { max_tokens = 1, fill_interval = \"1h\" } }";
    let routes = format!(
        "{{ match = {{ path = \"/login\" }}, filters = {{ {own} }}, route = {{ cluster = \"app\" }} }}, \
         {{ match = {{ path = \"/free\" }}, filters = {{ local_ratelimit = \"off\" }}, route = {{ cluster = \"app\" }} }}, \
         {{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\" }} }}"
    );
    let proxy = filtering(&origin, &limit(FEW), &routes);
    let passing = |target: &str| (0..5).filter(|_| proxy.get(target).status() == 200).count();
    assert_eq!((passing("/login"), passing("/free"), passing("/"), passing("/login")), (1, 5, 3, 0));
    assert_eq!(proxy.stat("login.http_local_rate_limit.enforced"), 9);
    assert_eq!(proxy.stat("limit.http_local_rate_limit.enabled"), 5);
}

#[test]
fn limits_are_tried_out_before_they_are_enforced() {
    let origin = origin();
    let proxy = filtering(&origin, &limit(&format!("{FEW}, enforced_percent = 0")), "");
    assert!((0..5).all(|_| proxy.get("/").status() == 200));
    for (name, value) in [("enabled", 5), ("ok", 3), ("rate_limited", 2), ("enforced", 0)] {
        assert_eq!(proxy.stat(&format!("limit.http_local_rate_limit.{name}")), value, "{name}");
    }
    let proxy = filtering(&origin, &limit(&format!("{FEW}, enabled_percent = 0")), "");
    assert!((0..5).all(|_| proxy.get("/").status() == 200));
    assert_eq!(proxy.stat("limit.http_local_rate_limit.enabled"), 0);
}

/// To the token, whichever shard the requests come to.
#[test]
fn shards_share_one_bucket() {
    let origin = origin();
    let settings = "token_bucket = { max_tokens = 1000, fill_interval = \"1h\" }, x_ratelimit_headers = true";
    let proxy = start(&origin, &limit(settings), "", "", "shards = 2");
    // The kernel chooses the shard of a connection: with this number, neither goes without.
    let mut clients: Vec<_> = (0..32).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status(), 200);
    }
    let passed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .chunks_mut(8)
            .map(|clients| {
                scope.spawn(move || {
                    let mut passed = 0;
                    for _ in 0..40 {
                        for client in &mut *clients {
                            passed += usize::from(client.get("/").status() == 200);
                        }
                    }
                    passed
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(passed + 32, 1000);
    assert_eq!(proxy.stat("limit.http_local_rate_limit.ok"), 1000);
    assert_eq!(proxy.stat("limit.http_local_rate_limit.rate_limited"), 32 * 41 - 1000);
    assert_eq!(proxy.get("/").field("x-ratelimit-remaining"), Some("0"));
}

#[test]
fn what_is_refused() {
    for (settings, complaint) in [
        ("token_bucket = { fill_interval = \"1s\" }", "max_tokens"),
        ("token_bucket = { max_tokens = 0, fill_interval = \"1s\" }", "max_tokens"),
        ("token_bucket = { max_tokens = 1, fill_interval = \"0s\" }", "fill_interval"),
        ("status = 200", "status"),
        ("rate_limits = [{ actions = [{ remote_address = {} }] }]", "descriptors"),
    ] {
        let said = refusal(&limit(settings), "");
        assert!(said.contains(complaint), "{settings}: {said}");
    }
    let said = refusal(&limit(FEW), "local_ratelimit = { token_bucket = { max_tokens = 1 } }");
    assert!(said.contains("fill_interval"), "{said}");
}

/// A refused request's body is read away or the connection closed; either way nothing is mixed up.
#[test]
fn bodies_of_refused_requests() {
    let origin = origin();
    let proxy = filtering(&origin, &limit("token_bucket = { max_tokens = 1, fill_interval = \"1h\" }"), "");
    assert_eq!(get(&proxy, "/", "").status(), 200);
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((client.response().status(), client.response().status()), (429, 429));
    // A client that waits for 100 is told not to send.
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.response();
    assert!(answer.status() == 429 && answer.says_close());
}
