//! A token bucket for the whole process: shards take tokens in small lots, so that most requests touch no memory that
//! another shard writes.
//!
//! Invariant: tokens in the bucket and in lots together are never more than the bucket has been given. A lot is at most
//! an eighth of what is left, shared by the shards, and goes back when it is not used up at once; so nobody is refused
//! while others hold more than a few tokens.

use crate::base::clock::{Nanos, nanos};
use ringway_config::model::TokenBucket;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The bucket that all shards share. Filled in steps, as Envoy's (type.v3.TokenBucket).
#[derive(Debug)]
pub struct Bucket {
    /// The tokens in the lower half, the number of the last fill in the upper half.
    state: AtomicU64,
    max: u32,
    per_fill: u32,
    interval: Nanos,
}

impl Bucket {
    pub fn new(settings: TokenBucket) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU64::new(u64::from(settings.max_tokens)),
            max: settings.max_tokens,
            per_fill: settings.tokens_per_fill,
            interval: nanos(settings.fill_interval).max(1),
        })
    }

    /// Tokens taken by `take`, which is given the tokens that there are.
    fn update(&self, now: Nanos, take: impl Fn(u32) -> u32) -> u32 {
        let fill = (now / self.interval) as u32;
        let mut before = self.state.load(Relaxed);
        loop {
            let (tokens, last) = (before as u32, (before >> 32) as u32);
            // Another shard may have read its clock a moment later.
            let fills = fill.wrapping_sub(last) as i32;
            let (added, last) = if fills > 0 { (fills as u64 * u64::from(self.per_fill), fill) } else { (0, last) };
            let tokens = (u64::from(tokens) + added).min(u64::from(self.max)) as u32;
            let taken = take(tokens);
            if taken == 0 {
                return 0;
            }
            let after = u64::from(last) << 32 | u64::from(tokens - taken);
            match self.state.compare_exchange_weak(before, after, Relaxed, Relaxed) {
                Ok(_) => return taken,
                Err(now) => before = now,
            }
        }
    }

    fn give_back(&self, tokens: u32) {
        let mut before = self.state.load(Relaxed);
        loop {
            let after = before & !0xffff_ffff | u64::from((before as u32).saturating_add(tokens).min(self.max));
            match self.state.compare_exchange_weak(before, after, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => before = now,
            }
        }
    }

    /// Tokens left, those in lots not counted.
    fn left(&self, now: Nanos) -> u32 {
        let state = self.state.load(Relaxed);
        let fills = ((now / self.interval) as u32).wrapping_sub((state >> 32) as u32) as i32;
        let added = if fills > 0 { fills as u64 * u64::from(self.per_fill) } else { 0 };
        (u64::from(state as u32) + added).min(u64::from(self.max)) as u32
    }
}

/// One shard's access to a bucket.
#[derive(Debug)]
pub struct Lot {
    bucket: Arc<Bucket>,
    /// One in so many tokens that are left is taken.
    share: u32,
    held: Cell<u32>,
    taken_at: Cell<Nanos>,
}

/// A lot is for now, and not for later.
const LOT_LASTS: Nanos = 20_000_000;

/// What a bucket says of itself in x-ratelimit-* fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub limit: u32,
    pub remaining: u32,
    /// Seconds until the next fill, rounded up.
    pub reset: u64,
}

impl Lot {
    pub fn new(bucket: Arc<Bucket>, shards: usize) -> Self {
        let share = 8 * u32::try_from(shards.max(1)).unwrap_or(u32::MAX / 8);
        Self { bucket, share, held: Cell::new(0), taken_at: Cell::new(0) }
    }

    /// Take one token. Whether there was one.
    pub fn take(&self, now: Nanos) -> bool {
        if self.held.get() > 0 && now.saturating_sub(self.taken_at.get()) > LOT_LASTS {
            self.bucket.give_back(self.held.take());
        }
        if self.held.get() == 0 {
            self.held.set(self.bucket.update(now, |tokens| (tokens / self.share).max(1).min(tokens)));
            self.taken_at.set(now);
        }
        match self.held.get().checked_sub(1) {
            Some(rest) => {
                self.held.set(rest);
                true
            }
            None => false,
        }
    }

    pub fn quota(&self, now: Nanos) -> Quota {
        let bucket = &self.bucket;
        let until_fill = bucket.interval - now % bucket.interval;
        Quota {
            limit: bucket.max,
            remaining: bucket.left(now).saturating_add(self.held.get()).min(bucket.max),
            reset: until_fill.div_ceil(1_000_000_000),
        }
    }
}

impl Drop for Lot {
    fn drop(&mut self) {
        self.bucket.give_back(self.held.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Nanos = 1_000_000_000;

    fn bucket(max_tokens: u32, tokens_per_fill: u32) -> Arc<Bucket> {
        Bucket::new(TokenBucket { max_tokens, tokens_per_fill, fill_interval: Duration::from_secs(1) })
    }

    #[test]
    fn a_bucket_is_full_at_first_and_filled_in_steps() {
        let lot = Lot::new(bucket(5, 2), 1);
        let taken = |at| (0..10).filter(|_| lot.take(at)).count();
        assert_eq!(taken(10), 5);
        assert_eq!(taken(SECOND - 1), 0);
        assert_eq!(lot.quota(SECOND / 2), Quota { limit: 5, remaining: 0, reset: 1 });
        assert_eq!(taken(SECOND), 2);
        assert_eq!(taken(2 * SECOND + 1), 2);
        // Never more than it holds.
        assert_eq!(taken(20 * SECOND), 5);
    }

    #[test]
    fn shards_together_get_what_there_is_and_no_more() {
        for (tokens, shards) in [(1, 4), (7, 2), (100, 3), (1000, 8)] {
            let bucket = bucket(tokens, 1);
            let lots: Vec<_> = (0..shards).map(|_| Lot::new(bucket.clone(), shards)).collect();
            let mut taken = 0;
            // All of it goes to whoever asks, also when the others ask only once.
            taken += lots.iter().filter(|lot| lot.take(1)).count();
            let later = 1 + LOT_LASTS + 1;
            while lots[0].take(later) {
                taken += 1;
            }
            let held: usize = lots.iter().map(|lot| lot.held.get() as usize).sum();
            assert_eq!(taken + held, tokens as usize);
            assert!(held <= tokens as usize / 8, "{held} of {tokens} are in other lots");
        }
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        let bucket = bucket(10_000, 1);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let bucket = bucket.clone();
                    scope.spawn(move || {
                        let lot = Lot::new(bucket, 4);
                        (0..5000).filter(|_| lot.take(5)).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert!(taken <= 10_000);
        assert!(taken + bucket.left(5) as usize == 10_000, "{taken}");
    }
}
