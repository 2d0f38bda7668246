//! Clients' first messages: however they are cut they say the same, and the library reads the same in them.

use crate::base::random::Random;
use crate::net::tls::client_hello::{HELLO_MAX, HelloError, HelloReader};
use rustls::server::Acceptor;
use std::path::Path;

/// What a first message says: its name and its protocols.
type Said = (Option<String>, Option<Vec<Vec<u8>>>);

/// The fuzz corpus: first messages of real clients, and broken ones.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/client_hello");
    let entries = std::fs::read_dir(directory).expect("the corpus is there");
    let read = |entry: std::fs::DirEntry| {
        (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("readable"))
    };
    entries.map(|entry| read(entry.expect("an entry"))).collect()
}

pub(super) fn of_corpus(name: &str) -> Vec<u8> {
    corpus().into_iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("no {name} in the corpus")).1
}

fn said(reader: &HelloReader, bytes: &[u8]) -> Result<Said, HelloError> {
    let mut joined = Vec::new();
    let hello = reader.hello(bytes, &mut joined)?;
    let name = hello.server_name.map(str::to_ascii_lowercase);
    Ok((name, hello.has_protocols().then(|| hello.protocols().map(<[u8]>::to_vec).collect())))
}

/// What is read in pieces of this size; `None`: the message is not whole.
fn read(bytes: &[u8], piece: usize) -> Result<Option<Said>, HelloError> {
    let mut reader = HelloReader::default();
    for end in (0..bytes.len()).step_by(piece).skip(1).chain([bytes.len()]) {
        if reader.is_whole(&bytes[..end])? {
            return said(&reader, &bytes[..end]).map(Some);
        }
    }
    Ok(None)
}

/// The same by the library. `None`: it wants more, or refuses.
fn read_by_library(mut bytes: &[u8]) -> Option<Said> {
    let mut acceptor = Acceptor::default();
    while acceptor.read_tls(&mut bytes).is_ok_and(|count| count > 0) {
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            // It leaves a dot at the end where it is.
            let name = hello.server_name().map(|name| name.trim_end_matches('.').to_owned());
            return Some((name, hello.alpn().map(|protocols| protocols.map(<[u8]>::to_vec).collect())));
        }
    }
    None
}

/// The message in these records, cut into records of `size`.
fn cut_into(records: &[u8], size: usize) -> Vec<u8> {
    let (mut message, mut rest) = (Vec::new(), records);
    while let [_, _, _, high, low, behind @ ..] = rest {
        let (payload, next) = behind.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        message.extend_from_slice(payload);
        rest = next;
    }
    let record = |part: &[u8]| [&[22, 3, 1], &(part.len() as u16).to_be_bytes()[..], part].concat();
    message.chunks(size).flat_map(record).collect()
}

/// A whole message with a name and `padding` bytes of an unknown extension for each number.
fn padded(padding: &[usize]) -> Vec<u8> {
    let small = of_corpus("small");
    // Message header, version, random, session, suites, compression.
    let head = &small[5 + 4..5 + 4 + 2 + 32 + 1 + 4 + 2];
    let old = &small[5 + 4 + head.len() + 2..];
    let mut extensions: Vec<u8> = Vec::new();
    for (index, len) in padding.iter().enumerate() {
        extensions.extend([0xfe, index as u8]);
        extensions.extend((*len as u16).to_be_bytes());
        extensions.extend(vec![0; *len]);
    }
    extensions.extend_from_slice(old);
    let body = [head, &(extensions.len() as u16).to_be_bytes(), &extensions].concat();
    let message = [&[1], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
    let record = |part: &[u8]| [&[22, 3, 1], &(part.len() as u16).to_be_bytes()[..], part].concat();
    message.chunks(16 * 1024).flat_map(record).collect()
}

#[test]
fn a_message_says_the_same_however_it_is_cut() {
    let expected = (Some("a.example".to_owned()), Some(vec![b"h2".to_vec(), b"http/1.1".to_vec()]));
    for name in ["small", "openssl"] {
        let bytes = of_corpus(name);
        for at in 0..bytes.len() {
            let mut reader = HelloReader::default();
            assert_eq!(reader.is_whole(&bytes[..at]), Ok(false), "{name}, {at}");
            assert_eq!(reader.is_whole(&bytes), Ok(true), "{name}, {at}");
            assert_eq!(said(&reader, &bytes), Ok(expected.clone()), "{name}, {at}");
        }
        for size in 1..=bytes.len() {
            let records = cut_into(&bytes, size);
            for piece in [1, 2, 3, 7, 100, records.len()] {
                assert_eq!(read(&records, piece), Ok(Some(expected.clone())), "{name}, {size}, {piece}");
            }
            for end in [1, records.len() / 2, records.len() - 1] {
                assert_eq!(read(&records[..end], 1), Ok(None), "{name}, {size}, {end}");
            }
        }
    }
}

#[test]
fn what_is_no_first_message_is_refused_for_what_it_is() {
    for (name, expected) in [
        ("plain_http", HelloError::NotTls),
        ("ssl2", HelloError::NotTls),
        ("message_too_long", HelloError::TooLarge),
        ("server_hello", HelloError::Broken),
        ("name_twice", HelloError::Broken),
        ("name_extension_twice", HelloError::Broken),
        ("name_with_nul", HelloError::Broken),
        ("name_is_garbage", HelloError::Broken),
        ("name_is_number", HelloError::Broken),
        ("protocols_twice", HelloError::Broken),
        ("empty_record", HelloError::Broken),
        ("alert_between", HelloError::Broken),
        ("second_message", HelloError::Broken),
        ("record_too_long", HelloError::Broken),
    ] {
        let bytes = of_corpus(name);
        assert_eq!(read(&bytes, bytes.len()), Err(expected), "{name}");
        assert_eq!(read(&bytes, 1), Err(expected), "{name} in pieces");
    }
    for name in ["name_is_address", "name_is_v6_address", "no_extensions", "openssl_no_name", "curl_address"] {
        let bytes = of_corpus(name);
        assert_eq!(read(&bytes, 1).map(|said| said.expect("whole").0), Ok(None), "{name}");
    }
    let said = read(&of_corpus("openssl_tls12"), 1).expect("read").expect("whole");
    assert_eq!(said, (Some("a.example".into()), None), "lower case, no dot");
}

/// 64 KiB with all records, however many those are; the library takes the largest, too.
#[test]
fn a_message_may_be_large_and_not_larger() {
    // Without the last part it is four records, as with it.
    let of_len = |len: usize| padded(&[30_000, 30_000, len - padded(&[30_000, 30_000, 0]).len()]);
    let expected = read(&of_corpus("small"), 1);
    let largest = of_len(HELLO_MAX);
    assert_eq!(largest.len(), HELLO_MAX);
    for bytes in [padded(&[20_000, 30_000]), largest, cut_into(&padded(&[10_000]), 1)] {
        assert_eq!(read(&bytes, 1), expected, "{} bytes", bytes.len());
        assert_eq!(read(&bytes, 4096), expected, "{} bytes", bytes.len());
        assert_eq!(Ok(read_by_library(&bytes)), expected, "{} bytes", bytes.len());
    }
    for bytes in [of_len(HELLO_MAX + 1), cut_into(&padded(&[11_000]), 1)] {
        assert_eq!(read(&bytes, 1000), Err(HelloError::TooLarge), "{} bytes", bytes.len());
        assert_eq!(read_by_library(&bytes), None, "{} bytes", bytes.len());
    }
    // The length at its beginning is enough.
    assert_eq!(read(&[22, 3, 1, 0, 4, 1, 1, 0, 0], 1), Err(HelloError::TooLarge));
}

/// The way of HelloReader is the only one by which a chain is chosen, and the library's the only one by which its TLS goes on.
#[test]
fn the_library_reads_the_same() {
    let random = Random::seeded(3);
    let mut both = 0;
    let mut compare = |bytes: &[u8], name: &str| {
        let own = read(bytes, bytes.len().max(1));
        let Some(library) = read_by_library(bytes) else { return };
        match own {
            Ok(Some(own)) => {
                assert_eq!(own, library, "{name}: {bytes:02x?}");
                both += 1;
            }
            Ok(None) => panic!("{name}: the library has all of it: {bytes:02x?}"),
            // Stricter, and then the connection is closed.
            Err(_) => {}
        }
    };
    for (name, bytes) in corpus() {
        compare(&bytes, &name);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            for byte in [0, 1, 2, 3, b'.', b'-', b'A', 0x7f, 0xff, random.below(256) as u8] {
                changed[at] = byte;
                compare(&changed, &name);
            }
        }
        for size in [1, 2, 9, 60, 200] {
            if bytes.first() == Some(&22) && read(&bytes, bytes.len()).is_ok_and(|said| said.is_some()) {
                compare(&cut_into(&bytes, size), &name);
            }
        }
    }
    assert!(both > 1000, "only {both} messages were read by both");
    for name in ["openssl", "openssl_tls12", "openssl_no_name", "curl", "curl_address", "node", "chromium", "small"] {
        let bytes = of_corpus(name);
        let library = read_by_library(&bytes);
        assert!(library.is_some(), "{name}");
        assert_eq!(read(&bytes, 1), Ok(library), "{name}");
    }
}
