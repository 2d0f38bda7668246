//! Command operators that need an exchange on real connections: sizes, moments, addresses; and header values made of them.

use super::access_log::{echo, logging};
use super::support::{Origin, Pki, Setup, dead_address, forwarding, response};
use super::tls::{curl_to, hello, secured};
use std::net::SocketAddr;

const SIZES: [&str; 10] = [
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "BYTES_SENT",
    "UPSTREAM_WIRE_BYTES_SENT",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
];

/// What happened on both connections, byte by byte.
#[test]
fn sizes_on_the_wire() {
    const REQUEST: &str = "POST /p HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n";
    const BODY: &str = "4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n";
    const RESPONSE: &str = "HTTP/1.1 200 OK\r\nServer: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    const ANSWER: &str = "A\r\n0123456789\r\n0\r\n\r\n";
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let requests = seen.clone();
    let origin = Origin::raw(move |mut connection, _| {
        let mut request = Vec::new();
        while !request.ends_with(b"0\r\n\r\n") && connection.some() {
            request.extend(connection.take_buffered());
        }
        requests.lock().expect("no panic").push(request);
        // In two parts, so that head and body do not come together.
        connection.send(RESPONSE.as_bytes());
        std::thread::sleep(std::time::Duration::from_millis(20));
        connection.send(ANSWER.as_bytes());
        while connection.some() {
            connection.take_buffered();
        }
    });
    let format = SIZES.map(|name| format!("%{name}%")).join(" ");
    let proxy = logging(origin.address, &format!("{{ path = \"DIR/log\", format = \"{format}\" }}"));
    let mut client = proxy.connect();
    client.send(format!("{REQUEST}{BODY}").as_bytes());
    let mut response = Vec::new();
    while !response.ends_with(b"0\r\n\r\n") && client.some() {
        response.extend(client.take_buffered());
    }
    let line = proxy.log_lines("log", 1).remove(0);
    let request = seen.lock().expect("no panic").remove(0);
    let head = |message: &[u8]| message.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
    let expected = [
        REQUEST.len() + BODY.len(),
        REQUEST.len(),
        6,
        response.len(),
        head(&response),
        10,
        request.len(),
        head(&request),
        RESPONSE.len() + ANSWER.len(),
        RESPONSE.len(),
    ];
    for ((name, value), expected) in SIZES.iter().zip(line.split(' ')).zip(expected) {
        assert_eq!(value, expected.to_string(), "{name} in {line}");
    }
}

#[rustfmt::skip]
const POINTS: [&str; 10] = [
    "DS_RX_BEG", "US_CX_BEG", "US_CX_END", "US_TX_BEG", "US_TX_END", "US_RX_BEG", "DS_TX_BEG", "US_RX_BODY_BEG",
    "US_RX_END", "DS_TX_END",
];

/// The moments of an exchange are in order, and the pauses in between are where they were.
#[test]
fn moments_of_an_exchange() {
    let origin = Origin::recording(|connection, _, _| {
        let pause = || std::thread::sleep(std::time::Duration::from_millis(60));
        pause();
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        pause();
        connection.send(b"ab");
        pause();
        connection.send(b"cd");
        true
    });
    let pairs = POINTS.windows(2).map(|pair| format!("%COMMON_DURATION({}:{}:us)%", pair[0], pair[1]));
    let format = pairs.collect::<Vec<_>>().join(" ");
    let proxy = logging(
        origin.address,
        &format!(
            "{{ path = \"DIR/log\", format = \"{format} %DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %REQUEST_TX_DURATION%\" }}"
        ),
    );
    assert_eq!(proxy.get("/").status(), 200);
    let line = proxy.log_lines("log", 1).remove(0);
    // What is not a number is absent or negative.
    let values: Vec<u64> = line.split(' ').map(|value| value.parse().unwrap_or_else(|_| panic!("{line}"))).collect();
    let (between, totals) = values.split_at(POINTS.len() - 1);
    // The origin waits after the request has come and twice more; a busy machine only adds to that.
    let (head, all): (u64, u64) = (between[4], between[4..8].iter().sum());
    assert!(head >= 55_000 && all >= 170_000, "{line}");
    assert!(totals[0] >= 170 && totals[1] >= 55 && totals[2] <= totals[0] && totals[3] <= totals[1], "{line}");
}

#[rustfmt::skip]
const OPERATORS: [&str; 25] = [
    "PATH", "PATH(NQ)", "QUERY_PARAM(q)", "QUERY_PARAM(q):3", "QUERY_PARAMS(DECODED)", "REQ_WITHOUT_QUERY(:PATH)",
    "UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_REMOTE_PORT", "UPSTREAM_HOST_NAME", "UPSTREAM_PROTOCOL",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT", "UPSTREAM_TRANSPORT_FAILURE_REASON", "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT(8)", "RESPONSE_FLAGS_LONG", "STREAM_ID", "FILTER_CHAIN_NAME",
    "ACCESS_LOG_TYPE", "LOCAL_REPLY_BODY", "START_TIME(%Y)", "EMIT_TIME(%s.%3f)", "UPSTREAM_CONNECTION_ID", "UNIQUE_ID",
    "REQUEST_HEADERS_BYTES", "RESPONSE_HEADERS_BYTES",
];

/// A dozen operators that need what the proxy knows of both connections, of paths and of queries.
#[test]
fn operators_with_arguments() {
    let origin = echo();
    let coalesce = r#"%COALESCE({"operators": [{"command": "REQ", "param": "X-NONE"}, "UPSTREAM_CLUSTER"]})%"#;
    let labelled = |operator: &&str| format!("{}=%{operator}%|", operator.replace('%', "%%"));
    let format: String = OPERATORS.iter().map(labelled).chain([coalesce.to_owned()]).collect();
    // The harness replaces DIR by a directory.
    let format = format!("{format:?}").replace("DIRECT", "\\u0044IRECT");
    // So that the client says the request's id.
    let http = format!("use_remote_address = false\naccess_log = [{{ path = \"DIR/log\", format = {format} }}]");
    let proxy = Setup::new(&forwarding(origin.address, &http)).runtime("access_log_flush_interval = \"5ms\"").start();
    let mut client = proxy.connect();
    let local = client.stream.local_addr().expect("bound");
    for _ in 0..2 {
        client.send(b"GET /p?q=a%20%22b&r HTTP/1.1\r\nHost: example.com\r\nX-Request-Id: id-1\r\n\r\n");
        assert_eq!(client.response().status(), 200);
    }
    let lines = proxy.log_lines("log", 2);
    let value = |line: usize, operator: &str| {
        let part = lines[line].split('|').find_map(|part| part.strip_prefix(operator)?.strip_prefix('='));
        part.unwrap_or_else(|| panic!("{operator} in {}", lines[line])).to_owned()
    };
    let host = origin.address.to_string();
    for (operator, expected) in [
        ("PATH", "/p?q=a%20%22b&r"),
        ("PATH(NQ)", "/p"),
        ("QUERY_PARAM(q)", r"a \x22b"),
        ("QUERY_PARAM(q):3", r"a \x22"),
        ("QUERY_PARAMS(DECODED)", r"q=a \x22b&r"),
        ("REQ_WITHOUT_QUERY(:PATH)", "/p"),
        ("UPSTREAM_REMOTE_ADDRESS", &host),
        ("UPSTREAM_REMOTE_PORT", &origin.address.port().to_string()),
        ("UPSTREAM_HOST_NAME", &host),
        ("UPSTREAM_PROTOCOL", "HTTP/1.1"),
        ("UPSTREAM_REQUEST_ATTEMPT_COUNT", "1"),
        ("UPSTREAM_TRANSPORT_FAILURE_REASON", "-"),
        ("DOWNSTREAM_REMOTE_PORT", &local.port().to_string()),
        ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT(8)", "127.0.0.0/8"),
        ("RESPONSE_FLAGS_LONG", "-"),
        ("STREAM_ID", "id-1"),
        ("FILTER_CHAIN_NAME", "default"),
        ("ACCESS_LOG_TYPE", "DownstreamEnd"),
        ("LOCAL_REPLY_BODY", "-"),
    ] {
        assert_eq!(value(0, operator), expected, "{operator}");
    }
    assert!(lines.iter().all(|line| line.ends_with("|app")), "{lines:?}");
    let year: u32 = value(0, "START_TIME(%Y)").parse().expect("a year");
    assert!(year >= 2025);
    let (seconds, millis) =
        value(0, "EMIT_TIME(%s.%3f)").split_once('.').map(|(s, m)| (s.len(), m.len())).expect("both");
    assert_eq!((seconds, millis), (10, 3));
    // The same connection twice, but another id each time.
    assert_eq!(value(0, "UPSTREAM_CONNECTION_ID"), value(1, "UPSTREAM_CONNECTION_ID"));
    assert!(value(0, "UPSTREAM_CONNECTION_ID").parse::<u64>().is_ok());
    assert_ne!(value(0, "UNIQUE_ID"), value(1, "UNIQUE_ID"));
    for operator in ["REQUEST_HEADERS_BYTES", "RESPONSE_HEADERS_BYTES"] {
        assert!(value(0, operator).parse::<u64>().expect("a number") > 40, "{operator}");
    }
}

/// Why there is no response, in words.
#[test]
fn a_failed_connect_and_a_local_reply() {
    let proxy = logging(
        super::support::dead_address(),
        "{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_PROTOCOL% [%UPSTREAM_TRANSPORT_FAILURE_REASON%] [%LOCAL_REPLY_BODY%] %COMMON_DURATION(DS_RX_BEG:US_TX_BEG)%\" }",
    );
    let response = proxy.get("/");
    assert_eq!(response.status(), 503);
    assert_eq!(
        proxy.log_lines("log", 1)[0],
        format!("503 UF UpstreamConnectionFailure 1 - [connection refused] [{}] -", response.text())
    );
}

/// How the exchange ended can be told to the client, too (Envoy knows it when it edits the response).
#[test]
fn the_ending_in_header_values() {
    let value = "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%";
    let http = format!("response_headers_to_add = [{{ name = \"x-ending\", value = \"{value}\" }}]");
    let origin = echo();
    for (address, expected) in [
        (origin.address, "- via_upstream"),
        (super::support::dead_address(), "UF upstream_reset_before_response_started"),
    ] {
        let answer = Setup::new(&forwarding(address, &http)).start().get("/");
        let said = answer.field("x-ending").expect("a field");
        assert!(said.starts_with(expected), "{said}");
    }
}

/// Operators in the values of header fields: a value that would be empty adds no field, and what a client encodes
/// stays within its field (CWE-113).
#[test]
fn operators_in_header_values() {
    let origin = echo();
    let http = "request_headers_to_add = [{ name = \"x-client\", value = \"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\" }, \
                { name = \"x-q\", value = \"<%QUERY_PARAM(q)%>\" }, { name = \"x-none\", value = \"%REQ(X-ABSENT)%\" }]\n\
                response_headers_to_add = [{ name = \"x-route\", value = \"%ROUTE_NAME%/%UPSTREAM_CLUSTER%/%RESP(X-CUSTOM)%\" }]";
    let config = forwarding(origin.address, http).replace("routes = [{ match", "routes = [{ name = \"all\", match");
    let proxy = Setup::new(&config).start();
    let mut client = proxy.connect();
    let answer = client.get("/?q=a%0d%0aX-Evil:%201%00");
    assert_eq!(answer.field("x-route"), Some("all/app/from upstream"));
    let request = origin.last();
    assert_eq!(request.field("x-client"), Some("127.0.0.1"));
    assert_eq!(request.field("x-q"), Some("<a  X-Evil: 1 >"));
    assert_eq!((request.field("x-none"), request.field("x-evil")), (None, None));
}

/// A last try that reaches no endpoint has nothing of the connection of the one before it.
#[test]
fn what_is_told_of_a_connection_is_of_the_last_try() {
    let origin = Origin::answering(|_| response(503, &[], "no"));
    // Three, so that two tries in turn end now at this one and now at that one.
    let (live, dead) = (origin.address, [dead_address(), SocketAddr::from(([127, 0, 0, 2], dead_address().port()))]);
    let config = format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
response_headers_to_add = [{{ name = "x-remote", value = "to %UPSTREAM_REMOTE_ADDRESS%" }}]
access_log = [{{ path = "DIR/log", format = "%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_PROTOCOL% %UPSTREAM_WIRE_BYTES_SENT%" }}]
[[listeners.http.routes]]
match = {{ prefix = "/" }}
[listeners.http.routes.route]
cluster = "app"
retry_policy = {{ retry_on = ["5xx"], num_retries = 1, retry_back_off = {{ base_interval = "1ms" }} }}
[[clusters]]
name = "app"
endpoints = ["{live}", "{}", "{}"]
"#,
        dead[0], dead[1]
    );
    let proxy = Setup::new(&config).runtime("access_log_flush_interval = \"5ms\"").start();
    let mut ends = [0, 0];
    for count in 1..=8 {
        let answer = proxy.connect().get("/");
        assert_eq!(answer.status(), 503);
        let line = proxy.log_lines("log", count).remove(count - 1);
        let end = dead.iter().find(|dead| line.starts_with(&dead.to_string()));
        ends[usize::from(end.is_some())] += 1;
        let header = answer.field("x-remote").expect("it is added");
        if let Some(dead) = end {
            assert_eq!((&*line, header.trim()), (&*format!("{dead} - - 0"), "to"));
        } else {
            assert!(line.starts_with(&format!("{live} {live} HTTP/1.1 ")), "{line}");
            assert_eq!(header, format!("to {live}"));
        }
    }
    assert!(ends[0] > 0 && ends[1] > 0, "each is the last one now and then: {ends:?}");
}

/// The host that a client asked for goes before the one that the route has made of it.
#[test]
fn the_requested_name_may_be_the_host_of_the_request() {
    let origin = hello();
    let format = ["", "(SNI_FIRST)", "(HOST_FIRST)", "(HOST_FIRST:HOST)", "(SNI_FIRST:ORIG)"]
        .map(|sources| format!("%REQUESTED_SERVER_NAME{sources}%"));
    let log = format!("access_log = [{{ path = \"DIR/names\", format = \"{}\" }}]", format.join(" "));
    let config = secured(origin.address, "certificate = \"a.pem\", key = \"a.key\"", &log)
        .replace("cluster = \"app\"", "cluster = \"app\", host_rewrite = \"inside\"");
    let setup = Setup::new(&config);
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    let proxy = setup.start();
    let to_address = format!("https://{}/", proxy.addresses[0]);
    for (url, more) in
        [("https://a.example/", &["-H", "Host: b.example"][..]), (&to_address, &["-H", "Host: b.example", "-k"])]
    {
        let answer = curl_to(&proxy, &pki, url, more);
        assert_eq!(answer.status, 200);
        assert_eq!(origin.last().field("host"), Some("inside"));
    }
    let lines = ["a.example a.example b.example inside a.example", "- b.example b.example inside b.example"];
    assert_eq!(proxy.log_lines("names", 2), lines);
}
