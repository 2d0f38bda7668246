//! What is written is read back the same.

use super::{Said, one, said};
use crate::codec::h2::frame::{self, FRAME_MAX, HEADER, STREAM_MAX};
use crate::codec::h2::{Code, Event};

/// A block of any length, in as many frames as it takes.
#[test]
fn blocks_are_split() {
    for frame_max in [16, 100, FRAME_MAX] {
        for len in [0_usize, 1, 15, 16, 17, 31, 32, 33, 99, 100, 101, 140] {
            for ends in [false, true] {
                let block: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
                let mut out = b"before".to_vec();
                let written = frame::headers(&mut out, 1, ends, frame_max, |out| out.extend_from_slice(&block));
                let frames = len.div_ceil(frame_max).max(1);
                assert_eq!((written, out.len()), (len + frames * HEADER, written + 6), "{len} by {frame_max}");
                assert_eq!(one(&out[6..]), Said::Block { stream: 1, ends, bytes: block }, "{len} by {frame_max}");
            }
        }
    }
    let mut out = Vec::new();
    frame::headers(&mut out, 1, true, FRAME_MAX, |out| out.resize(out.len() + 3 * FRAME_MAX + 1, 7));
    assert_eq!(out.len(), 3 * FRAME_MAX + 1 + 4 * HEADER);
    assert_eq!(one(&out), Said::Block { stream: 1, ends: true, bytes: vec![7; 3 * FRAME_MAX + 1] });
}

#[test]
fn all_other_frames() {
    let mut out = Vec::new();
    frame::rst_stream(&mut out, STREAM_MAX, Code::CANCEL);
    frame::settings(&mut out, &[(1, 2), (0xffff, u32::MAX)]);
    frame::settings_ack(&mut out);
    frame::ping(&mut out, false, [1; 8]);
    frame::ping(&mut out, true, [2; 8]);
    frame::goaway(&mut out, 5, Code::ENHANCE_YOUR_CALM, b"why");
    frame::window_update(&mut out, 0, STREAM_MAX);
    out.extend_from_slice(&frame::data_header(3, 9, true));
    out.extend_from_slice(b"end");
    let (said, result) = said(&out);
    assert_eq!(result, Ok(()));
    let event = Said::Event;
    assert_eq!(
        said,
        [
            event(Event::Reset { stream: STREAM_MAX, code: Code::CANCEL }),
            Said::Settings(vec![(1, 2), (0xffff, u32::MAX)]),
            event(Event::SettingsAck),
            event(Event::Ping([1; 8])),
            event(Event::PingAck([2; 8])),
            event(Event::GoAway { last: 5, code: Code::ENHANCE_YOUR_CALM }),
            event(Event::WindowUpdate { stream: 0, increment: STREAM_MAX }),
            Said::Data { stream: 9, bytes: b"end".to_vec(), flow: 3, is_empty: false, ends: true },
        ]
    );
}
