//! The words that make comments and pages hard to read, and that stand in none of them.
//!
//! Plain English names the thing that acts (a request, a try, a shard) and the unit of a quantity. The words below avoid
//! that, so each of them would be a place to rewrite.

use crate::source::comments_of;
use crate::{report, root, sources};
use std::fs;

/// Whole words and phrases, in lower case.
const MARKERS: &[&str] = &[
    "afresh",
    "all the same",
    "anew",
    "anybody",
    "beside",
    "everybody",
    "for want of",
    "in the place of",
    "nobody",
    "of the moment",
    "so long",
    "so many",
    "so much",
    "somebody",
    "who",
    "whoever",
    "whom",
];

#[test]
fn comments_are_in_plain_english() {
    check(sources().iter().map(|(name, text)| (name.as_str(), comments_of(text))));
}

#[test]
fn pages_are_in_plain_english() {
    check(pages().iter().map(|(name, text)| (name.as_str(), paragraphs_of(text))));
}

fn check<'f>(files: impl Iterator<Item = (&'f str, Vec<(usize, String)>)>) {
    let mut findings = Vec::new();
    for (name, paragraphs) in files {
        for (line, paragraph) in paragraphs {
            let say =
                |marker| format!("{name}:{line}: {marker:?} hides what acts or in which unit: say it in plain words");
            findings.extend(markers_in(&paragraph).map(say));
        }
    }
    report(&findings);
}

/// The markers in a text, each as often as it occurs.
fn markers_in(text: &str) -> impl Iterator<Item = &'static str> {
    let text = text.to_lowercase();
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let stands_alone = move |text: &str, at: usize, length: usize| {
        let before = at.checked_sub(1).and_then(|before| text.as_bytes().get(before));
        !is_word(before) && !is_word(text.as_bytes().get(at + length))
    };
    MARKERS.iter().flat_map(move |marker| {
        let count = text.match_indices(marker).filter(|(at, _)| stands_alone(&text, *at, marker.len())).count();
        std::iter::repeat_n(*marker, count)
    })
}

/// README.md, CHANGELOG.md and every page below docs, by path from the root.
fn pages() -> Vec<(String, String)> {
    let mut names = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    for folder in ["docs", "docs/decisions", "docs/filters"] {
        for entry in fs::read_dir(root().join(folder)).expect("the folder is there").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".md") {
                names.push(format!("{folder}/{name}"));
            }
        }
    }
    assert!(names.len() > 15, "only {} pages were found: the check looks in the wrong place", names.len());
    names.sort();
    let read = |name: &String| fs::read_to_string(root().join(name)).expect("a page is UTF-8");
    names.iter().map(|name| (name.clone(), read(name))).collect()
}

/// The paragraphs of a page without its fenced blocks: first line (from 1) and text.
fn paragraphs_of(text: &str) -> Vec<(usize, String)> {
    let mut paragraphs: Vec<(usize, String)> = Vec::new();
    let (mut goes_on, mut is_fenced) = (false, false);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let is_fence = line.starts_with("```");
        is_fenced ^= is_fence;
        let is_text = !is_fenced && !is_fence && !line.is_empty();
        match paragraphs.last_mut() {
            _ if !is_text => {}
            Some((_, paragraph)) if goes_on => {
                paragraph.push(' ');
                paragraph.push_str(line);
            }
            _ => paragraphs.push((index + 1, line.to_owned())),
        }
        goes_on = is_text;
    }
    paragraphs
}

#[test]
fn markers_are_whole_words_over_line_ends() {
    let found = |text: &str| markers_in(text).collect::<Vec<_>>();
    assert_eq!(found("Whoever asks, as so many do, for so"), ["so many", "whoever"]);
    assert!(found("besides, the whole").is_empty());
    let page = paragraphs_of("A line of the\nmoment.\n\n```text\nwho\n```\nEnd.\n");
    assert_eq!(page, [(1, "A line of the moment.".into()), (7, "End.".into())]);
    assert_eq!(found(&page[0].1), ["of the moment"]);
}
