//! The shard's tasks: a table of futures and a queue of those that are ready.
//!
//! A waker is the task's number, not a counted pointer: waking from the shard's own thread costs a flag and a push.
//! A wake from another thread goes through that shard's mailbox. A panic ends the task that panicked and is counted.

use super::fetch::Memory;
use super::paged::Paged;
use super::pooled::{Blocks, TaskFuture};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::AssertUnwindSafe;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// Names a task. Shard (16 bits), generation (24 bits) and slab index (24 bits), so that a stale id wakes no task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskId(u64);

const INDEX_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;

impl TaskId {
    /// No task: waking it does nothing.
    pub const NONE: Self = Self(u64::MAX);

    fn new(shard: u16, generation: u32, index: usize) -> Self {
        let generation = u64::from(generation) & GENERATION_MASK;
        Self(u64::from(shard) << (GENERATION_BITS + INDEX_BITS) | generation << INDEX_BITS | index as u64)
    }

    #[cfg(test)]
    pub(crate) fn for_test(index: u32) -> Self {
        Self::new(0, 0, index as usize)
    }

    pub(crate) fn index(self) -> u32 {
        (self.0 & INDEX_MASK) as u32
    }

    fn generation(self) -> u32 {
        (self.0 >> INDEX_BITS & GENERATION_MASK) as u32
    }

    fn shard(self) -> u16 {
        (self.0 >> (GENERATION_BITS + INDEX_BITS)) as u16
    }
}

struct Slot {
    /// Out while it is polled.
    future: Option<TaskFuture>,
    generation: u32,
    queued: bool,
    /// Dropped while it was being polled: the poll loop removes it.
    cancelled: bool,
    /// What polling it will read next to the future, to be brought near as soon as it is woken: starts and cache lines.
    memory: ([*const u8; 2], [u8; 2]),
}

impl Slot {
    fn memory(&self) -> [Memory; 2] {
        let (starts, lines) = self.memory;
        [0, 1].map(|i| Memory { start: starts[i], lines: lines[i] })
    }
}

/// Wakes that came from other threads, and what makes the shard look at them.
pub(crate) struct Remote {
    woken: Mutex<Vec<TaskId>>,
    /// There are some: a look at it saves the lock.
    any: AtomicBool,
    notify: Box<dyn Fn() + Send + Sync>,
}

/// Mailboxes by shard number, for wakers that ended up on another thread. Not on the request path.
static REMOTES: RwLock<Vec<Option<Arc<Remote>>>> = RwLock::new(Vec::new());

thread_local! {
    /// The executor that runs on this thread, while it runs.
    static CURRENT: Cell<*const Executor> = const { Cell::new(ptr::null()) };
}

/// Rounds of one turn in which tasks are polled. Two tasks that wake each other without end still let the kernel in.
const ROUNDS: usize = 4;

pub(crate) struct Executor {
    shard: u16,
    slots: RefCell<Paged<Slot>>,
    /// Tasks to poll in this turn.
    ready: RefCell<VecDeque<TaskId>>,
    /// Tasks that woke themselves while they were polled: they wait for the next turn, so that yielding lets others run,
    /// sockets included.
    yielded: RefCell<VecDeque<TaskId>>,
    current: Cell<TaskId>,
    /// What the current task goes on as.
    successor: RefCell<Option<TaskFuture>>,
    generation: Cell<u32>,
    panics: Cell<u64>,
    remote: Arc<Remote>,
}

impl Executor {
    /// `notify` must make the shard's loop turn; it is called on other threads.
    pub(crate) fn new(notify: Box<dyn Fn() + Send + Sync>) -> Self {
        let remote = Arc::new(Remote { woken: Mutex::new(Vec::new()), any: AtomicBool::new(false), notify });
        let mut remotes = REMOTES.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let free = remotes.iter().position(Option::is_none).unwrap_or(remotes.len());
        if free == remotes.len() {
            remotes.push(None);
        }
        remotes[free] = Some(remote.clone());
        drop(remotes);
        Self {
            shard: u16::try_from(free).expect("fewer than 65,536 executors"),
            slots: RefCell::new(Paged::new()),
            ready: RefCell::new(VecDeque::new()),
            yielded: RefCell::new(VecDeque::new()),
            current: Cell::new(TaskId::NONE),
            successor: RefCell::new(None),
            generation: Cell::new(0),
            panics: Cell::new(0),
            remote,
        }
    }

    /// The task that is being polled.
    pub(crate) fn current(&self) -> TaskId {
        self.current.get()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.get()
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) -> TaskId {
        self.add(TaskFuture::boxed(future))
    }

    /// The same for the future that `make` makes, in a block that is used again.
    #[inline]
    pub(super) fn spawn_pooled<F: Future<Output = ()> + 'static>(
        &self,
        blocks: &Rc<Blocks>,
        make: impl FnOnce() -> F,
    ) -> TaskId {
        self.add(TaskFuture::pooled(blocks, make))
    }

    fn add(&self, future: TaskFuture) -> TaskId {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let slot = Slot {
            future: Some(future),
            generation: generation & GENERATION_MASK as u32,
            queued: true,
            cancelled: false,
            memory: ([ptr::null(); 2], [0; 2]),
        };
        let index = self.slots.borrow_mut().insert(slot);
        let id = TaskId::new(self.shard, generation, index);
        self.ready.borrow_mut().push_back(id);
        id
    }

    /// Once the current task's future is over, the task goes on with this one, in memory that fits it. It stays the same task for
    /// all that know it.
    pub(super) fn go_on_as(&self, future: impl Future<Output = ()> + 'static) {
        self.successor.replace(Some(TaskFuture::boxed(future)));
    }

    /// End a task: its future is dropped, at once or, if it is the one running, when it next yields.
    pub(crate) fn cancel(&self, id: TaskId) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(id.index() as usize).filter(|slot| slot.generation == id.generation()) else {
            return;
        };
        if slot.future.is_none() {
            slot.cancelled = true;
            return;
        }
        let slot = slots.remove(id.index() as usize);
        drop(slots);
        self.drop_guarded(slot.future);
    }

    pub(crate) fn is_alive(&self, id: TaskId) -> bool {
        let slots = self.slots.borrow();
        slots.get(id.index() as usize).is_some_and(|slot| slot.generation == id.generation())
    }

    pub(crate) fn wake(&self, id: TaskId) {
        if id != TaskId::NONE
            && let Some(slot) = self.slots.borrow_mut().get_mut(id.index() as usize)
            && slot.generation == id.generation()
            && !slot.queued
        {
            slot.queued = true;
            let current = self.current.get();
            // A task that another one wakes is polled within moments, and was polled not long ago as a rule.
            if current == TaskId::NONE {
                if let Some(future) = &slot.future {
                    future.memory().fetch();
                }
                slot.memory().iter().for_each(|memory| memory.fetch());
            }
            let queue = if id == current { &self.yielded } else { &self.ready };
            queue.borrow_mut().push_back(id);
        }
    }

    /// The task that is being polled works in this memory from now on, in addition to its own.
    #[inline]
    pub(super) fn works_in(&self, memory: [Memory; 2]) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(self.current.get().index() as usize) {
            slot.memory = (memory.map(|memory| memory.start), memory.map(|memory| memory.lines));
        }
    }

    /// Poll the tasks that are ready, then those that they woke, and so on for a few rounds: what goes from task to task
    /// need not enter the kernel for each step. What is left, and what woke itself, waits for the next turn.
    pub(crate) fn run_ready(&self) {
        let _entered = Entered::new(self);
        for _ in 0..ROUNDS {
            let count = self.ready.borrow().len();
            if count == 0 {
                break;
            }
            for _ in 0..count {
                let Some(id) = self.ready.borrow_mut().pop_front() else { break };
                self.poll_task(id);
            }
        }
        let mut yielded = self.yielded.borrow_mut();
        if yielded.is_empty() {
            return;
        }
        let mut ready = self.ready.borrow_mut();
        match ready.is_empty() {
            true => std::mem::swap(&mut *ready, &mut *yielded),
            false => ready.append(&mut yielded),
        }
    }

    /// Give memory that is only kept for reuse back.
    pub(crate) fn trim(&self) {
        self.slots.borrow_mut().trim();
        self.ready.borrow_mut().shrink_to(64);
        self.yielded.borrow_mut().shrink_to(64);
    }

    /// Take over the wakes that came from other threads.
    pub(crate) fn take_remote_wakes(&self) {
        if !self.remote.any.load(Ordering::Acquire) {
            return;
        }
        let mut woken = self.remote.woken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Within the lock, so that no wake is lost between the two.
        self.remote.any.store(false, Ordering::Release);
        for id in woken.drain(..) {
            self.wake(id);
        }
    }

    fn poll_task(&self, id: TaskId) {
        let taken = match self.slots.borrow_mut().get_mut(id.index() as usize) {
            Some(slot) if slot.generation == id.generation() => {
                slot.queued = false;
                slot.future.take()
            }
            _ => None,
        };
        let Some(mut future) = taken else { return };
        // SAFETY: the vtable's functions treat the data as a number and never dereference it. Dropping it would do nothing.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(id)) });
        let mut context = Context::from_waker(&waker);
        self.current.set(id);
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| future.poll(&mut context)));
        self.current.set(TaskId::NONE);
        if let Ok(Poll::Pending) = polled
            && let Some(slot) = self.slots.borrow_mut().get_mut(id.index() as usize)
            && !slot.cancelled
        {
            slot.future = Some(future);
            return;
        }
        self.end(id, future, polled.is_err());
    }

    /// A future is over, or was cancelled while it was polled. The task goes on as another one if that was asked for and nothing
    /// has gone wrong.
    fn end(&self, id: TaskId, future: TaskFuture, has_panicked: bool) {
        self.panics.set(self.panics.get() + u64::from(has_panicked));
        let mut successor = self.successor.take();
        let mut slots = self.slots.borrow_mut();
        // Gone when the task shut its own reactor down.
        let slot = slots.get_mut(id.index() as usize);
        let goes_on = successor.is_some() && !has_panicked && slot.as_ref().is_some_and(|slot| !slot.cancelled);
        match slot {
            Some(slot) if goes_on => (slot.future, slot.memory) = (successor.take(), ([ptr::null(); 2], [0; 2])),
            Some(_) => drop(slots.remove(id.index() as usize)),
            None => {}
        }
        drop(slots);
        self.drop_guarded(Some(future));
        match goes_on {
            true => self.wake(id),
            false => self.drop_guarded(successor),
        }
    }

    /// A destructor that panics must not end the shard either.
    fn drop_guarded(&self, future: Option<TaskFuture>) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| drop(future))).is_err() {
            self.panics.set(self.panics.get() + 1);
        }
    }

    /// Drop every task, those included that others spawn while they are dropped.
    pub(crate) fn clear(&self) {
        let _entered = Entered::new(self);
        loop {
            let futures: Vec<_> = self.slots.borrow_mut().take().map(|slot| slot.future).collect();
            if futures.is_empty() {
                break;
            }
            futures.into_iter().for_each(|future| self.drop_guarded(future));
        }
        self.ready.borrow_mut().clear();
        self.yielded.borrow_mut().clear();
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let mut remotes = REMOTES.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        remotes[self.shard as usize] = None;
    }
}

/// Marks the executor as this thread's while it polls.
struct Entered {
    previous: *const Executor,
}

impl Entered {
    fn new(executor: &Executor) -> Self {
        Self { previous: CURRENT.replace(ptr::from_ref(executor)) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.previous);
    }
}

const VTABLE: RawWakerVTable = RawWakerVTable::new(
    |data| RawWaker::new(data, &VTABLE),
    |data| wake_from_anywhere(TaskId(data as u64)),
    |data| wake_from_anywhere(TaskId(data as u64)),
    |_| {},
);

fn raw_waker(id: TaskId) -> RawWaker {
    RawWaker::new(ptr::without_provenance(id.0 as usize), &VTABLE)
}

fn wake_from_anywhere(id: TaskId) {
    let current = CURRENT.get();
    // SAFETY: CURRENT is not null only between Entered::new and its drop, and `Entered` does not outlive the borrow of
    // the executor from which it was made.
    if let Some(executor) = unsafe { current.as_ref() }
        && executor.shard == id.shard()
    {
        return executor.wake(id);
    }
    let remotes = REMOTES.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(Some(remote)) = remotes.get(id.shard() as usize) {
        let mut woken = remote.woken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        woken.push(id);
        remote.any.store(true, Ordering::Release);
        drop(woken);
        (remote.notify)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn executor() -> Executor {
        Executor::new(Box::new(|| {}))
    }

    #[test]
    fn a_panic_ends_its_task_only() {
        let executor = executor();
        let reached = Rc::new(Cell::new(false));
        executor.spawn(async { panic!("expected in this test") });
        let flag = reached.clone();
        executor.spawn(async move { flag.set(true) });
        executor.run_ready();
        assert!(reached.get());
        assert_eq!((executor.panics(), executor.len()), (1, 0));
    }

    #[test]
    fn a_stale_id_wakes_nobody() {
        let executor = executor();
        let first = executor.spawn(async {});
        executor.run_ready();
        let second = executor.spawn(std::future::pending());
        executor.run_ready();
        assert_eq!(first.index(), second.index(), "the slot is used again");
        executor.wake(first);
        executor.wake(TaskId::NONE);
        assert!(!executor.has_ready());
        executor.wake(second);
        assert!(executor.has_ready());
    }

    /// Says in a log that it is dropped.
    struct Told(&'static str, Rc<RefCell<Vec<&'static str>>>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[test]
    fn a_task_goes_on_as_another_future_and_stays_the_same_task() {
        let executor = Rc::new(executor());
        let log = Rc::new(RefCell::new(Vec::new()));
        let begin = |fails: bool| {
            let (inner, log) = (executor.clone(), log.clone());
            executor.spawn(async move {
                let first = Told("the first is dropped", log.clone());
                inner.go_on_as(async move {
                    let _second = Told("the second is dropped", log.clone());
                    log.borrow_mut().push("the second is polled");
                    std::future::pending::<()>().await;
                });
                assert!(!fails, "expected in this test");
                drop(first);
            })
        };
        let task = begin(false);
        executor.run_ready();
        assert_eq!(*log.borrow(), ["the first is dropped", "the second is polled"]);
        assert!(executor.is_alive(task) && executor.len() == 1);
        executor.cancel(task);
        assert_eq!(log.borrow().last(), Some(&"the second is dropped"));
        log.borrow_mut().clear();
        // One that panics does not.
        begin(true);
        executor.run_ready();
        assert_eq!((log.take(), executor.len(), executor.panics()), (vec!["the first is dropped"], 0, 1));
    }

    #[test]
    fn a_waker_works_from_another_thread() {
        let notified = Arc::new(AtomicUsize::new(0));
        let count = notified.clone();
        let executor = Executor::new(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        let waker = Rc::new(RefCell::new(None));
        let polls = Rc::new(Cell::new(0));
        let (slot, counter) = (waker.clone(), polls.clone());
        executor.spawn(std::future::poll_fn(move |context| {
            slot.replace(Some(context.waker().clone()));
            counter.set(counter.get() + 1);
            Poll::Pending
        }));
        executor.run_ready();
        let waker = waker.borrow_mut().take().expect("polled once");
        std::thread::spawn(move || waker.wake()).join().expect("the thread ends");
        assert_eq!(notified.load(Ordering::SeqCst), 1);
        executor.take_remote_wakes();
        executor.run_ready();
        assert_eq!(polls.get(), 2);
    }
}
