//! Which conditions of a route hold wherever those of another do, as far as their texts tell.

use regex_syntax::hir::{Hir, HirKind};

use crate::model::{
    AddressMatch, CookieMatch, HeaderMatch, HeaderMatchKind, Pattern, QueryParameterMatch, StringMatch, StringMatchKind,
};
use crate::reader::parse_pattern;

/// What stands around the pattern of a whole text.
const ANCHORS: (&str, &str) = ("^(?:", ")$");

/// Whether `wanted` holds for every request for which `header` does.
pub(super) fn header_implies(header: &HeaderMatch, wanted: &HeaderMatch) -> bool {
    if header == wanted {
        return true;
    }
    if header.name != wanted.name || wanted.invert || header.missing_as_empty {
        return false;
    }
    match (&wanted.kind, &header.kind) {
        // A header that is missing meets no condition on its value, inverted or not.
        (HeaderMatchKind::Present, HeaderMatchKind::Present) => !header.invert,
        (HeaderMatchKind::Present, _) => true,
        (HeaderMatchKind::Value(wanted), HeaderMatchKind::Value(value)) => {
            !header.invert && string_implies(value, wanted)
        }
        _ => false,
    }
}

/// The same of query parameters.
pub(super) fn parameter_implies(parameter: &QueryParameterMatch, wanted: &QueryParameterMatch) -> bool {
    let value_implies = match (&wanted.value, &parameter.value) {
        (None, _) => true,
        (Some(wanted), Some(value)) => string_implies(value, wanted),
        (Some(_), None) => false,
    };
    parameter.name == wanted.name && value_implies
}

/// The same of cookies.
pub(super) fn cookie_implies(cookie: &CookieMatch, wanted: &CookieMatch) -> bool {
    let are_plain = !cookie.invert && !wanted.invert && cookie.name == wanted.name;
    cookie == wanted || (are_plain && string_implies(&cookie.value, &wanted.value))
}

/// The same of addresses.
pub(super) fn address_implies(address: &AddressMatch, wanted: &AddressMatch) -> bool {
    let is_inside = match (address.invert, wanted.invert) {
        (false, false) => wanted.ranges.include(&address.ranges),
        (true, true) => address.ranges.include(&wanted.ranges),
        _ => false,
    };
    address.whose == wanted.whose && is_inside
}

fn string_implies(value: &StringMatch, wanted: &StringMatch) -> bool {
    if value == wanted {
        return true;
    }
    // A text whose case does not matter stands for several.
    let (StringMatchKind::Exact(text), false) = (&value.kind, value.ignore_case) else { return false };
    holds(wanted, text)
}

fn holds(condition: &StringMatch, text: &str) -> bool {
    let fold = |text: &str| if condition.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    match &condition.kind {
        StringMatchKind::Exact(wanted) => fold(text) == fold(wanted),
        StringMatchKind::Prefix(wanted) => fold(text).starts_with(&fold(wanted)),
        StringMatchKind::Suffix(wanted) => fold(text).ends_with(&fold(wanted)),
        StringMatchKind::Contains(wanted) => fold(text).contains(&fold(wanted)),
        StringMatchKind::Regex(pattern) => pattern.regex().is_match(text.as_bytes()),
    }
}

/// Whether every path of a template is one of another: each of its segments is the same, or any one where `wanted` takes
/// any one.
pub(super) fn template_implies(segments: &[String], wanted: &[String]) -> bool {
    let is_one = |segment: &&String| !segment.is_empty() && !segment.contains("**");
    segments.len() == wanted.len()
        && segments.iter().zip(wanted).all(|(segment, wanted)| segment == wanted || (wanted == "*" && is_one(&segment)))
}

/// The segments of a template, without the names of its variables.
pub(super) fn segments(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (variable, after) = after.split_once('}').unwrap_or((after, ""));
        plain.push_str(before);
        plain.push_str(variable.split_once('=').map_or("*", |(_, pattern)| pattern));
        rest = after;
    }
    plain.push_str(rest);
    plain.split('/').map(str::to_owned).collect()
}

/// Whether one of `wanted` holds wherever one of `given` does, if `has` says of a given one whether `wanted` has it. An empty
/// list asks for nothing.
pub(super) fn list_implies<T>(given: &[T], wanted: &[T], has: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || (!given.is_empty() && given.iter().all(has))
}

/// What every text that matches the whole pattern begins with.
pub(super) fn literal_prefix(pattern: &Pattern) -> String {
    let mut prefix = Vec::new();
    if let Some(hir) = parse_pattern(pattern.as_str()) {
        extend_prefix(&hir, &mut prefix);
    }
    String::from_utf8(prefix).unwrap_or_default()
}

/// Adds what all that matches begins with; whether it is all of it.
fn extend_prefix(hir: &Hir, prefix: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Literal(literal) => {
            prefix.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(capture) => extend_prefix(&capture.sub, prefix),
        HirKind::Concat(parts) => parts.iter().all(|part| extend_prefix(part, prefix)),
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Class(_) | HirKind::Repetition(_) | HirKind::Alternation(_) => false,
    }
}

/// The prefix that a pattern stands for, if it is a text and `.*`.
pub(super) fn as_prefix(pattern: &Pattern) -> Option<String> {
    let whole = pattern.as_str().strip_prefix(ANCHORS.0)?.strip_suffix(ANCHORS.1)?;
    let text = whole.strip_suffix(".*")?;
    let hir = parse_pattern(text)?;
    let mut prefix = Vec::new();
    let is_text = matches!(hir.kind(), HirKind::Literal(_) | HirKind::Empty) && extend_prefix(&hir, &mut prefix);
    String::from_utf8(prefix).ok().filter(|_| is_text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::{FromText as _, Pattern as Written};

    #[test]
    fn beginnings_of_patterns() {
        for (text, begin, prefix) in [
            (r"/s/\d+", "/s/", None),
            (r"/a\.b(/c).*", "/a.b/c", None),
            (r"/a\.b/.*", "/a.b/", Some("/a.b/")),
            ("(?i)/ab", "/", None),
            ("/a|/b", "/", None),
            ("/ab?", "/a", None),
            (".*", "", Some("")),
            (r"/a\..*", "/a.", Some("/a.")),
            (r"/a\\.*", r"/a\", Some(r"/a\")),
        ] {
            let pattern = Written::from_text(text).expect("a pattern").0;
            let found = literal_prefix(&pattern);
            // What is common to alternatives may or may not be found.
            assert!(begin.starts_with(&found), "{text}: {found}");
            assert_eq!(as_prefix(&pattern).as_deref(), prefix, "{text}");
        }
    }

    #[test]
    fn templates_in_others() {
        let implies = |one: &str, other: &str| {
            let of = |text| crate::document::Template::from_text(text).expect("a template").0;
            template_implies(&segments(&of(one).text), &segments(&of(other).text))
        };
        assert!(implies("/t/{b}", "/t/{a}") && implies("/t/*", "/t/{a}") && implies("/t/x", "/t/{a=*}"));
        assert!(implies("/{a=t/*}/x", "/*/*/{x}") && implies("/a/**", "/{x}/{y=**}"));
        assert!(!implies("/t/**", "/t/*") && !implies("/t/{a}", "/t/x") && !implies("/t/*.ts", "/t/*.js"));
        assert!(!implies("/t/a/b", "/t/*") && !implies("/t", "/t/*"));
    }
}
