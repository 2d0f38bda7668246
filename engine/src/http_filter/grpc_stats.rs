//! The grpc_stats filter: calls, their statuses and their messages by service and method (Envoy:
//! extensions.filters.http.grpc_stats.v3).

use super::methods::{Cells, Methods};
use super::{Context, Flow, Responding, Setup};
use crate::base::clock::Nanos;
use crate::http::grpc::{GrpcStatus, is_grpc_type, status_of};
use crate::http::{FieldId, Message, ResponseHead, Trailers};
use crate::mux::{CallNotes, Coders, Hooks, Side};
use crate::router::Fault;
use crate::stats::GrpcStats;
use ringway_config::model;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

pub struct Filter {
    home: Rc<Home>,
    coders: Rc<Coders>,
}

/// What calls come back to at their end.
struct Home {
    methods: Methods<GrpcStats>,
    /// To be used again.
    notes: RefCell<Vec<Rc<CallNotes>>>,
}

/// Nothing is shared: the registry has what all shards count.
pub struct Shared;

/// A call under way, counted when this is dropped.
#[derive(Default)]
pub struct State {
    call: Option<Call>,
}

struct Call {
    home: Rc<Home>,
    notes: Rc<CallNotes>,
    method: Method,
}

enum Method {
    Known(Rc<Cells<GrpcStats>>),
    /// Cluster and path.
    New(Box<(Box<str>, Box<[u8]>)>),
}

/// Notes kept for the next call.
const SPARE_NOTES: usize = 256;

impl Shared {
    pub fn new(_: &model::GrpcStats, _: usize) -> Arc<Self> {
        Arc::new(Self)
    }
}

impl Filter {
    pub fn new(settings: &model::GrpcStats, _: &Arc<Shared>, setup: &Setup<'_>) -> Self {
        let methods = Methods::new(setup.registry, setup.shard, &settings.methods, settings.enable_upstream_stats);
        Self { home: Rc::new(Home { methods, notes: RefCell::default() }), coders: setup.coders.clone() }
    }

    pub async fn request<'s>(
        &'s self,
        context: &mut Context<'_, '_, '_>,
        state: &mut State,
    ) -> Result<Flow<'s>, Fault> {
        let request = &context.exchange.request;
        let Some(cluster) = context.cluster.filter(|_| request.is_grpc()) else { return Ok(Flow::Continue) };
        let path = request.head.path(request.view());
        let notes = self.home.notes.borrow_mut().pop().unwrap_or_default();
        let method = match self.home.methods.find(cluster, path) {
            Some(cells) => {
                notes.stats.replace(Some(cells.stats.clone()));
                Method::Known(cells)
            }
            None => Method::New(Box::new((cluster.into(), path.into()))),
        };
        let call = state.call.insert(Call { home: self.home.clone(), notes, method });
        match context.client.upload.is_done() {
            true => Ok(Flow::Continue),
            false => Ok(Flow::Hooked(Hooks::noting(&self.coders, &call.notes, Side::Request))),
        }
    }

    pub async fn response(&self, context: &mut Responding<'_, '_, '_>, state: &mut State) -> Result<Hooks, Fault> {
        let Some(Call { notes, .. }) = &state.call else { return Ok(Hooks::default()) };
        let exchange = &context.exchange;
        if let Some(end) = exchange.facts.times.request_end {
            notes.request_end.set(Some(end));
        }
        match judge(&exchange.response) {
            Head::Ends(status) => notes.responded(Some(status), context.client.reactor.now()),
            Head::GoesOn(status) => {
                notes.status.set(status);
                return Ok(Hooks::noting(&self.coders, notes, Side::Response));
            }
        }
        Ok(Hooks::default())
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
    let (head, view) = (&response.head, response.view());
    let is_grpc = head.status == 200 && head.fields.value(FieldId::ContentType, view).is_some_and(is_grpc_type);
    let status = status_of(head, view);
    match is_grpc && !head.length.is_empty() {
        true => Head::GoesOn(status),
        false => Head::Ends(status.unwrap_or_else(|| GrpcStatus::of_http(head.status))),
    }
}

impl State {
    /// The call's response, which had begun, ends early with these trailers.
    pub fn cut(&self, trailers: &Trailers, now: Nanos) {
        if let Some(call) = &self.call {
            call.notes.responded(trailers.grpc_status(), now);
        }
    }

    /// The call goes on as another request, which is counted.
    pub fn forget(&mut self) {
        // Not dropped as a part of the state, so that it does not count.
        let _ = self.call.take();
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        call.count();
        let Call { home, mut notes, .. } = call;
        let mut spare = home.notes.borrow_mut();
        if spare.len() < SPARE_NOTES
            && let Some(unshared) = Rc::get_mut(&mut notes)
        {
            *unshared = CallNotes::default();
            spare.push(notes);
        }
    }
}

impl Call {
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
        };
        let stats = &cells.stats;
        stats.total.inc();
        match status {
            Some(GrpcStatus::OK) => stats.success.inc(),
            _ => stats.failure.inc(),
        }
        if let Some(status) = status {
            stats.status.inc(status.0);
        }
        stats.request_message_count.add(notes.requests.get());
        stats.response_message_count.add(notes.responses.get());
        if let (Some(time), Some(start), Some(end)) = (&cells.time, notes.request_end.get(), ended) {
            time.upstream_rq_time.record(end.saturating_sub(start) / 1000);
        }
    }
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
