//! The reactor: one per shard, on the shard's thread. Its loop runs the tasks that are ready, submits what they asked
//! for, sleeps only when there is nothing to do, and hands completions and timers back to the tasks.

use super::buffer::{Buf, BufPool, PoolSize};
use super::deadline::Timer;
use super::driver::Io;
use super::fetch::Memory;
use super::idle::Idle;
use super::jobs::{Jobs, Mode};
use super::pooled::{Blocks, Pooled};
use super::pools::{Pools, ReceiveClass};
use super::send::{FRESH_CAPACITY, store};
use super::splice::Splice;
use super::task::{Executor, TaskId};
use super::timer::Wheel;
use super::unpark::{Unpark, eventfd};
use super::uring::Uring;
use super::yielding::{Spares, Yielding};
use crate::base::clock::{Clock, Nanos, Wall};
use crate::base::random::Random;
use crate::stats::ShardStats;
use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Sizes of a reactor; the configuration's `[runtime]`.
#[derive(Clone, Copy, Debug)]
pub struct ReactorOptions {
    /// Submission queue entries.
    pub ring_entries: u32,
    /// Receive buffers; half as much memory is for long ones, and as much again for bulk ones (`ReceiveClass`).
    pub buffers: PoolSize,
    /// Bytes (as `Buf::charge` counts) one socket may have received and not taken.
    pub receive_limit: usize,
}

impl Default for ReactorOptions {
    fn default() -> Self {
        Self { ring_entries: 1024, buffers: PoolSize { count: 1024, size: 16 * 1024 }, receive_limit: 64 * 1024 }
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    pub completions: u64,
    pub enters: u64,
    pub sleeps: u64,
    pub turns: u64,
    pub out_of_buffers: u64,
    pub heap_buffers: u64,
    pub receive_pauses: u64,
    pub stale_completions: u64,
    pub panics: u64,
    /// Futures in memory of their own because they did not fit a block of `pooled`.
    pub oversize_futures: u64,
    pub slices: u64,
    pub tasks: u64,
    pub timers: u64,
    pub sockets: u64,
    pub buffers_in_use: u64,
}

pub struct Reactor {
    pub(super) executor: Executor,
    timers: RefCell<Wheel>,
    clock: Clock,
    now: Cell<Nanos>,
    random: Random,
    pools: Pools,
    /// Absent in tests that run on in-memory pipes.
    pub(super) io: Option<RefCell<Io>>,
    /// Vectors to use again, where there is no `io`.
    spare: RefCell<Vec<Vec<u8>>>,
    /// Memory of futures that ended, to use again.
    blocks: Rc<Blocks>,
    /// Pipes to use again.
    pub(super) spare_pipes: RefCell<Vec<Splice>>,
    unpark: Unpark,
    pub(super) yielding: Yielding,
    pub(super) idle: Idle,
    pub(super) spares: Spares,
    /// Tasks that wait for a descriptor.
    pub(super) short_of: Cell<usize>,
    /// Long computations.
    jobs: Rc<Jobs>,
    turns: Cell<u64>,
    /// Since when tasks run and completions are handed out, without a sleep in between.
    busy_since: Cell<Nanos>,
    /// Gets the length of each turn.
    turn_time: OnceCell<Arc<ShardStats>>,
    event_fired: Cell<bool>,
}

/// Pipes kept for reuse; each takes two descriptors.
const SPARE_PIPES: usize = 16;

impl Reactor {
    /// A reactor with a ring. Must stay on the thread that made it.
    ///
    /// # Errors
    /// One sentence that names the cause and the remedy.
    pub fn new(options: &ReactorOptions) -> Result<Rc<Self>, String> {
        let pools = Pools::new(options.buffers)?;
        let uring = Uring::new(options.ring_entries, &pools)?;
        let event = eventfd().map_err(|error| format!("eventfd: {error}"))?;
        let for_ring = event.try_clone().map_err(|error| format!("eventfd: {error}"))?;
        let io = Io::new(uring, pools.clone(), for_ring, options.receive_limit);
        Ok(Self::build(Clock::real(), Random::from_entropy(), pools, event, Some(io)))
    }

    /// A reactor without a ring, for in-memory pipes: time is virtual and randomness comes from `seed`.
    pub fn simulated(seed: u64, buffers: PoolSize) -> Rc<Self> {
        let event = eventfd().expect("a test may open a descriptor");
        Self::build(Clock::virtual_time(), Random::seeded(seed), Pools::new(buffers).expect("memory"), event, None)
    }

    fn build(clock: Clock, random: Random, pools: Pools, event: OwnedFd, io: Option<Io>) -> Rc<Self> {
        let unpark = Unpark(Arc::new(std::fs::File::from(event)));
        let notify = unpark.clone();
        let now = clock.now();
        // Before the loop begins there is no traffic that jobs could delay.
        let jobs = Jobs::new(Mode::AtOnce);
        Rc::new(Self {
            executor: Executor::new(Box::new(move || notify.unpark())),
            timers: RefCell::new(Wheel::new()),
            clock,
            now: Cell::new(now),
            random,
            pools,
            io: io.map(RefCell::new),
            spare: RefCell::new(Vec::new()),
            blocks: Rc::new(Blocks::default()),
            spare_pipes: RefCell::new(Vec::new()),
            unpark,
            yielding: Yielding::default(),
            idle: Idle::default(),
            spares: Spares::default(),
            short_of: Cell::new(0),
            jobs,
            turns: Cell::new(0),
            busy_since: Cell::new(now),
            turn_time: OnceCell::new(),
            event_fired: Cell::new(false),
        })
    }

    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> TaskId {
        self.executor.spawn(future)
    }

    /// As `spawn`, for the future that `make` makes, in memory that is kept for the next one. For tasks that come and go;
    /// the memory has one size for all (`pooled.rs`), so a task that mostly waits takes less of its own.
    #[inline]
    pub fn spawn_pooled<F: Future<Output = ()> + 'static>(&self, make: impl FnOnce() -> F) -> TaskId {
        self.executor.spawn_pooled(&self.blocks, make)
    }

    /// Once the current task's future is over, the task goes on with this one, in memory of its own. For tasks that turn out to
    /// be of another kind, and may live for long.
    pub fn go_on_as(&self, future: impl Future<Output = ()> + 'static) {
        self.executor.go_on_as(future);
    }

    pub(super) fn jobs(&self) -> &Rc<Jobs> {
        &self.jobs
    }

    pub(super) fn timers(&self) -> &RefCell<Wheel> {
        &self.timers
    }

    /// The length of each turn goes to these statistics from now on.
    pub fn measure_turns(&self, stats: Arc<ShardStats>) {
        let _ = self.turn_time.set(stats);
    }

    pub fn cancel(&self, task: TaskId) {
        self.executor.cancel(task);
    }

    pub fn wake(&self, task: TaskId) {
        self.executor.wake(task);
    }

    /// The task that is being polled.
    pub fn current_task(&self) -> TaskId {
        self.executor.current()
    }

    /// Time at the start of this turn of the loop.
    pub fn now(&self) -> Nanos {
        self.now.get()
    }

    pub fn wall_micros(&self) -> u64 {
        self.clock.wall_micros(self.now.get())
    }

    /// The wall clock, for what other threads use, too.
    pub fn wall(&self) -> Wall {
        self.clock.wall()
    }

    /// Follow steps of the wall clock.
    pub fn resync_clock(&self) {
        self.clock.resync();
    }

    pub fn random(&self) -> &Random {
        &self.random
    }

    /// The pool of short buffers.
    pub fn pool(&self) -> &Rc<BufPool> {
        &self.pools.short
    }

    /// The pool of this class.
    pub fn pool_of(&self, class: ReceiveClass) -> &Rc<BufPool> {
        self.pools.of(class)
    }

    /// A copy of all `bytes`, in one buffer.
    pub fn copy_from(&self, bytes: &[u8]) -> Buf {
        self.pools.copy_from(bytes)
    }

    /// A free buffer for `len` bytes of ours or for the first of them, with whatever was in it before. `None`: they are too few
    /// for one, or buffers are scarce.
    pub fn take_buf(&self, len: usize) -> Option<Buf> {
        self.pools.take(len)
    }

    /// Whether `buf` should not be kept long, because buffers like it are scarce.
    pub fn is_scarce(&self, buf: &Buf) -> bool {
        buf.pool().unwrap_or(&self.pools.short).is_scarce()
    }

    pub fn unpark_handle(&self) -> Unpark {
        self.unpark.clone()
    }

    /// An empty vector, with capacity left from an earlier use where there is one.
    pub fn take_vec(&self) -> Vec<u8> {
        self.spare(Vec::pop).unwrap_or_else(|| Vec::with_capacity(FRESH_CAPACITY))
    }

    pub fn give_vec(&self, vec: Vec<u8>) {
        self.spare(|spare| store(spare, vec));
    }

    /// What is done with the vectors that are kept for reuse.
    pub(crate) fn spare<R>(&self, f: impl FnOnce(&mut Vec<Vec<u8>>) -> R) -> R {
        match &self.io {
            Some(io) => f(&mut io.borrow_mut().spare),
            None => f(&mut self.spare.borrow_mut()),
        }
    }

    /// The future that `make` makes, in memory of its own, which is kept for the next one: a task that waits most of its
    /// life need not carry along what it only needs now and then.
    #[inline]
    pub fn pooled<F: Future>(&self, make: impl FnOnce() -> F) -> Pooled<F> {
        Pooled::new(&self.blocks, make)
    }

    /// The task that is being polled works in this memory from now on, in addition to its own. When it is woken, the
    /// processor is told to bring it near.
    #[inline]
    pub fn works_in(&self, memory: [Memory; 2]) {
        self.executor.works_in(memory);
    }

    /// An empty pipe.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn take_pipe(&self) -> std::io::Result<Splice> {
        let spare = self.spare_pipes.borrow_mut().pop();
        spare.map_or_else(Splice::new, Ok)
    }

    pub fn give_pipe(&self, pipe: Splice) {
        let mut spare = self.spare_pipes.borrow_mut();
        if pipe.held() == 0 && spare.len() < SPARE_PIPES {
            spare.push(pipe);
        }
    }

    pub(super) fn io<T>(&self, with: impl FnOnce(&mut Io) -> T) -> T {
        let io = self.io.as_ref().expect("a simulated reactor has no sockets");
        with(&mut io.borrow_mut())
    }

    /// Whether another thread has unparked this reactor since the last call.
    pub fn take_event(&self) -> bool {
        self.event_fired.replace(false)
    }

    /// Turns of the loop so far, the present one included.
    pub fn turns(&self) -> u64 {
        self.turns.get()
    }

    /// One turn of the loop. Sleeps until there is something to do, but not past the next timer.
    pub fn turn(&self) {
        self.turn_unless(|| false);
    }

    /// One turn, which does not sleep if `done` says so once the tasks have run.
    fn turn_unless(&self, done: impl FnOnce() -> bool) {
        self.turns.set(self.turns.get() + 1);
        self.jobs.turn();
        self.executor.run_ready();
        // Queued jobs are worked off between turns that follow each other at once.
        let may_sleep = !done() && self.jobs.is_empty();
        match &self.io {
            Some(io) => self.turn_ring(&mut io.borrow_mut(), may_sleep),
            None => self.turn_virtual(may_sleep),
        }
        let executor = &self.executor;
        self.timers.borrow_mut().advance(self.now.get(), |task| executor.wake(task));
    }

    fn turn_ring(&self, io: &mut Io, may_sleep: bool) {
        io.uring.lend_buffers(&self.pools);
        io.arm_event();
        let is_done = may_sleep && !self.executor.has_ready();
        if !is_done || self.idle.is_awaited() {
            io.uring.enter(None);
            io.now = self.clock.now();
            self.end_turn(io.now);
        } else {
            let now = self.clock.now();
            self.end_turn(now);
            let wait = [self.timers.borrow().next_deadline(), io.next_watch()].into_iter().flatten().min();
            let wait = wait.map(|deadline| Duration::from_nanos(deadline.saturating_sub(now)));
            io.counts.sleeps += u64::from(!io.uring.has_queued());
            io.uring.enter(Some(wait));
            io.now = self.clock.now();
        }
        self.busy_since.set(io.now);
        self.now.set(io.now);
        let before = io.counts.completions;
        let event = io.dispatch(&self.executor);
        let completions = io.counts.completions - before;
        self.jobs.turned(completions);
        if is_done && completions == 0 {
            self.idle.comes(&self.executor);
        }
        if event {
            self.event_fired.set(true);
            self.executor.take_remote_wakes();
        }
        io.listen_again();
    }

    /// What comes next may sleep, or another turn begins.
    fn end_turn(&self, now: Nanos) {
        if let Some(stats) = self.turn_time.get() {
            stats.turn_time.record(now.saturating_sub(self.busy_since.get()) / 1000);
        }
    }

    /// Without a ring, time passes only when no task is ready.
    fn turn_virtual(&self, may_sleep: bool) {
        self.executor.take_remote_wakes();
        if may_sleep && !self.executor.has_ready() {
            if self.idle.is_awaited() {
                self.idle.comes(&self.executor);
            } else if let Some(deadline) = self.timers.borrow().next_deadline() {
                self.clock.advance(Duration::from_nanos(deadline.saturating_sub(self.clock.now())));
            }
        }
        self.now.set(self.clock.now());
    }

    /// Turn until `done`.
    pub fn run_until(&self, mut done: impl FnMut() -> bool) {
        let mut over = done();
        while !over {
            self.turn_unless(|| {
                over = done();
                over
            });
            over = over || done();
        }
    }

    /// Run `future` to its end on this reactor and return its output. For tests and tools, not within a task.
    pub fn block_on<T: 'static>(self: &Rc<Self>, future: impl Future<Output = T> + 'static) -> T {
        let slot = Rc::new(RefCell::new(None));
        let output = slot.clone();
        let task = self.spawn(async move {
            let value = future.await;
            output.replace(Some(value));
        });
        let panics = self.executor.panics();
        loop {
            self.turn_unless(|| slot.borrow().is_some() || self.executor.panics() != panics);
            if let Some(value) = slot.borrow_mut().take() {
                return value;
            }
            assert!(self.executor.panics() == panics, "a task panicked while {task:?} was awaited");
        }
    }

    /// Give memory that is only kept for reuse back to the system.
    pub fn trim(&self) {
        if let Some(io) = &self.io {
            io.borrow_mut().trim();
        }
        self.spare.borrow_mut().clear();
        self.spare_pipes.borrow_mut().clear();
        self.blocks.trim();
        self.executor.trim();
        self.timers.borrow_mut().trim();
        // A submission in the middle of a turn may have filled buffers whose completions have not been fetched.
        if self.io.as_ref().is_none_or(|io| io.borrow_mut().uring.has_no_completions()) {
            self.pools.release_free_pages();
        }
    }

    pub fn facts(&self) -> Facts {
        let mut facts = Facts {
            turns: self.turns.get(),
            heap_buffers: self.pools.heap_buffers(),
            panics: self.executor.panics() + self.jobs.panics(),
            oversize_futures: self.blocks.oversize.get(),
            slices: self.jobs.slices(),
            tasks: self.executor.len() as u64,
            timers: self.timers.borrow().len() as u64,
            buffers_in_use: self.pools.in_use() as u64,
            ..Facts::default()
        };
        if let Some(io) = &self.io {
            let io = io.borrow();
            facts.completions = io.counts.completions;
            facts.enters = io.uring.enters;
            facts.sleeps = io.counts.sleeps;
            facts.out_of_buffers = io.counts.out_of_buffers;
            facts.receive_pauses = io.counts.receive_pauses;
            facts.stale_completions = io.counts.stale_completions;
            facts.sockets = io.sockets.len() as u64;
        }
        facts
    }

    /// Let other tasks run before going on.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        std::future::poll_fn(|_| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            self.wake(self.current_task());
            Poll::Pending
        })
        .await;
    }

    pub async fn sleep(self: &Rc<Self>, duration: Duration) {
        let timer = Timer::new(self);
        timer.arm_in(duration);
        std::future::poll_fn(|_| if timer.fired() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // Tasks hold an Rc of the reactor, so none is left. The kernel may still hold addresses in the table.
        let Some(io) = &self.io else { return };
        if io.borrow_mut().end_all(&self.executor) {
            return;
        }
        // Leaking is the safe answer to operations that do not end.
        std::mem::forget(self.io.take());
        std::mem::forget(self.pools.clone());
    }
}

impl Reactor {
    /// Drop every task, and with them the sockets they own. The reactor is of no use afterwards, and nothing of it is under
    /// way in the kernel: what the process leaves to the kernel when it exits would keep its address for some time.
    pub fn shut_down(&self) {
        self.executor.clear();
        self.jobs.clear();
        if let Some(io) = &self.io {
            io.borrow_mut().end_all(&self.executor);
        }
    }
}
