//! Calls of gRPC that filters count: one is counted when what this keeps of it is dropped.

use super::methods::{Cells, Methods, Own};
use crate::http::grpc::{GrpcStatus, is_grpc_type, status_of};
use crate::http::{FieldId, Message, RequestHead, ResponseHead};
use crate::mux::CallNotes;
use crate::stats::{GrpcStats, GrpcWebStats, Scope};
use std::cell::RefCell;
use std::rc::Rc;

/// Notes kept for the next call.
const SPARE_NOTES: usize = 256;

/// What calls come back to at their end.
pub struct Home<S: Counted> {
    methods: Methods<S>,
    /// To be used again.
    notes: RefCell<Vec<Rc<CallNotes>>>,
}

/// Statistics of calls.
pub trait Counted: Scope {
    /// Where messages are counted while they pass.
    fn live(_: &Own<Self>) -> Option<Own<GrpcStats>> {
        None
    }

    /// A call has ended, with a status unless it was cut, after messages that were not counted while they passed.
    fn count(&self, status: Option<GrpcStatus>, requests: u64, responses: u64);
}

/// A call under way.
pub struct Call<S: Counted> {
    home: Rc<Home<S>>,
    pub notes: Rc<CallNotes>,
    method: Method<S>,
}

enum Method<S> {
    Known(Rc<Cells<S>>),
    /// Cluster and path.
    New(Box<(Box<str>, Box<[u8]>)>),
    /// It goes to no cluster, or goes on as another request, which is counted.
    Uncounted,
}

impl<S: Counted> Home<S> {
    pub fn new(methods: Methods<S>) -> Rc<Self> {
        Rc::new(Self { methods, notes: RefCell::default() })
    }

    /// A call to this cluster begins.
    pub fn begin(self: &Rc<Self>, cluster: Option<&str>, request: &Message<RequestHead>) -> Call<S> {
        let notes = self.notes.borrow_mut().pop().unwrap_or_default();
        let path = request.head.path(request.view());
        let method = match cluster.map(|cluster| (cluster, self.methods.find(cluster, path))) {
            Some((_, Some(cells))) => {
                notes.stats.replace(S::live(&cells.stats));
                Method::Known(cells)
            }
            Some((cluster, None)) => Method::New(Box::new((cluster.into(), path.into()))),
            None => Method::Uncounted,
        };
        Call { home: self.clone(), notes, method }
    }
}

impl<S: Counted> Call<S> {
    /// Do not count it.
    pub fn forget(&mut self) {
        self.method = Method::Uncounted;
    }

    fn count(&self) {
        let Self { home, notes, method } = self;
        // A call without an end of its response was cut: no status was told.
        let ended = notes.response_end.get();
        let status = ended.map(|_| notes.status.get().unwrap_or(GrpcStatus::UNKNOWN));
        let admitted;
        let cells = match method {
            Method::Known(cells) => cells,
            Method::New(name) => {
                admitted = home.methods.admit(&name.0, &name.1, status == Some(GrpcStatus::UNIMPLEMENTED));
                &admitted
            }
            Method::Uncounted => return,
        };
        cells.stats.count(status, notes.requests.get(), notes.responses.get());
        if let (Some(time), Some(start), Some(end)) = (&cells.time, notes.request_end.get(), ended) {
            time.upstream_rq_time.record(end.saturating_sub(start) / 1000);
        }
    }
}

impl<S: Counted> Drop for Call<S> {
    fn drop(&mut self) {
        self.count();
        let mut spare = self.home.notes.borrow_mut();
        if spare.len() < SPARE_NOTES
            && let Some(unshared) = Rc::get_mut(&mut self.notes)
        {
            *unshared = CallNotes::default();
            spare.push(self.notes.clone());
        }
    }
}

macro_rules! count {
    ($stats:ident, $status:ident) => {
        $stats.total.inc();
        match $status {
            Some(GrpcStatus::OK) => $stats.success.inc(),
            _ => $stats.failure.inc(),
        }
        if let Some(status) = $status {
            $stats.status.inc(status.0);
        }
    };
}

impl Counted for GrpcStats {
    fn live(stats: &Own<Self>) -> Option<Own<GrpcStats>> {
        Some(stats.clone())
    }

    fn count(&self, status: Option<GrpcStatus>, requests: u64, responses: u64) {
        count!(self, status);
        self.request_message_count.add(requests);
        self.response_message_count.add(responses);
    }
}

impl Counted for GrpcWebStats {
    fn count(&self, status: Option<GrpcStatus>, _: u64, _: u64) {
        count!(self, status);
    }
}

/// What the head of a response tells of its call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Its status is known: no messages follow.
    Ends(GrpcStatus),
    /// Messages may follow, and trailers with the status, unless it is known.
    GoesOn(Option<GrpcStatus>),
}

/// What the head of the response to a call tells.
pub(super) fn judge(response: &Message<ResponseHead>) -> Head {
    let status = status_of(&response.head, response.view());
    match is_answer(response) && !response.head.length.is_empty() {
        true => Head::GoesOn(status),
        false => Head::Ends(status.unwrap_or_else(|| GrpcStatus::of_http(response.head.status))),
    }
}

/// Whether a response is one of gRPC.
pub(super) fn is_answer(response: &Message<ResponseHead>) -> bool {
    let content_type = response.head.fields.value(FieldId::ContentType, response.view());
    response.head.status == 200 && content_type.is_some_and(is_grpc_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Exchange, Length};

    #[test]
    fn heads_tell_how_calls_end() {
        let judged = |status: u16, length: Length, fields: &[(FieldId, &str)]| {
            let mut exchange = Exchange::default();
            (exchange.response.head.status, exchange.response.head.length) = (status, length);
            for (id, value) in fields {
                exchange.response.edit().add_known(*id, |out| out.extend_from_slice(value.as_bytes()));
            }
            judge(&exchange.response)
        };
        let grpc = (FieldId::ContentType, "application/grpc+proto");
        assert_eq!(judged(200, Length::Unknown, &[grpc]), Head::GoesOn(None));
        assert_eq!(judged(200, Length::None, &[grpc, (FieldId::GrpcStatus, "5")]), Head::Ends(GrpcStatus(5)));
        assert_eq!(judged(200, Length::None, &[grpc]), Head::Ends(GrpcStatus::UNKNOWN));
        assert_eq!(
            judged(503, Length::Known(9), &[(FieldId::ContentType, "text/plain")]),
            Head::Ends(GrpcStatus::UNAVAILABLE)
        );
    }
}
