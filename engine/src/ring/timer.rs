//! The timer wheel: arm and cancel cost O(1) and allocate nothing.
//!
//! A hierarchical wheel (Varghese and Lauck, 1987): six levels of 64 slots; level 0 has a resolution of one tick, each
//! level above is 64 times as coarse, and entries move down as their time comes nearer. Entries live in a slab and are
//! linked by index.
//!
//! Connections move their deadline on every exchange, nearly always to a later time. So a later deadline is only
//! written down: the entry stays in its slot, and when the slot is due the entry moves to where it belongs by then.

use super::task::TaskId;
use crate::base::clock::Nanos;
use slab::Slab;

const LEVELS: usize = 6;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// A tick is 2^20 ns, about a millisecond: a shift instead of a division.
const TICK_BITS: u32 = 20;
const NIL: u32 = u32::MAX;
const UNLINKED: u16 = u16::MAX;
/// The deadline of an entry that is not armed.
const NEVER: u64 = u64::MAX;

/// Names an entry; valid until `Wheel::remove`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey(u32);

#[derive(Debug)]
struct Entry {
    task: TaskId,
    /// Tick at which it is due, or `NEVER`.
    deadline: u64,
    /// Tick for which its slot was chosen; never later than `deadline` while linked.
    placed: u64,
    previous: u32,
    next: u32,
    /// `level * 64 + slot`, or `UNLINKED`.
    slot: u16,
    fired: bool,
}

#[derive(Debug)]
pub(crate) struct Wheel {
    entries: Slab<Entry>,
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
    /// All ticks up to here have been handled.
    elapsed: u64,
    /// No slot is due before this tick.
    soonest: u64,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { entries: Slab::new(), heads: [[NIL; SLOTS]; LEVELS], occupied: [0; LEVELS], elapsed: 0, soonest: NEVER }
    }

    pub(crate) fn insert(&mut self, task: TaskId) -> TimerKey {
        let entry =
            Entry { task, deadline: NEVER, placed: NEVER, previous: NIL, next: NIL, slot: UNLINKED, fired: false };
        TimerKey(self.entries.insert(entry) as u32)
    }

    pub(crate) fn remove(&mut self, key: TimerKey) {
        self.unlink(key.0);
        self.entries.remove(key.0 as usize);
    }

    /// Give memory that is only kept for reuse back.
    pub(crate) fn trim(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// Wake `task` at `deadline`, and not at any deadline given before.
    pub(crate) fn arm(&mut self, key: TimerKey, deadline: Nanos, task: TaskId) {
        // Rounded up, so that a timer never fires early.
        let tick = (deadline.saturating_add((1 << TICK_BITS) - 1) >> TICK_BITS).max(self.elapsed + 1);
        let entry = &mut self.entries[key.0 as usize];
        entry.task = task;
        entry.fired = false;
        entry.deadline = tick;
        if entry.slot == UNLINKED {
            self.link(key.0);
        } else if tick < entry.placed {
            self.unlink(key.0);
            self.link(key.0);
        }
    }

    pub(crate) fn disarm(&mut self, key: TimerKey) {
        let entry = &mut self.entries[key.0 as usize];
        entry.deadline = NEVER;
        entry.fired = false;
    }

    /// Whether the last deadline armed has passed; stays true until the next `arm` or `disarm`.
    pub(crate) fn fired(&self, key: TimerKey) -> bool {
        self.entries[key.0 as usize].fired
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Handle everything due at `now`; `wake` is called with the task of each timer that fired.
    pub(crate) fn advance(&mut self, now: Nanos, mut wake: impl FnMut(TaskId)) {
        let target = now >> TICK_BITS;
        if target >= self.soonest {
            self.soonest = NEVER;
            while let Some((level, slot, deadline)) = self.next_slot() {
                if deadline > target {
                    self.soonest = self.soonest.min(deadline);
                    break;
                }
                self.elapsed = self.elapsed.max(deadline);
                self.drain(level, slot, &mut wake);
            }
        }
        self.elapsed = self.elapsed.max(target);
    }

    /// When `advance` should be called next. May be early (a coarse slot, a deadline moved later), never late.
    pub(crate) fn next_deadline(&self) -> Option<Nanos> {
        self.next_slot().map(|(_, _, tick)| tick << TICK_BITS)
    }

    /// The first occupied slot in time order: its level, index and first tick.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        for level in 0..LEVELS {
            let occupied = self.occupied[level];
            if occupied == 0 {
                continue;
            }
            let shift = SLOT_BITS * level as u32;
            let here = ((self.elapsed >> shift) as usize) % SLOTS;
            let distance = occupied.rotate_right(here as u32).trailing_zeros() as usize;
            let slot = (here + distance) % SLOTS;
            let range = 1u64 << (shift + SLOT_BITS);
            let mut tick = (self.elapsed & !(range - 1)) + ((slot as u64) << shift);
            // Only the top level wraps: below it an entry shares its level's range with `elapsed`.
            if tick < self.elapsed && slot != here {
                tick += range;
            }
            return Some((level, slot, tick));
        }
        None
    }

    fn drain(&mut self, level: usize, slot: usize, wake: &mut impl FnMut(TaskId)) {
        let mut index = std::mem::replace(&mut self.heads[level][slot], NIL);
        self.occupied[level] &= !(1 << slot);
        while index != NIL {
            let entry = &mut self.entries[index as usize];
            let next = entry.next;
            entry.slot = UNLINKED;
            (entry.previous, entry.next) = (NIL, NIL);
            if entry.deadline == NEVER {
                // Disarmed since it was placed.
            } else if entry.deadline <= self.elapsed {
                entry.deadline = NEVER;
                entry.fired = true;
                wake(entry.task);
            } else {
                self.link(index);
            }
            index = next;
        }
    }

    fn link(&mut self, index: u32) {
        let tick = self.entries[index as usize].deadline;
        let different = (self.elapsed ^ tick) | (SLOTS as u64 - 1);
        let level = ((63 - different.leading_zeros()) / SLOT_BITS).min(LEVELS as u32 - 1);
        // A deadline beyond the top level's range waits in its last slot and is placed again from there.
        let reach = (SLOTS as u64 - 1) << (SLOT_BITS * (LEVELS as u32 - 1));
        let placed = tick.min(self.elapsed + reach);
        let shift = SLOT_BITS * level;
        let slot = ((placed >> shift) as usize) % SLOTS;
        self.soonest = self.soonest.min(placed >> shift << shift);
        let head = &mut self.heads[level as usize][slot];
        let next = std::mem::replace(head, index);
        self.occupied[level as usize] |= 1 << slot;
        if next != NIL {
            self.entries[next as usize].previous = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.placed = placed;
        entry.slot = level as u16 * SLOTS as u16 + slot as u16;
        entry.previous = NIL;
        entry.next = next;
    }

    fn unlink(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        if entry.slot == UNLINKED {
            return;
        }
        let (level, slot) = ((entry.slot as usize) / SLOTS, (entry.slot as usize) % SLOTS);
        let (previous, next) = (entry.previous, entry.next);
        entry.slot = UNLINKED;
        if previous == NIL {
            self.heads[level][slot] = next;
            if next == NIL {
                self.occupied[level] &= !(1 << slot);
            }
        } else {
            self.entries[previous as usize].next = next;
        }
        if next != NIL {
            self.entries[next as usize].previous = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::BTreeMap;

    const MS: Nanos = 1_000_000;

    fn fired(wheel: &mut Wheel, now: Nanos) -> Vec<u32> {
        let mut tasks = Vec::new();
        wheel.advance(now, |task| tasks.push(task.index()));
        tasks.sort_unstable();
        tasks
    }

    #[test]
    fn fires_once_and_never_early() {
        let mut wheel = Wheel::new();
        let key = wheel.insert(TaskId::for_test(1));
        wheel.arm(key, 10 * MS, TaskId::for_test(1));
        assert!(fired(&mut wheel, 9 * MS).is_empty());
        assert_eq!(fired(&mut wheel, 12 * MS), [1]);
        assert!(wheel.fired(key));
        assert!(fired(&mut wheel, 100 * MS).is_empty());
        wheel.arm(key, 200 * MS, TaskId::for_test(1));
        assert!(!wheel.fired(key));
    }

    #[test]
    fn a_disarmed_timer_stays_silent() {
        let mut wheel = Wheel::new();
        let key = wheel.insert(TaskId::for_test(1));
        wheel.arm(key, 10 * MS, TaskId::for_test(1));
        wheel.disarm(key);
        assert!(fired(&mut wheel, 1000 * MS).is_empty());
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn agrees_with_a_sorted_map_under_random_work() {
        let random = Random::seeded(42);
        let mut wheel = Wheel::new();
        let keys: Vec<_> = (0..200).map(|i| wheel.insert(TaskId::for_test(i))).collect();
        let mut model: BTreeMap<u32, Nanos> = BTreeMap::new();
        let mut now = 0;
        for _ in 0..20_000 {
            let i = random.below(200) as u32;
            match random.below(4) {
                0 => {
                    wheel.disarm(keys[i as usize]);
                    model.remove(&i);
                }
                1 | 2 => {
                    let spread = 1u64 << random.below(42);
                    let deadline = now + 1 + random.below(spread);
                    wheel.arm(keys[i as usize], deadline, TaskId::for_test(i));
                    model.insert(i, deadline);
                }
                _ => {
                    let spread = 1u64 << random.below(36);
                    now += random.below(spread);
                    for task in fired(&mut wheel, now) {
                        let deadline = model.remove(&task).expect("only armed timers fire");
                        assert!(deadline <= now, "fired {} ns early", deadline - now);
                    }
                    // A tick of rounding up is all the lateness there may be.
                    for (task, deadline) in &model {
                        assert!(deadline + (2 << TICK_BITS) > now, "timer {task} is {} ns late", now - deadline);
                    }
                }
            }
            if let (Some(next), Some(first)) = (wheel.next_deadline(), model.values().min()) {
                assert!(next <= first + (2 << TICK_BITS), "the wheel would sleep past a deadline");
            }
        }
        assert!(now > 1 << 40, "the test must reach the upper levels");
    }
}
