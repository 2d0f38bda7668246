//! Heads parsed and written, chunks decoded; header blocks of HTTP/2 decoded and written.

use ringway::base::random::uuid4;
use ringway::codec::h1::{BodyDecoder, BodyKind, Limits, Parse, encode, parse_request, parse_response};
use ringway::codec::h2::hpack;
use ringway::http::{FieldId, Length, Method, RequestHead, ResponseHead};
use ringway::mux::h1::connection;
use std::hint::black_box;

/// Parse the request head that `bytes` begins with.
pub fn request_head(bytes: impl Into<Vec<u8>>) -> impl FnMut() {
    let bytes = bytes.into();
    let limits = Limits::default();
    let mut head = RequestHead::default();
    move || {
        assert!(matches!(parse_request(black_box(&bytes), &limits, &mut head), Ok(Parse::Complete(_))));
        black_box(&head);
    }
}

/// Parse the response head that `bytes` begins with.
pub fn response_head(bytes: impl Into<Vec<u8>>) -> impl FnMut() {
    let bytes = bytes.into();
    let limits = Limits::default();
    let mut head = ResponseHead::default();
    move || {
        assert!(matches!(parse_response(black_box(&bytes), &limits, Method::Get, &mut head), Ok(Parse::Complete(_))));
        black_box(&head);
    }
}

/// Write a parsed request head for the upstream with the edits that a proxy makes by default: hop-by-hop fields left
/// out; x-forwarded-for, x-forwarded-proto and x-request-id added.
pub fn request_edits(bytes: impl Into<Vec<u8>>) -> impl FnMut() {
    let bytes = bytes.into();
    let mut head = RequestHead::default();
    assert!(matches!(parse_request(&bytes, &Limits::default(), &mut head), Ok(Parse::Complete(_))));
    let mut out = Vec::with_capacity(16 * 1024);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        let (head, bytes, out) = (black_box(&head), black_box(bytes.as_slice()), &mut out);
        out.clear();
        encode::request_line(out, head.method_bytes(bytes), &head.target(bytes));
        encode::field(out, b"host", head.authority.of(bytes));
        for field in &head.fields {
            if field.hop_by_hop || matches!(field.id, FieldId::Host | FieldId::ContentLength) {
                continue;
            }
            encode::field(out, field.name.of(bytes), field.value.of(bytes));
        }
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        encode::field(out, b"x-forwarded-for", black_box(b"192.0.2.1"));
        encode::field(out, b"x-forwarded-proto", b"http");
        encode::field(out, b"x-request-id", &uuid4(random, !random));
        encode::end(out);
        black_box(&*out);
    }
}

/// Write a parsed response head for the downstream with the edits that a proxy makes by default: hop-by-hop fields left
/// out, server replaced, x-envoy-upstream-service-time and the framing added.
pub fn response_edits(bytes: impl Into<Vec<u8>>) -> impl FnMut() {
    let bytes = bytes.into();
    let mut head = ResponseHead::default();
    assert!(matches!(parse_response(&bytes, &Limits::default(), Method::Get, &mut head), Ok(Parse::Complete(_))));
    let request = RequestHead::default();
    let mut out = Vec::with_capacity(16 * 1024);
    move || {
        let (head, bytes, out) = (black_box(&head), black_box(bytes.as_slice()), &mut out);
        out.clear();
        encode::status_line(out, head.status, head.reason.of(bytes));
        for field in &head.fields {
            if field.hop_by_hop || matches!(field.id, FieldId::ContentLength | FieldId::Server) {
                continue;
            }
            encode::field(out, field.name.of(bytes), field.value.of(bytes));
        }
        encode::field(out, b"server", b"ringway");
        encode::field_u64(out, b"x-envoy-upstream-service-time", black_box(12));
        match head.length {
            Length::Known(length) => encode::field_u64(out, b"content-length", length),
            Length::Unknown => encode::field(out, b"transfer-encoding", b"chunked"),
            Length::None => {}
        }
        connection(out, request.version, false);
        encode::end(out);
        black_box(&*out);
    }
}

/// Decode a chunked body that arrives whole.
pub fn chunked(bytes: Vec<u8>) -> impl FnMut() {
    move || {
        let mut decoder = BodyDecoder::new(BodyKind::Chunked);
        let mut rest = black_box(bytes.as_slice());
        let mut data = 0;
        while !rest.is_empty() {
            let decoded = decoder.decode(rest).expect("the body is well-formed");
            data += decoded.data.len();
            rest = &rest[decoded.consumed..];
        }
        assert!(decoder.is_done());
        black_box(data);
    }
}

/// The bytes of a header block.
pub fn block(hexadecimal: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hexadecimal[at..at + 2], 16).expect("two digits");
    (0..hexadecimal.len()).step_by(2).map(byte).collect()
}

/// Decode a connection's first header block, whose fields fill the dynamic table.
pub fn first_block(bytes: Vec<u8>) -> impl FnMut() {
    let mut arena = Vec::with_capacity(16 * 1024);
    move || {
        let mut decoder = hpack::Decoder::new(hpack::DEFAULT_TABLE_SIZE);
        decode_block(&mut decoder, black_box(&bytes), &mut arena);
    }
}

/// Decode a block that refers to the fields of the connection's first one.
pub fn repeated_block(first: Vec<u8>, repeated: Vec<u8>) -> impl FnMut() {
    let mut arena = Vec::with_capacity(16 * 1024);
    let mut decoder = hpack::Decoder::new(hpack::DEFAULT_TABLE_SIZE);
    decode_block(&mut decoder, &first, &mut arena);
    move || decode_block(&mut decoder, black_box(&repeated), &mut arena)
}

fn decode_block(decoder: &mut hpack::Decoder, block: &[u8], arena: &mut Vec<u8>) {
    arena.clear();
    let (mut budget, mut fields) = (hpack::Budget::new(60 * 1024, 100), 0);
    let result = decoder.decode(block, arena, &mut budget, |field, _| fields += usize::from(field.is_valid));
    assert!(result.is_ok() && fields == 20);
    black_box(&*arena);
}

/// Write a parsed response head as a header block, with the fields that concern one connection only left out.
pub fn response_block(bytes: impl Into<Vec<u8>>) -> impl FnMut() {
    let bytes = bytes.into();
    let mut head = ResponseHead::default();
    assert!(matches!(parse_response(&bytes, &Limits::default(), Method::Get, &mut head), Ok(Parse::Complete(_))));
    let mut out = Vec::with_capacity(16 * 1024);
    move || {
        let (head, bytes, out) = (black_box(&head), black_box(bytes.as_slice()), &mut out);
        out.clear();
        hpack::encode::status(out, head.status);
        for field in head.fields.iter().filter(|field| !field.hop_by_hop) {
            hpack::encode::field(out, field.id, field.name.of(bytes), field.value.of(bytes), false);
        }
        black_box(&*out);
    }
}
