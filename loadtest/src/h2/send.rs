//! What may be sent: the windows that the other side opens (RFC 9113 section 5.2), and its settings.
use std::borrow::Cow;

use super::frame::{self, Frame, INITIAL_WINDOW, PAYLOAD_MAX, flag, kind, setting};
use super::hpack::{Blocks, TABLE_SIZE};
use crate::http::Malformed;

/// Bytes that are made ready to be sent at a time.
pub const READY: usize = 128 * 1024;

/// A connection's sending side.
#[derive(Debug)]
pub struct Sender {
    /// Bytes of content that the connection's window takes.
    pub connection: i64,
    /// What a new stream's window takes.
    pub initial: i64,
    /// Streams that the other side takes at a time.
    pub max_streams: usize,
    /// The other side's table is too small for what blocks keep in it.
    has_small_table: bool,
    /// That was not confirmed with a block yet (RFC 7541 section 4.2).
    owes_update: bool,
    /// The dialect of the connection's first block, whose fields are in its table.
    dialect: Option<bool>,
}

impl Default for Sender {
    fn default() -> Sender {
        Sender {
            connection: INITIAL_WINDOW,
            initial: INITIAL_WINDOW,
            max_streams: usize::MAX,
            has_small_table: false,
            owes_update: false,
            dialect: None,
        }
    }
}

impl Sender {
    /// Takes the other side's SETTINGS and acknowledges them; gives by how much the streams' windows change.
    pub fn settings(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<i64, Malformed> {
        if frame.has(flag::ACK) {
            return Ok(0);
        }
        let mut change = 0;
        for (name, value) in frame.settings()? {
            match name {
                setting::INITIAL_WINDOW_SIZE => {
                    change += i64::from(value) - self.initial;
                    self.initial = i64::from(value);
                }
                setting::MAX_CONCURRENT_STREAMS => self.max_streams = value as usize,
                setting::HEADER_TABLE_SIZE if (value as usize) < TABLE_SIZE => {
                    (self.has_small_table, self.owes_update) = (true, true);
                }
                _ => {}
            }
        }
        frame::acknowledge(out, frame);
        Ok(change)
    }

    /// The form of `blocks` that the connection is ready for. Blocks of one `dialect` have the same fields: those of the
    /// connection's first are in its table, the others are sent without it.
    pub fn block<'b>(&mut self, blocks: &'b Blocks, dialect: bool) -> Cow<'b, [u8]> {
        if self.owes_update {
            self.owes_update = false;
            return Cow::Owned([&[0x20], blocks.alone.as_slice()].concat());
        }
        match self.dialect {
            _ if self.has_small_table => Cow::Borrowed(&blocks.alone),
            None => {
                self.dialect = Some(dialect);
                Cow::Borrowed(&blocks.first)
            }
            Some(first) if first == dialect => Cow::Borrowed(&blocks.later),
            Some(_) => Cow::Borrowed(&blocks.alone),
        }
    }

    /// Writes a DATA frame with as much of `content` as the windows take; gives how much. `left` is what the stream has
    /// to send, `content` included; the frame that completes it ends the stream.
    pub fn data(&mut self, out: &mut Vec<u8>, stream: u32, window: &mut i64, content: &[u8], left: u64) -> usize {
        let open = self.connection.min(*window).max(0) as usize;
        let len = content.len().min(open).min(PAYLOAD_MAX);
        if len == 0 {
            return 0;
        }
        let flags = if len as u64 == left { flag::END_STREAM } else { 0 };
        frame::header(out, len, kind::DATA, flags, stream);
        out.extend_from_slice(&content[..len]);
        self.connection -= len as i64;
        *window -= len as i64;
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_keeps_within_both_windows() {
        let (mut sender, mut out, mut window) = (Sender { connection: 7, ..Sender::default() }, Vec::new(), 5);
        assert_eq!(sender.data(&mut out, 1, &mut window, b"abcdefgh", 8), 5);
        window += 9;
        assert_eq!(sender.data(&mut out, 1, &mut window, b"fgh", 3), 2);
        assert_eq!(sender.data(&mut out, 1, &mut window, b"h", 1), 0);
        sender.connection += 1;
        assert_eq!(sender.data(&mut out, 1, &mut window, b"h", 1), 1);
        assert_eq!(out[out.len() - 6], flag::END_STREAM);
    }

    #[test]
    fn settings_change_what_is_open() {
        let payload = [0, 4, 0, 0, 0, 10, 0, 3, 0, 0, 0, 2];
        let frame = Frame { kind: kind::SETTINGS, flags: 0, stream: 0, payload: &payload };
        let (mut sender, mut out) = (Sender::default(), Vec::new());
        assert_eq!(sender.settings(&frame, &mut out), Ok(10 - INITIAL_WINDOW));
        assert_eq!((sender.initial, sender.max_streams, out.len()), (10, 2, frame::HEADER));
        let blocks = Blocks::new(&[("a", "b")]);
        assert_eq!(sender.block(&blocks, true), blocks.first);
        assert_eq!(sender.block(&blocks, true), blocks.later);
        assert_eq!(sender.block(&blocks, false), blocks.alone);
        let small = Frame { payload: &[0, 1, 0, 0, 0, 0], ..frame };
        assert_eq!(sender.settings(&small, &mut out), Ok(0));
        assert_eq!(sender.block(&blocks, true)[0], 0x20);
        assert_eq!(sender.block(&blocks, true), blocks.alone);
    }
}
