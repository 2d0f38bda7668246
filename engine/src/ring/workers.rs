//! A few threads for computations of several milliseconds, which would hold a shard up: signatures with RSA keys.
//!
//! They are nicer than the shards: where a core is wanted by both, traffic comes first, and the computations get what it
//! leaves, but never nothing.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

/// In addition to the nice value of the process: a tenth of what its other threads get.
const NICE: libc::c_int = 10;

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
    work: Mutex<VecDeque<Work>>,
    has_work: Condvar,
}

static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Starts the threads, once for the process, on a thread that may run on all its cores: theirs are the same. There are as
/// many as cores.
///
/// # Errors
/// One sentence: no thread can be made.
pub fn start() -> Result<(), String> {
    if QUEUE.get().is_some() {
        return Ok(());
    }
    let queue = Arc::new(Queue::default());
    for n in 0..threads() {
        let queue = queue.clone();
        let thread = std::thread::Builder::new().name(format!("worker-{n}")).spawn(move || work(&queue));
        thread.map_err(|error| format!("worker-{n} thread: {error}"))?;
    }
    // A second one that comes at the same time has threads that wait for ever, which costs nothing else.
    let _ = QUEUE.set(queue);
    Ok(())
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
            lock(&queue.work).push_back(Box::new(run));
            queue.has_work.notify_one();
        }
        None => run(),
    }
    computed
}

fn work(queue: &Queue) {
    be_nice();
    loop {
        let mut works = lock(&queue.work);
        let next = loop {
            match works.pop_front() {
                Some(next) => break next,
                None => works = queue.has_work.wait(works).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(works);
        // A destructor may panic, too, and must not end the thread.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(next));
    }
}

fn be_nice() {
    // SAFETY: no pointers are passed. On Linux a thread has a nice value of its own, and 0 is the calling one. Where that is
    // forbidden, the threads are as the others.
    unsafe {
        let of_the_others = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, of_the_others + NICE)
    };
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

    /// Keeps all threads busy until the sender is dropped.
    fn occupy() -> (Sender<()>, Vec<Computed<bool>>) {
        let (release, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let busy = (0..threads()).map(|_| {
            let held = held.clone();
            compute(move || lock(&held).recv().is_err())
        });
        (release, busy.collect())
    }

    #[test]
    fn results_come_back_in_the_order_of_the_calls_and_a_panic_ends_only_its_computation() {
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
        start().expect("threads");
        let (release, busy) = occupy();
        let began = Arc::new(AtomicBool::new(false));
        let flag = began.clone();
        drop(compute(move || flag.store(true, SeqCst)));
        drop(release);
        // All of these come behind it, and each is over only when its thread is.
        for last in busy.into_iter().chain((0..threads()).map(|_| compute(|| true))).collect::<Vec<_>>() {
            assert_eq!(wait(last), Some(true));
        }
        assert!(!began.load(SeqCst));
    }
}
