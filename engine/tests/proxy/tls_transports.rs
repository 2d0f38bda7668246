//! How endpoints are reached: for which name, and by which transport.

use super::support::{Client, Message, Nginx, Origin, Pki, Ringway, Setup, response};
use super::tls;
use std::net::SocketAddr;

/// nginx with this certificate, which answers with the name that it was asked for, whether a session went on, the number of its
/// connection, and the Host.
fn telling(pki: &Pki, certificate: &str) -> Nginx {
    tls::telling(pki, certificate, "$ssl_server_name $ssl_session_reused $connection $http_host", "")
}

struct Told {
    status: u16,
    name: String,
    resumed: bool,
    connection: String,
}

fn ask(client: &mut Client, path: &str, host: &str) -> Told {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    told(&client.response())
}

fn told(answer: &Message) -> Told {
    let mut words = answer.text().split(' ').map(str::to_owned);
    let mut next = || words.next().unwrap_or_default();
    Told { status: answer.status(), name: next(), resumed: next() == "r", connection: next() }
}

fn by_host(origin: SocketAddr, cluster: &str) -> String {
    format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
access_log = [{{ path = "DIR/log", format = "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%" }}]
routes = [
  {{ match = {{ prefix = "/rewritten" }}, route = {{ cluster = "app", host_rewrite = "b.example" }} }},
  {{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }},
]
[[clusters]]
name = "app"
endpoints = [{{ address = "{origin}", hostname = "own.example" }}]
tls = {{ ca = "ca.pem", auto_sni = true }}
{cluster}
"#
    )
}

fn start(setup: Setup, config: &str) -> Ringway {
    setup.replace_config(config).runtime("access_log_flush_interval = \"5ms\"").start()
}

#[test]
fn the_name_in_host_is_asked_for_and_verified() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.issue("origin", &["a.example", "b.example", "own.example", "127.0.0.1"]);
    let origin = telling(&pki, "origin");
    let proxy = start(setup, &by_host(origin.address, ""));
    let mut client = Client::open(proxy.address(0));
    let first = ask(&mut client, "/", "a.example");
    assert_eq!((first.status, &*first.name), (200, "a.example"));
    let again = ask(&mut client, "/", "A.Example:8443");
    assert_eq!((&*again.name, &again.connection), ("a.example", &first.connection), "the same name");
    let other = ask(&mut client, "/", "b.example");
    assert_eq!((&*other.name, other.resumed), ("b.example", false));
    assert_ne!(other.connection, first.connection);
    let rewritten = ask(&mut client, "/rewritten", "a.example");
    assert_eq!((&*rewritten.name, &rewritten.connection), ("b.example", &other.connection), "the Host that is sent");
    assert_eq!(ask(&mut client, "/", "a.example").connection, first.connection);
    // An address is verified and not asked for; without Host it is the endpoint's own name.
    assert_eq!(ask(&mut client, "/", "127.0.0.1").name, "");
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(told(&client.response()).name, "own.example");
    assert_eq!(ask(&mut client, "/", "c.example").status, 503, "the endpoint has no certificate for it");
    let line = proxy.log_lines("log", 8).remove(7);
    assert!(line.starts_with("503 UF TLS: ") && line.contains("not for c.example (NotValidForName)"), "{line}");
    assert_eq!(proxy.stat("cluster.app.ssl.fail_verify_san"), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_total"), 4);
}

/// A session that was agreed on for one name goes on for no other (Envoy issue 46243), and copies and checks have a name, too.
#[test]
fn sessions_copies_and_checks_go_by_the_name() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.issue("origin", &["a.example", "b.example", "check.example"]);
    pki.issue("shadow", &["a.example-shadow"]);
    let (origin, shadow) = (telling(&pki, "origin"), telling(&pki, "shadow"));
    let more = format!(
        r#"
max_requests_per_connection = 1
health_checks = [{{ http.path = "/", http.host = "check.example" }}]
[[clusters]]
name = "copies"
endpoints = ["{}"]
tls = {{ ca = "ca.pem", auto_sni = true }}
"#,
        shadow.address
    );
    let config = by_host(origin.address, &more).replace(
        "{ match = { prefix = \"/\" }, route = { cluster = \"app\" } }",
        "{ match = { prefix = \"/copied\" }, route = { cluster = \"app\", request_mirror_policies = [{ cluster = \"copies\" }] } }, \
         { match = { prefix = \"/\" }, route = { cluster = \"app\" } }",
    );
    let proxy = start(setup, &config);
    proxy.wait_for_stat("cluster.app.health_check.healthy", 1);
    let mut client = Client::open(proxy.address(0));
    for (host, resumed) in [("a.example", false), ("b.example", false), ("a.example", true), ("b.example", true)] {
        let told = ask(&mut client, "/", host);
        assert_eq!((told.status, &*told.name, told.resumed), (200, host, resumed));
    }
    assert_eq!(ask(&mut client, "/copied", "a.example").name, "a.example");
    proxy.wait_for_stat("cluster.copies.ssl.handshake", 1);
    assert_eq!(ask(&mut client, "/copied", "b.example").name, "b.example");
    proxy.wait_for_stat("cluster.copies.ssl.fail_verify_san", 1);
}

/// The first match decides, for requests and for checks; `tls` of the cluster is for the rest.
#[test]
fn endpoints_are_reached_as_their_metadata_says() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.issue("origin", &["a.example", "b.example"]);
    let (plain, first, second) =
        (Origin::answering(|_| response(200, &[], "plain")), telling(&pki, "origin"), telling(&pki, "origin"));
    let config = |plain_match: &str| {
        format!(
            r#"
[[listeners]]
address = "127.0.0.1:0"
http.routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }}]
[[clusters]]
name = "app"
endpoints = [
  "{}",
  {{ address = "{}", metadata = {{ name = "b", tls = "on" }} }},
  {{ address = "{}", metadata = {{ tls = "off" }} }},
]
tls = {{ sni = "a.example", ca = "ca.pem" }}
health_checks = [{{ http.path = "/", timeout = "10s" }}]
[[clusters.transport_socket_matches]]
name = "other"
match = {{ tls = "on", name = "b" }}
tls = {{ sni = "b.example", ca = "ca.pem" }}
[[clusters.transport_socket_matches]]
name = "wide"
match = {{ name = "b" }}
[[clusters.transport_socket_matches]]
name = "{plain_match}"
match = {{ tls = "off" }}
"#,
            first.address, second.address, plain.address
        )
    };
    let proxy = start(setup, &config("plain"));
    let stat = |name: &str| proxy.stat(&format!("cluster.app.{name}"));
    assert_eq!((stat("membership_healthy"), stat("health_check.failure")), (3, 0), "checks go the same way");
    let mut client = Client::open(proxy.address(0));
    let mut names: Vec<_> = (0..6).map(|_| told(&client.get("/")).name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names, ["a.example", "b.example", "plain"]);
    let count = |name: &str| stat(&format!("transport_socket_match.{name}.total_match_count"));
    assert_eq!(["other", "wide", "plain", "default"].map(count), [1, 0, 1, 1]);
    assert_eq!(stat("ssl.handshake"), 4, "checks have connections of their own, which count (Envoy)");
    proxy.write_config(&config("renamed"));
    assert!(proxy.reload());
    assert_eq!(count("renamed"), 1);
    let all = proxy.admin("GET", "/stats?filter=transport_socket_match");
    assert!(!all.text().contains(".plain."), "{}", all.text());
}
