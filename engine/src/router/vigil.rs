//! What is looked at now and then while an exchange lasts, so that it costs nothing where the exchange is over soon: whether
//! the client is still there although nothing reads from its connection, whether a request's body comes fast enough, and
//! whether the response is taken.

use super::Fault;
use super::upload::Upload;
use crate::base::clock::{Nanos, nanos};
use crate::net::{Stall, Taking};
use std::time::Duration;

/// When an exchange is first looked after.
pub const FIRST_LOOK: Nanos = SECOND / 2;

/// The rate of a request's body is that of the last window in which the client was waited for. Before the first one the body
/// has time to begin.
const GRACE: Nanos = 10 * SECOND;
const WINDOW: Nanos = 10 * SECOND;
/// Time between two looks at a request's body.
const STEP: Nanos = SECOND;

/// Time between two looks at anything else.
pub const LOOK: Nanos = 10 * SECOND;

const SECOND: Nanos = 1_000_000_000;

/// Looks after one exchange.
pub struct Vigil<'a> {
    /// Bytes of request that must come in a window. 0: none.
    least: u64,
    begins: Nanos,
    /// The last look at the request's body, and whether bytes of it were waited for.
    looked: Nanos,
    was_awaited: bool,
    /// Time in this window in which bytes were waited for, and what had come of the request when it began.
    awaited: Nanos,
    received: u64,
    /// A response is on its way, and its client may take nothing of it for `patience`.
    responds: bool,
    patience: Option<Duration>,
    stall: &'a Stall,
    /// A FIN behind the request takes it back.
    fin_cancels: bool,
    /// Since when the request is complete, as far as that was seen.
    complete: Option<Nanos>,
    /// It has been complete for a while, and a FIN ends the exchange.
    pub ends_with_fin: bool,
}

/// What a look found.
pub struct Looked {
    /// When to look again.
    pub next: Nanos,
    /// The client has taken something.
    pub moves: bool,
}

impl<'a> Vigil<'a> {
    /// `stall`: what is known of the client's connection.
    pub fn new(stall: &'a Stall) -> Self {
        Self {
            least: 0,
            begins: 0,
            looked: 0,
            was_awaited: false,
            awaited: 0,
            received: 0,
            responds: false,
            patience: None,
            stall,
            fin_cancels: false,
            complete: None,
            ends_with_fin: false,
        }
    }

    /// A client that closes its side behind the request does not want the response any more. `complete`: since when the
    /// request is, if it is.
    pub fn expect_no_fin(&mut self, complete: Option<Nanos>) {
        (self.fin_cancels, self.complete) = (true, complete);
    }

    /// Whether the client's FIN ends the exchange. That begins half a second after the end of the request, so that a client
    /// that closes its side at once still gets what comes at once.
    pub fn watch_fin(&mut self, upload: &Upload<'_, '_>, now: Nanos) -> bool {
        if self.fin_cancels && upload.is_done() {
            self.ends_with_fin = *self.complete.get_or_insert(now) + FIRST_LOOK <= now;
        }
        self.ends_with_fin
    }

    /// A request's body is to come, of which `rate` bytes must come each second.
    pub fn expect_body(&mut self, now: Nanos, rate: u32) {
        self.least = u64::from(rate) * (WINDOW / SECOND);
        self.begins = now + GRACE;
    }

    /// A response begins, and its client takes some of it in each `patience`.
    pub fn expect_taking(&mut self, patience: Option<Duration>) {
        self.responds = true;
        self.patience = patience;
    }

    /// Look after the client.
    ///
    /// # Errors
    /// It is too slow.
    pub fn look(&mut self, upload: &mut Upload<'_, '_>, now: Nanos) -> Result<Looked, Fault> {
        let mut looked = self.look_at_bytes(upload, now)?;
        if self.fin_cancels && !self.ends_with_fin {
            // The request's end may come, and a FIN right behind it.
            looked.next = looked.next.min(now + FIRST_LOOK);
        }
        Ok(looked)
    }

    fn look_at_bytes(&mut self, upload: &Upload<'_, '_>, now: Nanos) -> Result<Looked, Fault> {
        if self.responds {
            return self.look_at_response(upload, now);
        }
        if self.least == 0 || upload.is_done() {
            return Ok(Looked { next: now + LOOK, moves: false });
        }
        self.look_at_body(upload, now)?;
        Ok(Looked { next: now + STEP, moves: false })
    }

    fn look_at_body(&mut self, upload: &Upload<'_, '_>, now: Nanos) -> Result<(), Fault> {
        let (is_awaited, received) = (upload.is_awaited(), upload.wire.received());
        let step = now - std::mem::replace(&mut self.looked, now);
        let was_awaited = std::mem::replace(&mut self.was_awaited, is_awaited);
        if now < self.begins {
            self.received = received;
        } else if was_awaited && is_awaited {
            self.awaited += step;
        }
        if self.awaited >= WINDOW {
            if received - self.received < self.least {
                return Err(Fault::RequestBodyTooSlow);
            }
            (self.awaited, self.received) = (0, received);
        }
        Ok(())
    }

    fn look_at_response(&self, upload: &Upload<'_, '_>, now: Nanos) -> Result<Looked, Fault> {
        let Some(delivery) = upload.wire.delivery() else { return Ok(Looked { next: now + LOOK, moves: false }) };
        let taking = self.stall.look(delivery, now);
        let mut next = now + LOOK;
        if let Some(patience) = self.patience.map(nanos) {
            let since = if let Taking::NothingSince(since) = taking { since } else { now };
            let end = since.saturating_add(self.stall.patience(patience));
            if end <= now {
                return Err(Fault::DownstreamStalled);
            }
            next = next.min(end);
        }
        Ok(Looked { next, moves: taking == Taking::Some })
    }
}
