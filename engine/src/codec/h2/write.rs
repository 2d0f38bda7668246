//! Heads and trailers as header blocks (RFC 9113 section 8): written from validated parts, with names in lower case and without
//! what concerns a connection.

use super::hpack::encode;
use crate::http::{Field, FieldId, Fields, HeadView, Length, Method, RequestHead, ResponseHead, Trailers};

/// Append the block of a request's head, whose bytes are in `view`, for `host`. `is_secure`: the connection that it goes out on
/// is TLS.
pub fn request(out: &mut Vec<u8>, head: &RequestHead, view: HeadView<'_>, host: &[u8], is_secure: bool) {
    encode::method(out, head.method_bytes(view));
    encode::scheme(out, is_secure);
    encode::path(out, head.target(view));
    encode::authority(out, host);
    let length = match head.length {
        Length::Known(length) => Some(length),
        Length::None | Length::Unknown => None,
    };
    fields(out, &head.fields, view, length);
    // It speaks of this hop, and servers of gRPC insist on it (RFC 9110 section 10.1.4).
    let is_grpc = |value: &[u8]| value.starts_with(b"application/grpc");
    if head.fields.contains(FieldId::Te) || head.fields.value(FieldId::ContentType, view).is_some_and(is_grpc) {
        encode::known(out, FieldId::Te, b"trailers", false);
    }
}

/// Append the block of a response's head, whose bytes are in `view`, to a request with `method`.
pub fn response(out: &mut Vec<u8>, method: Method, head: &ResponseHead, view: HeadView<'_>) {
    encode::status(out, head.status);
    let length = match head.length {
        // A response that only says that it is over, as those of gRPC do, stays one.
        Length::Known(length) if length > 0 || head.content_length.is_some() => Some(length),
        Length::Known(_) => None,
        // Answers to HEAD, and 304, tell the length that a GET would have (RFC 9110 section 8.6).
        Length::None if method == Method::Head || head.status == 304 => head.content_length,
        Length::None | Length::Unknown => None,
    };
    fields(out, &head.fields, view, length);
}

pub fn trailers(out: &mut Vec<u8>, trailers: &Trailers) {
    for (name, value, never_indexed) in trailers.marked() {
        encode::field(out, FieldId::lookup(name), name, value, never_indexed);
    }
}

fn fields(out: &mut Vec<u8>, fields: &Fields, view: HeadView<'_>, length: Option<u64>) {
    let goes = |field: &&Field| !(field.hop_by_hop || matches!(field.id, FieldId::Host | FieldId::ContentLength));
    for field in fields.iter().filter(goes) {
        let (value, never_indexed) = (field.value.of(view), field.never_indexed);
        match field.id {
            FieldId::Unknown => encode::unknown(out, field.name.of(view), value, never_indexed),
            id => encode::known(out, id, value, never_indexed),
        }
    }
    if let Some(length) = length {
        let mut digits = itoa::Buffer::new();
        encode::known(out, FieldId::ContentLength, digits.format(length).as_bytes(), false);
    }
}
