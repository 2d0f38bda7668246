//! Kernel entries: what many connections do in one turn goes to the kernel at once.

use crate::support::{Ring, recv};
use ringway::ring::{Segment, Socket};
use std::cell::Cell;
use std::rc::Rc;

const CONNECTIONS: usize = 64;
const EXCHANGES: usize = 200;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// Take a message of this length and pass it on, or `None` at the end.
async fn message(socket: &Socket, len: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        bytes.extend_from_slice(&recv(socket).await.ok()??);
    }
    Some(bytes)
}

/// Client, forward loop and origin share one reactor, so that the count depends on nobody's scheduling: it includes the
/// entries of all three, and still a turn of all connections takes only a few.
#[test]
fn ping_pong_over_many_connections_needs_less_than_half_an_enter_per_exchange() {
    let ring = Ring::new();
    let answered = Rc::new(Cell::new(0));
    for _ in 0..CONNECTIONS {
        let (downstream, client) = ring.pair();
        let (upstream, origin) = ring.pair();
        let (client, origin) = (Socket::new(&ring, client_fd(client)), Socket::new(&ring, client_fd(origin)));
        ring.spawn(async move {
            while let Some(request) = message(&origin, REQUEST.len()).await {
                assert_eq!(request, REQUEST);
                origin.send_one(Segment::Static(RESPONSE));
            }
        });
        ring.spawn(async move {
            while let Some(request) = message(&downstream, REQUEST.len()).await {
                upstream.send_one(Segment::Owned(request));
                let Some(response) = message(&upstream, RESPONSE.len()).await else { break };
                downstream.send_one(Segment::Owned(response));
            }
        });
        let answered = answered.clone();
        ring.spawn(async move {
            for _ in 0..EXCHANGES {
                client.send_one(Segment::Static(REQUEST));
                assert_eq!(message(&client, RESPONSE.len()).await.as_deref(), Some(RESPONSE));
                answered.set(answered.get() + 1);
            }
        });
    }
    let before = ring.facts();
    ring.run_until(|| answered.get() == CONNECTIONS * EXCHANGES || ring.facts().panics > 0);
    let after = ring.facts();
    assert_eq!(after.panics, 0);
    let enters = (after.enters - before.enters) as f64 / answered.get() as f64;
    assert!(enters < 0.5, "{enters} enters per exchange");
    ring.settle(|facts| facts.sockets == 0);
}

fn client_fd(stream: std::net::TcpStream) -> std::os::fd::OwnedFd {
    // The ring waits by itself; time limits of the blocking calls are not for it.
    stream.set_read_timeout(None).unwrap();
    stream.set_write_timeout(None).unwrap();
    stream.into()
}
