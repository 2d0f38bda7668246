//! gzip (RFC 1952), with zlib-rs.

use super::{Corrupt, Goal, Step};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

pub struct Encoder(Compress);

impl Encoder {
    pub(super) fn new(level: u8, window_bits: u8) -> Self {
        Self(Compress::new_gzip(Compression::new(u32::from(level)), window_bits))
    }

    pub(super) fn reset(&mut self) {
        self.0.reset();
    }

    pub(super) fn step(&mut self, input: &[u8], goal: Goal, out: &mut [u8]) -> Result<Step, Corrupt> {
        let before = (self.0.total_in(), self.0.total_out());
        let flush = match goal {
            Goal::Take => FlushCompress::None,
            Goal::Flush => FlushCompress::Sync,
            Goal::End => FlushCompress::Finish,
        };
        let status = self.0.compress(input, out, flush).map_err(|_| Corrupt)?;
        let consumed = (self.0.total_in() - before.0) as usize;
        let produced = (self.0.total_out() - before.1) as usize;
        let is_done = match goal {
            Goal::Take => consumed == input.len(),
            Goal::Flush => produced < out.len(),
            Goal::End => status == Status::StreamEnd,
        };
        Ok(Step { consumed, produced, is_done })
    }
}

/// Members may follow one another (RFC 1952 section 2.2).
pub struct Decoder {
    member: Decompress,
    has_begun: bool,
    /// The present member is complete.
    is_over: bool,
}

/// The largest window that there is: any sender's fits.
const WINDOW_BITS: u8 = 15;

impl Decoder {
    pub(super) fn new() -> Self {
        Self { member: Decompress::new_gzip(WINDOW_BITS), has_begun: false, is_over: false }
    }

    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Corrupt> {
        if self.is_over {
            if input.is_empty() {
                return Ok(Step { is_done: true, ..Step::default() });
            }
            *self = Self::new();
        }
        self.has_begun |= !input.is_empty();
        let before = (self.member.total_in(), self.member.total_out());
        let status = self.member.decompress(input, out, FlushDecompress::None).map_err(|_| Corrupt)?;
        let consumed = (self.member.total_in() - before.0) as usize;
        let produced = (self.member.total_out() - before.1) as usize;
        self.is_over = status == Status::StreamEnd;
        let is_done = consumed == input.len() && (self.is_over || produced < out.len());
        if !is_done && consumed == 0 && produced == 0 && !self.is_over {
            // There is input and room, and the library makes no use of them.
            return Err(Corrupt);
        }
        Ok(Step { consumed, produced, is_done })
    }

    pub(super) fn may_end(&self) -> bool {
        self.is_over || !self.has_begun
    }
}
