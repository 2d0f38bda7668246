//! The decompressor filter.

use crate::reader::{Int, List, OffOr, OneOf, SizeOrOff, Word, table};

table! {
    /// Decompresses the bodies of requests and responses whose `content-encoding` ends in one of these codings (Envoy:
    /// decompressor). `cache-control: no-transform` protects a body.
    Decompressor at "listeners[].http.http_filters[].decompressor", example "decompressor.toml" {
        /// The libraries.
        decompressor_library: List<OneOf<CodingLibrary>>, optional "`[\"gzip\", \"brotli\", \"zstd\"]`";
        /// Decompress requests; `"off"`: leave them alone.
        request: OffOr<DecompressorDirection>, optional "the defaults of the table";
        /// Decompress responses; `"off"`: leave them alone.
        response: OffOr<DecompressorDirection>, optional "the defaults of the table";
        /// Tell the upstream in `accept-encoding` that responses may have these codings.
        advertise_accept_encoding: bool, default "true";
        /// Bytes that a body becomes at most. Above it, a request gets status 413, and a response is broken off.
        max_output_bytes: SizeOrOff<1>, default "\"1GiB\"";
        /// Bytes that a body becomes at most for each byte that came over the wire, with all its codings undone, once it
        /// has become more than 64 KiB: above it, the body is a decompression bomb and treated as above `max_output_bytes`.
        max_inflate_ratio: Int<1, 4_294_967_295>, default "100";
    }
}

table! {
    /// What is decompressed in one direction.
    DecompressorDirection at "listeners[].http.http_filters[].decompressor.response", example "decompressor.toml" {
        /// Decompress in spite of `cache-control: no-transform`.
        ignore_no_transform_header: bool, default "false";
    }
}

/// The libraries by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodingLibrary {
    Gzip,
    Brotli,
    Zstd,
}

impl Word for CodingLibrary {
    const WORDS: &'static [(&'static str, Self)] =
        &[("gzip", Self::Gzip), ("brotli", Self::Brotli), ("zstd", Self::Zstd)];
    const LATER: &'static [&'static str] = &[];
}
