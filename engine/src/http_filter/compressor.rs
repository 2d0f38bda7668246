//! The compressor filter: bodies get smaller for clients that accept it (Envoy: extensions.filters.http.compressor.v3).
//!
//! Invariant: a head says what its body is. What a compressed body is called, how long it is and which of its validators
//! hold is decided here, before the head goes out.

use super::{Context, Flow, Responding, Setup};
use crate::http::coding::{self, Accepted, Choice, Coding};
use crate::http::{Exchange, FieldId, HeadEditor, Length, Method};
use crate::mux::{Coders, EncoderSettings, Hooks, Transform};
use crate::router::Fault;
use crate::stats::{CodingStats, CompressorChoiceStats, CompressorStats};
use ringway_config::model::{self, CompressorRequest, CompressorResponse, CompressorSettings};
use std::rc::Rc;
use std::sync::Arc;

/// Encoders are the shard's.
pub use super::Unshared as Shared;

pub struct Filter {
    /// In order of preference; never empty.
    libraries: Box<[Library]>,
    response: Option<CompressorResponse>,
    request: Option<CompressorRequest>,
    coders: Rc<Coders>,
}

struct Library {
    settings: EncoderSettings,
    response: Direction,
    request: Direction,
    choices: Arc<CompressorChoiceStats>,
}

/// The statistics of a library in one direction.
struct Direction {
    stats: Arc<CompressorStats>,
    bytes: Arc<CodingStats>,
}

/// What the client accepts, as far as its response may be compressed.
#[derive(Default)]
pub struct State {
    accepted: Option<Accepted>,
}

impl Library {
    fn new(settings: CompressorSettings, setup: &Setup<'_>) -> Self {
        let settings = match settings {
            CompressorSettings::Gzip { level, window_bits } => EncoderSettings::Gzip { level, window_bits },
            CompressorSettings::Brotli { quality } => EncoderSettings::Brotli { quality },
            CompressorSettings::Zstd { level } => EncoderSettings::Zstd { level },
        };
        // Envoy: the name of the library in the file, then the prefix of the library itself.
        let name = settings.coding().envoy_name();
        let scope = format!("{}.compressor.{name}.{name}", setup.stat_prefix);
        let direction = |direction: &str| {
            let scope = format!("{scope}.{direction}");
            let (registry, shard) = (setup.registry, setup.shard);
            Direction { stats: registry.scope(&scope, shard), bytes: registry.scope(&scope, shard) }
        };
        let (response, request) = (direction("response"), direction("request"));
        Self { settings, response, request, choices: setup.registry.scope(&scope, setup.shard) }
    }

    fn coding(&self) -> Coding {
        self.settings.coding()
    }
}

impl Direction {
    /// The hooks of a message that is to be compressed; `None`: there is no memory for it.
    fn begin(&self, settings: EncoderSettings, coders: &Rc<Coders>) -> Option<Hooks> {
        let Some(encoder) = coders.encoder(settings) else {
            self.stats.memory_overflow.inc();
            self.stats.not_compressed.inc();
            return None;
        };
        self.stats.compressed.inc();
        Some(Transform::encode(encoder, self.bytes.clone()).into())
    }
}

impl Filter {
    pub fn new(settings: &model::Compressor, _: &Arc<Shared>, setup: &Setup<'_>) -> Self {
        Self {
            libraries: settings.libraries.iter().map(|library| Library::new(*library, setup)).collect(),
            response: settings.response.clone(),
            request: settings.request.clone(),
            coders: setup.coders.clone(),
        }
    }

    pub async fn request<'s>(
        &'s self,
        context: &mut Context<'_, '_, '_>,
        state: &mut State,
    ) -> Result<Flow<'s>, Fault> {
        let request = &mut context.exchange.request;
        if let Some(settings) = &self.response {
            state.accepted = Some(Accepted::of_request(&request.head.fields, request.view()));
            if settings.remove_accept_encoding_header {
                // Not taken out: after an internal redirect, this filter has to see it again.
                coding::keep_from_upstream(&mut request.head.fields);
            }
        }
        let Some(settings) = &self.request else { return Ok(Flow::Continue) };
        if context.client.upload.is_done() {
            return Ok(Flow::Continue);
        }
        Ok(self.compress_request(settings, context.exchange).map_or(Flow::Continue, Flow::Hooked))
    }

    fn compress_request(&self, settings: &CompressorRequest, exchange: &mut Exchange) -> Option<Hooks> {
        let library = &self.libraries[0];
        let Direction { stats, .. } = &library.request;
        let (head, view) = (&exchange.request.head, exchange.request.view());
        let is_short = matches!(head.length, Length::Known(length) if length < u64::from(settings.min_content_length));
        let content_type = head.fields.value(FieldId::ContentType, view).unwrap_or_default();
        let is_left_alone = !coding::matches_type(content_type, &settings.content_type)
            || coding::applied(&head.fields, view).next().is_some()
            || coding::forbids_transform(&head.fields, view)
            || head.fields.contains(FieldId::ContentRange);
        if is_short || is_left_alone {
            stats.content_length_too_small.add(u64::from(is_short));
            stats.not_compressed.inc();
            return None;
        }
        let hooks = library.request.begin(library.settings, &self.coders)?;
        exchange.request.head.length = Length::Unknown;
        name_coding(&mut exchange.request.edit(), library.coding());
        Some(hooks)
    }

    pub async fn response(&self, context: &mut Responding<'_, '_, '_>, state: &mut State) -> Result<Hooks, Fault> {
        let (Some(settings), Some(accepted)) = (&self.response, &state.accepted) else {
            return Ok(Hooks::default());
        };
        let exchange = &mut *context.exchange;
        let choice = accepted.choose(self.libraries.iter().map(Library::coding));
        if exchange.response.head.status == 304 {
            not_modified(exchange, choice);
            return Ok(Hooks::default());
        }
        let is_head = exchange.request.head.method == Method::Head;
        if exchange.response.head.length.is_empty() && !is_head {
            return Ok(Hooks::default());
        }
        self.count_choice(choice);
        let is_needed = accepted.refuses_identity();
        let chosen = match choice {
            Choice::Coding { index, .. } => Some(index),
            Choice::NoHeader | Choice::Identity | Choice::NotValid => None,
        };
        if !self.may_compress(settings, exchange, is_needed) {
            self.count_not_compressed(None);
            return Ok(Hooks::default());
        }
        // For another client, the answer is another one.
        coding::vary_by_encoding(&mut exchange.response.edit());
        self.count_not_compressed(chosen);
        let Some(library) = chosen.map(|index| &self.libraries[index]) else { return Ok(Hooks::default()) };
        let mut hooks = Hooks::default();
        if !is_head {
            let Some(compressing) = library.response.begin(library.settings, &self.coders) else {
                return Ok(Hooks::default());
            };
            exchange.response.head.length = Length::Unknown;
            hooks = compressing;
        }
        // The answer to HEAD tells what GET would get (RFC 9110 section 9.3.2).
        exchange.response.head.content_length = None;
        let mut head = exchange.response.edit();
        name_coding(&mut head, library.coding());
        coding::weaken_etag(&mut head);
        Ok(hooks)
    }

    /// Whether the response could be compressed if its client accepts that. `is_needed`: the client accepts nothing else.
    fn may_compress(&self, settings: &CompressorResponse, exchange: &Exchange, is_needed: bool) -> bool {
        let (head, view) = (&exchange.response.head, exchange.response.view());
        let request = &exchange.request;
        if matches!(head.status, 204 | 206)
            || settings.uncompressible_response_codes.contains(&head.status)
            || head.fields.contains(FieldId::ContentRange)
            || coding::applied(&head.fields, view).next().is_some()
            || coding::forbids_transform(&head.fields, view)
            || coding::forbids_transform(&request.head.fields, request.view())
        {
            return false;
        }
        if settings.disable_on_etag_header && head.fields.contains(FieldId::Etag) {
            self.libraries.iter().for_each(|library| library.choices.not_compressed_etag.inc());
            return false;
        }
        let length = match head.length {
            Length::Known(length) => Some(length),
            Length::None => head.content_length,
            Length::Unknown => None,
        };
        let is_short = length.is_some_and(|length| length < u64::from(settings.min_content_length));
        if is_short && !is_needed {
            self.libraries.iter().for_each(|library| library.response.stats.content_length_too_small.inc());
            return false;
        }
        let content_type = head.fields.value(FieldId::ContentType, view).unwrap_or_default();
        is_needed || coding::matches_type(content_type, &settings.content_type)
    }

    fn count_choice(&self, choice: Choice) {
        for (at, library) in self.libraries.iter().enumerate() {
            let stats = &library.choices;
            match choice {
                Choice::NoHeader => stats.no_accept_header.inc(),
                Choice::Identity => stats.header_identity.inc(),
                Choice::NotValid => stats.header_not_valid.inc(),
                Choice::Coding { index, .. } if index != at => stats.header_compressor_overshadowed.inc(),
                Choice::Coding { by_wildcard: true, .. } => stats.header_wildcard.inc(),
                Choice::Coding { by_wildcard: false, .. } => stats.header_compressor_used.inc(),
            }
        }
    }

    /// All libraries but the one with this index.
    fn count_not_compressed(&self, chosen: Option<usize>) {
        for (at, library) in self.libraries.iter().enumerate() {
            library.response.stats.not_compressed.add(u64::from(chosen != Some(at)));
        }
    }
}

/// The body has this coding now.
fn name_coding(head: &mut HeadEditor<'_>, coding: Coding) {
    coding::forget_bytes(head);
    head.fields.remove_id(FieldId::ContentEncoding);
    head.add_known(FieldId::ContentEncoding, |out| out.extend_from_slice(coding.token().as_bytes()));
}

/// A client that has a compressed body has its etag as a weak one, and finds it only under that name (RFC 9111 section
/// 4.3.4).
fn not_modified(exchange: &mut Exchange, choice: Choice) {
    if !matches!(choice, Choice::Coding { .. }) {
        return;
    }
    let (request, response) = (&exchange.request, &exchange.response);
    let (asked, view) = (&request.head.fields, request.view());
    let Some(etag) = response.head.fields.value(FieldId::Etag, response.view()) else { return };
    let is_weak =
        |value: &[u8]| value.windows(2 + etag.len()).any(|part| part.starts_with(b"W/") && part.ends_with(etag));
    if asked.all(FieldId::IfNoneMatch).any(|field| is_weak(field.value.of(view))) {
        let mut head = exchange.response.edit();
        coding::weaken_etag(&mut head);
        coding::vary_by_encoding(&mut head);
    }
}
