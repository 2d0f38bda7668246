//! Settings of the compressor filter.

use std::collections::HashMap;

use crate::document::{self, CompressorLibrary};
use crate::model::{Compressor, CompressorRequest, CompressorResponse, CompressorSettings};
use crate::reader::{List, Located, MediaType, OffOr, Slot, absent};
use crate::resolve::Resolver;

/// What browsers ask for and what gets smaller (Envoy's list, and the names that came since).
const CONTENT_TYPES: [&str; 10] = [
    "application/javascript",
    "application/json",
    "application/xhtml+xml",
    "application/xml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/javascript",
    "text/plain",
    "text/xml",
];

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn compressor(&mut self, written: &'d Located<document::Compressor>) -> Option<Compressor> {
        let response = match written.response.given().map(|response| &response.value) {
            Some(OffOr::Off) => None,
            Some(OffOr::On(response)) => self.compressor_response(&response.value),
            None => self.compressor_response(&absent::<document::CompressorResponse>()?.value),
        };
        Some(Compressor {
            libraries: self.compressor_libraries(written),
            response,
            request: written.request.given().map(|request| CompressorRequest {
                min_content_length: request.min_content_length.to_u32(),
                content_type: self.content_types(&request.content_type),
            }),
        })
    }

    fn compressor_libraries(&mut self, written: &'d Located<document::Compressor>) -> Vec<CompressorSettings> {
        self.refuse_empty(&written.compressor_library, "there is no library", "such as [{ gzip = {} }]");
        let mut first = HashMap::new();
        let mut libraries = Vec::new();
        for library in written.compressor_library.items() {
            let keys =
                [("gzip", library.gzip.origin()), ("brotli", library.brotli.origin()), ("zstd", library.zstd.origin())];
            self.exactly_one(&library.origin, library.has_unknown, &keys, "this table names no library");
            if let Some((name, origin)) = keys.iter().find_map(|(name, origin)| origin.map(|origin| (*name, origin))) {
                self.unique(&mut first, name, origin, |name| format!("the library `{name}` is in the list twice"));
            }
            libraries.extend(settings(library));
        }
        if written.compressor_library.origin().is_none() {
            libraries.push(CompressorSettings::Gzip { level: 4, window_bits: 14 });
        }
        libraries
    }

    fn compressor_response(&mut self, written: &document::CompressorResponse) -> Option<CompressorResponse> {
        let codes = written.uncompressible_response_codes.items();
        Some(CompressorResponse {
            min_content_length: written.min_content_length.to_u32(),
            content_type: self.content_types(&written.content_type),
            disable_on_etag_header: written.disable_on_etag_header.value,
            remove_accept_encoding_header: written.remove_accept_encoding_header.value,
            uncompressible_response_codes: codes.iter().map(|code| code.to_u16()).collect(),
        })
    }

    fn content_types(&mut self, written: &Slot<List<MediaType>>) -> Vec<String> {
        self.refuse_empty(written, "no media type is compressed", "leave it out for the usual ones");
        match written.origin() {
            Some(_) => written.items().iter().map(|name| name.0.clone()).collect(),
            None => CONTENT_TYPES.map(str::to_owned).into(),
        }
    }
}

fn settings(library: &CompressorLibrary) -> Option<CompressorSettings> {
    if let Some(gzip) = library.gzip.given() {
        let (level, window_bits) = (gzip.compression_level.to_u8(), gzip.window_bits.to_u8());
        return Some(CompressorSettings::Gzip { level, window_bits });
    }
    if let Some(brotli) = library.brotli.given() {
        return Some(CompressorSettings::Brotli { quality: brotli.quality.to_u8() });
    }
    Some(CompressorSettings::Zstd { level: library.zstd.given()?.compression_level.to_u8() })
}
