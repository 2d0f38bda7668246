//! The client of an exchange as everything on the way sees it: its request's body, its wire, and the deadlines.

use super::upload::Upload;
use super::{Deadlines, Fault, Vigil};
use crate::base::clock::Nanos;
use crate::ring::{Reactor, Timer};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The client's side of one exchange.
pub struct Client<'w, 'c> {
    pub reactor: &'w Rc<Reactor>,
    pub upload: Upload<'w, 'c>,
    pub deadlines: &'w mut Deadlines,
    pub vigil: Vigil<'w>,
}

impl Client<'_, '_> {
    /// Why waiting makes no sense any more, if so.
    #[inline]
    pub fn interrupted(&mut self) -> Option<Fault> {
        if self.upload.wire.is_broken() || self.vigil.ends_with_fin && self.upload.wire.has_left() {
            return Some(Fault::DownstreamReset);
        }
        let now = self.reactor.now();
        let expired = self.deadlines.expired(now);
        if expired.is_none() && !self.deadlines.is_look_due() {
            return None;
        }
        self.look(expired, now)
    }

    /// A deadline has run out, or it is time to look after the client.
    #[cold]
    fn look(&mut self, expired: Option<Fault>, now: Nanos) -> Option<Fault> {
        if !matches!(expired, None | Some(Fault::StreamIdle | Fault::PerTryIdleTimeout)) {
            return expired;
        }
        self.upload.wire.watch_end();
        if self.vigil.watch_fin(&self.upload, now) && self.upload.wire.has_left() {
            return Some(Fault::DownstreamReset);
        }
        match self.vigil.look(&mut self.upload, now) {
            Err(fault) => Some(fault),
            Ok(looked) => {
                self.deadlines.look_at(looked.next);
                if !looked.moves {
                    // What was put off to this look may still be far away.
                    return expired.or_else(|| self.deadlines.expired(now));
                }
                self.deadlines.moved(now);
                self.deadlines.expired(now)
            }
        }
    }

    /// Wait for what `poll` waits for, as far as the client and the deadlines allow.
    ///
    /// # Errors
    /// What `poll` reports, or why waiting makes no sense any more.
    pub fn guard<T>(
        &mut self,
        mut poll: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<Result<T, Fault>>,
    ) -> impl Future<Output = Result<T, Fault>> {
        poll_fn(move |context| match poll(self, context) {
            Poll::Pending => self.interrupted().map_or(Poll::Pending, |fault| Poll::Ready(Err(fault))),
            ready => ready,
        })
    }

    /// Let time pass.
    ///
    /// # Errors
    /// Why waiting makes no sense any more.
    pub async fn pause(&mut self, duration: Duration) -> Result<(), Fault> {
        let timer = Timer::new(self.reactor);
        timer.arm_in(duration);
        self.guard(|_, _| if timer.fired() { Poll::Ready(Ok(())) } else { Poll::Pending }).await
    }
}
