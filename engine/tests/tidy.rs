//! The rules of the house that a machine can check: sizes of files and functions, the direction of imports, where unsafe
//! may stand, what the repository holds. Each finding names the place and the remedy.
//!
//! Sizes are ratcheted: what is over the limit today is listed with its size, may shrink and may not grow, and leaves the
//! list when it is within the limit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// Files over the limit: path and lines.
const LONG_FILES: &[(&str, usize)] = &[("engine/src/ring/driver.rs", 528)];

/// Functions over the limit: path, name and lines.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[("engine/src/hcm/local_reply.rs", "telling", 94)];

/// Data flows from left to right, and imports follow it. The two at the end stand on their own and serve everybody.
const LAYERS: &[&str] = &[
    "server",
    "admin",
    "shard",
    "listener",
    "network_filter",
    "hcm",
    "http_filter",
    "router",
    "cluster",
    "upstream",
    "codec",
    "http",
    "net",
    "ring",
    "stats",
    "base",
];

/// What the top level of the repository may hold beside dotfiles.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "CHANGELOG.md",
    "README.md",
    "engine",
    "config",
    "bench",
    "loadtest",
    "docs",
    "rust-toolchain.toml",
];

/// Where the compiler lets unsafe code stand.
const UNSAFE: &[&str] = &["engine/src/ring/", "engine/src/net/sys.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("engine stands in the repository").to_path_buf()
}

/// Every Rust file of the workspace, with its path from the root.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = ["engine", "config", "bench", "loadtest"].map(|name| root.join(name)).into();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is UTF-8");
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                files.push((name, text));
            }
        }
    }
    assert!(files.len() > 100, "only {} files were found: the check looks in the wrong place", files.len());
    files.sort();
    files
}

#[track_caller]
fn report(findings: &[String]) {
    let mut text = String::new();
    findings.iter().for_each(|finding| writeln!(text, "{finding}").expect("a string takes text"));
    assert!(findings.is_empty(), "{} finding(s):\n{text}", findings.len());
}

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
    let bytes = line.as_bytes();
    let mut code = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &line.as_bytes()[at..];
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
    code
}

/// One step of `code_of` outside strings and comments: how many bytes it took.
fn step_in_code(rest: &[u8], within: &mut Within, code: &mut String) -> usize {
    let previous_is_word = code.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let raw = rest.strip_prefix(b"r").or_else(|| rest.strip_prefix(b"br")).filter(|_| !previous_is_word);
    let hashes = raw.map(|raw| raw.iter().take_while(|b| **b == b'#').count());
    if rest.starts_with(b"//") {
        return rest.len();
    }
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
fn lines_of(text: &str) -> Vec<(String, bool)> {
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
fn has_word(code: &str, word: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    code.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).is_some_and(|before| is_word(code.as_bytes()[before]));
        let after = code.as_bytes().get(at + word.len()).is_some_and(|byte| is_word(*byte));
        !before && !after
    })
}

#[test]
fn files_are_short() {
    let mut findings = Vec::new();
    let mut allowed: BTreeMap<&str, usize> = LONG_FILES.iter().copied().collect();
    for (name, text) in sources() {
        let lines = text.lines().count();
        match allowed.remove(name.as_str()) {
            None if lines > FILE_LINES => findings.push(format!(
                "{name}:{FILE_LINES}: the file has {lines} lines, {FILE_LINES} are the limit: split it by what its parts are for"
            )),
            Some(before) if lines > before => findings.push(format!(
                "{name}:{before}: the file grew from {before} to {lines} lines, and it is over the limit of {FILE_LINES}: split it"
            )),
            Some(_) if lines <= FILE_LINES => {
                findings.push(format!("{name}:1: is within {FILE_LINES} lines now: remove it from LONG_FILES"));
            }
            _ => {}
        }
    }
    findings.extend(allowed.keys().map(|name| format!("{name}:1: is gone: remove it from LONG_FILES")));
    report(&findings);
}

/// The functions of a file: name, first line (from 1) and number of lines.
fn functions_of(text: &str) -> Vec<(String, usize, usize)> {
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

#[test]
fn functions_are_short() {
    let mut findings = Vec::new();
    let mut allowed: BTreeMap<(String, String), usize> =
        LONG_FUNCTIONS.iter().map(|(file, name, lines)| ((file.to_string(), name.to_string()), *lines)).collect();
    let mut count = 0;
    for (file, text) in sources() {
        for (name, line, lines) in functions_of(&text) {
            count += 1;
            match allowed.remove(&(file.clone(), name.clone())) {
                None if lines > FUNCTION_LINES => findings.push(format!(
                    "{file}:{line}: {name} has {lines} lines, {FUNCTION_LINES} are the limit: take whole phases or pure parts out of it"
                )),
                Some(before) if lines > before => findings.push(format!(
                    "{file}:{line}: {name} grew from {before} to {lines} lines, and it is over the limit of {FUNCTION_LINES}"
                )),
                Some(_) if lines <= FUNCTION_LINES => findings.push(format!(
                    "{file}:{line}: {name} is within {FUNCTION_LINES} lines now: remove it from LONG_FUNCTIONS"
                )),
                _ => {}
            }
        }
    }
    assert!(count > 500, "only {count} functions were found: the check does not see them");
    findings
        .extend(allowed.keys().map(|(file, name)| format!("{file}:1: {name} is gone: remove it from LONG_FUNCTIONS")));
    report(&findings);
}

#[test]
fn every_file_says_what_it_is_for() {
    let findings: Vec<_> = sources()
        .iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(name, _)| format!("{name}:1: begin with a `//! ` line that says what the file is for"))
        .collect();
    report(&findings);
}

#[test]
fn unsafe_stands_where_it_may() {
    let mut findings = Vec::new();
    let mut permitted = 0;
    for (name, text) in sources() {
        for (index, (code, _)) in lines_of(&text).iter().enumerate().filter(|(_, line)| has_word(&line.0, "unsafe")) {
            if UNSAFE.iter().any(|place| name.starts_with(place)) {
                permitted += 1;
            } else if !is_exempt_from_unsafe(&name) {
                findings.push(format!(
                    "{name}:{}: unsafe stands in engine/src/ring and engine/src/net/sys.rs only: use what they offer, or add \
                     the call there: {}",
                    index + 1,
                    code.trim()
                ));
            }
        }
    }
    assert!(permitted > 10, "no unsafe was found at all: the check does not see it");
    report(&findings);
}

/// A counting allocator is an unsafe trait; tests that need one say so with `allow(unsafe_code)`.
fn is_exempt_from_unsafe(name: &str) -> bool {
    ["engine/tests/", "bench/"].iter().any(|place| name.starts_with(place))
}

/// The modules of the crate that a line of code names, as `crate::x` or within `use crate::{x, y::z}`.
fn crate_modules(code: &str) -> Vec<&str> {
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

#[test]
fn imports_follow_the_data() {
    let rank = |module: &str| LAYERS.iter().position(|layer| *layer == module);
    let mut findings = Vec::new();
    let mut imports = 0;
    for (name, text) in sources() {
        let Some(inside) = name.strip_prefix("engine/src/") else { continue };
        if inside.contains("/tests/") || inside.ends_with("/tests.rs") {
            continue;
        }
        let own = inside.split(['/', '.']).next().unwrap_or_default();
        if matches!(own, "main" | "lib") {
            continue;
        }
        let Some(own_rank) = rank(own) else {
            findings.push(format!("{name}:1: the module {own} has no place in the order: {}", LAYERS.join(" > ")));
            continue;
        };
        let lines = lines_of(&text);
        let lines: Vec<&str> = lines.iter().map(|(code, test)| if *test { "" } else { code.as_str() }).collect();
        let findings_here = back_references(&lines, own_rank, &mut imports);
        findings.extend(findings_here.iter().map(|(line, module)| {
            format!(
                "{name}:{line}: {own} may not use crate::{module}, which stands left of it: {}. Move what is shared to the \
                 right, or hand it over as an argument",
                LAYERS.join(" > ")
            )
        }));
    }
    assert!(imports > 100, "only {imports} imports were found: the check does not see them");
    report(&findings);
}

/// Lines (from 1) that name a module left of `own_rank`. A `use crate::{` list over several lines counts as its first.
fn back_references(lines: &[&str], own_rank: usize, imports: &mut usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, code) in lines.iter().enumerate() {
        let mut statement = (*code).to_string();
        if code.contains("crate::{") && !code.contains(';') {
            lines[index + 1..].iter().take_while(|line| !line.contains(';')).for_each(|line| statement.push_str(line));
        }
        for module in crate_modules(&statement) {
            let Some(rank) = LAYERS.iter().position(|layer| *layer == module) else { continue };
            *imports += 1;
            if rank < own_rank {
                found.push((index + 1, module.to_string()));
            }
        }
    }
    found
}

/// What git tracks, by path from the root; `None` outside a checkout (a source archive has no index to ask).
fn tracked() -> Option<Vec<String>> {
    let output = Command::new("git").arg("-C").arg(root()).args(["ls-files", "-z"]).output().ok()?;
    let names = String::from_utf8(output.stdout).ok()?;
    let names: Vec<String> = names.split('\0').filter(|name| !name.is_empty()).map(String::from).collect();
    (output.status.success() && !names.is_empty()).then_some(names)
}

#[test]
fn the_top_level_holds_what_the_design_names() {
    let Some(tracked) = tracked() else { return };
    let mut top: Vec<&str> = tracked.iter().map(|name| name.split('/').next().unwrap_or_default()).collect();
    top.sort_unstable();
    top.dedup();
    let fits = |name: &&str| name.starts_with('.') || name.starts_with("LICENSE") || TOP_LEVEL.contains(name);
    let findings: Vec<_> = top
        .into_iter()
        .filter(|name| !fits(name))
        .map(|name| {
            format!("{name}:1: the top level holds only {}: move it into one of the folders", TOP_LEVEL.join(", "))
        })
        .collect();
    report(&findings);
}

#[test]
fn nothing_is_left_unfinished() {
    // In two parts, so that this file does not find itself.
    let banned = [("to", "do!"), ("unimple", "mented!"), ("db", "g!")].map(|(a, b)| format!("{a}{b}"));
    let mut findings = Vec::new();
    for (name, text) in sources() {
        for (index, (code, _)) in lines_of(&text).iter().enumerate() {
            for word in &banned {
                if has_word(code, word.trim_end_matches('!')) && code.contains(word.as_str()) {
                    findings.push(format!("{name}:{}: {word} is no code: finish it or take it out", index + 1));
                }
            }
        }
    }
    report(&findings);
}

#[test]
fn no_file_names_a_workplace() {
    // In two parts, as above. Folders of somebody's machine, and hosts of package registries that builds go through.
    let banned = [
        ("/wo", "rk/"),
        ("/ho", "me/"),
        ("/Us", "ers/"),
        ("/ro", "ot/"),
        ("artifac", "tory"),
        ("/tmp/t", "-"),
        ("/tmp/br", "ief"),
    ]
    .map(|(a, b)| format!("{a}{b}"));
    let Some(tracked) = tracked() else { return };
    let mut findings = Vec::new();
    for name in tracked {
        // Deleted in the working tree, or not text.
        let Ok(text) = fs::read_to_string(root().join(&name)) else { continue };
        for (index, line) in text.lines().enumerate() {
            if let Some(word) = banned.iter().find(|word| names_place(line, word)) {
                findings.push(format!(
                    "{name}:{}: {word} is a place on somebody's machine: write it relative or take it out",
                    index + 1
                ));
            }
        }
    }
    report(&findings);
}

/// Whether the line holds the path at its start, and not as the middle of another (a URL's path, a relative path).
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].bytes().last();
        !place.starts_with('/') || !before.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"._-}".contains(&byte))
    })
}

/// The checks above stand on this reading of the source: it must see through strings, comments and literals.
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
}
