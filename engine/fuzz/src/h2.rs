//! What must hold for any frames, and for any heads in them.

use crate::codec::h1::{Limits, Parse, parse_request};
use crate::codec::h2::hpack::{self, Pseudo};
use crate::codec::h2::{Block, Decoder, Error, Event, frame, write};
use crate::http::{
    FieldId, HeadView, Length, Method, RequestHead, ResponseHead, TargetForm, Trailers, is_valid_authority,
};

/// Small enough that a fuzzer's inputs reach the limits.
const LIMITS: Limits = Limits {
    head_bytes: 1024,
    fields: 16,
    target_bytes: 128,
    field_bytes: 256,
    chunk_extension_bytes: 0,
    trailer_bytes: 96,
};

/// The bytes of a header block that are taken, by the first byte of the input.
const BLOCKS_MAX: [usize; 3] = [2048, 40, 1 << 20];

/// What frames say, whatever way their bytes came: parts of DATA are joined.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Event(Event),
    Block { stream: u32, ends: bool, bytes: Vec<u8> },
    Settings(Vec<(u16, u32)>),
    Data { stream: u32, bytes: Vec<u8>, flow: u32, is_empty: bool, ends: bool },
}

/// Frames say the same for every way to cut their bytes, and what they carry is a head that keeps the rules or none.
pub fn h2(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let block_max = BLOCKS_MAX[usize::from(*first) % BLOCKS_MAX.len()];
    let whole = decode(bytes, bytes.len().max(1), block_max);
    for piece in [1, 2, 7, usize::from(*first) + 1] {
        assert_eq!(decode(bytes, piece, block_max), whole, "in pieces of {piece}");
    }
    let (mut requests, mut responses) = (hpack::Decoder::new(4096), hpack::Decoder::new(4096));
    for said in &whole.0 {
        let Said::Block { ends, bytes, .. } = said else { continue };
        let mut block = Block::default();
        if block.decode(&mut requests, bytes, *ends, &LIMITS).is_err() {
            break;
        }
        request(&mut block, *ends);
        trailers(bytes);
        if block.decode(&mut responses, bytes, *ends, &LIMITS).is_err() {
            break;
        }
        let method = if first & 0x40 == 0 { Method::Get } else { Method::Head };
        response(&mut block, method, *ends);
    }
}

fn decode(bytes: &[u8], piece: usize, block_max: usize) -> (Vec<Said>, Result<(), Error>) {
    let (mut decoder, mut said) = (Decoder::new(block_max), Vec::new());
    for mut input in bytes.chunks(piece) {
        loop {
            let (used, event) = match decoder.next(input) {
                Ok(next) => next,
                Err(error) => return (said, Err(error)),
            };
            let Some(event) = event else {
                assert_eq!(used, input.len(), "without an event all is used");
                break;
            };
            note(&mut said, event, &decoder, input);
            input = &input[used..];
            if input.is_empty() {
                break;
            }
        }
    }
    (said, Ok(()))
}

fn note(said: &mut Vec<Said>, event: Event, decoder: &Decoder, input: &[u8]) {
    match event {
        Event::Headers { stream, ends } => {
            assert_ne!(stream, 0);
            said.push(Said::Block { stream, ends, bytes: decoder.payload(input).to_vec() });
        }
        Event::Settings => said.push(Said::Settings(decoder.settings(input).collect())),
        Event::Data { stream, part, flow, is_empty, ends } => {
            assert!(part.len() <= flow as usize && flow as usize <= frame::FRAME_MAX);
            let (new, now) = (input[part].to_vec(), (is_empty, ends));
            match said.last_mut() {
                Some(Said::Data { stream: of, bytes, flow: sum, is_empty, ends }) if *of == stream && !*ends => {
                    bytes.extend(new);
                    *sum += flow;
                    (*is_empty, *ends) = now;
                }
                _ => said.push(Said::Data { stream, bytes: new, flow, is_empty, ends }),
            }
        }
        event => said.push(Said::Event(event)),
    }
}

/// A request that is accepted is what another reader takes it for, on HTTP/1 and on HTTP/2.
fn request(block: &mut Block, ends: bool) {
    let mut head = RequestHead::default();
    if block.read_request(&LIMITS, &mut head).is_err() {
        return;
    }
    let view = HeadView::new(&block.arena);
    let (target, authority) = (head.path.of(view), head.authority.of(view));
    assert!(target.iter().all(|byte| byte.is_ascii_graphic()) && target.len() <= LIMITS.target_bytes as usize);
    assert_eq!(target.first() == Some(&b'/'), head.target_form == TargetForm::Origin);
    assert!(is_valid_authority(authority) && !authority.is_empty());
    assert!(head.fields.all(FieldId::Host).all(|host| host.value.of(view).eq_ignore_ascii_case(authority)));
    assert!(head.fields.all(FieldId::Cookie).count() <= 1);
    assert!(head.fields.iter().all(|field| !field.hop_by_hop || field.id == FieldId::Te));
    assert!(!ends || matches!(head.length, Length::None | Length::Known(0)));
    as_http1(&head, view);
    let mut written = Vec::new();
    write::request(&mut written, &head, view, authority, false);
    let mut again = Block::default();
    let limits = Limits { head_bytes: 1 << 20, fields: Limits::FIELDS_MAX, ..Limits::default() };
    assert_eq!(again.decode(&mut hpack::Decoder::new(0), &written, ends, &limits), Ok(()));
    let mut read = RequestHead::default();
    assert_eq!(again.read_request(&limits, &mut read), Ok(()));
    assert_eq!((read.method_bytes(&again.arena), read.path.of(&again.arena)), (head.method_bytes(view), target));
    assert_eq!((read.authority.of(&again.arena), read.length), (authority, head.length));
    assert_eq!(end_to_end(&read, HeadView::new(&again.arena)), end_to_end(&head, view));
}

/// Names and values that go on, without those of framing and of the host.
fn end_to_end(head: &RequestHead, view: HeadView<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let goes_on = |id| !matches!(id, FieldId::Host | FieldId::ContentLength | FieldId::Te);
    let fields = head.fields.iter().filter(|field| goes_on(field.id));
    fields.map(|field| (field.name.of(view).to_vec(), field.value.of(view).to_vec())).collect()
}

fn as_http1(head: &RequestHead, view: HeadView<'_>) {
    let mut text = [head.method_bytes(view), b" ", head.path.of(view), b" HTTP/1.1\r\nhost: "].concat();
    text.extend_from_slice(head.authority.of(view));
    text.extend_from_slice(b"\r\n");
    for (name, value) in end_to_end(head, view) {
        text.extend_from_slice(&[&name[..], b": ", &value, b"\r\n"].concat());
    }
    text.extend_from_slice(b"\r\n");
    let mut read = RequestHead::default();
    match parse_request(&text, &Limits::default(), &mut read) {
        Ok(Parse::Complete(framing)) => assert_eq!(framing.len as usize, text.len()),
        // What a client expects is refused there.
        Err(error) if error.status() == 417 => return,
        other => panic!("{other:?}: {:?}", String::from_utf8_lossy(&text)),
    }
    assert_eq!(end_to_end(&read, HeadView::new(&text)), end_to_end(head, view));
}

fn response(block: &mut Block, method: Method, ends: bool) {
    let is_interim = block.is_interim();
    let mut head = ResponseHead::default();
    if block.read_response(method, &mut head).is_err() {
        return;
    }
    assert!((100..1000).contains(&head.status) && head.status != 101);
    assert_eq!(is_interim, head.status < 200);
    assert!(!(is_interim && ends), "an interim response is not the last");
    let has_none = is_interim || method == Method::Head || matches!(head.status, 204 | 304);
    assert!(!has_none || head.length == Length::None);
    assert!(!ends || matches!(head.length, Length::None | Length::Known(0)));
    let view = HeadView::new(&block.arena);
    let mut written = Vec::new();
    write::response(&mut written, method, &head, view);
    let mut again = Block::default();
    let limits = Limits { head_bytes: 1 << 20, fields: Limits::FIELDS_MAX, ..Limits::default() };
    assert_eq!(again.decode(&mut hpack::Decoder::new(0), &written, ends, &limits), Ok(()));
    let mut read = ResponseHead::default();
    assert_eq!(again.read_response(method, &mut read), Ok(()));
    assert_eq!((read.status, read.length), (head.status, head.length));
}

fn trailers(bytes: &[u8]) {
    let (mut block, mut trailers) = (Block::default(), Trailers::default());
    if block.decode(&mut hpack::Decoder::new(4096), bytes, true, &LIMITS).is_err()
        || block.read_trailers(&LIMITS, true, &mut trailers).is_err()
    {
        return;
    }
    assert!(!block.has_pseudo());
    let mut written = Vec::new();
    write::trailers(&mut written, &trailers);
    let mut count = 0;
    let mut budget = hpack::Budget::new(u32::MAX, u16::MAX);
    let read = hpack::Decoder::new(0).decode(&written, &mut Vec::new(), &mut budget, |field, _| {
        assert!(field.is_valid && field.pseudo != Some(Pseudo::Unknown) && !field.id.is_hop_by_hop());
        count += 1;
    });
    assert_eq!((read, count), (Ok(()), trailers.iter().count()));
}
