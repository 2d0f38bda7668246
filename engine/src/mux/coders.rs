//! What the bodies of a shard share for compressing and decompressing: encoders to use again, a sum of memory that is not
//! exceeded, and the time that a turn of the reactor has for it.

use super::{Transform, Violation};
use crate::codec::coding::{Decoder, Encoder, OUTPUT_MAX, Settings};
use crate::http::coding::Coding;
use crate::ring::{Buf, Reactor, TaskId};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Encoders kept for the next body; more may be in use.
const SPARE_ENCODERS: usize = 16;

/// Transforms kept for the next body.
const SPARE_TRANSFORMS: usize = 256;

/// One turn's work in parts: a step costs as many of them as its input has of its settings' slice.
pub(super) const TURN: usize = 1024;

/// Bodies in line that look in each turn whether it is theirs; the others sleep until they have moved up. More than one,
/// because a body may leave the line in its sleep.
const AWAKE: usize = 8;

/// A body in line.
struct Waiting {
    ticket: u64,
    task: TaskId,
}

/// Of one shard.
pub struct Coders {
    reactor: Rc<Reactor>,
    /// Bytes of state that there may be at once.
    limit: Cell<usize>,
    used: Cell<usize>,
    spare: RefCell<Vec<(Settings, Encoder)>>,
    /// Transforms without stages, to be used again.
    #[expect(clippy::vec_box, reason = "bodies hold them boxed")]
    transforms: RefCell<Vec<Box<Transform>>>,
    /// Where steps write to.
    output: RefCell<Box<[u8]>>,
    /// The reactor's turn that `spent` is about.
    turn: Cell<u64>,
    spent: Cell<usize>,
    /// Bodies that wait for a turn, in order, so with rising tickets.
    waiting: RefCell<VecDeque<Waiting>>,
    next_ticket: Cell<u64>,
    /// The first of them since this turn.
    first_since: Cell<u64>,
}

impl Coders {
    pub fn new(reactor: &Rc<Reactor>) -> Rc<Self> {
        Rc::new(Self {
            reactor: reactor.clone(),
            limit: Cell::new(usize::MAX),
            used: Cell::new(0),
            spare: RefCell::default(),
            transforms: RefCell::default(),
            output: RefCell::default(),
            turn: Cell::new(0),
            spent: Cell::new(0),
            waiting: RefCell::default(),
            next_ticket: Cell::new(0),
            first_since: Cell::new(0),
        })
    }

    /// Bytes of state that there may be at once. Bodies that have theirs keep it.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.set(bytes);
        if self.used.get() > bytes {
            self.trim();
        }
    }

    /// Bytes of state in use or kept for reuse.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    /// Give back what is only kept for reuse.
    pub fn trim(&self) {
        let spare = std::mem::take(&mut *self.spare.borrow_mut());
        let bytes: usize = spare.iter().map(|(settings, _)| settings.state_bytes()).sum();
        self.used.set(self.used.get() - bytes);
        *self.output.borrow_mut() = Box::default();
        self.transforms.take();
    }

    /// A transform without stages, which comes back after its body.
    pub(super) fn transform(self: &Rc<Self>) -> Box<Transform> {
        let kept = self.transforms.borrow_mut().pop();
        kept.unwrap_or_default().reused(self)
    }

    pub(super) fn give_transform(&self, transform: Box<Transform>) {
        let mut transforms = self.transforms.borrow_mut();
        if transforms.len() < SPARE_TRANSFORMS {
            transforms.push(transform);
        }
    }

    /// An encoder; `None`: its state has no room.
    pub fn encoder(self: &Rc<Self>, settings: Settings) -> Option<Lease> {
        let mut spare = self.spare.borrow_mut();
        let kept = spare.iter().rposition(|(of, _)| *of == settings).map(|at| spare.swap_remove(at));
        drop(spare);
        let encoder = match kept {
            Some((_, mut encoder)) => {
                encoder.reset();
                encoder
            }
            None => {
                self.charge(settings.state_bytes())?.keep();
                Encoder::new(settings)
            }
        };
        Some(Lease { encoder: Some(encoder), settings, coders: self.clone() })
    }

    /// A decoder; `None`: its state has no room.
    pub(super) fn decoder(self: &Rc<Self>, coding: Coding) -> Option<(Decoder, Charge)> {
        let charge = self.charge(Decoder::first_bytes(coding))?;
        Some((Decoder::new(coding), charge))
    }

    /// Room for `bytes` of state. What is kept for reuse makes way.
    fn charge(self: &Rc<Self>, bytes: usize) -> Option<Charge> {
        if self.used.get() + bytes > self.limit.get() {
            self.trim();
        }
        let used = self.used.get() + bytes;
        (used <= self.limit.get()).then(|| {
            self.used.set(used);
            Charge { coders: self.clone(), bytes }
        })
    }

    fn give(&self, settings: Settings, encoder: Encoder) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_ENCODERS && self.used.get() <= self.limit.get() {
            spare.push((settings, encoder));
        } else {
            self.used.set(self.used.get() - settings.state_bytes());
        }
    }

    /// Run a step with room for its output. `None`: it wrote nothing.
    pub(super) fn write<R>(&self, step: impl FnOnce(&mut [u8]) -> (R, usize)) -> (R, Option<Buf>) {
        let mut output = self.output.borrow_mut();
        if output.is_empty() {
            *output = vec![0; OUTPUT_MAX.min(self.reactor.pool().buffer_size())].into();
        }
        let (result, produced) = step(&mut output);
        (result, (produced > 0).then(|| self.reactor.pool().copy_from(&output[..produced])))
    }

    /// What `write` makes of an empty vector, which is used again.
    pub(super) fn assemble(&self, write: impl FnOnce(&mut Vec<u8>)) -> Buf {
        let mut bytes = self.reactor.take_vec();
        write(&mut bytes);
        let buf = self.reactor.copy_from(&bytes);
        self.reactor.give_vec(bytes);
        buf
    }

    /// Whether the present turn of the reactor has time for that much work. Otherwise the task is woken in a later one:
    /// those that waited longest come first.
    pub(super) fn may_work(&self, ticket: &mut Option<u64>, parts: usize) -> bool {
        let turn = self.reactor.turns();
        if self.turn.replace(turn) != turn {
            self.spent.set(0);
        }
        let mut waiting = self.waiting.borrow_mut();
        let place =
            |waiting: &VecDeque<Waiting>, ticket: u64| waiting.binary_search_by_key(&ticket, |it| it.ticket).ok();
        let mut own = ticket.and_then(|ticket| place(&waiting, ticket));
        // A body that was first for a whole turn and did not ask has other reasons to wait.
        if self.first_since.get() + 1 < turn && own != Some(0) && !waiting.is_empty() {
            self.leave(&mut waiting, 0);
            own = own.map(|place| place - 1);
        }
        let has_time = self.spent.get() == 0 || self.spent.get() + parts <= TURN;
        if has_time && (waiting.is_empty() || own == Some(0)) {
            *ticket = None;
            if own.is_some() {
                self.leave(&mut waiting, 0);
            }
            self.spent.set(self.spent.get() + parts);
            return true;
        }
        let task = self.reactor.current_task();
        let place = own.unwrap_or_else(|| {
            let next = self.next_ticket.get();
            self.next_ticket.set(next + 1);
            if waiting.is_empty() {
                self.first_since.set(turn);
            }
            *ticket = Some(next);
            waiting.push_back(Waiting { ticket: next, task });
            waiting.len() - 1
        });
        waiting[place].task = task;
        if place < AWAKE {
            self.reactor.wake(task);
        }
        false
    }

    /// The body at this place does not wait any more: the others move up.
    fn leave(&self, waiting: &mut VecDeque<Waiting>, place: usize) {
        waiting.remove(place);
        if place == 0 {
            self.first_since.set(self.reactor.turns());
        }
        if place < AWAKE
            && let Some(next) = waiting.get(AWAKE - 1)
        {
            self.reactor.wake(next.task);
        }
    }

    pub(super) fn forget(&self, ticket: u64) {
        let mut waiting = self.waiting.borrow_mut();
        if let Ok(place) = waiting.binary_search_by_key(&ticket, |it| it.ticket) {
            self.leave(&mut waiting, place);
        }
    }
}

/// An encoder in use. Goes back to its shard's others.
pub struct Lease {
    encoder: Option<Encoder>,
    settings: Settings,
    coders: Rc<Coders>,
}

impl Lease {
    pub fn settings(&self) -> Settings {
        self.settings
    }

    pub(super) fn coders(&self) -> &Rc<Coders> {
        &self.coders
    }

    pub(super) fn encoder(&mut self) -> &mut Encoder {
        self.encoder.as_mut().expect("there until drop")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(encoder) = self.encoder.take() {
            self.coders.give(self.settings, encoder);
        }
    }
}

/// Bytes of state in the shard's sum, until this is dropped.
pub(super) struct Charge {
    coders: Rc<Coders>,
    bytes: usize,
}

impl Charge {
    pub(super) fn coders(&self) -> &Rc<Coders> {
        &self.coders
    }

    /// How many there are has changed.
    ///
    /// # Errors
    /// There is no room.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Violation> {
        if bytes > self.bytes {
            let more = self.coders.charge(bytes - self.bytes).ok_or(NO_ROOM)?;
            more.keep();
            self.bytes = bytes;
        }
        Ok(())
    }

    /// They stay in the sum: another place takes them out.
    fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.coders.used.set(self.coders.used.get() - self.bytes);
    }
}

const NO_ROOM: Violation = Violation { status: 503, details: "decompression_memory_exceeded" };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::PoolSize;
    use std::future::poll_fn;
    use std::task::Poll;

    const GZIP: Settings = Settings::Gzip { level: 4, window_bits: 14 };
    const ZSTD: Settings = Settings::Zstd { level: 3 };

    fn reactor() -> Rc<Reactor> {
        Reactor::simulated(1, PoolSize { count: 4, size: 4096 })
    }

    #[test]
    fn encoders_are_used_again_and_make_way() {
        let coders = Coders::new(&reactor());
        coders.set_limit(2 * GZIP.state_bytes());
        let first = coders.encoder(GZIP).expect("there is room");
        let second = coders.encoder(GZIP).expect("for two");
        assert!(coders.encoder(GZIP).is_none() && coders.decoder(Coding::Gzip).is_none());
        drop(first);
        assert_eq!(coders.used(), 2 * GZIP.state_bytes(), "it is kept");
        let third = coders.encoder(GZIP).expect("used again");
        drop(third);
        let other = coders.encoder(ZSTD).expect("the kept one makes way");
        assert_eq!(coders.used(), GZIP.state_bytes() + ZSTD.state_bytes());
        drop((second, other));
        coders.trim();
        assert_eq!(coders.used(), 0);
        let held = coders.encoder(GZIP);
        coders.set_limit(0);
        drop(held);
        assert_eq!(coders.used(), 0, "nothing is kept above the limit");
    }

    #[test]
    fn decoders_are_charged_for_what_their_input_makes_them_take() {
        let coders = Coders::new(&reactor());
        coders.set_limit(1 << 20);
        let (_decoder, mut charge) = coders.decoder(Coding::Brotli).expect("there is room");
        charge.grow(1 << 19).expect("for this, too");
        assert_eq!(coders.used(), 1 << 19);
        assert_eq!(charge.grow(2 << 20), Err(NO_ROOM));
        drop(charge);
        assert_eq!(coders.used(), 0);
    }

    /// Many bodies with a slice each and one that never comes back: one slice a turn, in turn.
    #[test]
    fn a_turn_has_time_for_one_slice_and_all_get_theirs() {
        const BODIES: usize = 3 * AWAKE;
        let reactor = reactor();
        let coders = Coders::new(&reactor);
        let worked = Rc::new(RefCell::new(Vec::new()));
        let gone = coders.clone();
        reactor.spawn(async move {
            let mut ticket = None;
            // Works as long as it may, gets a place in the line and leaves.
            while gone.may_work(&mut ticket, TURN) {}
        });
        for body in 0..BODIES {
            let (reactor, coders, worked) = (reactor.clone(), coders.clone(), worked.clone());
            reactor.clone().spawn(async move {
                let mut ticket = None;
                for _ in 0..4 {
                    poll_fn(|_| if coders.may_work(&mut ticket, TURN) { Poll::Ready(()) } else { Poll::Pending }).await;
                    worked.borrow_mut().push((body, reactor.turns()));
                }
            });
        }
        for _ in 0..4 * BODIES + 10 {
            reactor.turn();
        }
        let worked = worked.borrow();
        assert_eq!(worked.len(), 4 * BODIES);
        assert!(worked.windows(2).all(|pair| pair[0].1 < pair[1].1), "one a turn: {worked:?}");
        for round in worked.chunks(BODIES) {
            let mut bodies: Vec<_> = round.iter().map(|(body, _)| *body).collect();
            bodies.sort_unstable();
            assert!(bodies.into_iter().eq(0..BODIES), "each once before one comes again: {worked:?}");
        }
    }
}
