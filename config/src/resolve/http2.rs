//! HTTP/2, on either side.

use super::cluster::or_defaults;
use crate::document::Http2;
use crate::model::Http2Options;
use crate::reader::Slot;

/// What connections are given, by default where nothing is written.
pub(super) fn http2(written: &Slot<Http2>) -> Http2Options {
    let written = or_defaults(written);
    Http2Options {
        max_concurrent_streams: written.max_concurrent_streams.value.to_u32(),
        initial_stream_window_size: written.initial_stream_window_size.value.to_u32(),
        initial_connection_window_size: written.initial_connection_window_size.value.to_u32(),
        stream_window_growth: written.stream_window_growth.value.to_u32(),
    }
}
