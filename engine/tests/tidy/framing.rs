//! How a wire frames messages is known in `codec` and `mux` alone.

use crate::source::{has_word, lines_of};
use crate::{report, sources};

/// The rooms that know it.
const HOME: &[&str] = &["engine/src/codec/", "engine/src/mux/"];

/// What only they import. `ringway explain` reads the question that a user wrote as a request.
const CODEC: &str = "codec::h1";
const READS_TEXT: &[&str] = &["engine/src/admin/explain/question.rs"];

/// Identifiers that belong to one wire's framing.
const WORDS: &[&str] = &["BodyKind", "keep_alive", "expect_continue", "chunked", "chunk"];

/// Where one of them is another thing: file, word, and what it is there.
const OTHER_THINGS: &[(&str, &str, &str)] =
    &[("engine/src/http/format/escape.rs", "chunk", "a piece of text that is UTF-8")];

#[test]
fn framing_stays_in_its_rooms() {
    let (mut findings, mut checked, mut at_home) = (Vec::new(), 0, 0);
    let mut unused: Vec<_> = OTHER_THINGS.iter().map(|(file, word, _)| (*file, *word)).collect();
    for (name, text) in sources() {
        if !name.starts_with("engine/src/") || is_for_tests(&name) {
            continue;
        }
        for (index, (code, is_test)) in lines_of(&text).iter().enumerate() {
            let words = WORDS.iter().filter(|word| has_word(code, word));
            let found: Vec<&str> = words.copied().chain(names_codec(code).then_some(CODEC)).collect();
            if HOME.iter().any(|home| name.starts_with(home)) {
                at_home += found.len();
                continue;
            }
            checked += 1;
            for word in found.into_iter().filter(|_| !is_test) {
                unused.retain(|(file, other)| !(*file == name && *other == word));
                if !is_allowed(&name, word) {
                    findings.push(format!(
                        "{name}:{}: {word} is a matter of one wire: ask `mux` for what it means, or list it in OTHER_THINGS",
                        index + 1
                    ));
                }
            }
        }
    }
    assert!(checked > 10_000 && at_home > 50, "{checked} lines and {at_home} places: the check does not see them");
    findings.extend(unused.iter().map(|(file, word)| format!("{file}: {word} is gone: remove it from OTHER_THINGS")));
    report(&findings);
}

fn names_codec(code: &str) -> bool {
    code.contains(CODEC) || code.contains("codec::{") && has_word(code, "h1")
}

/// Modules that only tests have.
fn is_for_tests(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or_default();
    name.contains("/tests/") || file.ends_with("tests.rs") || file == "testing.rs"
}

fn is_allowed(name: &str, word: &str) -> bool {
    word == CODEC && READS_TEXT.contains(&name)
        || OTHER_THINGS.iter().any(|(file, other, _)| *file == name && *other == word)
}

#[test]
fn an_import_of_the_codec_is_seen_in_any_form() {
    assert!(names_codec("use crate::codec::h1::Limits;") && names_codec("use crate::codec::{h1, Other};"));
    assert!(!names_codec("use crate::mux::h1::Served;"));
}
