//! gRPC-Web through the filter `grpc_web`: real clients, and what goes over the wire.

use super::grpc::{ALL, node_script, proxy, python};
use super::support::{Message, Origin, Ringway, Server, Setup, forwarding, forwarding_to, must_run, program};
use data_encoding::BASE64;

const FILTERS: &str = "http_filters = [{ grpc_web = {} }, { grpc_stats = {} }]";

fn start(server: &Server) -> Ringway {
    let log = "access_log = [{ path = \"log\", format = \"%GRPC_STATUS_NUMBER% %RESPONSE_CODE_DETAILS%\" }]";
    proxy(&[server.address], &format!("{FILTERS}\n{log}\n{ALL}"), "")
}

/// A message of gRPC.
fn message(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u32).to_be_bytes();
    [&[0], &length[..], bytes].concat()
}

fn trailers(lines: &str) -> Vec<u8> {
    [&[0x80], &(lines.len() as u32).to_be_bytes()[..], lines.as_bytes()].concat()
}

fn post(ringway: &Ringway, method: &str, fields: &str, pieces: &[&[u8]]) -> Message {
    let mut client = ringway.connect();
    let head = format!("POST /test.Echo/{method} HTTP/1.1\r\nHost: h\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
    client.send(head.as_bytes());
    for piece in pieces {
        client.try_send(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    client.try_send(b"0\r\n\r\n");
    client.response()
}

#[test]
fn clients_as_in_browsers_are_served() {
    let server = Server::start(python("server.py"));
    let ringway = start(&server);
    let calls = ["Unary", "hello", "Down", "3x70000", "Status", "9:no: 100 %", "Nowhere", ""];
    let said = must_run(node_script("web.js").arg(format!("http://{}", ringway.address(0))).args(calls));
    let once =
        "message 5\nOK\nmessage 70000\nmessage 70000\nmessage 70000\nOK\nFailedPrecondition no: 100 %\nUnimplemented ";
    let halves: Vec<_> = said.match_indices("message 5").map(|(at, _)| at).collect();
    assert_eq!(halves.len(), 2, "{said}");
    assert!(said.starts_with(once) && said[halves[1]..].starts_with(once), "{said}");
    ringway.wait_for_stat("cluster.app.grpc.total", 8);
    let stat = |name: &str| ringway.stat(&format!("cluster.app.grpc-web.{name}"));
    assert_eq!((stat("test.Echo.Unary.success"), stat("test.Echo.Down.0"), stat("other.12")), (2, 2, 2));
    assert_eq!((stat("test.Echo.Status.9"), stat("test.Echo.Status.failure")), (2, 2));
    assert_eq!(ringway.stat("cluster.app.grpc.response_message_count"), 2 + 6);
}

#[test]
fn bodies_become_what_the_other_side_knows() {
    let server = Server::start(python("server.py"));
    let ringway = start(&server);
    let answer = [message(b"ab"), trailers("grpc-status:0\r\n")];
    let binary = "Content-Type: application/grpc-web+proto\r\n";
    let response = post(&ringway, "Unary", binary, &[&message(b"ab")[..3], &message(b"ab")[3..]]);
    assert_eq!(response.status(), 200);
    assert_eq!(response.field("content-type"), Some("application/grpc-web+proto"));
    assert!(response.body.starts_with(&answer[0]) && response.body[7] == 0x80, "{:?}", response.body);
    // Base64, cut anywhere and padded in the middle; the answer is base64, each frame for itself.
    let text = format!("{}{}", BASE64.encode(&message(b"ab")[..4]), BASE64.encode(&message(b"ab")[4..]));
    let pieces: Vec<_> = text.as_bytes().chunks(3).collect();
    let response = post(&ringway, "Unary", "Content-Type: application/grpc-web-text\r\n", &pieces);
    assert_eq!(response.field("content-type"), Some("application/grpc-web-text+proto"));
    assert!(response.body.starts_with(BASE64.encode(&answer[0]).as_bytes()), "{}", response.text());
    let frames = BASE64.decode(&response.body).expect("texts one behind the other");
    assert!(frames[7] == 0x80 && frames.windows(13).any(|part| part == b"grpc-status:0"), "{frames:?}");
    // The same over HTTP/2.
    let mut curl = program("curl");
    curl.args(["-s", "--http2-prior-knowledge", "-H", "content-type: application/grpc-web-text", "-d", &text]);
    let said = must_run(curl.arg(format!("http://{}/test.Echo/Unary", ringway.address(0))));
    assert_eq!(said, response.text());
    // What is accepted decides.
    let response = post(&ringway, "Unary", &format!("{binary}Accept: application/grpc-web-text\r\n"), &[&message(b"")]);
    assert!(response.body.starts_with(BASE64.encode(&message(b"")).as_bytes()), "{}", response.text());
}

/// Bodies in base64 pass in pieces for which there is room.
#[test]
fn small_buffers_are_enough() {
    let server = Server::start(python("server.py"));
    let config = forwarding_to(&[server.address], FILTERS, "protocol = \"http2\"");
    let ringway = Setup::new(&config).runtime("buffer_size = \"1KiB\"").start();
    let sent = message(&[b'x'; 20_000]);
    let text = BASE64.encode(&sent);
    let response = post(&ringway, "Unary", "Content-Type: application/grpc-web-text\r\n", &[text.as_bytes()]);
    assert!(response.complete && response.body.starts_with(text.as_bytes()), "{}", response.text());
}

/// Errors of the proxy are statuses to these clients, too: in the head, with an empty body.
#[test]
fn errors_are_statuses() {
    let server = Server::start(python("server.py"));
    let ringway = start(&server);
    let text = "Content-Type: application/grpc-web-text\r\n";
    for (pieces, details) in [
        (["AAAA", "A!=="], "grpc_base_64_decode_failed_bad_data"),
        (["AAAA", "AAA"], "grpc_base_64_decode_failed_bad_size"),
    ] {
        let response = post(&ringway, "Up", text, &pieces.map(str::as_bytes));
        assert_eq!((response.status(), response.field("grpc-status")), (200, Some("13")), "{details}");
        assert_eq!(response.field("content-type"), Some("application/grpc-web-text+proto"));
        assert!(response.body.is_empty());
        ringway.log_lines("log", 1);
    }
    let lines = ringway.log_lines("log", 2);
    assert_eq!(lines, ["13 grpc_base_64_decode_failed_bad_data", "13 grpc_base_64_decode_failed_bad_size"]);
    // Other requests are not touched.
    assert_ne!(ringway.get("/test.Echo/Unary").field("content-type"), Some("application/grpc-web+proto"));
    drop(server);
    let response = post(&ringway, "Unary", text, &[]);
    assert_eq!((response.status(), response.field("grpc-status")), (200, Some("14")));
    assert!(response.field("grpc-message").is_some_and(|message| !message.is_empty()));
}

/// A response that is none of gRPC passes as it is: a 204 has no length (RFC 9110 section 8.6).
#[test]
fn other_responses_pass_unchanged() {
    let origin = Origin::answering(|_| b"HTTP/1.1 204 No Content\r\nX-Own: yes\r\n\r\n".to_vec());
    let ringway = Ringway::start(&forwarding(origin.address, FILTERS));
    let response = post(&ringway, "Unary", "Content-Type: application/grpc-web\r\n", &[]);
    assert_eq!((response.status(), response.field("x-own")), (204, Some("yes")));
    assert_eq!((response.field("content-length"), response.field("transfer-encoding")), (None, None));
}

/// An endpoint that is gone between two messages ends the body with a status; within one, the body is left incomplete.
#[test]
fn calls_that_break_off_say_so() {
    let hi = message(b"hi");
    for (way, is_whole) in [("between", true), ("close", false)] {
        let mut broken = python("broken.py");
        broken.arg(way);
        let server = Server::start(broken);
        let ringway = start(&server);
        let answer = post(&ringway, "Down", "Content-Type: application/grpc-web\r\n", &[&hi]);
        assert_eq!(answer.complete, is_whole, "{way}: {:?}", answer.body);
        assert!(answer.body.starts_with(&hi));
        let text = "Content-Type: application/grpc-web-text\r\n";
        let answer_text = post(&ringway, "Down", text, &[BASE64.encode(&hi).as_bytes()]);
        assert_eq!(answer_text.complete, is_whole, "{way}: {}", answer_text.text());
        if is_whole {
            let frames = BASE64.decode(&answer_text.body).expect("base64");
            assert_eq!(frames, answer.body);
            let status = &frames[hi.len() + 5..];
            assert!(frames[hi.len()] == 0x80 && status.starts_with(b"grpc-status:14\r\ngrpc-message:"), "{frames:?}");
        }
        let expected = if is_whole {
            "cluster.app.grpc-web.test.Echo.Down.14"
        } else {
            "cluster.app.grpc-web.test.Echo.Down.failure"
        };
        ringway.wait_for_stat(expected, 2);
    }
}
