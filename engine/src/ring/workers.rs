//! A few threads for computations of several milliseconds, which would hold a shard up: signatures with RSA keys.
//!
//! They get what the shards leave. The kernel gives a core to a thread of the class SCHED_IDLE only while no other one wants it, and
//! takes it back at once: a nice value makes a thread's share small, but one that has the core keeps it until the next tick of
//! the clock, up to 4 ms, and traffic waits. Where a core is busy all the time, with traffic or with other programs, 0.3 % of it
//! is left, and a signature would take a second. So there are as many helpers with a nice value, for a tenth of a core, which
//! compute what waits while the others come to nothing. What such a thread has begun stays with it.
//!
//! A thread may lose its core anywhere, also where it holds a lock. Shards wait for none to hand over work or to look at a result.

use crossbeam_queue::SegQueue;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// In addition to the nice value of the process: a tenth of what its other threads get.
const NICE: libc::c_int = 10;
/// What has waited for this time is begun by helpers: on half a core, two of the slowest keys take 20 ms.
const HELD_UP: Duration = Duration::from_millis(100);

/// A computation under way. Its result is `None` where it panicked. Dropped, it does not begin if it has not yet.
#[must_use = "a computation that is not waited for may never begin"]
pub struct Computed<T> {
    state: Arc<Mutex<State<T>>>,
    /// The thread that computes has a waker.
    has_waker: bool,
}

enum State<T> {
    Waits(Option<Waker>),
    Over(Option<T>),
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    work: SegQueue<Work>,
    /// How many were queued, and how many of them workers and helpers have begun.
    queued: AtomicUsize,
    begun: AtomicUsize,
    helped: AtomicUsize,
    workers: Vec<Sleeper>,
    helpers: Vec<Sleeper>,
}

static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Starts the threads, once for the process, on a thread that may run on all its cores: theirs are the same. There are as
/// many as cores, and as many helpers.
///
/// # Errors
/// One sentence: no thread can be made.
pub fn start() -> Result<(), String> {
    if QUEUE.get().is_some() {
        return Ok(());
    }
    let count = threads();
    let sleepers = || (0..count).map(|_| Sleeper::default()).collect();
    let queue = Arc::new(Queue { workers: sleepers(), helpers: sleepers(), ..Queue::default() });
    for n in 0..count {
        let (works, helps) = (queue.clone(), queue.clone());
        spawn(format!("worker-{n}"), move || work(&works, &works.workers[n]))?;
        spawn(format!("helper-{n}"), move || help(&helps, &helps.helpers[n]))?;
    }
    // A second one that comes at the same time has threads that wait for ever, which costs nothing else.
    let _ = QUEUE.set(queue);
    Ok(())
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let thread = thread::Builder::new().name(name.clone()).spawn(body);
    thread.map(drop).map_err(|error| format!("{name} thread: {error}"))
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Computes on one of the threads, in the order of the calls; now and on this one, if there are none.
pub fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Computed<T> {
    let state = Arc::new(Mutex::new(State::Waits(None)));
    let computed = Computed { state: state.clone(), has_waker: false };
    let run = move || {
        // This and the one that waits.
        if Arc::strong_count(&state) == 1 {
            return;
        }
        let result = std::panic::catch_unwind(AssertUnwindSafe(work)).ok();
        let before = std::mem::replace(&mut *lock(&state), State::Over(result));
        if let State::Waits(Some(waker)) = before {
            waker.wake();
        }
    };
    match QUEUE.get() {
        Some(queue) => queue.push(Box::new(run)),
        None => run(),
    }
    computed
}

impl Queue {
    /// How many of those that were queued have been begun, the first ones first.
    fn taken(&self) -> usize {
        self.begun.load(Ordering::Relaxed) + self.helped.load(Ordering::Relaxed)
    }

    fn push(&self, work: Work) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.work.push(work);
        wake_one(&self.workers);
        wake_one(&self.helpers);
    }
}

/// A thread that sleeps while nothing waits.
#[derive(Default)]
struct Sleeper {
    thread: OnceLock<Thread>,
    is_asleep: AtomicBool,
}

impl Sleeper {
    fn sleep_unless(&self, has_work: impl Fn() -> bool) {
        self.thread.get_or_init(thread::current);
        self.is_asleep.store(true, Ordering::Relaxed);
        // With that in `wake_one`: either this thread sees the work, or the one that brings it sees that this one is asleep.
        fence(Ordering::SeqCst);
        if !has_work() {
            thread::park();
        }
        self.is_asleep.store(false, Ordering::Relaxed);
    }
}

/// After something to do was queued.
fn wake_one(sleepers: &[Sleeper]) {
    fence(Ordering::SeqCst);
    let is_asleep = |sleeper: &&Sleeper| {
        sleeper.is_asleep.load(Ordering::Relaxed) && sleeper.is_asleep.swap(false, Ordering::Relaxed)
    };
    if let Some(thread) = sleepers.iter().find(is_asleep).and_then(|sleeper| sleeper.thread.get()) {
        thread.unpark();
    }
}

/// A thread that gets what is left.
fn work(queue: &Queue, sleeper: &Sleeper) {
    be_nice();
    be_last();
    loop {
        match queue.work.pop() {
            Some(next) => {
                queue.begun.fetch_add(1, Ordering::Relaxed);
                run(next);
            }
            None => sleeper.sleep_unless(|| !queue.work.is_empty()),
        }
    }
}

/// A thread that helps those while they come to nothing.
fn help(queue: &Queue, sleeper: &Sleeper) {
    be_nice();
    loop {
        sleeper.sleep_unless(|| !queue.work.is_empty());
        let since = Instant::now();
        let [queued, begun] = [&queue.queued, &queue.begun].map(|count| count.load(Ordering::Relaxed));
        while let Some(left) = HELD_UP.checked_sub(since.elapsed()) {
            thread::park_timeout(left);
        }
        // What has waited for that time, and what came after it while workers have begun nothing at all.
        while (queue.taken() < queued || queue.begun.load(Ordering::Relaxed) == begun)
            && let Some(next) = queue.work.pop()
        {
            queue.helped.fetch_add(1, Ordering::Relaxed);
            run(next);
        }
    }
}

fn run(work: Work) {
    // A destructor may panic, too, and must not end the thread.
    let _ = std::panic::catch_unwind(AssertUnwindSafe(work));
}

fn be_nice() {
    // SAFETY: no pointers are passed. On Linux a thread has a nice value of its own, and 0 is the calling one. Where that is
    // forbidden, the threads are as the others.
    unsafe {
        let of_the_others = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, of_the_others + NICE)
    };
}

/// Where that is forbidden, the thread is only nice.
fn be_last() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a value of this function. 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Future for Computed<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        let mut state = match this.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            // The result is about to come, and the thread that brings it may have lost its core.
            Err(TryLockError::WouldBlock) => {
                if !this.has_waker {
                    context.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        };
        match &mut *state {
            State::Waits(waker) => {
                *waker = Some(context.waker().clone());
                this.has_waker = true;
                Poll::Pending
            }
            State::Over(result) => Poll::Ready(result.take()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};
    use std::task::Wake;

    const LONG: Duration = Duration::from_secs(60);

    struct Unparks(Thread);

    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait<T>(mut computed: Computed<T>) -> Option<T> {
        let waker = Arc::new(Unparks(thread::current())).into();
        let start = Instant::now();
        loop {
            if let Poll::Ready(result) = Pin::new(&mut computed).poll(&mut Context::from_waker(&waker)) {
                return result;
            }
            assert!(start.elapsed() < LONG, "it is not computed");
            thread::park_timeout(LONG);
        }
    }

    /// The tests share the threads.
    static TURN: Mutex<()> = Mutex::new(());

    /// Name, scheduling class and nice value of a thread.
    type Kind = (String, i32, i32);

    /// Of this thread: fields 41 and 19 of proc_pid_stat(5).
    fn kind() -> Kind {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("of Linux");
        let fields: Vec<i32> =
            stat.rsplit_once(") ").expect("a name").1.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
        (thread::current().name().unwrap_or_default().to_owned(), fields[38], fields[16])
    }

    /// Keeps `count` threads busy until the sender is dropped. They are at it.
    fn occupy(count: usize) -> (Sender<()>, Vec<Computed<bool>>, Vec<Kind>) {
        let (release, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (begins, begun) = channel();
        let busy = (0..count).map(|_| {
            let (held, begins) = (held.clone(), begins.clone());
            compute(move || {
                begins.send(kind()).expect("it waits");
                lock(&held).recv().is_err()
            })
        });
        let busy = busy.collect();
        let kinds = (0..count).map(|_| begun.recv_timeout(LONG).expect("each begins")).collect();
        (release, busy, kinds)
    }

    #[test]
    fn results_come_back_in_the_order_of_the_calls_and_a_panic_ends_only_its_computation() {
        let _turn = lock(&TURN);
        start().expect("threads");
        assert!(QUEUE.get().is_some());
        let main = thread::current().id();
        assert_eq!(wait(compute(move || thread::current().id() == main)), Some(false), "on another thread");
        assert_eq!(wait(compute::<()>(|| panic!("expected in this test"))), None);
        let many: Vec<_> = (0..100).map(|n| compute(move || n)).collect();
        assert!(many.into_iter().enumerate().all(|(n, computed)| wait(computed) == Some(n)));
    }

    #[test]
    fn what_is_not_waited_for_does_not_begin() {
        let _turn = lock(&TURN);
        start().expect("threads");
        let (release, busy, _) = occupy(2 * threads());
        let (begins, begun) = channel();
        drop(compute(move || begins.send(()).expect("it waits")));
        drop(release);
        assert!(busy.into_iter().all(|busy| wait(busy) == Some(true)));
        assert_eq!(begun.recv_timeout(LONG), Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn half_of_the_threads_get_what_is_left_and_the_others_help_while_these_are_held_up() {
        let _turn = lock(&TURN);
        start().expect("threads");
        let main = kind();
        assert_eq!(main.1, libc::SCHED_OTHER);
        // These hold as many up as there are of the first kind, so that others have to compute what comes next.
        let (release, busy, mut kinds) = occupy(threads());
        kinds.extend((0..10).map(|_| wait(compute(kind)).expect("no panic")));
        assert!(kinds.iter().any(|(name, ..)| name.starts_with("helper-")), "{kinds:?}");
        drop(release);
        assert!(busy.into_iter().all(|busy| wait(busy) == Some(true)));
        kinds.extend((0..100).map(|_| wait(compute(kind)).expect("no panic")));
        let nice = (main.2 + NICE).min(19);
        for (name, class, value) in kinds {
            let expected = if name.starts_with("helper-") { libc::SCHED_OTHER } else { libc::SCHED_IDLE };
            assert_eq!((class, value), (expected, nice), "{name}");
        }
    }

    #[test]
    fn a_result_that_is_being_brought_is_not_waited_for_with_a_lock() {
        let mut computed = Computed { state: Arc::new(Mutex::new(State::Waits(None))), has_waker: false };
        let state = computed.state.clone();
        let woken = Arc::new(AtomicUsize::new(0));
        struct Counts(Arc<AtomicUsize>);
        impl Wake for Counts {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let waker = Waker::from(Arc::new(Counts(woken.clone())));
        let mut poll = || Pin::new(&mut computed).poll(&mut Context::from_waker(&waker));
        let held = lock(&state);
        assert!(poll().is_pending());
        assert_eq!(woken.load(Ordering::Relaxed), 1, "nobody else would wake it");
        drop(held);
        assert!(poll().is_pending());
        let mut held = lock(&state);
        assert!(poll().is_pending());
        assert_eq!(woken.load(Ordering::Relaxed), 1, "the one that holds it does");
        *held = State::Over(Some(5));
        drop(held);
        assert_eq!(poll(), Poll::Ready(Some(5)));
    }
}
