//! What `explain` says of TLS is what happens.

use super::cli::ringway;
use super::support::{Pki, Ringway, Setup};
use super::tls::{curl_as, curl_to};

const CONFIG: &str = r#"
[[listeners]]
name = "sites"
address = "127.0.0.1:0"

[[listeners.filter_chains]]
name = "staff"
match = { server_names = ["staff.example"] }
tls = { certificate = "a.pem", key = "a.key", client_certificate = { ca = "ca.pem" } }
http.routes = [
  { match = { prefix = "/", tls_context = { validated = true } }, direct_response = { status = 200 } },
  { match = { prefix = "/" }, direct_response = { status = 403 } },
]

[[listeners.filter_chains]]
name = "strict"
match = { server_names = ["*.example"] }
tls = { certificates = [{ certificate = "a.pem", key = "a.key" }, { certificate = "w.pem", key = "w.key" }], strict_sni = true }
http.routes = [
  { match = { prefix = "/", tls_context = { presented = true } }, direct_response = { status = 403 } },
  { match = { prefix = "/" }, direct_response = { status = 200 } },
]

[[listeners.filter_chains]]
name = "rest"
tls = { certificate = "a.pem", key = "a.key", client_certificate = { ca = "ca.pem", required = false } }
http.routes = [{ match = { prefix = "/" }, direct_response = { status = 200 } }]

[[listeners]]
name = "secure"
address = "127.0.0.2:0"
tls = { certificate = "a.pem", key = "a.key" }
http.routes = [{ match = { prefix = "/" }, direct_response = { status = 200 } }]

[[listeners]]
name = "plain"
address = "127.0.0.3:0"
http.routes = [{ match = { prefix = "/" }, direct_response = { status = 200 } }]
"#;

fn sites() -> (Ringway, Pki) {
    let setup = Setup::new(CONFIG);
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example", "staff.example"]);
    pki.issue("w", &["*.wild.example"]);
    pki.issue("client", &["client.example"]);
    (setup.start(), pki)
}

/// The explanation, and whether a route takes the request.
fn told(proxy: &Ringway, args: &[&str]) -> (String, bool) {
    let file = proxy.file("ringway.toml");
    let output = ringway(&[&["explain", file.to_str().expect("text"), "GET"], args].concat());
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

#[track_caller]
fn assert_told(proxy: &Ringway, args: &[&str], is_found: bool, parts: &[&str]) {
    let (text, found) = told(proxy, args);
    assert_eq!(found, is_found, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn the_handshake_is_explained() {
    let (proxy, pki) = sites();
    let get = |url: &str, more: &[&str]| curl_to(&proxy, &pki, url, &[&["-k"], more].concat());
    // By a name in a certificate, exactly or by a wildcard.
    for (url, file) in [("https://a.example/", "a.pem"), ("https://x.wild.example/", "w.pem")] {
        assert_told(
            &proxy,
            &[url, "--listener", "sites"],
            true,
            &["chain       strict: yes", file, "response    status 200"],
        );
        assert_eq!(get(url, &[]).status, 200, "{url}");
    }
    let url = "https://x.y.wild.example/";
    let said = ["for x.y.wild.example, which no certificate has, and strict_sni is on", "the alert unrecognized_name"];
    assert_told(&proxy, &[url, "--listener", "sites"], false, &said);
    assert_eq!(get(url, &[]).exit, 35);
    // Without a match, and without strict_sni, it is the first one.
    let said =
        ["for nowhere.test: certificate ", "a.pem, the first one, as none has that name", "for a client without one"];
    assert_told(&proxy, &["https://nowhere.test/", "--listener", "sites"], true, &said);
    assert_eq!(get("https://nowhere.test/", &[]).status, 200);
    // A certificate of the client, which its routes see.
    let url = "https://staff.example/";
    let said = [
        "clients must show a certificate of an authority in ",
        "ca.pem; without one there is no",
        "response    status 200",
    ];
    assert_told(&proxy, &[url, "--listener", "sites"], true, &said);
    assert_eq!(get(url, &[]).status, 0);
    assert_eq!(curl_as(&proxy, &pki, url, (&pki, "client"), &["-k"]).status, 200);
    // A host of another site than that of the handshake.
    for (url, host, status) in [
        ("https://a.example/", "staff.example", 421),
        ("https://a.example/", "x.wild.example", 200),
        ("https://nowhere.test/", "a.example", 421),
    ] {
        let field = format!("host: {host}");
        let said = if status == 421 { "result      status 421: " } else { "response    status 200" };
        assert_told(&proxy, &[url, "-H", &field, "--listener", "sites"], status == 200, &[said]);
        assert_eq!(get(url, &["-H", &field]).status, status, "{url} {host}");
    }
}

#[test]
fn a_url_of_the_other_scheme_is_explained() {
    let (proxy, _) = sites();
    let said = ["tls         required by this chain", "result      status 400: this port speaks HTTPS"];
    assert_told(&proxy, &["http://a.example/", "--listener", "secure"], false, &said);
    let said = ["tls         none: a client that speaks TLS here gets status 400", "response    status 200"];
    assert_told(&proxy, &["https://a.example/", "--listener", "plain"], true, &said);
    // A path alone is asked for in the way that the listener speaks, and its host by its name.
    let said = ["tls         for a.example: certificate ", "response    status 200"];
    assert_told(&proxy, &["/", "-H", "host: A.example:443", "--listener", "secure"], true, &said);
    let (text, is_found) = told(&proxy, &["/", "--listener", "plain"]);
    assert!(is_found && !text.contains("tls   "), "{text}");
    // Without the files, the rest is said nevertheless.
    std::fs::remove_file(proxy.file("a.pem")).expect("it is there");
    let said = ["which certificate has that name is unknown", "cannot read ", "response    status 200"];
    assert_told(&proxy, &["https://a.example/", "--listener", "secure"], true, &said);
}
