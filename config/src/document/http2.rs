//! `http2`, on either side: what HTTP/2 connections are given.

use crate::model::{CodecType, UpstreamProtocol};
use crate::reader::{Int, Size, Time, Timeout, Word, table};

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
        /// When the other side has to show that it is still there.
        connection_keepalive: Http2Keepalive, optional "each key at its default";
        /// Of a cluster: how many connections each shard makes to an endpoint. One TCP connection is one congestion window, and
        /// in most servers one core.
        connections: Http2Connections, optional "1, and more while all are full";
    }
}

table! {
    /// PINGs that find out whether the other side still answers (Envoy: KeepaliveSettings). Whatever comes from it is an answer.
    /// One that does not answer is gone: its connection is closed, and counted in `http2.keepalive_timeout`.
    Http2Keepalive at "clusters[].http2.connection_keepalive", example "http2.toml" {
        /// Time without a byte after which a PING is sent, while exchanges are under way; never without, because servers of gRPC
        /// take that for an attack.
        interval: Timeout, default "\"off\"";
        /// Percent by which each interval is shorter or longer, so that the PINGs of many connections do not meet.
        interval_jitter: Int<0, 100>, default "15";
        /// How long an answer is waited for.
        timeout: Time<1>, default "\"5s\"";
        /// Of a cluster: an endpoint's connection that had no exchanges for this time gets a PING before the next one, which waits
        /// for the answer. Without one within 1 s, or within `timeout` if that is shorter, the request goes to another
        /// connection, whatever its method: nothing of it was sent.
        connection_idle_interval: Timeout, optional "`\"30s\"`";
    }
}

table! {
    /// How many connections of HTTP/2 a shard makes to one endpoint.
    Http2Connections at "clusters[].http2.connections", example "http2.toml" {
        /// As soon as there are requests, this many are made, and each request goes to the one with the fewest.
        min: Int<1, 1_000>, default "1";
        /// No more are made; one that gets no further requests does not count. Where all are full, requests wait for room as they
        /// wait for a connection, within `circuit_breakers.max_pending_requests`.
        max: Int<1, 100_000>, optional "no limit but those of `circuit_breakers`";
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
