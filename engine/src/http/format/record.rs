//! Everything that a line or a field's value can say about one exchange, borrowed from where it is known.

use std::net::SocketAddr;

use ringway_config::model::TimePoint;

use super::ResponseFlags;
use crate::base::clock::Nanos;
use crate::base::random::Random;
use crate::http::grpc::{self, GrpcStatus};
use crate::http::trace::Trace;
use crate::http::{HeadView, RequestHead, ResponseHead, Times, Trailers, TryTimes, TryWireBytes, WireBytes};
use crate::net::tls;

/// What only a record has that is of a connection and not of an exchange. The connection has ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionEnd<'a> {
    /// Begun on it.
    pub requests: u64,
    /// Why it has ended (Envoy: connection termination details).
    pub details: &'a str,
    /// Why its TLS came to nothing.
    pub transport_failure: Option<&'a str>,
    /// The bytes in `received`, `sent` and `wire` are known.
    pub is_counted: bool,
}

/// One exchange as far as it has come, or a connection that has ended. `None` and empty strings are absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// `None`: it is of an exchange.
    pub connection: Option<&'a ConnectionEnd<'a>>,
    pub times: Times,
    /// Of the last try, as all that is the upstream's.
    pub try_times: TryTimes,
    /// On the clock of `times`.
    pub now: Nanos,
    /// For `%UNIQUE_ID%`, which is absent without it.
    pub random: Option<&'a Random>,
    /// `None` when no head could be parsed.
    pub request: Option<(&'a RequestHead, HeadView<'a>)>,
    pub response: Option<(&'a ResponseHead, HeadView<'a>)>,
    pub response_trailers: Option<&'a Trailers>,
    /// "HTTP/1.1"; `None` when no head could be parsed.
    pub protocol: Option<&'static str>,
    pub upstream_protocol: Option<&'static str>,
    /// 0 when no response was begun, as Envoy writes it.
    pub response_code: u16,
    /// Why this code (Envoy: response code details): "via_upstream", "route_not_found", ...
    pub response_code_details: Option<&'a str>,
    /// The request asks for an upgrade, which is not served. The details say so, too.
    pub upgrade_dropped: bool,
    pub response_flags: ResponseFlags,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    pub wire: WireBytes,
    pub try_wire: TryWireBytes,
    /// The endpoint's address in its text form.
    pub upstream_host: Option<&'a str>,
    /// The name that the endpoint was found by.
    pub upstream_host_name: Option<&'a str>,
    pub upstream_cluster: Option<&'a str>,
    pub upstream_remote_address: Option<SocketAddr>,
    pub upstream_local_address: Option<SocketAddr>,
    pub upstream_connection_id: Option<u64>,
    /// Times that the request went to an upstream.
    pub upstream_attempts: u32,
    pub upstream_transport_failure: Option<&'a str>,
    /// Of the upstream connection, if it has TLS.
    pub upstream_tls: Option<tls::Known<'a>>,
    /// The client; `None` on a Unix socket.
    pub downstream_remote_address: Option<SocketAddr>,
    /// The connection's peer.
    pub downstream_direct_remote_address: Option<SocketAddr>,
    pub downstream_local_address: Option<SocketAddr>,
    /// Of the downstream connection, if it has TLS.
    pub downstream_tls: Option<tls::Known<'a>>,
    /// The name that the client asks for in a handshake that is not made here.
    pub requested_server_name: Option<&'a str>,
    /// Of the client's first message, where they are asked for.
    pub fingerprints: Option<&'a tls::Fingerprints>,
    pub route_name: Option<&'a str>,
    pub virtual_host_name: Option<&'a str>,
    pub filter_chain_name: Option<&'a str>,
    pub connection_id: u64,
    pub local_reply_body: &'a [u8],
    /// Where tracing is configured.
    pub trace: Option<&'a Trace>,
}

impl Record<'_> {
    /// Wall clock now, in microseconds since the epoch.
    pub(super) fn now_unix_micros(&self) -> u64 {
        self.times.start_wall_micros + self.since_start() / 1000
    }

    /// Milliseconds since the request began.
    pub fn duration_ms(&self) -> u64 {
        self.since_start() / 1_000_000
    }

    /// How a call of gRPC ended, as far as that is known: what its response says, or what the status of HTTP means.
    pub fn grpc_status(&self) -> Option<GrpcStatus> {
        let (head, view) = self.request?;
        if !grpc::is_call(head, view) {
            return None;
        }
        let of_trailers = || self.response_trailers.and_then(Trailers::grpc_status);
        let of_head = || self.response.and_then(|(head, view)| grpc::status_of(head, view));
        let of_code = || (self.response_code != 0).then(|| GrpcStatus::of_http(self.response_code));
        of_trailers().or_else(of_head).or_else(of_code)
    }

    /// Nanoseconds since the request began.
    pub(super) fn since_start(&self) -> u64 {
        self.now.saturating_sub(self.times.start)
    }

    pub(super) fn time(&self, point: TimePoint) -> Option<Nanos> {
        let (times, tried) = (&self.times, &self.try_times);
        match point {
            TimePoint::DownstreamReceiveBegin => Some(times.start),
            TimePoint::DownstreamReceiveEnd => times.request_end,
            TimePoint::UpstreamConnectBegin => tried.connect_start,
            TimePoint::UpstreamConnectEnd => tried.connect_end,
            TimePoint::UpstreamSendBegin => self.upstream_protocol.map(|_| tried.start),
            TimePoint::UpstreamSendEnd => tried.end,
            TimePoint::UpstreamReceiveBegin => tried.response_start,
            TimePoint::UpstreamReceiveBodyBegin => tried.response_body_start,
            TimePoint::UpstreamReceiveEnd => tried.response_end,
            TimePoint::DownstreamSendBegin => times.downstream_start,
            TimePoint::DownstreamSendEnd => times.downstream_end,
        }
    }
}
