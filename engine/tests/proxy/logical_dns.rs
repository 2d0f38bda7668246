//! A name that is one endpoint, wherever it is: its address changes, and nothing else about it (docs/DISCOVERY.md).

use super::dns::{Everywhere, LOGICAL, OFTEN, config, endpoints};
use super::name_server::{NameServer, addresses};
use super::support::{Origin, Ringway, eventually, response};
use std::net::{Ipv4Addr, SocketAddr};

const NAME: &str = r#"["a.test:PORT"]"#;

fn at(last: u8, origin: &Everywhere) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 0, last), origin.port).into()
}

/// Another answer, until the endpoint is there.
fn move_to(last: u8, server: &NameServer, proxy: &Ringway, origin: &Everywhere) {
    server.set("a.test", addresses(&[&at(last, origin).ip().to_string()]));
    eventually("it has moved", || endpoints(proxy) == [at(last, origin).to_string()].into());
}

/// New connections go to the address that is currently first, open ones stay.
#[test]
fn connections_stay() {
    let origin = Everywhere::start();
    let server = NameServer::with("a.test", addresses(&["127.0.0.1", "127.0.0.8"]));
    let proxy = Ringway::start(&config(&server, &origin, OFTEN, LOGICAL, NAME));
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "127.0.0.1");
    move_to(2, &server, &proxy, &origin);
    assert_eq!(client.get("/").text(), "127.0.0.1", "on the connection that is in the pool");
    assert_eq!(proxy.stat("cluster.app.upstream_cx_total"), 1);
    client.send(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    proxy.wait_for_stat("cluster.app.upstream_rq_active", 1);
    assert_eq!(proxy.get("/").text(), "127.0.0.2", "a new connection");
    assert_eq!(proxy.stat("cluster.app.membership_total"), 1);
    origin.release();
    assert_eq!(client.response().text(), "127.0.0.1");
}

/// No check is made because of a new address, and the endpoint is healthy all the time.
#[test]
fn health_and_statistics_stay() {
    let origin = Everywhere::start();
    let server = NameServer::with("a.test", addresses(&["127.0.0.1"]));
    let checks = "[[clusters.health_checks]]\nhttp.path = \"/\"\ninterval = \"1h\"\nno_traffic_interval = \"1h\"";
    let proxy = Ringway::start(&config(&server, &origin, OFTEN, &format!("{LOGICAL}\n{checks}"), NAME));
    (0..3).for_each(|_| assert_eq!(proxy.get("/").text(), "127.0.0.1"));
    for last in 2..9 {
        move_to(last, &server, &proxy, &origin);
        assert_eq!(proxy.health_flags(at(last, &origin)), "healthy");
        assert_eq!(proxy.endpoint_figure(at(last, &origin), "rq_total"), "3");
    }
    let shown = ["membership_change", "membership_healthy", "health_check.attempt", "health_check.healthy"]
        .map(|name| proxy.stat(&format!("cluster.app.{name}")));
    assert_eq!(shown, [1, 1, 1, 1]);
}

/// An endpoint ejected for bad answers does not come back by moving.
#[test]
fn an_ejection_stays() {
    let origin = Everywhere::start();
    let server = NameServer::with("a.test", addresses(&["127.0.0.1"]));
    let outlier = "outlier_detection = { consecutive_5xx = 2, max_ejection_percent = 100, base_ejection_time = \"1h\", \
                   max_ejection_time = \"1h\" }";
    let proxy = Ringway::start(&config(&server, &origin, OFTEN, &format!("{LOGICAL}\n{outlier}"), NAME));
    assert_eq!(proxy.get("/fail").status(), 503);
    move_to(2, &server, &proxy, &origin);
    assert_eq!(proxy.health_flags(at(2, &origin)), "healthy");
    assert_eq!(proxy.get("/fail").status(), 503, "the second in a row");
    eventually("it is out", || proxy.health_flags(at(2, &origin)) == "/failed_outlier_check");
    move_to(3, &server, &proxy, &origin);
    assert_eq!(proxy.health_flags(at(3, &origin)), "/failed_outlier_check");
    let shown = ["ejections_active", "ejections_enforced_total"]
        .map(|name| proxy.stat(&format!("cluster.app.outlier_detection.{name}")));
    assert_eq!(shown, [1, 1]);
}

/// Addresses are tried one after the other, the next one at once where one refuses and soon where one says nothing: the
/// request notices neither.
#[test]
fn the_next_address_is_tried_where_one_cannot_be_reached() {
    let origin = Origin::answering(|_| response(200, &[], "here"));
    let port = origin.address.port();
    // Nothing listens on the first one. On the second one the queue of new connections is full, so that it says nothing.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    full.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, 77), port)).into()).expect("a free port");
    full.listen(0).expect("it listens");
    let blocked: Vec<_> = (0..3)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("set");
            let _ = socket.connect(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, 77), port)).into());
            socket
        })
        .collect();
    let server = NameServer::with("a.test", addresses(&["127.0.0.66", "127.0.0.77", "127.0.0.1"]));
    let text = config(&server, &Everywhere::start(), "", LOGICAL, &format!("[\"a.test:{port}\"]"));
    let proxy = Ringway::start(&text);
    for _ in 0..3 {
        let answer = proxy.get("/");
        assert_eq!((answer.status(), answer.text()), (200, "here"));
    }
    let shown = ["upstream_cx_total", "upstream_cx_connect_fail", "membership_total"]
        .map(|name| proxy.stat(&format!("cluster.app.{name}")));
    assert_eq!(shown, [1, 0, 1]);
    drop(blocked);
}
