//! A token bucket for the whole process, exact across shards.
//!
//! A shard takes tokens from the bucket in lots, so that most requests touch no memory that another shard writes. A lot is
//! not lost to the others: a fill takes all of them back first, and a shard that finds the bucket empty takes from their
//! lots. So no request is refused while there is a token, and tokens in the bucket and in lots together are never more than
//! `max_tokens`.

use crate::base::clock::{Nanos, nanos};
use ringway_config::model::TokenBucket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A bucket that is filled in steps (Envoy: type.v3.TokenBucket).
#[derive(Debug)]
pub struct Bucket {
    shared: Cell,
    max: u32,
    per_fill: u32,
    interval: Nanos,
    /// One for each shard. Empty where the bucket is for few requests, as one client's: then each takes from `shared`.
    lots: Box<[Lot]>,
}

/// Tokens in the lower half, the number of the fill that they are of in the upper half. The tokens of one cell have
/// nothing to do with other memory: no order is needed.
#[derive(Debug)]
struct Cell(AtomicU64);

/// A shard's own tokens are taken by compare-and-swap, against the house's rule, because others must be able to take
/// them, too. They do so only when the bucket is empty or filled, so that the line stays with its shard.
#[derive(Debug)]
#[repr(align(128))]
struct Lot(Cell);

/// A lot is at most this fraction of the tokens that are left, for each shard.
const LOT_SHARE: usize = 8;
/// Another shard may have read its clock a moment later: this many fills ahead are not behind by almost all numbers.
const AHEAD: u32 = 1 << 16;

/// What a bucket says of itself in x-ratelimit-* fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub limit: u32,
    pub remaining: u32,
    /// Seconds until the next fill, rounded up: 1 or more.
    pub reset: u64,
}

impl Bucket {
    /// `shards`: how many share it; 0 for a bucket without lots.
    pub fn new(settings: TokenBucket, shards: usize) -> Arc<Self> {
        Arc::new(Self {
            shared: Cell::new(0, settings.max_tokens),
            max: settings.max_tokens,
            per_fill: settings.tokens_per_fill,
            interval: nanos(settings.fill_interval).max(1),
            lots: (0..if shards > 1 { shards } else { 0 }).map(|_| Lot(Cell::new(0, 0))).collect(),
        })
    }

    /// Take one token for a request on this shard. Whether there was one.
    pub fn take(&self, shard: usize, now: Nanos) -> bool {
        let fill = (now / self.interval) as u32;
        // Tokens of an earlier fill count towards what the bucket may hold, so they go back first.
        let own = self.lots.get(shard);
        own.is_some_and(|own| own.0.take_one(|of| fills_since(of, fill) == 0)) || self.take_shared(shard, fill)
    }

    /// As `take`. The quota comes where it is wanted, and where there was no token.
    pub fn take_with_quota(&self, shard: usize, now: Nanos, wants_quota: bool) -> (bool, Option<Quota>) {
        let is_ok = self.take(shard, now);
        (is_ok, (wants_quota || !is_ok).then(|| self.quota(now)))
    }

    fn take_shared(&self, shard: usize, fill: u32) -> bool {
        let mut returned = 0;
        let mut before = self.shared.0.load(Relaxed);
        loop {
            let (last, left) = unpack(before);
            let fills = fills_since(last, fill);
            if fills > 0 {
                returned += self.lots.iter().map(|lot| lot.0.take_all()).sum::<u64>();
            }
            let added = u64::from(fills) * u64::from(self.per_fill);
            let tokens = (u64::from(left) + added + returned).min(u64::from(self.max)) as u32;
            if tokens == 0 {
                return self.lots.iter().any(|lot| lot.0.take_one(|_| true));
            }
            let share = u32::try_from(LOT_SHARE * self.lots.len()).unwrap_or(u32::MAX);
            let lot = tokens.checked_div(share).map_or(1, |lot| lot.max(1));
            let last = if fills > 0 { fill } else { last };
            match self.shared.0.compare_exchange_weak(before, pack(last, tokens - lot), Relaxed, Relaxed) {
                Ok(_) => {
                    if lot > 1 {
                        self.lots[shard].0.add(last, lot - 1);
                    }
                    return true;
                }
                Err(now) => before = now,
            }
        }
    }

    pub fn quota(&self, now: Nanos) -> Quota {
        let (last, left) = unpack(self.shared.0.load(Relaxed));
        let added = u64::from(fills_since(last, (now / self.interval) as u32)) * u64::from(self.per_fill);
        let in_lots: u64 = self.lots.iter().map(|lot| u64::from(unpack(lot.0.0.load(Relaxed)).1)).sum();
        let until_fill = self.interval - now % self.interval;
        Quota {
            limit: self.max,
            remaining: (u64::from(left) + added + in_lots).min(u64::from(self.max)) as u32,
            reset: until_fill.div_ceil(1_000_000_000),
        }
    }
}

impl Cell {
    fn new(fill: u32, tokens: u32) -> Self {
        Self(AtomicU64::new(pack(fill, tokens)))
    }

    /// Take one token, if there is one and its fill is right. Whether there was.
    fn take_one(&self, is_right: impl Fn(u32) -> bool) -> bool {
        let take = |value| {
            let (fill, tokens) = unpack(value);
            is_right(fill).then_some(pack(fill, tokens.checked_sub(1)?))
        };
        // Looked at first: most lots that are asked from elsewhere are empty.
        take(self.0.load(Relaxed)).is_some() && self.0.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    fn take_all(&self) -> u64 {
        match unpack(self.0.load(Relaxed)) {
            (_, 0) => 0,
            _ => u64::from(unpack(self.0.swap(0, Relaxed)).1),
        }
    }

    fn add(&self, fill: u32, more: u32) {
        let add = |value| Some(pack(fill, unpack(value).1.saturating_add(more)));
        // `add` never refuses.
        let _ = self.0.fetch_update(Relaxed, Relaxed, add);
    }
}

fn pack(fill: u32, tokens: u32) -> u64 {
    u64::from(fill) << 32 | u64::from(tokens)
}

fn unpack(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// Fills from number `last` to number `now`; the numbers wrap.
fn fills_since(last: u32, now: u32) -> u32 {
    let fills = now.wrapping_sub(last);
    if fills > u32::MAX - AHEAD { 0 } else { fills }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Nanos = 1_000_000_000;

    fn bucket(max_tokens: u32, tokens_per_fill: u32, shards: usize) -> Arc<Bucket> {
        Bucket::new(TokenBucket { max_tokens, tokens_per_fill, fill_interval: Duration::from_secs(1) }, shards)
    }

    fn taken(bucket: &Bucket, shard: usize, at: Nanos, tries: usize) -> usize {
        (0..tries).filter(|_| bucket.take(shard, at)).count()
    }

    #[test]
    fn a_bucket_is_full_at_first_and_filled_in_steps() {
        for shards in [0, 1, 2, 16] {
            let bucket = bucket(5, 2, shards);
            assert_eq!(taken(&bucket, 0, 10, 10), 5);
            assert_eq!(taken(&bucket, 0, SECOND - 1, 10), 0);
            assert_eq!(bucket.quota(SECOND / 2), Quota { limit: 5, remaining: 0, reset: 1 });
            assert_eq!(taken(&bucket, 0, SECOND, 10), 2);
            assert_eq!(bucket.quota(2 * SECOND + 1), Quota { limit: 5, remaining: 2, reset: 1 });
            assert_eq!(taken(&bucket, 0, 2 * SECOND + 1, 10), 2);
            // Never more than it holds.
            assert_eq!(taken(&bucket, 0, 20 * SECOND, 10), 5);
        }
    }

    #[test]
    fn the_quota_says_what_is_left_and_when_more_comes() {
        let settings = TokenBucket { max_tokens: 100, tokens_per_fill: 10, fill_interval: Duration::from_millis(2500) };
        let bucket = Bucket::new(settings, 4);
        assert_eq!(taken(&bucket, 0, 1, 7) + taken(&bucket, 3, 1, 5), 12);
        // Tokens in lots are left like any other.
        assert_eq!(bucket.quota(1), Quota { limit: 100, remaining: 88, reset: 3 });
        assert_eq!(bucket.quota(2 * SECOND), Quota { limit: 100, remaining: 88, reset: 1 });
        assert_eq!(bucket.quota(5 * SECOND).remaining, 100);
    }

    #[test]
    fn whoever_asks_gets_all_that_there_is() {
        for (tokens, shards) in [(1, 4), (7, 2), (100, 3), (1000, 8), (100_000, 2)] {
            let bucket = bucket(tokens, 1, shards);
            // Each shard has a lot; only the first one goes on asking.
            let first: usize = (0..shards).map(|shard| taken(&bucket, shard, 1, 1)).sum();
            assert_eq!(first + taken(&bucket, 0, 1, 2 * tokens as usize), tokens as usize, "{tokens}, {shards} shards");
        }
    }

    /// What others hold in lots is part of what the bucket may hold.
    #[test]
    fn a_fill_takes_the_lots_into_account() {
        let bucket = bucket(1000, 1000, 2);
        assert_eq!(taken(&bucket, 0, 1, 1), 1);
        let one = taken(&bucket, 1, SECOND, 5000);
        let other = taken(&bucket, 0, SECOND, 5000);
        assert_eq!(one + other, 1000);
    }

    /// With a fill every millisecond the numbers wrap after 49 days.
    #[test]
    fn a_bucket_that_was_left_alone_for_weeks_is_full() {
        let settings = TokenBucket { max_tokens: 3, tokens_per_fill: 1, fill_interval: Duration::from_millis(1) };
        for days in [1, 24, 26, 40, 49] {
            let bucket = Bucket::new(settings, 0);
            assert_eq!(taken(&bucket, 0, 1, 10), 3);
            assert_eq!(taken(&bucket, 0, days * 86_400 * SECOND, 10), 3, "after {days} days");
        }
        // Another shard's clock is a moment ahead: no fill is made twice.
        let bucket = Bucket::new(settings, 2);
        assert_eq!(taken(&bucket, 0, 1_000_000, 10), 3);
        assert_eq!(taken(&bucket, 1, 999_999, 10), 0);
        assert_eq!(taken(&bucket, 0, 1_000_001, 10), 0);
    }

    #[test]
    fn threads_together_take_what_there_is() {
        let bucket = bucket(10_000, 1, 4);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|shard| {
                    let bucket = &bucket;
                    scope.spawn(move || taken(bucket, shard, 5, 5000))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(taken + bucket.quota(5).remaining as usize, 10_000);
        assert_eq!(taken + self::taken(&bucket, 0, 5, 10_000), 10_000);
    }
}
