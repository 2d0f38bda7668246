//! Path patterns as programs. A regex keeps an automaton and a cache of its own, which thousands of them cannot keep warm
//! together; here all patterns of an index stand in one array, a cache line or two each, and share the classes of bytes
//! that they ask for. What a path is known to begin with, once the index has found a route for it, is left out: most
//! patterns of a large table are the same behind that, and are one program.
//!
//! A program says what the regex says about every path of ASCII. Others, and patterns that become too large here, are the
//! regex's.

mod automaton;

use super::trie::NONE;
use automaton::{Automaton, Bytes, State};
use regex_syntax::hir::Hir;
use std::collections::HashMap;

/// Steps of one program: 8 KiB.
const STEPS_MAX: usize = 1024;

/// The programs of one index.
#[derive(Debug, Default)]
pub(super) struct Programs {
    steps: Vec<Step>,
    classes: Vec<Class>,
}

/// 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// These bytes come next.
    Literal { len: u8, bytes: [u8; LITERAL_MAX] },
    /// This number of bytes of the class comes next.
    Exactly { class: u16, count: u16 },
    /// Bytes of the class `around`, at most `most` of them; then the path ends, if it may, or one of the next `edges`
    /// steps goes on.
    Choice { may_end: bool, edges: u16, around: u16, most: u16 },
    /// A byte of the class leads to the step `to` of the program.
    Edge { class: u16, to: u32 },
    /// On with that step of the program.
    Goto(u32),
}

const LITERAL_MAX: usize = 6;

/// No limit in `Step::Choice`.
const ANY: u16 = u16::MAX;

/// A set of bytes, one bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Class([u32; 8]);

impl Programs {
    /// Whether the program that begins with this step matches all of `path`, which is what stands behind the known part.
    /// Right where it does, and where the path is ASCII.
    #[inline]
    pub(super) fn matches(&self, program: u32, path: &[u8]) -> bool {
        let program = program as usize;
        let (mut rest, mut at) = (path, program);
        loop {
            match self.steps[at] {
                Step::Literal { len, bytes } => match rest.strip_prefix(&bytes[..usize::from(len)]) {
                    Some(after) => rest = after,
                    None => return false,
                },
                Step::Exactly { class, count } => {
                    let class = &self.classes[usize::from(class)];
                    match rest.split_at_checked(usize::from(count)) {
                        Some((run, after)) if run.iter().all(|byte| class.has(*byte)) => rest = after,
                        _ => return false,
                    }
                }
                Step::Choice { may_end, edges, around, most } => {
                    let class = &self.classes[usize::from(around)];
                    let most = if most == ANY { usize::MAX } else { usize::from(most) };
                    let run = rest.iter().take(most).take_while(|byte| class.has(**byte)).count();
                    let Some((byte, after)) = rest[run..].split_first() else { return may_end };
                    match self.edge(at + 1, edges, *byte) {
                        Some(to) => {
                            (rest, at) = (after, program + to);
                            continue;
                        }
                        None => return false,
                    }
                }
                Step::Goto(to) => {
                    at = program + to as usize;
                    continue;
                }
                Step::Edge { .. } => unreachable!("edges stand behind a choice"),
            }
            at += 1;
        }
    }

    #[inline]
    fn edge(&self, first: usize, edges: u16, byte: u8) -> Option<usize> {
        self.steps[first..first + usize::from(edges)].iter().find_map(|step| match step {
            Step::Edge { class, to } if self.classes[usize::from(*class)].has(byte) => Some(*to as usize),
            _ => None,
        })
    }
}

impl Class {
    #[inline]
    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 5)] >> (byte & 31) & 1 == 1
    }

    pub(super) fn add(&mut self, byte: u8) {
        self.0[usize::from(byte >> 5)] |= 1 << (byte & 31);
    }
}

/// Programs as they are made.
#[derive(Default)]
pub(super) struct Making {
    programs: Programs,
    classes: HashMap<Bytes, u16>,
    written: HashMap<Vec<Step>, u32>,
}

impl Making {
    /// The program of a pattern, by its readings: where these differ, they must not differ for ASCII. It stands for what is
    /// behind `known`, which every path begins with that it is asked about, or behind as much of it as is said with it.
    /// `None`: the pattern has something, or more, than programs do.
    pub(super) fn add(&mut self, readings: &[Hir], known: &[u8]) -> Option<(u32, u16)> {
        let mut automata = readings.iter().map(Automaton::new);
        let automaton = automata.next()??;
        if automata.any(|other| other.as_ref() != Some(&automaton)) {
            return None;
        }
        let states = automaton.states()?;
        let (mut first, mut len) = (0, 0);
        while len < u16::MAX
            && let Some(byte) = known.get(usize::from(len))
            && let Some(to) = states[first as usize].after(*byte)
        {
            (first, len) = (to, len + 1);
        }
        let steps = Writing::new(self, &states).write(first)?;
        Some((self.place(steps)?, len))
    }

    /// Where these steps stand.
    fn place(&mut self, steps: Vec<Step>) -> Option<u32> {
        let place = u32::try_from(self.programs.steps.len()).ok()?;
        Some(*self.written.entry(steps).or_insert_with_key(|steps| {
            self.programs.steps.extend_from_slice(steps);
            place
        }))
    }

    pub(super) fn finish(self) -> Programs {
        let Programs { mut steps, mut classes } = self.programs;
        steps.shrink_to_fit();
        classes.shrink_to_fit();
        Programs { steps, classes }
    }

    fn class(&mut self, bytes: Bytes) -> Option<u16> {
        if let Some(known) = self.classes.get(&bytes) {
            return Some(*known);
        }
        let place = u16::try_from(self.programs.classes.len()).ok()?;
        let word = |at: usize| if at < 4 { (bytes >> (32 * at)) as u32 } else { 0 };
        self.programs.classes.push(Class(std::array::from_fn(word)));
        self.classes.insert(bytes, place);
        Some(place)
    }
}

/// One program as it is written: each state where it is first met, those that lie in a row as one step.
struct Writing<'a> {
    making: &'a mut Making,
    states: &'a [State],
    /// The step of each state that has been written; `NONE` for others.
    at: Vec<u32>,
    /// How many edges lead to each state.
    entries: Vec<usize>,
    steps: Vec<Step>,
}

impl<'a> Writing<'a> {
    fn new(making: &'a mut Making, states: &'a [State]) -> Self {
        let mut entries = vec![0; states.len()];
        states.iter().flat_map(|state| &state.edges).for_each(|(_, to)| entries[*to as usize] += 1);
        Self { making, states, at: vec![NONE; states.len()], entries, steps: Vec::new() }
    }

    fn write(mut self, first: u32) -> Option<Vec<Step>> {
        let mut open = vec![first];
        let mut is_led_here = false;
        while let Some(state) = open.pop() {
            if self.at[state as usize] != NONE {
                if is_led_here {
                    self.push(Step::Goto(state))?;
                }
                is_led_here = false;
                continue;
            }
            self.at[state as usize] = self.steps.len() as u32;
            let row = self.row(state);
            is_led_here = !row.is_empty();
            match row.last() {
                Some((_, to)) => {
                    self.write_row(&row)?;
                    open.push(*to);
                }
                None => self.write_choice(state, &mut open)?,
            }
        }
        // Edges have been written by state.
        for step in &mut self.steps {
            if let Step::Edge { to, .. } | Step::Goto(to) = step {
                *to = self.at[*to as usize];
            }
        }
        Some(self.steps)
    }

    /// The states that can only be passed through one after the other, from this one on: what each asks for, and where it
    /// leads.
    fn row(&self, state: u32) -> Vec<(Bytes, u32)> {
        let mut row = Vec::new();
        let mut state = state;
        while let State { may_end: false, edges } = &self.states[state as usize]
            && let [(bytes, to)] = edges[..]
            && to != state
        {
            row.push((bytes, to));
            state = to;
            if !self.is_only_here(to) {
                break;
            }
        }
        row
    }

    /// Whether the one edge that leads to the state comes from what is being written.
    fn is_only_here(&self, state: u32) -> bool {
        self.entries[state as usize] == 1 && self.at[state as usize] == NONE
    }

    fn write_row(&mut self, row: &[(Bytes, u32)]) -> Option<()> {
        let is_one = |bytes: Bytes| bytes.count_ones() == 1;
        for run in row.chunk_by(|(a, _), (b, _)| a == b || is_one(*a) && is_one(*b)) {
            if is_one(run[0].0) {
                for part in run.chunks(LITERAL_MAX) {
                    let mut bytes = [0; LITERAL_MAX];
                    bytes.iter_mut().zip(part).for_each(|(byte, (one, _))| *byte = one.trailing_zeros() as u8);
                    self.push(Step::Literal { len: part.len() as u8, bytes })?;
                }
            } else {
                let class = self.making.class(run[0].0)?;
                self.push(Step::Exactly { class, count: u16::try_from(run.len()).ok()? })?;
            }
        }
        Some(())
    }

    fn write_choice(&mut self, state: u32, open: &mut Vec<u32>) -> Option<()> {
        let State { may_end, edges } = &self.states[state as usize];
        let is_loop = |(_, to): &&(Bytes, u32)| *to == state;
        let around = match edges.iter().find(is_loop) {
            Some(around) => Some((around, ANY)),
            None => edges.iter().find_map(|around| Some((around, self.counted(state, around)?))),
        };
        let others = edges.iter().filter(|edge| around.is_none_or(|(around, _)| *edge != around));
        let (&(bytes, _), most) = around.unwrap_or((&(0, 0), 0));
        let (class, count) = (self.making.class(bytes)?, others.clone().count() as u16);
        self.push(Step::Choice { may_end: *may_end, edges: count, around: class, most })?;
        for (bytes, to) in others {
            let class = self.making.class(*bytes)?;
            self.push(Step::Edge { class, to: *to })?;
            open.push(*to);
        }
        Some(())
    }

    /// How often this edge can be taken where it leads to a state that differs from this one in nothing but that it can be
    /// taken less often.
    fn counted(&self, state: u32, edge: &(Bytes, u32)) -> Option<u16> {
        let State { may_end, edges } = &self.states[state as usize];
        let others = |edges: &'a [(Bytes, u32)], bytes| edges.iter().filter(move |(other, _)| *other != bytes);
        let (bytes, mut next) = *edge;
        for count in 1..ANY {
            let state = &self.states[next as usize];
            let is_alike = state.may_end == *may_end && others(&state.edges, bytes).eq(others(edges, bytes));
            if !is_alike || !self.is_only_here(next) {
                return None;
            }
            match state.edges.iter().find(|(other, _)| *other == bytes) {
                Some((_, to)) => next = *to,
                None => return Some(count),
            }
        }
        None
    }

    fn push(&mut self, step: Step) -> Option<()> {
        let has_room = self.steps.len() < STEPS_MAX;
        has_room.then(|| self.steps.push(step))
    }
}

#[cfg(test)]
mod tests;
