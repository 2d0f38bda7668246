//! Heads in plain form are read in one pass, and all others by the tokeniser. A small change that says nothing sends a
//! plain head the other way, on which it must come to the same.

use crate::codec::h1::{Framing, HeadError, Limits, Parse, RequestError, parse_request, parse_response};
use crate::http::{FieldId, Fields, Method, RequestHead, ResponseHead};

/// Small enough that a fuzzer's inputs reach the limits.
const LIMITS: Limits = Limits {
    head_bytes: 1024,
    fields: 12,
    target_bytes: 100,
    field_bytes: 200,
    chunk_extension_bytes: 48,
    trailer_bytes: 96,
};

/// A request, and the same behind an empty line, which is to be ignored (RFC 9112 section 2.2).
pub fn request(data: &[u8]) {
    if matches!(data, [] | [b'\r' | b'\n', ..]) {
        return;
    }
    let (mut head, mut other) = (RequestHead::default(), RequestHead::default());
    let parsed = parse_request(data, &LIMITS, &mut head);
    let behind = [b"\r\n", data].concat();
    let limits = Limits { head_bytes: LIMITS.head_bytes + 2, ..LIMITS };
    let mut parsed_behind = parse_request(&behind, &limits, &mut other);
    if let Ok(Parse::Complete(framing)) = &mut parsed_behind {
        framing.len -= 2;
    }
    // What is over two limits may have the name of either, since one of the two is another here.
    let is_over = |parsed| {
        let names = [HeadError::HeadTooLarge, HeadError::TooManyFields].map(RequestError::from);
        matches!(parsed, Err(error) if names.contains(&error))
    };
    assert!(
        parsed == parsed_behind || is_over(parsed) && is_over(parsed_behind),
        "{parsed:?} became {parsed_behind:?}"
    );
    if let Ok(Parse::Complete(_)) = parsed {
        assert_eq!(texts(&head.fields, data), texts(&other.fields, &behind));
        assert_eq!(head.target(data), other.target(&behind[..]));
        assert_eq!(head.method_bytes(data), other.method_bytes(&behind[..]));
        assert_eq!(head.authority.of(data), other.authority.of(&behind[..]));
        assert_eq!((head.method, head.version, head.length), (other.method, other.version, other.length));
        assert_eq!((head.target_form, head.path_len), (other.target_form, other.path_len));
    }
}

/// A response, and the same with one space more before the first value. The first byte chooses the request's method.
pub fn response(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let method = if *choice == b'H' { Method::Head } else { Method::Get };
    let (mut head, mut other) = (ResponseHead::default(), ResponseHead::default());
    let Ok(Parse::Complete(framing)) = parse_response(data, &LIMITS, method, &mut head) else { return };
    let Some(first) = head.fields.iter().next() else { return };
    let (before, value) = data.split_at(first.name.end as usize + 1);
    let spaced = [before, b" ", value].concat();
    let limits = Limits { head_bytes: LIMITS.head_bytes + 1, field_bytes: LIMITS.field_bytes + 1, ..LIMITS };
    let parsed = parse_response(&spaced, &limits, method, &mut other);
    assert_eq!(parsed, Ok(Parse::Complete(Framing { len: framing.len + 1, ..framing })));
    assert_eq!(texts(&head.fields, data), texts(&other.fields, &spaced));
    assert_eq!((head.status, head.length, head.content_length), (other.status, other.length, other.content_length));
    assert_eq!((head.version, head.reason), (other.version, other.reason));
}

/// What an index of fields says, without the places.
fn texts<'a>(fields: &Fields, bytes: &'a [u8]) -> Vec<(&'a [u8], &'a [u8], FieldId, bool)> {
    fields.iter().map(|field| (field.name.of(bytes), field.value.of(bytes), field.id, field.hop_by_hop)).collect()
}
