//! `local_reply`: what clients are told when the proxy answers by itself.

use super::support::{Connection, Origin, Ringway, Setup, dead_address, forwarding, response};
use serde_json::Value;

fn get(proxy: &Ringway, target: &str, fields: &str) -> super::support::Message {
    let mut client = proxy.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
    client.response()
}

/// By status, flags and request; the first that takes a reply. Responses of upstreams stay as they are.
#[test]
fn replies_are_changed_by_what_they_are() {
    let origin = Origin::answering(|_| response(404, &["content-type: a/b"], "of the upstream"));
    let http = r#"
access_log = [{ path = "DIR/log", format = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %BYTES_SENT%" }]
local_reply = [
  { filter = { header = { name = "accept", exact = "application/json" } }, json = { code = "%RESPONSE_CODE%", said = "%LOCAL_REPLY_BODY%", agent = "%REQ(USER-AGENT)%" } },
  { filter = { status = { equal = 404 } }, body_file = "page.html" },
  { filter = { response_flags = ["UF"] }, status_code = 500, format = "sorry: %LOCAL_REPLY_BODY% (%RESPONSE_CODE%)", content_type = "text/x-sorry" },
  { filter = { status = { equal = 418 } }, status_code = 204 },
  { filter = { status = { equal = 403 } }, status_code = 401 },
]
"#;
    let config = forwarding(origin.address, http).replace(
        "routes = [{ match = { prefix = \"/\" }",
        "routes = [\
         { match = { path = \"/dead\" }, route = { cluster = \"dead\" } }, \
         { match = { path = \"/tea\" }, direct_response = { status = 418, body = \"short and stout\" } }, \
         { match = { path = \"/no\" }, direct_response = { status = 403, body = \"no\", content_type = \"text/own\" } }, \
         { match = { path = \"/fine\" }, direct_response = { status = 200, body = \"fine\" } }, \
         { match = { prefix = \"/up\" }",
    ) + &format!("[[clusters]]\nname = \"dead\"\nendpoints = [\"{}\"]\n", dead_address());
    let setup = Setup::new(&config).runtime("access_log_flush_interval = \"5ms\"");
    std::fs::write(setup.dir().join("page.html"), "<p>Nothing at %REQ(:PATH)%, 100%% sure, %REQ(X-A)%</p>")
        .expect("written");
    let proxy = setup.start();
    let answer = get(&proxy, "/up", "");
    assert_eq!((answer.status(), answer.text(), answer.field("content-type")), (404, "of the upstream", Some("a/b")));

    let answer = get(&proxy, "/x?a=<b>&c", "X-A: <script>\"'\r\n");
    let expected = "<p>Nothing at /x?a=&lt;b&gt;&amp;c, 100% sure, &lt;script&gt;&quot;&#39;</p>";
    assert_eq!((answer.status(), answer.text()), (404, expected));
    assert_eq!(answer.all("content-type"), ["text/html"]);
    assert_eq!(answer.field("content-length"), Some(&*expected.len().to_string()));

    let answer = get(&proxy, "/dead", "Accept: application/json\r\nUser-Agent: \"a\\b\"\r\n");
    assert_eq!((answer.status(), answer.all("content-type")), (503, vec!["application/json"]));
    let json: Value = serde_json::from_str(answer.text()).expect("JSON");
    assert_eq!((&json["code"], json["agent"].as_str()), (&Value::from(503), Some("\"a\\b\"")));
    assert!(json["said"].as_str().is_some_and(|said| said.contains("remote connection failure")), "{json}");

    let answer = get(&proxy, "/dead", "");
    assert_eq!((answer.status(), answer.all("content-type")), (500, vec!["text/x-sorry"]));
    let text = answer.text();
    assert!(text.starts_with("sorry: upstream connect error") && text.ends_with(" (500)"), "{text}");

    let answer = get(&proxy, "/tea", "");
    assert_eq!((answer.status(), answer.text(), answer.field("content-type")), (204, "", None));
    let answer = get(&proxy, "/no", "");
    assert_eq!((answer.status(), answer.text(), answer.all("content-type")), (401, "no", vec!["text/own"]));
    let answer = get(&proxy, "/fine", "");
    assert_eq!((answer.status(), answer.text()), (200, "fine"));

    // Without a body, the length of what GET would get; and the connection lives on.
    let mut client = proxy.connect();
    client.send(b"HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = client.try_response("HEAD").expect("an answer");
    assert_eq!((answer.status(), answer.text(), answer.all("content-length").len()), (404, "", 1));
    assert_eq!(client.get("/fine").text(), "fine");

    let lines = proxy.log_lines("log", 9);
    let sent = expected.len();
    assert_eq!(lines[0], "404 via_upstream 15");
    assert_eq!(lines[1], format!("404 route_not_found {sent}"));
    let failed = "500 upstream_reset_before_response_started{remote_connection_failure|connection_refused} ";
    assert!(lines[3].starts_with(failed), "{}", lines[3]);
    assert_eq!(lines[4], "204 direct_response 0");
}

/// A request that cannot be read has a reply, too, and a reload changes it.
#[test]
fn requests_that_cannot_be_read_and_reloads() {
    let config = |reply: &str| {
        format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.http]\nlocal_reply = [{reply}]\n\
             routes = [{{ match = {{ path = \"/\" }}, direct_response = {{ status = 200 }} }}]\n"
        )
    };
    let proxy = Ringway::start(&config("{ format = \"%RESPONSE_CODE% for %REQ(:PATH)%\" }"));
    let bad = || {
        let mut client: Connection<_> = proxy.connect();
        client.send(b"GET / HTTP/1.1\r\nno colon\r\n\r\n");
        let answer = client.response();
        client.expect_end();
        answer
    };
    assert_eq!((bad().status(), bad().text()), (400, "400 for /"));
    assert_eq!(get(&proxy, "/none", "").text(), "404 for /none");
    proxy.write_config(&config("{ filter = { status = { at_least = 404 } }, format = \"new\" }"));
    assert!(proxy.reload(), "{}", proxy.stderr());
    assert_eq!((bad().text(), get(&proxy, "/none", "").text()), ("", "new"));
}
