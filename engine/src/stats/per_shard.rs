//! One copy of something for each shard: only its shard writes a copy, everybody may read all of them.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Copies by shard. The lock is taken when a shard joins and when somebody off the request path reads.
#[derive(Debug)]
pub struct PerShard<T> {
    copies: Mutex<Vec<(usize, Arc<T>)>>,
    count: AtomicUsize,
}

impl<T> Default for PerShard<T> {
    fn default() -> Self {
        Self { copies: Mutex::default(), count: AtomicUsize::new(0) }
    }
}

impl<T: Default> PerShard<T> {
    /// The copy of `shard`, for the shard; the same one each time.
    pub fn join(self: &Arc<Self>, shard: usize) -> ShardCopy<T> {
        let mut copies = self.lock();
        let known = copies.iter().find(|copy| copy.0 == shard).map(|(_, copy)| copy.clone());
        let own = known.unwrap_or_else(|| {
            let copy = Arc::new(T::default());
            copies.push((shard, copy.clone()));
            self.count.store(copies.len(), Ordering::Release);
            copy
        });
        ShardCopy { own, all: RefCell::default(), shared: self.clone() }
    }
}

impl<T> PerShard<T> {
    /// How many shards have joined.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// The sum of what `read` gives for each copy. Not for the request path.
    pub fn sum(&self, read: impl Fn(&T) -> i64) -> i64 {
        self.lock().iter().map(|(_, copy)| read(copy)).sum()
    }

    /// A panic of another holder leaves the list whole, so it stays in use.
    fn lock(&self) -> MutexGuard<'_, Vec<(usize, Arc<T>)>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One shard's hold on the copies: its own to write, all of them to read.
#[derive(Debug)]
pub struct ShardCopy<T> {
    own: Arc<T>,
    all: RefCell<Vec<Arc<T>>>,
    shared: Arc<PerShard<T>>,
}

impl<T> ShardCopy<T> {
    pub fn shared(&self) -> &Arc<PerShard<T>> {
        &self.shared
    }

    /// The sum of what `read` gives for each copy. What other shards stored before they last summed is in it. Takes the
    /// lock only when a shard has joined since the last sum.
    pub fn sum(&self, read: impl Fn(&T) -> i64) -> i64 {
        let mut all = self.all.borrow_mut();
        if all.len() != self.shared.count() {
            all.clear();
            all.extend(self.shared.lock().iter().map(|(_, copy)| copy.clone()));
        }
        fence(Ordering::SeqCst);
        all.iter().map(|copy| read(copy)).sum()
    }
}

/// The shard's own copy.
impl<T> std::ops::Deref for ShardCopy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Counter;

    #[test]
    fn a_shard_keeps_its_copy_and_all_add_up() {
        let copies: Arc<PerShard<Counter>> = Arc::default();
        let first = copies.join(3);
        first.add(5);
        assert_eq!(first.sum(|counter| counter.get() as i64), 5);
        copies.join(7).add(2);
        copies.join(3).add(1);
        assert_eq!((first.get(), first.sum(|counter| counter.get() as i64)), (6, 8));
        assert_eq!((copies.count(), copies.sum(|counter| counter.get() as i64)), (2, 8));
    }
}
