//! An exchange's place in a trace, while it lasts, and what its tries leave for their spans.

use super::super::grpc::GrpcStatus;
use super::super::{RequestHead, Span};
use super::context::Slots;
use crate::base::clock::Nanos;
use crate::base::random::Random;
use std::cell::{Cell, Ref, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

/// Whether an exchange is traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracing {
    /// Tracing is not configured.
    #[default]
    Off,
    /// The request goes on with a context, and no spans are left.
    Unsampled,
    Sampled,
}

/// Of one exchange. It is an earlier one's while [`Tracing`] is off: nothing is cleared for exchanges that are not traced.
#[derive(Debug, Default)]
pub struct Trace {
    pub trace: u128,
    /// The exchange's span, whether or not it is sampled.
    pub span: u64,
    /// 0: none.
    pub parent: u64,
    /// Spans of it are left.
    pub sampled: bool,
    pub debug: bool,
    /// The trace's id is known to be random (W3C, level 2).
    pub random: bool,
    /// The span is also that of the client's (Zipkin).
    pub shared: bool,
    /// The span's name where the request said one; empty: it did not.
    pub operation: Span,
    /// Where the head of a sampled request has the id of the span from which it is sent.
    pub slots: Slots,
    /// Of a sampled exchange.
    pub tries: Option<Rc<Tries>>,
}

impl Trace {
    /// The flags of `traceparent`, in its two digits.
    pub fn flags(&self) -> &'static str {
        match (self.sampled, self.random) {
            (false, false) => "00",
            (true, false) => "01",
            (false, true) => "02",
            (true, true) => "03",
        }
    }
}

/// The tries of an exchange. Shared with those that go on next to the present one.
#[derive(Debug, Default)]
pub struct Tries {
    spans: RefCell<Vec<TrySpan>>,
    /// Index of the try that is under way, or of the last one.
    present: Cell<usize>,
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
    /// The request's head, where an internal redirect has changed it since.
    pub head: Option<Rc<RequestHead>>,
}

/// Why there is another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryReason {
    Status(u16),
    Grpc(GrpcStatus),
    Failure(&'static str),
    /// The endpoint sent the request elsewhere, and Ringway follows (internal redirect).
    Redirect,
}

impl Tries {
    /// Ready for another exchange; the capacity stays.
    pub fn clear(&mut self) {
        self.spans.get_mut().clear();
        self.reason.set(None);
    }

    /// An endpoint was picked for a try, which is the present one from now on. The id of its span.
    pub fn begin(&self, endpoint: &Rc<str>, random: &Random, now: Nanos) -> u64 {
        let mut spans = self.spans.borrow_mut();
        let (at, id) = (spans.len(), new_id(random));
        self.present.set(at);
        spans.push(TrySpan {
            id,
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
            head: None,
        });
        id
    }

    /// Index of the present try.
    pub fn present(&self) -> usize {
        self.present.get()
    }

    pub fn set_present(&self, at: usize) {
        self.present.set(at);
    }

    /// Change what is told of the try with this index, if there is one.
    pub fn note(&self, at: usize, note: impl FnOnce(&mut TrySpan)) {
        if let Some(span) = self.spans.borrow_mut().get_mut(at) {
            note(span);
        }
    }

    /// A try ended with this, and another one follows.
    pub fn retry(&self, reason: RetryReason) {
        self.reason.set(Some(reason));
    }

    /// The request goes elsewhere; the tries so far were of one with the head `before`.
    pub fn redirect(&self, before: RequestHead) {
        self.retry(RetryReason::Redirect);
        let before = Rc::new(before);
        for span in self.spans.borrow_mut().iter_mut().filter(|span| span.head.is_none()) {
            span.head = Some(before.clone());
        }
    }

    /// All tries so far, in order.
    pub fn spans(&self) -> Ref<'_, [TrySpan]> {
        Ref::map(self.spans.borrow(), Vec::as_slice)
    }
}

/// An id that is not 0.
pub fn new_id(random: &Random) -> u64 {
    random.next_u64().max(1)
}
