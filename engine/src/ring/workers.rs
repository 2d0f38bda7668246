//! A few threads for computations of several milliseconds, which would hold a shard up: signatures with RSA keys.
//!
//! They get what the shards leave. The kernel gives a core to a thread of the class SCHED_IDLE only while no other one wants it, and
//! takes it back at once: a nice value makes a thread's share small, but one that has the core keeps it until the next tick of
//! the clock, up to 4 ms, and traffic waits. Where a core is busy all the time, with traffic or with other programs, 0.3 % of it
//! is left, and a signature would take a second. So there are as many helpers with a nice value, for a tenth of a core, that
//! take over while the first ones are held up.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// In addition to the nice value of the process: a tenth of what its other threads get.
const NICE: libc::c_int = 10;
/// A computation that has waited or lasted for this time is held up: on half a core, two of the slowest keys take 20 ms.
const HELD_UP: Duration = Duration::from_millis(100);

/// A computation under way. Its result is `None` where it panicked. Dropped, it does not begin if it has not yet.
#[must_use = "a computation that is not waited for may never begin"]
pub struct Computed<T>(Arc<Mutex<State<T>>>);

enum State<T> {
    Waits(Option<Waker>),
    Over(Option<T>),
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    has_work: Condvar,
    may_be_held_up: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// With when it came.
    work: VecDeque<(Instant, Work)>,
    /// When each thread that gets what is left began what it is at.
    begun: Vec<Option<Instant>>,
    /// A helper looks when its time comes.
    is_watched: bool,
}

impl Waiting {
    /// From when helpers take what waits. `None`: nothing does.
    fn held_up_at(&self) -> Option<Instant> {
        let (came, _) = self.work.front()?;
        self.begun.iter().flatten().chain([came]).min().map(|since| *since + HELD_UP)
    }
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
    let queue = Arc::new(Queue::default());
    lock(&queue.state).begun.resize(threads(), None);
    for n in 0..threads() {
        let (works, helps) = (queue.clone(), queue.clone());
        spawn(format!("worker-{n}"), move || work(&works, n))?;
        spawn(format!("helper-{n}"), move || help(&helps))?;
    }
    // A second one that comes at the same time has threads that wait for ever, which costs nothing else.
    let _ = QUEUE.set(queue);
    Ok(())
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let thread = std::thread::Builder::new().name(name.clone()).spawn(body);
    thread.map(drop).map_err(|error| format!("{name} thread: {error}"))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Computes on one of the threads, in the order of the calls; now and on this one, if there are none.
pub fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Computed<T> {
    let state = Arc::new(Mutex::new(State::Waits(None)));
    let computed = Computed(state.clone());
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
        Some(queue) => {
            let mut waiting = lock(&queue.state);
            waiting.work.push_back((Instant::now(), Box::new(run)));
            queue.has_work.notify_one();
            if !waiting.is_watched {
                queue.may_be_held_up.notify_one();
            }
        }
        None => run(),
    }
    computed
}

/// Thread `n` of those that get what is left.
fn work(queue: &Queue, n: usize) {
    be_nice();
    be_last();
    let mut waiting = lock(&queue.state);
    loop {
        waiting = match waiting.work.pop_front() {
            Some((_, next)) => {
                waiting.begun[n] = Some(Instant::now());
                drop(waiting);
                run(next);
                lock(&queue.state)
            }
            None => {
                waiting.begun[n] = None;
                queue.has_work.wait(waiting).unwrap_or_else(PoisonError::into_inner)
            }
        };
    }
}

/// A thread that helps those while they are held up.
fn help(queue: &Queue) {
    be_nice();
    let mut waiting = lock(&queue.state);
    loop {
        let left = waiting.held_up_at().map(|at| at.saturating_duration_since(Instant::now()));
        waiting = match left {
            Some(Duration::ZERO) => {
                let next = waiting.work.pop_front();
                if !waiting.work.is_empty() {
                    queue.may_be_held_up.notify_one();
                }
                drop(waiting);
                next.into_iter().for_each(|(_, next)| run(next));
                lock(&queue.state)
            }
            Some(left) if !waiting.is_watched => {
                waiting.is_watched = true;
                let waited = queue.may_be_held_up.wait_timeout(waiting, left);
                let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
                waiting.is_watched = false;
                waiting
            }
            _ => queue.may_be_held_up.wait(waiting).unwrap_or_else(PoisonError::into_inner),
        };
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

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.0);
        match &mut *state {
            State::Waits(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            State::Over(result) => Poll::Ready(result.take()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::sync::mpsc::{Sender, channel};
    use std::task::Wake;

    struct Unparks(std::thread::Thread);

    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait<T>(mut computed: Computed<T>) -> Option<T> {
        let waker = Arc::new(Unparks(std::thread::current())).into();
        loop {
            if let Poll::Ready(result) = Pin::new(&mut computed).poll(&mut Context::from_waker(&waker)) {
                return result;
            }
            std::thread::park();
        }
    }

    /// The tests share the threads.
    static TURN: Mutex<()> = Mutex::new(());

    /// Keeps `count` threads busy until the sender is dropped. They are at it.
    fn occupy(count: usize) -> (Sender<()>, Vec<Computed<bool>>) {
        let (release, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (begins, begun) = channel();
        let busy = (0..count).map(|_| {
            let (held, begins) = (held.clone(), begins.clone());
            compute(move || {
                begins.send(()).expect("it waits");
                lock(&held).recv().is_err()
            })
        });
        let busy = busy.collect();
        (0..count).for_each(|_| begun.recv().expect("each begins"));
        (release, busy)
    }

    /// Name, scheduling class and nice value of this thread: fields 41 and 19 of proc_pid_stat(5).
    fn kind() -> (String, i32, i32) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("of Linux");
        let fields: Vec<i32> =
            stat.rsplit_once(") ").expect("a name").1.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
        (std::thread::current().name().unwrap_or_default().to_owned(), fields[38], fields[16])
    }

    #[test]
    fn results_come_back_in_the_order_of_the_calls_and_a_panic_ends_only_its_computation() {
        let _turn = lock(&TURN);
        start().expect("threads");
        assert!(QUEUE.get().is_some());
        let main = std::thread::current().id();
        assert_eq!(wait(compute(move || std::thread::current().id() == main)), Some(false), "on another thread");
        assert_eq!(wait(compute::<()>(|| panic!("expected in this test"))), None);
        let many: Vec<_> = (0..100).map(|n| compute(move || n)).collect();
        assert!(many.into_iter().enumerate().all(|(n, computed)| wait(computed) == Some(n)));
    }

    #[test]
    fn what_is_not_waited_for_does_not_begin() {
        let _turn = lock(&TURN);
        start().expect("threads");
        let (release, busy) = occupy(2 * threads());
        let began = Arc::new(AtomicBool::new(false));
        let flag = began.clone();
        drop(compute(move || flag.store(true, SeqCst)));
        drop(release);
        // All of these come behind it, and each is over only when its thread is.
        for last in busy.into_iter().chain((0..2 * threads()).map(|_| compute(|| true))).collect::<Vec<_>>() {
            assert_eq!(wait(last), Some(true));
        }
        assert!(!began.load(SeqCst));
    }

    #[test]
    fn half_of_the_threads_get_what_is_left_and_the_others_help_while_these_are_held_up() {
        let _turn = lock(&TURN);
        start().expect("threads");
        let main = kind();
        assert_eq!(main.1, libc::SCHED_OTHER);
        // These hold as many up as there are, so that others have to compute what comes next.
        let (release, busy) = occupy(threads());
        let kinds: Vec<_> = (0..10).map(|_| wait(compute(kind)).expect("no panic")).collect();
        drop(release);
        assert!(busy.into_iter().all(|busy| wait(busy) == Some(true)));
        let nice = (main.2 + NICE).min(19);
        for (name, class, value) in kinds.into_iter().chain((0..100).map(|_| wait(compute(kind)).expect("no panic"))) {
            let expected = if name.starts_with("helper-") { libc::SCHED_OTHER } else { libc::SCHED_IDLE };
            assert_eq!((class, value), (expected, nice), "{name}");
        }
    }

    #[test]
    fn what_waits_is_held_up_from_a_tenth_of_a_second_on() {
        let (start, mut waiting) = (Instant::now(), Waiting::default());
        let ms = |ms| start + Duration::from_millis(ms);
        waiting.begun = vec![Some(ms(0)), None];
        assert_eq!(waiting.held_up_at(), None, "nothing waits");
        waiting.work.push_back((ms(70), Box::new(|| {})));
        assert_eq!(waiting.held_up_at(), Some(ms(100)));
        waiting.begun[0] = Some(ms(90));
        assert_eq!(waiting.held_up_at(), Some(ms(170)), "no thread has begun with it");
    }
}
