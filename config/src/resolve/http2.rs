//! HTTP/2, on either side.

use super::Resolver;
use super::cluster::or_defaults;
use crate::diagnostic::Problem;
use crate::document::{Cluster, Http, Http2};
use crate::model::{CodecType, Http2Options, UpstreamProtocol};
use crate::reader::Slot;

impl<'d> Resolver<'d, '_, '_> {
    /// What connections with clients are given.
    pub(super) fn client_http2(&mut self, http: &'d Http) -> Http2Options {
        if http.codec_type.0 == CodecType::Http1 {
            let hint = "remove it, or write codec_type = \"auto\"";
            self.warn_of_http2(&http.http2, "`codec_type` says that clients speak HTTP/1", hint);
        }
        options(&http.http2)
    }

    /// What connections with endpoints are given.
    pub(super) fn endpoint_http2(&mut self, cluster: &'d Cluster) -> Http2Options {
        if cluster.protocol.0 == UpstreamProtocol::Http1 {
            let hint = "add protocol = \"http2\", or \"auto\" with `tls`, or remove it";
            self.warn_of_http2(&cluster.http2, "the cluster speaks HTTP/1", hint);
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
    Http2Options {
        max_concurrent_streams: written.max_concurrent_streams.value.to_u32(),
        initial_stream_window_size: written.initial_stream_window_size.value.to_u32(),
        initial_connection_window_size: written.initial_connection_window_size.value.to_u32(),
        stream_window_growth: written.stream_window_growth.value.to_u32(),
    }
}
