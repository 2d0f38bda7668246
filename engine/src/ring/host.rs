//! The host of a reactor's thread: a glommio `LocalExecutor`, in which the reactor's loop is the traffic queue's only task
//! and a second queue does background work (jobs.rs).
//!
//! The reactor sleeps in its own `io_uring_enter`. glommio parks nothing meanwhile and counts that sleep as running, so its
//! shares bound nothing by themselves: the reactor does not sleep while there are jobs, gives way after each turn, and issues
//! one permit for one slice.
//!
//! Where glommio cannot start, above all because too little memory may be locked, the thread is a plain one: the same loop
//! runs, and each turn begins with a slice.

use super::jobs::{Jobs, Mode};
use super::memory;
use super::reactor::Reactor;
use glommio::{
    GlommioError, Latency, LocalExecutor, LocalExecutorBuilder, Placement, Shares, StallDetectionHandler,
    TaskQueueHandle,
};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Once;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread with a reactor.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    /// The core to run on.
    cpu: Option<usize>,
    stalls: bool,
}

/// Between the turns of a reactor that runs on a host.
pub struct Turns {
    jobs: Rc<Jobs>,
    /// Absent on a plain thread.
    permit: Option<Rc<Permit>>,
}

/// For one slice of background work.
#[derive(Default)]
struct Permit {
    issued: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// Entries of each of glommio's three rings, which stay empty.
const RING_DEPTH: usize = 8;
/// Bytes of glommio's own I/O buffers, the fewest that it takes.
const IO_MEMORY: usize = 64 * 1024;
/// glommio's preemption timer. Whenever it fires it wakes the thread, and traffic gives way by itself: so it never does.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Of the background queue, where traffic has 1000 and is always ready: more than one slice a turn is impossible whatever
/// the shares, and what a busy shard spends on jobs is bounded by `Jobs::are_due`.
const BACKGROUND_SHARES: usize = 250;
/// A run of the background queue that takes longer is a stall: some job's steps are too long.
const STALL: Duration = Duration::from_millis(10);

impl Host {
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), cpu: None, stalls: false }
    }

    /// On this core, with a watch over the background queue.
    #[must_use]
    pub fn of_shard(mut self, cpu: Option<usize>) -> Self {
        self.cpu = cpu;
        self.stalls = true;
        self
    }

    /// Starts the thread and runs `body` on it. The thread gets its executor only when `body` calls `run`, so that the
    /// reactor's ring comes first where little memory may be locked.
    ///
    /// # Errors
    /// One sentence: no thread can be made.
    pub fn start(self, body: impl FnOnce(&Self) + Send + 'static) -> Result<JoinHandle<()>, String> {
        let name = self.name.clone();
        let thread = std::thread::Builder::new().name(name.clone()).spawn(move || body(&self));
        thread.map_err(|error| format!("{name} thread: {error}"))
    }

    /// Pins this thread to the host's core.
    ///
    /// # Errors
    /// One sentence: the process may not use the core.
    pub fn pin(&self) -> Result<(), String> {
        match self.cpu {
            Some(cpu) if !core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) => {
                Err(format!("cannot run on core {cpu}: this process may not use it"))
            }
            _ => Ok(()),
        }
    }

    /// Runs the loop that `serve` makes to its end, on this thread, which it hosts. `reactor` was made on this thread.
    pub fn run<F: Future<Output = ()>>(&self, reactor: &Reactor, serve: impl FnOnce(Turns) -> F) {
        let jobs = reactor.jobs().clone();
        match self.executor() {
            Ok(executor) => {
                jobs.set_mode(Mode::Hosted);
                let permit = Rc::new(Permit::default());
                let turns = Turns { jobs: jobs.clone(), permit: Some(permit.clone()) };
                executor.run(async {
                    background(&jobs, permit);
                    serve(turns).await;
                });
                jobs.set_mode(Mode::InTurns);
            }
            Err(why) => {
                say_once(&why);
                jobs.set_mode(Mode::InTurns);
                run_plain(serve(Turns { jobs, permit: None }));
            }
        }
    }

    /// It is never dropped: its teardown has known faults (docs/decisions/0005), and such a thread ends with the process.
    fn executor(&self) -> Result<&'static LocalExecutor, String> {
        // Where the kernel refuses something, glommio returns an error or panics.
        let executor = std::panic::catch_unwind(AssertUnwindSafe(|| self.make()));
        name_thread(&self.name);
        let executor = executor.map_err(|_| "it panicked".to_owned())?.map_err(|error| error.to_string())?;
        Ok(Box::leak(Box::new(executor)))
    }

    /// Threads that glommio starts have the name that this one has then.
    fn make(&self) -> Result<LocalExecutor, GlommioError<()>> {
        name_thread(&format!("{}-host", self.name));
        let executor = LocalExecutorBuilder::new(self.cpu.map_or(Placement::Unbound, Placement::Fixed))
            .name(&self.name)
            .ring_depth(RING_DEPTH)
            .io_memory(IO_MEMORY)
            .preempt_timer(NEVER)
            .make()?;
        if self.stalls {
            name_thread(&format!("{}-watch", self.name));
            executor.detect_stalls(Some(Box::new(Watch)))?;
        }
        Ok(executor)
    }
}

impl Turns {
    /// Whether the thread is glommio's and not a plain one.
    pub fn are_hosted(&self) -> bool {
        self.permit.is_some()
    }

    /// To be awaited after each turn: where jobs are due, one slice of them is run before the next turn. Else nothing waits
    /// for this thread, and the next turn begins at once.
    #[inline]
    pub async fn next(&self) {
        if let Some(permit) = &self.permit
            && self.jobs.are_due()
        {
            permit.issue();
            glommio::executor().yield_task_queue_now().await;
        }
    }
}

impl Permit {
    fn issue(&self) {
        self.issued.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn taken(&self) {
        poll_fn(|context| {
            if self.issued.replace(false) {
                return Poll::Ready(());
            }
            self.waker.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Queues the task that runs the slices.
fn background(jobs: &Rc<Jobs>, permit: Rc<Permit>) {
    let executor = glommio::executor();
    let queue = executor.create_task_queue(Shares::Static(BACKGROUND_SHARES), Latency::Matters(STALL), "background");
    let jobs = jobs.clone();
    let slices = async move {
        loop {
            permit.taken().await;
            jobs.run_slice();
        }
    };
    executor.spawn_local_into(slices, queue).expect("the queue has just been made").detach();
}

/// The name that the kernel shows, at most 15 bytes of it.
fn name_thread(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        // SAFETY: the kernel copies the name, which ends with a zero byte.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
}

/// The loop on a plain thread waits for nothing: each turn of the reactor sleeps by itself.
fn run_plain(serve: impl Future<Output = ()>) {
    let mut serve = pin!(serve);
    let mut context = Context::from_waker(Waker::noop());
    while serve.as_mut().poll(&mut context).is_pending() {}
}

fn say_once(why: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(target: "ringway::ring", "{}", refusal(why));
    });
}

fn refusal(why: &str) -> String {
    format!(
        "glommio does not start ({why}), so reactors run on plain threads, with all functions: it needs 512 KiB of memory \
         that may be locked, and this user may lock {}, rings included; {}",
        memory::limit_text(),
        memory::REMEDIES
    )
}

/// Reports stalls of the background queue. Traffic is not watched: it sleeps as long as nothing comes. The report, with a
/// trace, is glommio's own (target `glommio::executor::stall`), since its type cannot be named outside.
#[derive(Debug)]
struct Watch;

impl StallDetectionHandler for Watch {
    /// In addition to the queue's latency.
    fn threshold(&self, queue: TaskQueueHandle, _: Duration) -> Option<Duration> {
        (queue != TaskQueueHandle::default()).then_some(Duration::ZERO)
    }

    /// Interrupts the thread so that it can take its trace. Nothing else uses this signal, and its default is to be ignored.
    fn signal(&self) -> u8 {
        libc::SIGURG as u8
    }
}
