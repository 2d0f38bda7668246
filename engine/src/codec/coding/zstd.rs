//! Zstandard (RFC 8878), with the bounds that RFC 9659 sets for its use as a content coding.

use super::{Corrupt, Goal, Settings, Step};
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

/// Sizes of the encoder's tables as powers of two; with them the state takes less than 256 KiB.
const WINDOW_LOG: u32 = 16;
const HASH_LOG: u32 = 13;

/// RFC 9659: a window of up to 8 MiB must be accepted, and a sender must not need more.
const WINDOW_LOG_MAX: u32 = 23;

pub struct Encoder(CCtx<'static>);

impl Encoder {
    pub(super) fn new(level: u8) -> Self {
        let mut context = CCtx::create();
        let block = Settings::Zstd { level }.slice() as u32;
        for parameter in [
            CParameter::CompressionLevel(i32::from(level)),
            CParameter::WindowLog(WINDOW_LOG),
            CParameter::HashLog(HASH_LOG),
            CParameter::ChainLog(HASH_LOG),
            CParameter::MaxBlockSize(block),
        ] {
            context.set_parameter(parameter).expect("the library knows the parameter and its bounds");
        }
        Self(context)
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.sizeof()
    }

    pub(super) fn reset(&mut self) {
        self.0.reset(ResetDirective::SessionOnly).expect("a session can always be reset");
    }

    pub(super) fn step(&mut self, input: &[u8], goal: Goal, out: &mut [u8]) -> Result<Step, Corrupt> {
        let directive = match goal {
            Goal::Take => ZSTD_EndDirective::ZSTD_e_continue,
            Goal::Flush => ZSTD_EndDirective::ZSTD_e_flush,
            Goal::End => ZSTD_EndDirective::ZSTD_e_end,
        };
        let (mut source, mut target) = (InBuffer::around(input), OutBuffer::around(out));
        let left = self.0.compress_stream2(&mut target, &mut source, directive).map_err(|_| Corrupt)?;
        let (consumed, produced) = (source.pos(), target.pos());
        let is_done = match goal {
            Goal::Take => consumed == input.len(),
            Goal::Flush | Goal::End => left == 0,
        };
        Ok(Step { consumed, produced, is_done })
    }
}

/// Frames may follow one another (RFC 8878 section 3).
pub struct Decoder {
    context: DCtx<'static>,
    may_end: bool,
}

impl Decoder {
    pub(super) fn new() -> Self {
        let mut context = DCtx::create();
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).expect("within the library's bounds");
        Self { context, may_end: true }
    }

    pub(super) fn bytes(&self) -> usize {
        self.context.sizeof()
    }

    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Corrupt> {
        if input.is_empty() && self.may_end {
            return Ok(Step { is_done: true, ..Step::default() });
        }
        let room = out.len();
        let (mut source, mut target) = (InBuffer::around(input), OutBuffer::around(out));
        let hint = self.context.decompress_stream(&mut target, &mut source).map_err(|_| Corrupt)?;
        let (consumed, produced) = (source.pos(), target.pos());
        self.may_end = hint == 0;
        Ok(Step { consumed, produced, is_done: consumed == input.len() && produced < room })
    }

    pub(super) fn may_end(&self) -> bool {
        self.may_end
    }
}
