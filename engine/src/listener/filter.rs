//! Listener filters: what looks at a connection's first bytes before a chain is chosen for it.
//!
//! A filter is sans-I/O: it is shown the bytes that came so far and says what it makes of them. What it does not take goes
//! on to whatever comes after it, as if it had never been read.

use crate::net::tls::client_hello::{Asked, ClientHello, HELLO_MAX, HelloError, HelloReader};
use crate::net::{Accepted, Arrival, Ending, FirstBytes, tls};
use crate::ring::{Buf, Reactor};
use crate::stats::TlsInspectorStats;
use ringway_config::model::TlsFingerprints;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

/// What a filter makes of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inspected {
    /// More are needed.
    More,
    /// It is done, and takes this many bytes for itself.
    Done { taken: usize },
    /// The connection is refused.
    Refused(HelloError),
}

/// One filter.
#[derive(Clone)]
pub enum ListenerFilter {
    /// Reads the first message of a client that speaks TLS (Envoy: tls_inspector).
    TlsInspector(Arc<TlsInspectorStats>, TlsFingerprints),
    /// For tests: takes a line that names an address, which is the client's from then on.
    #[cfg(test)]
    Named,
    /// For tests: waits for this many bytes and takes none.
    #[cfg(test)]
    Peek(usize),
    /// For tests: ends the task.
    #[cfg(test)]
    Panics,
}

/// Bytes that filters may look at.
const INSPECTED_MAX: usize = HELLO_MAX;

impl ListenerFilter {
    fn inspect(&self, reader: &mut HelloReader, bytes: &[u8], arrival: &mut Arrival) -> Inspected {
        match self {
            Self::TlsInspector(stats, wanted) => match inspect_tls(stats, *wanted, reader, bytes, arrival) {
                Ok(false) => Inspected::More,
                Ok(true) => Inspected::Done { taken: 0 },
                Err(error) => Inspected::Refused(error),
            },
            #[cfg(test)]
            Self::Named => {
                let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Inspected::More };
                match std::str::from_utf8(&bytes[..end]).ok().and_then(|line| line.parse().ok()) {
                    Some(address) => {
                        arrival.remote = Some(address);
                        Inspected::Done { taken: end + 1 }
                    }
                    None => Inspected::Refused(HelloError::Broken),
                }
            }
            #[cfg(test)]
            Self::Peek(count) if bytes.len() < *count => Inspected::More,
            #[cfg(test)]
            Self::Peek(_) => Inspected::Done { taken: 0 },
            #[cfg(test)]
            Self::Panics => panic!("a filter of the tests"),
        }
    }

    /// The connection ended, or broke, before the filter was done.
    fn ended(&self, is_broken: bool) {
        match self {
            Self::TlsInspector(stats, _) if is_broken => stats.read_error.inc(),
            Self::TlsInspector(stats, _) => stats.connection_closed.inc(),
            #[cfg(test)]
            Self::Named | Self::Peek(_) | Self::Panics => {}
        }
    }

    /// Show the filter what comes until it is done. What it does not take is put back.
    ///
    /// # Errors
    /// Why the connection is of no further use.
    pub(super) async fn run(&self, accepted: &mut Accepted, reactor: &Rc<Reactor>) -> Result<(), Ending> {
        let mut seen = reactor.take_vec();
        let mut reader = HelloReader::default();
        let passed = loop {
            match self.inspect(&mut reader, &seen, &mut accepted.arrival) {
                Inspected::Done { taken } => {
                    seen.drain(..taken);
                    break Ok(());
                }
                Inspected::More if seen.len() < INSPECTED_MAX => {}
                Inspected::More => break Err(Ending::Hello(HelloError::TooLarge)),
                Inspected::Refused(error) => break Err(Ending::Hello(error)),
            }
            match poll_fn(|_| accepted.stream.poll_recv()).await {
                Ok(Some(buf)) => seen.extend_from_slice(&buf),
                end @ (Ok(None) | Err(_)) => {
                    self.ended(end.is_err());
                    break Err(Ending::RemoteDisconnect);
                }
            }
        };
        if passed.is_ok() && !seen.is_empty() {
            accepted.stream.unread(Buf::from(seen.into_boxed_slice()));
        } else {
            reactor.give_vec(seen);
        }
        passed
    }
}

/// Notes what the connection begins with; `false`: more bytes are needed. A message that cannot be read is an error, and never
/// what a chain for other connections serves.
fn inspect_tls(
    stats: &TlsInspectorStats,
    wanted: TlsFingerprints,
    reader: &mut HelloReader,
    bytes: &[u8],
    arrival: &mut Arrival,
) -> Result<bool, HelloError> {
    if bytes.is_empty() {
        return Ok(false);
    }
    let mut joined = Vec::new();
    let hello = match reader.is_whole(bytes) {
        Ok(false) => return Ok(false),
        Ok(true) => reader.hello(bytes, &mut joined),
        Err(error) => Err(error),
    };
    match hello {
        Ok(hello) => {
            count(stats, &hello);
            let fingerprints = tls::Fingerprints::of(&hello, wanted);
            arrival.first = Some(Rc::new(FirstBytes::Tls { asked: Asked::of(&hello), fingerprints }));
            Ok(true)
        }
        Err(HelloError::NotTls) => {
            stats.tls_not_found.inc();
            arrival.first = Some(Rc::new(FirstBytes::Raw));
            Ok(true)
        }
        Err(error) => {
            match error {
                HelloError::TooLarge => stats.client_hello_too_large.inc(),
                HelloError::Broken | HelloError::NotTls => stats.client_hello_invalid.inc(),
            }
            Err(error)
        }
    }
}

/// What a connection begins with of which all of its first message has come, or something else.
pub(super) fn first_bytes(bytes: &[u8]) -> FirstBytes {
    let (mut reader, mut joined) = (HelloReader::default(), Vec::new());
    match reader.is_whole(bytes).and_then(|_| reader.hello(bytes, &mut joined)) {
        Ok(hello) => FirstBytes::Tls { asked: Asked::of(&hello), fingerprints: None },
        Err(_) => FirstBytes::Raw,
    }
}

fn count(stats: &TlsInspectorStats, hello: &ClientHello<'_>) {
    stats.tls_found.inc();
    match hello.server_name {
        Some(_) => stats.sni_found.inc(),
        None => stats.sni_not_found.inc(),
    }
    match hello.has_protocols() {
        true => stats.alpn_found.inc(),
        false => stats.alpn_not_found.inc(),
    }
}
