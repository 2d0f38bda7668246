//! Guards of different kinds for the same paths take the same requests, whatever bytes a path is made of: a template, a
//! prefix, a pattern, and what they are meant to say, in plain Rust.

use super::tests::Random;
use super::*;
use crate::codec::h1::{Limits, Parse, parse_request};
use crate::http::{HeadView, RequestHead};
use ringway_config::model::NetworkFilter;

/// What a guard is written as, and the paths that it is to take.
type Guard = (&'static [&'static str], fn(&str) -> bool);

const GUARDS: &[Guard] = &[
    (&["template = \"/files/{id}\"", "template = \"/files/*\"", "regex = '/files/[^/]+'"], |path| {
        path.strip_prefix("/files/").is_some_and(is_segment)
    }),
    (
        &["template = \"/deep/**\"", "template = \"/deep/{x=**}\"", "prefix = \"/deep/\"", "regex = '/deep/.*'"],
        |path| path.starts_with("/deep/"),
    ),
    (&["template = \"/{a}/v1/{b=*}\"", "regex = '/[^/]+/v1/[^/]+'"], |path| {
        let mut segments = path[1..].split('/');
        let (a, v1, b) = (segments.next(), segments.next(), segments.next());
        a.is_some_and(is_segment) && v1 == Some("v1") && b.is_some_and(is_segment) && segments.next().is_none()
    }),
    (&["template = \"/a/{x=b/*}/**.js\"", "regex = '/a/b/[^/]+/.*\\.js'"], |path| {
        let rest = path.strip_prefix("/a/b/").and_then(|rest| rest.split_once('/'));
        rest.is_some_and(|(segment, rest)| is_segment(segment) && rest.ends_with(".js"))
    }),
    (&["path_separated_prefix = \"/deep\"", "regex = '/deep(?:/.*)?'"], |path| {
        path == "/deep" || path.starts_with("/deep/")
    }),
];

fn is_segment(segment: &str) -> bool {
    !segment.is_empty() && !segment.contains('/')
}

/// A table with this guard before a route that takes everything.
fn guarded(guard: &str) -> RouteTable {
    let config = format!(
        "[[listeners]]\naddress = \"127.0.0.1:1\"\n[listeners.http]\nroutes = [\n{{ match = {{ {guard} }}, \
         direct_response = {{ status = 403 }} }},\n{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }},\n]\n"
    );
    let mut config = ringway_config::load_str("guards.toml", &config).unwrap_or_else(|problems| panic!("{problems}"));
    let NetworkFilter::Http(hcm) = config.listeners.remove(0).filter_chains.remove(0).filter;
    RouteTable::new(&hcm.virtual_hosts)
}

/// Segments of every byte that a request's path may carry, and of those that guards name.
fn path(random: &mut Random) -> String {
    const NAMED: &[&str] =
        &["files", "deep", "a", "b", "v1", "x.js", ".js", "", "=", "*", "YWJj=", "{id}", "**", "[", "|", "%2F"];
    let byte = |random: &mut Random| loop {
        let byte = b'!' + random.below(94) as u8;
        if !b"/?#".contains(&byte) {
            break char::from(byte);
        }
    };
    let segment = |random: &mut Random| match random.one_in(3) {
        true => random.repeat(4, byte).into_iter().collect(),
        false => random.pick(NAMED).to_owned(),
    };
    (0..1 + random.below(4)).map(|_| format!("/{}", segment(random))).collect()
}

#[test]
fn guards_take_the_same_paths() {
    for (guards, is_guarded) in GUARDS {
        let tables: Vec<_> = guards.iter().map(|guard| guarded(guard)).collect();
        let (mut random, mut taken) = (Random(7), 0);
        for _ in 0..20_000 {
            // A bare tail reaches the guard's own paths more often.
            let start = random.pick(&["", "/files", "/deep", "/x/v1", "/a/b"]);
            let path = start.to_owned() + &path(&mut random);
            let bytes = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
            let mut head = RequestHead::default();
            let parsed = parse_request(&bytes, &Limits::default(), &mut head);
            assert!(matches!(parsed, Ok(Parse::Complete(_))), "{path}");
            let request = Request::new(&head, HeadView::new(&bytes), 0);
            let expected = u32::from(!is_guarded(&path));
            taken += 1 - expected;
            for (table, guard) in tables.iter().zip(*guards) {
                assert_eq!(table.find(&request).map(|at| at.route), Some(expected), "{path} with {guard}");
            }
        }
        assert!(taken > 200, "{taken} of 20,000 paths are guarded by {guards:?}");
    }
}
