//! The access log: formats, operators, rotation, a full disk, and bytes that try to be more than a value.

use super::support::{Origin, Ringway, Setup, dead_address, eventually, forwarding, response};
use rustix::process::Signal;
use serde_json::Value;

/// A proxy with this `access_log`, written without delay. The route has a name.
pub(super) fn logging(origin: std::net::SocketAddr, log: &str) -> Ringway {
    let config = forwarding(origin, &format!("access_log = [{log}]\nvia = \"edge\""))
        .replace("routes = [{ match", "routes = [{ name = \"all\", match");
    Setup::new(&config).runtime("access_log_flush_interval = \"5ms\"").start()
}

pub(super) fn echo() -> Origin {
    Origin::answering(|_| response(200, &["X-Custom: from upstream"], "0123456789"))
}

/// RFC 3339 in UTC with milliseconds: `2026-01-31T23:59:59.123Z`.
fn is_time(text: &str) -> bool {
    let shape = "dddd-dd-ddTdd:dd:dd.dddZ";
    text.len() == shape.len()
        && text.chars().zip(shape.chars()).all(|(c, s)| if s == 'd' { c.is_ascii_digit() } else { c == s })
}

/// Envoy's default format: [START_TIME] "METHOD PATH PROTOCOL" CODE FLAGS RECEIVED SENT DURATION SERVICE_TIME
/// "X-FORWARDED-FOR" "USER-AGENT" "X-REQUEST-ID" "AUTHORITY" "UPSTREAM_HOST", and behind it DETAILS "FAILURE_REASON".
#[test]
fn the_default_format() {
    let origin = echo();
    let proxy = logging(origin.address, "{ path = \"DIR/log\" }");
    let mut client = proxy.connect();
    client.send(b"POST /a?b=c HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test/1 (x)\r\nX-Request-Id: id-1\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().status(), 200);
    let line = proxy.log_lines("log", 1).remove(0);
    let (time, rest) = line.strip_prefix('[').and_then(|line| line.split_once("] ")).expect("a time in brackets");
    assert!(is_time(time), "{time}");
    let rest = rest.strip_prefix("\"POST /a?b=c HTTP/1.1\" 200 - 3 10 ").unwrap_or_else(|| panic!("{rest}"));
    let (duration, rest) = rest.split_once(' ').expect("a duration");
    let (service, rest) = rest.split_once(' ').expect("a service time");
    assert!(duration.parse::<u64>().is_ok() && service.parse::<u64>().is_ok(), "{line}");
    let request = origin.last();
    let id = request.field("x-request-id").expect("the edge gives each request an id");
    assert_ne!(id, "id-1");
    let host = origin.address;
    let expected = format!("\"127.0.0.1\" \"test/1 (x)\" \"{id}\" \"example.com\" \"{host}\" via_upstream \"-\"");
    assert_eq!(rest, expected);
}

/// It says why there is no response.
#[test]
fn the_default_format_of_a_failure() {
    let dead = dead_address();
    let proxy = logging(dead, "{ path = \"DIR/log\" }");
    assert_eq!(proxy.get("/").status(), 503);
    let line = proxy.log_lines("log", 1).remove(0);
    let details = "upstream_reset_before_response_started{remote_connection_failure|connection_refused}";
    assert!(line.ends_with(&format!(" \"{dead}\" {details} \"connection refused\"")), "{line}");
}

/// Details, flags and body are Envoy's; the reason is in braces.
#[test]
fn the_details_say_why_no_endpoint_may_be_used() {
    let (origin, dead) = (echo(), dead_address());
    let server = super::name_server::NameServer::start();
    let dns = format!(
        "discovery = \"strict_dns\"\ndns = {{ resolvers = [\"{}\"] }}\nendpoints = [\"nosuch.test:80\"]",
        server.address
    );
    let unhealthy = format!(
        "endpoints = [\"{dead}\"]\nfail_traffic_on_panic = true\n\
         health_checks = [{{ tcp = {{}}, interval = \"50ms\", timeout = \"5s\" }}]"
    );
    let subset = format!(
        "endpoints = [{{ address = \"{}\", metadata = {{ version = \"1\" }} }}]\n\
         subsets = {{ selectors = [[\"version\"]], fallback_policy = \"no_fallback\" }}",
        origin.address
    );
    for (why, cluster) in [("dns", dns), ("unhealthy", unhealthy), ("subset", subset)] {
        let written = format!("endpoints = [\"{}\"]", origin.address);
        let config = forwarding(origin.address, "access_log = [{ path = \"DIR/log\" }]");
        assert!(config.contains(&written), "{config}");
        let proxy = Ringway::start(&config.replace(&written, &cluster));
        let answer = proxy.get("/");
        assert_eq!((answer.status(), answer.text()), (503, "no healthy upstream"), "{why}");
        let line = proxy.log_lines("log", 1).remove(0);
        assert!(line.contains(" 503 UH ") && line.contains(&format!(" no_healthy_upstream{{{why}}} ")), "{line}");
    }
}

/// Whatever the interval is; a file waits for it.
#[test]
fn a_terminal_gets_each_line_at_once() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
    let terminal = ptsname(&master, Vec::new()).expect("it has a name").into_string().expect("text");
    let origin = echo();
    let format = "format = \"%REQ(:PATH)%\"";
    let logs = format!("access_log = [{{ path = \"{terminal}\", {format} }}, {{ path = \"DIR/log\", {format} }}]");
    let config = forwarding(origin.address, &logs);
    let proxy = Setup::new(&config).runtime("access_log_flush_interval = \"1h\"").start();
    let mut client = proxy.connect();
    let mut lines = std::io::BufReader::new(std::fs::File::from(master));
    for path in ["/first", "/second"] {
        assert_eq!(client.get(path).status(), 200);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).expect("a line");
        assert_eq!(line.trim_end(), path);
    }
    assert_eq!(std::fs::read_to_string(proxy.file("log")).expect("a file"), "");
}

#[test]
fn json_lines() {
    let origin = echo();
    let proxy = logging(
        origin.address,
        "{ path = \"DIR/log\", json = { code = \"%RESPONSE_CODE%\", what = \"%REQ(:METHOD)% %REQ(:PATH)%\", agent = \"%REQ(USER-AGENT)%\", none = \"%REQ(X-NONE)%\" } }",
    );
    let mut client = proxy.connect();
    client.send(b"GET /x HTTP/1.1\r\nHost: h\r\nUser-Agent: quote \" backslash \\ tab \t end\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    let line: Value = serde_json::from_str(&proxy.log_lines("log", 1)[0]).expect("JSON");
    assert_eq!(line["what"], "GET /x");
    assert_eq!(line["agent"], "quote \" backslash \\ tab \t end");
    assert!(line["code"] == 200 || line["code"] == "200", "{line}");
    assert!(line["none"].is_null() || line["none"] == "-", "{line}");
}

/// The operators of docs/CONFIG.md, and the forms of their arguments.
#[rustfmt::skip]
const OPERATORS: [&str; 34] = [
    "REQ(:METHOD)", "REQ(:PATH)", "REQ(:AUTHORITY)", "REQ(:SCHEME)", "REQ(X-A)", "REQ(X-NONE?X-A)", "REQ(X-LONG):4",
    "REQ(X-NONE)", "REQ(X-REQUEST-ID)", "RESP(X-CUSTOM)", "RESP(X-NONE?X-CUSTOM):4", "START_TIME", "PROTOCOL",
    "RESPONSE_CODE", "RESPONSE_CODE_DETAILS", "RESPONSE_FLAGS", "BYTES_RECEIVED", "BYTES_SENT", "DURATION",
    "REQUEST_DURATION", "RESPONSE_DURATION", "RESPONSE_TX_DURATION", "UPSTREAM_HOST", "UPSTREAM_CLUSTER",
    "UPSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_PORT", "ROUTE_NAME",
    "VIRTUAL_HOST_NAME", "CONNECTION_ID", "HOSTNAME",
];

/// Every operator, once.
#[test]
fn every_operator() {
    let origin = echo();
    let format: String = OPERATORS.iter().map(|operator| format!("{operator}=%{operator}%|")).collect();
    let proxy = logging(origin.address, &format!("{{ path = \"DIR/log\", format = \"{format}100%%\" }}"));
    let mut client = proxy.connect();
    let local = client.stream.local_addr().expect("bound");
    client
        .send(b"POST /p?q HTTP/1.1\r\nHost: example.com:80\r\nX-A: 1\r\nX-Long: 123456\r\nContent-Length: 2\r\n\r\nab");
    assert_eq!(client.response().status(), 200);
    let line = proxy.log_lines("log", 1).remove(0);
    assert!(line.ends_with("|100%"), "{line}");
    let value = |operator: &str| {
        let part = line.split('|').find_map(|part| part.strip_prefix(operator)?.strip_prefix('='));
        part.unwrap_or_else(|| panic!("{operator} in {line}"))
    };
    let (front, host) = (proxy.address(0), origin.address.to_string());
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    for (operator, expected) in [
        ("REQ(:METHOD)", "POST"),
        ("REQ(:PATH)", "/p?q"),
        ("REQ(:AUTHORITY)", "example.com:80"),
        ("REQ(:SCHEME)", "http"),
        ("REQ(X-A)", "1"),
        ("REQ(X-NONE?X-A)", "1"),
        ("REQ(X-LONG):4", "1234"),
        ("REQ(X-NONE)", "-"),
        ("RESP(X-CUSTOM)", "from upstream"),
        ("RESP(X-NONE?X-CUSTOM):4", "from"),
        ("PROTOCOL", "HTTP/1.1"),
        ("RESPONSE_CODE", "200"),
        ("RESPONSE_CODE_DETAILS", "via_upstream"),
        ("RESPONSE_FLAGS", "-"),
        ("BYTES_RECEIVED", "2"),
        ("BYTES_SENT", "10"),
        ("UPSTREAM_HOST", &host),
        ("UPSTREAM_CLUSTER", "app"),
        ("DOWNSTREAM_REMOTE_ADDRESS", &local.to_string()),
        ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "127.0.0.1"),
        ("DOWNSTREAM_LOCAL_ADDRESS", &front.to_string()),
        ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "127.0.0.1"),
        ("DOWNSTREAM_LOCAL_PORT", &front.port().to_string()),
        ("ROUTE_NAME", "all"),
        ("VIRTUAL_HOST_NAME", "default"),
        ("HOSTNAME", hostname.trim()),
    ] {
        assert_eq!(value(operator), expected, "{operator}");
    }
    for operator in ["DURATION", "REQUEST_DURATION", "RESPONSE_DURATION", "RESPONSE_TX_DURATION", "CONNECTION_ID"] {
        assert!(value(operator).parse::<u64>().is_ok(), "{operator}={}", value(operator));
    }
    assert!(is_time(value("START_TIME")));
    assert_eq!(value("REQ(X-REQUEST-ID)").len(), 36, "the id that was added is logged, too");
}

#[test]
fn filters_choose_the_exchanges() {
    let origin = Origin::answering(|request| match request.target() {
        "/slow" => {
            std::thread::sleep(std::time::Duration::from_millis(80));
            response(200, &[], "ok")
        }
        _ => response(200, &[], "ok"),
    });
    let filters = [
        ("errors", "status = { at_least = 400 }"),
        ("ok", "status = { equal = 200 }"),
        ("below", "status = { at_most = 399 }"),
        ("slow", "duration = { at_least = \"70ms\" }"),
        ("unrouted", "response_flags = [\"NR\", \"UO\"]"),
        ("flagged", "response_flags = []"),
        ("named", "header = { name = \"x-log\", exact = \"yes\" }"),
        ("all", "sample_percent = 100"),
        ("none", "sample_percent = 0"),
        ("both", "and = [{ status = { at_least = 200 } }, { header = { name = \"x-log\" } }]"),
        ("either", "or = [{ status = { at_least = 400 } }, { duration = { at_least = \"70ms\" } }]"),
        ("others", "not = { status = { equal = 200 } }"),
    ];
    let logs: Vec<_> = filters
        .iter()
        .map(|(name, filter)| {
            format!("{{ path = \"DIR/{name}\", format = \"%REQ(:PATH)%\", filter = {{ {filter} }} }}")
        })
        .collect();
    let config = forwarding(origin.address, &format!("access_log = [{}]", logs.join(", ")))
        .replace("match = { prefix = \"/\" }", "match = { regex = \"/(?:fast|slow|named)\" }");
    let proxy = Setup::new(&config).runtime("access_log_flush_interval = \"5ms\"").start();
    let mut client = proxy.connect();
    client.get("/fast");
    client.get("/slow");
    client.send(b"GET /named HTTP/1.1\r\nHost: h\r\nX-Log: yes\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    assert_eq!(client.get("/missing").status(), 404);
    for (name, expected) in [
        ("all", &["/fast", "/slow", "/named", "/missing"][..]),
        ("errors", &["/missing"]),
        ("ok", &["/fast", "/slow", "/named"]),
        ("below", &["/fast", "/slow", "/named"]),
        ("slow", &["/slow"]),
        ("unrouted", &["/missing"]),
        ("flagged", &["/missing"]),
        ("named", &["/named"]),
        ("both", &["/named"]),
        ("either", &["/slow", "/missing"]),
        ("others", &["/missing"]),
        ("none", &[]),
    ] {
        assert_eq!(proxy.log_lines(name, expected.len()), expected, "{name}");
    }
}

/// "this side of the upstream connection".
#[test]
fn the_upstream_connections_local_address() {
    let peers = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = peers.clone();
    let origin = Origin::recording(move |connection, _, _| {
        seen.lock().expect("no panic").push(connection.stream.peer_addr().expect("connected").to_string());
        connection.send(&response(200, &[], "ok"));
        true
    });
    let proxy = logging(origin.address, "{ path = \"DIR/log\", format = \"%UPSTREAM_LOCAL_ADDRESS%\" }");
    proxy.get("/");
    assert_eq!(proxy.log_lines("log", 1), *peers.lock().expect("no panic"));
}

#[test]
fn a_line_end_is_added_where_there_is_none_and_logs_are_several() {
    let origin = echo();
    let proxy = logging(
        origin.address,
        "{ path = \"DIR/a\", format = \"a%RESPONSE_CODE%\" }, { path = \"DIR/b\", format = \"b%RESPONSE_CODE%\\n\" }, { path = \"/dev/stdout\", format = \"out %REQ(:PATH)%\" }",
    );
    proxy.get("/1");
    proxy.get("/2");
    assert_eq!(proxy.log_lines("a", 2), ["a200", "a200"]);
    assert_eq!(proxy.log_lines("b", 2), ["b200", "b200"]);
    eventually("standard output has both lines", || proxy.stdout() == "out /1\nout /2\n");
}

/// Log injection (CWE-117): nothing that a client sends ends the line, the quotes or the terminal's patience.
#[test]
fn injection_is_escaped() {
    let origin = echo();
    let proxy = logging(origin.address, "{ path = \"DIR/log\", format = \"\\\"%REQ(X-EVIL)%\\\" end\" }");
    let mut client = proxy.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Evil: a\" 200 \"b\\c\tbell\xff\xc2\x9bend\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    let line = proxy.log_lines("log", 1).remove(0);
    assert_eq!(line, "\"a\\x22 200 \\x22b\\x5cc\\x09bell\\xff\\xc2\\x9bend\" end");
}

/// Requests that are refused, redirected and answered directly have their lines, too.
#[test]
fn whatever_happens_is_logged_once() {
    let proxy = Setup::new(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.http]\nroutes = [{ match = { path = \"/\" }, direct_response = { status = 200 } }, \
         { match = { path = \"/r\" }, redirect = { path = \"/\" } }]\n\
         access_log = [{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:PATH)%\" }]",
    )
    .runtime("access_log_flush_interval = \"5ms\"")
    .start();
    let mut client = proxy.connect();
    for target in ["/", "/r", "/missing"] {
        client.get(target);
    }
    client.send(b"GET /bad HTTP/1.1\r\nNo colon\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    let lines = proxy.log_lines("log", 4);
    assert_eq!(lines[0], "200 - direct_response /");
    assert_eq!(lines[1], "301 - direct_response /r");
    assert_eq!(lines[2], "404 NR route_not_found /missing");
    assert!(lines[3].starts_with("400 DPE "), "{}", lines[3]);
    // A client that comes and goes without a request is no exchange.
    drop(proxy.connect());
    proxy.wait_for_stat("http.ingress_http.downstream_cx_active", 0);
    proxy.log_lines("log", 4);
}

#[test]
fn sigusr1_reopens_after_a_rotation() {
    let origin = echo();
    let proxy = logging(origin.address, "{ path = \"DIR/log\", format = \"%REQ(:PATH)%\" }");
    let mut client = proxy.connect();
    client.get("/1");
    proxy.log_lines("log", 1);
    std::fs::rename(proxy.file("log"), proxy.file("log.1")).expect("renamed");
    client.get("/2");
    assert_eq!(proxy.log_lines("log.1", 2), ["/1", "/2"], "until it is told, it writes where it did");
    proxy.signal(Signal::USR1);
    eventually("the new file is there", || proxy.file("log").exists());
    client.get("/3");
    assert_eq!(proxy.log_lines("log", 1), ["/3"]);
    proxy.log_lines("log.1", 2);
    assert_eq!(proxy.stat("access_log.reopened"), 1);
    // The same through the admin endpoint.
    std::fs::rename(proxy.file("log"), proxy.file("log.2")).expect("renamed");
    assert_eq!(proxy.admin("POST", "/reopen_logs").status(), 200);
    eventually("the new file is there", || proxy.file("log").exists());
    client.get("/4");
    assert_eq!(proxy.log_lines("log", 1), ["/4"]);
    assert!(client.get("/").status() == 200, "and the connection never noticed");
}

/// "A full disk loses log lines and counts them, never requests."
#[test]
fn a_full_disk_loses_lines_and_no_requests() {
    let origin = echo();
    let proxy = logging(origin.address, "{ path = \"/dev/full\" }, { path = \"DIR/log\", format = \"x\" }");
    let mut client = proxy.connect();
    for _ in 0..100 {
        assert_eq!(client.get("/").status(), 200);
    }
    proxy.log_lines("log", 100);
    proxy.wait_for_stat("access_log.lines_lost", 100);
    assert_eq!(proxy.stat("access_log.lines_written"), 100);
    assert!(proxy.stat("access_log.write_failed") > 0);
}

/// Lines that are still in a shard's buffer are written out at the end.
#[test]
fn nothing_is_lost_at_the_end() {
    let origin = echo();
    let config = forwarding(origin.address, "access_log = [{ path = \"DIR/log\", format = \"%REQ(:PATH)%\" }]");
    let mut proxy = Setup::new(&config).runtime("access_log_flush_interval = \"1h\"\nshards = 2").start();
    for i in 0..50 {
        proxy.get(&format!("/{i}"));
    }
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
    let mut lines = proxy.log_lines("log", 50);
    lines.sort_by_key(|line| line[1..].parse::<u32>().expect("a number"));
    assert!(lines.iter().enumerate().all(|(i, line)| *line == format!("/{i}")), "{lines:?}");
}

#[test]
fn a_log_that_cannot_be_opened_is_told_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.toml");
    let config =
        forwarding("127.0.0.1:9".parse().expect("an address"), "access_log = [{ path = \"/nonexistent/dir/log\" }]");
    std::fs::write(&file, config).expect("written");
    let refused =
        std::process::Command::new(env!("CARGO_BIN_EXE_ringway")).arg("run").arg(&file).output().expect("it starts");
    assert_eq!(refused.status.code(), Some(3));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("/nonexistent/dir/log") && said.lines().count() == 1, "{said}");
}
