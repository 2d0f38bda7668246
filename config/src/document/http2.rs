//! `http2`, on either side: what HTTP/2 connections are given.

use crate::model::{CodecType, UpstreamProtocol};
use crate::reader::{Int, Size, Word, table};

table! {
    /// HTTP/2 connections (Envoy: Http2ProtocolOptions), with clients in `listeners[].http`, with endpoints in `clusters[]`.
    Http2 at "clusters[].http2", example "http2.toml" {
        /// Exchanges at a time on one connection. Of clients, what is beyond is refused in a way that lets them send it again. To
        /// an endpoint, another connection is made, or fewer are sent if it says so.
        max_concurrent_streams: Int<1, 1_000_000>, default "100";
        /// Bytes of one body that the peer may send before any of them was sent on (nginx: http2_body_preread_size, HAProxy:
        /// tune.h2.fe.initial-window-size).
        initial_stream_window_size: Size<65_536, 2_147_483_647>, default "\"64KiB\"";
        /// The same for all bodies of a connection together; it is given back as soon as bytes have come, so that a body that is
        /// not read holds up no other.
        initial_connection_window_size: Size<65_536, 2_147_483_647>, default "\"16MiB\"";
        /// By how much the windows of a connection's bodies may grow altogether while they are what holds them back: one
        /// body then comes as fast as the way is long, and a connection holds no more than this beyond its first windows.
        stream_window_growth: Size<0, 1_073_741_824>, default "\"8MiB\"";
    }
}

impl Word for CodecType {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("http1", Self::Http1), ("http2", Self::Http2)];
    const LATER: &'static [&'static str] = &["http3"];
}

impl Word for UpstreamProtocol {
    const WORDS: &'static [(&'static str, Self)] =
        &[("http1", Self::Http1), ("http2", Self::Http2), ("auto", Self::Auto)];
    const LATER: &'static [&'static str] = &["http3"];
}
