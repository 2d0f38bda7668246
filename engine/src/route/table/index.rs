//! The routes of all virtual hosts, so arranged that a request meets only those of its own whose path can match, wherever
//! they stand and however many there are. What it finds is what a scan in order would: the first route that holds.

use super::Route;
use super::choice::{self, Choices, List, Lists, NO_CHOICE, Turn};
use super::literal::{Needed, needed, readings};
use super::pattern::{self, Class, Programs};
use super::trie::{Exact, Folded, Key, NONE, Trie};
use crate::http::matcher::take;
use crate::route::matcher::{Request, matches_path, predicates, predicates_beside_path};
use ringway_config::model::{self, PathMatch};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Virtual hosts share its arrays: with thousands of them each would be a cache miss otherwise.
#[derive(Debug, Default)]
pub(super) struct RouteIndex {
    hosts: Vec<Host>,
    tries: Trie,
    ends: Vec<End>,
    within: Vec<Within>,
    choices: Choices,
    /// For each route.
    left: Vec<Left>,
    programs: Programs,
}

/// Where things of one virtual host stand.
#[derive(Debug)]
struct Host {
    /// The trees of paths and prefixes as they are, and in lower case for routes that ignore case. Values are places in
    /// `ends` and `NO_CHOICE`; or the choice of a prefix, where that is all: most are, and it saves a cache miss.
    exact: u32,
    folded: u32,
    /// `NONE`: no pattern is looked up that way.
    within: u32,
    /// The first route, in `left`.
    first: u32,
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
    /// A tree; values are choices.
    texts: u32,
    /// The choice among all of the routes.
    all: u32,
}

/// Of longer texts only this many bytes are looked for: a path is walked along once for each of its bytes at most, and no
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

/// Texts found in one path at most; paths that hold more, which only an attacker writes, are matched
/// against all patterns.
const FOUND_MAX: usize = 64;

/// Lists that are merged at most; more of them are sorted.
const MERGED_MAX: usize = 8;

impl RouteIndex {
    pub(super) fn new(virtual_hosts: &[model::VirtualHost]) -> Self {
        let (mut index, mut programs) = (Self::default(), pattern::Making::default());
        for host in virtual_hosts {
            let making = Making::new(&host.routes, &mut programs);
            making.finish(&host.routes, &mut index);
        }
        index.tries.shrink_to_fit();
        index.programs = programs.finish();
        index
    }

    /// The first route of the virtual host that matches. `routes` are those that the index was made from.
    #[inline]
    pub(super) fn find<'r>(
        &self,
        virtual_host: u32,
        request: &Request<'_>,
        routes: impl Fn() -> &'r [Route],
    ) -> Option<u32> {
        let host = &self.hosts[virtual_host as usize];
        let mut lists = Lists::new();
        self.collect(host.exact, Exact(request.path), request, &mut lists);
        if host.folded != NONE {
            self.collect(host.folded, Folded(request.path), request, &mut lists);
        }
        if let Some(within) = self.within.get(host.within as usize) {
            self.collect_within(within, request, &mut lists);
        }
        let turn = first(&mut lists, |turn| {
            let (route, asks) = choice::read(turn);
            !asks || self.holds(host.first + route, request, &routes()[route as usize])
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
                let work = &request.head.work;
                let matches = take(work, request.path.len() as u64)
                    && (behind.is_some_and(|path| self.programs.matches(program, path))
                        || !request.path.is_ascii() && matches_path(&matcher.path, true, request.path, work));
                matches && (!has_rest || rest())
            }
            Left::All => predicates(matcher).all(|predicate| predicate.holds(request)),
        }
    }

    #[inline]
    fn collect<'t>(&'t self, root: u32, path: impl Key, request: &Request<'_>, lists: &mut Lists<'t>) {
        self.tries.walk_tree(root, path, |len, value| {
            if value & NO_CHOICE == 0 {
                return self.choices.collect(value, request, lists);
            }
            let end = self.ends[(value & !NO_CHOICE) as usize];
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
            self.tries.walk_tree(within.texts, Exact(&request.path[at..]), |_, choice| {
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

/// The part of one virtual host as it grows: routes in ascending order.
#[derive(Default)]
struct Making {
    exact: BTreeMap<Vec<u8>, EndRoutes>,
    folded: BTreeMap<Vec<u8>, EndRoutes>,
    within: BTreeMap<Vec<u8>, Vec<u32>>,
    all_within: Vec<u32>,
    left: Vec<Left>,
}

#[derive(Default)]
struct EndRoutes {
    prefix: Vec<u32>,
    separated: Vec<u32>,
    whole: Vec<u32>,
}

impl Making {
    fn new(routes: &[model::Route], programs: &mut pattern::Making) -> Self {
        let mut making = Self::default();
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
                    program = programs.add(readings, needed.beginning());
                    match needed {
                        Needed::Prefix(literals) => making.add_prefixes(literals, at),
                        Needed::Within(literals) => making.add_within(literals, at),
                    }
                }
            }
            making.left.push(Left::of(&route.matcher, program));
        }
        making
    }

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

    fn finish(mut self, routes: &[model::Route], index: &mut RouteIndex) {
        let within = self.finish_within(routes, index);
        let [exact, folded] = [self.exact, self.folded].map(|strings| {
            let values = strings.into_iter().map(|(text, end)| {
                let [prefix, separated, whole] =
                    [end.prefix, end.separated, end.whole].map(|list| index.choices.add(&list, routes));
                if separated == NONE && whole == NONE {
                    return (text, prefix);
                }
                index.ends.push(End { prefix, separated, whole });
                (text, (index.ends.len() as u32 - 1) | NO_CHOICE)
            });
            let values = values.collect();
            index.tries.add(values)
        });
        index.hosts.push(Host { exact, folded, within, first: index.left.len() as u32 });
        index.left.append(&mut self.left);
    }

    fn finish_within(&mut self, routes: &[model::Route], index: &mut RouteIndex) -> u32 {
        if self.within.is_empty() {
            return NONE;
        }
        let mut begins = Class::default();
        self.within.keys().filter_map(|text| text.first()).for_each(|byte| begins.add(*byte));
        let texts = std::mem::take(&mut self.within).into_iter();
        let texts = texts.map(|(text, list)| (text, index.choices.add(&list, routes))).collect();
        let all = index.choices.add(&self.all_within, routes);
        index.within.push(Within { begins, texts: index.tries.add(texts), all });
        index.within.len() as u32 - 1
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
