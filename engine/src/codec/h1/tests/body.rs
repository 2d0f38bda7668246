//! Body framing: length, close, and the chunked coding split at every byte (RFC 9112 sections 6.3 and 7.1).

use super::*;

/// A decoded body: its bytes, its trailers, and how much of the input it took.
#[derive(Debug, PartialEq)]
struct Body {
    data: Vec<u8>,
    trailers: Option<Vec<u8>>,
    consumed: usize,
    done: bool,
}

/// Decodes pieces that end at `stops`, each to its end.
fn decode(decoder: &mut BodyDecoder, input: &[u8], stops: impl IntoIterator<Item = usize>) -> Result<Body, BodyError> {
    let (mut at, mut data) = (0, Vec::new());
    for stop in stops {
        while at < stop && !decoder.is_done() {
            let decoded = decoder.decode(&input[at..stop])?;
            assert!(decoded.consumed > 0, "no progress");
            assert!(decoded.data.end <= decoded.consumed && decoded.data.start <= decoded.data.end);
            assert_eq!(decoded.done, decoder.is_done());
            data.extend_from_slice(&input[at..][decoded.data.clone()]);
            at += decoded.consumed;
        }
    }
    Ok(Body { data, trailers: decoder.take_trailers(), consumed: at, done: decoder.is_done() })
}

fn chunked(input: &str) -> Result<Body, BodyError> {
    let mut decoder = BodyDecoder::with_limits(BodyKind::Chunked, &Limits::default(), true);
    decode(&mut decoder, input.as_bytes(), [input.len()])
}

fn refused_body(input: &str) -> BodyError {
    // The same answer whole and byte by byte.
    let mut decoder = BodyDecoder::new(BodyKind::Chunked);
    let bytewise = decode(&mut decoder, input.as_bytes(), 1..=input.len());
    let error = chunked(input).expect_err(input);
    assert_eq!(bytewise, Err(error), "{input:?}");
    assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(error), "an error stays");
    assert_eq!((decoder.on_eof(), decoder.is_done()), (Err(error), false));
    error
}

/// "a valid Content-Length header field is present without Transfer-Encoding, its decimal value defines the expected
/// message body length in octets" (RFC 9112 section 6.3)
#[test]
fn length() {
    let mut decoder = BodyDecoder::new(BodyKind::Length(5));
    assert_eq!((decoder.remaining(), decoder.is_done()), (Some(5), false));
    assert_eq!(decoder.decode(b"abc"), Ok(Decoded { consumed: 3, data: 0..3, done: false }));
    assert_eq!(decoder.remaining(), Some(2));
    assert_eq!(decoder.decode(b"deGET /"), Ok(Decoded { consumed: 2, data: 0..2, done: true }));
    assert_eq!(decoder.decode(b"GET /"), Ok(Decoded { consumed: 0, data: 0..0, done: true }));
    assert_eq!((decoder.remaining(), decoder.on_eof()), (Some(0), Ok(())));
    for kind in [BodyKind::None, BodyKind::Length(0)] {
        assert!(BodyDecoder::new(kind).is_done());
    }
}

/// "If the sender closes the connection or the recipient times out before the indicated number of octets are received,
/// the recipient MUST consider the message to be incomplete and close the connection" (RFC 9112 section 6.3)
#[test]
fn truncation() {
    let mut decoder = BodyDecoder::new(BodyKind::Length(5));
    decoder.decode(b"abcd").unwrap();
    assert_eq!(decoder.on_eof(), Err(BodyError::Truncated));
    assert_eq!(decoder.decode(b"e"), Err(BodyError::Truncated));
    let text = "3\r\nabc\r\n0\r\n\r\n";
    for end in 0..text.len() {
        let mut decoder = BodyDecoder::new(BodyKind::Chunked);
        decode(&mut decoder, text.as_bytes(), [end]).unwrap();
        assert_eq!(decoder.on_eof(), Err(BodyError::Truncated), "{end}");
    }
}

/// The connection's end is the body's end (RFC 9112 section 6.3).
#[test]
fn until_close() {
    let mut decoder = BodyDecoder::new(BodyKind::UntilClose);
    assert_eq!(decoder.decode(b"abc"), Ok(Decoded { consumed: 3, data: 0..3, done: false }));
    decoder.skip(1000);
    assert_eq!((decoder.remaining(), decoder.skippable()), (None, None));
    assert_eq!((decoder.on_eof(), decoder.is_done()), (Ok(()), true));
}

#[test]
fn skipped_bytes_count() {
    let mut decoder = BodyDecoder::new(BodyKind::Length(1 << 40));
    decoder.skip((1 << 40) - 1);
    assert_eq!((decoder.remaining(), decoder.is_done()), (Some(1), false));
    decoder.skip(1);
    assert!(decoder.is_done());

    let mut decoder = BodyDecoder::new(BodyKind::Chunked);
    assert_eq!(decoder.decode(b"6\r\nab"), Ok(Decoded { consumed: 5, data: 3..5, done: false }));
    assert_eq!((decoder.skippable(), decoder.remaining()), (Some(4), None));
    decoder.skip(4);
    assert_eq!(decoder.skippable(), Some(0));
    assert_eq!(decoder.decode(b"\r\n0\r\n\r\n"), Ok(Decoded { consumed: 7, data: 0..0, done: true }));
}

/// "chunked-body = *chunk last-chunk trailer-section CRLF" (RFC 9112 section 7.1)
#[test]
fn one_call_gives_one_range_and_sees_the_end() {
    let mut decoder = BodyDecoder::new(BodyKind::Chunked);
    let input = b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nGET";
    assert_eq!(decoder.decode(input), Ok(Decoded { consumed: 13, data: 3..8, done: false }));
    assert_eq!(decoder.decode(&input[13..]), Ok(Decoded { consumed: 8, data: 0..1, done: true }));
    assert!(size_of::<BodyDecoder>() < 64, "{}", size_of::<BodyDecoder>());
}

/// How the bytes are split into packets means nothing.
#[test]
fn every_split_gives_the_same_body() {
    let text = "5;a=b;c=\"d\\\"e\" ; f\r\nhello\r\n00A\r\n0123456789\r\n1\r\n\n\r\n0;z\r\nX-A:  b \r\nHost: evil\r\nx-c:\r\n\r\nGET /";
    let bytes = text.as_bytes();
    let whole = chunked(text).unwrap();
    assert_eq!(whole.data, b"hello0123456789\n");
    assert_eq!(whole.trailers.as_deref(), Some(&b"X-A: b\r\nx-c: \r\n"[..]));
    assert_eq!((whole.consumed, whole.done), (text.len() - "GET /".len(), true));
    let fresh = || BodyDecoder::with_limits(BodyKind::Chunked, &Limits::default(), true);
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            assert_eq!(
                decode(&mut fresh(), bytes, [first, second, bytes.len()]).as_ref(),
                Ok(&whole),
                "{first} {second}"
            );
        }
    }
    assert_eq!(decode(&mut fresh(), bytes, 1..=bytes.len()), Ok(whole));
}

/// "chunk-size = 1*HEXDIG" (RFC 9112 section 7.1)
#[test]
fn chunk_sizes() {
    for text in [
        "\r\n",
        " 5\r\nhello",
        "g\r\n",
        "-1\r\n",
        "+5\r\n",
        "0x5\r\n",
        "5,\r\n",
        "5h\r\n",
        ";a\r\n",
        "\u{ff15}\r\n",
        "5\0\r\n",
    ] {
        assert_eq!(refused_body(text), BodyError::InvalidChunkSize, "{text:?}");
    }
    // "Recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due to integer
    // conversion overflows"
    assert_eq!(refused_body("10000000000000000\r\n"), BodyError::ChunkSizeOverflow);
    assert_eq!(refused_body("00000000000000005\r\nhello\r\n"), BodyError::ChunkSizeOverflow);
    assert!(!chunked("ffffffffffffffff\r\nabc").unwrap().done);
    assert_eq!(chunked("000000000000000A\r\n0123456789\r\n0000\r\n\r\n").unwrap().data.len(), 10);
}

/// Lines of the framing end in CRLF and nothing else (RFC 9112 section 7.1).
#[test]
fn chunk_line_ends() {
    assert_eq!(refused_body("5\nhello\r\n0\r\n\r\n"), BodyError::BareLf);
    assert_eq!(refused_body("5\rhello"), BodyError::BareCr);
    assert_eq!(refused_body("5\r\r\nhello"), BodyError::BareCr);
    assert_eq!(refused_body("5\r\nhello\n0\r\n\r\n"), BodyError::BareLf);
    assert_eq!(refused_body("5\r\nhello\r0\r\n\r\n"), BodyError::MissingChunkEnd);
    assert_eq!(refused_body("5\r\nhello!\r\n0\r\n\r\n"), BodyError::MissingChunkEnd);
    assert_eq!(refused_body("5\r\nhello0\r\n\r\n"), BodyError::MissingChunkEnd);
    assert_eq!(refused_body("0\r\n\n"), BodyError::BareLf);
    assert_eq!(refused_body("0\n\r\n"), BodyError::BareLf);
    assert_eq!(refused_body("0\r\n\rX"), BodyError::BareCr);
    assert_eq!(refused_body("5;a\nhello"), BodyError::BareLf);
    assert_eq!(refused_body("5;a=\"b\"\nhello"), BodyError::BareLf);
}

/// "chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )" (RFC 9112 section 7.1.1)
#[test]
fn chunk_extensions() {
    for extension in [
        ";a",
        ";a=b",
        " ; a = b",
        ";a=\"b;\\\"\\\\c\"",
        ";a;b;c=d",
        "\t;\ta\t;b",
        ";a=\"\"",
        ";a=\"\u{e9}\t \"",
        " ;a=\"b\" ;c",
    ] {
        let body = chunked(&format!("2{extension}\r\nok\r\n0\r\n\r\n"));
        assert_eq!(body.map(|body| body.data), Ok(b"ok".to_vec()), "{extension:?}");
    }
    for extension in [
        " ",
        "\t",
        ";",
        "; ",
        ";;",
        ";=b",
        ";a=",
        ";a= ",
        ";a=b c",
        ";a b",
        ";a=\"b",
        ";a=\"b\"c",
        ";a=\"b\\",
        ";a ",
        ";a=b ",
        ";a=\"b\" ",
        ";a@",
        ";a=\"\x01\"",
        ";\u{e9}",
        ";a=(",
        " 5",
        ";a=\"\\\x01\"",
    ] {
        assert_eq!(refused_body(&format!("2{extension}\r\nok\r\n")), BodyError::InvalidChunkExtension, "{extension:?}");
    }
    // A line end hidden in a quoted string.
    assert_eq!(refused_body("2;a=\"\nok\r\n"), BodyError::InvalidChunkExtension);
    assert_eq!(refused_body("2;a=\"\r\nok\r\n"), BodyError::InvalidChunkExtension);
}

/// "A server ought to limit the total length of chunk extensions received in a request to an amount reasonable for the
/// services provided" (RFC 9112 section 7.1.1)
#[test]
fn chunk_extensions_are_limited_in_total() {
    let with = |limit, text: &str| {
        let limits = Limits { chunk_extension_bytes: limit, ..Limits::default() };
        let mut decoder = BodyDecoder::with_limits(BodyKind::Chunked, &limits, false);
        decode(&mut decoder, text.as_bytes(), 1..=text.len()).map(|body| body.done)
    };
    let text = "1;ab\r\nx\r\n1 ;\tc=\"d\"\r\ny\r\n0\r\n\r\n";
    assert_eq!(with(11, text), Ok(true));
    assert_eq!(with(10, text), Err(BodyError::ChunkExtensionsTooLarge));
    let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(16 * 1024));
    assert_eq!(refused_body(&long), BodyError::ChunkExtensionsTooLarge);
    assert_eq!(with(16 * 1024 + 1, &long), Ok(true));
}

/// "trailer-section = *( field-line CRLF )" (RFC 9112 section 7.1.2)
#[test]
fn trailers_are_checked_even_when_dropped() {
    for line in [" a: b", "a : b", ": b", "a", "a: b\x01", "a: b\0", "a\u{e9}: b", "a: b\r\n c"] {
        assert_eq!(refused_body(&format!("0\r\n{line}\r\n\r\n")), BodyError::InvalidTrailer, "{line:?}");
    }
    assert_eq!(refused_body("0\r\na: b\n\r\n"), BodyError::BareLf);
    assert_eq!(refused_body("0\r\na: b\rc\r\n\r\n"), BodyError::BareCr);
    let mut decoder = BodyDecoder::new(BodyKind::Chunked);
    let body = decode(&mut decoder, b"0\r\na: b\r\n\r\n", [11]).unwrap();
    assert_eq!((body.done, body.trailers), (true, None));
}

/// Fields that describe framing, routing, authentication, request modifiers, response controls or content format are not
/// allowed as trailers (RFC 9110 section 6.5.1).
#[test]
fn forbidden_trailers_are_filtered() {
    let forbidden = [
        "Transfer-Encoding",
        "CONTENT-LENGTH",
        "Host",
        "Trailer",
        "TE",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "Proxy-Connection",
        "Authorization",
        "Proxy-Authorization",
        "WWW-Authenticate",
        "Proxy-Authenticate",
        "Authentication-Info",
        "Cookie",
        "Set-Cookie",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Content-New",
        "Cache-Control",
        "Expect",
        "Max-Forwards",
        "Pragma",
        "Range",
        "If-Match",
        "If-Modified-Since",
        "Age",
        "Date",
        "Expires",
        "Location",
        "Retry-After",
        "Vary",
        "Warning",
        "Via",
        "Forwarded",
        "X-Forwarded-For",
        "X-Request-Id",
        "X-Envoy-Internal",
        "HTTP2-Settings",
    ];
    for name in forbidden {
        assert_eq!(chunked(&format!("0\r\n{name}: x\r\n\r\n")).unwrap().trailers, None, "{name}");
    }
    let kept = chunked("0\r\nGrpc-Status:0\r\nHost: x\r\nDigest: \t a b \t\r\n\r\n").unwrap();
    assert_eq!(kept.trailers.as_deref(), Some(&b"Grpc-Status: 0\r\nDigest: a b\r\n"[..]));
}

#[test]
fn trailers_are_limited() {
    let with = |limits: Limits, text: &str| {
        let mut decoder = BodyDecoder::with_limits(BodyKind::Chunked, &limits, true);
        decode(&mut decoder, text.as_bytes(), [text.len()]).map(|body| body.done)
    };
    let text = "0\r\na: b\r\nc: d\r\n\r\n";
    let bytes = |trailer_bytes| Limits { trailer_bytes, ..Limits::default() };
    assert_eq!(with(bytes(12), text), Ok(true));
    assert_eq!(with(bytes(11), text), Err(BodyError::TrailersTooLarge));
    let lines = |fields| Limits { fields, ..Limits::default() };
    assert_eq!(with(lines(2), text), Ok(true));
    assert_eq!(with(lines(1), text), Err(BodyError::TooManyTrailers));
    assert_eq!((BodyError::TrailersTooLarge.status(), BodyError::TooManyTrailers.status()), (431, 431));
}

/// The bytes after the message belong to the next one.
#[test]
fn pipelined_bytes_are_left_alone() {
    let text = "1\r\nx\r\n0\r\n\r\n0\r\n\r\n";
    let mut decoder = BodyDecoder::new(BodyKind::Chunked);
    assert_eq!(decoder.decode(text.as_bytes()), Ok(Decoded { consumed: 11, data: 3..4, done: true }));
    assert_eq!(decoder.decode(&text.as_bytes()[11..]).unwrap().consumed, 0);
}
