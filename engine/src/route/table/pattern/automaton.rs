//! The deterministic automaton of a pattern over ASCII: positions and what may follow each (Glushkov's construction), then
//! sets of these as states.

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};
use std::collections::HashMap;

/// A set of ASCII bytes, one bit each.
pub(super) type Bytes = u128;

/// Bytes that a pattern asks for, repetitions written out. A URI template has 256 at most.
const POSITIONS_MAX: usize = 256;
const STATES_MAX: usize = 512;

/// What a pattern asks for, byte after byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Automaton {
    positions: Vec<Position>,
    /// All of it.
    whole: Part,
}

#[derive(Debug, PartialEq, Eq)]
struct Position {
    bytes: Bytes,
    /// What may come after it.
    follow: Positions,
}

/// A part of the pattern: whether it matches nothing at all, and where it may begin and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    is_nullable: bool,
    first: Positions,
    last: Positions,
}

/// What matches nothing but the empty text.
const EMPTY: Part = Part { is_nullable: true, first: Positions([0; WORDS]), last: Positions([0; WORDS]) };

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Positions([u64; WORDS]);

const WORDS: usize = POSITIONS_MAX / 64;

/// What may come next, and what then: no byte stands in two edges. The first state is where a path begins.
#[derive(Debug)]
pub(super) struct State {
    pub may_end: bool,
    pub edges: Vec<(Bytes, u32)>,
}

impl State {
    pub(super) fn after(&self, byte: u8) -> Option<u32> {
        let byte = ascii(byte.into(), byte.into());
        self.edges.iter().find(|(bytes, _)| bytes & byte != 0).map(|(_, to)| *to)
    }
}

impl Automaton {
    /// `None`: it does not match whole paths only, looks around, or is too large.
    pub(super) fn new(hir: &Hir) -> Option<Self> {
        let properties = hir.properties();
        if !properties.look_set_prefix().contains(Look::Start) || !properties.look_set_suffix().contains(Look::End) {
            return None;
        }
        let mut automaton = Self { positions: Vec::new(), whole: EMPTY };
        automaton.whole = automaton.part(hir, true, true)?;
        Some(automaton)
    }

    /// `is_start`: nothing stands before it, `is_end`: nor behind it. Elsewhere it must not ask for start and end.
    fn part(&mut self, hir: &Hir, is_start: bool, is_end: bool) -> Option<Part> {
        match hir.kind() {
            HirKind::Empty => Some(EMPTY),
            HirKind::Literal(literal) => literal.0.iter().try_fold(EMPTY, |before, byte| {
                let byte = self.position(ascii(u32::from(*byte), u32::from(*byte)))?;
                Some(self.joined(before, byte))
            }),
            HirKind::Class(Class::Bytes(class)) => {
                let ranges = class.iter().map(|range| ascii(range.start().into(), range.end().into()));
                self.position(ranges.fold(0, |all, bytes| all | bytes))
            }
            HirKind::Class(Class::Unicode(class)) => {
                let ranges = class.iter().map(|range| ascii(range.start().into(), range.end().into()));
                self.position(ranges.fold(0, |all, bytes| all | bytes))
            }
            HirKind::Look(Look::Start) if is_start => Some(EMPTY),
            HirKind::Look(Look::End) if is_end => Some(EMPTY),
            HirKind::Look(_) => None,
            HirKind::Capture(capture) => self.part(&capture.sub, is_start, is_end),
            HirKind::Repetition(repetition) => self.repeated(repetition, is_start, is_end),
            HirKind::Concat(parts) => {
                let is_bare = |parts: &[Hir]| parts.iter().all(|part| part.properties().maximum_len() == Some(0));
                let mut whole = EMPTY;
                for (at, part) in parts.iter().enumerate() {
                    let (before, behind) = (&parts[..at], &parts[at + 1..]);
                    let part = self.part(part, is_start && is_bare(before), is_end && is_bare(behind))?;
                    whole = self.joined(whole, part);
                }
                Some(whole)
            }
            HirKind::Alternation(parts) => parts.iter().try_fold(Part::default(), |one, part| {
                let other = self.part(part, is_start, is_end)?;
                Some(Part {
                    is_nullable: one.is_nullable || other.is_nullable,
                    first: one.first.or(other.first),
                    last: one.last.or(other.last),
                })
            }),
        }
    }

    fn repeated(&mut self, repetition: &Repetition, is_start: bool, is_end: bool) -> Option<Part> {
        let Repetition { min, max, sub, .. } = repetition;
        if *max == Some(1) {
            let once = self.part(sub, is_start, is_end)?;
            return Some(Part { is_nullable: once.is_nullable || *min == 0, ..once });
        }
        let mut whole = EMPTY;
        for nth in 0..max.unwrap_or_else(|| (*min).max(1)) {
            let mut once = self.part(sub, false, false)?;
            once.is_nullable |= nth >= *min;
            whole = self.joined(whole, once);
            if max.is_none() && nth + 1 >= *min {
                self.follow(once.last, once.first);
            }
        }
        Some(whole)
    }

    fn position(&mut self, bytes: Bytes) -> Option<Part> {
        let at = self.positions.len();
        if at == POSITIONS_MAX {
            return None;
        }
        self.positions.push(Position { bytes, follow: Positions::default() });
        let mut only = Positions::default();
        only.0[at / 64] = 1 << (at % 64);
        Some(Part { is_nullable: false, first: only, last: only })
    }

    fn joined(&mut self, a: Part, b: Part) -> Part {
        self.follow(a.last, b.first);
        Part {
            is_nullable: a.is_nullable && b.is_nullable,
            first: if a.is_nullable { a.first.or(b.first) } else { a.first },
            last: if b.is_nullable { a.last.or(b.last) } else { b.last },
        }
    }

    fn follow(&mut self, last: Positions, first: Positions) {
        last.iter().for_each(|at| self.positions[at].follow = self.positions[at].follow.or(first));
    }

    /// `None`: too many.
    pub(super) fn states(&self) -> Option<Vec<State>> {
        // A state is what may come next and whether the path may end.
        let start = (self.whole.first, self.whole.is_nullable);
        let mut known = HashMap::from([(start, 0)]);
        let mut open = vec![start];
        let mut states = Vec::new();
        while let Some(&(next, may_end)) = open.get(states.len()) {
            let mut edges = Vec::<(Bytes, u32)>::new();
            for (bytes, target) in self.steps(next) {
                let to = *known.entry(target).or_insert_with(|| {
                    open.push(target);
                    open.len() as u32 - 1
                });
                match edges.iter_mut().find(|(_, other)| *other == to) {
                    Some((all, _)) => *all |= bytes,
                    None => edges.push((bytes, to)),
                }
            }
            if open.len() > STATES_MAX {
                return None;
            }
            states.push(State { may_end, edges });
        }
        Some(states)
    }

    /// Bytes that do the same, and the state behind them.
    fn steps(&self, next: Positions) -> Vec<(Bytes, (Positions, bool))> {
        let mut steps = Vec::<(Bytes, (Positions, bool))>::new();
        for at in next.iter() {
            let Position { bytes: mut left, follow } = self.positions[at];
            let may_end = self.whole.last.has(at);
            for step in 0..steps.len() {
                let (bytes, target) = steps[step];
                let common = bytes & left;
                if common != 0 {
                    steps[step] = (common, (target.0.or(follow), target.1 || may_end));
                    if bytes != common {
                        steps.push((bytes & !common, target));
                    }
                    left &= !common;
                }
            }
            if left != 0 {
                steps.push((left, (follow, may_end)));
            }
        }
        steps
    }
}

/// The bytes from `start` to `end`, both included, as far as they are ASCII.
fn ascii(start: u32, end: u32) -> Bytes {
    if start > 127 {
        return 0;
    }
    (Bytes::MAX >> (127 - end.min(127))) & (Bytes::MAX << start)
}

impl Positions {
    fn or(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    fn has(self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        (0..WORDS).flat_map(move |word| {
            let mut left = self.0[word];
            std::iter::from_fn(move || {
                let at = (left != 0).then_some(word * 64 + left.trailing_zeros() as usize);
                left &= left.wrapping_sub(1);
                at
            })
        })
    }
}
