//! What the proxy believes: x-forwarded-for, trusted hops, inside and outside, and what the edge removes.

use super::filters::{get, origin};
use super::support::{Connection, Message, Origin, Ringway, Setup, forwarding};

fn asked(proxy: &Ringway, origin: &Origin, fields: &str) -> Message {
    assert_eq!(get(proxy, "/", fields).status(), 200);
    origin.last()
}

const ENVOYS: &str = "x-envoy-force-trace: 1\r\nx-envoy-ip-tags: me\r\nx-envoy-original-url: http://x/\r\n";
/// The router acts on them and removes them, wherever they come from.
const FOR_THE_ROUTER: &str = "x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 9\r\nx-envoy-internal: false\r\n";
const OF_THE_EDGE: &str = "x-envoy-external-address: 1.1.1.1\r\nx-envoy-original-path: /x\r\nx-request-id: mine\r\n\
                           x-envoy-downstream-service-cluster: c\r\nx-envoy-decorator-operation: o\r\n";

const INSIDE: &str = "internal_addresses = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n";

#[test]
fn an_edge_believes_nobody() {
    let origin = origin();
    let proxy = Ringway::before(origin.address, "internal_only_headers = [\"x-user\"]");
    let fields = format!(
        "{ENVOYS}{FOR_THE_ROUTER}{OF_THE_EDGE}X-User: root\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"
    );
    let request = asked(&proxy, &origin, &fields);
    for name in ENVOYS.lines().chain(FOR_THE_ROUTER.lines()).filter_map(|line| line.split(':').next()).chain([
        "x-envoy-original-path",
        "x-envoy-downstream-service-cluster",
        "x-envoy-decorator-operation",
        "x-user",
    ]) {
        assert_eq!(request.field(name), None, "{name}");
    }
    assert_eq!(request.field("x-envoy-external-address"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-forwarded-for"), Some("10.0.0.1, 127.0.0.1"));
    assert_ne!(request.field("x-request-id"), Some("mine"));
}

/// What no client may say, whatever the configuration believes: names that pass for others, certificates, and the proxy of a
/// CGI script.
#[test]
fn names_that_pass_for_others_are_dropped() {
    let origin = origin();
    let fields = "X_Forwarded_For: 10.0.0.1\r\nX_User: root\r\nx_plain: 1\r\nProxy: http://evil.example/\r\n\
                  X-Forwarded-Client-Cert: By=me\r\n";
    let sets = "request_headers_to_add = [{ name = \"x-user\", value = \"guest\" }]\n";
    let seen = |http: &str| {
        let proxy = Ringway::before(origin.address, &format!("{sets}{http}"));
        let request = asked(&proxy, &origin, fields);
        let names = ["x_forwarded_for", "x_user", "x_plain", "proxy", "x-forwarded-client-cert"];
        let stat = proxy.stat("http.ingress_http.dropped_headers_with_underscores");
        (names.map(|name| request.field(name).is_some()), stat)
    };
    assert_eq!(seen(""), ([false, false, true, false, false], 2));
    let allow = "headers_with_underscores_action = \"allow\"\nforward_client_cert_details = \"always_forward_only\"";
    assert_eq!(seen(allow), ([true, true, true, false, true], 0));
    assert_eq!(seen("headers_with_underscores_action = \"drop_header\""), ([false, false, false, false, false], 3));
    let proxy = Ringway::before(origin.address, "headers_with_underscores_action = \"reject_request\"");
    assert_eq!(get(&proxy, "/", "x_plain: 1\r\n").status(), 400);
    assert_eq!(get(&proxy, "/", "x-plain: 1\r\n").status(), 200);
    assert_eq!(proxy.stat("http.ingress_http.requests_rejected_with_underscores_in_headers"), 1);
}

#[test]
fn requests_from_inside_keep_what_they_say() {
    let origin = origin();
    let proxy = Ringway::before(origin.address, &format!("{INSIDE}internal_only_headers = [\"x-user\"]"));
    let request = asked(&proxy, &origin, &format!("{ENVOYS}X-User: root\r\nX-Request-Id: mine\r\n"));
    for line in ENVOYS.lines() {
        let (name, value) = line.split_once(": ").expect("a field");
        assert_eq!(request.field(name), Some(value), "{name}");
    }
    assert_eq!((request.field("x-user"), request.field("x-request-id")), (Some("root"), Some("mine")));
    assert_eq!((request.field("x-envoy-external-address"), request.field("x-envoy-internal")), (None, Some("true")));
    // A forwarded request comes from a peer that cannot be checked.
    let request = asked(&proxy, &origin, &format!("{ENVOYS}X-Forwarded-For: 10.0.0.1\r\n"));
    assert_eq!((request.field("x-envoy-internal"), request.field("x-envoy-ip-tags")), (None, None));
}

#[test]
fn behind_another_proxy_its_word_counts() {
    let origin = origin();
    let proxy = Ringway::before(origin.address, &format!("{INSIDE}use_remote_address = false"));
    let request = asked(&proxy, &origin, &format!("{ENVOYS}{OF_THE_EDGE}X-Forwarded-For: 203.0.113.5\r\n"));
    assert_eq!((request.field("x-envoy-internal"), request.field("x-envoy-ip-tags")), (None, None));
    for line in OF_THE_EDGE.lines() {
        let (name, value) = line.split_once(": ").expect("a field");
        assert_eq!(request.field(name), Some(value), "{name}");
    }
    let request = asked(&proxy, &origin, &format!("{ENVOYS}X-Forwarded-For: 10.1.2.3\r\n"));
    assert_eq!((request.field("x-envoy-internal"), request.field("x-envoy-ip-tags")), (Some("true"), Some("me")));
}

/// The client in logs, in header values and for rate limits is the one that is believed.
#[test]
fn trusted_hops_say_who_the_client_is() {
    let origin = origin();
    for (hops, forwarded_for, client, external) in [
        (0, "", "127.0.0.1", "127.0.0.1"),
        (0, "203.0.113.5", "127.0.0.1", "127.0.0.1"),
        (1, "203.0.113.5", "203.0.113.5", "203.0.113.5"),
        (1, "1.2.3.4, 203.0.113.5", "203.0.113.5", "203.0.113.5"),
        (2, "1.2.3.4, 203.0.113.5, 198.51.100.7", "203.0.113.5", "203.0.113.5"),
        (2, "203.0.113.5", "127.0.0.1", "127.0.0.1"),
        (1, "2001:db8::1", "2001:db8::1", "2001:db8::1"),
    ] {
        let log = "access_log = [{ path = \"DIR/log\", format = \"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\" }]";
        let add =
            "request_headers_to_add = [{ name = \"x-client\", value = \"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\" }]";
        let http = format!("xff_num_trusted_hops = {hops}\n{log}\n{add}");
        let proxy =
            Setup::new(&forwarding(origin.address, &http)).runtime("access_log_flush_interval = \"5ms\"").start();
        let fields = match forwarded_for {
            "" => String::new(),
            list => format!("X-Forwarded-For: {list}\r\n"),
        };
        let request = asked(&proxy, &origin, &fields);
        assert_eq!(request.field("x-client"), Some(client), "{hops} {forwarded_for}");
        assert_eq!(request.field("x-envoy-external-address"), Some(external), "{hops} {forwarded_for}");
        assert_eq!(proxy.log_lines("log", 1), [client], "{hops} {forwarded_for}");
    }
}

/// Behind a balancer that ends TLS: where it is named, a redirect to https ends, and logs have the client.
#[test]
fn a_balancer_that_is_named_is_believed() {
    let origin = origin();
    let routes = "{ match = { prefix = \"/\", headers = [{ name = \"x-forwarded-proto\", exact = \"http\" }] }, \
                  redirect = { scheme = \"https\" } }, { match = { prefix = \"/\" }, route = { cluster = \"app\" } }";
    let config = |http: &str| {
        format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.http]\n{http}\nroutes = [{routes}]\n\
             [[clusters]]\nname = \"app\"\nendpoints = [\"{}\"]\n",
            origin.address
        )
    };
    let forwarded = "X-Forwarded-For: 203.0.113.5\r\nX-Forwarded-Proto: https\r\n";
    let named = Ringway::start(&config("xff_trusted_cidrs = [\"127.0.0.0/8\"]"));
    assert_eq!(get(&named, "/", forwarded).status(), 200);
    assert_eq!(origin.last().field("x-envoy-external-address"), Some("203.0.113.5"));
    assert_eq!(get(&named, "/", "X-Forwarded-Proto: http\r\n").status(), 301);
    assert_eq!(named.stat("http.ingress_http.downstream_rq_forwarded_not_trusted"), 0);
    // Where it is not, its word is noted once, with the key.
    let unnamed = Ringway::start(&config(""));
    for _ in 0..3 {
        assert_eq!(get(&unnamed, "/", forwarded).status(), 301);
    }
    assert_eq!(unnamed.stat("http.ingress_http.downstream_rq_forwarded_not_trusted"), 3);
    unnamed.wait_for_log("peer=127.0.0.1");
    let log = unnamed.stderr();
    assert_eq!(log.matches("xff_trusted_cidrs").count(), 1, "{log}");
}

/// Routes for and against addresses: the client's as it is believed, and the peer's.
#[test]
fn routes_by_address() {
    let route = |matcher: &str, body: &str| {
        format!(
            "[[listeners.http.routes]]\nmatch = {{ prefix = \"/\", {matcher} }}\n\
             direct_response = {{ status = 200, body = \"{body}\" }}\n"
        )
    };
    let routes = [
        route("direct_remote_ip = { ranges = [\"127.0.0.0/8\"], invert = true }", "not through the balancer"),
        route("remote_ip = [\"203.0.113.0/24\", \"2001:db8::/32\"]", "shut out"),
        route("remote_ip = { ranges = [\"198.51.100.0/24\"], invert = true }", "stranger"),
        route("", "office"),
    ]
    .concat()
    .replace(", }", " }");
    let config = |trusted: &str| {
        format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.http]\nxff_trusted_cidrs = [{trusted}]\n{routes}")
    };
    let trusting = Ringway::start(&config("\"127.0.0.0/8\""));
    for (forwarded_for, expected) in [
        ("203.0.113.9", "shut out"),
        ("2001:db8::9", "shut out"),
        ("::ffff:203.0.113.9", "shut out"),
        ("203.0.113.9, 198.51.100.1", "office"),
        ("198.51.100.1, 203.0.113.9", "shut out"),
        ("192.0.2.1", "stranger"),
        ("no address", "stranger"),
    ] {
        let answer = get(&trusting, "/", &format!("X-Forwarded-For: {forwarded_for}\r\n"));
        assert_eq!(answer.text(), expected, "{forwarded_for}");
    }
    // Where the peer is not named, what it says is not believed.
    let strict = Ringway::start(&config("\"192.0.2.1\""));
    assert_eq!(get(&strict, "/", "X-Forwarded-For: 198.51.100.1\r\n").text(), "stranger");
    // A Unix socket has no address: it is in no range, and trusted to say where the client is.
    let unix = Ringway::start(&config("\"127.0.0.0/8\"").replace("127.0.0.1:0", "unix:DIR/http.sock"));
    let mut client = Connection::open_unix(&unix.file("http.sock"));
    assert_eq!(client.get("/").text(), "not through the balancer");
    let named =
        config("\"127.0.0.0/8\"").replace("ranges = [\"127.0.0.0/8\"], invert = true", "ranges = [\"127.0.0.0/8\"]");
    let unix = Ringway::start(&named.replace("127.0.0.1:0", "unix:DIR/http.sock"));
    let mut client = Connection::open_unix(&unix.file("http.sock"));
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    assert_eq!(client.response().text(), "office");
}
