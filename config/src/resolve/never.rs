//! Conditions that no request meets: warnings, since they are valid.

use std::collections::HashMap;

use regex_syntax::hir::{Class, Hir, HirKind};

use super::Resolver;
use super::matcher::{StringKeys, string_keys};
use crate::diagnostic::Problem;
use crate::document::{HeaderMatch, RouteMatch, Template};
use crate::model::Pattern;
use crate::place::Origin;
use crate::reader::{FromText as _, Located, parse_pattern};
use crate::syntax::{escape_hint, quoted};

/// Methods that clients send in capitals.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// What a text of a condition is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Header,
    Parameter,
    Cookie,
}

impl Part {
    fn noun(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Parameter => "query parameter",
            Self::Cookie => "cookie",
        }
    }

    /// Whether its values never have this byte.
    fn lacks(self, byte: u8) -> bool {
        match self {
            Self::Header => byte == 0x7f || (byte < b' ' && byte != b'\t'),
            Self::Parameter => !byte.is_ascii_graphic() || byte == b'&',
            Self::Cookie => byte == 0x7f || byte < b' ' || byte == b';',
        }
    }
}

impl<'d> Resolver<'d, '_, '_> {
    /// Warns of paths that no request has.
    pub(super) fn check_paths(&mut self, written: &'d Located<RouteMatch>) {
        let prefix = written.prefix.given().map(|path| (&path.origin, &path.0, "prefix"));
        let path = written.path.given().map(|path| (&path.origin, &path.0, "path"));
        let separated = written.path_separated_prefix.given();
        let separated = separated.map(|path| (&path.origin, &path.0, "path_separated_prefix"));
        for (origin, text, key) in [prefix, path, separated].into_iter().flatten() {
            let Some(at) = text.find('*').filter(|_| text.len() > 1) else { continue };
            let message = format!("`*` stands for itself in `{key}`: only paths with an asterisk there match");
            let hint = without_asterisk(key, text, written.case_sensitive.given().map(|it| it.value));
            self.problems.warn(self.problems.within(origin, text, at..at + 1, message).hint(Some(hint)));
        }
        if let Some(pattern) = written.regex.given() {
            self.check_path_pattern(&pattern.origin, &pattern.0);
        }
    }

    fn check_path_pattern(&mut self, origin: &Origin, pattern: &Pattern) {
        let Some(hir) = parse_pattern(pattern.as_str()) else { return };
        let is_no_path = |byte: u8| byte == b'?' || !byte.is_ascii_graphic();
        let (what, hint) = if hir.properties().minimum_len().is_none() {
            ("the pattern matches no text at all", "")
        } else if wants(&hir, is_no_path) {
            (
                "no path matches the pattern: it asks for a byte that paths do not have, which come without the query \
                 and percent-encoded",
                "conditions on the query are query_parameters = [{ name = \"...\", exact = \"...\" }]",
            )
        } else if !begins(&hir, b'/').0 && !begins(&hir, b'*').0 {
            (
                "no path matches the pattern: paths begin with '/', and the pattern is compared with all of the path",
                "begin it with '/' or '.*'",
            )
        } else {
            return;
        };
        let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
        let hint = escape_hint(self.problems.written(origin)).or(hint);
        self.problems.warn(Problem::at(origin, what).hint(hint));
    }

    /// Warns of a text that is compared with a `part` and that none can have.
    pub(super) fn check_text(&mut self, strings: &StringKeys<'d>, part: Part, name: Option<&str>) {
        let noun = part.noun();
        if let Some(pattern) = strings.regex.given()
            && let Some(hir) = parse_pattern(pattern.0.as_str())
        {
            if hir.properties().minimum_len().is_none() || wants(&hir, |byte| part.lacks(byte)) {
                let message = format!("no {noun} matches the pattern: it asks for a byte that none can have");
                let hint = (part == Part::Parameter)
                    .then(|| "values are compared as they are in the URL, percent-encoded".to_owned());
                let hint = escape_hint(self.problems.written(&pattern.origin)).or(hint);
                self.problems.warn(Problem::at(&pattern.origin, message).hint(hint));
            }
            return;
        }
        let texts = [strings.exact, strings.prefix, strings.suffix, strings.contains];
        let Some((kind, text)) = texts.iter().enumerate().find_map(|(kind, text)| Some((kind, text.given()?))) else {
            return;
        };
        let (is_begin, is_end) = (kind == 0 || kind == 1, kind == 0 || kind == 2);
        let value = text.0.as_str();
        let problem = if value.bytes().any(|byte| part.lacks(byte)) {
            let problem = Problem::at(&text.origin, format!("no {noun} has this value: it cannot hold such a byte"));
            let encoded: String = value.bytes().map(|byte| encoded(byte, part)).collect();
            let hint = (part == Part::Parameter).then(|| format!("write it as it is in the URL: {encoded:?}"));
            problem.hint(escape_hint(self.problems.written(&text.origin)).or(hint))
        } else if (is_begin && value.starts_with([' ', '\t'])) || (is_end && value.ends_with([' ', '\t'])) {
            let message = format!("no {noun} has this value: spaces at its ends are not part of it");
            Problem::at(&text.origin, message).hint(Some("remove them"))
        } else if part == Part::Cookie && kind == 0 && value.len() > 1 && value.starts_with('"') && value.ends_with('"')
        {
            let message = "no cookie has this value: quotes around it are not part of it";
            Problem::at(&text.origin, message).hint(Some("remove them"))
        } else if name == Some(":path") && is_begin && !value.starts_with(['/', '*']) && !value.is_empty() {
            Problem::at(&text.origin, "no request has this path: paths begin with '/'")
                .hint(Some(format!("write \"/{value}\"")))
        } else if name == Some(":method") && kind == 0 && is_lower_method(value) && !ignores_case(strings) {
            let message = format!("no client sends the method {value:?}: methods are compared as they are");
            Problem::at(&text.origin, message).hint(Some(format!("write {:?}", value.to_ascii_uppercase())))
        } else {
            return;
        };
        self.problems.warn(problem);
    }

    /// Warns of a share of nothing.
    pub(super) fn check_percent(&mut self, written: &'d Located<RouteMatch>) {
        if let Some(percent) = written.percent.given().filter(|percent| percent.value.0 == 0.0) {
            let problem = Problem::at(&percent.origin, "no request matches: this is a share of nothing");
            self.problems.warn(problem.hint(Some("remove the route until it is to have requests")));
        }
    }

    /// Warns of a method that is not in the list, and of a header that must be there and must not.
    pub(super) fn check_headers(&mut self, written: &'d Located<RouteMatch>) {
        let methods = written.methods.given().filter(|list| !list.is_empty);
        let headers = written.headers.items();
        for header in headers {
            let Some(name) = header.name.given().map(|name| name.0.as_str()) else { continue };
            let strings = string_keys!(header);
            let exact = strings.exact.given().filter(|_| !header.invert.value && !ignores_case(&strings));
            if let (":method", Some(exact), Some(list)) = (name, exact, methods)
                && !list.items.iter().any(|method| method.0 == exact.0)
            {
                let message = "no request matches: `methods` does not have this method";
                let problem = Problem::at(&exact.origin, message).earlier_at(list.origin.span.start);
                self.problems.warn(problem.hint(Some("leave one of the two out")));
            }
            if header.invert.value || header.present.given().is_none_or(|present| present.value) {
                continue;
            }
            let must_have_value = |other: &&Located<HeaderMatch>| {
                let has_text = string_keys!(other).origins().iter().any(|(_, origin)| origin.is_some());
                let is_same = other.name.given().is_some_and(|other| other.0 == name);
                is_same && (has_text || other.range.given().is_some()) && !other.treat_missing_header_as_empty.value
            };
            if let Some(other) = headers.iter().find(must_have_value) {
                let message = format!("no request matches: the header `{name}` would be missing and have a value");
                let problem = Problem::at(&header.origin, message).earlier_at(other.origin.span.start);
                self.problems.warn(problem.hint(Some("all conditions of a match must hold: leave one of the two out")));
            }
        }
    }

    /// Warns of two conditions that exclude each other: the value of `name` would have to be both.
    pub(super) fn check_contradictions<'o>(
        &mut self,
        part: Part,
        exact: impl Iterator<Item = (&'o str, &'o str, &'o Origin)>,
    ) {
        let mut first: HashMap<&str, (&str, &Origin)> = HashMap::new();
        for (name, value, origin) in exact {
            match first.get(name) {
                Some((other, earlier)) if *other != value => {
                    let message = format!("no request matches: the {} `{name}` would have two values", part.noun());
                    let problem = Problem::at(origin, message).earlier(earlier);
                    let hint = "all conditions of a match must hold: for either of the two write a regex, \"a|b\", or two routes";
                    self.problems.warn(problem.hint(Some(hint)));
                }
                _ => drop(first.insert(name, (value, origin))),
            }
        }
    }
}

/// What to write for a path with asterisks, which stand for any text in other proxies.
fn without_asterisk(key: &str, text: &str, case_sensitive: Option<bool>) -> String {
    let is_template = case_sensitive.is_none() && Template::from_text(text).is_ok();
    let template = || format!("`*` is one segment and `**` any rest in a template: template = {}", quoted(text));
    let before = text.trim_end_matches('*');
    if !before.contains('*') {
        return match key {
            "path" if before.ends_with('/') && is_template => template(),
            "path_separated_prefix" if before.ends_with('/') && before.len() > 1 => {
                let below = before.trim_end_matches('/');
                format!("it takes all that is below it: path_separated_prefix = {}", quoted(below))
            }
            _ => format!("a prefix takes all that follows it: prefix = {}", quoted(before)),
        };
    }
    if key == "path" && is_template {
        return template();
    }
    let (path, end) = match key {
        "path" => (text, ""),
        "prefix" => (before, ".*"),
        _ => (text.trim_end_matches(['*', '/']), "(/.*)?"),
    };
    let parts: Vec<_> = path.split("**").map(|part| part.split('*').map(regex::escape)).collect();
    let parts: Vec<_> = parts.into_iter().map(|part| part.collect::<Vec<_>>().join("[^/]*")).collect();
    let start = if case_sensitive == Some(false) { "(?i)" } else { "" };
    let pattern = quoted(&format!("{start}{}{end}", parts.join(".*")));
    let also = if case_sensitive.is_some() { ", without `case_sensitive`" } else { "" };
    format!("a pattern has `[^/]*` for any text in a segment: regex = {pattern}{also}")
}

fn ignores_case(strings: &StringKeys<'_>) -> bool {
    strings.ignore_case.given().is_some_and(|ignore| ignore.value)
}

fn is_lower_method(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_lowercase()) && METHODS.contains(&text.to_ascii_uppercase().as_str())
}

fn encoded(byte: u8, part: Part) -> String {
    if part.lacks(byte) { format!("%{byte:02X}") } else { char::from(byte).to_string() }
}

/// Whether all that matches has a byte for which `is_odd` is true.
fn wants(hir: &Hir, is_odd: impl Fn(u8) -> bool + Copy) -> bool {
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.iter().any(|byte| is_odd(*byte)),
        HirKind::Class(Class::Bytes(class)) => {
            !class.ranges().is_empty() && class.ranges().iter().all(|range| (range.start()..=range.end()).all(is_odd))
        }
        HirKind::Class(Class::Unicode(class)) => {
            let is_odd = |letter: char| u8::try_from(letter).is_ok_and(is_odd);
            !class.ranges().is_empty() && class.ranges().iter().all(|range| (range.start()..=range.end()).all(is_odd))
        }
        HirKind::Capture(capture) => wants(&capture.sub, is_odd),
        HirKind::Repetition(repetition) => repetition.min > 0 && wants(&repetition.sub, is_odd),
        HirKind::Concat(parts) => parts.iter().any(|part| wants(part, is_odd)),
        HirKind::Alternation(parts) => parts.iter().all(|part| wants(part, is_odd)),
        HirKind::Empty | HirKind::Look(_) => false,
    }
}

/// Whether something that matches begins with `byte`, and whether the empty text matches.
fn begins(hir: &Hir, byte: u8) -> (bool, bool) {
    match hir.kind() {
        HirKind::Literal(literal) => (literal.0.first() == Some(&byte), literal.0.is_empty()),
        HirKind::Class(Class::Bytes(class)) => {
            (class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&byte)), false)
        }
        // An alternative of single letters, even without Unicode.
        HirKind::Class(Class::Unicode(class)) => {
            (class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&char::from(byte))), false)
        }
        HirKind::Capture(capture) => begins(&capture.sub, byte),
        HirKind::Repetition(repetition) => {
            let (is_it, is_empty) = begins(&repetition.sub, byte);
            (is_it && repetition.max != Some(0), is_empty || repetition.min == 0)
        }
        HirKind::Concat(parts) => {
            for part in parts {
                let (is_it, is_empty) = begins(part, byte);
                if is_it || !is_empty {
                    return (is_it, false);
                }
            }
            (false, true)
        }
        HirKind::Alternation(parts) => {
            let all = parts.iter().map(|part| begins(part, byte));
            all.fold((false, false), |(is_it, is_empty), (it, empty)| (is_it || it, is_empty || empty))
        }
        HirKind::Empty | HirKind::Look(_) => (false, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hir(pattern: &str) -> Hir {
        parse_pattern(&format!("^(?:{pattern})$")).expect("valid")
    }

    #[test]
    fn what_a_match_begins_with() {
        for pattern in ["/a", ".*a", "[^a]b", "a?/b", "(?:a|/b)c", "^/a", "a*/", "(?i)/x"] {
            assert!(begins(&hir(pattern), b'/').0, "{pattern}");
        }
        for pattern in ["a/b", "api/.*", "[a-z]+/", "(?:a|b)/c", "a+/"] {
            assert!(!begins(&hir(pattern), b'/').0, "{pattern}");
        }
    }

    #[test]
    fn what_a_match_must_have() {
        let wants_query = |pattern: &str| wants(&hir(pattern), |byte| byte == b'?');
        assert!(wants_query(r"/a\?b=1") && wants_query(r"/a(?:\?b|[?]c)") && wants_query(r"/(?:\?)+"));
        assert!(
            !wants_query("/ab?") && !wants_query(r"/a(?:\?b=1)?") && !wants_query(r"/a(?:\?b|c)") && !wants_query(".*")
        );
    }
}
