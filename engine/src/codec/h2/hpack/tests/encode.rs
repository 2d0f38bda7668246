//! What the encoder writes, byte by byte, and read back.

use super::super::{Decoded, Pseudo, encode};
use super::{decoder, hex, read, unlimited};
use crate::http::FieldId;

#[track_caller]
fn wrote(bytes: &str, write: impl FnOnce(&mut Vec<u8>)) {
    let mut out = b"BEFORE".to_vec();
    write(&mut out);
    assert_eq!(out.strip_prefix(b"BEFORE"), Some(&hex(bytes)[..]), "{out:x?}");
}

fn hex_of(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn pseudo_headers() {
    wrote("20", encode::begin);
    wrote("88", |out| encode::status(out, 200));
    wrote("8e", |out| encode::status(out, 500));
    wrote("08 03 353033", |out| encode::status(out, 503));
    wrote("82", |out| encode::method(out, b"GET"));
    wrote("83", |out| encode::method(out, b"POST"));
    wrote("02 04 48454144", |out| encode::method(out, b"HEAD"));
    wrote("86", |out| encode::scheme(out, false));
    wrote("87", |out| encode::scheme(out, true));
    wrote("84", |out| encode::path(out, [b"/", b""]));
    wrote("84", |out| encode::path(out, [b"", b"/"]));
    wrote("04 05 2f613f623d", |out| encode::path(out, [b"/a", b"?b="]));
    wrote("04 01 2a", |out| encode::path(out, [b"", b"*"]));
    wrote("01 0b 6578616d706c652e636f6d", |out| encode::authority(out, b"example.com"));
}

/// Lengths from 127 on take more bytes: methods, authorities and paths may be long as well.
#[test]
fn long_strings() {
    for len in [126, 127, 128, 254, 255, 1000, 16511, 70_000] {
        let text = "x".repeat(len);
        let bytes = text.as_bytes();
        let mut out = Vec::new();
        encode::method(&mut out, bytes);
        encode::authority(&mut out, bytes);
        encode::path(&mut out, [b"/", bytes]);
        encode::field(&mut out, FieldId::Unknown, bytes, bytes, false);
        encode::field(&mut out, FieldId::UserAgent, b"user-agent", bytes, false);
        let fields = read(&mut decoder(4096), &out).unwrap();
        let expected = [
            format!(":method: {text}"),
            format!(":authority: {text}"),
            format!(":path: /{text}"),
            format!("{text}: {text}"),
            format!("user-agent: {text}"),
        ];
        assert_eq!(fields, expected);
    }
}

#[test]
fn every_status_is_read_back() {
    for status in 100..1000 {
        let mut out = Vec::new();
        encode::status(&mut out, status);
        assert_eq!(read(&mut decoder(4096), &out), Ok(vec![format!(":status: {status}")]));
        assert_eq!(out.len() == 1, [200, 204, 206, 304, 400, 404, 500].contains(&status));
    }
}

/// Names of the static table by their index, others in lower case whatever they came in; values as they are.
#[test]
fn fields() {
    let field = |id, name: &'static str, value: &'static str| {
        move |out: &mut Vec<u8>| encode::field(out, id, name.as_bytes(), value.as_bytes(), false)
    };
    wrote("0f 13 01 35", field(FieldId::Etag, "ETag", "5"));
    wrote("0f 0d 01 35", field(FieldId::ContentLength, "Content-Length", "5"));
    wrote("90", field(FieldId::AcceptEncoding, "accept-encoding", "gzip, deflate"));
    wrote(&format!("0f 01 04 {}", hex_of("gzip")), field(FieldId::AcceptEncoding, "accept-encoding", "gzip"));
    let grpc = format!("00 0b {} 01 30", hex_of("grpc-status"));
    wrote(&grpc, field(FieldId::GrpcStatus, "Grpc-Status", "0"));
    let unknown = format!("00 0a {} 03 {}", hex_of("x-custom_1"), hex_of("A b"));
    wrote(&unknown, field(FieldId::Unknown, "X-Custom_1", "A b"));
    wrote(&format!("00 03 {} 00", hex_of("x-a")), field(FieldId::Unknown, "x-a", ""));
}

/// RFC 7541 section 7.1.3: what came never indexed stays so, and credentials become it.
#[test]
fn never_indexed() {
    let field = |id, name: &'static str, value: &'static str, never| {
        move |out: &mut Vec<u8>| encode::field(out, id, name.as_bytes(), value.as_bytes(), never)
    };
    wrote("10 03 782d61 01 62", field(FieldId::Unknown, "x-a", "b", true));
    wrote("1f 2b 01 62", field(FieldId::UserAgent, "user-agent", "b", true));
    let gzip = format!("1f 01 0d {}", hex_of("gzip, deflate"));
    wrote(&gzip, field(FieldId::AcceptEncoding, "accept-encoding", "gzip, deflate", true));
    wrote("1f 08 01 62", field(FieldId::Authorization, "authorization", "b", false));
    wrote("1f 22 01 62", field(FieldId::ProxyAuthorization, "proxy-authorization", "b", false));
    let (short, long) = ("0123456789012345678", "01234567890123456789");
    wrote(&format!("1f 11 13 {}", hex_of(short)), field(FieldId::Cookie, "cookie", short, false));
    wrote(&format!("0f 11 14 {}", hex_of(long)), field(FieldId::Cookie, "cookie", long, false));
}

/// Every known name is read back with its id, in the form of [`Decoded`].
#[test]
fn every_name_is_read_back() {
    for id in FieldId::ALL {
        for never_indexed in [false, true] {
            let mut out = Vec::new();
            encode::begin(&mut out);
            encode::method(&mut out, b"GET");
            encode::field(&mut out, *id, id.name().to_ascii_uppercase().as_bytes(), b"some value", never_indexed);
            let (mut fields, mut arena) = (Vec::<Decoded>::new(), Vec::new());
            decoder(4096).decode(&out, &mut arena, &mut unlimited(), |field, _| fields.push(*field)).unwrap();
            assert_eq!((fields.len(), fields[0].pseudo), (2, Some(Pseudo::Method)));
            assert_eq!(fields[1].name.of(&arena), id.name().as_bytes());
            assert_eq!(fields[1].value.of(&arena), b"some value");
            assert_eq!((fields[1].id, fields[1].is_valid), (*id, true));
            assert!(fields[1].never_indexed || !never_indexed);
        }
    }
}
