//! An exchange's place in a trace, while it lasts, and what its tries leave for their spans.

use super::super::Span;
use super::super::grpc::GrpcStatus;
use super::context::Slots;
use crate::base::clock::Nanos;
use crate::base::random::Random;
use std::cell::{Cell, Ref, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

/// Of one exchange. Shared with its tries, several of which may be under way.
#[derive(Debug, Default)]
pub struct Trace {
    pub trace: u128,
    /// The exchange's span, whether or not it is sampled.
    pub span: u64,
    /// 0: none.
    pub parent: u64,
    pub sampled: bool,
    pub debug: bool,
    /// The span is also that of the client's (Zipkin).
    pub shared: bool,
    /// The span's name where the request said one; empty: it did not.
    pub operation: Span,
    /// Where the request's head has the id of the span from which it is sent.
    pub slots: RefCell<Slots>,
    tries: RefCell<Vec<TrySpan>>,
    /// What the last try ended with, for which there is another one.
    reason: Cell<Option<RetryReason>>,
}

/// What is told of one try.
#[derive(Debug)]
pub struct TrySpan {
    pub id: u64,
    /// 0: it is no retry.
    pub number: u32,
    pub reason: Option<RetryReason>,
    /// The endpoint was picked.
    pub start: Nanos,
    /// `None`: it was given up without an end of its own.
    pub end: Option<Nanos>,
    /// The endpoint's address in text form, and its address where it is known.
    pub endpoint: Rc<str>,
    pub remote: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    /// Empty until there is a connection.
    pub protocol: &'static str,
    /// Where a connection was made for it: begun, there, and ready, TLS included.
    pub connect: Option<[Nanos; 3]>,
    /// The request's head was handed to the connection.
    pub sent: Option<Nanos>,
    /// The response's head came.
    pub responded: Option<Nanos>,
    /// 0: there is no response.
    pub status: u16,
    /// Of a call that has ended.
    pub grpc_status: Option<GrpcStatus>,
    pub failure: Option<&'static str>,
}

/// Why there is another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryReason {
    Status(u16),
    Grpc(GrpcStatus),
    Failure(&'static str),
}

impl Trace {
    /// Ready for another exchange; capacities stay.
    pub fn clear(&mut self) {
        self.slots.get_mut().clear();
        self.tries.get_mut().clear();
        *self =
            Self { slots: std::mem::take(&mut self.slots), tries: std::mem::take(&mut self.tries), ..Self::default() };
    }

    /// An endpoint was picked for a try.
    pub fn begin_try(self: &Rc<Self>, endpoint: &Rc<str>, random: &Random, now: Nanos) -> TryTrace {
        let mut tries = self.tries.borrow_mut();
        let at = tries.len();
        tries.push(TrySpan {
            id: new_id(random),
            number: at as u32,
            reason: self.reason.take(),
            start: now,
            end: None,
            endpoint: endpoint.clone(),
            remote: None,
            local: None,
            protocol: "",
            connect: None,
            sent: None,
            responded: None,
            status: 0,
            grpc_status: None,
            failure: None,
        });
        TryTrace { trace: self.clone(), at }
    }

    /// A try ended with this, and another one follows.
    pub fn retry(&self, reason: RetryReason) {
        self.reason.set(Some(reason));
    }

    /// All tries so far, in order.
    pub fn tries(&self) -> Ref<'_, [TrySpan]> {
        Ref::map(self.tries.borrow(), Vec::as_slice)
    }
}

/// A try's hold on its span.
#[derive(Debug)]
pub struct TryTrace {
    trace: Rc<Trace>,
    at: usize,
}

impl TryTrace {
    /// Of the span.
    pub fn id(&self) -> u64 {
        self.trace.tries.borrow()[self.at].id
    }

    pub fn note(&self, note: impl FnOnce(&mut TrySpan)) {
        note(&mut self.trace.tries.borrow_mut()[self.at]);
    }

    /// It ended at `now`, with a failure or without.
    pub fn end(&self, now: Nanos, failure: Option<&'static str>) {
        self.note(|span| {
            span.end = Some(now);
            span.failure = failure;
        });
    }
}

/// An id that is not 0.
pub fn new_id(random: &Random) -> u64 {
    random.next_u64().max(1)
}
