//! What the end-to-end tests share: the proxy as a process, origins, a client that sees bytes, and outside programs.
//! Whatever a test starts ends with the value that stands for it, also when the test panics.

mod balance;
mod http;
mod origin;
mod pki;
mod programs;
mod ringway;

pub use balance::imbalances;
pub use http::{Client, Connection, Message};
pub use origin::{Origin, response};
pub use pki::Pki;
pub use programs::{Curl, Nginx, Server, curl, must_run, program};
pub use ringway::{Ringway, Setup, forwarding, forwarding_to, growth, quoted};

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that ought to happen at once. Long, because the machine may be busy; a test that passes
/// never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Wait until `check` says yes; fail with `what` otherwise.
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < PATIENCE, "still not so after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port on which nothing listens now, for programs that cannot be told to choose one themselves. It is below the range that the
/// system hands out (from 32768 on), so that no other test gets it meanwhile.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() % 12_000;
    let mut ports =
        std::iter::repeat_with(|| 20_000 + ((first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000) as u16);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.by_ref().take(12_000).find(is_free).expect("a free port")
}

/// An address that refuses connections.
pub fn dead_address() -> SocketAddr {
    // Port 1 (tcpmux) is below the range that is handed out, so that no parallel test can get it.
    SocketAddr::from(([127, 0, 0, 1], 1))
}

/// `len` bytes that do not repeat within any power of two, so that a piece that is lost, doubled or displaced shows.
pub fn pattern(len: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..65_521_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut bytes = Vec::with_capacity(len);
    let mut round = 0_u64;
    while bytes.len() < len {
        bytes.extend_from_slice(&round.to_le_bytes());
        bytes.extend_from_slice(&block);
        round += 1;
    }
    bytes.truncate(len);
    bytes
}

/// Compare without printing megabytes.
pub fn assert_same(got: &[u8], expected: &[u8], what: &str) {
    if got != expected {
        let at = got.iter().zip(expected).position(|(a, b)| a != b);
        panic!("{what}: got {} bytes, expected {}; first difference at {at:?}", got.len(), expected.len());
    }
}
