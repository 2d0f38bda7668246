//! The in-memory shard serves a request end to end.

use ringway::shard::MemoryShard;
use std::future::poll_fn;

const CONFIG: &str = r#"
[[listeners]]
address = "127.0.0.1:1"
http.routes = [{ match = { prefix = "/" }, route = { cluster = "app" } }]
[[clusters]]
name = "app"
endpoints = ["127.0.0.1:2"]
"#;

#[test]
fn one_exchange() {
    let shard = MemoryShard::new(ringway_config::load_str("t", CONFIG).expect("valid"), 1);
    let listener = shard.network.listen(ringway_config::model::Address::Ip("127.0.0.1:2".parse().unwrap()), 65536);
    let reactor = shard.reactor.clone();
    shard.reactor.spawn(async move {
        let origin = poll_fn(|_| listener.poll_accept(&reactor)).await;
        while let Ok(Some(request)) = poll_fn(|_| origin.poll_recv()).await {
            assert!(request.starts_with(b"GET /x HTTP/1.1\r\nhost: h\r\n"), "{request:?}");
            origin.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
    let client = shard.connect(0, "10.0.0.1:1234".parse().unwrap());
    let answer = shard.reactor.block_on(async move {
        client.write(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        poll_fn(|_| client.poll_recv()).await.unwrap().unwrap().to_vec()
    });
    let text = String::from_utf8(answer).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nhi"), "{text}");
}
