//! The retry budget of clusters for which the configuration has none: of the last ten seconds' requests a share may be
//! retried, and a few a second in any case, so that a cluster that answers nothing but errors gets little more than its
//! traffic.
//!
//! Each shard counts requests and retries in cells of its own, one for each second; a retry is decided on by the sum of all
//! shards' cells.

use super::Priority;
use crate::base::clock::Nanos;
use crate::stats::{PerShard, ShardCopy};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Seconds that count, the present one included.
const WINDOW: usize = 10;
const SECOND: Nanos = 1_000_000_000;
/// One retry for this many requests.
const REQUESTS_PER_RETRY: u64 = 5;
const RETRIES_PER_SECOND: u64 = 3;

/// One shard's counts, for each priority: written by that shard alone.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct RateCells([[Bucket; WINDOW]; 2]);

/// One second.
#[derive(Debug, Default)]
struct Bucket {
    /// Which one, from 1 on; 0: never used.
    second: AtomicU64,
    requests: AtomicU32,
    retries: AtomicU32,
}

/// A shard's hold on the cells.
pub(super) struct Rate {
    own: ShardCopy<RateCells>,
    /// The present second's place among the buckets, and its end.
    place: Cell<usize>,
    end: Cell<Nanos>,
}

fn second_of(now: Nanos) -> u64 {
    now / SECOND + 1
}

impl Rate {
    pub(super) fn join(cells: &Arc<PerShard<RateCells>>, shard: usize) -> Self {
        Self { own: cells.join(shard), place: Cell::new(0), end: Cell::new(0) }
    }

    #[inline]
    pub(super) fn note_request(&self, priority: Priority, now: Nanos) {
        add(&self.bucket(priority, now).requests);
    }

    /// One more retry, if the budget has room for it.
    pub(super) fn try_take(&self, priority: Priority, now: Nanos) -> bool {
        let has_room = self.sum(priority, now).has_room();
        if has_room {
            add(&self.bucket(priority, now).retries);
        }
        has_room
    }

    #[inline]
    fn bucket(&self, priority: Priority, now: Nanos) -> &Bucket {
        if now >= self.end.get() {
            self.roll(now);
        }
        &self.own.0[priority as usize][self.place.get()]
    }

    /// Another second begins.
    #[cold]
    fn roll(&self, now: Nanos) {
        let second = second_of(now);
        self.place.set((second % WINDOW as u64) as usize);
        self.end.set(second * SECOND);
        for buckets in &self.own.0 {
            let bucket = &buckets[self.place.get()];
            bucket.requests.store(0, Relaxed);
            bucket.retries.store(0, Relaxed);
            bucket.second.store(second, Release);
        }
    }

    fn sum(&self, priority: Priority, now: Nanos) -> Window {
        let second = second_of(now);
        let read = |of: fn(&Bucket) -> &AtomicU32| {
            let counts = |bucket: &&Bucket| second - bucket.second.load(Acquire).min(second) < WINDOW as u64;
            let of_shard = |cells: &RateCells| {
                let buckets = cells.0[priority as usize].iter().filter(counts);
                buckets.map(|bucket| i64::from(of(bucket).load(Relaxed))).sum()
            };
            self.own.sum(of_shard) as u64
        };
        Window { requests: read(|bucket| &bucket.requests), retries: read(|bucket| &bucket.retries) }
    }
}

/// What was counted in the last seconds.
struct Window {
    requests: u64,
    retries: u64,
}

impl Window {
    fn has_room(&self) -> bool {
        self.retries < self.requests / REQUESTS_PER_RETRY + RETRIES_PER_SECOND * WINDOW as u64
    }
}

#[inline]
fn add(count: &AtomicU32) {
    count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(count: usize) -> Vec<Rate> {
        let cells = Arc::default();
        (0..count).map(|shard| Rate::join(&cells, shard)).collect()
    }

    /// Requests that all fail, each with up to `num_retries` retries, spread over the shards. How many retries there are.
    fn retries(shards: &[Rate], rate: u64, seconds: u64, num_retries: u64) -> u64 {
        let mut retries = 0;
        for request in 0..rate * seconds {
            let now = 1_000 * SECOND + request * SECOND / rate;
            let shard = &shards[request as usize % shards.len()];
            shard.note_request(Priority::Default, now);
            retries += (0..num_retries).take_while(|_| shard.try_take(Priority::Default, now)).count() as u64;
        }
        retries
    }

    /// Whatever a route asks for, the traffic grows by a fifth and three a second, over any number of shards.
    #[test]
    fn traffic_that_fails_altogether_grows_by_little() {
        for count in [1, 4] {
            for rate in [10, 2_000] {
                for num_retries in [1, 3, 1_000] {
                    let retried = retries(&shards(count), rate, 60, num_retries);
                    let (share, seconds) = (60 * rate / REQUESTS_PER_RETRY, 60 * RETRIES_PER_SECOND);
                    let budget = share + seconds;
                    // Each ten seconds' allowance may be used up at once.
                    assert!(retried <= budget + 10 * RETRIES_PER_SECOND, "{retried} of {budget} at {rate}/s");
                    assert!(retried >= budget * 9 / 10, "{retried} of {budget} at {rate}/s");
                }
            }
        }
    }

    /// Seconds that are over count no longer, whether or not anything came after them.
    #[test]
    fn what_is_long_ago_does_not_count() {
        let shards = shards(2);
        let take = |now: Nanos| (0..1_000).take_while(|_| shards[0].try_take(Priority::Default, now)).count();
        (0..500).for_each(|_| shards[1].note_request(Priority::Default, 5 * SECOND));
        assert_eq!(take(5 * SECOND), 130);
        assert_eq!(take(14 * SECOND), 0);
        assert_eq!(take(15 * SECOND), 30, "neither requests nor retries");
        assert_eq!(take(24 * SECOND), 0);
        assert_eq!(take(100 * SECOND), 30);
    }

    #[test]
    fn priorities_are_counted_separately() {
        let shards = shards(1);
        (0..500).for_each(|_| shards[0].note_request(Priority::High, 0));
        let take = |priority| (0..1_000).take_while(|_| shards[0].try_take(priority, 0)).count();
        assert_eq!((take(Priority::Default), take(Priority::High)), (30, 130));
    }
}
