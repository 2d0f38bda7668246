//! What filters want done with a body on its way: how fast it goes, and what becomes of its bytes.

use super::calls::CallStage;
use super::transform::Stage;
use super::web::WebStage;
use super::{CallNotes, Coders, Pace, Piece, Side, Transform, Violation};
use crate::base::clock::Nanos;
use crate::http::Trailers;
use crate::ring::Buf;
use std::rc::Rc;
use std::task::{Poll, ready};

/// The hooks of one body.
#[derive(Default)]
pub struct Hooks {
    pace: Option<Pace>,
    transform: Slot,
    /// The rest of a piece, for which it is too early.
    held: Option<Buf>,
}

/// A transform, boxed because few bodies have one; it may be used again.
#[derive(Default)]
struct Slot(Option<Box<Transform>>);

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(transform) = self.0.take() {
            transform.give_back();
        }
    }
}

impl Hooks {
    /// Let the messages of a call's body be noted.
    pub fn noting(coders: &Rc<Coders>, notes: &Rc<CallNotes>, side: Side) -> Self {
        Self::with(coders, Stage::Call(CallStage::new(notes.clone(), side)))
    }

    /// Let a request of gRPC-Web in base64 become one of gRPC.
    pub fn web_request(coders: &Rc<Coders>, notes: &Rc<CallNotes>) -> Self {
        Self::with(coders, Stage::Web(WebStage::request(coders, notes)))
    }

    /// Let a response of gRPC become one of gRPC-Web.
    pub fn web_response(coders: &Rc<Coders>, notes: &Rc<CallNotes>, is_text: bool) -> Self {
        Self::with(coders, Stage::Web(WebStage::response(coders, notes, is_text)))
    }

    fn with(coders: &Rc<Coders>, stage: Stage) -> Self {
        let mut transform = coders.transform();
        transform.push(stage);
        Self { transform: Slot(Some(transform)), ..Self::default() }
    }

    /// Whether bodies pass as they are.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pace.is_none() && self.transform.0.is_none()
    }

    /// What another filter wants in addition, after these: the slower pace holds, and its transform works on what comes
    /// out of this one.
    pub fn add(&mut self, mut next: Self) {
        if let Some(pace) = next.pace.take()
            && self.pace.as_ref().is_none_or(|slowest| pace.is_slower_than(slowest))
        {
            self.pace = Some(pace);
        }
        match &mut self.transform.0 {
            None => std::mem::swap(&mut self.transform, &mut next.transform),
            Some(transform) => next.transform.0.iter_mut().for_each(|next| transform.append(next)),
        }
    }

    /// The next piece of what is to become of the pieces of `source`, or the body's end. Without hooks this is the
    /// source's, which fills in the trailers.
    ///
    /// # Errors
    /// The source's, or a violation that a transform found, as what `fault` makes of it.
    #[inline]
    pub fn poll<E>(
        &mut self,
        now: Nanos,
        trailers: &mut Trailers,
        mut source: impl FnMut(&mut Trailers) -> Poll<Result<Piece, E>>,
        fault: fn(Violation) -> E,
    ) -> Poll<Result<Piece, E>> {
        if self.is_empty() { source(trailers) } else { self.poll_hooked(now, trailers, &mut source, fault) }
    }

    fn poll_hooked<E>(
        &mut self,
        now: Nanos,
        trailers: &mut Trailers,
        source: &mut impl FnMut(&mut Trailers) -> Poll<Result<Piece, E>>,
        fault: fn(Violation) -> E,
    ) -> Poll<Result<Piece, E>> {
        let allowance = match &mut self.pace {
            Some(pace) => ready!(pace.poll_allowance(now)),
            None => usize::MAX,
        };
        let piece = match (self.held.take(), &mut self.transform.0) {
            (Some(buf), _) => Piece::Data(buf),
            (None, Some(transform)) => ready!(transform.poll(now, trailers, source, fault))?,
            (None, None) => ready!(source(trailers))?,
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
        Self { transform: Slot(Some(Box::new(transform))), ..Self::default() }
    }
}

impl From<Pace> for Hooks {
    fn from(pace: Pace) -> Self {
        Self { pace: Some(pace), ..Self::default() }
    }
}
