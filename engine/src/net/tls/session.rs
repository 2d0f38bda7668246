//! One TLS connection as a state machine: records in, plain bytes and records out. No sockets and no waiting.
//!
//! All that is known of the library's connection types is here.

use super::RECORD_HEADER;
use super::sealing::{self, Room};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error, HandshakeKind, ProtocolVersion};
use std::ops::Deref;

/// Plain bytes in one record at most (RFC 8446 section 5.1).
pub(super) const RECORD_MAX: usize = 16 * 1024;
/// The shortest record with a message of TLS 1.3 behind its handshake, a KeyUpdate: header, message, type within, and tag.
const MESSAGE_MIN: usize = sealing::OVERHEAD + 5;
/// What a record adds to them at most: its header, TLS 1.2's nonce or TLS 1.3's content type, and the tag.
const RECORD_OVERHEAD: usize = 40;

pub(super) enum Session {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What the peer may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The handshake needs more bytes.
    Handshaking,
    Open,
    /// The peer has said that it sends no more.
    PeerClosed,
}

/// The outcome of `Session::process`.
pub(super) struct Processed {
    /// Bytes at the front of the input that are done with. The rest must come again, with more behind it.
    pub used: usize,
    /// Records among them that brought no plain bytes: messages for TLS alone, such as wishes for new keys, and empty ones.
    pub silent: usize,
    pub state: Result<State, Error>,
}

/// What one look at the library's state came to.
enum Look {
    /// There is more to do with the same input.
    Again,
    PeerClosed,
    Handshaking,
    Open,
}

/// Does what the library asks for. Plain bytes go behind `plain`, records behind `out`.
fn act<Data>(
    state: ConnectionState<'_, '_, Data>,
    discard: &mut usize,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<Look, Error> {
    match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                *discard += record.discard;
                plain.extend_from_slice(record.payload);
            }
            Ok(Look::Again)
        }
        ConnectionState::EncodeTlsData(mut message) => {
            let start = out.len();
            if let Err(EncodeError::InsufficientSize(size)) = message.encode(&mut []) {
                out.resize(start + size.required_size, 0);
                let written = message.encode(&mut out[start..]).map_err(|error| Error::General(error.to_string()))?;
                out.truncate(start + written);
            }
            Ok(Look::Again)
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            Ok(Look::Again)
        }
        ConnectionState::PeerClosed => Ok(Look::PeerClosed),
        ConnectionState::BlockedHandshake => Ok(Look::Handshaking),
        ConnectionState::WriteTraffic(_) | ConnectionState::Closed => Ok(Look::Open),
        // Data of a first flight is never asked for.
        _ => Err(Error::General("unexpected state of the connection".into())),
    }
}

/// Records in what the library has taken: it opens them in place and leaves their headers as they are, but for those within a
/// message that came in pieces, which it puts together. What is behind such a place counts for as many records as it may hold.
pub(super) fn records_in(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let [20..=23, 3, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(behind) = rest.get(length..) else { break };
        (count, bytes) = (count + 1, behind);
    }
    count + bytes.len().div_ceil(MESSAGE_MIN)
}

/// Bytes until the first record is whole; 0: it is.
pub(super) fn missing(bytes: &[u8]) -> usize {
    match bytes.get(3..RECORD_HEADER) {
        Some(&[high, low]) => {
            (RECORD_HEADER + usize::from(u16::from_be_bytes([high, low]))).saturating_sub(bytes.len())
        }
        _ => RECORD_HEADER - bytes.len(),
    }
}

/// The same for both kinds of connections, which have no trait in common.
macro_rules! process {
    ($connection:expr, $input:expr, $plain:expr, $out:expr) => {{
        let (mut used, mut silent, mut peer_closed) = (0, 0, false);
        let state = loop {
            let plain_before = $plain.len();
            let UnbufferedStatus { mut discard, state } = $connection.process_tls_records(&mut $input[used..]);
            let look = state.and_then(|state| act(state, &mut discard, $plain, $out));
            // Of these, the last one is what the plain bytes have come in.
            let records = records_in(&$input[used..used + discard]);
            silent += records.saturating_sub(usize::from($plain.len() > plain_before));
            used += discard;
            match look {
                Ok(Look::Again) => {}
                Ok(Look::PeerClosed) => peer_closed = true,
                Ok(Look::Handshaking) => break Ok(State::Handshaking),
                Ok(Look::Open) if peer_closed => break Ok(State::PeerClosed),
                // A server may send before the handshake is over.
                Ok(Look::Open) if $connection.is_handshaking() => break Ok(State::Handshaking),
                Ok(Look::Open) => break Ok(State::Open),
                Err(error) => break Err(error),
            }
        };
        Processed { used, silent, state }
    }};
}

/// The alert that says why, behind `out`.
macro_rules! last_words {
    ($connection:expr, $unread:expr, $out:expr) => {
        // What is left to say comes before anything else.
        while $connection.wants_write() {
            let UnbufferedStatus { mut discard, state } = $connection.process_tls_records($unread);
            let Ok(state) = state else { break };
            if act(state, &mut discard, &mut Vec::new(), $out).is_err() {
                break;
            }
        }
    };
}

/// Writes with `$write` into `$room` bytes behind `out`, once all that goes before it is there.
macro_rules! write {
    ($connection:expr, $unread:expr, $out:expr, $room:expr, |$traffic:ident, $into:ident| $write:expr) => {
        loop {
            let UnbufferedStatus { mut discard, state } = $connection.process_tls_records($unread);
            match state? {
                ConnectionState::WriteTraffic(mut $traffic) => {
                    let start = $out.len();
                    $out.resize(start + $room, 0);
                    let $into = &mut $out[start..];
                    let mut written = $write;
                    // The answer to a wish for new keys goes before them.
                    if let Err(EncryptError::InsufficientSize(size)) = written {
                        $out.resize(start + size.required_size, 0);
                        let $into = &mut $out[start..];
                        written = $write;
                    }
                    let written = written.map_err(|_| Error::EncryptError);
                    $out.truncate(start + *written.as_ref().unwrap_or(&0));
                    break written.map(drop);
                }
                state @ (ConnectionState::EncodeTlsData(_) | ConnectionState::TransmitTlsData(_)) => {
                    act(state, &mut discard, &mut Vec::new(), $out)?;
                }
                _ => break Err(Error::HandshakeNotComplete),
            }
        }
    };
}

impl Session {
    /// Take what the peer has sent. Where that fails, `out` ends with the alert that says why.
    pub fn process(&mut self, input: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Processed {
        let processed = match self {
            Self::Server(connection) => process!(connection, input, plain, out),
            Self::Client(connection) => process!(connection, input, plain, out),
        };
        if processed.state.is_err() {
            let unread = &mut input[processed.used..];
            match self {
                Self::Server(connection) => last_words!(connection, unread, out),
                Self::Client(connection) => last_words!(connection, unread, out),
            }
        }
        processed
    }

    /// Whether it goes on with what an earlier connection has agreed on, as far as that is known.
    pub fn is_resumed(&self) -> bool {
        self.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Records with these bytes, behind `out`. `unread`: what the last `process` left of its input.
    ///
    /// # Errors
    /// The connection may send nothing more.
    pub fn seal(&mut self, plain: &[u8], unread: &mut [u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let room = plain.len() + (plain.len() / RECORD_MAX + 1) * RECORD_OVERHEAD;
        match self {
            Self::Server(to) => write!(to, unread, out, room, |traffic, into| traffic.encrypt(plain, into)),
            Self::Client(to) => write!(to, unread, out, room, |traffic, into| traffic.encrypt(plain, into)),
        }
    }

    /// The same, with the records in `room`, which has place for them. Behind `out` comes what goes before them.
    ///
    /// # Errors
    /// The connection may send nothing more.
    pub fn seal_within(
        &mut self,
        plain: &[u8],
        unread: &mut [u8],
        room: &mut Option<Room>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let (start, returned) = (out.len(), sealing::returned(plain.len()));
        let (sealed, records) = sealing::within(room, || match self {
            Self::Server(to) => write!(to, unread, out, returned, |traffic, into| traffic.encrypt(plain, into)),
            Self::Client(to) => write!(to, unread, out, returned, |traffic, into| traffic.encrypt(plain, into)),
        });
        sealed?;
        let before = sealing::before_elsewhere(&out[start..], records).ok_or(Error::EncryptError)?;
        out.truncate(start + before);
        Ok(())
    }

    /// Whether `seal_within` serves it.
    pub fn seals_within(&self) -> bool {
        self.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// A wish for new keys, behind `out`, of a client that has sent all else.
    #[cfg(test)]
    pub fn renew_keys(&mut self, out: &mut Vec<u8>) {
        let Self::Client(connection) = self else { panic!("a client") };
        loop {
            match connection.process_tls_records(&mut []).state.expect("it is open") {
                ConnectionState::WriteTraffic(traffic) => break traffic.refresh_traffic_keys().expect("TLS 1.3"),
                state => drop(act(state, &mut 0, &mut Vec::new(), out)),
            }
        }
        last_words!(connection, &mut [], out);
    }

    /// The word that nothing more comes, behind `out`.
    ///
    /// # Errors
    /// The connection may send nothing more.
    pub fn close(&mut self, unread: &mut [u8], out: &mut Vec<u8>) -> Result<(), Error> {
        // A record with an alert, which is two bytes.
        let room = 2 + RECORD_OVERHEAD;
        match self {
            Self::Server(to) => write!(to, unread, out, room, |traffic, into| traffic.queue_close_notify(into)),
            Self::Client(to) => write!(to, unread, out, room, |traffic, into| traffic.queue_close_notify(into)),
        }
    }
}

impl Deref for Session {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }
}
