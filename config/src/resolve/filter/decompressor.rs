//! Settings of the decompressor filter.

use std::collections::HashMap;

use crate::document::{self, CodingLibrary};
use crate::model::{self, Decompressor, DecompressorDirection};
use crate::reader::{Located, OffOr, Slot};
use crate::resolve::Resolver;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn decompressor(&mut self, written: &'d Located<document::Decompressor>) -> Option<Decompressor> {
        let hint = "leave it out for all of them";
        self.refuse_empty(&written.decompressor_library, "there is no library", hint);
        let mut first = HashMap::new();
        let mut libraries = Vec::new();
        for library in written.decompressor_library.items() {
            let message = |_: &CodingLibrary| "the library is in the list twice".to_owned();
            self.unique(&mut first, library.value.0, &library.origin, message);
            libraries.push(match library.value.0 {
                CodingLibrary::Gzip => model::Coding::Gzip,
                CodingLibrary::Brotli => model::Coding::Brotli,
                CodingLibrary::Zstd => model::Coding::Zstd,
            });
        }
        if written.decompressor_library.origin().is_none() {
            libraries = vec![model::Coding::Gzip, model::Coding::Brotli, model::Coding::Zstd];
        }
        Some(Decompressor {
            libraries,
            request: direction(&written.request),
            response: direction(&written.response),
            advertise_accept_encoding: written.advertise_accept_encoding.value,
            max_output_bytes: written.max_output_bytes.0,
            max_inflate_ratio: written.max_inflate_ratio.to_u32(),
        })
    }
}

/// `None`: off.
fn direction(written: &Slot<OffOr<document::DecompressorDirection>>) -> Option<DecompressorDirection> {
    match written.given().map(|direction| &direction.value) {
        Some(OffOr::Off) => None,
        Some(OffOr::On(direction)) => {
            Some(DecompressorDirection { ignore_no_transform: direction.ignore_no_transform_header.value })
        }
        None => Some(DecompressorDirection { ignore_no_transform: false }),
    }
}
