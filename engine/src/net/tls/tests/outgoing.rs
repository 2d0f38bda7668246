//! Records that are sealed where they are sent from.

use super::hkdf;
use super::records::Records;
use super::sealing::{OVERHEAD, Room, before_elsewhere, within};
use super::session::{RECORD_MAX, Session, State};
use super::*;
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, default_provider};
use rustls::crypto::cipher::{AeadKey, Iv, MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::version::TLS13;
use rustls::{ClientConfig, ContentType, ProtocolVersion, RootCertStore, ServerConfig, Tls13CipherSuite};

const BUFFERS: PoolSize = PoolSize { count: 64, size: 16 * 1024 };
/// Of which there is one long and one bulk buffer.
const TINY: PoolSize = PoolSize { count: 16, size: 1024 };

fn suites() -> impl Iterator<Item = (&'static Tls13CipherSuite, &'static Tls13CipherSuite)> {
    ALL_CIPHER_SUITES.iter().filter_map(|theirs| {
        let ours = hkdf::with_ready_keys(*theirs);
        Some((ours.tls13()?, theirs.tls13()?))
    })
}

fn bytes_of(segments: &[Segment]) -> Vec<u8> {
    segments.iter().flat_map(|segment| segment.bytes().to_vec()).collect()
}

/// Of both suites whose keys have 32 bytes, which others cannot be made from outside of the library.
#[test]
fn a_record_is_the_librarys_to_the_byte() {
    let reactor = Reactor::simulated(1, BUFFERS);
    let mut compared = 0;
    for (ours, theirs) in suites().filter(|(ours, _)| ours.aead_alg.key_len() == 32) {
        let encrypter = |suite: &Tls13CipherSuite| suite.aead_alg.encrypter(AeadKey::from([7; 32]), Iv::from([9; 12]));
        let (mut ours, mut theirs) = (encrypter(ours), encrypter(theirs));
        let mut number = 0;
        for len in [1, 2, 100, 4074, 4075, 16_383, RECORD_MAX] {
            let plain = pattern(len);
            for typ in [ContentType::ApplicationData, ContentType::Handshake, ContentType::Alert] {
                let seal = |by: &mut Box<dyn MessageEncrypter>, number| {
                    let payload = OutboundChunks::Single(&plain);
                    let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
                    by.encrypt(message, number).expect("it is sealed").encode()
                };
                let expected = seal(&mut theirs, number);
                assert_eq!(seal(&mut ours, number), expected, "without a room");
                assert_eq!(ours.encrypted_payload_len(len), expected.len() - 5);
                number += 1;
                let expected = seal(&mut theirs, number);
                let mut room = Some(Room::new(len, &reactor));
                let (returned, records) = within(&mut room, || seal(&mut ours, number));
                let room = bytes_of(&[room.expect("it comes back").into_segment()]);
                // Messages for TLS alone have their place in the library's order.
                let is_data = typ == ContentType::ApplicationData;
                assert_eq!(records, usize::from(is_data));
                assert!(if is_data { room == expected } else { returned == expected && room.is_empty() });
                assert_eq!(before_elsewhere(&returned, records), Some(if is_data { 0 } else { returned.len() }));
                number += 1;
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 2 * 7 * 3);
}

#[test]
fn what_the_library_returns_for_a_record_elsewhere_is_known_exactly() {
    let elsewhere = [0x17, 3, 3, 0, 0];
    let message = [0x17, 3, 3, 0, 3, 1, 2, 3];
    assert_eq!(before_elsewhere(&[], 0), Some(0));
    assert_eq!(before_elsewhere(&elsewhere.repeat(3), 3), Some(0));
    assert_eq!(before_elsewhere(&[&message[..], &elsewhere].concat(), 1), Some(8));
    assert_eq!(before_elsewhere(&message, 0), Some(8));
    for wrong in [&elsewhere[..4], &message, &[&elsewhere[..], &[0x17]].concat()] {
        assert_eq!(before_elsewhere(wrong, 1), None, "{wrong:?}");
    }
    assert_eq!(before_elsewhere(&elsewhere, 2), None);
}

#[test]
fn a_room_takes_what_fits_and_cuts_no_record_for_a_few_bytes() {
    let reactor = Reactor::simulated(1, BUFFERS);
    let takes = |room: usize, plain: usize| Room::new(room, &reactor).takes(plain);
    // A vector takes all.
    assert_eq!(takes(1, 1 << 20), 1 << 20);
    // Buffers of 32 and 128 KiB, and a page more.
    assert_eq!(takes(20_000, 20_000), 20_000);
    assert_eq!(takes(32_768, 32_768), 32_768);
    assert_eq!(takes(40_000, 40_000), 32_768 + 4096 - 3 * OVERHEAD, "the rest of the page is a record, too");
    assert_eq!(takes(40_000, 16_384 + 36 + 4096), 16_384 + 36 + 4096);
    assert_eq!(takes(131_072, 131_072), 131_072);
    assert_eq!(takes(1 << 20, 1 << 20), 131_072 + 4096 - 9 * OVERHEAD);
}

/// Both ends, with their handshake behind them. `limit`: records that a key seals.
fn pair(suite: usize, limit: u64) -> (Session, Session) {
    let key = KeyPair::generate().expect("a key");
    let certificate =
        CertificateParams::new(["a.example".to_owned()]).expect("a name").self_signed(&key).expect("signed");
    let (ours, _) = suites().nth(suite).expect("one of three");
    let CipherSuiteCommon { suite, hash_provider, .. } = ours.common;
    let common = CipherSuiteCommon { suite, hash_provider, confidentiality_limit: limit };
    let suite = Tls13CipherSuite { common, quic: None, ..*ours };
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![rustls::SupportedCipherSuite::Tls13(Box::leak(Box::new(suite)))],
        ..default_provider()
    });
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a certificate");
    let client =
        ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13]).expect("known");
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).expect("known");
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let server = server.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).expect("a pair");
    let name = ServerName::try_from("a.example").expect("a name");
    let client = UnbufferedClientConnection::new(Arc::new(client), name).expect("a client");
    let server = UnbufferedServerConnection::new(Arc::new(server)).expect("a server");
    let (mut client, mut server) = (Session::Client(Box::new(client)), Session::Server(Box::new(server)));
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        said(&mut client, &mut down, &mut up);
        said(&mut server, &mut up, &mut down);
    }
    (client, server)
}

/// What comes out of `input`, all of which is taken.
fn said(session: &mut Session, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Vec<u8> {
    let mut plain = Vec::new();
    let processed = session.process(input, &mut plain, out);
    assert!(matches!(processed.state, Ok(State::Open | State::Handshaking)), "{:?}", processed.state);
    input.drain(..processed.used);
    plain
}

/// In each of the suites, with keys that change in the midst of it, in buffers, and in vectors where there are none.
#[test]
fn batches_arrive_whole_and_in_order() {
    for suite in 0..3 {
        // More than one call makes: those of 300,000 bytes.
        for limit in [u64::MAX, 40, 20] {
            for (buffers, has_buffers) in [(BUFFERS, true), (BUFFERS, false), (TINY, true)] {
                let reactor = Reactor::simulated(1, buffers);
                let taken = if has_buffers { 0 } else { usize::MAX };
                let held: Vec<_> = std::iter::from_fn(|| reactor.take_buf(1 << 20)).take(taken).collect();
                let (mut client, mut server) = pair(suite, limit);
                let mut updates = 0;
                let cut = &[20_000, 30_000, 1, 16_384, 50_000, 99];
                for pieces in [&[100][..], cut, cut, cut, cut, &[300_000], &[131_072, 131_072], cut, cut] {
                    let plain = pattern(pieces.iter().sum());
                    let mut records = Records::new(&reactor, plain.len());
                    let mut rest = &plain[..];
                    for piece in pieces {
                        let (now, behind) = rest.split_at(*piece);
                        records.seal(&mut server, now, &mut []).expect("it is open");
                        rest = behind;
                    }
                    let mut segments = Vec::new();
                    records.take(&mut segments);
                    let in_buffer = segments.iter().any(|segment| matches!(segment, Segment::Buf(_)));
                    // Where keys change between two records, those are put together with what comes between them.
                    if limit == u64::MAX {
                        assert_eq!(in_buffer, has_buffers && plain.len() > 16 * 1024, "{pieces:?}");
                    }
                    let mut wire = bytes_of(&segments);
                    let whole = wire.len();
                    let got = said(&mut client, &mut wire, &mut Vec::new());
                    assert!(
                        got == plain && wire.is_empty(),
                        "{pieces:?}, {limit}: {} of {} bytes",
                        got.len(),
                        plain.len()
                    );
                    // A KeyUpdate has 5 bytes of its own (RFC 8446 section 4.6.3).
                    updates += usize::from(!(whole - plain.len()).is_multiple_of(OVERHEAD));
                }
                assert_eq!(updates > 1, limit < u64::MAX, "keys that have sealed so many records are changed");
                drop(held);
            }
        }
    }
}

/// What is said behind a batch follows it, in its last vector or in one of its own.
#[test]
fn the_end_comes_behind_the_records() {
    let reactor = Reactor::simulated(1, BUFFERS);
    for len in [10, 50_000] {
        let (mut client, mut server) = pair(0, u64::MAX);
        let plain = pattern(len);
        let mut records = Records::new(&reactor, len);
        records.seal(&mut server, &plain, &mut []).expect("it is open");
        records.append(|out| server.close(&mut [], out)).expect("it is open");
        let mut segments = Vec::new();
        records.take(&mut segments);
        // The second one has two buffers, and its end is in the vector with the rest.
        let in_buffer = segments.iter().filter(|segment| matches!(segment, Segment::Buf(_))).count();
        assert_eq!((segments.len(), in_buffer), if len == 10 { (1, 0) } else { (2, 1) });
        let (mut wire, mut got) = (bytes_of(&segments), Vec::new());
        let processed = client.process(&mut wire, &mut got, &mut Vec::new());
        assert_eq!((processed.state.expect("open"), got == plain), (State::PeerClosed, true));
    }
}
