//! What must hold for any bytes. The fuzz targets call these, and `engine/tests/corpus.rs` replays the corpus through
//! them in every test run.

use crate::codec::coding::{Corrupt, Decoder, Encoder, Goal, Settings};
use crate::codec::h1::{
    BodyDecoder, BodyError, BodyKind, Framing, HeadScanner, Limits, Parse,
    encode::{self, ChunkHeader, LAST_CHUNK},
    parse_request, parse_response,
};
use crate::http::coding::{Accepted, Choice, Coding};
use crate::http::{FieldId, Fields, Method, RequestHead, ResponseHead, TargetForm, Version, path};
use crate::net::tls::client_hello::{HelloError, HelloReader, is_host_name};
use crate::net::tls::fingerprint::text::{self, Ja4};

/// Small enough that a fuzzer's inputs reach the limits.
const LIMITS: Limits = Limits {
    head_bytes: 2048,
    fields: 24,
    target_bytes: 256,
    field_bytes: 1024,
    chunk_extension_bytes: 48,
    trailer_bytes: 96,
};

/// A request head: in pieces it is the same as whole, what is accepted is clean by an independent reading, and what is
/// written from it is read back the same.
pub fn request(data: &[u8]) {
    let mut head = RequestHead::default();
    let whole = parse_request(data, &LIMITS, &mut head);
    let whole_len = whole.ok().and_then(Parse::complete).map(|framing| framing.len as usize);
    let (mut scanner, mut pieces) = (HeadScanner::default(), RequestHead::default());
    for end in ends(data) {
        let step = scanner.request(&data[..end], &LIMITS, &mut pieces);
        if step == Ok(Parse::Partial) {
            // Only something longer can be complete.
            assert!(whole_len.is_none_or(|len| end < len), "{end}");
            continue;
        }
        match whole {
            Ok(Parse::Complete(_)) => {
                assert_eq!(step, whole);
                assert_eq!(format!("{pieces:?}"), format!("{head:?}"));
            }
            Ok(Parse::Partial) => panic!("{step:?} at {end}, but more bytes made it incomplete again"),
            // Seen earlier, an error may have another name.
            Err(_) => assert!(step.is_err(), "{whole:?} became {step:?}"),
        }
        break;
    }
    if let Ok(Parse::Complete(framing)) = whole {
        let bytes = &data[..framing.len as usize];
        assert_clean(without_empty_lines(bytes), &head.fields, bytes);
        request_is_consistent(&head, framing, bytes);
        request_is_read_back(&head, framing, bytes);
    }
}

/// A path: in its normal form it has no segment that moves, and is normal already; what `needs_normalizing` lets pass is.
pub fn path(data: &[u8]) {
    const BEFORE: &[u8] = b"/x/../";
    let edited = |edit: fn(&mut Vec<u8>, usize), path: &[u8]| {
        let mut out = [BEFORE, path].concat();
        edit(&mut out, BEFORE.len());
        assert!(out.starts_with(BEFORE) && out.len() <= BEFORE.len() + path.len());
        out.split_off(BEFORE.len())
    };
    let mut out = [BEFORE, data].concat();
    let normal = path::normalize(&mut out, BEFORE.len()).map(|()| out.split_off(BEFORE.len()));
    if !path::needs_normalizing(data) {
        assert_eq!(normal.as_deref(), Ok(data));
    }
    if let Ok(normal) = normal {
        assert!(normal.starts_with(b"/") && normal.len() <= data.len());
        assert!(normal.split(|&byte| byte == b'/').all(|segment| segment != b"." && segment != b".."));
        let mut again = normal.clone();
        assert_eq!((path::normalize(&mut again, 0), &again), (Ok(()), &normal));
    }
    let unescaped = edited(path::unescape_slashes, data);
    assert!(!path::has_escaped_slash(&unescaped));
    assert_eq!(path::has_escaped_slash(data), unescaped.len() < data.len());
    let merged = edited(path::merge_slashes, data);
    assert!(!merged.windows(2).any(|pair| pair == b"//"));
    let without = |path: &[u8]| path.iter().filter(|&&byte| byte != b'/').copied().collect::<Vec<_>>();
    assert_eq!(without(&merged), without(data));
}

/// A response head, like [`request`]. The first byte chooses the request's method.
pub fn response(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let method = match first {
        b'H' => Method::Head,
        b'C' => Method::Connect,
        _ => Method::Get,
    };
    let mut head = ResponseHead::default();
    let whole = parse_response(data, &LIMITS, method, &mut head);
    let whole_len = whole.ok().and_then(Parse::complete).map(|framing| framing.len as usize);
    let (mut scanner, mut pieces) = (HeadScanner::default(), ResponseHead::default());
    for end in ends(data) {
        let step = scanner.response(&data[..end], &LIMITS, method, &mut pieces);
        if step == Ok(Parse::Partial) {
            assert!(whole_len.is_none_or(|len| end < len), "{end}");
            continue;
        }
        match whole {
            Ok(Parse::Complete(_)) => {
                assert_eq!(step, whole);
                assert_eq!(format!("{pieces:?}"), format!("{head:?}"));
            }
            Ok(Parse::Partial) => panic!("{step:?} at {end}, but more bytes made it incomplete again"),
            Err(_) => assert!(step.is_err(), "{whole:?} became {step:?}"),
        }
        break;
    }
    if let Ok(Parse::Complete(framing)) = whole {
        let bytes = &data[..framing.len as usize];
        assert_clean(bytes, &head.fields, bytes);
        response_is_consistent(&head, framing, bytes, method);
        response_is_read_back(&head, framing, bytes, method);
    }
}

/// A chunked body: every way of splitting gives the same, and it is read back when it is written again. The first byte
/// chooses the split.
pub fn chunked(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let whole = decode(data, &LIMITS, std::iter::once(data.len()));
    let bytewise = decode(data, &LIMITS, 1..=data.len());
    let step = usize::from(*first) % 23 + 2;
    let uneven = decode(data, &LIMITS, (0..data.len()).step_by(step).chain([data.len()]));
    assert_eq!(whole, bytewise);
    assert_eq!(whole, uneven);
    if let Ok(body) = whole {
        let text = encode_chunked(&body.data, step, body.trailers.as_deref().unwrap_or_default());
        let again = decode(&text, &ROOMY, std::iter::once(text.len()));
        if body.done {
            let expected = Body { consumed: text.len(), ..body };
            assert_eq!(again, Ok(expected));
        }
    }
    // Any bytes can be a body.
    let text = encode_chunked(data, step, b"");
    let again = decode(&text, &ROOMY, std::iter::once(text.len()));
    assert_eq!(again, Ok(Body { data: data.to_vec(), trailers: None, consumed: text.len(), done: true }));
}

/// Where the prefixes end that a head is fed in: each byte, or about 256 places when it is long.
fn ends(data: &[u8]) -> impl Iterator<Item = usize> {
    (0..data.len()).step_by(1 + data.len() / 256).chain([data.len()])
}

/// A request without the two empty lines that may stand before it.
fn without_empty_lines(bytes: &[u8]) -> &[u8] {
    let once = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    once.strip_prefix(b"\r\n").unwrap_or(once)
}

/// An independent and slow reading: CRLF ends every line and no control character is anywhere else, every line after
/// the first has a name and a value as the index says.
fn assert_clean(head: &[u8], fields: &Fields, bytes: &[u8]) {
    let text = head.strip_suffix(b"\r\n\r\n").expect("ends in an empty line");
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    for line in &lines {
        assert!(line.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f)), "{line:?}");
        assert!(!line.is_empty());
    }
    assert_eq!(lines.len() - 1, fields.len());
    for (line, field) in lines[1..].iter().zip(fields) {
        let colon = line.iter().position(|b| *b == b':').expect("a colon");
        let (name, value) = (field.name.of(bytes), field.value.of(bytes));
        assert_eq!(name, &line[..colon]);
        assert!(!name.is_empty() && name.iter().all(|b| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(b)));
        let blank = |b: &u8| *b == b' ' || *b == b'\t';
        let around = &line[colon + 1..];
        assert_eq!(value, around.trim_ascii());
        assert!(!value.first().is_some_and(blank) && !value.last().is_some_and(blank));
        let lower = name.to_ascii_lowercase();
        let known = FieldId::ALL.iter().find(|id| id.name().as_bytes() == lower).copied();
        assert_eq!(field.id, known.unwrap_or_default());
    }
}

/// The framing as the lines say it, read one by one.
fn framing_of(fields: &Fields, bytes: &[u8]) -> Option<BodyKind> {
    let values = |id| fields.all(id).map(|field| field.value.of(bytes)).collect::<Vec<_>>();
    match (&values(FieldId::ContentLength)[..], &values(FieldId::TransferEncoding)[..]) {
        ([], []) => None,
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"));
            Some(BodyKind::Chunked)
        }
        ([length], []) => {
            assert!(!length.is_empty() && length.iter().all(u8::is_ascii_digit));
            Some(BodyKind::Length(std::str::from_utf8(length).unwrap().parse().unwrap()))
        }
        other => panic!("ambiguous: {other:?}"),
    }
}

fn request_is_consistent(head: &RequestHead, framing: Framing, bytes: &[u8]) {
    assert_eq!(framing_of(&head.fields, bytes).unwrap_or(BodyKind::None), framing.body);
    assert_eq!(head.length, framing.body.length());
    assert!(framing.body != BodyKind::Chunked || head.version == Version::Http11);
    assert!(!matches!(head.method, Method::Trace | Method::Connect));
    assert!(!head.path(bytes).is_empty());
    assert!(head.path(bytes).starts_with(b"/") || head.path(bytes) == b"*");
    assert!(!head.path(bytes).contains(&b'?') && !head.target(bytes).concat().contains(&b'#'));
    assert!(head.target(bytes).concat().is_ascii());
    let hosts = head.fields.all(FieldId::Host).count();
    assert!(hosts <= 1 && (hosts == 1 || head.version == Version::Http10));
    assert!(!head.authority.is_empty() || head.version == Version::Http10);
    assert!(!head.authority.of(bytes).iter().any(|b| b" \t@/?#\\,".contains(b)));
    assert_eq!(head.scheme.is_some(), head.target_form == TargetForm::Absolute);
    for field in head.fields.iter().filter(|field| field.hop_by_hop) {
        assert!(!matches!(field.id, FieldId::Host | FieldId::ContentLength | FieldId::XForwardedFor));
    }
}

fn response_is_consistent(head: &ResponseHead, framing: Framing, bytes: &[u8], method: Method) {
    let declared = framing_of(&head.fields, bytes);
    let status = head.status;
    assert!((100..1000).contains(&status) && status != 101);
    let bodiless = status < 200 || status == 204 || status == 304 || method == Method::Head;
    let tunnel = method == Method::Connect && (200..300).contains(&status);
    match bodiless || tunnel {
        true => assert_eq!(framing.body, BodyKind::None),
        false => assert_eq!(framing.body, declared.unwrap_or(BodyKind::UntilClose)),
    }
    assert_eq!(head.length, framing.body.length());
    assert!(framing.body != BodyKind::UntilClose || !framing.keep_alive);
    assert!(head.reason.of(bytes).iter().all(|b| *b != b'\r' && *b != b'\n'));
}

/// Writes the fields that are forwarded, with new framing.
fn write_fields(out: &mut Vec<u8>, fields: &Fields, bytes: &[u8], framing: BodyKind) {
    for field in fields {
        if !field.hop_by_hop && !matches!(field.id, FieldId::Host | FieldId::ContentLength) {
            encode::field(out, field.name.of(bytes), field.value.of(bytes));
        }
    }
    match framing {
        BodyKind::Length(length) => encode::field_u64(out, b"content-length", length),
        BodyKind::Chunked => encode::field(out, b"transfer-encoding", b"chunked"),
        BodyKind::None | BodyKind::UntilClose => {}
    }
    encode::end(out);
}

/// Name and value of every field that [`write_fields`] copies.
fn copied<'a>(fields: &'a Fields, bytes: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
    let own = |id| matches!(id, FieldId::Host | FieldId::ContentLength | FieldId::TransferEncoding);
    let kept = fields.iter().filter(|field| !field.hop_by_hop && !own(field.id));
    kept.map(|field| (field.name.of(bytes), field.value.of(bytes))).collect()
}

/// Room for the lines that the writer adds, and for the space that it puts behind a colon.
const ROOMY: Limits = Limits { head_bytes: 8192, fields: 32, field_bytes: 2048, trailer_bytes: 256, ..LIMITS };

fn request_is_read_back(head: &RequestHead, framing: Framing, bytes: &[u8]) {
    let mut out = Vec::new();
    encode::request_line(&mut out, head.method_bytes(bytes), &head.target(bytes));
    let authority = if head.authority.is_empty() { b"localhost" } else { head.authority.of(bytes) };
    encode::field(&mut out, b"host", authority);
    write_fields(&mut out, &head.fields, bytes, framing.body);
    let mut again = RequestHead::default();
    let read = match parse_request(&out, &ROOMY, &mut again) {
        Ok(Parse::Complete(read)) => read,
        // What an HTTP/1.0 client expects is ignored there (RFC 9110 section 10.1.1) and refused here.
        Err(error) if head.version == Version::Http10 && error.status() == 417 => return,
        other => panic!("{other:?}: {:?}", String::from_utf8_lossy(&out)),
    };
    assert_eq!(read.len as usize, out.len());
    assert_eq!(again.method_bytes(&out), head.method_bytes(bytes));
    assert_eq!(again.target(&out).concat(), head.target(bytes).concat());
    assert_eq!((again.path(&out), again.query(&out)), (head.path(bytes), head.query(bytes)));
    assert_eq!(again.authority.of(&out), authority);
    assert_eq!(read.body, framing.body);
    assert_eq!(copied(&again.fields, &out), copied(&head.fields, bytes));
    assert!(read.keep_alive && !read.upgrade);
}

fn response_is_read_back(head: &ResponseHead, framing: Framing, bytes: &[u8], method: Method) {
    let mut out = Vec::new();
    encode::status_line(&mut out, head.status, head.reason.of(bytes));
    let body = head.content_length.map_or(framing.body, BodyKind::Length);
    write_fields(&mut out, &head.fields, bytes, body);
    let mut again = ResponseHead::default();
    let read =
        parse_response(&out, &ROOMY, method, &mut again).ok().and_then(Parse::complete).expect("a whole response");
    assert_eq!(read.len as usize, out.len());
    assert_eq!((again.status, again.reason.of(&out)), (head.status, head.reason.of(bytes)));
    assert_eq!((read.body, again.content_length), (framing.body, head.content_length));
    assert_eq!(copied(&again.fields, &out), copied(&head.fields, bytes));
    assert!(!read.content_length_dropped);
}

#[derive(Debug, PartialEq)]
struct Body {
    data: Vec<u8>,
    trailers: Option<Vec<u8>>,
    consumed: usize,
    done: bool,
}

/// Decodes `input` in pieces that end at `stops`.
fn decode(input: &[u8], limits: &Limits, stops: impl Iterator<Item = usize>) -> Result<Body, BodyError> {
    let mut decoder = BodyDecoder::with_limits(BodyKind::Chunked, limits, true);
    let (mut at, mut data) = (0, Vec::new());
    for stop in stops {
        while at < stop && !decoder.is_done() {
            let decoded = decoder.decode(&input[at..stop])?;
            assert!(decoded.consumed > 0 && decoded.data.end <= decoded.consumed);
            assert_eq!(decoded.done, decoder.is_done());
            data.extend_from_slice(&input[at..][decoded.data.clone()]);
            at += decoded.consumed;
        }
    }
    let body = Body { data, trailers: decoder.take_trailers(), consumed: at, done: decoder.is_done() };
    assert_eq!(decoder.on_eof().is_ok(), body.done);
    Ok(body)
}

fn encode_chunked(data: &[u8], step: usize, trailers: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, chunk) in data.chunks(step).enumerate() {
        let size = chunk.len() as u64;
        let header = if at == 0 { ChunkHeader::new(size) } else { ChunkHeader::after_data(size) };
        out.extend_from_slice(header.as_slice());
        out.extend_from_slice(chunk);
    }
    match (data.is_empty(), trailers.is_empty()) {
        (true, true) => out.extend_from_slice(LAST_CHUNK),
        (is_first, _) => encode::last_chunk(&mut out, trailers, !is_first),
    }
    out
}

/// `accept-encoding`: lines are one list, case does not matter, and what is chosen is something that a client can want.
pub fn accept_encoding(data: &[u8]) {
    let whole = Accepted::new(std::iter::once(data));
    assert_eq!(Accepted::new(data.split(|byte| *byte == b',')), whole);
    assert_eq!(Accepted::new(std::iter::once(&data.to_ascii_uppercase()[..])), whole);
    let choose = |offered: &[Coding]| whole.choose(offered.iter().copied());
    match choose(&Coding::ALL) {
        Choice::NoHeader => panic!("there is one"),
        Choice::Identity => assert!(!whole.refuses_identity()),
        Choice::NotValid => assert!(Coding::ALL.iter().all(|coding| choose(&[*coding]) == Choice::NotValid)),
        Choice::Coding { index, by_wildcard } => {
            let alone = choose(&[Coding::ALL[index]]);
            assert_eq!(alone, Choice::Coding { index: 0, by_wildcard });
            let text = data.to_ascii_lowercase();
            let names = |name: &str| text.windows(name.len()).any(|part| part == name.as_bytes());
            assert!(names(if by_wildcard { "*" } else { Coding::ALL[index].token() }));
        }
    }
}

/// Bytes that a fuzzer's input becomes at most: more are not looked at.
const DECODED_MAX: usize = 1 << 18;

/// Compressed bytes, whatever they are: the pieces in which they come make no difference, and any bytes come back from
/// each coding. The first byte chooses coding and pieces.
pub fn decoding(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let coding = Coding::ALL[usize::from(*first) % 3];
    let (whole, is_over) = decode_all(coding, data, data.len().max(1));
    let (pieces, pieces_over) = decode_all(coding, data, usize::from(*first) / 3 + 1);
    match (&whole, &pieces) {
        // Bombs, which the proxy refuses by their length.
        (Ok(whole), Ok(pieces)) if whole.len().min(pieces.len()) > DECODED_MAX => {}
        // One whose bytes go wrong later on: the library can say so before it hands out the first of what it has.
        (Err(Corrupt), Ok(pieces)) if coding == Coding::Brotli && pieces.len() > DECODED_MAX => {}
        (Ok(whole), Ok(pieces)) => assert!(whole == pieces && is_over == pieces_over),
        (Err(Corrupt), Err(Corrupt)) => {}
        // The library compares a frame with the length that its head names only where the frame comes at once.
        (Err(Corrupt), Ok(_)) if coding == Coding::Zstd => {}
        // A copy beyond the end of its block: the library sees it only where it hands out what it has within that copy.
        (Ok(_), Err(Corrupt)) if coding == Coding::Brotli => {}
        _ => panic!("{coding:?} {data:02x?}: whole: {}, in pieces: {}", whole.is_ok(), pieces.is_ok()),
    }
    let settings = match coding {
        Coding::Gzip => Settings::Gzip { level: first % 9 + 1, window_bits: 9 + first % 6 },
        Coding::Brotli => Settings::Brotli { quality: first % 2 },
        Coding::Zstd => Settings::Zstd { level: first % 9 + 1 },
    };
    let (mut encoder, mut encoded, mut buffer) = (Encoder::new(settings), Vec::new(), [0; 512]);
    let mut rest = data;
    loop {
        let goal = if rest.is_empty() { Goal::End } else { Goal::Take };
        let step = encoder.step(rest, goal, &mut buffer).expect("encoding does not fail");
        rest = &rest[step.consumed..];
        encoded.extend_from_slice(&buffer[..step.produced]);
        if goal == Goal::End && step.is_done {
            break;
        }
    }
    assert_eq!(decode_all(coding, &encoded, 64), (Ok(data.to_vec()), true));
}

/// What becomes of these bytes in pieces, and whether they may end there.
fn decode_all(coding: Coding, data: &[u8], piece: usize) -> (Result<Vec<u8>, Corrupt>, bool) {
    let (mut decoder, mut out, mut buffer) = (Decoder::new(coding), Vec::new(), [0; 1024]);
    for mut input in data.chunks(piece) {
        loop {
            let step = match decoder.step(input, &mut buffer) {
                Ok(step) => step,
                Err(corrupt) => return (Err(corrupt), false),
            };
            assert!(step.consumed + step.produced > 0 || step.is_done, "a step that does nothing would go on for ever");
            input = &input[step.consumed..];
            out.extend_from_slice(&buffer[..step.produced]);
            if out.len() > DECODED_MAX {
                return (Ok(out), false);
            }
            if step.is_done {
                break;
            }
        }
        assert!(input.is_empty());
    }
    (Ok(out), decoder.may_end())
}

/// What a first message says: its name and its protocols.
type Said = (Option<String>, Option<Vec<Vec<u8>>>);

/// The texts that its fingerprints are made of.
type Texts = (String, Ja4);

/// A client's first message: neither the pieces in which it comes nor the records that it is cut into make a difference, and
/// what it says is read back from a message that is made of it. The texts of its fingerprints grow with its length alone.
pub fn client_hello(data: &[u8]) {
    let whole = read_hello(data, std::iter::once(data.len()));
    assert_eq!(read_hello(data, ends(data)), whole);
    // The same bytes as one message, cut into records of the size that the first byte says.
    let message = data.get(9..).unwrap_or_default();
    let step = 1 + usize::from(data.first().copied().unwrap_or_default());
    let in_one = in_records(message, usize::MAX);
    let said = read_hello(&in_one, std::iter::once(in_one.len()));
    let in_many = in_records(message, step);
    assert_eq!(read_hello(&in_many, ends(&in_many)), said);
    if in_one == data {
        assert_eq!(said, whole);
    }
    for ((name, protocols), (ja3, ja4)) in [whole, said].into_iter().filter_map(Result::ok).flatten() {
        assert!(ja3.len() <= 16 + 4 * data.len() && ja4.suites.len() + ja4.extensions.len() <= 3 * data.len());
        assert!(ja4.start.len() == 10 && ja4.start.is_ascii());
        assert!(name.as_deref().is_none_or(is_host_name));
        let again = in_records(&hello_of(&(name.clone(), protocols.clone())), step);
        let said = read_hello(&again, ends(&again)).map(|read| read.map(|(said, _)| said));
        assert_eq!(said, Ok(Some((name, protocols))));
    }
}

/// What is read when the bytes come in pieces that end at these places; `None`: it is not whole.
fn read_hello(data: &[u8], ends: impl Iterator<Item = usize>) -> Result<Option<(Said, Texts)>, HelloError> {
    let (mut reader, mut joined) = (HelloReader::default(), Vec::new());
    for end in ends {
        if reader.is_whole(&data[..end])? {
            let hello = reader.hello(data, &mut joined)?;
            let protocols = hello.has_protocols().then(|| hello.protocols().map(<[u8]>::to_vec).collect());
            let said = (hello.server_name.map(str::to_owned), protocols);
            return Ok(Some((said, (text::ja3(&hello), text::ja4(&hello)))));
        }
    }
    Ok(None)
}

/// A handshake message in records of this size at most.
fn in_records(body: &[u8], size: usize) -> Vec<u8> {
    let message = [&[1], &(body.len() as u32).to_be_bytes()[1..], body].concat();
    let record = |part: &[u8]| [&[22, 3, 1], &(part.len() as u16).to_be_bytes()[..], part].concat();
    message.chunks(size.min(1 << 14)).flat_map(record).collect()
}

/// The body of a message that says this.
fn hello_of((name, protocols): &Said) -> Vec<u8> {
    let long = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let mut extensions = Vec::new();
    if let Some(name) = name {
        extensions.extend([&[0, 0][..], &long(&long(&[&[0][..], &long(name.as_bytes())].concat()))].concat());
    }
    if let Some(protocols) = protocols {
        let list: Vec<u8> = protocols.iter().flat_map(|it| [&[it.len() as u8][..], it].concat()).collect();
        extensions.extend([&[0, 16][..], &long(&long(&list))].concat());
    }
    [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &long(&extensions)].concat()
}
