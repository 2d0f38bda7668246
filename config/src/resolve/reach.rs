//! Routes that no request can reach, because a route before them takes everything that they match.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Resolver;
use super::implies::{
    address_implies, as_prefix, cookie_implies, header_implies, literal_prefix, parameter_implies, template_implies,
};
use crate::diagnostic::Problem;
use crate::model::{PathMatch, Route, RouteMatch};
use crate::place::Origin;

/// Comparisons of one list of routes; a long list with more is not looked at to its end.
const COMPARISONS_MAX: usize = 2_000_000;

impl Resolver<'_, '_, '_> {
    /// Warns of each of `routes`, which are in their order, that a route before it covers.
    pub(super) fn check_reach(&mut self, routes: &[(Route, &Origin)]) {
        let mut earlier = Earlier::default();
        for (index, (route, origin)) in routes.iter().enumerate() {
            match earlier.cover(routes, &route.matcher) {
                Some(cover) => {
                    let (cover, place) = &routes[cover];
                    let message = "no request reaches this route: one before it takes all that it matches";
                    let hint = match &cover.matcher.path {
                        PathMatch::Prefix(prefix) if prefix == "/" => {
                            "put it before the route for all paths, which belongs last"
                        }
                        _ => "put it before that one, or remove one of the two",
                    };
                    self.problems.warn(Problem::at(origin, message).earlier_at(place.span.start).hint(Some(hint)));
                }
                None => earlier.add(index, &route.matcher),
            }
        }
    }
}

/// The routes so far, by what their paths begin with.
#[derive(Default)]
struct Earlier {
    /// Texts in lower case, with the routes that have them.
    texts: HashMap<String, Vec<usize>>,
    /// Routes with a regex or template.
    patterns: Vec<usize>,
    comparisons: usize,
}

impl Earlier {
    fn add(&mut self, index: usize, matcher: &RouteMatch) {
        match &matcher.path {
            PathMatch::Prefix(text) | PathMatch::Exact(text) | PathMatch::PathSeparatedPrefix(text) => {
                self.texts.entry(text.to_ascii_lowercase()).or_default().push(index);
            }
            PathMatch::Regex(_) | PathMatch::Template(_) => self.patterns.push(index),
        }
    }

    /// The first route that covers a later one.
    fn cover(&mut self, routes: &[(Route, &Origin)], later: &RouteMatch) -> Option<usize> {
        let begin = beginning(&later.path).to_ascii_lowercase();
        let lengths = (0..=begin.len()).filter(|length| begin.is_char_boundary(*length));
        let lists = lengths.filter_map(|length| self.texts.get(&begin[..length])).chain([&self.patterns]);
        let mut comparisons = self.comparisons;
        let first = lists.filter_map(|list| {
            list.iter().copied().find(|index| {
                comparisons += 1;
                comparisons <= COMPARISONS_MAX && covers(&routes[*index].0.matcher, later)
            })
        });
        let first = first.min();
        self.comparisons = comparisons;
        first
    }
}

/// What every path that matches begins with.
fn beginning(path: &PathMatch) -> Cow<'_, str> {
    match path {
        PathMatch::Prefix(text) | PathMatch::Exact(text) | PathMatch::PathSeparatedPrefix(text) => text.into(),
        PathMatch::Template(template) => template.text.split(['{', '*']).next().unwrap_or_default().into(),
        // All paths begin so, whatever the pattern says.
        PathMatch::Regex(regex) => {
            Some(literal_prefix(regex)).filter(|prefix| !prefix.is_empty()).unwrap_or_else(|| "/".into()).into()
        }
    }
}

/// Whether every request that matches `later` matches `earlier`, as far as can be told.
fn covers(earlier: &RouteMatch, later: &RouteMatch) -> bool {
    let share = |matcher: &RouteMatch| matcher.fraction.map_or(1_000_000, |share| share.per_million);
    let methods = earlier.methods.is_empty()
        || (!later.methods.is_empty() && later.methods.iter().all(|method| earlier.methods.contains(method)));
    let same = |earlier: Option<bool>, later: Option<bool>| earlier.is_none() || earlier == later;
    let tls = earlier.tls.is_none_or(|earlier| {
        later
            .tls
            .is_some_and(|later| same(earlier.presented, later.presented) && same(earlier.validated, later.validated))
    });
    share(earlier) >= share(later)
        && methods
        && covers_path(earlier, later)
        && tls
        && all_implied(&later.headers, &earlier.headers, header_implies)
        && all_implied(&later.query_parameters, &earlier.query_parameters, parameter_implies)
        && all_implied(&later.addresses, &earlier.addresses, address_implies)
        && all_implied(&later.cookies, &earlier.cookies, cookie_implies)
}

/// Whether each of the `wanted` conditions holds wherever those that are `given` do.
fn all_implied<T>(given: &[T], wanted: &[T], implies: fn(&T, &T) -> bool) -> bool {
    wanted.iter().all(|wanted| given.iter().any(|given| implies(given, wanted)))
}

fn covers_path(earlier: &RouteMatch, later: &RouteMatch) -> bool {
    let has_letters = |text: &str| text.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_folded = !earlier.case_sensitive;
    let fold = |text: &str| if is_folded { text.to_ascii_lowercase() } else { text.to_owned() };
    let begin = fold(&beginning(&later.path));
    // A pattern that is a text and `.*` is a prefix.
    let prefix = match &earlier.path {
        PathMatch::Regex(regex) => as_prefix(regex),
        _ => None,
    };
    if let Some(prefix) = prefix
        && (later.case_sensitive || !has_letters(&prefix))
        && beginning(&later.path).starts_with(&prefix)
    {
        return true;
    }
    match &earlier.path {
        PathMatch::Prefix(text) => {
            let is_comparable = is_folded || later.case_sensitive || !has_letters(text);
            // The target of `OPTIONS *` is no path.
            let is_path = match &later.path {
                PathMatch::Regex(regex) => !regex.regex().is_match(b"*"),
                _ => true,
            };
            is_comparable && is_path && begin.starts_with(&fold(text))
        }
        PathMatch::PathSeparatedPrefix(text) => {
            let text = fold(text);
            let below = begin.strip_prefix(&text);
            let is_whole = matches!(later.path, PathMatch::Exact(_) | PathMatch::PathSeparatedPrefix(_));
            (is_folded || later.case_sensitive || !has_letters(&text))
                && below.is_some_and(|rest| rest.starts_with('/') || (rest.is_empty() && is_whole))
        }
        PathMatch::Exact(text) => {
            let is_comparable = is_folded || later.case_sensitive || !has_letters(text);
            is_comparable && matches!(&later.path, PathMatch::Exact(_)) && begin == fold(text)
        }
        PathMatch::Regex(regex) => match &later.path {
            PathMatch::Exact(text) => later.case_sensitive && regex.regex().is_match(text.as_bytes()),
            PathMatch::Regex(other) => regex.as_str() == other.as_str(),
            _ => false,
        },
        PathMatch::Template(template) => match &later.path {
            PathMatch::Exact(text) => later.case_sensitive && template.regex.regex().is_match(text.as_bytes()),
            PathMatch::Template(other) => template_implies(other, template),
            _ => false,
        },
    }
}
