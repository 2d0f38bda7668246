//! HTTP/2, on either side.

use super::Resolver;
use super::cluster::or_defaults;
use crate::diagnostic::Problem;
use crate::document::{self, Cluster, Http, Http2};
use crate::model::{CodecType, Http2Keepalive, Http2Options, UpstreamProtocol};
use crate::reader::Slot;

impl<'d> Resolver<'d, '_, '_> {
    /// What connections with clients are given.
    pub(super) fn client_http2(&mut self, http: &'d Http) -> Http2Options {
        if http.codec_type.0 == CodecType::Http1 {
            let hint = "remove it, or write codec_type = \"auto\"";
            self.warn_of_http2(&http.http2, "`codec_type` says that clients speak HTTP/1", hint);
        }
        let written = or_defaults(&http.http2);
        let keepalive = or_defaults(&written.connection_keepalive);
        let of_clusters = [
            ("connections", written.connections.origin()),
            ("connection_idle_interval", keepalive.connection_idle_interval.origin()),
        ];
        for (key, origin) in of_clusters {
            if let Some(origin) = origin {
                let problem =
                    Problem::at_key(origin, format!("{key} is for connections to endpoints, and these are clients'"));
                self.problems.push(problem.hint(Some("move it to `http2` of a cluster, or remove it")));
            }
        }
        options(&http.http2)
    }

    /// What connections with endpoints are given.
    pub(super) fn endpoint_http2(&mut self, cluster: &'d Cluster) -> Http2Options {
        if cluster.protocol.0 == UpstreamProtocol::Http1 {
            let hint = "add protocol = \"http2\", or \"auto\" with `tls`, or remove it";
            self.warn_of_http2(&cluster.http2, "the cluster speaks HTTP/1", hint);
        }
        let connections = or_defaults(&or_defaults(&cluster.http2).connections);
        if let Some(max) = connections.max.given().filter(|max| max.0 < connections.min.value.0) {
            let message = format!("max ({}) is less than min ({})", max.0, connections.min.value.0);
            self.problems.push(Problem::at(&max.origin, message).hint(Some("write a max of at least min")));
        }
        options(&cluster.http2)
    }

    fn warn_of_http2(&mut self, written: &'d Slot<Http2>, why: &str, hint: &str) {
        if let Some(origin) = written.origin() {
            let problem = Problem::at_key(origin, format!("`http2` has no effect: {why}"));
            self.problems.warn(problem.hint(Some(hint)));
        }
    }
}

fn options(written: &Slot<Http2>) -> Http2Options {
    let written = or_defaults(written);
    let connections = or_defaults(&written.connections);
    Http2Options {
        max_concurrent_streams: written.max_concurrent_streams.value.to_u32(),
        initial_stream_window_size: written.initial_stream_window_size.value.to_u32(),
        initial_connection_window_size: written.initial_connection_window_size.value.to_u32(),
        stream_window_growth: written.stream_window_growth.value.to_u32(),
        keepalive: keepalive(&written.connection_keepalive),
        connections_min: connections.min.value.to_u32(),
        connections_max: connections.max.given().map(|max| max.to_u32()),
    }
}

fn keepalive(written: &Slot<document::Http2Keepalive>) -> Http2Keepalive {
    let written = or_defaults(written);
    let default = Http2Keepalive::default().connection_idle_interval;
    Http2Keepalive {
        interval: written.interval.value.0,
        interval_jitter: written.interval_jitter.value.to_u32(),
        timeout: written.timeout.value.0,
        connection_idle_interval: written.connection_idle_interval.given().map_or(default, |interval| interval.0),
    }
}
