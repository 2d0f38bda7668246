//! Fingerprints of first messages: what JA3 and JA4 have published.

use super::hello::of_corpus;
use crate::net::tls::client_hello::{ClientHello, HelloReader};
use crate::net::tls::fingerprint::{Fingerprints, text};
use ringway_config::model::{TlsFingerprint, TlsFingerprints};

const BOTH: TlsFingerprints = TlsFingerprints { ja3: true, ja4: true };

/// A first message to be written.
struct Message {
    version: u16,
    suites: Vec<u16>,
    extensions: Vec<(u16, Vec<u8>)>,
}

fn numbers(list: &[u16]) -> Vec<u8> {
    list.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn short(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8][..], bytes].concat()
}

fn name() -> (u16, Vec<u8>) {
    (0, long(&[&[0][..], &long(b"a.example")].concat()))
}

fn groups(list: &[u16]) -> (u16, Vec<u8>) {
    (10, long(&numbers(list)))
}

fn point_formats(list: &[u8]) -> (u16, Vec<u8>) {
    (11, short(list))
}

fn algorithms(list: &[u16]) -> (u16, Vec<u8>) {
    (13, long(&numbers(list)))
}

fn protocols(list: &[&[u8]]) -> (u16, Vec<u8>) {
    (16, long(&list.iter().flat_map(|name| short(name)).collect::<Vec<_>>()))
}

fn versions(list: &[u16]) -> (u16, Vec<u8>) {
    (43, short(&numbers(list)))
}

impl Message {
    fn bytes(&self) -> Vec<u8> {
        let mut body = [&self.version.to_be_bytes()[..], &[7; 32], &[0]].concat();
        body.extend(long(&numbers(&self.suites)));
        body.extend([1, 0]);
        if !self.extensions.is_empty() {
            let one = |(kind, body): &(u16, Vec<u8>)| [&kind.to_be_bytes()[..], &long(body)].concat();
            body.extend(long(&self.extensions.iter().flat_map(one).collect::<Vec<_>>()));
        }
        let message = [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
        [&[22, 3, 1][..], &long(&message)].concat()
    }

    fn read<R>(&self, tell: impl FnOnce(&ClientHello<'_>) -> R) -> R {
        read(&self.bytes(), tell)
    }

    fn ja4(&self) -> String {
        self.read(|hello| get(hello, TlsFingerprint::Ja4))
    }
}

fn read<R>(bytes: &[u8], tell: impl FnOnce(&ClientHello<'_>) -> R) -> R {
    let (mut reader, mut joined) = (HelloReader::default(), Vec::new());
    assert_eq!(reader.is_whole(bytes), Ok(true));
    tell(&reader.hello(bytes, &mut joined).expect("a first message"))
}

fn get(hello: &ClientHello<'_>, which: TlsFingerprint) -> String {
    Fingerprints::of(hello, BOTH).expect("both are wanted").get(which).expect("it is wanted").to_owned()
}

/// The examples of JA3's own description.
#[test]
fn ja3_as_it_is_published() {
    let text = "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0";
    let mut message = Message {
        version: 769,
        suites: vec![47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4],
        extensions: vec![name(), groups(&[23, 24, 25]), point_formats(&[0])],
    };
    assert_eq!(message.read(text::ja3), text);
    assert_eq!(message.read(|hello| get(hello, TlsFingerprint::Ja3)), "ada70206e40642a3e4461f35503241d5");
    message.suites = vec![4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99];
    message.extensions.clear();
    assert_eq!(message.read(text::ja3), "769,4-5-10-9-100-98-3-6-19-18-99,,,");
    assert_eq!(message.read(|hello| get(hello, TlsFingerprint::Ja3)), "de350869b8c85de67a350c8d186f11e6");
}

/// The message of the specification's example, with GREASE wherever browsers put it.
fn of_specification() -> Message {
    let kinds = [
        0x1a1a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01,
        0x000b, 0x000a, 0xfafa, 0x0015,
    ];
    let fill = |kind| match kind {
        0 => name(),
        10 => groups(&[0x2a2a, 29, 23, 24]),
        11 => point_formats(&[0]),
        13 => algorithms(&[0xbaba, 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]),
        16 => protocols(&[b"h2", b"http/1.1"]),
        43 => versions(&[0xeaea, 0x0304, 0x0303]),
        other => (other, Vec::new()),
    };
    let suites = vec![
        0xcaca, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d,
        0x002f, 0x0035,
    ];
    Message { version: 0x0303, suites, extensions: kinds.map(fill).into() }
}

#[test]
fn ja4_as_it_is_published() {
    let mut message = of_specification();
    assert_eq!(message.ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    // The order counts only for algorithms of signatures.
    message.suites.reverse();
    message.extensions.reverse();
    assert_eq!(message.ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    let place = message.extensions.iter().position(|(kind, _)| *kind == 13).expect("it is there");
    message.extensions[place] = algorithms(&[]);
    assert_eq!(message.ja4(), "t13d1516h2_8daaf6152771_6d807ffa2a79");
    // What has no members is no hash of nothing.
    message.extensions.retain(|(kind, _)| [0, 16, 0x1a1a].contains(kind));
    assert_eq!(message.ja4(), "t12d1502h2_8daaf6152771_000000000000");
    (message.suites, message.extensions) = (vec![0x0a0a], Vec::new());
    assert_eq!(message.ja4(), "t12i000000_000000000000_000000000000");
}

/// GREASE is nowhere in it: the values are those that browsers of this kind are known by.
#[test]
fn a_browser_has_the_fingerprints_that_it_is_known_by() {
    let mut message = of_specification();
    let order = [0x8a8a, 45, 51, 16, 65037, 23, 17613, 0, 11, 10, 43, 65281, 35, 18, 5, 13, 27, 0x3a3a];
    let known = message.extensions.clone();
    let fill = |kind| match known.iter().find(|(other, _)| *other == kind) {
        Some(_) if kind == 10 => groups(&[0x5a5a, 4588, 29, 23, 24]),
        Some(extension) => extension.clone(),
        None => (kind, Vec::new()),
    };
    message.extensions = order.map(fill).into();
    let text = "771,4865-4866-4867-49195-49199-49196-49200-52393-52392-49171-49172-156-157-47-53,\
                45-51-16-65037-23-17613-0-11-10-43-65281-35-18-5-13-27,4588-29-23-24,0";
    assert_eq!(message.read(text::ja3), text);
    assert_eq!(message.read(|hello| get(hello, TlsFingerprint::Ja3)), "98487aa16281980e7d1120d399efb6a4");
    assert_eq!(message.ja4(), "t13d1516h2_8daaf6152771_d8a2da3f94cd");
}

/// Recorded messages. That of LibreSSL is one by which implementations of JA4 are tested: its algorithms look like GREASE, and
/// are none.
#[test]
fn recorded_messages_have_their_fingerprints() {
    for (name, ja3, ja4) in [
        ("libressl", "3faa4ad39f690c4ef1c3160caa375465", "t12d4605h2_85626a9a5f7f_aaf95bb78ec9"),
        ("openssl_no_name", "c216e752cae6f8755fd27f561d031636", "t13i310900_e8f1e7e78f70_1f22a2ca17c4"),
        ("curl", "0149f47eabf9a20d0893e2a44e5a6323", "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6"),
        ("node", "1a28e69016765d92e3b381168d68922c", "t13d5911h1_a33745022dd6_1f22a2ca17c4"),
        ("chromium", "23e4664ab3cfaeebb02f7c82fc2b61a9", "t13d1517h2_8daaf6152771_cb7bf5808d99"),
        ("no_extensions", "ea1e247991e541e39bf918cb7cfa5139", "t12i010000_0f2cb44170f4_000000000000"),
    ] {
        let all = [TlsFingerprint::Ja3, TlsFingerprint::Ja4];
        let found = read(&of_corpus(name), |hello| all.map(|which| get(hello, which)));
        assert_eq!(found, [ja3, ja4], "{name}");
    }
}

#[test]
fn each_part_of_ja4_by_itself() {
    let start = |message: &Message| message.read(|hello| text::ja4(hello).start);
    // The specification's table, and names as they are.
    for (protocol, expected) in [
        (&b"h2"[..], "h2"),
        (b"http/1.1", "h1"),
        (b"h", "hh"),
        (b"\xab", "ab"),
        (b"\x20", "20"),
        (b"\xab\xcd", "ad"),
        (b"\x20\x61", "21"),
        (b"\x30\xab", "3b"),
        (b"\x61\x20", "60"),
        (b"\x30\x31\xab\xcd", "3d"),
        (b"\x30\xab\xcd\x31", "01"),
    ] {
        let message = Message { version: 0x0303, suites: vec![1], extensions: vec![protocols(&[protocol, b"x"])] };
        assert_eq!(start(&message), format!("t12i0101{expected}"), "{protocol:02x?}");
    }
    for (legacy, offered, expected) in [
        (0x0303, Some(&[0x0303, 0x0304, 0xfafa][..]), "13"),
        (0x0303, Some(&[0x0302, 0x0301]), "11"),
        (0x0303, Some(&[0x7f1c]), "00"),
        (0x0303, Some(&[0x1a1a]), "12"),
        (0x0303, None, "12"),
        (0x0302, None, "11"),
        (0x0301, None, "10"),
        (0x0300, None, "s3"),
        (0x0002, None, "s2"),
        (0x0304, None, "13"),
        (0x0505, None, "00"),
    ] {
        let extensions = offered.map(versions).into_iter().collect();
        let message = Message { version: legacy, suites: vec![1], extensions };
        let count = usize::from(offered.is_some());
        assert_eq!(start(&message), format!("t{expected}i010{count}00"), "{legacy:04x} {offered:04x?}");
    }
    let extensions = (1000..1100).map(|kind| (kind, Vec::new())).collect();
    let message = Message { version: 0x0303, suites: (1..200).collect(), extensions };
    assert_eq!(start(&message), "t12i999900");
}

/// Lists that are cut off, or whose length is odd, are read as far as they go.
#[test]
fn broken_lists_are_read_as_far_as_they_go() {
    for body in [&b""[..], b"\0", b"\0\x03", b"\0\x03\x04", b"\xff\xff\x04\x03\x05"] {
        let extensions = [10, 11, 13, 43].map(|kind| (kind, body.to_vec())).into();
        let message = Message { version: 0x0303, suites: vec![1], extensions };
        assert_eq!(message.ja4().len(), 36, "{body:02x?}");
        assert_eq!(message.read(|hello| get(hello, TlsFingerprint::Ja3)).len(), 32, "{body:02x?}");
    }
}

#[test]
fn only_what_is_wanted_is_computed() {
    let message = of_specification();
    let known = |ja3, ja4| {
        let fingerprints = message.read(|hello| Fingerprints::of(hello, TlsFingerprints { ja3, ja4 }));
        fingerprints.map(|all| [TlsFingerprint::Ja3, TlsFingerprint::Ja4].map(|which| all.get(which).is_some()))
    };
    assert_eq!(known(false, false), None);
    assert_eq!(known(true, false), Some([true, false]));
    assert_eq!(known(false, true), Some([false, true]));
    assert_eq!(known(true, true), Some([true, true]));
}
