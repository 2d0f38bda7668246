//! Handshakes with clients that one shard has to compute, and their order.
//!
//! The answer to a first message is what costs. A few are computed at a time, and the others wait for their turn: first come, first
//! served, until the first one has waited for `LATE`. Then there are more handshakes than this shard can make, and the last one
//! goes first, because its client is still there. In a queue, each one would be served just before its client gives up, or just
//! after. With `runtime.max_handshakes` of them, connections stay in the kernel's backlog, until the first one here has
//! waited for `LOST` and gives way to them. In a flood, which lasts, `FLOODED_MAX` of them have to do: to take one more costs a
//! shard as much as several requests, and nearly all would be given up again.

use crate::base::clock::Nanos;
use crate::ring::{Reactor, TaskId, Timer};
use crate::stats::ShardStats;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

const MS: Nanos = 1_000_000;
/// From then on the last one goes first.
const LATE: Nanos = 100 * MS;
/// From then on the first one gives way to another where there are too many.
const LOST: Nanos = 1_000 * MS;
/// As many as may be there in a flood: the next ones to be computed, and those whose clients were not patient enough.
const FLOODED_MAX: usize = 64;
/// Connections that may wait for them in the kernel's backlog then: what comes in within some 50 ms, where keys are quick and
/// where they are slow.
const OUTSIDE_MAX: [u32; 2] = [128, 16];
/// Computed at a time: what a slice of the background queue holds, and what is woken meanwhile.
const QUICK_MAX: usize = 8;
/// The same for keys that take milliseconds, so that a thread has its next one when it is done.
const SLOW_MAX: usize = 2;
/// Places in a queue whose handshakes have ended, at which they are taken out.
const GONE_MAX: usize = 64;

/// Those of one shard. One that waits for its client computes nothing and does not count, so that clients that say nothing
/// keep none from being served.
pub struct Handshakes {
    reactor: Rc<Reactor>,
    computing: Cell<usize>,
    /// Those of them that have given way, and whose tasks do not know it yet.
    lost: Cell<usize>,
    max: Cell<usize>,
    /// Listeners to which more come than can be served, for some time already.
    floods: Cell<u32>,
    /// Those whose keys are quick, and those whose keys are slow.
    lanes: [RefCell<Lane>; 2],
    /// Tasks that accept, or would.
    waiting: RefCell<Vec<TaskId>>,
    stats: Arc<ShardStats>,
}

/// First messages that wait for the same kind of computation.
#[derive(Default)]
struct Lane {
    /// In the order in which they came. Some may be gone.
    queue: VecDeque<Rc<Place>>,
    gone: usize,
    under_way: usize,
}

struct Place {
    task: TaskId,
    since: Nanos,
    state: Cell<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    /// It is its turn.
    UnderWay,
    /// It has given way.
    Lost,
    /// Its handshake has ended.
    Gone,
}

/// Which lane a first message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Quick,
    Slow,
}

impl Handshakes {
    pub fn new(reactor: &Rc<Reactor>, stats: &Arc<ShardStats>) -> Rc<Self> {
        Rc::new(Self {
            reactor: reactor.clone(),
            computing: Cell::new(0),
            lost: Cell::new(0),
            max: Cell::new(usize::MAX),
            floods: Cell::new(0),
            lanes: Default::default(),
            waiting: RefCell::default(),
            stats: stats.clone(),
        })
    }

    pub fn set_max(&self, max: usize) {
        self.max.set(max);
        self.wake();
    }

    /// Whether another one would have to wait outside.
    pub fn are_full(&self) -> bool {
        self.count() >= self.max()
    }

    #[cfg(test)]
    pub fn floods(&self) -> u32 {
        self.floods.get()
    }

    /// Whether there are none.
    pub fn are_none(&self) -> bool {
        self.computing.get() == 0
    }

    fn count(&self) -> usize {
        self.computing.get() - self.lost.get()
    }

    fn max(&self) -> usize {
        if self.floods.get() > 0 { self.max.get().min(FLOODED_MAX) } else { self.max.get() }
    }

    /// Connections that may wait outside in a flood.
    pub fn outside_max(&self) -> u32 {
        let [quick, slow] = [Kind::Quick, Kind::Slow].map(|kind| self.lane(kind).borrow().waiting());
        OUTSIDE_MAX[usize::from(slow > quick)]
    }

    /// A flood has come to one of the listeners, and lasts.
    pub fn flood_begins(&self) {
        self.floods.set(self.floods.get() + 1);
    }

    /// It is over.
    pub fn flood_ends(&self) {
        self.floods.set(self.floods.get() - 1);
        self.wake();
    }

    /// Whether there are enough to compute for a while.
    pub fn are_many(&self) -> bool {
        self.count() >= self.max().div_ceil(2)
    }

    /// Closes those that have waited longest, if that is more than `LOST`, and as many as are too many for another one to come.
    /// Returns whether it may.
    pub fn shed(&self) -> bool {
        while self.are_full() {
            let Some(lane) = self.with_the_first() else { return false };
            let mut lane = lane.borrow_mut();
            let Some(first) = lane.first().filter(|first| self.reactor.now() > first.since + LOST) else {
                return false;
            };
            first.state.set(State::Lost);
            self.reactor.wake(first.task);
            lane.queue.pop_front();
            self.lost.set(self.lost.get() + 1);
            self.stats.handshakes_shed.inc();
        }
        true
    }

    /// Until another one may come, or `is_given_up` says so when the task is woken.
    pub async fn wait_for_room(&self, is_given_up: impl Fn() -> bool) {
        let timer = Timer::new(&self.reactor);
        loop {
            // What begins to wait later can be late only after that.
            timer.arm_at(self.next_lost().unwrap_or(self.reactor.now() + LOST + MS));
            let may_come = poll_fn(|_| match is_given_up() {
                true => Poll::Ready(true),
                false if timer.fired() => Poll::Ready(false),
                false => self.poll_room().map(|()| true),
            });
            if may_come.await || self.shed() {
                return;
            }
        }
    }

    /// When the next one may be closed.
    fn next_lost(&self) -> Option<Nanos> {
        let lane = self.with_the_first()?;
        lane.borrow_mut().first().map(|first| first.since + LOST + MS)
    }

    /// The lane with the one that has waited longest.
    fn with_the_first(&self) -> Option<&RefCell<Lane>> {
        let since = |lane: &&RefCell<Lane>| lane.borrow_mut().first().map_or(Nanos::MAX, |first| first.since);
        self.lanes.iter().min_by_key(since).filter(|lane| since(lane) < Nanos::MAX)
    }

    /// Ready when another one may come; wakes the task then.
    fn poll_room(&self) -> Poll<()> {
        if !self.are_full() {
            return Poll::Ready(());
        }
        let (task, mut waiting) = (self.reactor.current_task(), self.waiting.borrow_mut());
        if !waiting.contains(&task) {
            waiting.push(task);
        }
        Poll::Pending
    }

    /// One begins to compute, until the guard is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> Computing {
        self.computing.set(self.computing.get() + 1);
        self.stats.handshakes_active.inc();
        Computing { all: self.clone(), place: None }
    }

    /// The same for the answer to a first message, which waits for its turn.
    pub(super) fn begin_first(self: &Rc<Self>, kind: Kind) -> Computing {
        self.shed();
        let (task, since) = (self.reactor.current_task(), self.reactor.now());
        let place = Rc::new(Place { task, since, state: Cell::new(State::Waits) });
        self.lane(kind).borrow_mut().queue.push_back(place.clone());
        self.advance(kind);
        let mut computing = self.begin();
        computing.place = Some((kind, place));
        computing
    }

    fn lane(&self, kind: Kind) -> &RefCell<Lane> {
        &self.lanes[kind as usize]
    }

    /// Gives turns to those that wait, as far as there are any.
    fn advance(&self, kind: Kind) {
        let mut lane = self.lane(kind).borrow_mut();
        let max = if kind == Kind::Quick { QUICK_MAX } else { SLOW_MAX };
        while lane.under_way < max {
            let Some(place) = lane.next(self.reactor.now()) else { return };
            place.state.set(State::UnderWay);
            lane.under_way += 1;
            self.reactor.wake(place.task);
        }
    }

    fn wake(&self) {
        if !self.are_full() {
            self.waiting.take().into_iter().for_each(|task| self.reactor.wake(task));
        }
    }
}

impl Lane {
    fn waiting(&self) -> usize {
        self.queue.len() - self.gone
    }

    /// The one that has waited longest.
    fn first(&mut self) -> Option<&Rc<Place>> {
        while self.queue.front()?.state.get() == State::Gone {
            self.queue.pop_front();
            self.gone -= 1;
        }
        self.queue.front()
    }

    fn next(&mut self, now: Nanos) -> Option<Rc<Place>> {
        if now <= self.first()?.since + LATE {
            return self.queue.pop_front();
        }
        while let Some(last) = self.queue.pop_back() {
            if last.state.get() != State::Gone {
                return Some(last);
            }
            self.gone -= 1;
        }
        None
    }

    /// One of those that wait has gone.
    fn note_gone(&mut self) {
        self.gone += 1;
        if self.gone > GONE_MAX && self.gone > self.queue.len() / 2 {
            self.queue.retain(|place| place.state.get() != State::Gone);
            self.gone = 0;
        }
    }
}

/// A handshake has something to compute.
pub(super) struct Computing {
    all: Rc<Handshakes>,
    place: Option<(Kind, Rc<Place>)>,
}

impl Computing {
    /// Ready when it is its turn; `false`: it has given way.
    pub fn poll_turn(&self) -> Poll<bool> {
        match self.place.as_ref().map(|(_, place)| place.state.get()) {
            None | Some(State::UnderWay) => Poll::Ready(true),
            Some(State::Waits) => Poll::Pending,
            Some(State::Lost | State::Gone) => Poll::Ready(false),
        }
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        let all = &self.all;
        if let Some((kind, place)) = &self.place {
            let before = place.state.replace(State::Gone);
            match before {
                State::Waits => all.lane(*kind).borrow_mut().note_gone(),
                State::UnderWay => {
                    all.lane(*kind).borrow_mut().under_way -= 1;
                    all.advance(*kind);
                }
                State::Lost => all.lost.set(all.lost.get() - 1),
                State::Gone => {}
            }
        }
        all.computing.set(all.computing.get() - 1);
        all.stats.handshakes_active.dec();
        all.wake();
    }
}

#[cfg(test)]
mod tests;
