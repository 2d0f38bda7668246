//! Hints that name a value are right: what they name, written where they stand, is accepted.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ringway_config::{Diagnostic, load_str};

/// What precedes a value in a hint, and what it may begin with there.
const LEADS: &[(&str, &[char])] = &[
    ("did you mean ", &['"', '\'', '`']),
    ("write ", &['"', '\'']),
    ("with a unit: ", &['"']),
    ("unit is missing: ", &['"']),
    ("with one unit: ", &['"']),
    ("of the point: ", &['"']),
    ("bytes are ", &['"']),
    ("without its query: ", &['"']),
    ("are ignored: ", &['"']),
    ("port is missing: ", &['"']),
    ("host alone: ", &['"']),
    ("is one server: ", &['"']),
    ("name itself: ", &['"']),
    ("in single quotes: ", &['\'']),
    ("strings in quotes: ", &['"']),
    ("put it in quotes: ", &['"']),
    ("put it in a list: ", &['[']),
    ("without quotes: ", &['t', 'f', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']),
    ("only the number: ", &['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']),
    ("nearest are ", &['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']),
];

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "toml"));
    paths.sort();
    paths
}

/// What is wrong with a file, or doubtful.
fn complaints(name: &str, text: &str) -> Vec<Diagnostic> {
    match load_str(name, text) {
        Ok(config) => config.warnings,
        Err(problems) => problems.iter().cloned().collect(),
    }
}

/// The bytes that a hint replaces and what it puts there, for each of the values or keys that it names.
fn edits(text: &str, complaint: &Diagnostic) -> Vec<(Range<usize>, String)> {
    let Some(hint) = &complaint.hint else { return Vec::new() };
    let found = LEADS.iter().find_map(|(lead, firsts)| {
        let after = hint.find(lead)? + lead.len();
        hint[after..].starts_with(*firsts).then_some((*lead, after))
    });
    let Some((lead, after)) = found else { return condition(text, complaint, hint).into_iter().collect() };
    let range = match lead {
        "strings in quotes: " => word_at(text, &complaint.span),
        _ => value_at(text, &complaint.span),
    };
    let mut values = Vec::new();
    let mut rest = &hint[after..];
    if let Some(key) = rest.strip_prefix('`') {
        let key = key.split('`').next().unwrap_or_default();
        let is_string = text[range.clone()].starts_with('"');
        return vec![(range, if is_string { format!("\"{key}\"") } else { key.to_owned() })];
    }
    while let Some(length) = value_length(rest) {
        values.push((range.clone(), rest[..length].to_owned()));
        rest = &rest[length..];
        match rest.strip_prefix(" or ") {
            Some(other) => rest = other,
            None => break,
        }
    }
    // More than a value is to be written otherwise.
    let is_all = rest.is_empty() || rest.starts_with('?') || rest.starts_with(" (");
    if is_all { values } else { Vec::new() }
}

/// The word without quotes around a place.
fn word_at(text: &str, span: &Range<usize>) -> Range<usize> {
    let is_end = |c: char| c.is_whitespace() || "=,[]{}".contains(c);
    let start = text[..span.start].rfind(is_end).map_or(0, |at| at + 1);
    start..text[span.start..].find(is_end).map_or(text.len(), |at| span.start + at)
}

/// `key = value` at the end of a hint takes the place of another condition of its table.
fn condition(text: &str, complaint: &Diagnostic, hint: &str) -> Option<(Range<usize>, String)> {
    let key = complaint.path.rsplit('.').next().unwrap_or_default();
    let at = ["prefix", "path_separated_prefix", "regex", "template"]
        .into_iter()
        .find_map(|key| hint.find(&format!(": {key} = ")).map(|at| at + 2))?;
    let written = hint[at..].strip_suffix(", without `case_sensitive`").unwrap_or(&hint[at..]);
    let value = value_at(text, &complaint.span);
    let start = text[..value.start].rfind(&format!("{key} = "))?;
    // The hint says that this key goes.
    let end = match text[value.end..].split_once(", case_sensitive = ") {
        Some((between, after)) if between.is_empty() && written != &hint[at..] => {
            text.len() - after.len() + after.find(' ').unwrap_or_default()
        }
        _ => value.end,
    };
    Some((start..end, written.to_owned()))
}

/// The string around a place in it, or the place itself.
fn value_at(text: &str, span: &Range<usize>) -> Range<usize> {
    if text[span.clone()].starts_with(['"', '\'', '[', '{']) && span.len() > 1 {
        return span.clone();
    }
    let line_start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let mut from = 0;
    while let Some(open) = line[from..].find(['"', '\'']).map(|at| from + at) {
        let quote = &line[open..=open];
        let mut close = open + 1;
        while let Some(rest) = line.get(close..).filter(|rest| !rest.is_empty() && !rest.starts_with(quote)) {
            close += if quote == "\"" && rest.starts_with('\\') { 2 } else { rest.chars().next().unwrap().len_utf8() };
        }
        if (open..=close).contains(&(span.start - line_start)) {
            return line_start + open..line_start + close + 1;
        }
        from = close + 1;
        if from >= line.len() {
            break;
        }
    }
    span.clone()
}

/// Bytes of the TOML value that `text` begins with.
fn value_length(text: &str) -> Option<usize> {
    let first = text.chars().next()?;
    match first {
        '"' | '\'' => {
            let mut is_escaped = false;
            let end = text[1..].find(|c| {
                let ends = c == first && !is_escaped;
                is_escaped = first == '"' && c == '\\' && !is_escaped;
                ends
            })?;
            Some(end + 2)
        }
        '[' => text.find(']').map(|end| end + 1).filter(|_| !text.starts_with("[...") && !text.starts_with("[{ ...")),
        c if c.is_ascii_digit() => Some(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len())),
        't' | 'f' => ["true", "false"].into_iter().find(|word| text.starts_with(word)).map(str::len),
        _ => None,
    }
}

/// The complaint is gone after the edit, and none has come that says something of what the hint wrote.
fn check(name: &str, text: &str, complaint: &Diagnostic, (range, value): &(Range<usize>, String)) -> Option<String> {
    let edited = format!("{}{value}{}", &text[..range.start], &text[range.end..]);
    let written = range.start..range.start + value.len();
    let overlaps = |it: &&Diagnostic| it.span.start < written.end && written.start < it.span.end;
    let same = |it: &&Diagnostic| it.path == complaint.path && !it.path.is_empty() && it.message == complaint.message;
    let after = complaints(name, &edited);
    // A problem with what is outside of the value, such as its table, is another one.
    let found = after.iter().filter(|it| it.span.len() <= written.len().max(1)).find(|it| overlaps(it) || same(it))?;
    Some(format!(
        "{name}: {}\n  hint: {}\n  wrote {value} and got: {found}",
        complaint.message,
        complaint.hint.as_deref()?
    ))
}

#[test]
fn what_a_hint_names_is_accepted() {
    let mut failures = Vec::new();
    let (mut count, mut conditions) = (0, 0);
    for path in files("tests/wrong").into_iter().chain(files("tests/doubtful")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for complaint in complaints(name, &text) {
            for edit in edits(&text, &complaint) {
                count += 1;
                conditions += usize::from(edit.1.contains(" = "));
                failures.extend(check(name, &text, &complaint, &edit));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    assert!(
        count > 170 && conditions >= 18,
        "only {count} hints name a value, {conditions} a key with one: their words are not recognized any more"
    );
}
