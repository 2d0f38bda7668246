//! The buffer filter: a request goes on only when all of it is here (Envoy: extensions.filters.http.buffer.v3.Buffer).

use super::{Context, Flow, Responding, Setup};
use crate::http::Length;
use crate::mux::Hooks;
use crate::router::Fault;
use ringway_config::model;
use std::sync::Arc;

pub use super::Unshared as Shared;

pub struct Filter {
    max_request_bytes: u64,
}

/// Nothing is kept.
#[derive(Default)]
pub struct State;

impl Filter {
    pub fn new(settings: &model::Buffer, _: &Arc<Shared>, _: &Setup<'_>) -> Self {
        Self { max_request_bytes: settings.max_request_bytes }
    }

    pub async fn request<'s>(&'s self, context: &mut Context<'_, '_, '_>, _: &mut State) -> Result<Flow<'s>, Fault> {
        if context.client.upload.is_done() {
            return Ok(Flow::Continue);
        }
        if context.exchange.request.head.length.exceeds(Some(self.max_request_bytes)) {
            return Err(Fault::RequestTooLarge);
        }
        let collected = context.collect_body(self.max_request_bytes).await?;
        if !collected.is_whole {
            return Err(Fault::RequestTooLarge);
        }
        // The length is known now, and an origin may need it.
        let request = &mut context.exchange.request;
        if request.head.length == Length::Unknown && request.trailers.is_empty() {
            request.head.length = Length::Known(collected.bytes);
        }
        Ok(Flow::Continue)
    }

    pub async fn response(&self, _: &mut Responding<'_, '_, '_>, _: &mut State) -> Result<Hooks, Fault> {
        Ok(Hooks::default())
    }
}
