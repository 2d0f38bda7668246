//! The TCP check: a connection, and what comes over it.

use super::{Failure, Link, Verdict};
use ringway_config::model::TcpHealthCheck;

/// Received bytes that are looked through; an endpoint that sends more without what is expected fails.
const RECEIVE_MAX: usize = 1024 * 1024;

pub(super) async fn probe(check: &TcpHealthCheck, link: &mut Link) -> Verdict {
    loop {
        let result = exchange(check, link).await;
        match result {
            Ok(()) if check.receive.is_empty() => link.close(),
            Ok(()) => link.keep(),
            Err(_) => link.close(),
        }
        match result {
            Ok(()) => return Verdict::passed(false),
            // The other end may have closed it at any moment since the last check.
            Err(Broken { started: false, .. }) if link.is_reused() => {}
            Err(Broken { failure, .. }) => return Verdict::failed(failure),
        }
    }
}

#[derive(Clone, Copy)]
struct Broken {
    failure: Failure,
    /// Some bytes had come.
    started: bool,
}

async fn exchange(check: &TcpHealthCheck, link: &mut Link) -> Result<(), Broken> {
    let silent = |failure| Broken { failure, started: false };
    link.open().await.map_err(|failure| Broken { failure, started: true })?;
    if !check.send.is_empty() {
        link.send(&check.send);
        link.flush().await.map_err(silent)?;
    }
    let mut received = Vec::new();
    while !matches(&check.receive, &received) {
        let started = !received.is_empty();
        match link.receive().await {
            Ok(Some(buf)) if received.len() + buf.len() <= RECEIVE_MAX => received.extend_from_slice(&buf),
            Ok(Some(_)) => return Err(Broken { failure: Failure::Network, started: true }),
            Ok(None) | Err(_) => return Err(Broken { failure: Failure::Network, started }),
        }
    }
    Ok(())
}

/// Whether every pattern occurs, each behind the one before (Envoy: PayloadMatcher::match).
fn matches(patterns: &[Vec<u8>], received: &[u8]) -> bool {
    let mut rest = received;
    patterns.iter().all(|pattern| match memchr::memmem::find(rest, pattern) {
        Some(at) => {
            rest = &rest[at + pattern.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_come_in_order_with_anything_between() {
        let patterns = [b"+OK".to_vec(), b"ready".to_vec()];
        assert!(matches(&patterns, b"xx+OK and ready."));
        assert!(matches(&[], b""));
        for wrong in [&b""[..], b"+OK", b"ready +OK", b"+O Kready"] {
            assert!(!matches(&patterns, wrong), "{wrong:?}");
        }
        assert!(!matches(&[b"aa".to_vec(), b"aa".to_vec()], b"aaa"), "each has bytes of its own");
    }
}
