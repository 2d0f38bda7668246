//! What clients accept, and what heads say of codings.

use super::*;
use crate::http::{EditBytes, Field, Span};

const OFFERED: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

fn choose(value: &str) -> Choice {
    Accepted::new([value.as_bytes()].into_iter()).choose(OFFERED.into_iter())
}

fn coding(index: usize) -> Choice {
    Choice::Coding { index, by_wildcard: false }
}

/// RFC 9110 section 12.5.3, with its examples.
#[test]
fn the_best_that_is_accepted_wins() {
    for (value, expected) in [
        ("gzip", coding(2)),
        ("GZip", coding(2)),
        ("x-gzip", coding(2)),
        ("compress, gzip", coding(2)),
        ("gzip, deflate, br, zstd", coding(0)),
        ("gzip;q=1.0, br;q=0.9", coding(2)),
        ("gzip ; q=0.5 ,\tbr; q=0.51", coding(1)),
        ("gzip;Q=0.001", coding(2)),
        ("gzip;q=1.0, identity; q=0.5, *;q=0", coding(2)),
        ("br;q=0, gzip;q=0.1, zstd;q=0", coding(2)),
        ("*", Choice::Coding { index: 0, by_wildcard: true }),
        ("zstd;q=0, *;q=0.5", Choice::Coding { index: 1, by_wildcard: true }),
        ("gzip, *;q=0.5", coding(2)),
        ("gzip;q=0.5, identity", Choice::Identity),
        ("gzip, identity", coding(2)),
        ("identity", Choice::Identity),
        ("", Choice::Identity),
        ("deflate", Choice::NotValid),
        ("gzip;q=0", Choice::NotValid),
        ("*;q=0", Choice::NotValid),
        ("identity;q=0, *;q=0", Choice::NotValid),
        ("identity;q=0", Choice::NotValid),
        // Malformed elements count for nothing.
        ("gzip;q=1.001, br;q=2, zstd;level=3", Choice::NotValid),
        ("gzip;q=, br;q=0.1234, zstd;q=.5", Choice::NotValid),
        ("gzip;q=0.5;q=1, br", coding(1)),
        (",, ,gzip,", coding(2)),
    ] {
        assert_eq!(choose(value), expected, "{value}");
    }
    assert_eq!(Accepted::default().choose(OFFERED.into_iter()), Choice::NoHeader);
    let lines = [&b"gzip;q=0.5"[..], b"br"];
    assert_eq!(Accepted::new(lines.into_iter()).choose(OFFERED.into_iter()), coding(1), "all lines are one list");
}

#[test]
fn identity_is_acceptable_unless_it_is_excluded() {
    for (value, refused) in [
        ("", false),
        ("gzip", false),
        ("identity;q=0", true),
        ("*;q=0", true),
        ("identity;q=0.1, *;q=0", false),
        ("identity;q=0, *", true),
    ] {
        assert_eq!(Accepted::new([value.as_bytes()].into_iter()).refuses_identity(), refused, "{value}");
    }
}

#[test]
fn streams_of_messages_match_by_their_full_name_only() {
    let types = |types: &[&str]| types.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (value, patterns, expected) in [
        ("text/html", &["text/html"][..], true),
        ("Text/HTML; charset=utf-8", &["text/html"], true),
        ("text/htmlx", &["text/html"], false),
        ("text/css", &["text/*"], true),
        ("image/png", &["text/*"], false),
        ("image/png", &["*/*"], true),
        ("", &["*/*"], true),
        ("text/event-stream", &["text/*", "*/*"], false),
        ("text/event-stream;charset=utf-8", &["text/event-stream"], true),
        ("application/grpc", &["application/*"], false),
        ("application/grpc+proto", &["*/*"], false),
        ("application/grpc", &["application/grpc"], true),
    ] {
        assert_eq!(matches_type(value.as_bytes(), &types(patterns)), expected, "{value} {patterns:?}");
    }
}

/// The lines of a head with these fields after `edit`.
fn edited(lines: &[(&str, &str)], edit: impl Fn(&mut HeadEditor<'_>)) -> Vec<String> {
    let (mut received, mut fields) = (Vec::new(), Fields::default());
    for (name, value) in lines {
        let mut store = |text: &str| {
            let start = received.len();
            received.extend_from_slice(text.as_bytes());
            Span::new(start, received.len())
        };
        let (name_span, value) = (store(name), store(value));
        fields.push(Field {
            name: name_span,
            value,
            id: FieldId::lookup(name.as_bytes()),
            hop_by_hop: false,
            never_indexed: false,
            is_canonical: false,
        });
    }
    let mut edits = EditBytes::default();
    edit(&mut HeadEditor { fields: &mut fields, received: &received, edits: &mut edits });
    let view = HeadView { received: &received, edits: edits.as_slice() };
    let text = |span: Span| String::from_utf8_lossy(span.of(view)).into_owned();
    fields.iter().map(|field| format!("{}={}", text(field.name), text(field.value))).collect()
}

#[test]
fn heads_tell_that_the_bytes_are_other_ones() {
    assert_eq!(edited(&[("ETag", "\"a\"")], weaken_etag), ["etag=W/\"a\""]);
    assert_eq!(edited(&[("ETag", "W/\"a\"")], weaken_etag), ["ETag=W/\"a\""]);
    assert_eq!(edited(&[], weaken_etag), [""; 0]);
    assert_eq!(edited(&[], vary_by_encoding), ["vary=Accept-Encoding"]);
    assert_eq!(edited(&[("Vary", "Origin")], vary_by_encoding), ["Vary=Origin, Accept-Encoding"]);
    for value in ["*", "accept-encoding", "Origin, Accept-Encoding"] {
        assert_eq!(edited(&[("Vary", value)], vary_by_encoding), [format!("Vary={value}")]);
    }
    let lines = [("Content-Length", "3"), ("Accept-Ranges", "bytes"), ("Content-Digest", "x"), ("X", "y")];
    assert_eq!(edited(&lines, forget_bytes), ["X=y"]);
}

#[test]
fn what_may_be_transformed_and_what_was() {
    let forbids = |value: &str| {
        let mut fields = Fields::default();
        let span = Span::new(0, value.len());
        fields.push(Field {
            name: Span::EMPTY,
            value: span,
            id: FieldId::CacheControl,
            hop_by_hop: false,
            never_indexed: false,
            is_canonical: false,
        });
        forbids_transform(&fields, HeadView::new(value.as_bytes()))
    };
    assert!(
        forbids("no-transform") && forbids("max-age=1,\tNo-Transform") && forbids("private=\"a, b\", no-transform")
    );
    assert!(!forbids("") && !forbids("no-transformation") && !forbids("private=\"a, no-transform, b\""));
    assert!(!forbids(r#"ext="a\", no-transform""#));

    let value = b"gzip, , Identity,br";
    let mut fields = Fields::default();
    let span = Span::new(0, value.len());
    fields.push(Field {
        name: Span::EMPTY,
        value: span,
        id: FieldId::ContentEncoding,
        hop_by_hop: false,
        never_indexed: false,
        is_canonical: false,
    });
    assert!(applied(&fields, HeadView::new(value)).eq([&b"gzip"[..], b"br"]));
}
