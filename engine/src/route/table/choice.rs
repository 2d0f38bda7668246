//! Routes that share a path. Where they are many, they are told apart by what most of them name exactly: the method or
//! the value of a field, of a query parameter or of a cookie.

use super::trie::{NONE, Trie};
use crate::http::matcher::{Joined, cookie, query_parameter};
use crate::route::matcher::{Request, predicates_beside_path};
use ringway_config::model::{self, HeaderMatchKind, PathMatch, StringMatch, StringMatchKind};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Routes that are simply tried, at most.
const FEW: usize = 4;

/// A route that the request may take: its index times two, and one where something is left to be asked. Where the way to
/// it says all, the route itself is not looked at, which in a large table is a cache miss for each thing it asks.
pub(super) type Turn = u32;

const ASKS: Turn = 1;

/// Turns, ascending: the next one, `NONE` behind the last, and those after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'t> {
    pub next: Turn,
    pub rest: &'t [Turn],
}

pub(super) type Lists<'t> = SmallVec<[List<'t>; 8]>;

/// Every choice of a route table, named by place and `CHOICE`. A choice of one route is named by its turn: most are, and
/// to look for it elsewhere costs a cache miss in a large table.
#[derive(Debug, Default)]
pub(super) struct Choices {
    choices: Vec<Choice>,
    turns: Vec<Turn>,
}

const CHOICE: u32 = 1 << 30;

/// What no choice has in its name: others may say with it that they name something else.
pub(super) const NO_CHOICE: u32 = 1 << 31;

#[derive(Debug)]
enum Choice {
    /// All of these, a range of `Choices::turns`.
    List(std::ops::Range<u32>),
    Split(Box<Split>),
}

/// The choice behind the request's value of `by`, and the one among the routes that do not ask for it.
#[derive(Debug)]
struct Split {
    by: Part,
    values: Trie,
    rest: u32,
}

/// A part of a request that a route can ask an exact value of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Method,
    Header(Box<str>),
    QueryParameter(Box<str>),
    Cookie(Box<str>),
}

/// The route, and whether it is still to be asked.
#[inline]
pub(super) fn read(turn: Turn) -> (u32, bool) {
    (turn >> 1, turn & ASKS != 0)
}

impl List<'_> {
    #[inline]
    pub(super) fn advance(&mut self) {
        match self.rest {
            [next, rest @ ..] => (self.next, self.rest) = (*next, rest),
            [] => self.next = NONE,
        }
    }
}

impl Choices {
    /// A choice among `list`, which is ascending; `NONE` where it is empty. What leads to it says all that the routes ask
    /// of the path but for patterns.
    pub(super) fn add(&mut self, list: &[u32], routes: &[model::Route]) -> u32 {
        self.add_behind(&mut Vec::new(), list, routes)
    }

    /// Behind splits by these parts, whose values the routes ask for.
    fn add_behind(&mut self, known: &mut Vec<Part>, list: &[u32], routes: &[model::Route]) -> u32 {
        let turn = |route: &u32| route << 1 | if asks(&routes[*route as usize].matcher, known) { ASKS } else { 0 };
        match list {
            [] => return NONE,
            [route] => return turn(route),
            _ => {}
        }
        let choice = match best_split(list, routes) {
            Some((by, values, rest)) => {
                known.push(by.clone());
                let mut add = |(value, list): (_, Vec<u32>)| (value, self.add_behind(known, &list, routes));
                let values = Trie::new(values.into_iter().map(&mut add).collect());
                known.pop();
                Choice::Split(Box::new(Split { by, values, rest: self.add_behind(known, &rest, routes) }))
            }
            None => {
                let start = self.turns.len() as u32;
                self.turns.extend(list.iter().map(turn));
                Choice::List(start..self.turns.len() as u32)
            }
        };
        self.choices.push(choice);
        (self.choices.len() as u32 - 1) | CHOICE
    }

    /// Adds the lists that the request leads to.
    #[inline]
    pub(super) fn collect<'t>(&'t self, choice: u32, request: &Request<'_>, lists: &mut Lists<'t>) {
        let mut at = choice;
        while at != NONE {
            if at & CHOICE == 0 {
                return lists.push(List { next: at, rest: &[] });
            }
            at = match &self.choices[(at & !CHOICE) as usize] {
                Choice::List(range) => {
                    if let [next, rest @ ..] = &self.turns[range.start as usize..range.end as usize] {
                        lists.push(List { next: *next, rest });
                    }
                    return;
                }
                Choice::Split(split) => {
                    let mut joined = Joined::new();
                    let value = split.by.value(request, &mut joined);
                    if let Some(choice) = value.and_then(|value| split.values.get(value)) {
                        self.collect(choice, request, lists);
                    }
                    split.rest
                }
            }
        }
    }
}

type Values = BTreeMap<Vec<u8>, Vec<u32>>;

/// The part that leaves the fewest routes in the worst case, if it leaves out at least a quarter: then splits are not
/// nested deeper than the logarithm of the list.
fn best_split(list: &[u32], routes: &[model::Route]) -> Option<(Part, Values, Vec<u32>)> {
    if list.len() <= FEW {
        return None;
    }
    let mut parts = BTreeMap::<Part, (usize, Values)>::new();
    for &route in list {
        for (part, values) in exact_values(&routes[route as usize].matcher) {
            let (asking, lists) = parts.entry(part).or_default();
            *asking += 1;
            for value in values {
                let list = lists.entry(value.into()).or_default();
                // A method may be listed twice.
                if list.last() != Some(&route) {
                    list.push(route);
                }
            }
        }
    }
    let left = |asking: usize, values: &Values| list.len() - asking + values.values().map(Vec::len).max().unwrap_or(0);
    let best = parts.into_iter().map(|(part, (asking, values))| (left(asking, &values), part, values));
    let (left, part, values) = best.min_by_key(|(left, _, _)| *left)?;
    if left * 4 > list.len() * 3 {
        return None;
    }
    let asks = |route: &u32| exact_values(&routes[*route as usize].matcher).contains_key(&part);
    let rest = list.iter().copied().filter(|route| !asks(route)).collect();
    Some((part, values, rest))
}

/// Whether the route asks for anything but its path and an exact value of each of these parts.
fn asks(matcher: &model::RouteMatch, known: &[Part]) -> bool {
    let values = exact_values(matcher);
    matches!(matcher.path, PathMatch::Regex(_) | PathMatch::Template(_))
        || predicates_beside_path(matcher).count() != values.len()
        || !values.keys().all(|part| known.contains(part))
}

/// What the route asks an exact value of; it holds only where the request has one of the values.
fn exact_values(matcher: &model::RouteMatch) -> BTreeMap<Part, Vec<&[u8]>> {
    let mut parts = BTreeMap::new();
    if !matcher.methods.is_empty() {
        parts.insert(Part::Method, matcher.methods.iter().map(String::as_bytes).collect());
    }
    // Of several values for one part, any does: the route asks for all.
    for header in &matcher.headers {
        if let HeaderMatchKind::Value(text) = &header.kind
            && let Some(value) = exact(text)
            && !header.invert
            && !header.missing_as_empty
        {
            parts.insert(Part::Header(header.name.as_str().into()), vec![value]);
        }
    }
    for parameter in &matcher.query_parameters {
        if let Some(value) = parameter.value.as_ref().and_then(exact) {
            parts.insert(Part::QueryParameter(parameter.name.as_str().into()), vec![value]);
        }
    }
    for cookie in &matcher.cookies {
        if let Some(value) = exact(&cookie.value).filter(|_| !cookie.invert) {
            parts.insert(Part::Cookie(cookie.name.as_str().into()), vec![value]);
        }
    }
    parts
}

fn exact(text: &StringMatch) -> Option<&[u8]> {
    match &text.kind {
        StringMatchKind::Exact(value) if !text.ignore_case => Some(value.as_bytes()),
        _ => None,
    }
}

impl Part {
    fn value<'v>(&self, request: &Request<'v>, joined: &'v mut Joined) -> Option<&'v [u8]> {
        match self {
            Self::Method => Some(request.method),
            Self::Header(name) => request.head_ref().value(name.as_bytes(), joined),
            Self::QueryParameter(name) => query_parameter(request.head, request.view, name.as_bytes()),
            Self::Cookie(name) => cookie(request.head, request.view, name.as_bytes()),
        }
    }
}
