//! The bytes of a body made into other ones on their way: stages that compress or restore, or only look, each working on what
//! comes out of the one before.
//!
//! Invariant: one step works on one slice and its output is handed on before the next, so that nothing piles up; a
//! source that has nothing more at the moment gets what it gave so far flushed.

use super::calls::CallStage;
use super::coders::{Charge, Coders, Lease, TURN};
use super::web::WebStage;
use super::{Piece, Violation};
use crate::base::clock::Nanos;
use crate::codec::coding::{Decoder, Goal, OUTPUT_MAX};
use crate::http::Trailers;
use crate::http::coding::Coding;
use crate::ring::Buf;
use crate::stats::CodingStats;
use smallvec::SmallVec;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};

/// The stages of one body.
#[derive(Default)]
pub struct Transform {
    stages: SmallVec<[Stage; 1]>,
    /// Where it goes to be used again.
    home: Option<Rc<Coders>>,
}

/// What a body may become when it is restored, so that a few bytes cannot become any number of them.
#[derive(Clone, Copy, Debug)]
pub struct Expansion {
    /// Bytes.
    pub max_output: u64,
    /// Bytes for each byte that came over the wire, whatever the number of codings one over the other.
    pub max_ratio: u32,
}

/// The ratio does not count up to here: short bodies may compress very well.
const ALWAYS_FINE: u64 = 64 * 1024;

pub(super) enum Stage {
    Coding(CodingStage),
    Call(CallStage),
    Web(WebStage),
}

pub(super) struct CodingStage {
    coder: Coder,
    /// Not all taken yet.
    input: Option<Buf>,
    goal: Goal,
    /// The end was handed on.
    is_over: bool,
    /// Something was taken since the last flush.
    is_dirty: bool,
    stats: Arc<CodingStats>,
    /// The place in the line for a turn of the shard.
    ticket: Option<u64>,
}

enum Coder {
    Encode(Lease),
    Decode { decoder: Box<Decoder>, charge: Charge, expansion: Expansion, wire: Wire, given: u64 },
}

/// Bytes that came over the wire to the first of several decoders in a row, which counts them for all.
struct Wire {
    bytes: Rc<Cell<u64>>,
    is_first: bool,
}

impl Transform {
    /// Compress, and count the bytes.
    pub fn encode(encoder: Lease, stats: Arc<CodingStats>) -> Self {
        let stage = CodingStage::new(Coder::Encode(encoder), stats);
        Self { stages: SmallVec::from_iter([Stage::Coding(stage)]), home: None }
    }

    /// Restore what has this coding. `None`: there is no room for the state.
    pub fn decode(coders: &Rc<Coders>, coding: Coding, expansion: Expansion, stats: Arc<CodingStats>) -> Option<Self> {
        let (decoder, charge) = coders.decoder(coding)?;
        let wire = Wire { bytes: Rc::default(), is_first: true };
        let coder = Coder::Decode { decoder: Box::new(decoder), charge, expansion, wire, given: 0 };
        Some(Self { stages: SmallVec::from_iter([Stage::Coding(CodingStage::new(coder, stats))]), home: None })
    }

    /// One without a stage, to be given back to `home`.
    pub(super) fn reused(mut self: Box<Self>, home: &Rc<Coders>) -> Box<Self> {
        self.home = Some(home.clone());
        self
    }

    /// The body is over.
    pub(super) fn give_back(mut self: Box<Self>) {
        if let Some(home) = self.home.take() {
            self.stages.clear();
            home.give_transform(self);
        }
    }

    pub(super) fn push(&mut self, stage: Stage) {
        self.stages.push(stage);
    }

    /// Work on in the stages of `next`.
    pub fn append(&mut self, next: &mut Self) {
        for mut stage in next.stages.drain(..) {
            if let (Some(Stage::Coding(before)), Stage::Coding(stage)) = (self.stages.last(), &mut stage)
                && let (Coder::Decode { wire: before, .. }, Coder::Decode { wire, .. }) =
                    (&before.coder, &mut stage.coder)
            {
                *wire = Wire { bytes: before.bytes.clone(), is_first: false };
            }
            self.stages.push(stage);
        }
    }

    /// The next piece of what becomes of the pieces of `source`, or the body's end. Pending wakes the task, where it is
    /// not the source that has to.
    ///
    /// # Errors
    /// The source's, or a violation, as what `fault` makes of it.
    pub fn poll<E>(
        &mut self,
        now: Nanos,
        trailers: &mut Trailers,
        source: &mut impl FnMut(&mut Trailers) -> Poll<Result<Piece, E>>,
        fault: fn(Violation) -> E,
    ) -> Poll<Result<Piece, E>> {
        pull(&mut self.stages, now, trailers, source, fault)
    }
}

/// The next piece out of the last of these stages.
fn pull<E, S: FnMut(&mut Trailers) -> Poll<Result<Piece, E>>>(
    stages: &mut [Stage],
    now: Nanos,
    trailers: &mut Trailers,
    source: &mut S,
    fault: fn(Violation) -> E,
) -> Poll<Result<Piece, E>> {
    let Some((stage, before)) = stages.split_last_mut() else { return source(trailers) };
    let stage = match stage {
        Stage::Coding(stage) => stage,
        Stage::Web(stage) => {
            let mut source = |trailers: &mut Trailers| pull(before, now, trailers, source, fault);
            return stage.poll(now, trailers, &mut source, fault);
        }
        Stage::Call(stage) => {
            let piece = ready!(pull(before, now, trailers, source, fault))?;
            stage.note(&piece, trailers, now);
            return Poll::Ready(Ok(piece));
        }
    };
    loop {
        if stage.is_over {
            return Poll::Ready(Ok(Piece::End));
        }
        if stage.input.is_none() && stage.goal == Goal::Take {
            match pull(before, now, trailers, source, fault) {
                Poll::Ready(Ok(Piece::Data(buf))) => stage.input = Some(buf),
                Poll::Ready(Ok(Piece::End)) => stage.goal = Goal::End,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // A stage before this one that waits for its turn has more.
                Poll::Pending if stage.is_dirty && before.iter().all(Stage::has_turn) => {
                    stage.goal = Goal::Flush;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        match ready!(stage.poll_step()) {
            Ok(Some(buf)) => return Poll::Ready(Ok(Piece::Data(buf))),
            Ok(None) => {}
            Err(violation) => return Poll::Ready(Err(fault(violation))),
        }
    }
}

impl Stage {
    /// Whether it does not wait for one.
    fn has_turn(&self) -> bool {
        !matches!(self, Self::Coding(stage) if stage.ticket.is_some())
    }
}

impl CodingStage {
    fn new(coder: Coder, stats: Arc<CodingStats>) -> Self {
        Self { coder, input: None, goal: Goal::Take, is_over: false, is_dirty: false, stats, ticket: None }
    }

    /// One step, when the shard has time for it. Gives what it wrote.
    fn poll_step(&mut self) -> Poll<Result<Option<Buf>, Violation>> {
        let slice = match &self.coder {
            Coder::Encode(encoder) => encoder.settings().slice(),
            Coder::Decode { .. } => OUTPUT_MAX,
        };
        let input = self.input.as_deref().unwrap_or_default();
        let input = &input[..input.len().min(slice)];
        // A step that takes nothing writes what was kept.
        let parts = (input.len() * TURN / slice).max(TURN / 16);
        let coders = self.coder.coders();
        if !coders.may_work(&mut self.ticket, parts) {
            return Poll::Pending;
        }
        let coders = coders.clone();
        let goal = if input.is_empty() { self.goal } else { Goal::Take };
        let (step, buf) = coders.write(|out| {
            let step = match &mut self.coder {
                Coder::Encode(lease) => lease.encoder().step(input, goal, out),
                Coder::Decode { decoder, .. } => decoder.step(input, out),
            };
            (step, step.map_or(0, |step| step.produced))
        });
        let step = match (step, &self.coder) {
            (Ok(step), _) => step,
            (Err(_), Coder::Encode(_)) => return Poll::Ready(Err(ENCODER_FAILED)),
            (Err(_), Coder::Decode { .. }) => return Poll::Ready(Err(CORRUPT)),
        };
        let all_taken = step.consumed == input.len();
        if let Some(input) = &mut self.input {
            input.advance(step.consumed);
        }
        self.count(step.consumed as u64, step.produced as u64)?;
        self.advance(goal, step.is_done && all_taken)?;
        Poll::Ready(Ok(buf))
    }

    fn advance(&mut self, goal: Goal, is_done: bool) -> Result<(), Violation> {
        // What was taken may not have been written: the input stays until a step is done with it.
        if is_done && self.input.as_ref().is_some_and(|input| input.is_empty()) {
            self.input = None;
        }
        match goal {
            Goal::Take => self.is_dirty = matches!(self.coder, Coder::Encode(_)),
            Goal::Flush if is_done => (self.is_dirty, self.goal) = (false, Goal::Take),
            Goal::End if is_done => {
                if let Coder::Decode { decoder, .. } = &self.coder
                    && !decoder.may_end()
                {
                    return Err(TRUNCATED);
                }
                self.is_over = true;
            }
            Goal::Flush | Goal::End => {}
        }
        Ok(())
    }

    fn count(&mut self, consumed: u64, produced: u64) -> Result<(), Violation> {
        let (plain, compressed) = match &mut self.coder {
            Coder::Encode(_) => (consumed, produced),
            Coder::Decode { decoder, charge, expansion, wire, given } => {
                if wire.is_first {
                    wire.bytes.set(wire.bytes.get() + consumed);
                }
                *given += produced;
                charge.grow(decoder.bytes())?;
                if *given > expansion.max_output {
                    return Err(TOO_LARGE);
                }
                if *given > ALWAYS_FINE && *given > wire.bytes.get().saturating_mul(u64::from(expansion.max_ratio)) {
                    return Err(BOMB);
                }
                (produced, consumed)
            }
        };
        self.stats.total_uncompressed_bytes.add(plain);
        self.stats.total_compressed_bytes.add(compressed);
        Ok(())
    }
}

impl Coder {
    fn coders(&self) -> &Rc<Coders> {
        match self {
            Self::Encode(lease) => lease.coders(),
            Self::Decode { charge, .. } => charge.coders(),
        }
    }
}

impl Drop for CodingStage {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.coder.coders().forget(ticket);
        }
    }
}

const ENCODER_FAILED: Violation = Violation { status: 500, details: "compression_failed" };
const CORRUPT: Violation = Violation { status: 400, details: "decompression_corrupt_body" };
const TRUNCATED: Violation = Violation { status: 400, details: "decompression_truncated_body" };
const TOO_LARGE: Violation = Violation { status: 413, details: "decompression_max_output_bytes_exceeded" };
const BOMB: Violation = Violation { status: 413, details: "decompression_max_inflate_ratio_exceeded" };

#[cfg(test)]
#[path = "transform_tests.rs"]
mod tests;
