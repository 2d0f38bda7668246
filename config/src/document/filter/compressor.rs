//! The compressor filter.

use crate::reader::{Int, List, MediaType, OffOr, table};

table! {
    /// Compresses the bodies of responses with gzip, brotli or zstd for clients that accept it, and the bodies of
    /// requests if `request` is written (Envoy: compressor). A body that has a content coding already, that is a part
    /// of something (206), or that `cache-control: no-transform` protects is left alone.
    Compressor at "listeners[].http.http_filters[].compressor", example "compressor.toml" {
        /// The libraries. The one whose coding a client likes best compresses its response; among equals, the first in
        /// the list. Requests are compressed by the first in the list.
        compressor_library: List<CompressorLibrary>, optional "`[{ gzip = {} }]`";
        /// Which responses are compressed; `"off"`: none.
        response: OffOr<CompressorResponse>, optional "the defaults of the table";
        /// Which requests are compressed; `{}`: those that the defaults of the table say.
        request: CompressorRequest, optional "none";
    }
}

table! {
    /// A library with its settings: a table with exactly one key.
    CompressorLibrary at "listeners[].http.http_filters[].compressor.compressor_library[]", example "compressor.toml" {
        /// The coding `gzip`, which every client knows.
        gzip: GzipCompressor, optional "another library";
        /// The coding `br`.
        brotli: BrotliCompressor, optional "another library";
        /// The coding `zstd`: at the same speed, bodies get smaller than with the others.
        zstd: ZstdCompressor, optional "another library";
    }
}

table! {
    /// Settings of gzip (Envoy: Gzip).
    GzipCompressor at "listeners[].http.http_filters[].compressor.compressor_library[].gzip", example "compressor.toml" {
        /// How much time is taken to make bodies smaller. Above 4, that is much time for little.
        compression_level: Int<1, 9>, default "4";
        /// How far back repetitions are found, as a power of two in bytes. Fewer bits take less memory.
        window_bits: Int<9, 14>, default "14";
    }
}

table! {
    /// Settings of brotli (Envoy: Brotli).
    BrotliCompressor at "listeners[].http.http_filters[].compressor.compressor_library[].brotli", example "compressor.toml" {
        /// How much time is taken to make bodies smaller. Higher qualities would take more than half a MiB of memory
        /// for each body at the same time.
        quality: Int<0, 1>, default "1";
    }
}

table! {
    /// Settings of zstd (Envoy: Zstd).
    ZstdCompressor at "listeners[].http.http_filters[].compressor.compressor_library[].zstd", example "compressor.toml" {
        /// How much time is taken to make bodies smaller.
        compression_level: Int<1, 9>, default "3";
    }
}

table! {
    /// Which responses are compressed (Envoy: ResponseDirectionConfig).
    CompressorResponse at "listeners[].http.http_filters[].compressor.response", example "compressor.toml" {
        /// Bytes that a body has at least; a body of unknown length is compressed.
        min_content_length: Int<0, 4_294_967_295>, default "30";
        /// Media types that are compressed. `"text/*"` and `"*/*"` stand for many, but neither for `application/grpc`
        /// nor for `text/event-stream`, which have to be written in full.
        content_type: List<MediaType>, optional "application/javascript, application/json, application/xhtml+xml, application/xml, image/svg+xml, text/css, text/html, text/javascript, text/plain, text/xml";
        /// Leave responses with an `etag` alone. Otherwise it is made a weak one.
        disable_on_etag_header: bool, default "false";
        /// Do not tell the upstream what the client accepts, so that it does not compress.
        remove_accept_encoding_header: bool, default "false";
        /// Statuses whose responses are left alone.
        uncompressible_response_codes: List<Int<200, 599>>, optional "none";
    }
}

table! {
    /// Which requests are compressed (Envoy: RequestDirectionConfig). The upstream has to understand the coding.
    CompressorRequest at "listeners[].http.http_filters[].compressor.request", example "compressor.toml" {
        /// Bytes that a body has at least; a body of unknown length is compressed.
        min_content_length: Int<0, 4_294_967_295>, default "30";
        /// Media types that are compressed, as for responses.
        content_type: List<MediaType>, optional "as for responses";
    }
}
