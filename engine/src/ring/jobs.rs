//! Background work of a shard: long computations, done in slices between the turns of the reactor.
//!
//! A job is a function that does a small piece of the work each time that it is called. It waits for nothing, so a shard
//! with jobs makes progress with each turn. Where glommio hosts the thread, its background queue runs the slices (host.rs),
//! each on a permit that the reactor's thread issues between two turns; otherwise the turn begins with a slice. Either way
//! at most one slice lies between two turns, so that jobs delay traffic by `SLICE`, however many there are. Where traffic has
//! more to do than the shard has time for, even that would be too much: then jobs get a ninth of the time.

use super::reactor::Reactor;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// The work between two turns takes this long at most, plus one step.
pub const SLICE: Duration = Duration::from_micros(200);

/// Completions of a turn up to which traffic has nothing to catch up with.
const QUIET: u64 = 4;
/// Where it has, a slice leaves it this many times as long.
const BUSY: u32 = 8;

/// What a step of a job says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    More,
    Done,
}

type Step = Box<dyn FnMut() -> Progress>;

/// A job that was queued. Dropping it ends the job.
#[derive(Debug)]
pub struct Job(Rc<Entry>);

impl Job {
    /// Whether the job is done or has panicked.
    pub fn is_over(&self) -> bool {
        self.0.over.get()
    }

    /// Lets the job go on to its end without a handle.
    fn detach(self) {
        if !self.is_over() {
            let entry = self.0.clone();
            self.0.kept.replace(Some(entry));
        }
    }
}

/// Gives memory back in the background: what is large takes long to free.
#[derive(Clone)]
pub struct Disposer(pub(super) Rc<Jobs>);

impl Disposer {
    /// Drops `pieces`, one in each step.
    pub fn dispose<T: 'static>(&self, mut pieces: Vec<T>) {
        let step = move || match pieces.pop() {
            Some(_) => Progress::More,
            None => Progress::Done,
        };
        self.0.add(Box::new(step)).detach();
    }
}

struct Entry {
    /// Out while it runs.
    step: RefCell<Option<Step>>,
    over: Cell<bool>,
    /// Itself, where there is no handle; until it is over.
    kept: RefCell<Option<Rc<Entry>>>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.over.get() { "over" } else { "queued" })
    }
}

/// What runs the slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// No slices: a job is done when it is added. So it is before the loop begins, and in simulations.
    AtOnce,
    /// Each turn of the reactor.
    InTurns,
    /// The background queue of the thread's host.
    Hosted,
}

pub(super) struct Jobs {
    mode: Cell<Mode>,
    /// The first one is under way. A job without another holder has been given up.
    queue: RefCell<VecDeque<Weak<Entry>>>,
    /// The last turn had more than `QUIET` completions.
    is_busy: Cell<bool>,
    /// Until when the last slice leaves the time to traffic that has much to do.
    rests_until: Cell<Option<Instant>>,
    slices: Cell<u64>,
    steps: Cell<u64>,
    panics: Cell<u64>,
}

impl Jobs {
    pub fn new(mode: Mode) -> Rc<Self> {
        Rc::new(Self {
            mode: Cell::new(mode),
            queue: RefCell::default(),
            is_busy: Cell::new(false),
            rests_until: Cell::new(None),
            slices: Cell::new(0),
            steps: Cell::new(0),
            panics: Cell::new(0),
        })
    }

    /// Whether jobs are done when they are added.
    pub fn are_done_at_once(&self) -> bool {
        self.mode.get() == Mode::AtOnce
    }

    pub fn set_mode(&self, mode: Mode) {
        self.mode.set(mode);
    }

    pub fn add(&self, step: Step) -> Job {
        let entry = Rc::new(Entry { step: RefCell::new(Some(step)), over: Cell::new(false), kept: RefCell::default() });
        match self.mode.get() {
            Mode::AtOnce => while self.step(&entry) == Progress::More {},
            Mode::InTurns | Mode::Hosted => self.queue.borrow_mut().push_back(Rc::downgrade(&entry)),
        }
        Job(entry)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// A turn of the reactor has brought this many completions.
    pub fn turned(&self, completions: u64) {
        self.is_busy.set(completions > QUIET);
    }

    /// Whether a slice may run now.
    pub fn are_due(&self) -> bool {
        let has_rested = || self.rests_until.get().is_none_or(|end| Instant::now() >= end);
        !self.is_empty() && (!self.is_busy.get() || has_rested())
    }

    /// A turn of the reactor begins.
    pub fn turn(&self) {
        if self.mode.get() == Mode::InTurns && self.are_due() {
            self.run_slice();
        }
    }

    /// Steps until the slice is used up or nothing is left to do.
    pub fn run_slice(&self) {
        self.slices.set(self.slices.get() + 1);
        let start = Instant::now();
        loop {
            // The queue may grow during a step.
            let Some(front) = self.queue.borrow().front().cloned() else { break };
            let progress = front.upgrade().map_or(Progress::Done, |entry| self.step(&entry));
            if progress == Progress::Done {
                self.queue.borrow_mut().pop_front();
            }
            if start.elapsed() >= SLICE {
                break;
            }
        }
        let end = Instant::now();
        self.rests_until.set(Some(end + (end - start) * BUSY));
    }

    fn step(&self, entry: &Entry) -> Progress {
        self.steps.set(self.steps.get() + 1);
        let Some(mut step) = entry.step.borrow_mut().take() else { return Progress::Done };
        let progress = std::panic::catch_unwind(AssertUnwindSafe(&mut step));
        if matches!(progress, Ok(Progress::More)) {
            entry.step.replace(Some(step));
            return Progress::More;
        }
        entry.over.set(true);
        drop(entry.kept.take());
        // A destructor that panics must not end the shard either.
        let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(step)));
        if progress.is_err() || dropped.is_err() {
            self.panics.set(self.panics.get() + 1);
        }
        Progress::Done
    }

    pub fn clear(&self) {
        let entries = std::mem::take(&mut *self.queue.borrow_mut());
        entries.iter().filter_map(Weak::upgrade).for_each(|entry| drop(entry.kept.take()));
    }

    pub fn slices(&self) -> u64 {
        self.slices.get()
    }

    /// Steps of all jobs.
    #[cfg(test)]
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    pub fn panics(&self) -> u64 {
        self.panics.get()
    }
}

impl Reactor {
    /// Computes in the background, in slices between the turns: `step` does a piece of well under `SLICE` each time
    /// that it is called. A job whose handle is dropped ends. Until a host runs this reactor, all steps are done now.
    #[must_use = "a job ends with its handle"]
    pub fn compute(&self, step: impl FnMut() -> Progress + 'static) -> Job {
        self.jobs().add(Box::new(step))
    }

    /// Whether there is a background at all: jobs are not done at once, as they are in simulations.
    pub fn has_background(&self) -> bool {
        !self.jobs().are_done_at_once()
    }

    /// What frees large things in the background.
    pub fn disposer(&self) -> Disposer {
        Disposer(self.jobs().clone())
    }

    /// Jobs of a reactor without a ring run in slices, too: one in each turn. For tests.
    #[cfg(test)]
    pub(crate) fn compute_in_turns(&self) {
        self.jobs().set_mode(Mode::InTurns);
    }

    /// Steps of all jobs so far.
    #[cfg(test)]
    pub(crate) fn job_steps(&self) -> u64 {
        self.jobs().steps()
    }

    #[cfg(test)]
    pub(crate) fn jobs_are_done(&self) -> bool {
        self.jobs().is_empty()
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job of `steps` steps, and the steps that are done.
    fn counted(jobs: &Jobs, steps: u32) -> (Job, Rc<Cell<u32>>) {
        let done = Rc::new(Cell::new(0));
        let count = done.clone();
        let step = move || {
            count.set(count.get() + 1);
            if count.get() < steps { Progress::More } else { Progress::Done }
        };
        (jobs.add(Box::new(step)), done)
    }

    #[test]
    fn jobs_take_their_turns_and_end() {
        let jobs = Jobs::new(Mode::InTurns);
        let (first, first_steps) = counted(&jobs, 3);
        let (second, second_steps) = counted(&jobs, 2);
        assert!(!first.is_over() && !jobs.is_empty());
        while !jobs.is_empty() {
            jobs.turn();
        }
        assert!(first.is_over() && second.is_over());
        assert_eq!((first_steps.get(), second_steps.get()), (3, 2));
        let slices = jobs.slices();
        jobs.turn();
        assert_eq!(jobs.slices(), slices, "without jobs there is no slice");
    }

    #[test]
    fn a_slice_ends_when_its_time_is_over() {
        let jobs = Jobs::new(Mode::InTurns);
        let steps = Rc::new(Cell::new(0));
        let count = steps.clone();
        let _job = jobs.add(Box::new(move || {
            std::thread::sleep(SLICE);
            count.set(count.get() + 1);
            Progress::More
        }));
        (0..3).for_each(|_| jobs.turn());
        assert_eq!((steps.get(), jobs.slices()), (3, 3));
    }

    /// While traffic has much to do, a slice of 100 ms is not followed by another one at once.
    #[test]
    fn a_busy_shard_leaves_traffic_most_of_the_time() {
        let jobs = Jobs::new(Mode::InTurns);
        let _job = jobs.add(Box::new(|| {
            std::thread::sleep(Duration::from_millis(100));
            Progress::More
        }));
        jobs.turned(100);
        jobs.turn();
        assert_eq!(jobs.slices(), 1, "the first one need not wait");
        (0..10).for_each(|_| jobs.turn());
        assert_eq!(jobs.slices(), 1);
        jobs.turned(QUIET);
        (0..3).for_each(|_| jobs.turn());
        assert_eq!(jobs.slices(), 4, "there is nothing to catch up with");
        jobs.turned(QUIET + 1);
        let end = Instant::now();
        while jobs.slices() == 4 {
            std::thread::sleep(Duration::from_millis(10));
            jobs.turn();
        }
        assert!(end.elapsed() >= Duration::from_millis(100) * (BUSY - 1), "it has its share, and not more");
    }

    #[test]
    fn a_panic_ends_one_job_and_a_dropped_handle_another() {
        let jobs = Jobs::new(Mode::InTurns);
        let dies = jobs.add(Box::new(|| panic!("as the test wants it")));
        let (given_up, steps) = counted(&jobs, 1000);
        drop(given_up);
        let (stays, done) = counted(&jobs, 1);
        while !jobs.is_empty() {
            jobs.turn();
        }
        assert!(dies.is_over() && stays.is_over());
        assert_eq!((jobs.panics(), steps.get(), done.get()), (1, 0, 1));
    }

    #[test]
    fn what_is_disposed_of_goes_piece_by_piece_without_a_handle() {
        let jobs = Jobs::new(Mode::InTurns);
        let piece = Rc::new(());
        Disposer(jobs.clone()).dispose(vec![piece.clone(); 100]);
        assert_eq!(Rc::strong_count(&piece), 101);
        let steps = jobs.steps();
        while !jobs.is_empty() {
            let (before, done) = (Rc::strong_count(&piece), jobs.steps());
            jobs.turn();
            assert!(before - Rc::strong_count(&piece) <= (jobs.steps() - done) as usize);
        }
        assert_eq!((Rc::strong_count(&piece), jobs.steps() - steps), (1, 101));
        // What is left when the jobs end goes with them, and where there is no traffic yet all of it at once.
        Disposer(jobs.clone()).dispose(vec![piece.clone(); 5]);
        drop(jobs);
        assert_eq!(Rc::strong_count(&piece), 1);
        Disposer(Jobs::new(Mode::AtOnce)).dispose(vec![piece.clone(); 5]);
        assert_eq!(Rc::strong_count(&piece), 1);
    }

    #[test]
    fn at_once_means_before_the_job_is_returned() {
        let jobs = Jobs::new(Mode::AtOnce);
        let (job, steps) = counted(&jobs, 1000);
        assert!(job.is_over() && jobs.is_empty());
        assert_eq!(steps.get(), 1000);
        assert!(jobs.add(Box::new(|| panic!("as the test wants it"))).is_over());
    }
}
