//! Origins that die and come back under load: with retries on, no request fails.

use super::retries::retrying;
use super::support::{Client, Connection, Ringway, eventually, imbalances, response};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Requests on a few connections from as many threads, each of which must succeed.
struct Load {
    threads: Vec<std::thread::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
}

impl Load {
    fn start(proxy: &Ringway, connections: usize) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let address = proxy.address(0);
        let thread = |number| {
            let (stop, count) = (stop.clone(), count.clone());
            std::thread::spawn(move || {
                let mut client = Client::open(address);
                let mut turn = 0;
                while !stop.load(Ordering::Relaxed) {
                    let body = format!("{number}-{turn}");
                    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
                    client.send((head + &body).as_bytes());
                    let answer = client.response();
                    assert_eq!((answer.status(), answer.text()), (200, body.as_str()), "request {turn} of {number}");
                    count.fetch_add(1, Ordering::Relaxed);
                    turn += 1;
                }
            })
        };
        let threads = (0..connections).map(thread).collect();
        Self { threads, stop, count }
    }

    /// Wait for that many `requests` more. A thread that failed shows at the end.
    fn more(&self, requests: usize) {
        let until = self.count.load(Ordering::Relaxed) + requests;
        eventually("requests are answered", || {
            self.count.load(Ordering::Relaxed) >= until || self.threads.iter().any(|thread| thread.is_finished())
        });
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no failed request"));
    }
}

/// An origin that can be killed with all its connections, and started again on its port.
struct Mortal {
    address: SocketAddr,
    dead: Arc<AtomicBool>,
    acceptor: Option<std::thread::JoinHandle<()>>,
}

impl Mortal {
    fn start(address: SocketAddr) -> Self {
        let mut listener = None;
        eventually("the port is free again", || {
            listener = TcpListener::bind(address).ok();
            listener.is_some()
        });
        let listener = listener.expect("bound");
        let address = listener.local_addr().expect("bound");
        let dead = Arc::new(AtomicBool::new(false));
        let seen = dead.clone();
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                stream.set_nodelay(true).expect("TCP_NODELAY");
                let dead = seen.clone();
                std::thread::spawn(move || {
                    let mut connection = Connection::new(stream);
                    while let Some(request) = connection.request() {
                        if dead.load(Ordering::Acquire) {
                            return connection.reset();
                        }
                        if !connection.try_send(&response(200, &[], &request.body)) {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, dead, acceptor: Some(acceptor) }
    }

    /// From now on nothing is answered, connections break, and the port is closed.
    fn kill(&mut self) {
        self.dead.store(true, Ordering::Release);
        drop(std::net::TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().expect("no panic");
        }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.kill();
    }
}

const ANY_PORT: &str = "127.0.0.1:0";
const RESILIENT: &str = "retry_on = [\"connect-failure\", \"reset\"], num_retries = 5, \
                         retry_host_predicate = [\"previous_hosts\"], host_selection_retry_max_attempts = 10";

#[test]
fn killing_one_of_three_origins_under_load_fails_no_request() {
    let mut origins: Vec<_> = (0..3).map(|_| Mortal::start(ANY_PORT.parse().expect("an address"))).collect();
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let proxy = retrying(&addresses, RESILIENT);
    let load = Load::start(&proxy, 30);
    load.more(200);
    origins[1].kill();
    load.more(400);
    load.end();
    assert!(proxy.stat("cluster.app.upstream_rq_retry_success") > 0);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_5xx"), 0);
    assert_balanced(&proxy);
}

/// Nothing is under way any more: the statistics add up.
fn assert_balanced(proxy: &Ringway) {
    proxy.wait_for_stat("cluster.app.upstream_rq_active", 0);
    let found = imbalances(|name| proxy.stat(&format!("cluster.app.{name}")));
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn restarting_origins_one_after_another_under_load_fails_no_request() {
    let mut origins: Vec<_> = (0..3).map(|_| Mortal::start(ANY_PORT.parse().expect("an address"))).collect();
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let proxy = retrying(&addresses, RESILIENT);
    let load = Load::start(&proxy, 8);
    for _ in 0..2 {
        for origin in &mut origins {
            load.more(100);
            origin.kill();
            load.more(100);
            *origin = Mortal::start(origin.address);
        }
    }
    load.end();
    assert!(proxy.stat("cluster.app.upstream_rq_retry_success") > 0);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_5xx"), 0);
    assert_balanced(&proxy);
}
