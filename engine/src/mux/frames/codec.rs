//! Frames: bytes in, events out, and the bytes of each frame.

use super::{DATA_MAX, HEAD_MAX};
use crate::ring::Buf;

/// Bytes before each payload.
pub(super) const HEADER: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Head = 1,
    Data = 2,
    End = 3,
    Reset = 4,
    Refused = 5,
    GoAway = 6,
    Credit = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        use Kind::{Credit, Data, End, GoAway, Head, Refused, Reset};
        [Head, Data, End, Reset, Refused, GoAway, Credit].into_iter().find(|kind| *kind as u8 == byte)
    }

    fn payload_fits(self, length: usize) -> bool {
        match self {
            Self::Head | Self::End => length <= HEAD_MAX,
            Self::Data => (1..=DATA_MAX).contains(&length),
            Self::Reset | Self::Credit => length == 4,
            Self::Refused | Self::GoAway => length == 0,
        }
    }
}

/// What came.
#[derive(Debug)]
pub enum Event {
    Head(u32, Buf),
    /// Part of a DATA frame: the bytes are handed on as they come.
    Data(u32, Buf),
    End(u32, Buf),
    Reset(u32, u32),
    Refused(u32),
    /// Streams above this one are not served.
    GoAway(u32),
    Credit(u32, u32),
}

/// The bytes are no frames: the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError;

/// Finds the frames in a connection's bytes, however those are cut.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes of a frame's header, and how many of them there are.
    header: [u8; HEADER],
    filled: usize,
    /// The frame whose payload comes.
    frame: Option<(Kind, u32)>,
    /// Bytes of its payload that have not come yet.
    left: usize,
    /// A payload that is handed out whole and came in pieces.
    gathered: Vec<u8>,
}

impl Decoder {
    /// The next event in `buf`, of which the bytes used are dropped. `None`: more bytes are needed, and `buf` is empty.
    ///
    /// # Errors
    /// The bytes are no frames.
    pub fn next(&mut self, buf: &mut Buf) -> Result<Option<Event>, FrameError> {
        loop {
            let Some((kind, id)) = self.frame else {
                if self.read_header(buf)? {
                    continue;
                }
                return Ok(None);
            };
            if self.left > 0 && buf.is_empty() {
                return Ok(None);
            }
            let now = self.left.min(buf.len());
            let part = buf.slice(0..now);
            buf.advance(now);
            self.left -= now;
            if kind == Kind::Data {
                if self.left == 0 {
                    self.frame = None;
                }
                return Ok(Some(Event::Data(id, part)));
            }
            if self.left > 0 {
                self.gathered.extend_from_slice(&part);
                return Ok(None);
            }
            self.frame = None;
            return Ok(Some(event(kind, id, self.whole(part))));
        }
    }

    /// Whether the header is whole, and the frame that it begins allowed.
    fn read_header(&mut self, buf: &mut Buf) -> Result<bool, FrameError> {
        let now = (HEADER - self.filled).min(buf.len());
        self.header[self.filled..self.filled + now].copy_from_slice(&buf[..now]);
        buf.advance(now);
        self.filled += now;
        if self.filled < HEADER {
            return Ok(false);
        }
        self.filled = 0;
        let kind = Kind::from_byte(self.header[0]).ok_or(FrameError)?;
        let length = number(&self.header[5..9]) as usize;
        if !kind.payload_fits(length) {
            return Err(FrameError);
        }
        (self.frame, self.left) = (Some((kind, number(&self.header[1..5]))), length);
        Ok(true)
    }

    fn whole(&mut self, last: Buf) -> Buf {
        if self.gathered.is_empty() {
            return last;
        }
        let mut bytes = std::mem::take(&mut self.gathered);
        bytes.extend_from_slice(&last);
        Buf::from(bytes.into_boxed_slice())
    }
}

fn event(kind: Kind, id: u32, payload: Buf) -> Event {
    match kind {
        Kind::Head => Event::Head(id, payload),
        Kind::Data => Event::Data(id, payload),
        Kind::End => Event::End(id, payload),
        Kind::Reset => Event::Reset(id, number(&payload)),
        Kind::Refused => Event::Refused(id),
        Kind::GoAway => Event::GoAway(id),
        Kind::Credit => Event::Credit(id, number(&payload)),
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// What stands before a payload of `length` bytes.
pub(super) fn header(kind: Kind, id: u32, length: usize) -> [u8; HEADER] {
    let mut header = [kind as u8; HEADER];
    header[1..5].copy_from_slice(&id.to_be_bytes());
    header[5..9].copy_from_slice(&(length as u32).to_be_bytes());
    header
}

/// Append a frame whose payload `write` appends. Returns its bytes.
pub(super) fn frame(out: &mut Vec<u8>, kind: Kind, id: u32, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.extend_from_slice(&header(kind, id, 0));
    write(out);
    let payload = out.len() - start - HEADER;
    out[start..start + HEADER].copy_from_slice(&header(kind, id, payload));
    out.len() - start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], cut: usize) -> Result<Vec<String>, FrameError> {
        let mut decoder = Decoder::default();
        let mut events: Vec<String> = Vec::new();
        for part in bytes.chunks(cut) {
            let mut buf = Buf::from(Box::from(part));
            while let Some(event) = decoder.next(&mut buf)? {
                events.push(match event {
                    Event::Head(id, buf) => format!("head {id} {:?}", String::from_utf8_lossy(&buf)),
                    Event::Data(id, buf) => format!("data {id} {:?}", String::from_utf8_lossy(&buf)),
                    Event::End(id, buf) => format!("end {id} {:?}", String::from_utf8_lossy(&buf)),
                    event => format!("{event:?}"),
                });
            }
            assert!(buf.is_empty());
        }
        Ok(events)
    }

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        frame(&mut bytes, Kind::Head, 1, |out| out.extend_from_slice(b"head"));
        frame(&mut bytes, Kind::End, 2, |_| {});
        frame(&mut bytes, Kind::Reset, 3, |out| out.extend_from_slice(&7u32.to_be_bytes()));
        frame(&mut bytes, Kind::Refused, 4, |_| {});
        frame(&mut bytes, Kind::GoAway, 5, |_| {});
        frame(&mut bytes, Kind::Credit, 6, |out| out.extend_from_slice(&9u32.to_be_bytes()));
        bytes
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let expected = ["head 1 \"head\"", "end 2 \"\"", "Reset(3, 7)", "Refused(4)", "GoAway(5)", "Credit(6, 9)"];
        let bytes = sample();
        for cut in 1..=bytes.len() {
            assert_eq!(decode(&bytes, cut), Ok(expected.map(String::from).to_vec()), "cut every {cut} bytes");
        }
        let mut data = Vec::new();
        frame(&mut data, Kind::Data, 1, |out| out.extend_from_slice(b"body"));
        assert_eq!(decode(&data, 100), Ok(vec!["data 1 \"body\"".into()]));
        assert_eq!(decode(&data, HEADER + 1), Ok(vec!["data 1 \"b\"".into(), "data 1 \"ody\"".into()]));
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let begin = |kind: u8, length: u32| [&[kind, 0, 0, 0, 1][..], &length.to_be_bytes()].concat();
        for (kind, length) in [(0, 0), (8, 0), (255, 9)] {
            assert_eq!(decode(&begin(kind, length), 9), Err(FrameError), "kind {kind}");
        }
        let sizes = [
            (Kind::Head, HEAD_MAX + 1),
            (Kind::End, HEAD_MAX + 1),
            (Kind::Data, 0),
            (Kind::Data, DATA_MAX + 1),
            (Kind::Reset, 3),
            (Kind::Refused, 1),
            (Kind::GoAway, 4),
            (Kind::Credit, 5),
        ];
        for (kind, length) in sizes {
            assert_eq!(decode(&begin(kind as u8, length as u32), 9), Err(FrameError), "{kind:?} of {length}");
        }
        // No bytes make it panic.
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if seed >> 60 < 8 { (seed >> 33) as u8 % 8 } else { (seed >> 33) as u8 }
                })
                .collect();
            let _ = decode(&bytes, 7);
        }
    }
}
