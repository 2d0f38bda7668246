//! Header blocks as heads and trailers (RFC 9113 sections 8.1 to 8.3): each rule, with its reason.

use crate::codec::h1::Limits;
use crate::codec::h2::{Block, hpack, write};
use crate::http::{
    Field, FieldId, HeadView, Length, Method, RequestHead, ResponseHead, TargetForm, Trailers, Violation,
};

type Fields<'a> = &'a [(&'a str, &'a str)];

const BEGIN: Fields<'static> = &[(":method", "GET"), (":scheme", "http"), (":path", "/p?q"), (":authority", "h")];

/// Literals that no table keeps; `first` of each field: 0, or 0x10 for one that no table may ever keep.
fn encoded(fields: Fields<'_>, first: u8) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(first);
        for text in [name, value] {
            assert!(text.len() < 127);
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

fn block_of(encoded: &[u8], ends: bool, limits: &Limits) -> Block {
    let mut block = Block::default();
    assert_eq!(block.decode(&mut hpack::Decoder::new(0), encoded, ends, limits), Ok(()));
    block
}

fn block(fields: Fields<'_>, ends: bool) -> Block {
    block_of(&encoded(fields, 0), ends, &Limits::default())
}

fn with<'a>(fields: Fields<'a>) -> Vec<(&'a str, &'a str)> {
    [BEGIN, fields].concat()
}

fn without<'a>(name: &str, fields: Fields<'a>) -> Vec<(&'a str, &'a str)> {
    BEGIN.iter().filter(|field| field.0 != name).chain(fields).copied().collect()
}

/// The head, or why there is none.
fn request(fields: Fields<'_>, ends: bool) -> Result<(RequestHead, Vec<u8>), (u16, &'static str)> {
    let (mut block, mut head) = (block(fields, ends), RequestHead::default());
    match block.read_request(&Limits::default(), &mut head) {
        Ok(()) => Ok((head, block.arena)),
        Err(Violation { status, details }) => Err((status, details.strip_prefix("http2.").unwrap())),
    }
}

#[track_caller]
fn refused(fields: Fields<'_>, reason: &str) {
    match request(fields, true) {
        Err((_, found)) => assert_eq!(found, reason, "{fields:?}"),
        Ok(_) => panic!("{fields:?} is read"),
    }
}

#[test]
fn a_request_is_what_its_fields_say() {
    let (head, arena) = request(&with(&[("a", "b"), ("cookie", "c=d"), ("te", "trailers")]), true).unwrap();
    assert_eq!((head.method, head.path.of(&arena), head.path_len), (Method::Get, &b"/p?q"[..], 2));
    assert_eq!(
        (head.authority.of(&arena), head.length, head.target_form),
        (&b"h"[..], Length::None, TargetForm::Origin)
    );
    let fields: Vec<(&[u8], bool)> =
        head.fields.iter().map(|field| (field.name.of(&arena), field.hop_by_hop)).collect();
    assert_eq!(fields, [(&b"a"[..], false), (b"cookie", false), (b"te", true)]);
    let (head, arena) = request(&without(":authority", &[("host", "by.host")]), false).unwrap();
    assert_eq!((head.authority.of(&arena), head.length), (&b"by.host"[..], Length::Unknown));
    let star = [(":method", "OPTIONS"), (":scheme", "https"), (":path", "*"), (":authority", "h")];
    let (head, _) = request(&star, true).unwrap();
    assert_eq!((head.method, head.target_form), (Method::Options, TargetForm::Asterisk));
    let (head, arena) = request(&without(":method", &[(":method", "BREW")]), true).unwrap();
    assert_eq!(head.method_span.of(&arena), b"BREW");
}

#[test]
fn fields_that_may_not_stand_there() {
    for field in
        [("A", "b"), ("a b", "c"), ("", "b"), ("a:", "b"), ("a", "b\r"), ("a", "b\nc"), ("a", "b\0"), ("a", "\0 ")]
    {
        refused(&with(&[field]), "invalid_field");
    }
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        refused(&with(&[(name, "x")]), "connection_field");
    }
    for value in ["gzip", "trailers, gzip", "", "trailers;q=1"] {
        refused(&with(&[("te", value)]), "connection_field");
    }
}

#[test]
fn pseudo_fields_of_requests() {
    for name in [":method", ":scheme", ":path"] {
        refused(&without(name, &[]), "pseudo_fields");
        refused(&without(name, &[("a", "b"), (name, "GET")]), "pseudo_fields");
    }
    for name in [":method", ":scheme", ":path", ":authority"] {
        refused(&with(&[(name, "/")]), "pseudo_fields");
    }
    refused(&with(&[(":status", "200")]), "pseudo_fields");
    refused(&with(&[(":protocol", "websocket")]), "pseudo_fields");
    refused(&with(&[(":other", "x")]), "invalid_field");
    for (name, values) in [(":method", &["", "G T", "GET/"][..]), (":scheme", &["", "1http", "ht tp", "http:"])] {
        for value in values {
            refused(&without(name, &[(name, value)]), "pseudo_fields");
        }
    }
}

#[test]
fn paths() {
    for path in ["", "p", "http://h/", "/ p", "/\tp", "/#", "/\u{fc}", "*", "**"] {
        refused(&without(":path", &[(":path", path)]), "invalid_path");
    }
    for path in ["/", "/*", "//", "/?", "/%2f;a=b?c=d&e", "/\"<>\\^`{|}"] {
        assert!(request(&without(":path", &[(":path", path)]), true).is_ok(), "{path}");
    }
    for path in ["/ ", " /", "/\t", "/\u{7f}"] {
        refused(&without(":path", &[(":path", path)]), "invalid_field");
    }
    let long = "/x".repeat(60);
    let limits = Limits { target_bytes: 119, ..Limits::default() };
    let mut block = block(&without(":path", &[(":path", &long)]), true);
    let read = block.read_request(&limits, &mut RequestHead::default());
    assert_eq!(read.map_err(|violation| violation.status), Err(414));
}

/// HAProxy b5d2b9e15: a Host and an authority that differ are two requests to two readers.
#[test]
fn authorities() {
    for authority in ["", "a/b", "a?b", "a#b", "u@h", "a b", "a\\b", "h:x", "[::1"] {
        refused(&without(":authority", &[(":authority", authority)]), "invalid_authority");
        refused(&without(":authority", &[("host", authority)]), "invalid_authority");
    }
    refused(&without(":authority", &[]), "invalid_authority");
    for fields in [&[("host", "other")][..], &[("host", "")], &[("host", "h"), ("host", "i")], &[("host", "h:80")]] {
        refused(&with(fields), "host_differs_from_authority");
    }
    for fields in [&[("host", ""), ("host", "h")][..], &[("host", "h"), ("host", "")], &[("host", "a"), ("host", "b")]]
    {
        refused(&without(":authority", fields), "host_differs_from_authority");
    }
    refused(&without(":authority", &[(":authority", ""), ("host", "h")]), "host_differs_from_authority");
    assert!(request(&with(&[("host", "H"), ("host", "h")]), true).is_ok());
}

#[test]
fn lengths_of_requests() {
    let length = |values: Fields<'_>, ends| request(&with(values), ends).map(|(head, _)| head.length);
    assert_eq!(length(&[], true), Ok(Length::None));
    assert_eq!(length(&[], false), Ok(Length::Unknown));
    assert_eq!(length(&[("content-length", "7")], false), Ok(Length::Known(7)));
    assert_eq!(length(&[("content-length", "0")], true), Ok(Length::Known(0)));
    assert_eq!(length(&[("content-length", "7"), ("content-length", "007")], false), Ok(Length::Known(7)));
    assert_eq!(length(&[("content-length", "7")], true), Err((400, "wrong_content_length")));
    for value in ["", "-1", "+1", "1 1", "1,1", "0x1", "1.0", "18446744073709551616"] {
        let found = length(&[("content-length", value)], false);
        assert!(matches!(found, Err((400, _))), "{value}: {found:?}");
    }
    let two = [("content-length", "1"), ("content-length", "2")];
    assert_eq!(length(&two, false), Err((400, "malformed_head")));
}

#[test]
fn requests_that_are_not_served() {
    let connect = [(":method", "CONNECT"), (":authority", "h:443")];
    assert_eq!(request(&connect, false).map(|_| ()), Err((501, "connect_not_supported")));
    let extended = without(":method", &[(":method", "CONNECT"), (":protocol", "websocket")]);
    assert_eq!(request(&extended, false).map(|_| ()), Err((501, "connect_not_supported")));
    // A host and nothing else, or all with `:protocol`.
    for more in [(":scheme", "http"), (":path", "/"), (":protocol", "websocket")] {
        refused(&[&connect[..], &[more]].concat(), "pseudo_fields");
    }
    refused(&connect[..1], "pseudo_fields");
    for missing in [":scheme", ":path", ":authority"] {
        let fields: Vec<_> = extended.iter().filter(|field| field.0 != missing).copied().collect();
        refused(&fields, "pseudo_fields");
    }
    assert_eq!(
        request(&without(":method", &[(":method", "TRACE")]), true).map(|_| ()),
        Err((405, "trace_not_allowed"))
    );
}

#[test]
fn cookies_are_one_line() {
    let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3; d=4")];
    let (head, arena) = request(&with(&crumbs), true).unwrap();
    let cookies: Vec<&Field> = head.fields.all(FieldId::Cookie).collect();
    assert_eq!(cookies.len(), 1);
    assert_eq!(cookies[0].value.of(&arena), b"a=1; b=2; c=3; d=4");
    assert_eq!((cookies[0].name.of(&arena), cookies[0].never_indexed), (&b"cookie"[..], false));
    // One is enough that nothing may keep.
    let mixed = [encoded(BEGIN, 0), encoded(&[("cookie", "a=1")], 0), encoded(&[("cookie", "b=2")], 0x10)].concat();
    let block = block_of(&mixed, true, &Limits::default());
    let cookies: Vec<&Field> = block.fields.all(FieldId::Cookie).collect();
    assert_eq!((cookies.len(), cookies[0].never_indexed), (1, true));
    let empty = with(&[("cookie", ""), ("cookie", "a=1"), ("cookie", "")]);
    let (head, arena) = request(&empty, true).unwrap();
    assert!(head.fields.value(FieldId::Cookie, &arena).is_some());
}

#[test]
fn what_is_too_large() {
    let fields = with(&[("a", "b"), ("c", "d")]);
    let read = |limits: &Limits| {
        let mut block = block_of(&encoded(&fields, 0), true, limits);
        block.read_request(limits, &mut RequestHead::default()).map_err(|violation| violation.status)
    };
    let size = fields.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() as u32;
    assert_eq!(read(&Limits { head_bytes: size, fields: 6, ..Limits::default() }), Ok(()));
    assert_eq!(read(&Limits { head_bytes: size - 1, ..Limits::default() }), Err(431));
    assert_eq!(read(&Limits { fields: 5, ..Limits::default() }), Err(431));
    assert_eq!(read(&Limits { field_bytes: 4, ..Limits::default() }), Ok(()));
    assert_eq!(read(&Limits { field_bytes: 3, ..Limits::default() }), Err(431));
}

fn response(method: Method, fields: Fields<'_>, ends: bool) -> Result<ResponseHead, &'static str> {
    let (mut block, mut head) = (block(fields, ends), ResponseHead::default());
    match block.read_response(method, &mut head) {
        Ok(()) => Ok(head),
        Err(violation) => Err(violation.details.strip_prefix("http2.").unwrap()),
    }
}

#[test]
fn responses() {
    let head = response(Method::Get, &[(":status", "200"), ("content-length", "5")], false).unwrap();
    assert_eq!((head.status, head.length, head.content_length), (200, Length::Known(5), Some(5)));
    let get = |fields: Fields<'_>, ends| response(Method::Get, fields, ends).map(|head| head.length);
    assert_eq!(get(&[(":status", "200")], false), Ok(Length::Unknown));
    assert_eq!(get(&[(":status", "200")], true), Ok(Length::Known(0)));
    assert_eq!(get(&[(":status", "103")], false), Ok(Length::None));
    assert_eq!(get(&[(":status", "200"), ("content-length", "5")], true), Err("wrong_content_length"));
    assert_eq!(get(&[(":status", "200"), ("content-length", "x")], true), Err("malformed_head"));
    // These have no body, whatever length they tell.
    for (method, status) in [(Method::Head, "200"), (Method::Get, "204"), (Method::Get, "304")] {
        for ends in [false, true] {
            let head = response(method, &[(":status", status), ("content-length", "5")], ends).unwrap();
            assert_eq!((head.length, head.content_length), (Length::None, Some(5)), "{status}");
        }
    }
    for status in ["", "20", "2000", "2x0", "099", "+20", " 200"] {
        assert!(get(&[(":status", status)], true).is_err(), "{status}");
    }
    // HAProxy 827a6299e: an interim response is not the last; 101 has no meaning.
    assert_eq!(get(&[(":status", "103")], true), Err("malformed_head"));
    assert_eq!(get(&[(":status", "101")], false), Err("malformed_head"));
    assert_eq!(get(&[], true), Err("pseudo_fields"));
    for name in [":method", ":scheme", ":authority", ":path", ":protocol"] {
        assert_eq!(get(&[(":status", "200"), (name, "/")], true), Err("pseudo_fields"), "{name}");
    }
    assert_eq!(get(&[("a", "b"), (":status", "200")], true), Err("pseudo_fields"));
    assert_eq!(get(&[(":status", "200"), ("connection", "close")], true), Err("connection_field"));
    assert_eq!(get(&[(":status", "200"), ("Name", "x")], true), Err("invalid_field"));
}

fn trailers(fields: Fields<'_>, keeps: bool) -> Result<Vec<(String, String)>, &'static str> {
    let mut into = Trailers::default();
    let limits = Limits { trailer_bytes: 100, ..Limits::default() };
    match block(fields, true).read_trailers(&limits, keeps, &mut into) {
        Ok(()) => {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            Ok(into.iter().map(|(name, value)| (text(name), text(value))).collect())
        }
        Err(violation) => Err(violation.details.strip_prefix("http2.").unwrap()),
    }
}

#[test]
fn trailers_are_checked_and_kept_where_they_are_wanted() {
    let fields = [("grpc-status", "0"), ("content-length", "7"), ("host", "h"), ("te", "trailers")];
    assert_eq!(trailers(&fields, true), Ok(vec![("grpc-status".into(), "0".into())]));
    assert_eq!(trailers(&fields, false), Ok(vec![]));
    for keeps in [false, true] {
        for (field, reason) in [
            ((":status", "200"), "pseudo_fields"),
            ((":path", "/"), "pseudo_fields"),
            (("connection", "close"), "connection_field"),
            (("A", "b"), "invalid_field"),
        ] {
            assert_eq!(trailers(&[field], keeps), Err(reason), "{field:?}");
        }
        let long = "x".repeat(96);
        assert!(trailers(&[("a", &long[1..])], keeps).is_ok());
        assert_eq!(trailers(&[("a", &long)], keeps), Err("trailers_too_large"));
    }
}

/// "MUST NOT be converted" (RFC 7541 section 7.1.3): what no table may have stays so on its way through.
#[test]
fn fields_that_no_table_may_have_stay_such() {
    for first in [0, 0x10] {
        let limits = Limits::default();
        let mut trailers = Trailers::default();
        let block = block_of(&encoded(&[("token", "x")], first), true, &limits);
        assert_eq!(block.read_trailers(&limits, true, &mut trailers), Ok(()));
        let mut written = Vec::new();
        write::trailers(&mut written, &trailers);
        assert_eq!(written[0] & 0xf0, first);
        let (mut block, mut head) =
            (block_of(&encoded(&with(&[("token", "x")]), first), true, &limits), RequestHead::default());
        assert_eq!(block.read_request(&limits, &mut head), Ok(()));
        let (view, mut written) = (HeadView::new(&block.arena), Vec::new());
        write::request(&mut written, &head, view, b"h", false);
        let field = written.len() - encoded(&[("token", "x")], 0).len();
        assert_eq!(written[field] & 0xf0, first);
    }
}

/// As in HTTP/1 (RFC 9110 section 5.5), unless it is refused (RFC 9113 section 8.2.1); whether a value comes as a literal or out of
/// the table.
#[test]
fn white_space_at_the_ends_of_values_is_no_part_of_them() {
    let (mut decoder, limits) = (hpack::Decoder::new(4096), Limits::default());
    let kept = [&[0x40, 12][..], b"grpc-message\x09\t a  b \t "].concat();
    for encoded in [&kept[..], &[0x80 | 62]] {
        let (mut block, mut into) = (Block::default(), Trailers::default());
        assert_eq!(block.decode(&mut decoder, encoded, true, &limits), Ok(()));
        assert_eq!(block.read_trailers(&limits, true, &mut into), Ok(()));
        assert_eq!(into.iter().collect::<Vec<_>>(), [(&b"grpc-message"[..], &b"a  b"[..])]);
        block.refuse_white_space();
        assert!(block.read_trailers(&limits, true, &mut into).is_err());
    }
    let get = |field: (&'static str, &'static str)| response(Method::Get, &[(":status", "200"), field], false);
    for (value, expected) in
        [(" 5", Ok(Length::Known(5))), ("5\t", Ok(Length::Known(5))), ("5 5", Err("malformed_head"))]
    {
        assert_eq!(get(("content-length", value)).map(|head| head.length), expected);
    }
    let (head, arena) = request(&with(&[("a", " \t "), ("cookie", " b"), ("cookie", "c ")]), true).unwrap();
    assert_eq!(head.fields.iter().next().map(|field| field.value.len()), Some(0));
    assert_eq!(head.fields.value(FieldId::Cookie, &arena), Some(&b"b; c"[..]));
    // Nothing else is forgiven for it, and no other field than an ordinary one.
    for field in [("a", " b\nc"), ("a", "b\r "), ("A", "b "), ("a b", "c "), (":unknown", " ")] {
        assert_eq!(get(field).err(), Some("invalid_field"), "{field:?}");
    }
    assert_eq!(response(Method::Get, &[(":status", "200 ")], true).err(), Some("invalid_field"));
}

/// What a block leaves behind is not a part of the next.
#[test]
fn a_block_is_used_again() {
    let (mut decoder, mut block) = (hpack::Decoder::new(0), Block::default());
    let limits = Limits::default();
    for _ in 0..2 {
        let bad = encoded(&with(&[("A", "b"), ("cookie", "a"), ("cookie", "b"), (":protocol", "x")]), 0);
        block.decode(&mut decoder, &bad, true, &limits).unwrap();
        assert!(block.read_request(&limits, &mut RequestHead::default()).is_err());
        let good = encoded(BEGIN, 0);
        block.decode(&mut decoder, &good, false, &limits).unwrap();
        let mut head = RequestHead::default();
        assert_eq!(block.read_request(&limits, &mut head), Ok(()));
        assert_eq!((head.length, head.fields.iter().count(), block.size as usize), (Length::Unknown, 0, good.len()));
    }
}
