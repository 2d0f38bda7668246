//! The decompressor filter: what is behind it sees bodies without their coding (Envoy:
//! extensions.filters.http.decompressor.v3).

use super::{Context, Flow, Responding, Setup};
use crate::http::coding::{self, Coding};
use crate::http::{FieldId, Fields, HeadEditor, HeadView, Length, Method};
use crate::mux::{Coders, Expansion, Hooks, Transform};
use crate::router::Fault;
use crate::stats::{CodingStats, DecompressorStats};
use ringway_config::model::{self, DecompressorDirection};
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;

/// Memory is the shard's.
pub use super::Unshared as Shared;

pub struct Filter {
    libraries: Box<[Library]>,
    request: Option<DecompressorDirection>,
    response: Option<DecompressorDirection>,
    advertises: bool,
    expansion: Expansion,
    coders: Rc<Coders>,
}

struct Library {
    coding: Coding,
    request: Direction,
    response: Direction,
}

/// The statistics of a library in one direction.
struct Direction {
    stats: Arc<DecompressorStats>,
    bytes: Arc<CodingStats>,
}

/// Nothing is kept.
#[derive(Default)]
pub struct State;

/// Codings of one body that are undone at most.
const CODINGS_MAX: usize = 3;

impl Library {
    fn new(coding: Coding, setup: &Setup<'_>) -> Self {
        let direction = |direction: &str| {
            let name = coding.envoy_name();
            let scope = format!("{}.decompressor.{name}.{name}.{direction}", setup.stat_prefix);
            let (registry, shard) = (setup.registry, setup.shard);
            Direction { stats: registry.scope(&scope, shard), bytes: registry.scope(&scope, shard) }
        };
        Self { coding, request: direction("request"), response: direction("response") }
    }
}

impl Filter {
    pub fn new(settings: &model::Decompressor, _: &Arc<Shared>, setup: &Setup<'_>) -> Self {
        let coding = |coding: &model::Coding| match coding {
            model::Coding::Gzip => Coding::Gzip,
            model::Coding::Brotli => Coding::Brotli,
            model::Coding::Zstd => Coding::Zstd,
        };
        Self {
            libraries: settings.libraries.iter().map(|library| Library::new(coding(library), setup)).collect(),
            request: settings.request,
            response: settings.response,
            advertises: settings.advertise_accept_encoding && settings.response.is_some(),
            expansion: Expansion {
                max_output: settings.max_output_bytes.unwrap_or(u64::MAX),
                max_ratio: settings.max_inflate_ratio,
            },
            coders: setup.coders.clone(),
        }
    }

    pub async fn request<'s>(&'s self, context: &mut Context<'_, '_, '_>, _: &mut State) -> Result<Flow<'s>, Fault> {
        let request = &mut context.exchange.request;
        // A part of a compressed body could not be decompressed.
        if self.advertises && !request.head.fields.contains(FieldId::Range) {
            self.advertise(&mut request.edit());
        }
        let Some(settings) = &self.request else { return Ok(Flow::Continue) };
        if context.client.upload.is_done() {
            return Ok(Flow::Continue);
        }
        let undone = self.codings(settings, &request.head.fields, request.view(), |library| &library.request);
        let Some(hooks) = self.begin(&undone, |library| &library.request) else { return Ok(Flow::Continue) };
        request.head.length = Length::Unknown;
        forget_codings(&mut request.edit(), undone.len());
        Ok(Flow::Hooked(hooks))
    }

    pub async fn response(&self, context: &mut Responding<'_, '_, '_>, _: &mut State) -> Result<Hooks, Fault> {
        let Some(settings) = &self.response else { return Ok(Hooks::default()) };
        let is_head = context.exchange.request.head.method == Method::Head;
        let response = &mut context.exchange.response;
        let head = &response.head;
        if head.length.is_empty() && !is_head || matches!(head.status, 204 | 206 | 304) {
            return Ok(Hooks::default());
        }
        let undone = self.codings(settings, &head.fields, response.view(), |library| &library.response);
        let mut hooks = Hooks::default();
        match is_head {
            true if undone.is_empty() => return Ok(hooks),
            true => {}
            false => {
                let Some(begun) = self.begin(&undone, |library| &library.response) else { return Ok(hooks) };
                response.head.length = Length::Unknown;
                hooks = begun;
            }
        }
        response.head.content_length = None;
        let mut head = response.edit();
        forget_codings(&mut head, undone.len());
        coding::weaken_etag(&mut head);
        Ok(hooks)
    }

    /// The libraries that undo a body's codings, from the last one that was applied to the first one that is not ours.
    fn codings(
        &self,
        settings: &DecompressorDirection,
        fields: &Fields,
        view: HeadView<'_>,
        direction: impl Fn(&Library) -> &Direction,
    ) -> SmallVec<[&Library; CODINGS_MAX]> {
        let mut undone = SmallVec::new();
        let is_protected = !settings.ignore_no_transform && coding::forbids_transform(fields, view);
        if !is_protected && !fields.contains(FieldId::ContentRange) {
            let applied: SmallVec<[&[u8]; 4]> = coding::applied(fields, view).collect();
            for token in applied.iter().rev().take(CODINGS_MAX) {
                let coding = Coding::from_token(token);
                let Some(library) = self.libraries.iter().find(|library| Some(library.coding) == coding) else { break };
                undone.push(library);
            }
        }
        for library in &self.libraries {
            let is_used = undone.iter().any(|used: &&Library| used.coding == library.coding);
            direction(library).stats.not_decompressed.add(u64::from(!is_used));
        }
        undone
    }

    /// The hooks that undo these; `None`: there is nothing to be undone, or no memory for it.
    fn begin(&self, undone: &[&Library], direction: impl Fn(&Library) -> &Direction) -> Option<Hooks> {
        let mut hooks = Hooks::default();
        for library in undone {
            let Direction { stats, bytes } = direction(library);
            let Some(stage) = Transform::decode(&self.coders, library.coding, self.expansion, bytes.clone()) else {
                stats.memory_overflow.inc();
                stats.not_decompressed.inc();
                return None;
            };
            hooks.add(stage.into());
        }
        undone.iter().for_each(|library| direction(library).stats.decompressed.inc());
        (!undone.is_empty()).then_some(hooks)
    }

    /// The upstream may use these codings, whatever the client accepts.
    fn advertise(&self, head: &mut HeadEditor<'_>) {
        let lines = || head.fields.all(FieldId::AcceptEncoding);
        if lines().any(|field| field.hop_by_hop) && lines().any(|field| !field.hop_by_hop) {
            // Done already, before an internal redirect.
            return;
        }
        let mut value = SmallVec::<[u8; 128]>::new();
        let mut add = |element: &[u8]| {
            value.extend_from_slice(if value.is_empty() { b"" } else { b", " });
            value.extend_from_slice(element);
        };
        let view = head.view();
        for field in lines().filter(|field| !field.hop_by_hop) {
            for element in crate::http::grammar::list(field.value.of(view)).filter(|element| !element.is_empty()) {
                let name = element.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                let coding = Coding::from_token(name);
                if !self.libraries.iter().any(|library| Some(library.coding) == coding) {
                    add(element);
                }
            }
        }
        self.libraries.iter().for_each(|library| add(library.coding.token().as_bytes()));
        // The client's own lines stay, for filters that ask what it accepts.
        coding::keep_from_upstream(head.fields);
        head.add_known(FieldId::AcceptEncoding, |out| out.extend_from_slice(&value));
    }
}

/// The last `count` codings of the body were undone.
fn forget_codings(head: &mut HeadEditor<'_>, count: usize) {
    coding::forget_bytes(head);
    let mut rest = SmallVec::<[u8; 64]>::new();
    let applied: SmallVec<[&[u8]; 4]> = coding::applied(head.fields, head.view()).collect();
    for token in &applied[..applied.len() - count] {
        rest.extend_from_slice(if rest.is_empty() { b"" } else { b", " });
        rest.extend_from_slice(token);
    }
    drop(applied);
    head.fields.remove_id(FieldId::ContentEncoding);
    if !rest.is_empty() {
        head.add_known(FieldId::ContentEncoding, |out| out.extend_from_slice(&rest));
    }
}
