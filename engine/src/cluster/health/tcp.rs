//! The TCP check: a connection, and what comes over it.

use super::{Link, Missed, Verdict};
use ringway_config::model::TcpHealthCheck;

/// Received bytes that are looked through; an endpoint that sends more without what is expected fails.
const RECEIVE_MAX: usize = 1024 * 1024;

pub(super) async fn probe(check: &TcpHealthCheck, link: &mut Link) -> Verdict {
    loop {
        let result = exchange(check, link).await;
        match &result {
            Ok(()) if !check.receive.is_empty() => link.keep(),
            Ok(()) | Err(_) => link.close(),
        }
        match result {
            Ok(()) => return Verdict::passed(false),
            // The other end may have closed it at any moment since the last check.
            Err(Broken { started: false, .. }) if link.is_reused() => {}
            Err(Broken { missed, .. }) => return Verdict::failed(missed),
        }
    }
}

struct Broken {
    missed: Missed,
    /// Some bytes had come.
    started: bool,
}

async fn exchange(check: &TcpHealthCheck, link: &mut Link) -> Result<(), Broken> {
    let silent = |missed| Broken { missed, started: false };
    link.received.clear();
    link.open().await.map_err(|missed| Broken { missed, started: true })?;
    if !check.send.is_empty() {
        link.send(&check.send);
        link.flush().await.map_err(silent)?;
    }
    while !matches(&check.receive, &link.received) {
        let started = !link.received.is_empty();
        match link.receive().await {
            Ok(Some(buf)) if link.received.len() + buf.len() <= RECEIVE_MAX => link.received.extend_from_slice(&buf),
            Ok(Some(_)) => return Err(Broken { missed: unlike(check, link), started: true }),
            Ok(None) => return Err(Broken { missed: unlike(check, link), started }),
            Err(missed) => return Err(Broken { missed, started }),
        }
    }
    Ok(())
}

/// What came is not what was expected, and nothing more comes or is read.
fn unlike(check: &TcpHealthCheck, link: &Link) -> Missed {
    Missed::payload(&check.receive, &link.received)
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
