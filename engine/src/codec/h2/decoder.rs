//! Frames on their way in: found however the bytes are cut, each checked as far as it can be without knowing its stream
//! (RFC 9113 sections 4 and 6).

use super::error::{Code, Error, Scope};
use super::frame::{FRAME_MAX, HEADER, STREAM_MAX, flag, kind};
use std::ops::Range;

/// CONTINUATION frames behind one HEADERS frame at most (security: a flood of them costs and never ends).
const CONTINUATIONS_MAX: u8 = 8;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole header block: [`Decoder::payload`] has it.
    Headers {
        stream: u32,
        ends: bool,
    },
    /// A part of a DATA frame.
    Data {
        stream: u32,
        /// In the bytes of this call.
        part: Range<usize>,
        /// Bytes that count for flow control: those of the part and its padding.
        flow: u32,
        /// The frame is whole, and there was nothing but padding in it.
        is_empty: bool,
        /// The stream ends with it.
        ends: bool,
    },
    Priority {
        stream: u32,
    },
    Reset {
        stream: u32,
        code: Code,
    },
    /// Pairs of a setting and its value: [`Decoder::settings`] has them.
    Settings,
    SettingsAck,
    Ping([u8; 8]),
    PingAck([u8; 8]),
    GoAway {
        last: u32,
        code: Code,
    },
    /// For the connection: stream 0.
    WindowUpdate {
        stream: u32,
        increment: u32,
    },
    /// A frame of a kind that is not known is ignored (RFC 9113 section 5.5).
    Unknown,
    /// The frame breaks a rule, and its stream ends by it.
    Wrong(Error),
}

#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Bytes of payload that have not come yet, without padding.
    left: usize,
    /// The same of its padding.
    padding: usize,
    /// The byte that tells the padding's length has come, or there is none.
    has_padding: bool,
    /// A part of its data has come.
    has_data: bool,
}

/// What payload the last event is about.
#[derive(Debug, Default)]
enum Whole {
    #[default]
    Gathered,
    Input(Range<usize>),
}

/// Finds frames in what a peer sends.
#[derive(Debug)]
pub struct Decoder {
    header: [u8; HEADER],
    filled: usize,
    /// The frame whose payload comes.
    frame: Option<Frame>,
    /// A payload that came in pieces, or a header block in several frames.
    gathered: Vec<u8>,
    /// What `gathered` holds belongs to the event that was given last.
    is_given: bool,
    whole: Whole,
    /// The stream whose header block goes on, whether it ends the stream, and how many frames it has.
    continued: Option<(u32, bool, u8)>,
    /// Bytes of a header block that are gathered at most.
    block_max: usize,
}

impl Decoder {
    /// `block_max`: bytes of a header block, as it comes, that are taken at most.
    pub fn new(block_max: usize) -> Self {
        Self {
            header: [0; HEADER],
            filled: 0,
            frame: None,
            gathered: Vec::new(),
            is_given: false,
            whole: Whole::Gathered,
            continued: None,
            block_max,
        }
    }

    /// The header block or the settings that the last event told of; `input`: what the call was given.
    pub fn payload<'a>(&'a self, input: &'a [u8]) -> &'a [u8] {
        match &self.whole {
            Whole::Gathered => &self.gathered,
            Whole::Input(range) => &input[range.clone()],
        }
    }

    /// The settings that the last event told of.
    pub fn settings<'a>(&'a self, input: &'a [u8]) -> impl Iterator<Item = (u16, u32)> + 'a {
        let (pairs, _) = self.payload(input).as_chunks();
        pairs.iter().map(|[a, b, c, d, e, f]| (u16::from_be_bytes([*a, *b]), u32::from_be_bytes([*c, *d, *e, *f])))
    }

    /// Whether the peer stopped within a frame or a header block.
    pub fn is_within(&self) -> bool {
        self.filled > 0 || self.frame.is_some() || self.continued.is_some()
    }

    /// Memory that is held while nothing is under way goes back to the heap.
    pub fn shrink(&mut self) {
        if self.is_given || self.gathered.is_empty() {
            self.gathered = Vec::new();
        }
    }

    /// The next event in `input`, and how many of its bytes were used. `None`: more bytes are needed, and all were used.
    ///
    /// # Errors
    /// The bytes are not such as may stand there (RFC 9113 sections 4.2, 4.3 and 6), and the connection ends by it.
    pub fn next(&mut self, input: &[u8]) -> Result<(usize, Option<Event>), Error> {
        if std::mem::take(&mut self.is_given) {
            self.gathered.clear();
        }
        if let Some((used, event)) = self.plain(input) {
            return Ok((used, Some(event)));
        }
        let mut used = 0;
        loop {
            let Some(mut frame) = self.frame else {
                let now = (HEADER - self.filled).min(input.len() - used);
                self.header[self.filled..self.filled + now].copy_from_slice(&input[used..used + now]);
                (used, self.filled) = (used + now, self.filled + now);
                if self.filled < HEADER {
                    return Ok((used, None));
                }
                self.filled = 0;
                self.frame = Some(self.begin()?);
                continue;
            };
            if !frame.has_padding {
                let Some(length) = input.get(used) else { return Ok((used, None)) };
                used += 1;
                // Padding that is longer than what is left would be read as the next frame.
                let prefix = if frame.kind == kind::HEADERS && frame.flags & flag::PRIORITY != 0 { 5 } else { 0 };
                let rest = frame.left.checked_sub(usize::from(*length)).filter(|rest| *rest >= prefix);
                frame.left = rest.ok_or(Error::protocol("padding is longer than its frame"))?;
                (frame.padding, frame.has_padding) = (usize::from(*length), true);
                self.frame = Some(frame);
                if frame.kind == kind::DATA {
                    // The byte counts for flow control, too.
                    return Ok((used, Some(self.data(frame, used..used, 1))));
                }
                continue;
            }
            let part = used..used + frame.left.min(input.len() - used);
            frame.left -= part.len();
            let padding = if frame.left == 0 { frame.padding.min(input.len() - part.end) } else { 0 };
            frame.padding -= padding;
            used = part.end + padding;
            if frame.kind == kind::DATA {
                let flow = (part.len() + padding) as u32;
                let is_whole = frame.left + frame.padding == 0;
                if flow == 0 && !is_whole {
                    self.frame = Some(frame);
                    return Ok((used, None));
                }
                return Ok((used, Some(self.data(frame, part, flow))));
            }
            if let Some(event) = self.take(frame, part, input)? {
                return Ok((used, Some(event)));
            }
            if used == input.len() {
                return Ok((used, None));
            }
        }
    }

    /// A frame as nearly all are, and what the steps of `next` would make of it: DATA, or HEADERS that need no CONTINUATION,
    /// that begins and ends in `input` and has neither padding nor a priority.
    #[inline]
    fn plain(&mut self, input: &[u8]) -> Option<(usize, Event)> {
        let [a, b, c, kind, flags, rest @ ..] = *input.first_chunk::<HEADER>()?;
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(rest) & STREAM_MAX;
        let end = HEADER + len;
        let begins = self.filled == 0 && self.frame.is_none() && self.continued.is_none() && self.gathered.is_empty();
        if !begins || end > input.len() || len > FRAME_MAX || stream == 0 {
            return None;
        }
        let ends = flags & flag::END_STREAM != 0;
        match kind {
            kind::DATA if flags & flag::PADDED == 0 => {
                let (part, flow) = (HEADER..end, len as u32);
                Some((end, Event::Data { stream, part, flow, is_empty: len == 0, ends }))
            }
            kind::HEADERS
                if flags & (flag::PADDED | flag::PRIORITY | flag::END_HEADERS) == flag::END_HEADERS
                    && len <= self.block_max =>
            {
                (self.whole, self.is_given) = (Whole::Input(HEADER..end), true);
                Some((end, Event::Headers { stream, ends }))
            }
            _ => None,
        }
    }

    /// A part of a DATA frame has come; what is left of it comes later.
    fn data(&mut self, mut frame: Frame, part: Range<usize>, flow: u32) -> Event {
        let is_whole = frame.left + frame.padding == 0;
        frame.has_data |= !part.is_empty();
        self.frame = if is_whole { None } else { Some(frame) };
        let (ends, is_empty) = (is_whole && frame.flags & flag::END_STREAM != 0, is_whole && !frame.has_data);
        Event::Data { stream: frame.stream, part, flow, is_empty, ends }
    }

    /// A part of another frame has come. `Some`: it is whole.
    fn take(&mut self, frame: Frame, part: Range<usize>, input: &[u8]) -> Result<Option<Event>, Error> {
        let is_whole = frame.left + frame.padding == 0;
        if frame.kind > kind::CONTINUATION {
            self.frame = if is_whole { None } else { Some(frame) };
            return Ok(is_whole.then_some(Event::Unknown));
        }
        let is_block = matches!(frame.kind, kind::HEADERS | kind::CONTINUATION);
        if is_block && self.gathered.len() + part.len() > self.block_max {
            return Err(Error::connection(Code::ENHANCE_YOUR_CALM, "a header block is too long"));
        }
        let is_one = is_whole && self.gathered.is_empty();
        if is_one && !(is_block && frame.flags & flag::END_HEADERS == 0) {
            self.whole = Whole::Input(part);
        } else {
            self.whole = Whole::Gathered;
            self.gathered.extend_from_slice(&input[part]);
        }
        self.frame = if is_whole { None } else { Some(frame) };
        if !is_whole {
            return Ok(None);
        }
        if is_block {
            return self.block(frame, input);
        }
        let event = match self.control(frame, input) {
            Err(error @ Error { scope: Scope::Stream(_), .. }) => Event::Wrong(error),
            other => other?,
        };
        Ok(Some(event))
    }

    /// A HEADERS or CONTINUATION frame is whole.
    fn block(&mut self, frame: Frame, input: &[u8]) -> Result<Option<Event>, Error> {
        if frame.kind == kind::HEADERS && frame.flags & flag::PRIORITY != 0 {
            let Some((priority, _)) = self.payload(input).split_first_chunk::<5>() else {
                return Err(Error::size("HEADERS is too short for its priority"));
            };
            let depends_on = number(&priority[..4]) & STREAM_MAX;
            match &mut self.whole {
                Whole::Input(range) => range.start += 5,
                Whole::Gathered => drop(self.gathered.drain(..5)),
            }
            if depends_on == frame.stream {
                return Err(Error::protocol("a stream depends on itself"));
            }
        }
        let (ends, frames) = match self.continued.take() {
            Some((_, ends, frames)) => (ends, frames + 1),
            None => (frame.flags & flag::END_STREAM != 0, 0),
        };
        if frame.flags & flag::END_HEADERS == 0 {
            if frames >= CONTINUATIONS_MAX {
                return Err(Error::connection(Code::ENHANCE_YOUR_CALM, "a header block has too many frames"));
            }
            self.continued = Some((frame.stream, ends, frames));
            return Ok(None);
        }
        self.is_given = true;
        Ok(Some(Event::Headers { stream: frame.stream, ends }))
    }

    fn control(&mut self, frame: Frame, input: &[u8]) -> Result<Event, Error> {
        self.is_given = true;
        let payload = self.payload(input);
        let (stream, is_ack) = (frame.stream, frame.flags & flag::ACK != 0);
        Ok(match frame.kind {
            kind::PRIORITY if payload.len() != 5 => {
                return Err(Error::stream(stream, Code::FRAME_SIZE_ERROR, "PRIORITY has another size than 5"));
            }
            kind::PRIORITY if number(&payload[..4]) & STREAM_MAX == stream => {
                return Err(Error::stream(stream, Code::PROTOCOL_ERROR, "a stream depends on itself"));
            }
            kind::PRIORITY => Event::Priority { stream },
            kind::RST_STREAM => Event::Reset { stream, code: Code(number(payload)) },
            kind::SETTINGS if is_ack => Event::SettingsAck,
            kind::SETTINGS => Event::Settings,
            kind::PING => {
                let data = payload.try_into().unwrap_or_default();
                if is_ack { Event::PingAck(data) } else { Event::Ping(data) }
            }
            kind::GOAWAY => {
                Event::GoAway { last: number(&payload[..4]) & STREAM_MAX, code: Code(number(&payload[4..8])) }
            }
            _ => match number(payload) & STREAM_MAX {
                0 if stream == 0 => return Err(Error::protocol("WINDOW_UPDATE by nothing")),
                0 => return Err(Error::stream(stream, Code::PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")),
                increment => Event::WindowUpdate { stream, increment },
            },
        })
    }

    /// A frame's header is whole.
    fn begin(&self) -> Result<Frame, Error> {
        let [a, b, c, kind, flags, rest @ ..] = self.header;
        let left = number(&[a, b, c]) as usize;
        let stream = u32::from_be_bytes(rest) & STREAM_MAX;
        if left > FRAME_MAX {
            return Err(Error::size("a frame is too long"));
        }
        match self.continued {
            Some((continued, _, _)) if kind != kind::CONTINUATION || stream != continued => {
                return Err(Error::protocol("a header block is interrupted"));
            }
            None if kind == kind::CONTINUATION => return Err(Error::protocol("CONTINUATION continues nothing")),
            _ => {}
        }
        let of_connection = matches!(kind, kind::SETTINGS | kind::PING | kind::GOAWAY);
        let of_stream = matches!(
            kind,
            kind::DATA | kind::HEADERS | kind::PRIORITY | kind::RST_STREAM | kind::PUSH_PROMISE | kind::CONTINUATION
        );
        if of_connection && stream != 0 || of_stream && stream == 0 {
            return Err(Error::protocol("a frame stands on the wrong stream"));
        }
        let is_ack = flags & flag::ACK != 0;
        let fits = match kind {
            kind::RST_STREAM | kind::WINDOW_UPDATE => left == 4,
            kind::PING => left == 8,
            kind::GOAWAY => left >= 8,
            kind::SETTINGS => left.is_multiple_of(6) && !(is_ack && left > 0),
            kind::PUSH_PROMISE => return Err(Error::protocol("PUSH_PROMISE was not asked for")),
            _ => true,
        };
        if !fits {
            return Err(Error::size("a frame has a size that its kind does not have"));
        }
        let is_padded = flags & flag::PADDED != 0 && matches!(kind, kind::DATA | kind::HEADERS);
        if is_padded && left == 0 {
            return Err(Error::size("a padded frame is empty"));
        }
        let left = left - usize::from(is_padded);
        Ok(Frame { kind, flags, stream, left, padding: 0, has_padding: !is_padded, has_data: false })
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
