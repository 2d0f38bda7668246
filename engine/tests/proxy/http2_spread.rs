//! HTTP/2 connections over shards: a few of them give work to all.

use super::http2::{BEGIN, h2load, hello};
use super::support::{Client, Pki, Ringway, Setup, forwarding};
use super::tls::secured;
use rustix::process::Signal;

/// Each exchange tells its connection, whose number begins with the shard that serves it.
const LOG: &str = "access_log = [{ path = \"log\", format = \"%CONNECTION_ID%\" }]";

/// The same of each connection, when it ends, with the number of its exchanges.
const CONNECTIONS: &str =
    "access_log = [{ path = \"connections\", format = \"%CONNECTION_ID% %PROTOCOL% %CONNECTION_REQUESTS%\" }]";

/// Of `runtime`: two shards, and a log that is soon there.
const TWO: &str = "shards = 2\naccess_log_flush_interval = \"5ms\"";

/// Exchanges that each of two shards has served.
fn served(proxy: &Ringway, count: usize) -> [usize; 2] {
    let shards = proxy.log_lines("log", count).into_iter().map(|line| line.parse::<u64>().expect("a number") >> 48);
    shards.fold([0; 2], |mut served, shard| {
        served[shard as usize] += 1;
        served
    })
}

/// Neither shard has more than 60 %, and nothing is left of the connections.
fn is_shared(proxy: &Ringway, count: usize, connections: i64) {
    let served = served(proxy, count);
    assert!(served.iter().all(|served| *served <= count * 6 / 10), "{served:?}");
    proxy.wait_for_stat("http.ingress_http.downstream_cx_active", 0);
    for name in ["http.ingress_http.downstream_cx_total", "http.ingress_http.downstream_cx_http2_total"] {
        assert_eq!(proxy.stat(name), connections, "{name}");
    }
    for name in ["listener.main.downstream_cx_total", "listener.main.downstream_cx_destroy"] {
        proxy.wait_for_stat(name, connections);
    }
    // A connection that was accepted by one shard and served by the other has one line.
    let mut exchanges = [0; 2];
    for line in proxy.log_lines("connections", connections as usize) {
        let words: Vec<_> = line.split(' ').collect();
        let [id, requests] = [words[0], words[2]].map(|number| number.parse::<usize>().expect("a number"));
        assert_eq!(words[1], "HTTP/2", "{line}");
        exchanges[id >> 48] += requests;
    }
    assert_eq!(exchanges, served);
    let sum = |name: &str| (0..2).map(|shard| proxy.stat(&format!("shard.{shard}.{name}"))).sum::<i64>();
    assert_eq!(sum("http2_cx_handed_over"), sum("http2_cx_taken_over"));
    assert_eq!((sum("http2_cx_active"), sum("http2_cx_kept")), (0, 0));
    proxy.wait_for_stat("server.total_connections", 0);
}

fn logged(config: String) -> String {
    config.replace("stat_prefix = \"main\"", &format!("stat_prefix = \"main\"\n{CONNECTIONS}"))
}

/// Rounds, since the kernel may spread the connections well by chance.
#[test]
fn four_connections_give_work_to_both_shards() {
    let origin = hello();
    for _ in 0..3 {
        let proxy = Setup::new(&logged(forwarding(origin.address, LOG))).runtime(TWO).start();
        h2load(proxy.address(0), "http", &[]);
        is_shared(&proxy, 2000, 4);
    }
}

#[test]
fn four_connections_over_tls_give_work_to_both_shards() {
    let origin = hello();
    for _ in 0..3 {
        let config = secured(origin.address, "certificate = \"a.pem\", key = \"a.key\"", LOG);
        let setup = Setup::new(&logged(config)).runtime(TWO);
        Pki::new(setup.dir()).issue("a", &["a.example"]);
        let proxy = setup.start();
        h2load(proxy.address(0), "https", &[]);
        is_shared(&proxy, 2000, 4);
    }
}

/// Connections that have been moved outlive a reload, and end with a drain as all do.
#[test]
fn moved_connections_are_reached_by_a_reload_and_a_drain() {
    let origin = hello();
    let config = forwarding(origin.address, LOG);
    let mut proxy = Setup::new(&config).runtime(TWO).start();
    let request = |id: u8| [&[0, 0, 6, 1, 5, 0, 0, 0, id][..], b"\x82\x86\x84\x41\x01h"].concat();
    let mut clients: Vec<Client> = (0..6).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send(BEGIN);
    }
    proxy.wait_for_stat("http.ingress_http.downstream_cx_http2_active", 6);
    assert_eq!([0, 1].map(|shard| proxy.stat(&format!("shard.{shard}.http2_cx_active"))), [3, 3]);
    clients.iter_mut().for_each(|client| client.send(&request(1)));
    proxy.wait_for_stat("http.ingress_http.downstream_rq_2xx", 6);
    assert!(proxy.reload());
    clients.iter_mut().for_each(|client| client.send(&request(3)));
    assert_eq!(served(&proxy, 12), [6, 6]);
    proxy.signal(Signal::TERM);
    // They are told, and do not answer.
    for client in &mut clients {
        while client.some() {
            client.take_buffered();
        }
    }
    assert_eq!(proxy.wait().code(), Some(0));
}
