//! Descriptors: what a request is, as pairs of key and value, and the bucket that is for requests like it.

use super::bucket::{Bucket, Quota};
use crate::base::clock::Nanos;
use crate::http::Exchange;
use crate::http::matcher::{HeadRef, Joined, matches_header};
use lru::LruCache;
use ringway_config::model::{LocalRateLimit, RateLimitAction, RateLimitDescriptor, RateLimitRule, TokenBucket};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::Write;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Key and value of one entry, as ranges of the bytes that they were written to.
type Entries = SmallVec<[(Range<usize>, Range<usize>); 4]>;

/// Buckets for values that the configuration does not name, one for each; the one used longest ago goes first.
type Dynamic = LruCache<Box<[u8]>, Arc<Bucket>>;

/// Of longer keys a hash is kept, so that what a client sends does not decide how much memory a bucket takes.
const LONGEST_KEY: usize = 64;

/// The configured descriptors, the one that is filled most slowly first: it has the first word (Envoy sorts alike).
pub struct SharedDescriptors {
    rules: Vec<RateLimitRule>,
    list: Vec<Descriptor>,
    /// For each shard, and for the process in addition to those that shards hold.
    most_dynamic: usize,
    /// Half a hash of long keys each, SipHash with random keys: an outsider does not find two values with one bucket.
    hashers: [RandomState; 2],
}

struct Descriptor {
    entries: Vec<(String, Option<String>)>,
    buckets: Buckets,
}

enum Buckets {
    Fixed(Arc<Bucket>),
    /// Asked only when a shard meets a value for the first time.
    Dynamic(TokenBucket, Mutex<Dynamic>),
}

/// One shard's part.
pub struct Descriptors {
    shared: Arc<SharedDescriptors>,
    shard: usize,
    /// The shard's own way to the buckets of each dynamic descriptor.
    known: Vec<RefCell<Dynamic>>,
    /// Where descriptors are written, used again for each request.
    scratch: RefCell<Vec<u8>>,
}

impl SharedDescriptors {
    pub fn new(settings: &LocalRateLimit, shards: usize) -> Arc<Self> {
        let mut written: Vec<&RateLimitDescriptor> = settings.descriptors.iter().collect();
        written.sort_by(|a, b| {
            let (a, b) = (a.token_bucket, b.token_bucket);
            let rate =
                |of: TokenBucket, other: TokenBucket| u128::from(of.tokens_per_fill) * other.fill_interval.as_nanos();
            rate(a, b).cmp(&rate(b, a))
        });
        let list = written.into_iter().map(|written| Descriptor {
            entries: written.entries.clone(),
            buckets: match written.entries.iter().all(|(_, value)| value.is_some()) {
                true => Buckets::Fixed(Bucket::new(written.token_bucket, shards)),
                false => Buckets::Dynamic(written.token_bucket, Mutex::new(LruCache::unbounded())),
            },
        });
        let most_dynamic = (settings.max_dynamic_descriptors as usize).max(1);
        Arc::new(Self {
            rules: settings.rate_limits.clone(),
            list: list.collect(),
            most_dynamic,
            hashers: Default::default(),
        })
    }

    /// The descriptor for these entries: one that names all values, else one that leaves some open.
    fn find(&self, entries: &Entries, bytes: &[u8]) -> Option<usize> {
        let is_fixed = |descriptor: &Descriptor| matches!(descriptor.buckets, Buckets::Fixed(_));
        let position = |fixed: bool| {
            let mut list = self.list.iter();
            list.position(|descriptor| is_fixed(descriptor) == fixed && descriptor.matches(entries, bytes))
        };
        position(true).or_else(|| position(false))
    }

    /// Stands for a long key. Its last byte is that of no short one, which end with 0.
    fn digest(&self, key: &[u8]) -> [u8; 17] {
        let mut digest = [1; 17];
        for (half, hasher) in digest.chunks_exact_mut(8).zip(&self.hashers) {
            half.copy_from_slice(&hasher.hash_one(key).to_ne_bytes());
        }
        digest
    }
}

impl Descriptors {
    pub fn new(shared: &Arc<SharedDescriptors>, shard: usize) -> Self {
        let known = shared.list.iter().map(|_| RefCell::new(LruCache::unbounded())).collect();
        Self { shared: shared.clone(), shard, known, scratch: RefCell::default() }
    }

    /// Take a token from the bucket of each descriptor that the request has. Whether all had one, and the quota of the
    /// bucket that refused, or else, where it is wanted, of the first one.
    pub fn take(
        &self,
        exchange: &Exchange,
        client: Option<IpAddr>,
        now: Nanos,
        wants_quota: bool,
    ) -> (bool, Option<Quota>) {
        let shared = &*self.shared;
        let mut first = None;
        if shared.list.is_empty() {
            return (true, first);
        }
        let mut scratch = self.scratch.borrow_mut();
        scratch.clear();
        let mut found = SmallVec::<[(usize, Range<usize>); 4]>::new();
        for rule in &shared.rules {
            let start = scratch.len();
            if let Some(entries) = write(rule, exchange, client, &mut scratch)
                && let Some(index) = shared.find(&entries, &scratch)
            {
                found.push((index, start..scratch.len()));
            }
        }
        found.sort_by_key(|(index, _)| *index);
        for (index, key) in found {
            let wants_quota = wants_quota && first.is_none();
            let take = |bucket: &Bucket| bucket.take_with_quota(self.shard, now, wants_quota);
            let (is_ok, quota) = self.with_bucket(index, &scratch[key], take);
            if !is_ok {
                return (false, quota);
            }
            first = first.or(quota);
        }
        (true, first)
    }

    fn with_bucket<T>(&self, index: usize, key: &[u8], use_it: impl FnOnce(&Bucket) -> T) -> T {
        let (settings, buckets) = match &self.shared.list[index].buckets {
            Buckets::Fixed(bucket) => return use_it(bucket),
            Buckets::Dynamic(settings, buckets) => (*settings, buckets),
        };
        let most = self.shared.most_dynamic;
        let digest;
        let key = if key.len() > LONGEST_KEY {
            digest = self.shared.digest(key);
            &digest[..]
        } else {
            key
        };
        let mut known = self.known[index].borrow_mut();
        if let Some(bucket) = known.get(key) {
            return use_it(bucket);
        }
        let bucket = process_bucket(settings, buckets, key, most);
        let result = use_it(&bucket);
        known.put(key.into(), bucket);
        if known.len() > most {
            known.pop_lru();
        }
        result
    }
}

/// The process's bucket for a value that this shard has not met.
fn process_bucket(settings: TokenBucket, buckets: &Mutex<Dynamic>, key: &[u8], most: usize) -> Arc<Bucket> {
    /// Old buckets looked at for each new one, so that those that are no longer used go faster than new ones come.
    const LOOKED_AT: usize = 4;
    let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bucket) = buckets.get(key) {
        return bucket.clone();
    }
    let bucket = Bucket::new(settings, 0);
    buckets.put(key.into(), bucket.clone());
    for _ in 0..LOOKED_AT {
        if buckets.len() <= most {
            break;
        }
        // A bucket that a shard knows must stay: another one for the same client would be a second allowance.
        match buckets.pop_lru() {
            Some((key, bucket)) if Arc::strong_count(&bucket) > 1 => drop(buckets.put(key, bucket)),
            _ => {}
        }
    }
    bucket
}

impl Descriptor {
    /// The same keys in the same order, and the values that are named.
    fn matches(&self, entries: &Entries, bytes: &[u8]) -> bool {
        self.entries.len() == entries.len()
            && self.entries.iter().zip(entries).all(|((key, value), (found_key, found_value))| {
                bytes[found_key.clone()] == *key.as_bytes()
                    && value.as_ref().is_none_or(|value| bytes[found_value.clone()] == *value.as_bytes())
            })
    }
}

/// Append the request's descriptor by one rule, or nothing of use where it has none.
fn write(rule: &RateLimitRule, exchange: &Exchange, client: Option<IpAddr>, out: &mut Vec<u8>) -> Option<Entries> {
    let head = HeadRef::request(&exchange.request.head, exchange.request.view());
    let mut entries = Entries::new();
    for action in &rule.actions {
        match action {
            RateLimitAction::RemoteAddress => {
                let client = client?;
                // Writing to a Vec cannot fail.
                push(&mut entries, out, b"remote_address", |out| drop(write!(out, "{client}")));
            }
            RateLimitAction::RequestHeader { name, key } => {
                let mut joined = Joined::new();
                let value = head.value(name.as_bytes(), &mut joined)?;
                push(&mut entries, out, key.as_bytes(), |out| out.extend_from_slice(value));
            }
            RateLimitAction::GenericKey { key, value } => {
                push(&mut entries, out, key.as_bytes(), |out| out.extend_from_slice(value.as_bytes()));
            }
            RateLimitAction::HeaderValueMatch { key, value, headers } => {
                if !headers.iter().all(|header| matches_header(header, head)) {
                    return None;
                }
                push(&mut entries, out, key.as_bytes(), |out| out.extend_from_slice(value.as_bytes()));
            }
        }
    }
    Some(entries)
}

fn push(entries: &mut Entries, out: &mut Vec<u8>, key: &[u8], value: impl FnOnce(&mut Vec<u8>)) {
    let key_start = out.len();
    out.extend_from_slice(key);
    let value_start = out.len();
    value(out);
    entries.push((key_start..value_start, value_start..out.len()));
    // No header's value holds it: two lists of entries never look alike.
    out.push(0);
}

#[cfg(test)]
#[path = "descriptor_tests.rs"]
mod tests;
