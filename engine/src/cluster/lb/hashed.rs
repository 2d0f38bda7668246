//! Consistent hashing: the policies whose tables take long to compute. A table is a job of the shard's background work, and
//! until it is there the table before serves in its place, with the hosts that may be used now.

use super::maglev::{Maglev, MaglevBuild};
use super::member::{Build, Member};
use super::ring_hash::{RingBuild, RingHash};
use crate::ring::{Disposer, Job, Progress, Reactor};
use crate::stats::ClusterStats;
use ringway_config::model::LbPolicy;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// The tables of one cluster's balancer on one shard, by the place where they are used: subset, priority and health.
#[derive(Default)]
pub struct Tables {
    by_place: RefCell<HashMap<u64, Rc<Slot>>>,
    /// Of this cluster's balancers, the ones before included.
    under_way: Rc<Cell<u32>>,
    /// A table was wanted while the one before was still being computed: that one is finished first, so that a storm of
    /// changes cannot keep every table from being finished.
    late: Cell<bool>,
}

impl Tables {
    /// For the balancer that follows this one's.
    pub fn next(&self) -> Self {
        Self { under_way: self.under_way.clone(), ..Self::default() }
    }

    /// The tables that there are, to stand in for those of another cluster.
    pub fn for_another(&self) -> Self {
        let by_place = RefCell::new(self.by_place.borrow().clone());
        Self { by_place, under_way: self.under_way.clone(), late: Cell::new(false) }
    }

    /// Whether the balancer should be made again, for the sake of its tables.
    #[inline]
    pub fn are_due(&self) -> bool {
        self.late.get() && self.under_way.get() == 0
    }
}

/// Where tables are computed, and those before.
#[derive(Clone, Copy)]
pub struct Workshop<'a> {
    pub reactor: &'a Reactor,
    pub before: &'a Tables,
    pub now: &'a Tables,
}

/// Picks by a table, or by what stands in for it.
pub struct Hashed(Rc<Slot>);

struct Slot {
    serving: RefCell<Serving>,
    /// Kept, as this is what makes the job go on.
    work: RefCell<Option<Rc<Work>>>,
    /// Gets the facts about the table once it is there.
    stats: RefCell<Option<Arc<ClusterStats>>>,
}

enum Serving {
    Table(Rc<Table>),
    StandIn(StandIn),
}

/// Made from a view of the cluster.
struct Table {
    entries: Entries,
    /// The names of that view's hosts, by index; empty where the host has no entry.
    names: Vec<Rc<str>>,
    disposer: Disposer,
}

enum Entries {
    Ring(RingHash),
    Maglev(Maglev),
}

struct StandIn {
    /// Of an earlier view; absent where there was none at this place.
    table: Option<Rc<Table>>,
    /// The index now for each index then; `GONE` for hosts that may not be used or no longer exist.
    places: Vec<u32>,
    members: Vec<u32>,
}

/// A table that is being computed, and then the table.
#[derive(Default)]
struct Work {
    job: RefCell<Option<Job>>,
    done: RefCell<Option<Rc<Table>>>,
}

impl Work {
    fn is_over(&self) -> bool {
        self.job.borrow().as_ref().is_none_or(Job::is_over)
    }
}

const GONE: u32 = u32::MAX;
/// Further places at which an old table is asked for a host that may be used.
const DETOURS: u32 = 64;

impl Hashed {
    /// `members` as for `LoadBalancer::new`, `everyone` with the hosts that may not be used now.
    pub(super) fn new(build: &Build<'_>, members: &[Member], everyone: &[Member]) -> Self {
        let workshop = build.workshop;
        let before = workshop.before.by_place.borrow().get(&build.place).cloned();
        let serving = Serving::StandIn(StandIn::new(build, members, before.as_ref().and_then(|slot| slot.table())));
        let slot =
            Rc::new(Slot { serving: RefCell::new(serving), work: RefCell::default(), stats: RefCell::default() });
        workshop.now.by_place.borrow_mut().insert(build.place, slot.clone());
        let work = before.and_then(|slot| slot.work.borrow().clone()).filter(|work| !work.is_over());
        match work {
            Some(work) => {
                slot.work.replace(Some(work));
                workshop.now.late.set(true);
            }
            None => slot.compute(build, members, everyone),
        }
        Self(slot)
    }

    /// An index into the view's endpoints; a further attempt looks at another place.
    pub(super) fn pick(&self, hash: u64, attempt: u32) -> u32 {
        match &*self.0.serving.borrow() {
            Serving::Table(table) => table.pick(hash, attempt),
            Serving::StandIn(stand_in) => stand_in.pick(hash, attempt),
        }
    }

    pub(super) fn show(&self, stats: &Arc<ClusterStats>) {
        self.0.stats.replace(Some(stats.clone()));
        self.0.show();
    }
}

impl Slot {
    /// The newest table there is.
    fn table(&self) -> Option<Rc<Table>> {
        if let Some(table) = self.work.borrow().as_ref().and_then(|work| work.done.borrow().clone()) {
            return Some(table);
        }
        match &*self.serving.borrow() {
            Serving::Table(table) => Some(table.clone()),
            Serving::StandIn(stand_in) => stand_in.table.clone(),
        }
    }

    /// Queues the job. Where jobs are done at once, the table is there when this returns.
    fn compute(self: &Rc<Self>, build: &Build<'_>, members: &[Member], everyone: &[Member]) {
        let mut maker = Maker::new(build, members, everyone);
        let mut names = vec![Rc::from(""); build.endpoints.len()];
        members.iter().for_each(|member| {
            names[member.index as usize] = build.endpoints[member.index as usize].name.clone();
        });
        let work = Rc::new(Work::default());
        self.work.replace(Some(work.clone()));
        let (slot, counted) = (Rc::downgrade(self), Counted::new(&build.workshop.now.under_way));
        let done = Rc::downgrade(&work);
        let mut state = Some((names, counted, build.workshop.reactor.disposer()));
        let job = build.workshop.reactor.compute(move || {
            if maker.step() == Progress::More {
                return Progress::More;
            }
            if let (Some(entries), Some((names, counted, disposer))) = (maker.take(), state.take()) {
                let table = Rc::new(Table { entries, names, disposer });
                // A later slot may wait for it, too: it asks the work.
                if let Some(work) = done.upgrade() {
                    work.done.replace(Some(table.clone()));
                }
                if let Some(slot) = slot.upgrade() {
                    slot.serving.replace(Serving::Table(table));
                    slot.show();
                }
                drop(counted);
            }
            Progress::Done
        });
        work.job.replace(Some(job));
    }

    fn show(&self) {
        let (Serving::Table(table), Some(stats)) = (&*self.serving.borrow(), &*self.stats.borrow()) else { return };
        match &table.entries {
            Entries::Ring(ring) => {
                let (fewest, most) = ring.spread();
                stats.ring_hash_lb_size.set(ring.len() as i64);
                stats.ring_hash_lb_min_hashes_per_host.set(fewest);
                stats.ring_hash_lb_max_hashes_per_host.set(most);
            }
            Entries::Maglev(maglev) => {
                let (fewest, most) = maglev.spread();
                stats.maglev_lb_min_entries_per_host.set(fewest);
                stats.maglev_lb_max_entries_per_host.set(most);
            }
        }
    }
}

/// Tables can have tens of megabytes, which take longer to free than traffic should wait.
impl Drop for Table {
    fn drop(&mut self) {
        match &mut self.entries {
            Entries::Ring(ring) => self.disposer.dispose(ring.take_pieces()),
            Entries::Maglev(maglev) => self.disposer.dispose(maglev.take_pieces()),
        }
    }
}

impl Table {
    fn pick(&self, hash: u64, attempt: u32) -> u32 {
        match &self.entries {
            Entries::Ring(ring) => ring.pick(hash, attempt),
            Entries::Maglev(maglev) => maglev.pick(hash, attempt),
        }
    }
}

impl StandIn {
    fn new(build: &Build<'_>, members: &[Member], table: Option<Rc<Table>>) -> Self {
        let members: Vec<u32> = members.iter().map(|member| member.index).collect();
        let mut places = Vec::new();
        if let Some(table) = &table {
            let named = |index: &u32| (&*build.endpoints[*index as usize].name, *index);
            let now: HashMap<&str, u32> = members.iter().map(named).collect();
            places = table.names.iter().map(|name| now.get(&**name).copied().unwrap_or(GONE)).collect();
        }
        Self { table, places, members }
    }

    fn pick(&self, hash: u64, attempt: u32) -> u32 {
        let table = self.table.as_ref();
        let at = |table: &Rc<Table>, attempt| self.places[table.pick(hash, attempt) as usize];
        let found = table.and_then(|table| {
            (attempt..attempt + DETOURS).map(|attempt| at(table, attempt)).find(|index| *index != GONE)
        });
        let spread = hash.wrapping_add(attempt.into()) % self.members.len() as u64;
        found.unwrap_or(self.members[spread as usize])
    }
}

enum Maker {
    Ring(Option<RingBuild>),
    Maglev(Option<MaglevBuild>),
}

impl Maker {
    fn new(build: &Build<'_>, members: &[Member], everyone: &[Member]) -> Self {
        match build.policy {
            LbPolicy::Maglev { table_size } => {
                Self::Maglev(Some(MaglevBuild::new(build.endpoints, members, *table_size)))
            }
            LbPolicy::RingHash { minimum_size, maximum_size } => {
                Self::Ring(Some(RingBuild::new(build.endpoints, members, everyone, *minimum_size, *maximum_size)))
            }
            LbPolicy::RoundRobin { .. }
            | LbPolicy::LeastRequest { .. }
            | LbPolicy::Random
            | LbPolicy::PeakEwma { .. } => unreachable!("no consistent hash"),
        }
    }

    fn step(&mut self) -> Progress {
        match self {
            Self::Ring(ring) => ring.as_mut().map_or(Progress::Done, RingBuild::step),
            Self::Maglev(maglev) => maglev.as_mut().map_or(Progress::Done, MaglevBuild::step),
        }
    }

    fn take(&mut self) -> Option<Entries> {
        match self {
            Self::Ring(ring) => ring.take().map(|ring| Entries::Ring(ring.finish())),
            Self::Maglev(maglev) => maglev.take().map(|maglev| Entries::Maglev(maglev.finish())),
        }
    }
}

/// A table under way, however that ends.
struct Counted(Rc<Cell<u32>>);

impl Counted {
    fn new(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
