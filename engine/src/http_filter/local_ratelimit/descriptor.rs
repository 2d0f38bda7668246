//! Descriptors: what a request is, as pairs of key and value, and the bucket that is for requests like it.

use super::bucket::{Bucket, Lot, Quota};
use crate::base::clock::Nanos;
use crate::http::matcher::{HeadRef, Joined, matches_header};
use crate::http_filter::Context;
use lru::LruCache;
use ringway_config::model::{LocalRateLimit, RateLimitAction, RateLimitDescriptor, RateLimitRule, TokenBucket};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// Key and value of one entry, as ranges of the bytes that they were written to.
type Entries = SmallVec<[(std::ops::Range<usize>, std::ops::Range<usize>); 4]>;

/// Buckets for values that the configuration does not name, one for each; the one used longest ago goes first.
type Dynamic<T> = LruCache<Box<[u8]>, T>;

/// The process's part of each configured descriptor.
pub struct SharedDescriptors(Vec<SharedDescriptor>);

enum SharedDescriptor {
    Fixed(Arc<Bucket>),
    /// Looked into only when a shard meets a value for the first time.
    Dynamic {
        settings: TokenBucket,
        buckets: Mutex<Dynamic<Arc<Bucket>>>,
    },
}

/// One shard's part.
pub struct Descriptors {
    list: Vec<Descriptor>,
    shared: Arc<SharedDescriptors>,
    shards: usize,
    /// Where descriptors are written, used again for each request.
    scratch: RefCell<Vec<u8>>,
}

struct Descriptor {
    entries: Vec<(String, Option<String>)>,
    lots: Lots,
}

enum Lots {
    Fixed(Lot),
    Dynamic(RefCell<Dynamic<Lot>>),
}

fn is_dynamic(descriptor: &RateLimitDescriptor) -> bool {
    descriptor.entries.iter().any(|(_, value)| value.is_none())
}

fn capacity(settings: &LocalRateLimit) -> NonZeroUsize {
    NonZeroUsize::new(settings.max_dynamic_descriptors as usize).unwrap_or(NonZeroUsize::MIN)
}

impl SharedDescriptors {
    pub fn new(settings: &LocalRateLimit) -> Arc<Self> {
        let shared = |descriptor: &RateLimitDescriptor| match is_dynamic(descriptor) {
            // It grows as values come.
            true => SharedDescriptor::Dynamic {
                settings: descriptor.token_bucket,
                buckets: Mutex::new(LruCache::unbounded()),
            },
            false => SharedDescriptor::Fixed(Bucket::new(descriptor.token_bucket)),
        };
        Arc::new(Self(settings.descriptors.iter().map(shared).collect()))
    }
}

impl Descriptors {
    pub fn new(settings: &LocalRateLimit, shared: &Arc<SharedDescriptors>, shards: usize) -> Self {
        let list = settings.descriptors.iter().zip(&shared.0).map(|(descriptor, shared)| Descriptor {
            entries: descriptor.entries.clone(),
            lots: match shared {
                SharedDescriptor::Fixed(bucket) => Lots::Fixed(Lot::new(bucket.clone(), shards)),
                SharedDescriptor::Dynamic { .. } => Lots::Dynamic(RefCell::new(LruCache::new(capacity(settings)))),
            },
        });
        Self { list: list.collect(), shared: shared.clone(), shards, scratch: RefCell::default() }
    }

    /// Take a token from the bucket of each descriptor that the request has. As `Filter::take`.
    pub fn take(&self, rules: &[RateLimitRule], context: &Context<'_, '_>, now: Nanos) -> (bool, Option<Quota>) {
        let mut least: Option<Quota> = None;
        if self.list.is_empty() {
            return (true, least);
        }
        let mut scratch = self.scratch.borrow_mut();
        for rule in rules {
            scratch.clear();
            let Some(entries) = write(rule, context, &mut scratch) else { continue };
            for (index, descriptor) in self.list.iter().enumerate() {
                if !descriptor.matches(&entries, &scratch) {
                    continue;
                }
                let (is_ok, quota) = self.take_from(index, descriptor, &scratch, now);
                if !is_ok {
                    return (false, Some(quota));
                }
                if least.is_none_or(|least| quota.remaining < least.remaining) {
                    least = Some(quota);
                }
            }
        }
        (true, least)
    }

    fn take_from(&self, index: usize, descriptor: &Descriptor, key: &[u8], now: Nanos) -> (bool, Quota) {
        match &descriptor.lots {
            Lots::Fixed(lot) => (lot.take(now), lot.quota(now)),
            Lots::Dynamic(lots) => {
                let mut lots = lots.borrow_mut();
                if let Some(lot) = lots.get(key) {
                    return (lot.take(now), lot.quota(now));
                }
                let lot = Lot::new(self.bucket(index, key, lots.cap()), self.shards);
                let result = (lot.take(now), lot.quota(now));
                lots.put(key.into(), lot);
                result
            }
        }
    }

    /// The process's bucket for a value that this shard has not met.
    fn bucket(&self, index: usize, key: &[u8], most: NonZeroUsize) -> Arc<Bucket> {
        match &self.shared.0[index] {
            SharedDescriptor::Fixed(bucket) => bucket.clone(),
            SharedDescriptor::Dynamic { settings, buckets } => {
                let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(bucket) = buckets.get(key) {
                    return bucket.clone();
                }
                let bucket = Bucket::new(*settings);
                buckets.put(key.into(), bucket.clone());
                while buckets.len() > most.get() {
                    buckets.pop_lru();
                }
                bucket
            }
        }
    }
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

/// Write the request's descriptor by one rule, or nothing where it has none.
fn write(rule: &RateLimitRule, context: &Context<'_, '_>, out: &mut Vec<u8>) -> Option<Entries> {
    let (head, view) = (&context.exchange.request, context.exchange.request_view());
    let mut entries = Entries::new();
    for action in &rule.actions {
        let key_start = out.len();
        match action {
            RateLimitAction::RemoteAddress => {
                let client = context.client()?;
                out.extend_from_slice(b"remote_address");
                let value_start = out.len();
                // Writing to a Vec cannot fail.
                let _ = write!(out, "{client}");
                entries.push((key_start..value_start, value_start..out.len()));
            }
            RateLimitAction::RequestHeader { name, key } => {
                let mut joined = Joined::new();
                let value = HeadRef::request(head, view).value(name.as_bytes(), &mut joined)?;
                push(&mut entries, out, key.as_bytes(), value);
            }
            RateLimitAction::GenericKey { key, value } => {
                push(&mut entries, out, key.as_bytes(), value.as_bytes());
            }
            RateLimitAction::HeaderValueMatch { key, value, headers } => {
                if !headers.iter().all(|header| matches_header(header, HeadRef::request(head, view))) {
                    return None;
                }
                push(&mut entries, out, key.as_bytes(), value.as_bytes());
            }
        }
        // Two lists of entries never look alike.
        out.push(0);
    }
    Some(entries)
}

fn push(entries: &mut Entries, out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let key_start = out.len();
    out.extend_from_slice(key);
    let value_start = out.len();
    out.extend_from_slice(value);
    entries.push((key_start..value_start, value_start..out.len()));
}
