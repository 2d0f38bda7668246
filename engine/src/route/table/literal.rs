//! What a path must hold before a pattern can match it: bytes that it begins with, or bytes somewhere in it. With
//! these, patterns are looked up like prefixes, and only those that can match are run.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, HirKind, Look};
use std::collections::{BTreeSet, HashMap};

/// One of these must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// The path begins with it. The empty one says nothing.
    Prefix(BTreeSet<Vec<u8>>),
    /// It stands somewhere in the path; none is empty.
    Within(BTreeSet<Vec<u8>>),
}

impl Needed {
    fn literals(&self) -> &BTreeSet<Vec<u8>> {
        let (Self::Prefix(literals) | Self::Within(literals)) = self;
        literals
    }

    /// What a path begins with that has what is needed.
    pub(super) fn beginning(&self) -> &[u8] {
        let Self::Prefix(literals) = self else { return &[] };
        let Some((first, last)) = literals.first().zip(literals.last()) else { return &[] };
        let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        &first[..shared]
    }
}

/// Patterns that may share a prefix before something rarer within them is looked for.
const FEW: usize = 4;

/// It is not known here whether a pattern was compiled with Unicode, where `(?i)k` means one letter more. What goes for both
/// readings is right for either.
pub(super) fn readings(pattern: &str) -> Vec<Hir> {
    let read = |unicode| ParserBuilder::new().unicode(unicode).utf8(false).build().parse(pattern).ok();
    [false, true].into_iter().filter_map(read).collect()
}

/// What each of the patterns, given by its readings, needs, chosen so that few share it.
pub(super) fn needed(patterns: &[Vec<Hir>]) -> Vec<Needed> {
    let options: Vec<Vec<Needed>> = patterns.iter().map(|readings| options(readings)).collect();
    let mut uses = HashMap::<(bool, &[u8]), usize>::new();
    for option in options.iter().flatten() {
        for literal in option.literals() {
            *uses.entry((matches!(option, Needed::Prefix(_)), literal)).or_default() += 1;
        }
    }
    let shared_by = |option: &Needed| {
        let is_prefix = matches!(option, Needed::Prefix(_));
        option.literals().iter().map(|literal| uses[&(is_prefix, literal.as_slice())]).max().unwrap_or(0)
    };
    // The first option is the prefix; looking for it costs least.
    let best = |options: &Vec<Needed>| match options.iter().position(|option| shared_by(option) <= FEW) {
        Some(at) => options[at].clone(),
        None => options.iter().min_by_key(|option| shared_by(option)).cloned().unwrap_or_else(nothing),
    };
    options.iter().map(best).collect()
}

fn nothing() -> Needed {
    Needed::Prefix(BTreeSet::from([Vec::new()]))
}

/// What is known of a pattern; the prefix first.
fn options(readings: &[Hir]) -> Vec<Needed> {
    let both = |literals: fn(&Hir) -> Option<BTreeSet<Vec<u8>>>| {
        let sets: Option<Vec<_>> = readings.iter().map(literals).collect();
        sets.filter(|sets| !sets.is_empty()).map(|sets| sets.into_iter().flatten().collect::<BTreeSet<_>>())
    };
    let is_useful = |literals: &BTreeSet<Vec<u8>>| !literals.is_empty() && !literals.contains(&[][..]);
    let mut options = vec![both(prefixes).filter(is_useful).map_or_else(nothing, Needed::Prefix)];
    options.extend(both(suffixes).filter(is_useful).map(Needed::Within));
    options.extend(both(inner).filter(is_useful).map(Needed::Within));
    options
}

fn prefixes(hir: &Hir) -> Option<BTreeSet<Vec<u8>>> {
    let is_anchored = hir.properties().look_set_prefix().contains(Look::Start);
    if is_anchored { extracted(hir, ExtractKind::Prefix) } else { None }
}

fn suffixes(hir: &Hir) -> Option<BTreeSet<Vec<u8>>> {
    extracted(hir, ExtractKind::Suffix)
}

fn extracted(hir: &Hir, kind: ExtractKind) -> Option<BTreeSet<Vec<u8>>> {
    // A letter in either case is written out, a class such as digits is not: it would make tens of texts of one.
    let sequence = Extractor::new().kind(kind).limit_class(3).limit_total(64).extract(hir);
    Some(sequence.literals()?.iter().map(|literal| literal.as_bytes().to_vec()).collect())
}

/// The longest text that every match has.
fn inner(hir: &Hir) -> Option<BTreeSet<Vec<u8>>> {
    let mut longest: &[u8] = &[];
    let mut open = vec![hir];
    while let Some(hir) = open.pop() {
        match hir.kind() {
            HirKind::Literal(literal) if literal.0.len() > longest.len() => longest = &literal.0,
            HirKind::Capture(capture) => open.push(&capture.sub),
            HirKind::Repetition(repetition) if repetition.min > 0 => open.push(&repetition.sub),
            HirKind::Concat(parts) => open.extend(parts),
            _ => {}
        }
    }
    Some(BTreeSet::from([longest.to_vec()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pattern: &str) -> Vec<Needed> {
        options(&readings(&format!("^(?:{pattern})$")))
    }

    fn prefix(literals: &[&str]) -> Needed {
        Needed::Prefix(literals.iter().map(|literal| literal.as_bytes().to_vec()).collect())
    }

    fn within(literals: &[&str]) -> Needed {
        Needed::Within(literals.iter().map(|literal| literal.as_bytes().to_vec()).collect())
    }

    #[test]
    fn literals_are_found() {
        assert_eq!(one("/api/v1/[0-9]+")[0], prefix(&["/api/v1/"]));
        assert_eq!(one("/(?:a|b)c/.*")[0], prefix(&["/ac/", "/bc/"]));
        assert_eq!(one("(?i)/x.*")[0], prefix(&["/X", "/x"]));
        assert_eq!(one(".*\\.(?:jpg|png)"), [nothing(), within(&[".jpg", ".png"]), within(&["."])]);
        assert_eq!(one("/[^/]+/users/[^/]+"), [prefix(&["/"]), within(&["/users/"])]);
        assert_eq!(one("[a-z]*"), [nothing()]);
        assert_eq!(one("(?:/a)?/b.*")[0], prefix(&["/a/b", "/b"]));
        // Not anchored: its beginning may stand anywhere.
        assert_eq!(options(&readings("/api/.*"))[0], nothing());
    }

    /// U+212A is a k in any case, where patterns are read as Unicode.
    #[test]
    fn both_readings_count() {
        assert_eq!(one("(?i)k/.*")[0], prefix(&["k/", "K/", "\u{212a}/"]));
    }

    #[test]
    fn the_rarest_is_chosen() {
        let patterns: Vec<_> = (0..100).map(|i| readings(&format!("^(?:/[^/]+/x{i}/.*)$"))).collect();
        assert_eq!(needed(&patterns)[17], within(&["/x17/"]));
        assert_eq!(needed(&[readings("^(?:/[a-z]+/x/.*)$")]), [prefix(&["/"])]);
        let shared = vec![readings("^(?:/a/[0-9]+)$"); 100];
        assert_eq!(needed(&shared)[99], prefix(&["/a/"]));
    }
}
