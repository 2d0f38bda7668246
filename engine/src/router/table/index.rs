//! The routes of one virtual host, so arranged that a request meets only those whose path can match, wherever they stand
//! and however many there are. What it finds is what a scan in order would: the first route that holds.

use super::Route;
use super::choice::{self, Choices, List, Lists, Turn};
use super::literal::{Needed, needed, readings};
use super::pattern::{self, Class, Programs};
use super::trie::{Exact, Folded, Key, NONE, Trie};
use crate::router::matcher::{Request, matches_path, predicates, predicates_beside_path};
use ringway_config::model::{self, PathMatch};
use smallvec::SmallVec;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct RouteIndex {
    /// Paths and prefixes as they are, and in lower case for routes that ignore case; values are places in `ends`.
    exact: Trie,
    folded: Trie,
    ends: Box<[End]>,
    within: Option<Within>,
    choices: Choices,
    /// For each route.
    left: Box<[Left]>,
    programs: Programs,
}

/// Choices among the routes for whose path a string of a trie stands.
#[derive(Clone, Copy, Debug)]
struct End {
    prefix: u32,
    /// Where the path ends here or goes on with a slash.
    separated: u32,
    whole: u32,
}

/// Patterns by a text that stands somewhere in the paths that they match. Such texts begin with few bytes, a slash or a dot
/// mostly; where one of these stands in a path, the trie says which they are.
#[derive(Debug)]
struct Within {
    begins: Class,
    /// Values are choices.
    texts: Trie,
    /// The choice among all of the routes.
    all: u32,
}

/// Of longer texts so many bytes are looked for: a path is walked along once for each of its bytes at most, and no
/// further than this.
const WITHIN_MAX: usize = 64;

/// What of a route is still to be asked once the index has found it, where anything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    AllButPath,
    /// The path from there on by this program.
    Pattern {
        has_rest: bool,
        known: u16,
        program: u32,
    },
    All,
}

/// So often texts may be found in one path; paths that hold more, which nobody but an attacker writes, are matched
/// against all patterns.
const FOUND_MAX: usize = 64;

/// Up to so many lists are merged, more are sorted.
const MERGED_MAX: usize = 8;

impl RouteIndex {
    pub(super) fn new(routes: &[model::Route]) -> Self {
        let mut making = Making::default();
        let patterns: Vec<_> = routes.iter().filter_map(|route| pattern(&route.matcher.path)).map(readings).collect();
        let mut patterns = needed(&patterns).into_iter().zip(&patterns);
        for (at, route) in (0..).zip(routes) {
            let mut program = None;
            match &route.matcher.path {
                PathMatch::Prefix(path) => making.end(route, path).prefix.push(at),
                PathMatch::PathSeparatedPrefix(path) => making.end(route, path).separated.push(at),
                PathMatch::Exact(path) => making.end(route, path).whole.push(at),
                PathMatch::Regex(_) | PathMatch::Template(_) => {
                    let (needed, readings) = patterns.next().expect("there is one for each");
                    program = making.programs.add(readings, needed.beginning());
                    match needed {
                        Needed::Prefix(literals) => making.add_prefixes(literals, at),
                        Needed::Within(literals) => making.add_within(literals, at),
                    }
                }
            }
            making.left.push(Left::of(&route.matcher, program));
        }
        making.finish(routes)
    }

    /// The first of the routes that the index was made from that matches.
    #[inline]
    pub(super) fn find(&self, request: &Request<'_>, routes: &[Route]) -> Option<u32> {
        let mut lists = Lists::new();
        self.collect(&self.exact, Exact(request.path), request, &mut lists);
        if !self.folded.is_empty() {
            self.collect(&self.folded, Folded(request.path), request, &mut lists);
        }
        if let Some(within) = &self.within {
            self.collect_within(within, request, &mut lists);
        }
        let turn = first(&mut lists, |turn| {
            let (route, asks) = choice::read(turn);
            !asks || self.holds(route, request, &routes[route as usize])
        })?;
        Some(choice::read(turn).0)
    }

    /// Whether what the way to the route did not say holds, too.
    fn holds(&self, at: u32, request: &Request<'_>, route: &Route) -> bool {
        let matcher = &route.matcher;
        let rest = || predicates_beside_path(matcher).all(|predicate| predicate.holds(request));
        match self.left[at as usize] {
            Left::AllButPath => rest(),
            Left::Pattern { has_rest, known, program } => {
                let behind = request.path.get(usize::from(known)..);
                let matches = behind.is_some_and(|path| self.programs.matches(program, path))
                    || !request.path.is_ascii() && matches_path(&matcher.path, true, request.path);
                matches && (!has_rest || rest())
            }
            Left::All => predicates(matcher).all(|predicate| predicate.holds(request)),
        }
    }

    #[inline]
    fn collect<'t>(&'t self, trie: &Trie, path: impl Key, request: &Request<'_>, lists: &mut Lists<'t>) {
        trie.walk(path, |len, value| {
            let end = self.ends[value as usize];
            self.choices.collect(end.prefix, request, lists);
            if end.separated != NONE && matches!(request.path.get(len), None | Some(b'/')) {
                self.choices.collect(end.separated, request, lists);
            }
            if end.whole != NONE && len == request.path.len() {
                self.choices.collect(end.whole, request, lists);
            }
        });
    }

    fn collect_within<'t>(&'t self, within: &Within, request: &Request<'_>, lists: &mut Lists<'t>) {
        let mut found = SmallVec::<[u32; FOUND_MAX]>::new();
        for (at, byte) in request.path.iter().enumerate() {
            if !within.begins.has(*byte) {
                continue;
            }
            let mut has_room = true;
            within.texts.walk(Exact(&request.path[at..]), |_, choice| {
                if !found.contains(&choice) {
                    has_room = found.len() < FOUND_MAX;
                    if has_room {
                        found.push(choice);
                    }
                }
            });
            if !has_room {
                return self.choices.collect(within.all, request, lists);
            }
        }
        found.iter().for_each(|choice| self.choices.collect(*choice, request, lists));
    }
}

/// The lowest turn of the lists that holds. A route may stand in several of them.
#[inline]
fn first(lists: &mut Lists<'_>, holds: impl Fn(Turn) -> bool) -> Option<Turn> {
    if lists.len() > MERGED_MAX {
        return first_sorted(lists, holds);
    }
    loop {
        let turn = lists.iter().map(|list| list.next).min().filter(|turn| *turn != NONE)?;
        if holds(turn) {
            return Some(turn);
        }
        lists.iter_mut().filter(|list| list.next == turn).for_each(List::advance);
    }
}

#[cold]
fn first_sorted(lists: &Lists<'_>, holds: impl Fn(Turn) -> bool) -> Option<Turn> {
    let all = lists.iter().flat_map(|list| std::iter::once(&list.next).chain(list.rest));
    let mut turns: SmallVec<[Turn; 256]> = all.copied().collect();
    turns.sort_unstable();
    turns.dedup();
    turns.into_iter().find(|turn| holds(*turn))
}

fn pattern(path: &PathMatch) -> Option<&str> {
    match path {
        PathMatch::Regex(regex) => Some(regex.as_str()),
        PathMatch::Template(template) => Some(template.regex.as_str()),
        PathMatch::Prefix(_) | PathMatch::Exact(_) | PathMatch::PathSeparatedPrefix(_) => None,
    }
}

/// An index as it grows: routes in ascending order.
#[derive(Default)]
struct Making {
    exact: BTreeMap<Vec<u8>, EndRoutes>,
    folded: BTreeMap<Vec<u8>, EndRoutes>,
    within: BTreeMap<Vec<u8>, Vec<u32>>,
    all_within: Vec<u32>,
    left: Vec<Left>,
    programs: pattern::Making,
}

#[derive(Default)]
struct EndRoutes {
    prefix: Vec<u32>,
    separated: Vec<u32>,
    whole: Vec<u32>,
}

impl Making {
    fn end(&mut self, route: &model::Route, path: &str) -> &mut EndRoutes {
        match route.matcher.case_sensitive {
            true => self.exact.entry(path.into()).or_default(),
            false => self.folded.entry(path.to_ascii_lowercase().into()).or_default(),
        }
    }

    fn add_prefixes(&mut self, literals: impl IntoIterator<Item = Vec<u8>>, at: u32) {
        literals.into_iter().for_each(|literal| self.exact.entry(literal).or_default().prefix.push(at));
    }

    fn add_within(&mut self, literals: impl IntoIterator<Item = Vec<u8>>, at: u32) {
        for mut literal in literals {
            literal.truncate(WITHIN_MAX);
            let list = self.within.entry(literal).or_default();
            // Two that were cut may be the same.
            if list.last() != Some(&at) {
                list.push(at);
            }
        }
        self.all_within.push(at);
    }

    fn finish(mut self, routes: &[model::Route]) -> RouteIndex {
        let mut choices = Choices::default();
        let within = self.finish_within(routes, &mut choices);
        let mut ends = Vec::new();
        let mut trie = |strings: BTreeMap<Vec<u8>, EndRoutes>, choices: &mut Choices| {
            let values = strings.into_iter().map(|(text, end)| {
                let [prefix, separated, whole] =
                    [end.prefix, end.separated, end.whole].map(|list| choices.add(&list, routes));
                ends.push(End { prefix, separated, whole });
                (text, ends.len() as u32 - 1)
            });
            Trie::new(values.collect())
        };
        let (exact, folded) = (trie(self.exact, &mut choices), trie(self.folded, &mut choices));
        let (left, programs) = (self.left.into(), self.programs.finish());
        RouteIndex { exact, folded, ends: ends.into(), within, choices, left, programs }
    }

    fn finish_within(&mut self, routes: &[model::Route], choices: &mut Choices) -> Option<Within> {
        let mut begins = Class::default();
        self.within.keys().filter_map(|text| text.first()).for_each(|byte| begins.add(*byte));
        let texts = std::mem::take(&mut self.within).into_iter();
        let texts: Vec<_> = texts.map(|(text, list)| (text, choices.add(&list, routes))).collect();
        let all = choices.add(&self.all_within, routes);
        (!texts.is_empty()).then(|| Within { begins, texts: Trie::new(texts), all })
    }
}

impl Left {
    fn of(matcher: &model::RouteMatch, program: Option<(u32, u16)>) -> Self {
        let has_rest = predicates_beside_path(matcher).next().is_some();
        match program {
            Some((program, known)) => Self::Pattern { has_rest, known, program },
            None if pattern(&matcher.path).is_some() => Self::All,
            None => Self::AllButPath,
        }
    }
}
