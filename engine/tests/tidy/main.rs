//! The rules of the house that a machine can check: sizes of files and functions, the direction of imports, where unsafe
//! may stand, what the repository holds, where framing is known, words that comments do without. Each finding names the place and the remedy.
//!
//! Sizes are ratcheted: what is over the limit today is listed with its size, may shrink and may not grow, and leaves the
//! list when it is within the limit.

mod framing;
mod source;
mod words;

use source::{crate_modules, functions_of, has_word, lines_of};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// Files over the limit: path and lines.
const LONG_FILES: &[(&str, usize)] = &[];

/// Functions over the limit: path, name and lines.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Data flows from left to right, and imports follow it. The two at the end stand on their own and serve all.
const LAYERS: &[&str] = &[
    "server",
    "admin",
    "telemetry",
    "shard",
    "listener",
    "network_filter",
    "hcm",
    "http_filter",
    "router",
    "route",
    "cluster",
    "upstream",
    "mux",
    "codec",
    "http",
    "net",
    "ring",
    "stats",
    "base",
];

/// The same of the configuration: `reader` is the machinery under the tables of `document` and knows none of them.
const CONFIG_LAYERS: &[&str] =
    &["schema", "resolve", "foreign", "document", "model", "reader", "syntax", "diagnostic", "place", "access"];

/// What the top level of the repository may hold in addition to dotfiles.
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

#[test]
fn imports_follow_the_data() {
    let mut findings = Vec::new();
    for (folder, layers, least) in [("engine/src/", LAYERS, 100), ("config/src/", CONFIG_LAYERS, 50)] {
        let imports = check_imports(folder, layers, &mut findings);
        assert!(imports > least, "only {imports} imports were found in {folder}: the check does not see them");
    }
    report(&findings);
}

/// Checks every file below `folder` against the order of its modules. How many imports there are.
fn check_imports(folder: &str, layers: &[&str], findings: &mut Vec<String>) -> usize {
    let order = layers.join(" > ");
    let mut imports = 0;
    for (name, text) in sources() {
        let Some(inside) = name.strip_prefix(folder) else { continue };
        if inside.contains("/tests/") || inside.ends_with("/tests.rs") {
            continue;
        }
        let own = inside.split(['/', '.']).next().unwrap_or_default();
        if matches!(own, "main" | "lib") {
            continue;
        }
        let Some(own_rank) = layers.iter().position(|layer| *layer == own) else {
            findings.push(format!("{name}:1: the module {own} has no place in the order: {order}"));
            continue;
        };
        let lines = lines_of(&text);
        let lines: Vec<&str> = lines.iter().map(|(code, test)| if *test { "" } else { code.as_str() }).collect();
        let findings_here = back_references(&lines, layers, own_rank, &mut imports);
        findings.extend(findings_here.iter().map(|(line, module)| {
            format!(
                "{name}:{line}: {own} may not use crate::{module}, which stands left of it: {order}. Move what is shared to \
                 the right, or hand it over as an argument"
            )
        }));
    }
    imports
}

/// Lines (from 1) that name a module left of `own_rank`. A `use crate::{` list over several lines counts as its first.
fn back_references(lines: &[&str], layers: &[&str], own_rank: usize, imports: &mut usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, code) in lines.iter().enumerate() {
        let mut statement = (*code).to_string();
        if code.contains("crate::{") && !code.contains(';') {
            lines[index + 1..].iter().take_while(|line| !line.contains(';')).for_each(|line| statement.push_str(line));
        }
        for module in crate_modules(&statement) {
            let Some(rank) = layers.iter().position(|layer| *layer == module) else { continue };
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

/// Values in the program log are as the configuration writes them (`base::span`), or plain text, never as Rust prints them
/// for debugging.
#[test]
fn the_log_has_no_debug_text() {
    let mut findings = Vec::new();
    let mut count = 0;
    for (name, text) in sources().iter().filter(|(name, _)| name.starts_with("engine/src/")) {
        for (at, _) in text.match_indices("tracing::") {
            let Some((level, arguments)) = text[at + "tracing::".len()..].split_once("!(") else { continue };
            if !["trace", "debug", "info", "warn", "error"].contains(&level) {
                continue;
            }
            count += 1;
            let end = arguments.find(");").unwrap_or(arguments.len());
            let fields = arguments[..end].split_inclusive([',', '=']).map(str::trim_start);
            if fields.into_iter().any(|field| field.starts_with('?')) {
                let line = text[..at].lines().count() + 1;
                findings.push(format!("{name}:{line}: a field of a log line is debug text; write it with `%`"));
            }
        }
    }
    assert!(count > 50, "only {count} log lines were found: the check does not see them");
    report(&findings);
}

#[test]
fn no_file_names_a_workplace() {
    // In two parts, as above. Folders of one machine, and hosts of package registries that builds go through.
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
