//! A connection's line in the logs of its listener, written when it ends (Envoy: access_log of Listener).
//!
//! What there is to tell is noted on the way ([`Notes`]). The line is written when the value is dropped that a connection has from
//! accept on: there is one for each, whatever ends it.

use crate::base::clock::Nanos;
use crate::hcm::HcmShard;
use crate::hcm::access_log::CompiledLog;
use crate::http::Times;
use crate::http::WireBytes;
use crate::http::format::{ConnectionEnd, Record, ResponseFlags};
use crate::net::tls::client_hello::HelloError;
use crate::net::{Arrival, ByteStream, Ending, Full, Noted, Notes, Protocol, Traffic};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// The logs of a listener's connections on this shard.
pub struct ConnectionLogs {
    /// Replaced by a reload. Connections under way find the new ones.
    compiled: RefCell<Arc<[CompiledLog]>>,
    /// One of them tells certificates.
    wants_certificates: Cell<bool>,
    shard: Rc<HcmShard>,
}

impl ConnectionLogs {
    pub fn new(shard: &Rc<HcmShard>) -> Rc<Self> {
        let compiled = RefCell::new(Arc::new([]));
        Rc::new(Self { compiled, wants_certificates: Cell::new(false), shard: shard.clone() })
    }

    pub fn replace(&self, logs: &Arc<[CompiledLog]>) {
        self.wants_certificates.set(logs.iter().any(CompiledLog::tells_certificates));
        self.compiled.replace(logs.clone());
    }

    /// A number for a new connection.
    pub(super) fn next_id(&self) -> u64 {
        self.shard.next_connection_id()
    }

    /// For a connection that begins. `None`: there is no log.
    pub(super) fn begin(self: &Rc<Self>, arrival: &Arrival) -> Option<Box<ConnectionLog>> {
        if self.compiled.borrow().is_empty() {
            return None;
        }
        let notes = Notes::new(arrival.remote, arrival.local, self.wants_certificates.get());
        Some(Box::new(ConnectionLog { notes, logs: self.clone(), opened: arrival.opened, id: arrival.id }))
    }
}

/// The stream of a connection, with the notes for its line if there is one.
pub(super) fn noted(stream: ByteStream, log: Option<&ConnectionLog>) -> Noted {
    Noted::new(stream, log.map(|log| log.notes.clone()))
}

/// A connection's line. Dropped, it is written.
pub(super) struct ConnectionLog {
    pub notes: Rc<Notes>,
    logs: Rc<ConnectionLogs>,
    opened: Nanos,
    id: u64,
}

impl Drop for ConnectionLog {
    fn drop(&mut self) {
        let Self { notes, logs, .. } = self;
        if notes.has_gone.get() {
            return;
        }
        let (details, response_flags) = words(notes.ending().unwrap_or(Ending::CutOff));
        let (failure, chain) = (notes.failure(), notes.chain.borrow());
        let (reactor, traffic) = (&logs.shard.reactor, notes.traffic());
        let now = reactor.now();
        let start_wall_micros = reactor.wall_micros().saturating_sub(now.saturating_sub(self.opened) / 1000);
        let Traffic { received, sent } = traffic.unwrap_or_default();
        let end = ConnectionEnd {
            requests: notes.requests.get(),
            details,
            transport_failure: failure.as_deref(),
            is_counted: traffic.is_some(),
        };
        notes.with_tls(|tls, requested_server_name| {
            let record = Record {
                connection: Some(&end),
                times: Times { start: self.opened, start_wall_micros, ..Times::default() },
                now,
                random: Some(reactor.random()),
                protocol: notes.protocol.get().map(|protocol| match protocol {
                    Protocol::Http1 => "HTTP/1",
                    Protocol::Http2 => "HTTP/2",
                }),
                response_flags,
                received,
                sent,
                wire: WireBytes { received, sent, ..WireBytes::default() },
                downstream_remote_address: notes.remote.get(),
                downstream_direct_remote_address: notes.remote.get(),
                downstream_local_address: notes.local.get(),
                downstream_tls: tls,
                requested_server_name,
                fingerprints: notes.fingerprints(),
                filter_chain_name: chain.as_deref(),
                connection_id: self.id,
                ..Record::default()
            };
            for log in logs.compiled.borrow().iter() {
                logs.shard.log.append(log, &record);
            }
        });
    }
}

/// What the log says of an end: its word, and the flags.
fn words(ending: Ending) -> (&'static str, ResponseFlags) {
    const NONE: ResponseFlags = ResponseFlags::empty();
    match ending {
        Ending::Refused(Full::Client) => ("max_connections_per_client", ResponseFlags::OVERLOAD_MANAGER),
        Ending::Refused(Full::Listener) => ("listener_max_connections", ResponseFlags::OVERLOAD_MANAGER),
        Ending::Refused(Full::Process) => ("runtime_max_connections", ResponseFlags::OVERLOAD_MANAGER),
        Ending::Evicted => ("evicted", ResponseFlags::OVERLOAD_MANAGER),
        Ending::FiltersTimeout => ("listener_filters_timeout", ResponseFlags::DURATION_TIMEOUT),
        Ending::Hello(HelloError::TooLarge) => ("client_hello_too_large", ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR),
        Ending::Hello(HelloError::Broken | HelloError::NotTls) => {
            ("client_hello_invalid", ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR)
        }
        Ending::NoChain => ("filter_chain_not_found", ResponseFlags::NO_ROUTE_FOUND),
        Ending::Handshake => ("tls_handshake_failed", ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR),
        Ending::Tls => ("tls_failed", ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR),
        Ending::HandshakeTimeout => ("transport_socket_timeout", ResponseFlags::DURATION_TIMEOUT),
        Ending::RemoteDisconnect => ("downstream_remote_disconnect", ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION),
        Ending::Remote => ("remote_close", NONE),
        Ending::RemoteReset => ("remote_reset", NONE),
        Ending::Local => ("local_close", NONE),
        Ending::Drain => ("drain", NONE),
        Ending::IdleTimeout => ("idle_timeout", NONE),
        Ending::RequestHeadersTimeout => ("request_headers_timeout", ResponseFlags::DURATION_TIMEOUT),
        Ending::MaxDuration => ("max_connection_duration", ResponseFlags::DURATION_TIMEOUT),
        Ending::MaxRequests => ("max_requests_per_connection", NONE),
        Ending::SendTimeout => ("send_timeout", ResponseFlags::STREAM_IDLE_TIMEOUT),
        Ending::KeepaliveTimeout => ("http2_keepalive_timeout", ResponseFlags::STREAM_IDLE_TIMEOUT),
        Ending::ProtocolError => ("protocol_error", ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR),
        Ending::CutOff => ("cut_off", NONE),
        Ending::Panic => ("panic", NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_config::model::CONNECTION_FLAGS;
    use std::collections::HashSet;

    /// A filter by a flag takes what the reference says, and each flag of the reference occurs.
    #[test]
    fn the_flags_are_those_of_the_reference() {
        let endings = [
            Ending::Refused(Full::Client),
            Ending::Refused(Full::Listener),
            Ending::Refused(Full::Process),
            Ending::Evicted,
            Ending::FiltersTimeout,
            Ending::Hello(HelloError::TooLarge),
            Ending::Hello(HelloError::Broken),
            Ending::NoChain,
            Ending::Handshake,
            Ending::HandshakeTimeout,
            Ending::Tls,
            Ending::RemoteDisconnect,
            Ending::Remote,
            Ending::RemoteReset,
            Ending::Local,
            Ending::Drain,
            Ending::IdleTimeout,
            Ending::RequestHeadersTimeout,
            Ending::MaxDuration,
            Ending::MaxRequests,
            Ending::SendTimeout,
            Ending::KeepaliveTimeout,
            Ending::ProtocolError,
            Ending::CutOff,
            Ending::Panic,
        ];
        let names = endings.iter().flat_map(|ending| words(*ending).1.names().map(|(short, _)| short));
        let known: HashSet<_> = CONNECTION_FLAGS.iter().map(|(short, _)| *short).collect();
        assert_eq!(names.collect::<HashSet<_>>(), known);
        let details: HashSet<_> = endings.iter().map(|ending| words(*ending).0).collect();
        assert_eq!(details.len(), endings.len(), "each has its own word");
        let page = include_str!("../../../docs/OBSERVABILITY.md");
        for word in details {
            assert!(page.contains(&format!("`{word}`")), "OBSERVABILITY.md does not tell of {word}");
        }
    }
}
