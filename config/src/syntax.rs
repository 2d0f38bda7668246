//! Files that are not TOML: the parser's errors with hints.

mod quotes;
mod statements;

use std::collections::HashSet;

use crate::diagnostic::Problem;
use quotes::{as_it_stands, straight_quotes, string_around};
pub use quotes::{escape_hint, quoted};
pub use statements::{Kind, Statement, statements};

/// The parser's errors without consequential ones: the first of each line, and none after a bracket that is not closed.
pub fn problems(text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut lines = HashSet::new();
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let start = floor_boundary(text, span.start);
        let message = error.message().trim_end_matches(", expected nothing");
        // Lines are told apart by where they begin.
        if !lines.insert(text[..start].rfind('\n')) {
            continue;
        }
        let problem = Problem::in_text(span, format!("not valid TOML: {message}"));
        if let Some(conflict) = conflict(message, text, start) {
            let problem = Problem::in_text(problem_span(text, start), format!("not valid TOML: {}", conflict.message));
            problems.push(problem.earlier_at(conflict.earlier).hint(Some(conflict.hint)));
            continue;
        }
        if ["missing comma", "missing key"].iter().any(|it| message.starts_with(it))
            && begins_statement(text, start)
            && !statements::is_closed(text, start)
        {
            problems.push(problem.hint(Some("a bracket above this line is not closed: it lacks its ] or }")));
            break;
        }
        problems.push(problem.hint(hint(message, text, start)));
    }
    problems
}

/// Which earlier statement the one at the byte `at` clashes with, if this is what the parser means.
fn conflict(message: &str, text: &str, at: usize) -> Option<statements::Conflict> {
    if !message.starts_with("duplicate key") && !message.starts_with("cannot extend value") {
        return None;
    }
    let found = statements(text, at);
    // A key inside of a value is no statement.
    if found.last()?.span.end <= at {
        return None;
    }
    statements::conflict(text, &found)
}

/// The bytes of the header or key at the byte `at`.
fn problem_span(text: &str, at: usize) -> std::ops::Range<usize> {
    statements(text, at).pop().map_or(at..at, |statement| {
        let length = statement.text(text).len();
        statement.span.start..statement.span.start + length
    })
}

/// Whether the line at `at` looks like a header or a key with its value, which cannot stand inside brackets.
fn begins_statement(text: &str, at: usize) -> bool {
    let line_start = text[..at].rfind('\n').map_or(0, |found| found + 1);
    if !text[line_start..at].trim().is_empty() {
        return false;
    }
    let line = text[line_start..].lines().next().unwrap_or_default();
    let key = line.trim_start().split('=').next().unwrap_or_default();
    let is_key = |key: &str| key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-. ".contains(&b));
    line.starts_with('[') || (line.contains('=') && is_key(key))
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The hint for an error at the byte `at`.
fn hint(message: &str, text: &str, at: usize) -> Option<String> {
    let line_start = text[..at].rfind('\n').map_or(0, |found| found + 1);
    let rest = text[at..].lines().next().unwrap_or_default();
    if message.starts_with("duplicate key") {
        return Some(match text[line_start..at].trim_start().starts_with('[') {
            true => "this table is written twice; a list of tables has headers in double brackets, [[...]]".into(),
            false => "this key is written twice in one table; another member of a list begins with [[...]]".into(),
        });
    }
    if message.starts_with("missing comma") {
        return Some(match text[line_start..at].trim() {
            "" => "the line before this one lacks a comma at its end".into(),
            _ => format!("write a comma before {:?}", rest.split([' ', '=', ',']).next().unwrap_or_default()),
        });
    }
    // After `\x`, `\u` and `\U` come digits.
    if message.contains("escape") || message.contains("unicode") {
        let instead = match string_around(text, line_start, at) {
            Some(written) => as_it_stands(written),
            None => "write `\\\\` for each, or put the text between ''' and '''".into(),
        };
        return Some(format!("in double quotes `\\` begins an escape: {instead}"));
    }
    if let Some(straight) = straight_quotes(text, line_start, at) {
        return Some(format!("these are typographic quotes: write straight ones, {straight}"));
    }
    if message.starts_with("key with no value") {
        return Some(match rest.trim_start().chars().next() {
            _ if text[line_start..at].trim_end().ends_with(':') => {
                "this looks like YAML: TOML writes key = \"value\", and [table] or [[list]] as headers".into()
            }
            Some('{') => "TOML writes key = { ... } for a table in one line, or [table] as a header".into(),
            _ => "TOML writes key = \"value\"".into(),
        });
    }
    if message.contains("string") && message.contains("expected `\"`") {
        return Some("the string is not closed in its line".into());
    }
    if (message.starts_with("invalid mantissa") || message.starts_with("invalid fraction"))
        && let word = word_at(text, line_start, at)
        && let Some(number) = with_digits(word)
    {
        return Some(format!("a number has digits on both sides of its point: write {number}"));
    }
    let is_bare =
        ["invalid float", "invalid integer", "invalid number", "invalid date", "invalid time", "string values"];
    if is_bare.iter().any(|start| message.starts_with(start)) || message.contains("datetime") {
        let word = word_at(text, line_start, at);
        return (!word.is_empty()).then(|| format!("write strings in quotes: {word:?}"));
    }
    None
}

/// The word around the byte `at`, without quotes.
fn word_at(text: &str, line_start: usize, at: usize) -> &str {
    let is_end = |c: char| c.is_whitespace() || "=,[]{}\"'#".contains(c);
    let from = text[line_start..at].rfind(is_end).map_or(line_start, |found| line_start + found);
    let word = text[from..].trim_start_matches(is_end);
    word.split(is_end).next().unwrap_or_default()
}

/// The number with a digit before and behind its point, in quotes if it has a unit: `.25` is 0.25, `.5s` is "0.5s".
fn with_digits(word: &str) -> Option<String> {
    let (sign, number) = match word.strip_prefix(['-', '+']) {
        Some(number) => (&word[..1], number),
        None => ("", word),
    };
    let (whole, rest) = number.split_once('.')?;
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (part, unit) = rest.split_at(length);
    let is_number = whole.bytes().all(|byte| byte.is_ascii_digit()) && whole.len() + part.len() > 0;
    if !is_number || !unit.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let or_zero = |digits: &str| if digits.is_empty() { "0".to_owned() } else { digits.to_owned() };
    let number = format!("{sign}{}.{}{unit}", or_zero(whole), or_zero(part));
    Some(if unit.is_empty() { number } else { format!("{number:?}") })
}
