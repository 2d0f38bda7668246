//! The headers and keys of a file, with their lines: why two of them cannot stand together.

use std::ops::Range;

/// What begins a line outside of every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `[a.b]`
    Table,
    /// `[[a.b]]`
    Member,
    /// `a.b = ...`
    Key,
}

/// A header, or a key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<'t> {
    pub kind: Kind,
    /// Bytes of the header with its brackets, or of the key.
    pub span: Range<usize>,
    /// The keys from the top of the file; those of a key's header come first.
    pub path: Vec<&'t str>,
    /// Number of the keys in `path` that come from the header.
    pub inherited: usize,
}

impl Statement<'_> {
    /// As it is written.
    pub fn text<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.span.clone()).unwrap_or_default().trim_end()
    }
}

/// Two statements that cannot stand together: what the later one does wrong, and what to write.
#[derive(Debug)]
pub struct Conflict {
    /// Where the earlier one begins.
    pub earlier: usize,
    pub message: String,
    pub hint: String,
}

/// The statements of `text` up to the byte `end`. A file that is not TOML is read as far as it looks like it.
pub fn statements(text: &str, end: usize) -> Vec<Statement<'_>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut header: Vec<&str> = Vec::new();
    let mut at = 0;
    while at < bytes.len() && at <= end {
        match bytes[at] {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'#' => at = line_end(bytes, at),
            b'[' => {
                let kind = if bytes.get(at + 1) == Some(&b'[') { Kind::Member } else { Kind::Table };
                let width = if kind == Kind::Member { 2 } else { 1 };
                let name_end = name_end(bytes, at + width, b']');
                let header_end = (name_end + width).min(line_end(bytes, at));
                header = keys(text.get(at + width..name_end).unwrap_or_default());
                let inherited = header.len();
                found.push(Statement { kind, span: at..header_end, path: header.clone(), inherited });
                at = line_end(bytes, header_end);
            }
            _ => {
                let name_end = name_end(bytes, at, b'=');
                let mut path = header.clone();
                path.extend(keys(text.get(at..name_end).unwrap_or_default()));
                found.push(Statement { kind: Kind::Key, span: at..name_end, path, inherited: header.len() });
                at = value_end(bytes, name_end);
            }
        }
    }
    found
}

/// Why the last of `statements` cannot stand where an earlier one stands.
pub fn conflict(text: &str, statements: &[Statement<'_>]) -> Option<Conflict> {
    let (later, before) = statements.split_last()?;
    let is_further = |it: &Statement<'_>| it.kind == Kind::Member && it.path == later.path;
    if later.kind == Kind::Member && before.iter().any(is_further) {
        return None;
    }
    // Each header of a list starts another member, which has none of these keys yet.
    let is_outer = |it: &Statement<'_>| it.kind == Kind::Member && is_below(&later.path, &it.path);
    let from = before.iter().rposition(is_outer).map_or(0, |index| index + 1);
    before[from..].iter().find_map(|earlier| clash(text, earlier, later))
}

fn clash(text: &str, earlier: &Statement<'_>, later: &Statement<'_>) -> Option<Conflict> {
    let (first, second) = (earlier.text(text), later.text(text));
    let name = later.path.last()?;
    let (message, hint) = match (earlier.kind, later.kind) {
        (Kind::Key, Kind::Key) if earlier.path == later.path => (
            format!("`{second}` is written twice in one table"),
            "keep one of them; another member of a list begins with [[...]]".to_owned(),
        ),
        (Kind::Key, Kind::Table) if is_below(&earlier.path, &later.path) && earlier.inherited < later.path.len() => (
            format!("`{second}` goes on with a table that was begun with dots, `{first}`"),
            format!(
                "begin and go on in one way: put the header before it and write `{} = ...` below, or go on with dots, \
                 `{}.key = ...`, where `{first}` stands",
                earlier.path[later.path.len()..].join("."),
                later.path[earlier.inherited..].join("."),
            ),
        ),
        (Kind::Key, _) if earlier.path == later.path || is_below(&later.path, &earlier.path) => (
            format!("`{second}` adds to `{first}`, which is written whole"),
            "a value in braces or brackets takes no more: write all of it there, or all of it with headers".to_owned(),
        ),
        (Kind::Table, Kind::Member) if earlier.path == later.path => (
            format!("`{name}` is a table in `{first}` and a list in `{second}`"),
            format!("write double brackets each time: [{first}]"),
        ),
        (Kind::Member, Kind::Table) if earlier.path == later.path => (
            format!("`{name}` is a list in `{first}` and a table in `{second}`"),
            format!("write double brackets each time: [{second}]"),
        ),
        (Kind::Table | Kind::Member, Kind::Member) if is_below(&earlier.path, &later.path) => (
            format!("`{second}` comes after `{first}`, a table inside it"),
            format!("put {second} and its keys first: {first} belongs to the member that was begun last"),
        ),
        (Kind::Table, Kind::Table) if earlier.path == later.path => (
            format!("the table `{second}` is written twice"),
            "put its keys below one header; a list of tables has headers in double brackets, [[...]]".to_owned(),
        ),
        (Kind::Table | Kind::Member, Kind::Key)
            if earlier.path == later.path || is_below(&earlier.path, &later.path) =>
        {
            (
                format!("`{second}` was begun with the header `{first}`"),
                "write all of it below the header, or all of it with dots".to_owned(),
            )
        }
        _ => return None,
    };
    Some(Conflict { earlier: earlier.span.start, message, hint })
}

/// Whether `path` leads to something inside of what `outer` leads to.
fn is_below(path: &[&str], outer: &[&str]) -> bool {
    path.len() > outer.len() && path.starts_with(outer)
}

/// The parts of a key with dots, without quotes.
fn keys(text: &str) -> Vec<&str> {
    let mut quote = None;
    let split = text.split(|c: char| match quote {
        Some(open) if c == open => {
            quote = None;
            false
        }
        None if c == '"' || c == '\'' => {
            quote = Some(c);
            false
        }
        _ => c == '.' && quote.is_none(),
    });
    split.map(|key| key.trim().trim_matches(['"', '\''])).collect()
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |found| at + found)
}

/// Where `stop` is after a key, or the end of the line.
fn name_end(bytes: &[u8], from: usize, stop: u8) -> usize {
    let mut quote = None;
    for (at, byte) in bytes.iter().copied().enumerate().skip(from) {
        match quote {
            _ if byte == b'\n' => return at,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if byte == stop => return at,
            None if byte == b'"' || byte == b'\'' => quote = Some(byte),
            None => {}
        }
    }
    bytes.len()
}

/// Whether the brackets around the byte `at` are closed before the next header or the end of the file.
pub fn is_closed(text: &str, at: usize) -> bool {
    let bytes = text.as_bytes();
    let Some(statement) = statements(text, at).pop().filter(|statement| statement.kind == Kind::Key) else {
        return false;
    };
    let mut depth = 0usize;
    for (next, byte) in outside_strings(bytes, statement.span.end) {
        match byte {
            b'\n' if is_header(text[next + 1..].lines().next().unwrap_or_default()) => return false,
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth <= 1 => return next > at,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    false
}

/// Whether the line is a header of a table or of a member, and not a list.
fn is_header(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim_end();
    let name = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let name = name.map(|name| name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name));
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(is_bare))
}

/// Where the line ends in which the value ends.
fn value_end(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in outside_strings(bytes, from) {
        match byte {
            b'\n' if depth == 0 => return at,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    bytes.len()
}

/// The bytes from `from` on that are in no string and no comment, with their places.
fn outside_strings(bytes: &[u8], from: usize) -> impl Iterator<Item = (usize, u8)> {
    let mut next = from;
    std::iter::from_fn(move || {
        loop {
            let (at, byte) = (next, *bytes.get(next)?);
            match byte {
                b'#' => next = line_end(bytes, at),
                b'"' | b'\'' => next = string_end(bytes, at),
                _ => {
                    next += 1;
                    return Some((at, byte));
                }
            }
        }
    })
}

/// The byte after the string that begins at `at`; a string in one pair of quotes ends with its line at the latest.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let triple = [quote; 3];
    let is_long = bytes[at..].starts_with(&triple);
    let mut next = at + if is_long { 3 } else { 1 };
    while let Some(byte) = bytes.get(next) {
        match byte {
            b'\\' if quote == b'"' => next += 1,
            b'\n' if !is_long => return next,
            byte if *byte == quote && !is_long => return next + 1,
            byte if *byte == quote && bytes[next..].starts_with(&triple) => return next + 3,
            _ => {}
        }
        next += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_keys_are_found_outside_of_values() {
        let text = "a.'b.c' = \"x # [y]\" # z = 1\n[[d.e]]\nf = [\n  \"]\", # [g]\n  { h = 1 },\n]\ni = '''\n[j]\n'''\n\"k\"=1";
        let found = statements(text, text.len());
        let found: Vec<_> = found.iter().map(|it| (it.kind, it.text(text), it.path.join("/"))).collect();
        let expected = [
            (Kind::Key, "a.'b.c'", "a/b.c".to_owned()),
            (Kind::Member, "[[d.e]]", "d/e".to_owned()),
            (Kind::Key, "f", "d/e/f".to_owned()),
            (Kind::Key, "i", "d/e/i".to_owned()),
            (Kind::Key, "\"k\"", "d/e/k".to_owned()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn brackets_are_closed_before_the_next_header() {
        for (text, expected) in [
            ("a = [{\n b = 1\n c = { d = 2 } # }\n}]\n[e]", true),
            ("a = {\n b = 1\n c = [\"]\"]\n}", true),
            ("a = {\n b = 1\n c = [\n[\"x\"],\n[2]\n]\n}", true),
            ("a = [{\n b = 1\n}\n\nc = 2", false),
            ("a = [{\n b = 1\n}\n\nc = 2\n[[d]] # ]\ne = 1\n]", false),
            ("a = {\n b = 1\n[e-f.g]\nc = 1\n}", false),
        ] {
            assert_eq!(is_closed(text, text.find("c =").unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn a_new_member_forgets_the_one_before_it() {
        let conflict_of = |text: &str| conflict(text, &statements(text, text.len())).map(|it| it.earlier);
        assert_eq!(conflict_of("[[a]]\nb.c = 1\n[[a]]\n[a.b]"), None);
        assert_eq!(conflict_of("[[a]]\nb.c = 1\n[a.b]"), Some(6));
        assert_eq!(conflict_of("[a]\nb.c = 1\nb.d = 1"), None);
        assert_eq!(conflict_of("[a.b]\nc = 1\n[a]"), None, "TOML allows a table after one in it");
    }
}
