//! The grpc_web filter: clients of gRPC-Web, as in browsers, are served by servers of gRPC (Envoy:
//! extensions.filters.http.grpc_web.v3).

use super::calls::{Call, Head, Home, is_answer, judge};
use super::methods::Methods;
use super::{Context, Flow, Responding, Setup};
use crate::base::clock::Nanos;
use crate::codec::grpc_web::trailers_frame;
use crate::http::grpc::{self, WebType, web_type};
use crate::http::{FieldId, HeadEditor, HeadView, Length, Message, Method, RequestHead, Trailers};
use crate::mux::{Coders, Hooks};
use crate::router::Fault;
use crate::stats::GrpcWebStats;
use ringway_config::model::{self, GrpcMethods};
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;

/// The registry has what all shards count.
pub use super::Unshared as Shared;

pub struct Filter {
    home: Rc<Home<GrpcWebStats>>,
    coders: Rc<Coders>,
}

/// A call of gRPC-Web under way.
#[derive(Default)]
pub struct State {
    pub(super) call: Option<Call<GrpcWebStats>>,
    /// The response is base64.
    is_text: bool,
}

/// The format of messages in a `content-type`, `+` included.
type Suffix = SmallVec<[u8; 32]>;

impl Filter {
    pub fn new(settings: &model::GrpcWeb, _: &Arc<Shared>, setup: &Setup<'_>) -> Self {
        let which = GrpcMethods::All { max: settings.max_methods };
        let methods = Methods::new(setup.registry, setup.shard, &which, false);
        Self { home: Home::new(methods), coders: setup.coders.clone() }
    }

    pub async fn request<'s>(
        &'s self,
        context: &mut Context<'_, '_, '_>,
        state: &mut State,
    ) -> Result<Flow<'s>, Fault> {
        let request = &mut context.exchange.request;
        if request.head.method != Method::Post {
            return Ok(Flow::Continue);
        }
        // After an internal redirect, the request is one of gRPC already, and its body is what the hooks have made.
        let bridged = grpc::bridged(&request.head, request.view());
        let is_bridged = bridged.is_some();
        let content_type = request.head.fields.value(FieldId::ContentType, request.view());
        let Some(asked) = bridged.or_else(|| content_type.and_then(web_type)) else { return Ok(Flow::Continue) };
        state.is_text = wants_text(&request.head, request.view(), &asked);
        if !is_bridged {
            bridge(request, &asked);
        }
        let call = state.call.insert(self.home.begin(context.cluster, request));
        if is_bridged || !asked.is_text || context.client.upload.is_done() {
            return Ok(Flow::Continue);
        }
        request.head.length = Length::Unknown;
        Ok(Flow::Hooked(Hooks::web_request(&self.coders, &call.notes)))
    }

    pub async fn response(&self, context: &mut Responding<'_, '_, '_>, state: &mut State) -> Result<Hooks, Fault> {
        let Some(Call { notes, .. }) = &state.call else { return Ok(Hooks::default()) };
        let response = &mut context.exchange.response;
        let judged = judge(response);
        if is_answer(response) {
            rename(&mut response.edit(), state.is_text);
        }
        let head = &mut response.head;
        match judged {
            Head::Ends(status) => {
                notes.responded(Some(status), context.client.reactor.now());
                Ok(Hooks::default())
            }
            Head::GoesOn(status) => {
                notes.status.set(status);
                (head.length, head.content_length) = (Length::Unknown, None);
                head.fields.remove_id(FieldId::ContentLength);
                Ok(Hooks::web_response(&self.coders, notes, state.is_text))
            }
        }
    }
}

impl State {
    /// The call's response, of which the client has been sent `sent` bytes of body, is to end early with these trailers. The frame
    /// that says so; `None`: it would be taken for a part of a message.
    pub fn cut(&self, sent: u64, trailers: &Trailers, now: Nanos) -> Option<Vec<u8>> {
        let Some(Call { notes, .. }) = &self.call else { return Some(Vec::new()) };
        if !notes.is_between.get() || notes.given.get() != sent {
            return None;
        }
        notes.responded(trailers.grpc_status(), now);
        let mut frame = Vec::new();
        trailers_frame(&mut frame, trailers.iter(), self.is_text);
        Some(frame)
    }
}

/// Make the request, whose type is `asked`, one of gRPC. That type stays in the head for this hop.
fn bridge(request: &mut Message<RequestHead>, asked: &WebType) {
    let Some(mut kept) = request.head.fields.get(FieldId::ContentType).copied() else { return };
    let suffix = Suffix::from(&kept.value.of(request.view())[asked.suffix.clone()]);
    kept.hop_by_hop = true;
    let mut head = request.edit();
    head.fields.remove_id(FieldId::ContentType);
    head.fields.remove_id(FieldId::ContentLength);
    head.add_known(FieldId::ContentType, |out| {
        out.extend_from_slice(b"application/grpc");
        out.extend_from_slice(&suffix);
    });
    head.fields.push(kept);
}

/// Whether the response is to be base64: as `accept` says, else as the request is.
fn wants_text(head: &RequestHead, view: HeadView<'_>, asked: &WebType) -> bool {
    let accepts = head.fields.all(FieldId::Accept).flat_map(|field| crate::http::grammar::list(field.value.of(view)));
    let mut types = accepts.filter_map(web_type);
    types.next().map_or(asked.is_text, |accepted| accepted.is_text)
}

/// Give a response of gRPC the type that the client knows.
fn rename(head: &mut HeadEditor<'_>, is_text: bool) {
    let value = head.fields.value(FieldId::ContentType, head.view()).unwrap_or_default();
    let suffix = match &value[b"application/grpc".len().min(value.len())..] {
        suffix if suffix.starts_with(b"+") => Suffix::from(suffix),
        _ => Suffix::from(&b"+proto"[..]),
    };
    head.fields.remove_id(FieldId::ContentType);
    head.fields.remove_id(FieldId::Trailer);
    head.add_known(FieldId::ContentType, |out| {
        out.extend_from_slice(if is_text { b"application/grpc-web-text" } else { b"application/grpc-web" });
        out.extend_from_slice(&suffix);
    });
}
