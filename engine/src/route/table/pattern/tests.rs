//! Programs against the regex crate: over generated patterns, and texts that are near to them, both say the same.

use super::super::literal::{needed, readings};
use super::super::tests::Random;
use super::*;
use regex::bytes::RegexBuilder;
use ringway_config::model::{NetworkFilter, PathMatch};

fn program(pattern: &str) -> Option<(Programs, u32)> {
    let mut making = Making::default();
    // Not the first one: places are not counted from the program.
    making.add(&readings("^/[0-9]*x$"), b"");
    let (program, _) = making.add(&readings(pattern), b"")?;
    Some((making.finish(), program))
}

const LITERALS: &[&str] = &["a", "b", "/", "ab", "/a", "a.b", "x-1", "\u{e9}"];
const ATOMS: &[&str] =
    &[".", "[^/]", "[a-b]", "[0-9a-f]", r"\d", r"\w", "[^a]", "(?s:.)", r"[\x80-\xff]", r"\xe9", "(?i:k)", "[a&&b]"];
const REPEATS: &[&str] = &["*", "+", "?", "{2}", "{0,2}", "{1,3}", "{2,}", "*?", "+?", "{0}"];
/// Each makes of a pattern another one. Those that look around inside of it are left to the regex.
const ODD: &[&str] = &["^", "$", r"\b", "(?m:^)"];

fn pattern(random: &mut Random, depth: usize) -> String {
    let deeper = |random: &mut Random| pattern(random, depth - 1);
    match random.below(if depth == 0 { 4 } else { 10 }) {
        0 | 1 => regex::escape(random.pick(LITERALS)),
        2 => random.pick(ATOMS).into(),
        3 if random.one_in(8) => random.pick(ODD).into(),
        3 => random.pick(&["/", "a", "[a-z]+", "[^/]+", ".*"]).into(),
        4..=6 => deeper(random) + &deeper(random),
        7 => format!("(?:{}|{})", deeper(random), deeper(random)),
        8 => format!("({})", deeper(random)),
        _ => format!("(?:{}){}", deeper(random), random.pick(REPEATS)),
    }
}

/// A text that the pattern matches, but for what it looks at.
fn sample(hir: &Hir, random: &mut Random, text: &mut Vec<u8>) {
    use regex_syntax::hir::{Class, HirKind};
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.extend_from_slice(&literal.0),
        HirKind::Class(Class::Bytes(class)) => {
            if let Some(range) = class.ranges().get(random.below(class.ranges().len().max(1))) {
                text.push(range.start() + random.below(usize::from(range.end() - range.start()) + 1) as u8);
            }
        }
        HirKind::Class(Class::Unicode(class)) => {
            let range = class.ranges()[random.below(class.ranges().len())];
            let end = u32::from(range.end()) - u32::from(range.start()) + 1;
            let code = u32::from(range.start()) + random.below(end as usize) as u32;
            text.extend(char::from_u32(code).unwrap_or('a').to_string().bytes());
        }
        HirKind::Capture(capture) => sample(&capture.sub, random, text),
        HirKind::Concat(parts) => parts.iter().for_each(|part| sample(part, random, text)),
        HirKind::Alternation(parts) => sample(&parts[random.below(parts.len())], random, text),
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(repetition.min + 3);
            let times = repetition.min as usize + random.below((most - repetition.min) as usize + 1);
            (0..times).for_each(|_| sample(&repetition.sub, random, text));
        }
    }
}

fn mutated(random: &mut Random, text: &mut Vec<u8>) {
    let at = random.below(text.len() + 1);
    let byte = random.pick(&["a", "b", "/", "k", "K", "1", "-", ".", "\n", "z", "\u{e9}", "\0"]).as_bytes()[0];
    match random.below(3) {
        0 => text.insert(at, byte),
        _ if text.is_empty() => {}
        1 => {
            text.remove(at.min(text.len() - 1));
        }
        _ => *text.get_mut(at).unwrap_or(&mut 0) = byte,
    }
}

#[test]
fn programs_say_what_the_regex_says() {
    let (mut compiled, mut matched, mut asked, mut behind_known) = (0, 0, 0, 0);
    for seed in 1..=4000u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let depth = 1 + random.below(5);
        let text = format!("^(?:{})$", pattern(&mut random, depth));
        let unicode = random.one_in(3);
        let Ok(regex) = RegexBuilder::new(&text).unicode(unicode).build() else { continue };
        let Some((programs, program)) = program(&text) else { continue };
        compiled += 1;
        let readings = readings(&text);
        let hir = &readings[0];
        // As the index makes it: for what stands behind the beginning that every path has.
        let needed = &needed(std::slice::from_ref(&readings))[0];
        let mut making = Making::default();
        let (behind, known) = making.add(&readings, needed.beginning()).expect("it is one with all of the path");
        let shorter = making.finish();
        for _ in 0..40 {
            let mut path = Vec::new();
            sample(hir, &mut random, &mut path);
            for _ in 0..random.below(3) {
                mutated(&mut random, &mut path);
            }
            let (found, expected) = (programs.matches(program, &path), regex.is_match(&path));
            let shown = path.escape_ascii();
            assert!(found == expected || !found && !path.is_ascii(), "seed {seed}: {text} {unicode} {shown}: {found}");
            if path.starts_with(needed.beginning()) {
                let path = &path[usize::from(known)..];
                assert_eq!(shorter.matches(behind, path), found, "seed {seed}: {text} behind {known} {shown}");
                behind_known += usize::from(known > 0);
            } else {
                assert!(!expected, "seed {seed}: {text} {shown} begins otherwise");
            }
            matched += usize::from(found);
            asked += 1;
        }
    }
    assert!(compiled > 2500, "{compiled} patterns: too few");
    assert!(behind_known > asked / 10, "{behind_known} of {asked} behind a beginning: too few");
    assert!(matched > asked / 3 && matched < asked * 9 / 10, "{matched} of {asked}: the test does not tell apart");
}

/// Patterns as they are written for routes.
#[test]
fn usual_patterns_are_programs() {
    for (pattern, good, bad) in [
        ("/api/v1/[0-9]+", "/api/v1/17", "/api/v1/"),
        (r"/users/\d+(/.*)?", "/users/1/x", "/users/1x"),
        (r"^/users/(?P<id>[^/]+)/orders/\d+$", "/users/a/orders/1", "/users/a/b/orders/1"),
        (r".*\.(?:jpg|jpeg|png|gif)", "/a.b/c.jpeg", "/a.jpgx"),
        (r"/static/.*\.(css|js)", "/static/a.js.css", "/static/.css/"),
        ("/(?:en|de|fr)(?:/.*)?", "/de", "/dex"),
        ("(?i)/Login/?", "/lOGIN/", "/login//"),
        ("/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "/01234567-89ab-cdef-0123-456789abcdef", "/01234567-89ab"),
        ("/[a-z0-9-]{1,63}/.*", "/a-1/", "/A/"),
        ("/.*/(?:users|v1)", "/a/b/users", "/users"),
        ("/[^/]+/(?:.*/)?x17/.*", "/t/a/x17/", "/x17/x"),
        ("/v1|/v2/.*", "/v2/", "/v1/"),
        (r"/(\w+)-(\d+)\.html", "/a_b-1.html", "/ab-.html"),
        ("(?s).*", "/\n", "\u{e9}"),
        ("", "", "/"),
    ] {
        let (programs, program) = program(&format!("^(?:{pattern})$")).unwrap_or_else(|| panic!("{pattern}"));
        assert!(programs.matches(program, good.as_bytes()), "{pattern} {good}");
        assert!(!programs.matches(program, bad.as_bytes()), "{pattern} {bad}");
        assert!(programs.steps.len() < 80, "{pattern}: {} steps", programs.steps.len());
    }
}

/// The longest are programs, too.
#[test]
fn templates_are_programs() {
    let templates = [
        "/",
        "/a/*",
        "/videos/*/*/*.m4s",
        "/videos/{file}",
        "/**.mpd",
        "/{a}/x/{b=**}",
        "/{v=videos/*}/end",
        "/{a}/{b}/{c}/{d}/{e}",
        "/a/**",
        &format!("/{}", "a.".repeat(127)),
        &format!("/**{}", "ab".repeat(126)),
        &format!("/{{x=**}}{}", "a".repeat(240)),
        &"/*".repeat(128),
    ];
    for template in templates {
        let routes = format!("[{{ match = {{ template = \"{template}\" }}, direct_response = {{ status = 200 }} }}]");
        let text = format!(
            "[[listeners]]\naddress = \"127.0.0.1:1\"\n[listeners.http]\nstat_prefix = \"t\"\nroutes = {routes}\n"
        );
        let config = ringway_config::load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
        let NetworkFilter::Http(http) = &config.listeners[0].filter_chains[0].filter;
        let PathMatch::Template(template) = &http.virtual_hosts[0].routes[0].matcher.path else {
            panic!("{template} is a template");
        };
        let regex = template.regex.regex();
        let (programs, program) = program(regex.as_str()).unwrap_or_else(|| panic!("{regex}"));
        let mut random = Random(17);
        let mut matched = 0;
        for _ in 0..300 {
            let mut path = Vec::new();
            sample(&readings(regex.as_str())[0], &mut random, &mut path);
            (0..random.below(3)).for_each(|_| mutated(&mut random, &mut path));
            // What is beyond ASCII in a sample may be any byte as well.
            path.iter_mut().for_each(|byte| *byte &= 0x7f);
            assert_eq!(programs.matches(program, &path), regex.is_match(&path), "{regex} {}", path.escape_ascii());
            matched += usize::from(regex.is_match(&path));
        }
        assert!(matched > 50, "{regex}: {matched}");
    }
}

#[test]
fn the_rest_is_left_to_the_regex() {
    for pattern in [
        "/a",
        "^/a",
        "/a$",
        r"^(?:/a\b.*)$",
        "^(?:/a(?m:$).*)$",
        "^(?:/.*x.{20})$",
        "^(?:[a-z]{300})$",
        // Read as Unicode it matches a letter k.
        "^(?:(?i)\u{212a})$",
    ] {
        assert!(program(pattern).is_none(), "{pattern}");
    }
    assert_eq!(size_of::<Step>(), 8);
}

/// The same ones are one, and one that turns out too large leaves nothing behind.
#[test]
fn programs_stand_beside_each_other() {
    let mut making = Making::default();
    let (first, known) = making.add(&readings("^(?:/a/[0-9]+)$"), b"/a/").expect("is one");
    assert_eq!(known, 3);
    let steps = making.programs.steps.len();
    assert_eq!(making.add(&readings("^(?:/b[0-9][0-9]*)$"), b"/b"), Some((first, 2)));
    assert_eq!(making.add(&readings("^(?:(?:[0-9]?/?a?b?c?d?e?f?g?h?){20})$"), b""), None);
    assert_eq!(making.programs.steps.len(), steps);
    // No path that is known to begin so matches: as far as one could.
    let (never, known) = making.add(&readings("^(?:/[0-9]+)$"), b"/1x").expect("is one");
    assert_eq!(known, 2);
    let (whole, _) = making.add(&readings("^(?:/b/[0-9]+)$"), b"").expect("is one");
    let programs = making.finish();
    assert!(programs.matches(first, b"17") && !programs.matches(first, b"") && !programs.matches(first, b"1x"));
    assert!(!programs.matches(never, b"x"));
    assert!(programs.matches(whole, b"/b/1") && !programs.matches(whole, b"/a/1"));
}
