//! The grpc_stats filter: calls, their statuses and their messages by service and method (Envoy:
//! extensions.filters.http.grpc_stats.v3).

use super::calls::{Call, Head, Home, judge};
use super::methods::Methods;
use super::{Context, Flow, Responding, Setup};
use crate::mux::{Coders, Hooks, Side};
use crate::router::Fault;
use crate::stats::GrpcStats;
use ringway_config::model;
use std::rc::Rc;
use std::sync::Arc;

/// The registry has what all shards count.
pub use super::Unshared as Shared;

pub struct Filter {
    home: Rc<Home<GrpcStats>>,
    coders: Rc<Coders>,
}

/// A call under way.
#[derive(Default)]
pub struct State {
    pub(super) call: Option<Call<GrpcStats>>,
}

impl Filter {
    pub fn new(settings: &model::GrpcStats, _: &Arc<Shared>, setup: &Setup<'_>) -> Self {
        let methods = Methods::new(setup.registry, setup.shard, &settings.methods, settings.enable_upstream_stats);
        Self { home: Home::new(methods), coders: setup.coders.clone() }
    }

    pub async fn request<'s>(
        &'s self,
        context: &mut Context<'_, '_, '_>,
        state: &mut State,
    ) -> Result<Flow<'s>, Fault> {
        let request = &context.exchange.request;
        if !request.is_grpc() {
            return Ok(Flow::Continue);
        }
        let call = state.call.insert(self.home.begin(context.cluster, request));
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
