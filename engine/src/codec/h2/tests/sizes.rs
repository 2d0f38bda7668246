//! Frames that are wrong by themselves: their sizes, their streams, their order (RFC 9113 sections 4.2, 4.3 and 6).

use super::{block, frame, headers, padded, said_within, wrong};
use crate::codec::h2::frame::{FRAME_MAX, flag, header, kind};
use crate::codec::h2::{Code, Error, Scope};

fn connection(code: Code) -> (Scope, Code) {
    (Scope::Connection, code)
}

#[track_caller]
fn check(bytes: &[u8], expected: (Scope, Code)) {
    let error = wrong(bytes);
    assert_eq!((error.scope, error.code), expected, "{error:?}");
}

#[test]
fn sizes_of_kinds() {
    let size = connection(Code::FRAME_SIZE_ERROR);
    for len in (0..20).filter(|len| *len != 8) {
        check(&frame(kind::PING, 0, 0, &vec![0; len]), size);
        if len < 8 {
            check(&frame(kind::GOAWAY, 0, 0, &vec![0; len]), size);
        }
    }
    for len in (0..10).filter(|len| *len != 4) {
        check(&frame(kind::RST_STREAM, 0, 1, &vec![0; len]), size);
        check(&frame(kind::WINDOW_UPDATE, 0, 0, &vec![1; len]), size);
        check(&frame(kind::WINDOW_UPDATE, 0, 1, &vec![1; len]), size);
    }
    for len in (1..20).filter(|len| len % 6 != 0) {
        check(&frame(kind::SETTINGS, 0, 0, &vec![0; len]), size);
    }
    check(&frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]), size);
    for len in (0..10).filter(|len| *len != 5) {
        check(&frame(kind::PRIORITY, 0, 3, &vec![0; len]), (Scope::Stream(3), Code::FRAME_SIZE_ERROR));
    }
    // Of any kind, also one that is not known, once its header is there.
    for kind in 0..20 {
        if kind != kind::PUSH_PROMISE && kind != kind::CONTINUATION {
            let stream = u32::from(!matches!(kind, kind::SETTINGS | kind::PING | kind::GOAWAY));
            check(&header(FRAME_MAX + 1, kind, 0, stream), size);
        }
    }
}

#[test]
fn streams_of_kinds() {
    let protocol = connection(Code::PROTOCOL_ERROR);
    for kind in [kind::DATA, kind::HEADERS, kind::PRIORITY, kind::RST_STREAM] {
        check(&header(0, kind, 0, 0), protocol);
    }
    for kind in [kind::SETTINGS, kind::PING, kind::GOAWAY] {
        check(&header(8, kind, 0, 1), protocol);
    }
    check(&frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[0, 0, 0, 2]), protocol);
}

#[test]
fn padding_that_is_too_long() {
    let protocol = connection(Code::PROTOCOL_ERROR);
    for (len, padding) in [(1, 1), (1, 255), (5, 5), (5, 255), (200, 200)] {
        let payload = [&[padding][..], &vec![0; len - 1]].concat();
        check(&frame(kind::DATA, flag::PADDED, 1, &payload), protocol);
        check(&frame(kind::HEADERS, flag::PADDED | flag::END_HEADERS, 1, &payload), protocol);
    }
    // It would be a part of the priority.
    let flags = flag::PADDED | flag::PRIORITY | flag::END_HEADERS;
    check(&frame(kind::HEADERS, flags, 1, &[1, 0, 0, 0, 0, 0]), protocol);
    check(&frame(kind::DATA, flag::PADDED, 1, b""), connection(Code::FRAME_SIZE_ERROR));
    check(&frame(kind::HEADERS, flag::PADDED, 1, b""), connection(Code::FRAME_SIZE_ERROR));
    check(&frame(kind::HEADERS, flag::PRIORITY | flag::END_HEADERS, 1, &[0; 4]), connection(Code::FRAME_SIZE_ERROR));
}

#[test]
fn values_that_are_wrong() {
    check(&frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), connection(Code::PROTOCOL_ERROR));
    check(&frame(kind::WINDOW_UPDATE, 0, 0, &[0x80, 0, 0, 0]), connection(Code::PROTOCOL_ERROR));
    check(&frame(kind::WINDOW_UPDATE, 0, 5, &[0; 4]), (Scope::Stream(5), Code::PROTOCOL_ERROR));
    check(&frame(kind::PRIORITY, 0, 5, &[0, 0, 0, 5, 0]), (Scope::Stream(5), Code::PROTOCOL_ERROR));
    check(&frame(kind::PRIORITY, 0, 5, &[0x80, 0, 0, 5, 0]), (Scope::Stream(5), Code::PROTOCOL_ERROR));
    check(
        &block(kind::HEADERS, flag::PRIORITY | flag::END_HEADERS, &[0, 0, 0, 1, 0]),
        connection(Code::PROTOCOL_ERROR),
    );
}

/// Behind a frame whose stream ends by it others follow.
#[test]
fn a_wrong_frame_of_a_stream_is_followed_by_others() {
    let bytes = [frame(kind::WINDOW_UPDATE, 0, 5, &[0; 4]), headers(b"block")].concat();
    let (said, result) = super::said(&bytes);
    assert_eq!((said.len(), result), (2, Ok(())));
}

#[test]
fn a_header_block_is_not_interrupted() {
    let protocol = connection(Code::PROTOCOL_ERROR);
    let begin = block(kind::HEADERS, 0, b"a");
    for other in [
        frame(kind::CONTINUATION, flag::END_HEADERS, 3, b""),
        frame(kind::PING, 0, 0, &[0; 8]),
        frame(kind::DATA, 0, 1, b""),
        frame(0xaa, 0, 1, b""),
        headers(b""),
    ] {
        check(&[&begin[..], &other].concat(), protocol);
    }
    check(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, b""), protocol);
    check(&[headers(b""), frame(kind::CONTINUATION, flag::END_HEADERS, 1, b"")].concat(), protocol);
}

#[test]
fn continuations_are_bounded() {
    let bytes = |count: usize, part: &[u8]| {
        let rest = block(kind::CONTINUATION, 0, part).repeat(count - 1);
        [block(kind::HEADERS, 0, b""), rest, block(kind::CONTINUATION, flag::END_HEADERS, b"")].concat()
    };
    for part in [&b""[..], b"x"] {
        let (said, result) = super::said(&bytes(8, part));
        assert_eq!((said.len(), result), (1, Ok(())));
        check(&bytes(9, part), connection(Code::ENHANCE_YOUR_CALM));
    }
}

/// However it is cut, and in how many frames.
#[test]
fn the_bytes_of_a_block_are_bounded_and_no_others() {
    let too_long = Err(Error::connection(Code::ENHANCE_YOUR_CALM, "a header block is too long"));
    let end = flag::END_HEADERS;
    for (len, is_fine) in [(100, true), (101, false), (5000, false)] {
        let payload = vec![0; len];
        let (one, other) = payload.split_at(60);
        for bytes in [
            headers(&payload),
            padded(kind::HEADERS, end, 1, &payload, 200),
            [block(kind::HEADERS, 0, one), block(kind::CONTINUATION, end, other)].concat(),
            [block(kind::HEADERS, 0, b""), block(kind::CONTINUATION, end, &payload)].concat(),
        ] {
            let (said, result) = said_within(&bytes, 100);
            assert_eq!((said.len(), result), if is_fine { (1, Ok(())) } else { (0, too_long) }, "{len}");
        }
    }
    for bytes in [
        frame(kind::GOAWAY, 0, 0, &[0; 5000]),
        frame(kind::SETTINGS, 0, 0, &[0; 6000]),
        frame(kind::DATA, 0, 1, &[0; 5000]),
        frame(0xaa, 0, 1, &[0; 5000]),
    ] {
        let (said, result) = said_within(&bytes, 100);
        assert_eq!((said.len(), result), (1, Ok(())), "{bytes:?}");
    }
}
