//! Files on disk against what the crate makes of them: wrong ones and their messages, the examples, docs/CONFIG.md.
//!
//! `RINGWAY_BLESS=1 cargo test -p ringway-config` renews the expected texts; read the difference before committing it.

use std::fs;
use std::path::{Path, PathBuf};

const RENEW: &str = "renew it with RINGWAY_BLESS=1 cargo test -p ringway-config, and read the difference";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(here(directory)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == extension));
    paths.sort();
    paths
}

/// Compares `actual` with the file `path`, or writes it there. Returns what is wrong.
fn compare(path: &Path, actual: &str) -> Option<String> {
    if std::env::var_os("RINGWAY_BLESS").is_some() {
        fs::write(path, actual).unwrap();
        return None;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    (expected != actual).then(|| format!("{} is stale; {RENEW}\n--- now:\n{actual}", path.display()))
}

#[test]
fn wrong_files_are_refused_with_these_words() {
    let mut failures = Vec::new();
    let paths = files("tests/wrong", "toml");
    assert!(paths.len() >= 35, "only {} wrong files", paths.len());
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = String::from_utf8(fs::read(&path).unwrap()).unwrap();
        match ringway_config::load_str(name, &text) {
            Ok(_) => failures.push(format!("{name} was accepted")),
            Err(diagnostics) => failures.extend(compare(&path.with_extension("txt"), &diagnostics.to_string())),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The warnings of a file that is accepted.
fn warnings(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    let text = fs::read_to_string(path).unwrap();
    match ringway_config::load_str(name, &text) {
        Ok(config) => config.warnings.iter().map(|warning| format!("{warning}\n")).collect(),
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn doubtful_files_are_accepted_with_these_warnings() {
    let mut failures = Vec::new();
    for path in files("tests/doubtful", "toml") {
        let said = warnings(&path);
        assert!(!said.is_empty(), "{} has no warning", path.display());
        failures.extend(compare(&path.with_extension("txt"), &said));
        let twin = here("tests/quiet").join(path.file_name().unwrap());
        assert!(twin.exists(), "{} is missing: the same without a warning", twin.display());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_is_right_is_accepted_without_a_warning() {
    for path in files("tests/quiet", "toml").into_iter().chain(files("../docs/examples", "toml")) {
        let said = match ringway_config::load_file(&path) {
            Ok(config) => config.warnings.iter().map(ToString::to_string).collect::<String>(),
            Err(error) => panic!("{error}"),
        };
        // Its example shows what is warned of in any case.
        let is_warned_of = path.ends_with("key-log.toml");
        assert_eq!(said.is_empty(), !is_warned_of, "{}: {said}", path.display());
    }
}

#[test]
fn every_expected_text_has_its_file() {
    for text in files("tests/wrong", "txt").into_iter().chain(files("tests/doubtful", "txt")) {
        assert!(text.with_extension("toml").exists(), "{} has no .toml", text.display());
    }
}

#[test]
fn examples_are_accepted() {
    let paths = files("../docs/examples", "toml");
    assert!(paths.len() >= 10, "only {} examples", paths.len());
    for path in paths {
        if let Err(error) = ringway_config::load_file(&path) {
            panic!("{error}");
        }
    }
}

#[test]
fn the_reference_is_fresh() {
    let stale = compare(&here("../docs/CONFIG.md"), &ringway_config::schema::markdown());
    assert!(stale.is_none(), "docs/CONFIG.md is stale; {RENEW}");
    let stale = compare(&here("../docs/WORDS.md"), &ringway_config::schema::words_markdown());
    assert!(stale.is_none(), "docs/WORDS.md is stale; {RENEW}");
}
