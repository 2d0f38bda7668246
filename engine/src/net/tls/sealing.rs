//! Records of TLS 1.3 that are sealed where they are sent from: out of the caller's bytes into a buffer of the shard.
//!
//! The library has a record made in a vector of its own, which it copies behind the others. Its interface lets a provider bring
//! what seals (`MessageEncrypter`), and ours puts a record into the room that the thread has ready, and gives the library one
//! without contents instead. Keys, sequence numbers, limits and KeyUpdates stay the library's.

use super::RECORD_HEADER;
use super::session::RECORD_MAX;
use crate::ring::{Buf, Reactor, Segment};
use aws_lc_rs::aead::{self, Aad, LessSafeKey, TlsProtocolId, TlsRecordSealingKey, UnboundKey};
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, Nonce, OutboundChunks, OutboundOpaqueMessage,
    OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm, UnsupportedOperationError, make_tls13_aad,
};
use rustls::{CipherSuite, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion};
use std::cell::Cell;

/// The type of what is in a record, which is sealed behind it.
const TYPE: usize = 1;
/// All three algorithms have a tag of this length.
const TAG: usize = 16;
/// What a record adds to its plain bytes.
pub(super) const OVERHEAD: usize = RECORD_HEADER + TYPE + TAG;
/// A record at the end of a room is not worth its costs below this.
const RECORD_MIN: usize = 1024;

thread_local! {
    /// Where the records go that are being sealed.
    static ROOM: Cell<Option<Room>> = const { Cell::new(None) };
}

/// Memory that records are put into, one behind the other.
pub(super) struct Room {
    memory: Memory,
    filled: usize,
    records: usize,
}

enum Memory {
    /// The only slice of its buffer.
    Buf(Buf),
    /// Grows.
    Vec(Vec<u8>),
}

impl Room {
    /// For what `plain` bytes become, or the first of them: in a receive buffer, or, where the reactor has none for them, in a vector.
    pub fn new(plain: usize, reactor: &Reactor) -> Self {
        let len = plain + plain.div_ceil(RECORD_MAX) * OVERHEAD;
        let memory = match reactor.take_buf(len) {
            Some(buf) => Memory::Buf(buf),
            None => {
                let mut bytes = reactor.take_vec();
                bytes.reserve(len);
                Memory::Vec(bytes)
            }
        };
        Self { memory, filled: 0, records: 0 }
    }

    /// How many of `plain` bytes it takes.
    pub fn takes(&self, plain: usize) -> usize {
        let Memory::Buf(buf) = &self.memory else { return plain };
        let left = buf.len() - self.filled;
        let (whole, rest) = (left / (RECORD_MAX + OVERHEAD), left % (RECORD_MAX + OVERHEAD));
        let takes = whole * RECORD_MAX + rest.saturating_sub(OVERHEAD);
        // A record is not cut short where little of it would fit.
        if takes < plain && rest < RECORD_MIN + OVERHEAD { whole * RECORD_MAX } else { takes.min(plain) }
    }

    /// Bytes of records in it.
    pub fn filled(&self) -> usize {
        self.filled
    }

    pub fn into_segment(self) -> Segment {
        match self.memory {
            Memory::Buf(mut buf) => {
                buf.truncate(self.filled);
                Segment::Buf(buf)
            }
            Memory::Vec(bytes) => Segment::Owned(bytes),
        }
    }

    /// A place for one more record.
    fn next(&mut self, len: usize) -> Option<&mut [u8]> {
        let range = self.filled..self.filled + len;
        let place = match &mut self.memory {
            Memory::Buf(buf) => buf.unique_mut()?.get_mut(range.clone())?,
            Memory::Vec(bytes) => {
                bytes.resize(range.end, 0);
                &mut bytes[range.clone()]
            }
        };
        (self.filled, self.records) = (range.end, self.records + 1);
        Some(place)
    }
}

/// What the library returns for a record that is in a room.
const ELSEWHERE: [u8; RECORD_HEADER] = [0x17, 3, 3, 0, 0];

/// Bytes that the library returns for as many plain ones.
pub(super) fn returned(plain: usize) -> usize {
    plain.div_ceil(RECORD_MAX) * RECORD_HEADER
}

/// Has `seal` put its records into `room`. What is returned: `seal`'s own result and the records that were put there.
pub(super) fn within<R>(room: &mut Option<Room>, seal: impl FnOnce() -> R) -> (R, usize) {
    /// Takes it back, whatever happens.
    struct Lent<'a>(&'a mut Option<Room>);
    impl Drop for Lent<'_> {
        fn drop(&mut self) {
            *self.0 = ROOM.take();
        }
    }
    let before = room.as_ref().map_or(0, |room| room.records);
    ROOM.set(room.take());
    let lent = Lent(room);
    let sealed = seal();
    drop(lent);
    (sealed, room.as_ref().map_or(0, |room| room.records) - before)
}

/// How long the messages for TLS alone are that the library returned before what it returned for `records` elsewhere; they go first.
/// `None`: this is not what it returns for those.
pub(super) fn before_elsewhere(returned: &[u8], records: usize) -> Option<usize> {
    let before = returned.len().checked_sub(records * RECORD_HEADER)?;
    returned[before..].chunks(RECORD_HEADER).all(|record| record == ELSEWHERE).then_some(before)
}

/// An algorithm of the library, whose records are sealed here.
pub(super) struct Sealing {
    theirs: &'static dyn Tls13AeadAlgorithm,
    algorithm: &'static aead::Algorithm,
}

impl Sealing {
    /// `None`: a suite that is not known here.
    pub fn new(suite: CipherSuite, theirs: &'static dyn Tls13AeadAlgorithm) -> Option<Self> {
        let algorithm = match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => &aead::AES_128_GCM,
            CipherSuite::TLS13_AES_256_GCM_SHA384 => &aead::AES_256_GCM,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => &aead::CHACHA20_POLY1305,
            _ => return None,
        };
        Some(Self { theirs, algorithm })
    }
}

impl Tls13AeadAlgorithm for Sealing {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        // As the library's own, which relies on the key's length, too.
        let key = match TlsRecordSealingKey::new(self.algorithm, TlsProtocolId::TLS13, key.as_ref()) {
            Ok(key) => Key::Gcm(key),
            Err(_) => {
                let key = UnboundKey::new(self.algorithm, key.as_ref()).expect("a key of the algorithm's length");
                Key::Other(LessSafeKey::new(key))
            }
        };
        Box::new(Encrypter { key, iv })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.theirs.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.theirs.key_len()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.theirs.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.theirs.fips()
    }
}

/// AES-GCM by a key that refuses a number that is not above the one before.
enum Key {
    Gcm(TlsRecordSealingKey),
    Other(LessSafeKey),
}

impl Key {
    /// `sealed`: as long as `plain`, and behind it `rest`, with the type and the tag.
    fn seal(
        &mut self,
        nonce: Nonce,
        header: [u8; 5],
        plain: &[u8],
        kind: u8,
        sealed: &mut [u8],
        rest: &mut [u8],
    ) -> Result<(), Error> {
        let (nonce, aad, kind) = (aead::Nonce::assume_unique_for_key(nonce.0), Aad::from(header), [kind]);
        match self {
            Self::Gcm(key) => key.seal_out_of_place_scatter(nonce, aad, plain, sealed, &kind, rest),
            Self::Other(key) => key.seal_out_of_place_scatter(nonce, aad, plain, sealed, &kind, rest),
        }
        .map_err(|_| Error::EncryptError)
    }

    fn seal_in_place(&mut self, nonce: Nonce, header: [u8; 5], payload: &mut PrefixedPayload) -> Result<(), Error> {
        let (nonce, aad) = (aead::Nonce::assume_unique_for_key(nonce.0), Aad::from(header));
        match self {
            Self::Gcm(key) => key.seal_in_place_append_tag(nonce, aad, payload),
            Self::Other(key) => key.seal_in_place_append_tag(nonce, aad, payload),
        }
        .map_err(|_| Error::EncryptError)
    }
}

struct Encrypter {
    key: Key,
    iv: Iv,
}

impl Encrypter {
    /// The record in `place`, which has its length.
    fn seal(&mut self, plain: &[u8], kind: ContentType, number: u64, place: &mut [u8]) -> Result<(), Error> {
        let header = make_tls13_aad(plain.len() + TYPE + TAG);
        let (front, place) = place.split_at_mut(RECORD_HEADER);
        front.copy_from_slice(&header);
        let (sealed, rest) = place.split_at_mut(plain.len());
        self.key.seal(Nonce::new(&self.iv, number), header, plain, kind.into(), sealed, rest)
    }
}

impl MessageEncrypter for Encrypter {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, number: u64) -> Result<OutboundOpaqueMessage, Error> {
        let record =
            |payload| OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload);
        let len = message.payload.len() + OVERHEAD;
        if message.typ == ContentType::ApplicationData
            && let OutboundChunks::Single(plain) = message.payload
            && let Some(mut room) = ROOM.take()
        {
            let sealed = match room.next(len) {
                Some(place) => self.seal(plain, message.typ, number, place),
                None => Err(Error::EncryptError),
            };
            ROOM.set(Some(room));
            return sealed.map(|()| record(PrefixedPayload::with_capacity(0)));
        }
        // Messages of TLS itself, and records for which no room is ready: as the library does it.
        let mut payload = PrefixedPayload::with_capacity(len - RECORD_HEADER);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let (nonce, aad) = (Nonce::new(&self.iv, number), make_tls13_aad(len - RECORD_HEADER));
        self.key.seal_in_place(nonce, aad, &mut payload)?;
        Ok(record(payload))
    }

    /// What `encrypt` returns for them.
    fn encrypted_payload_len(&self, plain: usize) -> usize {
        let room = ROOM.take();
        let is_elsewhere = room.is_some();
        ROOM.set(room);
        if is_elsewhere { 0 } else { plain + TYPE + TAG }
    }
}
