//! brotli (RFC 7932).

use super::{Corrupt, Goal, Step};
use ::brotli::enc::encode::{BrotliEncoderOperation, BrotliEncoderParameter, BrotliEncoderStateStruct};
use ::brotli::enc::{StandardAlloc, interface};
use ::brotli::{BrotliDecompressStream, BrotliResult, BrotliState, InputReferenceMut};

/// Input is gathered up to this many bytes: with the fast qualities, the library finds repetitions only within what it
/// gets at once.
pub(super) const BLOCK: usize = 12 * 1024;

/// Bits of the window that the stream announces, so of the memory that a receiver needs. Nothing is found further back
/// than a block.
const WINDOW_BITS: u32 = 16;

/// Bytes that a decoder takes next to its window.
pub(super) const DECODER_BYTES: usize = 96 * 1024;

pub struct Encoder {
    state: BrotliEncoderStateStruct<StandardAlloc>,
    quality: u8,
    gathered: Vec<u8>,
    /// Bytes of `gathered` that the library has taken.
    taken: usize,
}

fn state(quality: u8) -> BrotliEncoderStateStruct<StandardAlloc> {
    let mut state = BrotliEncoderStateStruct::new(StandardAlloc::default());
    state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_QUALITY, u32::from(quality));
    state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_LGWIN, WINDOW_BITS);
    state
}

impl Encoder {
    pub(super) fn new(quality: u8) -> Self {
        Self { state: state(quality), quality, gathered: Vec::with_capacity(BLOCK), taken: 0 }
    }

    /// The library cannot use its state again; what is gathered stays allocated.
    pub(super) fn reset(&mut self) {
        self.state = state(self.quality);
        self.gathered.clear();
        self.taken = 0;
    }

    pub(super) fn step(&mut self, input: &[u8], goal: Goal, out: &mut [u8]) -> Result<Step, Corrupt> {
        let consumed = input.len().min(BLOCK - self.gathered.len());
        self.gathered.extend_from_slice(&input[..consumed]);
        let is_full = self.gathered.len() == BLOCK;
        let operation = match goal {
            _ if is_full || consumed < input.len() => BrotliEncoderOperation::BROTLI_OPERATION_PROCESS,
            Goal::Take => BrotliEncoderOperation::BROTLI_OPERATION_PROCESS,
            Goal::Flush => BrotliEncoderOperation::BROTLI_OPERATION_FLUSH,
            Goal::End => BrotliEncoderOperation::BROTLI_OPERATION_FINISH,
        };
        let mut produced = 0;
        let waits = goal == Goal::Take && !is_full;
        if !waits || self.state.has_more_output() {
            let mut available = if waits { 0 } else { self.gathered.len() - self.taken };
            let mut room = out.len();
            let mut no_callback = |_: &mut interface::PredictionModeContextMap<InputReferenceMut<'_>>,
                                   _: &mut [interface::StaticCommand],
                                   _: interface::InputPair<'_>,
                                   _: &mut StandardAlloc| ();
            let works = self.state.compress_stream(
                operation,
                &mut available,
                &self.gathered,
                &mut self.taken,
                &mut room,
                out,
                &mut produced,
                &mut None,
                &mut no_callback,
            );
            if !works {
                return Err(Corrupt);
            }
            if self.taken == self.gathered.len() {
                self.gathered.clear();
                self.taken = 0;
            }
        }
        let is_empty = self.gathered.is_empty() && !self.state.has_more_output();
        let is_done = match goal {
            Goal::Take => consumed == input.len() && (waits || is_empty),
            Goal::Flush => is_empty && consumed == input.len() && !is_full,
            Goal::End => self.state.is_finished(),
        };
        Ok(Step { consumed, produced, is_done })
    }
}

type State = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

pub struct Decoder {
    state: State,
    /// From the first byte of the stream.
    window: usize,
    has_begun: bool,
    is_over: bool,
}

impl Decoder {
    pub(super) fn new() -> Self {
        let alloc = StandardAlloc::default;
        Self { state: State::new_strict(alloc(), alloc(), alloc()), window: 0, has_begun: false, is_over: false }
    }

    pub(super) fn bytes(&self) -> usize {
        DECODER_BYTES + self.window
    }

    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Corrupt> {
        if let (false, Some(first)) = (self.has_begun, input.first()) {
            self.has_begun = true;
            self.window = 1 << window_bits(*first);
        }
        if self.is_over {
            // Nothing may follow.
            return if input.is_empty() { Ok(Step { is_done: true, ..Step::default() }) } else { Err(Corrupt) };
        }
        let (mut left, mut consumed, mut room, mut produced) = (input.len(), 0, out.len(), 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut consumed,
            input,
            &mut room,
            &mut produced,
            out,
            &mut 0,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultFailure => return Err(Corrupt),
            BrotliResult::ResultSuccess => self.is_over = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        }
        // Where there was no room, the library may hold back output and ask for input.
        let is_done = consumed == input.len() && produced < out.len();
        Ok(Step { consumed, produced, is_done })
    }

    pub(super) fn may_end(&self) -> bool {
        self.is_over || !self.has_begun
    }
}

/// RFC 7932 section 9.1: WBITS stands in the lowest bits of the first byte.
fn window_bits(first: u8) -> u32 {
    let (three, next) = (u32::from(first >> 1 & 7), u32::from(first >> 4 & 7));
    match (first & 1, three, next) {
        (0, _, _) => 16,
        (_, 0, 0) => 17,
        // 1 is refused by the library.
        (_, 0, next) => 8 + next,
        (_, three, _) => 17 + three,
    }
}
