//! Strings of TOML: how a text is quoted, and which text was meant by quotes and escapes that are wrong.

use std::fmt::Write as _;

/// The text as TOML has it on one line: in single quotes where escapes would be needed otherwise, as patterns are written.
pub fn quoted(text: &str) -> String {
    let needs_escapes = text.contains(['"', '\\']);
    if needs_escapes && !text.contains('\'') && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What stands between the double quotes around the byte `at`, on its line.
pub fn string_around(text: &str, line_start: usize, at: usize) -> Option<&str> {
    let line = text[line_start..].lines().next().unwrap_or_default();
    let at = at - line_start;
    let mut from = 0;
    while let Some(open) = line[from..].find(['"', '\'', '#']).map(|found| from + found) {
        let quote = line[open..].chars().next().filter(|quote| *quote != '#')?;
        if line[open..].starts_with(&quote.to_string().repeat(3)) {
            return None;
        }
        let close = closing(line, open + 1, quote)?;
        if open < at && at <= close {
            return (quote == '"').then(|| &line[open + 1..close]);
        }
        from = close + 1;
    }
    None
}

/// Where the string ends that begins at `from`.
fn closing(line: &str, from: usize, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    let ends = |(_, c): &(usize, char)| {
        let ends = *c == quote && !is_escaped;
        is_escaped = quote == '"' && *c == '\\' && !is_escaped;
        ends
    };
    let found = line[from..].char_indices().find(ends);
    found.map(|(at, _)| from + at)
}

/// What to write so that each `\` of a string in double quotes stands for itself.
pub fn as_it_stands(written: &str) -> String {
    let meant = quoted(&without_escapes(written));
    let how = if meant.starts_with('\'') { "write the string in single quotes:" } else { "write" };
    format!("{how} {meant}")
}

/// The hint for a value, as it is written with its quotes, that has an escape for a control character where a letter
/// behind a backslash was meant.
pub fn escape_hint(value: &str) -> Option<String> {
    let written = value.strip_prefix('"')?.strip_suffix('"').filter(|it| !it.starts_with('"') && !it.contains('\n'))?;
    let mut rest = written.chars();
    while let Some(c) = rest.next() {
        let next = if c == '\\' { rest.next() } else { None };
        if let Some(letter @ ('b' | 'e' | 'f' | 'n' | 'r' | 't')) = next {
            return Some(format!("in double quotes `\\{letter}` is an escape: {}", as_it_stands(written)));
        }
    }
    None
}

/// The text that was meant: `\\` and `\"` are what they say, and what TOML would make of the others is not meant where
/// one of them is an error.
fn without_escapes(written: &str) -> String {
    let mut text = String::new();
    let mut rest = written.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.next_if(|next| c == '\\' && matches!(next, '\\' | '"'));
        text.push(next.unwrap_or(c));
    }
    text
}

/// The word around the byte `at` in straight quotes, if it has typographic ones.
pub fn straight_quotes(text: &str, line_start: usize, at: usize) -> Option<String> {
    const QUOTES: [char; 9] = ['“', '”', '„', '‟', '‘', '’', '«', '»', '″'];
    let line = text[line_start..].lines().next().unwrap_or_default();
    let value_start = line.get(..at - line_start)?.rfind(['=', '[', '{', ',']).map_or(0, |found| found + 1);
    let open = value_start + line[value_start..].find(QUOTES)?;
    // Not those in a string.
    if !line[value_start..open].trim().is_empty() {
        return None;
    }
    let word = line[open..].trim_start_matches(QUOTES);
    let word = word.split(QUOTES).next().unwrap_or_default();
    Some(format!("{word:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_string_around_a_place_is_found() {
        for (line, at, expected) in [
            (r#"a = "/x\d""#, 7, Some(r"/x\d")),
            (r#"a = "\"", "b\.c" # "d""#, 13, Some(r"b\.c")),
            (r#"a = '"', "b\.c""#, 11, Some(r"b\.c")),
            (r#"a = "b" # "\.""#, 11, None),
            (r"a = '\.'", 6, None),
            (r#"a = """b\.""""#, 9, None),
            (r#"a = "\."#, 6, None),
        ] {
            assert_eq!(string_around(line, 0, at), expected, "{line}");
        }
    }

    #[test]
    fn escapes_of_control_characters_are_explained() {
        for (value, expected) in [
            (r#""/a\b""#, Some(r"in double quotes `\b` is an escape: write the string in single quotes: '/a\b'")),
            (r#""it's \\ \n""#, Some(r#"in double quotes `\n` is an escape: write "it's \\ \\n""#)),
            (r#""/a\\b""#, None),
            (r"'/a\b'", None),
            (r#""""a\b""""#, None),
            (r#""\u0041""#, None),
        ] {
            assert_eq!(escape_hint(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn escapes_that_were_meant_for_a_pattern_are_kept() {
        for (written, text, quotes) in [
            (r"/v\d+", r"/v\d+", r"'/v\d+'"),
            (r"\d\.", r"\d\.", r"'\d\.'"),
            (r#""\t\d"#, r#""\t\d"#, r#"'"\t\d'"#),
            (r"it's \d", r"it's \d", r#""it's \\d""#),
        ] {
            assert_eq!(without_escapes(written), text);
            assert_eq!(quoted(text), quotes);
        }
    }
}
