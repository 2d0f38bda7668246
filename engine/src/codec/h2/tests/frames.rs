//! What each kind of frame says, however its bytes come (RFC 9113 section 6).

use super::{Said, block, frame, headers, one, padded, said, settings};
use crate::codec::h2::frame::{STREAM_MAX, flag, kind};
use crate::codec::h2::{Code, Decoder, Event};

fn data(bytes: &[u8], flow: usize, ends: bool) -> Said {
    Said::Data { stream: 1, bytes: bytes.to_vec(), flow: flow as u32, is_empty: bytes.is_empty(), ends }
}

fn whole_block(bytes: &[u8], ends: bool) -> Said {
    Said::Block { stream: 1, ends, bytes: bytes.to_vec() }
}

/// haproxy#3354: padding is neither data nor the next frame.
#[test]
fn padding_is_counted_and_not_read() {
    for len in [0, 1, 7, 300] {
        let payload = vec![b'x'; len];
        for padding in [0, 1, 8, 9, 254, 255] {
            for (flags, ends) in [(0, false), (flag::END_STREAM, true)] {
                let bytes = padded(kind::DATA, flags, 1, &payload, padding);
                assert_eq!(one(&bytes), data(&payload, len + 1 + usize::from(padding), ends), "{len} {padding}");
            }
            let bytes = padded(kind::HEADERS, flag::END_HEADERS, 1, &payload, padding);
            assert_eq!(one(&bytes), whole_block(&payload, false), "{len} {padding}");
        }
    }
    // All that there is: one less than the payload.
    assert_eq!(one(&padded(kind::DATA, 0, 1, b"", 255)), data(b"", 256, false));
}

#[test]
fn a_padded_frame_is_followed_by_the_next_one() {
    let frames = [
        padded(kind::DATA, 0, 1, b"one", 9),
        padded(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, b"block", 8),
        frame(kind::PING, 0, 0, &[1; 8]),
        padded(kind::DATA, 0, 1, b"two", 255),
        frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
    ];
    let (said, result) = said(&frames.concat());
    assert_eq!(result, Ok(()));
    assert_eq!(
        said,
        [
            data(b"one", 13, false),
            whole_block(b"block", true),
            Said::Event(Event::Ping([1; 8])),
            data(b"two", 259, false),
            Said::Event(Event::WindowUpdate { stream: 0, increment: 1 }),
        ]
    );
}

/// Only a frame that holds nothing is empty, whatever padding comes alone.
#[test]
fn empty_data() {
    assert_eq!(one(&frame(kind::DATA, 0, 1, b"")), data(b"", 0, false));
    assert_eq!(one(&frame(kind::DATA, flag::END_STREAM, 1, b"")), data(b"", 0, true));
    let mut decoder = Decoder::new(100);
    let bytes = padded(kind::DATA, 0, 1, b"x", 2);
    let events: Vec<Event> = bytes.iter().filter_map(|byte| decoder.next(&[*byte]).unwrap().1).collect();
    assert_eq!(events.len(), 4, "its length, its data, and each byte of padding: {events:?}");
    assert!(events.iter().all(|event| matches!(event, Event::Data { is_empty: false, .. })), "{events:?}");
}

#[test]
fn header_blocks_in_one_and_in_several_frames() {
    let (end, end_all) = (flag::END_STREAM, flag::END_STREAM | flag::END_HEADERS);
    assert_eq!(one(&headers(b"block")), whole_block(b"block", false));
    assert_eq!(one(&headers(b"")), whole_block(b"", false));
    assert_eq!(one(&block(kind::HEADERS, end_all, b"block")), whole_block(b"block", true));
    let priority = [0, 0, 0, 3, 15];
    let with_priority = [&priority[..], b"block"].concat();
    let flags = flag::PRIORITY | flag::END_HEADERS;
    assert_eq!(one(&block(kind::HEADERS, flags, &with_priority)), whole_block(b"block", false));
    assert_eq!(one(&block(kind::HEADERS, flags, &priority)), whole_block(b"", false));
    assert_eq!(one(&padded(kind::HEADERS, flags, 1, &with_priority, 30)), whole_block(b"block", false));
    // END_STREAM is that of the HEADERS frame; empty parts are parts.
    for parts in [&[&b"bl"[..], b"ock"][..], &[b"", b"block"], &[b"block", b""], &[b"b", b"", b"lo", b"c", b"k"]] {
        for first in [end, end | flag::PRIORITY] {
            let with_priority = [&priority, parts[0]].concat();
            let begin = if first == end { parts[0] } else { &with_priority };
            let mut bytes = block(kind::HEADERS, first, begin);
            for (index, part) in parts.iter().enumerate().skip(1) {
                let flags = if index == parts.len() - 1 { flag::END_HEADERS } else { 0 };
                bytes.extend(block(kind::CONTINUATION, flags, part));
            }
            assert_eq!(one(&bytes), whole_block(b"block", true), "{parts:?}");
        }
    }
    // What a block leaves behind is not a part of the next.
    let bytes = [block(kind::HEADERS, 0, b"one"), block(kind::CONTINUATION, flag::END_HEADERS, b"!")].concat();
    let (said, result) = said(&[&bytes[..], &headers(b"two"), &bytes].concat());
    assert_eq!(result, Ok(()));
    assert_eq!(said, [whole_block(b"one!", false), whole_block(b"two", false), whole_block(b"one!", false)]);
}

#[test]
fn control_frames() {
    let event = |bytes: &[u8]| match one(bytes) {
        Said::Event(event) => event,
        other => panic!("{other:?}"),
    };
    assert_eq!(one(&settings(&[])), Said::Settings(vec![]));
    let values: Vec<(u16, u32)> = (0..500).map(|index| (index, u32::MAX - u32::from(index))).collect();
    assert_eq!(one(&settings(&values)), Said::Settings(values));
    assert_eq!(event(&frame(kind::SETTINGS, flag::ACK, 0, b"")), Event::SettingsAck);
    assert_eq!(event(&frame(kind::PING, 0, 0, b"12345678")), Event::Ping(*b"12345678"));
    assert_eq!(event(&frame(kind::PING, flag::ACK, 0, b"12345678")), Event::PingAck(*b"12345678"));
    assert_eq!(event(&frame(kind::PRIORITY, 0, 5, &[0; 5])), Event::Priority { stream: 5 });
    let reset = Event::Reset { stream: 7, code: Code(0x0102_0304) };
    assert_eq!(event(&frame(kind::RST_STREAM, 0, 7, &[1, 2, 3, 4])), reset);
    let goaway = Event::GoAway { last: STREAM_MAX, code: Code(1) };
    for debug in [0, 1, 16_376] {
        let payload = [&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1][..], &vec![b'd'; debug]].concat();
        assert_eq!(event(&frame(kind::GOAWAY, 0, 0, &payload)), goaway, "{debug}");
    }
    let update = Event::WindowUpdate { stream: 3, increment: STREAM_MAX };
    assert_eq!(event(&frame(kind::WINDOW_UPDATE, 0, 3, &[0xff; 4])), update, "the reserved bit is ignored");
}

/// "Implementations MUST ignore and discard frames of unknown types" (section 4.1), and flags that have no meaning.
#[test]
fn what_is_unknown_is_passed_over() {
    for kind in [0x0a, 0x10, 0xff] {
        for len in [0, 1, 16_384] {
            let bytes = frame(kind, 0xff, 0, &vec![9; len]);
            assert_eq!(one(&bytes), Said::Event(Event::Unknown), "{kind} {len}");
        }
    }
    let flags = !flag::ACK;
    assert_eq!(one(&frame(kind::PING, flags, 0, &[0; 8])), Said::Event(Event::Ping([0; 8])));
    assert_eq!(one(&frame(kind::DATA, !(flag::PADDED | flag::END_STREAM), 1, b"x")), data(b"x", 1, false));
    // The bit before a stream's id.
    assert_eq!(one(&frame(kind::DATA, 0, STREAM_MAX + 2, b"x")), data(b"x", 1, false));
}

/// The driver asks whether something is missing.
#[test]
fn what_has_begun_is_known() {
    let frames = [
        headers(b"block"),
        frame(kind::DATA, 0, 1, b"data"),
        padded(kind::DATA, 0, 1, b"", 3),
        frame(kind::PING, 0, 0, &[0; 8]),
        frame(0xaa, 0, 0, b"unknown"),
        [block(kind::HEADERS, 0, b"a"), block(kind::CONTINUATION, flag::END_HEADERS, b"b")].concat(),
    ];
    for bytes in frames {
        for end in 0..=bytes.len() {
            let (_, result, is_within) = super::decode(&bytes[..end], &[], 100);
            assert_eq!((result, is_within), (Ok(()), end != 0 && end != bytes.len()), "{end} of {bytes:?}");
        }
    }
}
