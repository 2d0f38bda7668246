//! The pages of the repository against what they speak of: examples load, links and the functions that they name exist,
//! and the lists (dependencies, test binaries, tuning) are complete.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README.md, CHANGELOG.md and every page in docs, with their text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "docs/decisions", "docs/deploy", "docs/filters"] {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        paths.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    assert!(paths.len() >= 12, "only {} pages", paths.len());
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// The blocks between fences that begin with "```" and `language`.
fn fenced(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(found) = line.trim_start().strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
        if found.trim() == language {
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// The text without fenced blocks, in which brackets are not links.
fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        inside ^= is_fence;
        !inside && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Links of a page: what stands in brackets, and the target.
fn links(text: &str) -> Vec<(String, String)> {
    let text = prose(text);
    let mut links = Vec::new();
    for (at, _) in text.match_indices("](") {
        let target = text[at + 2..].split(')').next().unwrap();
        let label = text[..at].rsplit('[').next().unwrap();
        links.push((label.to_owned(), target.to_owned()));
    }
    links
}

/// A heading as renderers make a link target of it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let text = prose(text);
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    headings.map(|heading| anchor(heading.trim_start_matches('#'))).collect()
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn toml_in_the_pages_is_an_example_that_loads() {
    let entries = fs::read_dir(root().join("docs/examples")).unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<_> = entries.filter(|path| path.extension().is_some_and(|it| it == "toml")).collect();
    let (mut problems, mut blocks) = (Vec::new(), 0);
    for (page, text) in pages() {
        for block in fenced(&text, "toml") {
            blocks += 1;
            let first = block.lines().next().unwrap_or_default();
            match examples.iter().find(|path| read(path).contains(block.trim())) {
                None => problems.push(format!(
                    "{}: the block that begins with `{first}` is in no file of docs/examples: make it one",
                    page.display()
                )),
                Some(example) => {
                    if let Err(error) = ringway_config::load_file(example) {
                        problems.push(format!("{}: `{first}`: {error}", page.display()));
                    }
                }
            }
        }
    }
    assert!(blocks >= 12, "only {blocks} blocks");
    report(&problems);
}

#[test]
fn relative_links_resolve() {
    let (mut problems, mut checked) = (Vec::new(), 0);
    for (page, text) in pages() {
        for (label, target) in links(&text) {
            if target.contains("://") {
                continue;
            }
            checked += 1;
            let (path, fragment) = target.split_once('#').map_or((&*target, None), |(path, tail)| (path, Some(tail)));
            let file = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            if !file.exists() {
                problems.push(format!("{}: [{label}]({target}): there is no such file", page.display()));
                continue;
            }
            if let Some(fragment) = fragment
                && !anchors(&read(&file)).contains(fragment)
            {
                problems.push(format!("{}: [{label}]({target}): there is no such heading", page.display()));
            }
        }
    }
    assert!(checked > 100, "only {checked} links");
    report(&problems);
}

/// A link whose text is code names something that stands in the file: [`serve`](../engine/src/hcm/h1.rs).
#[test]
fn names_in_links_stand_in_their_files() {
    let (mut problems, mut checked) = (Vec::new(), 0);
    for (page, text) in pages() {
        for (label, target) in links(&text) {
            let Some(name) = label.strip_prefix('`').and_then(|label| label.strip_suffix('`')) else { continue };
            if !target.ends_with(".rs") {
                continue;
            }
            checked += 1;
            let source = read(&page.parent().unwrap().join(&target));
            let last = name.trim_end_matches("()").rsplit("::").next().unwrap();
            let is_there = ["fn ", "struct ", "enum ", "type ", "trait ", "pub ", "const ", "macro_rules! "]
                .iter()
                .any(|keyword| {
                    source.match_indices(&format!("{keyword}{last}")).any(|(at, found)| {
                        !source[at + found.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
                    })
                });
            if !is_there {
                problems.push(format!("{}: `{name}` is not declared in {target}", page.display()));
            }
        }
    }
    assert!(checked > 50, "only {checked} names");
    report(&problems);
}

/// The keys of the dependency tables of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end().ends_with("dependencies]");
        } else if inside
            && !line.starts_with('#')
            && let Some((name, _)) = line.split_once(['=', '.'])
        {
            names.insert(name.trim().to_owned());
        }
    }
    names
}

#[test]
fn every_dependency_has_its_reason() {
    let manifests = ["Cargo.toml", "engine/Cargo.toml", "config/Cargo.toml", "bench/Cargo.toml", "loadtest/Cargo.toml"];
    let mut used = BTreeSet::new();
    for manifest in manifests.into_iter().chain(["engine/fuzz/Cargo.toml"]) {
        used.extend(dependencies(&read(&root().join(manifest))));
    }
    let page = read(&root().join("docs/decisions/dependencies.md"));
    let rows =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.to_owned()));
    let explained: BTreeSet<String> = rows.collect();
    let missing: Vec<_> = used.difference(&explained).collect();
    let stale: Vec<_> = explained.difference(&used).collect();
    assert!(used.len() > 20 && missing.is_empty(), "docs/decisions/dependencies.md: say why there is {missing:?}");
    assert!(stale.is_empty(), "docs/decisions/dependencies.md explains what is not used: {stale:?}");
}

#[test]
fn every_test_binary_is_described() {
    let page = read(&root().join("docs/TESTING.md"));
    let mut problems = Vec::new();
    for folder in ["engine/tests", "config/tests", "loadtest/tests"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let is_binary = name.ends_with(".rs") || path.join("main.rs").exists();
            if is_binary && !page.contains(&format!("{folder}/{name}")) {
                problems.push(format!("{folder}/{name} is not in docs/TESTING.md: say what it covers"));
            }
        }
    }
    report(&problems);
}

#[test]
fn every_runtime_key_is_in_the_tuning_page() {
    let reference = read(&root().join("docs/CONFIG.md"));
    let section = reference.split("\n## `runtime`\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let keys: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(keys.len() >= 12, "only {keys:?}");
    let page = read(&root().join("docs/TUNING.md"));
    let missing: Vec<_> = keys.iter().filter(|key| !page.contains(&format!("`runtime.{key}`"))).collect();
    assert!(missing.is_empty(), "docs/TUNING.md does not say when to change {missing:?}");
}

#[test]
fn statistics_that_the_pages_name_are_declared() {
    let statistics = ["process.rs", "scopes.rs", "ssl.rs"];
    let read_one = |file| read(&root().join("engine/src/stats").join(file));
    let declared: String = statistics.into_iter().map(read_one).collect();
    let (mut problems, mut checked) = (Vec::new(), 0);
    for (page, text) in pages() {
        for name in prose(&text).split('`').skip(1).step_by(2) {
            let is_statistic = ["shard.<", "listener.<", "listener.*", "http.<", "http.*", "cluster.<", "cluster.*"]
                .iter()
                .any(|scope| name.starts_with(scope));
            let last = name.rsplit('.').next().unwrap();
            if !is_statistic || last.contains(['<', '*']) {
                continue;
            }
            checked += 1;
            // Names with dots are declared in quotes.
            let is_dotted =
                name.match_indices('.').any(|(at, _)| declared.contains(&format!("\"{}\";", &name[at + 1..])));
            if !is_dotted && !declared.contains(&format!(" {last};")) {
                problems.push(format!("{}: there is no statistic `{name}`", page.display()));
            }
        }
    }
    assert!(checked > 15, "only {checked} names");
    report(&problems);
}
