//! Routes that no request can reach, because a route before them takes everything that they match.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Resolver;
use super::implies::{
    address_implies, as_prefix, cookie_implies, header_implies, list_implies, literal_prefix, parameter_implies,
    segments, template_implies,
};
use crate::diagnostic::Problem;
use crate::model::{PathMatch, Route, RouteMatch};
use crate::place::Origin;

/// Comparisons of one list of routes or filter chains; a long list with more is not looked at to its end.
pub(super) const COMPARISONS_MAX: usize = 2_000_000;

impl Resolver<'_, '_, '_> {
    /// Warns of each of `routes`, which are in their order, that a route before it covers.
    pub(super) fn check_reach(&mut self, routes: &[(Route, &Origin)]) {
        let conditions: Vec<_> = routes.iter().map(|(route, _)| Conditions::new(&route.matcher)).collect();
        let mut earlier = Earlier::default();
        for (index, (later, (_, origin))) in conditions.iter().zip(routes).enumerate() {
            match earlier.cover(&conditions, later) {
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
                None => earlier.add(index, later.matcher),
            }
        }
    }
}

/// What a route asks for, with what its path tells: worked out once, since each route is compared with many.
struct Conditions<'r> {
    matcher: &'r RouteMatch,
    /// What every path that matches begins with.
    begin: Cow<'r, str>,
    /// The prefix that a pattern stands for, a text and `.*`.
    prefix: Option<String>,
    /// Those of a template.
    segments: Vec<String>,
}

impl<'r> Conditions<'r> {
    fn new(matcher: &'r RouteMatch) -> Self {
        let (begin, prefix, segments) = match &matcher.path {
            PathMatch::Prefix(text) | PathMatch::Exact(text) | PathMatch::PathSeparatedPrefix(text) => {
                (text.into(), None, Vec::new())
            }
            PathMatch::Template(template) => {
                let begin = template.text.split(['{', '*']).next().unwrap_or_default();
                (begin.into(), None, segments(&template.text))
            }
            PathMatch::Regex(regex) => {
                // All paths begin so, whatever the pattern says.
                let begin = Some(literal_prefix(regex)).filter(|begin| !begin.is_empty());
                (begin.unwrap_or_else(|| "/".into()).into(), as_prefix(regex), Vec::new())
            }
        };
        Self { matcher, begin, prefix, segments }
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
    fn cover(&mut self, routes: &[Conditions<'_>], later: &Conditions<'_>) -> Option<usize> {
        let begin = later.begin.to_ascii_lowercase();
        let lengths = (0..=begin.len()).filter(|length| begin.is_char_boundary(*length));
        let lists = lengths.filter_map(|length| self.texts.get(&begin[..length])).chain([&self.patterns]);
        let mut comparisons = self.comparisons;
        let first = lists.filter_map(|list| {
            list.iter().copied().find(|index| {
                comparisons += 1;
                comparisons <= COMPARISONS_MAX && covers(&routes[*index], later)
            })
        });
        let first = first.min();
        self.comparisons = comparisons;
        first
    }
}

/// Whether every request that matches `later` matches `earlier`, as far as can be told.
fn covers(earlier: &Conditions<'_>, later: &Conditions<'_>) -> bool {
    covers_path(earlier, later) && covers_others(earlier.matcher, later.matcher)
}

/// The same of the conditions that are not about the path.
fn covers_others(earlier: &RouteMatch, later: &RouteMatch) -> bool {
    let share = |matcher: &RouteMatch| matcher.fraction.map_or(1_000_000, |share| share.per_million);
    let same = |earlier: Option<bool>, later: Option<bool>| earlier.is_none() || earlier == later;
    let tls = earlier.tls.is_none_or(|earlier| {
        later
            .tls
            .is_some_and(|later| same(earlier.presented, later.presented) && same(earlier.validated, later.validated))
    });
    share(earlier) >= share(later)
        && list_implies(&later.methods, &earlier.methods, |method| earlier.methods.contains(method))
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

fn covers_path(earlier: &Conditions<'_>, later: &Conditions<'_>) -> bool {
    let is_folded = !earlier.matcher.case_sensitive;
    let fold = |text: &str| if is_folded { text.to_ascii_lowercase() } else { text.to_owned() };
    let has_letters = |text: &str| text.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_comparable = |text: &str| is_folded || later.matcher.case_sensitive || !has_letters(text);
    match &earlier.matcher.path {
        PathMatch::Prefix(text) => {
            // The target of `OPTIONS *` is no path.
            let is_path = match &later.matcher.path {
                PathMatch::Regex(regex) => !regex.regex().is_match(b"*"),
                _ => true,
            };
            is_comparable(text) && is_path && fold(&later.begin).starts_with(&fold(text))
        }
        PathMatch::PathSeparatedPrefix(text) => {
            let begin = fold(&later.begin);
            let below = begin.strip_prefix(&fold(text));
            let is_whole = matches!(later.matcher.path, PathMatch::Exact(_) | PathMatch::PathSeparatedPrefix(_));
            is_comparable(text) && below.is_some_and(|rest| rest.starts_with('/') || (rest.is_empty() && is_whole))
        }
        PathMatch::Exact(text) => {
            is_comparable(text)
                && matches!(&later.matcher.path, PathMatch::Exact(_))
                && fold(&later.begin) == fold(text)
        }
        PathMatch::Regex(regex) => {
            let is_inside = |prefix: &String| is_comparable(prefix) && later.begin.starts_with(prefix.as_str());
            earlier.prefix.as_ref().is_some_and(is_inside)
                || match &later.matcher.path {
                    PathMatch::Exact(text) => later.matcher.case_sensitive && regex.regex().is_match(text.as_bytes()),
                    PathMatch::Regex(other) => regex == other,
                    _ => false,
                }
        }
        PathMatch::Template(template) => match &later.matcher.path {
            PathMatch::Exact(text) => later.matcher.case_sensitive && template.regex.regex().is_match(text.as_bytes()),
            PathMatch::Template(_) => template_implies(&later.segments, &earlier.segments),
            _ => false,
        },
    }
}
