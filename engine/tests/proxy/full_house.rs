//! A full house: at a limit, the connection that has been idle longest makes room for a new one, on whichever shard it is.

use super::support::{Client, Origin, Ringway, Setup, eventually, forwarding, response};

fn config(origin: &Origin, listener: &str) -> String {
    let config = forwarding(origin.address, "");
    config.replace("stat_prefix = \"main\"", &format!("stat_prefix = \"main\"\n{listener}"))
}

fn start(origin: &Origin, listener: &str, runtime: &str) -> Ringway {
    Setup::new(&config(origin, listener)).runtime("shards = 2").runtime(runtime).start()
}

fn origin() -> Origin {
    Origin::answering(|_| response(200, &[], "ok"))
}

/// Three clients that keep their connections, and more clients, one after the other, which the kernel gives to either shard.
#[test]
fn each_new_connection_replaces_the_one_that_has_been_idle_longest() {
    let origin = origin();
    for (listener, runtime) in [("max_connections = 3", ""), ("", "max_connections = 3")] {
        let proxy = start(&origin, listener, runtime);
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..3 {
            clients.push(proxy.connect());
            assert_eq!(clients.last_mut().expect("just made").get("/").status(), 200);
        }
        for _ in 0..20 {
            let mut new = proxy.connect();
            assert_eq!(new.get("/").status(), 200);
            clients.remove(0).expect_end();
            clients.push(new);
        }
        assert_eq!(proxy.stat("listener.main.downstream_cx_evicted"), 20);
        let refused = ["downstream_cx_overflow", "downstream_global_cx_overflow"];
        assert_eq!(refused.map(|name| proxy.stat(&format!("listener.main.{name}"))), [0, 0]);
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    }
}

#[test]
fn a_client_replaces_its_own_connections() {
    let origin = origin();
    let proxy = start(&origin, "max_connections_per_client = 2", "");
    let mut clients = [proxy.connect(), proxy.connect()];
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    let mut new = proxy.connect();
    assert_eq!(new.get("/").status(), 200);
    proxy.wait_for_stat("listener.main.downstream_cx_active", 2);
    // Both, or the new one and one of those before, are busy: the next one is refused.
    let half = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n";
    new.send(half);
    for client in &mut clients {
        client.try_send(half);
    }
    proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 2);
    proxy.connect().expect_end();
    assert_eq!(proxy.stat("listener.main.downstream_cx_client_overflow"), 1);
    proxy.wait_for_log("key=\"listeners[].max_connections_per_client\" limit=2 refused=1");
    drop(clients);
    eventually("there is room again", || proxy.stat("listener.main.downstream_cx_active") == 1);
    assert_eq!(proxy.connect().get("/").status(), 200);
    // A reload changes the limit.
    proxy.write_config(&config(&origin, ""));
    assert!(proxy.reload());
    let mut many: Vec<Client> = (0..10).map(|_| proxy.connect()).collect();
    many.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    many.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
}

/// Many clients for few places, each with one request after the other: every request that was begun is answered, and a
/// connection that is closed was idle.
#[test]
fn no_request_is_lost_to_new_connections() {
    let origin = origin();
    let proxy = start(&origin, "max_connections = 4", "");
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                let mut client = proxy.connect();
                let mut served = 0;
                while served < 50 {
                    // The close of an idle connection may cross a request: nothing is answered then, and it is sent again.
                    let sent = client.try_send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
                    match client.try_response("GET").filter(|_| sent) {
                        Some(answer) => {
                            assert_eq!((answer.status(), answer.text()), (200, "ok"));
                            served += 1;
                        }
                        None => client = proxy.connect(),
                    }
                }
            });
        }
    });
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_rx_reset"), 0);
    assert!(proxy.stat("listener.main.downstream_cx_evicted") > 0);
    assert!(proxy.stat("http.ingress_http.downstream_rq_2xx") >= 400);
}
