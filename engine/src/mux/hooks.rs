//! What filters want done with a body on its way: how fast it goes, and what becomes of its bytes.

use super::{Pace, Piece, Transform, Violation};
use crate::base::clock::Nanos;
use crate::ring::Buf;
use std::task::{Poll, ready};

/// The hooks of one body.
#[derive(Default)]
pub struct Hooks {
    pace: Option<Pace>,
    /// Boxed: few bodies have one.
    transform: Option<Box<Transform>>,
    /// The rest of a piece, for which it is too early.
    held: Option<Buf>,
}

impl Hooks {
    /// Whether bodies pass as they are.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pace.is_none() && self.transform.is_none()
    }

    /// What another filter wants in addition, after these: the slower pace holds, and its transform works on what comes
    /// out of this one.
    pub fn add(&mut self, next: Self) {
        if let Some(pace) = next.pace
            && self.pace.as_ref().is_none_or(|slowest| pace.is_slower_than(slowest))
        {
            self.pace = Some(pace);
        }
        if let Some(next) = next.transform {
            match &mut self.transform {
                Some(transform) => transform.append(*next),
                none => *none = Some(next),
            }
        }
    }

    /// The next piece of what is to become of the pieces of `source`, or the body's end. Without hooks this is the
    /// source's.
    ///
    /// # Errors
    /// The source's, or a violation that a transform found, as what `fault` makes of it.
    #[inline]
    pub fn poll<E>(
        &mut self,
        now: Nanos,
        mut source: impl FnMut() -> Poll<Result<Piece, E>>,
        fault: fn(Violation) -> E,
    ) -> Poll<Result<Piece, E>> {
        if self.is_empty() { source() } else { self.poll_hooked(now, &mut source, fault) }
    }

    fn poll_hooked<E>(
        &mut self,
        now: Nanos,
        source: &mut impl FnMut() -> Poll<Result<Piece, E>>,
        fault: fn(Violation) -> E,
    ) -> Poll<Result<Piece, E>> {
        let allowance = match &mut self.pace {
            Some(pace) => ready!(pace.poll_allowance(now)),
            None => usize::MAX,
        };
        let piece = match (self.held.take(), &mut self.transform) {
            (Some(buf), _) => Piece::Data(buf),
            (None, Some(transform)) => ready!(transform.poll(source, fault))?,
            (None, None) => ready!(source())?,
        };
        let Piece::Data(buf) = piece else { return Poll::Ready(Ok(piece)) };
        let goes = buf.len().min(allowance);
        if let Some(pace) = &mut self.pace {
            pace.spend(goes);
        }
        if goes == buf.len() {
            return Poll::Ready(Ok(Piece::Data(buf)));
        }
        self.held = Some(buf.slice(goes..buf.len()));
        Poll::Ready(Ok(Piece::Data(buf.slice(0..goes))))
    }
}

impl From<Transform> for Hooks {
    fn from(transform: Transform) -> Self {
        Self { transform: Some(Box::new(transform)), ..Self::default() }
    }
}

impl From<Pace> for Hooks {
    fn from(pace: Pace) -> Self {
        Self { pace: Some(pace), ..Self::default() }
    }
}
