//! Paths of routes that no request can have, because requests are made canonical before a route is looked for.

use super::Resolver;
use crate::diagnostic::Problem;
use crate::document::RouteMatch;
use crate::model::{MATCH_STEPS_MAX, Pattern, steps};
use crate::place::Origin;
use crate::reader::{Located, parse_pattern};
use crate::syntax::quoted;
use regex_syntax::hir::{Hir, HirKind};

/// Bytes of a long text: the default of `max_path_size`.
const LONG_TEXT: usize = 16 * 1024;

/// What requests' paths do not have any more when a route is looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spelling {
    /// `normalize_path`
    pub is_normal: bool,
    /// `merge_slashes` or `merge_slashes_for_matching`
    pub is_merged: bool,
}

impl Resolver<'_, '_, '_> {
    pub(super) fn check_spelling(&mut self, written: &Located<RouteMatch>) {
        let texts = [
            (written.prefix.given().map(|path| (&path.origin, &path.0)), false),
            (written.path.given().map(|path| (&path.origin, &path.0)), true),
            (written.path_separated_prefix.given().map(|path| (&path.origin, &path.0)), true),
        ];
        for (text, is_whole) in texts {
            if let Some((origin, path)) = text {
                self.check_path(origin, path, is_whole);
            }
        }
        if let Some(pattern) = written.regex.given() {
            self.check_cost(&pattern.origin, &pattern.0);
        }
        if let Some(pattern) = written.regex.given()
            && self.spelling.is_merged
            && parse_pattern(pattern.0.as_str()).is_some_and(wants_row)
        {
            self.refuse_slashes(&pattern.origin, "the pattern asks for");
        }
    }

    /// Warns of a pattern that a request can afford for short texts only.
    pub(super) fn check_cost(&mut self, origin: &Origin, pattern: &Pattern) {
        if steps(pattern.cost(), LONG_TEXT) <= MATCH_STEPS_MAX {
            return;
        }
        let most = MATCH_STEPS_MAX / u64::from(pattern.cost());
        let message = format!(
            "the pattern has no small automaton: a request with more than {most} bytes to compare with it gets status 431"
        );
        let hint = "use smaller repetition counts, or none behind '.*': what may begin at every byte multiplies";
        self.problems.warn(Problem::at(origin, message).hint(Some(hint)));
    }

    fn check_path(&mut self, origin: &Origin, path: &str, is_whole: bool) {
        if self.spelling.is_merged && path.contains("//") {
            self.refuse_slashes(origin, "the path has");
        }
        if let Some((what, hint)) = odd_part(path, is_whole).filter(|_| self.spelling.is_normal) {
            let message = format!("no request has this path: it has {what}, and `normalize_path` leaves none");
            self.problems.push(Problem::at(origin, message).hint(Some(hint)));
        }
    }

    fn refuse_slashes(&mut self, origin: &Origin, what: &str) {
        let problem = Problem::at(origin, format!("{what} slashes in a row, which are matched as one"));
        let hint = "write one slash, or set merge_slashes_for_matching = false in `http`";
        self.problems.push(problem.hint(Some(hint)));
    }
}

/// What of a path does not stay as it is where paths are normalized, and what to write.
fn odd_part(path: &str, is_whole: bool) -> Option<(String, String)> {
    let what = odd(path, is_whole)?;
    let normal = normal(path, is_whole);
    let hint = match odd(&normal, is_whole) {
        None => format!("write {}", quoted(&normal)),
        Some(_) => "write the path that it leads to".into(),
    };
    Some((what, hint))
}

fn odd(path: &str, is_whole: bool) -> Option<String> {
    if path.contains('\\') {
        return Some("a backslash".into());
    }
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        // The last one of a prefix may go on.
        if (segment == "." || segment == "..") && (is_whole || segments.peek().is_some()) {
            return Some(format!("the segment {segment:?}"));
        }
    }
    path.match_indices('%').find_map(|(at, _)| needless_escape(path, at).map(|_| format!("{:?}", &path[at..at + 3])))
}

/// The character of the escape at the byte `at`, if it needs none.
fn needless_escape(path: &str, at: usize) -> Option<char> {
    let escape = path.get(at..at + 3)?;
    let value = u8::from_str_radix(&escape[1..], 16).ok().filter(|_| escape.as_bytes()[1] != b'+')?;
    (value.is_ascii_alphanumeric() || b"-._~".contains(&value)).then(|| char::from(value))
}

/// The path without its odd parts (RFC 3986 sections 5.2.4 and 6.2.2.2).
fn normal(path: &str, is_whole: bool) -> String {
    let mut plain = path.replace('\\', "/");
    while let Some((at, c)) = plain.match_indices('%').find_map(|(at, _)| Some((at, needless_escape(&plain, at)?))) {
        plain.replace_range(at..at + 3, c.encode_utf8(&mut [0; 4]));
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = plain.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." if is_whole || !is_last => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// Whether all that matches has two slashes in a row.
fn wants_row(hir: Hir) -> bool {
    fn wants(hir: &Hir) -> bool {
        match hir.kind() {
            HirKind::Literal(literal) => literal.0.windows(2).any(|pair| pair == b"//"),
            HirKind::Capture(capture) => wants(&capture.sub),
            HirKind::Repetition(repetition) => repetition.min > 0 && wants(&repetition.sub),
            HirKind::Concat(parts) => parts.iter().any(wants),
            HirKind::Alternation(parts) => parts.iter().all(wants),
            HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) => false,
        }
    }
    wants(&hir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_normalization_removes() {
        for (path, is_whole, expected) in [
            ("/a/b%20c%2Fd~", true, None),
            ("/100%/%zz/%+1", true, None),
            ("/.well-known/..x", true, None),
            ("/a/.", false, None),
            ("/a/.", true, Some("the segment \".\"")),
            ("/a/../b", false, Some("the segment \"..\"")),
            ("/a\\b", true, Some("a backslash")),
            ("/%7Euser", true, Some("\"%7E\"")),
            ("/x%2e", true, Some("\"%2e\"")),
        ] {
            assert_eq!(odd_part(path, is_whole).map(|(what, _)| what).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn what_odd_paths_lead_to() {
        for (path, is_whole, expected) in [
            ("/a/../b", true, "/b"),
            ("/a/./b", false, "/a/b"),
            ("/a/..", true, "/"),
            ("/a/b/.", true, "/a/b/"),
            ("/../a", true, "/a"),
            ("/a\\b/%2e%2E/%7Ec%20d", true, "/a/~c%20d"),
            ("/a/./..", false, "/a/.."),
        ] {
            assert_eq!(normal(path, is_whole), expected, "{path}");
        }
    }

    #[test]
    fn patterns_that_want_slashes_in_a_row() {
        let wants = |pattern: &str| wants_row(parse_pattern(&format!("^(?:{pattern})$")).expect("valid"));
        assert!(wants("/fetch/https?://.*") && wants("(/a//|//b)c") && wants("(?://x)+"));
        assert!(!wants("/a/?/b") && !wants("/+a") && !wants("(/a//)?.*") && !wants("/a(//|/)b"));
    }
}
