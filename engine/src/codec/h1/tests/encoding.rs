//! What is written, byte for byte, and that it is read back as it was meant.

use super::encode::*;
use super::*;
use crate::http::reason;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn lines() {
    assert_eq!(written(|out| request_line(out, b"GET", &[&b"/"[..], b"a?b"])), "GET /a?b HTTP/1.1\r\n");
    assert_eq!(written(|out| status_line(out, 200, b"OK")), "HTTP/1.1 200 OK\r\n");
    assert_eq!(written(|out| status_line(out, 404, b"Not Found")), "HTTP/1.1 404 Not Found\r\n");
    // "A server MUST send the space that separates the status-code from the reason-phrase even when the reason-phrase
    // is absent" (RFC 9112 section 4)
    assert_eq!(written(|out| status(out, 799)), "HTTP/1.1 799 \r\n");
    assert_eq!(written(|out| field(out, b"a", b"b c")), "a: b c\r\n");
    assert_eq!(written(|out| field_u64(out, b"content-length", u64::MAX)), "content-length: 18446744073709551615\r\n");
    assert_eq!(written(end), "\r\n");
}

#[test]
fn every_status_line_is_read_back() {
    for code in 100..1000 {
        let text = written(|out| {
            status(out, code);
            end(out);
        });
        match code {
            101 => assert!(response(&text).is_err()),
            _ => {
                let head = response(&text).unwrap();
                assert_eq!((head.status, head.reason.of(text.as_bytes())), (code, reason(code).as_bytes()));
            }
        }
    }
}

/// "chunk-size = 1*HEXDIG" (RFC 9112 section 7.1), with the CRLF that ends the chunk before where asked.
#[test]
fn chunk_headers() {
    for size in [1, 9, 10, 15, 16, 255, 256, 65_535, 1 << 32, u64::MAX] {
        assert_eq!(ChunkHeader::new(size).as_slice(), format!("{size:x}\r\n").as_bytes());
        assert_eq!(ChunkHeader::after_data(size).as_slice(), format!("\r\n{size:x}\r\n").as_bytes());
    }
}

#[test]
fn last_chunks() {
    assert_eq!(written(|out| last_chunk(out, b"", false)).as_bytes(), LAST_CHUNK);
    assert_eq!(written(|out| last_chunk(out, b"", true)).as_bytes(), LAST_CHUNK_AFTER_DATA);
    assert_eq!(written(|out| last_chunk(out, b"a: b\r\n", true)), "\r\n0\r\na: b\r\n\r\n");
}

#[test]
fn a_chunked_body_is_read_back() {
    let mut out = Vec::new();
    for (at, size) in [1u64, 15, 16, 4096].into_iter().enumerate() {
        let header = if at == 0 { ChunkHeader::new(size) } else { ChunkHeader::after_data(size) };
        out.extend_from_slice(header.as_ref());
        out.resize(out.len() + size as usize, b'x');
    }
    out.extend_from_slice(LAST_CHUNK_AFTER_DATA);
    let mut decoder = BodyDecoder::new(BodyKind::Chunked);
    let (mut at, mut body) = (0, 0);
    while !decoder.is_done() {
        let decoded = decoder.decode(&out[at..]).unwrap();
        body += decoded.data.len();
        at += decoded.consumed;
    }
    assert_eq!((at, body), (out.len(), 1 + 15 + 16 + 4096));
}

#[test]
fn nothing_is_allocated_when_there_is_room() {
    let mut out = Vec::with_capacity(4096);
    let before = (out.as_ptr(), out.capacity());
    request_line(&mut out, b"GET", &[b"/a"]);
    status(&mut out, 200);
    field(&mut out, b"host", b"example.com");
    field_u64(&mut out, b"content-length", 1 << 40);
    last_chunk(&mut out, b"a: b\r\n", true);
    assert_eq!((out.as_ptr(), out.capacity()), before);
}

/// A CR or LF in a part would start a line of its own.
#[cfg(debug_assertions)]
#[test]
#[should_panic(expected = "assertion failed")]
fn injection_is_caught_in_debug_builds() {
    field(&mut Vec::new(), b"a", b"b\r\nc: d");
}
