//! Just enough reading of Rust for the checks: code without its text, functions, modules, tests told apart.

/// A line without its comment, strings and character literals: what is left has only the code's own braces and words.
/// `within` is the state that the line before left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Code,
    /// Depth.
    Comment(u32),
    Text,
    /// Number of `#`.
    RawText(usize),
}

fn code_of(line: &str, within: &mut Within) -> String {
    split_line(line, within).0
}

/// The code of a line, and its comment with the slashes, if it ends with one.
fn split_line<'l>(line: &'l str, within: &mut Within) -> (String, &'l str) {
    let bytes = line.as_bytes();
    let mut code = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &line.as_bytes()[at..];
        if *within == Within::Code && rest.starts_with(b"//") {
            return (code, &line[at..]);
        }
        at += match *within {
            Within::Code => step_in_code(rest, within, &mut code),
            Within::Comment(depth) if rest.starts_with(b"*/") => {
                *within = if depth == 1 { Within::Code } else { Within::Comment(depth - 1) };
                2
            }
            Within::Comment(depth) if rest.starts_with(b"/*") => {
                *within = Within::Comment(depth + 1);
                2
            }
            Within::Text if rest.starts_with(b"\\") => 2,
            Within::Text if rest.starts_with(b"\"") => {
                *within = Within::Code;
                1
            }
            Within::RawText(hashes)
                if rest[0] == b'"' && rest[1..].iter().take_while(|b| **b == b'#').count() >= hashes =>
            {
                *within = Within::Code;
                1 + hashes
            }
            _ => 1,
        };
    }
    (code, "")
}

/// The comments of a file as paragraphs: first line (from 1) and text. Comments on consecutive lines are one paragraph, so
/// that a phrase is found over the end of a line.
pub fn comments_of(text: &str) -> Vec<(usize, String)> {
    let mut within = Within::default();
    let mut paragraphs: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, line) in text.lines().enumerate() {
        let (_, comment) = split_line(line, &mut within);
        let words = comment.trim_start_matches(['/', '!']).trim();
        match paragraphs.last_mut() {
            _ if words.is_empty() => {}
            Some((_, paragraph)) if goes_on => {
                paragraph.push(' ');
                paragraph.push_str(words);
            }
            _ => paragraphs.push((index + 1, words.to_owned())),
        }
        goes_on = !words.is_empty();
    }
    paragraphs
}

/// One step of `code_of` outside strings and comments: how many bytes it took.
fn step_in_code(rest: &[u8], within: &mut Within, code: &mut String) -> usize {
    let previous_is_word = code.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let raw = rest.strip_prefix(b"r").or_else(|| rest.strip_prefix(b"br")).filter(|_| !previous_is_word);
    let hashes = raw.map(|raw| raw.iter().take_while(|b| **b == b'#').count());
    if rest.starts_with(b"/*") {
        *within = Within::Comment(1);
        return 2;
    }
    if let (Some(raw), Some(hashes)) = (raw, hashes)
        && raw.get(hashes) == Some(&b'"')
    {
        *within = Within::RawText(hashes);
        return rest.len() - raw.len() + hashes + 1;
    }
    if rest[0] == b'"' {
        *within = Within::Text;
        return 1;
    }
    // A character literal, and not a lifetime: it ends after one character or an escape.
    if rest[0] == b'\'' {
        let length = match rest.get(1) {
            Some(b'\\') => rest[3..].iter().position(|b| *b == b'\'').map(|end| end + 4),
            Some(_) => rest.iter().skip(2).take(4).position(|b| *b == b'\'').map(|end| end + 3),
            None => None,
        };
        if let Some(length) = length.filter(|length| *length <= 6 || rest[1] == b'\\') {
            return length;
        }
    }
    code.push(char::from(rest[0]));
    1
}

/// Each line's code, and whether the line stands in a module under `#[cfg(test)]`.
pub fn lines_of(text: &str) -> Vec<(String, bool)> {
    let mut within = Within::default();
    let mut lines = Vec::new();
    let mut depth = 0i32;
    let mut announced = false;
    let mut test_until: Option<i32> = None;
    for line in text.lines() {
        let code = code_of(line, &mut within);
        announced |= code.contains("#[cfg(test)]");
        let starts = announced && test_until.is_none() && code.contains('{');
        if starts {
            test_until = Some(depth);
        }
        if announced && (starts || code.trim_end().ends_with(';')) {
            announced = false;
        }
        lines.push((code.clone(), test_until.is_some() || announced));
        depth += code.matches('{').count() as i32 - code.matches('}').count() as i32;
        if test_until.is_some_and(|until| depth <= until) && !starts || test_until == Some(depth) && code.contains('}')
        {
            test_until = None;
        }
    }
    lines
}

/// Whether `word` stands in `code` as a word.
pub fn has_word(code: &str, word: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    code.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).is_some_and(|before| is_word(code.as_bytes()[before]));
        let after = code.as_bytes().get(at + word.len()).is_some_and(|byte| is_word(*byte));
        !before && !after
    })
}

/// The functions of a file: name, first line (from 1) and number of lines.
pub fn functions_of(text: &str) -> Vec<(String, usize, usize)> {
    let mut functions = Vec::new();
    // Name, first line, depth outside; the body begins with the first brace at that depth.
    let mut open: Vec<(String, usize, i32, bool)> = Vec::new();
    let mut depth = 0i32;
    for (index, (code, _)) in lines_of(text).iter().enumerate() {
        if let Some(name) = function_name(code) {
            open.push((name, index + 1, depth, false));
        }
        for byte in code.bytes() {
            match byte {
                b'{' => {
                    depth += 1;
                    if let Some(last) = open.last_mut() {
                        last.3 = true;
                    }
                }
                b'}' => {
                    depth -= 1;
                    if open.last().is_some_and(|last| last.3 && last.2 == depth)
                        && let Some((name, first, ..)) = open.pop()
                    {
                        functions.push((name, first, index + 2 - first));
                    }
                }
                // A declaration without a body.
                b';' if open.last().is_some_and(|last| !last.3 && last.2 == depth) => {
                    open.pop();
                }
                _ => {}
            }
        }
    }
    functions
}

fn function_name(code: &str) -> Option<String> {
    let (before, after) = code.split_once("fn ")?;
    let mut words = before.split_whitespace();
    let known = ["pub", "async", "const", "unsafe", "extern", "pub(crate)", "pub(super)", "pub(in"];
    if !words.all(|word| known.contains(&word) || word.ends_with(')')) {
        return None;
    }
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The modules of the crate that a line of code names, as `crate::x` or within `use crate::{x, y::z}`.
pub fn crate_modules(code: &str) -> Vec<&str> {
    let mut modules = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if at > 0 && (code.as_bytes()[at - 1].is_ascii_alphanumeric() || code.as_bytes()[at - 1] == b'_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let mut begins = true;
                for (index, byte) in list.bytes().enumerate() {
                    match byte {
                        b'{' => depth += 1,
                        b'}' if depth == 0 => break,
                        b'}' => depth -= 1,
                        b',' if depth == 0 => begins = true,
                        b' ' => {}
                        _ if begins => {
                            modules.push(first_word(&list[index..]));
                            begins = false;
                        }
                        _ => {}
                    }
                }
            }
            None => modules.push(first_word(rest)),
        }
    }
    modules
}

fn first_word(text: &str) -> &str {
    let end = text.bytes().position(|byte| !byte.is_ascii_alphanumeric() && byte != b'_').unwrap_or(text.len());
    &text[..end]
}

/// The checks stand on this reading of the source: it must see through strings, comments and literals.
#[test]
fn code_is_told_from_text() {
    let text = "fn a() { // {\n    let s = \"{ \\\" unsafe\"; /* { /* { */ */ let c = '{'; let l: &'static str = r#\"}\"{\"#;\n}\n\
                #[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c();\nfn d(\n) {\n}\n";
    let lines = lines_of(text);
    assert_eq!(lines[0].0.trim_end(), "fn a() {");
    assert!(!has_word(&lines[1].0, "unsafe") && !lines[1].0.contains(['{', '}']), "{:?}", lines[1]);
    let in_tests: Vec<bool> = lines.iter().map(|line| line.1).collect();
    assert_eq!(in_tests, [false, false, false, true, true, true, true, true, false, false, false, false]);
    let functions = functions_of(text);
    assert_eq!(functions, [("a".into(), 1, 3), ("b".into(), 6, 2), ("d".into(), 10, 3)]);
    assert_eq!(crate_modules("use crate::{http::{A, b::C}, net, ring::D};"), ["http", "net", "ring"]);
    assert_eq!(crate_modules("fn x(y: crate::base::Z) -> xcrate::nothing"), ["base"]);
    let text = "//! One\n//! two.\n\nlet a = \"// no\"; // three\n//\n/// four\n";
    assert_eq!(comments_of(text), [(1, "One two.".into()), (4, "three".into()), (6, "four".into())]);
}
