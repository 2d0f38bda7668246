//! The limit of connections, exact over all shards: one count, which changes when a connection opens and when it closes,
//! never for a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A limit and its use.
#[derive(Debug)]
pub struct ConnectionLimit {
    max: AtomicU64,
    used: AtomicU64,
}

impl ConnectionLimit {
    /// `None`: no limit, but connections are still counted.
    pub fn new(max: Option<u64>) -> Arc<Self> {
        Arc::new(Self { max: AtomicU64::new(max.unwrap_or(u64::MAX)), used: AtomicU64::new(0) })
    }

    /// Sets a new configuration's limit. Connections above it stay open.
    pub fn set(&self, max: Option<u64>) {
        self.max.store(max.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// One connection's part of the limit; dropping it gives it back.
#[derive(Debug)]
pub struct Permit(Arc<ConnectionLimit>);

impl Permit {
    pub fn take(limit: &Arc<ConnectionLimit>) -> Option<Self> {
        if limit.used.fetch_add(1, Ordering::Relaxed) >= limit.max.load(Ordering::Relaxed) {
            limit.used.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(limit.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_exact() {
        let limit = ConnectionLimit::new(Some(2));
        let held = [Permit::take(&limit), Permit::take(&limit)];
        assert!(held.iter().all(Option::is_some) && Permit::take(&limit).is_none());
        drop(held);
        assert!(limit.used() == 0 && Permit::take(&limit).is_some());
    }
}
