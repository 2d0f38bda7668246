//! One copy of a value for each shard: only that shard writes it, every thread may read all copies.

use std::cell::{OnceCell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Copies by shard. The lock is taken when a shard joins and by readers off the request path.
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
        let copy = self.join_at_use(shard);
        copy.own.get_or_init(|| self.copy_of(shard));
        copy
    }

    /// The same, but the copy is made when the shard first uses it: of ten thousand hosts, a shard may use ten.
    pub fn join_at_use(self: &Arc<Self>, shard: usize) -> ShardCopy<T> {
        ShardCopy { shard, own: OnceCell::new(), all: RefCell::default(), shared: self.clone() }
    }

    #[cold]
    fn copy_of(&self, shard: usize) -> Arc<T> {
        let mut copies = self.lock();
        if let Some((_, known)) = copies.iter().find(|copy| copy.0 == shard) {
            return known.clone();
        }
        let copy = Arc::new(T::default());
        copies.push((shard, copy.clone()));
        self.count.store(copies.len(), Ordering::Release);
        copy
    }
}

impl<T> PerShard<T> {
    /// The number of shards that have joined and have a copy.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// The sum of what `read` gives for each copy. Not for the request path.
    pub fn sum(&self, read: impl Fn(&T) -> i64) -> i64 {
        self.lock().iter().map(|(_, copy)| read(copy)).sum()
    }

    /// Shows each copy with the number of its shard. Not for the request path.
    pub fn each(&self, mut show: impl FnMut(usize, &T)) {
        self.lock().iter().for_each(|(shard, copy)| show(*shard, copy));
    }

    /// A panic of another holder leaves the list whole, so it stays in use.
    fn lock(&self) -> MutexGuard<'_, Vec<(usize, Arc<T>)>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One shard's access to the copies: its own to write, all of them to read.
#[derive(Debug)]
pub struct ShardCopy<T> {
    shard: usize,
    own: OnceCell<Arc<T>>,
    all: RefCell<Vec<Arc<T>>>,
    shared: Arc<PerShard<T>>,
}

impl<T> ShardCopy<T> {
    pub fn shared(&self) -> &Arc<PerShard<T>> {
        &self.shared
    }

    /// The sum of what `read` gives for each copy. It includes what other shards stored before their last sum. Takes the
    /// lock only when a shard has joined since this shard's last sum.
    pub fn sum(&self, read: impl Fn(&T) -> i64) -> i64 {
        let mut all = self.all.borrow_mut();
        // Before the count: a shard that joined and stored before its own fence is then seen here.
        fence(Ordering::SeqCst);
        if all.len() != self.shared.count() {
            all.clear();
            all.extend(self.shared.lock().iter().map(|(_, copy)| copy.clone()));
        }
        all.iter().map(|copy| read(copy)).sum()
    }
}

/// The shard's own copy.
impl<T: Default> std::ops::Deref for ShardCopy<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.own.get_or_init(|| self.shared.copy_of(self.shard))
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

    #[test]
    fn a_copy_that_is_made_at_use_is_one_of_all() {
        let copies: Arc<PerShard<Counter>> = Arc::default();
        let (used, idle) = (copies.join_at_use(0), copies.join_at_use(1));
        assert_eq!((copies.count(), idle.sum(|counter| counter.get() as i64)), (0, 0));
        used.add(3);
        assert_eq!((copies.count(), idle.sum(|counter| counter.get() as i64)), (1, 3));
        // The same cells under another hold, as after a new description of a host.
        let renewed = copies.join_at_use(0);
        renewed.add(4);
        assert_eq!((copies.count(), used.get(), idle.sum(|counter| counter.get() as i64)), (1, 7, 7));
    }
}
