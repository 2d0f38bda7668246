//! Regular expressions, and what replaces their matches.

use regex::bytes::Regex;

use super::compiled::{CompiledPattern, MATCH_STEPS_MAX, steps};
use super::read::holds;
use super::refusal::Refusal;
use super::scalar::FromText;
use super::shape::Shape;

/// Largest size of a compiled pattern in bytes, so that a config cannot exhaust memory with nested repetitions.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// Bytes of a text that every pattern can be compared with within the steps of a request.
const TEXT_MIN: usize = 1024;

/// A regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub struct Pattern(pub CompiledPattern);

impl FromText for Pattern {
    fn shape() -> Shape {
        Shape::Text {
            noun: "a regular expression",
            allowed: "a pattern in the syntax of the Rust crate regex (like RE2)",
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        // Compiled alone first: `a)(b` must not become valid by the anchors' group.
        compile(text)?;
        bounded(CompiledPattern::whole(compile(&format!("^(?:{text})$"))?)).map(Self)
    }
}

holds! {
    [] Pattern: CompiledPattern;
    [] SearchPattern: CompiledPattern;
    [] Substitution: Vec<(String, Option<u16>)>;
}

/// A regular expression that is searched for in the text.
#[derive(Clone, Debug)]
pub struct SearchPattern(pub CompiledPattern);

impl FromText for SearchPattern {
    fn shape() -> Shape {
        <Pattern as FromText>::shape()
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Err(Refusal::new("an empty pattern matches between all characters"));
        }
        bounded(CompiledPattern::search(compile(text)?)).map(Self)
    }
}

/// Refuses a pattern that a request could not afford for any but the shortest texts.
fn bounded(pattern: CompiledPattern) -> Result<CompiledPattern, Refusal> {
    if steps(pattern.cost(), TEXT_MIN) <= MATCH_STEPS_MAX {
        return Ok(pattern);
    }
    let refusal = Refusal::new("the pattern is too complex: a text of 1 KiB may cost more than a request may take");
    Err(refusal.hint(Some(
        "use smaller repetition counts, or none behind '.*': what may begin at every byte multiplies".into(),
    )))
}

/// The pattern compiled, with the limits that hold for all of them.
pub fn compile(pattern: &str) -> Result<Regex, Refusal> {
    // Bytes, not code points: a path need not be UTF-8, and `.` must match its bytes, so that it does not escape a
    // route.
    let built = regex::bytes::RegexBuilder::new(pattern).unicode(false).size_limit(REGEX_SIZE_MAX).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => {
            Refusal::new(format!("the pattern is too large: compiled it takes more than {limit} bytes"))
                .hint(Some("use smaller repetition counts".into()))
        }
        regex::Error::Syntax(report) => {
            let reason = report.lines().rev().find_map(|line| line.strip_prefix("error: "));
            let reason = reason.unwrap_or("the pattern cannot be parsed").to_owned();
            let hint = regex_hint(&reason);
            Refusal::new(format!("bad regular expression: {reason}")).hint(hint)
        }
        other => Refusal::new(format!("bad regular expression: {other}")),
    })
}

fn regex_hint(reason: &str) -> Option<String> {
    if reason.contains("look-around") || reason.contains("backreference") {
        return Some("patterns take linear time: there is no look-around and no backreference".into());
    }
    if reason.contains("Unicode") {
        return Some("patterns match bytes: escape other characters as \\xNN, or percent-encoded in a path".into());
    }
    if reason.contains("escape") {
        return Some("in TOML, write patterns in single quotes, so that \\ stands for itself: '/v\\d+'".into());
    }
    None
}

/// What replaces a match: literals, each followed by a group of the pattern.
#[derive(Clone, Debug)]
pub struct Substitution(pub Vec<(String, Option<u16>)>);

impl FromText for Substitution {
    fn shape() -> Shape {
        Shape::Text {
            noun: "a substitution",
            allowed: "visible ASCII characters, with \\0 to \\9 for groups of the pattern",
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' => match rest.next() {
                    Some('\\') => literal.push('\\'),
                    Some(digit) if digit.is_ascii_digit() => {
                        pieces.push((std::mem::take(&mut literal), Some(u16::from(digit as u8 - b'0'))));
                    }
                    _ => {
                        let refusal = Refusal::new(
                            "a backslash must be followed by the number of a group or by another backslash",
                        );
                        return Err(refusal.hint(Some("write '\\1' in single quotes, or \"\\\\1\"".into())));
                    }
                },
                '?' | '#' => {
                    let refusal = Refusal::new(format!("a path has no '{c}'"));
                    return Err(refusal.hint(Some("the query is not rewritten: it is forwarded as it is".into())));
                }
                '$' if rest.clone().next().is_some_and(|next| next.is_ascii_digit() || next == '{') => {
                    let hint = "groups are written with a backslash: '\\1'";
                    return Err(Refusal::new("'$' does not name a group").hint(Some(hint.into())));
                }
                c if c.is_ascii_graphic() => literal.push(c),
                c => return Err(Refusal::new(format!("a path cannot hold {c:?}"))),
            }
        }
        if !literal.is_empty() {
            pieces.push((literal, None));
        }
        Ok(Self(pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutions_are_literals_and_groups() {
        let Substitution(pieces) = Substitution::from_text(r"/a\1\2\\b").unwrap();
        assert_eq!(pieces, [("/a".into(), Some(1)), (String::new(), Some(2)), (r"\b".into(), None)]);
        assert_eq!(Substitution::from_text("").unwrap().0, []);
        for text in [r"\", r"\x", "$1", "${name}", "a b", "?x=1", "ü", "\n"] {
            assert!(Substitution::from_text(text).is_err(), "{text:?}");
        }
    }
}
