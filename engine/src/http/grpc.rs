//! gRPC as a proxy sees it: its media type, its statuses and what they mean in HTTP, and the values of its fields
//! (gRPC over HTTP2; Envoy: source/common/grpc).

use super::{FieldId, HeadView, Message, RequestHead, ResponseHead, Trailers, Version};
use std::ops::Range;
use std::time::Duration;

/// The status of a call (gRPC: status codes). Peers may use other numbers, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcStatus(pub u32);

impl GrpcStatus {
    pub const OK: Self = Self(0);
    pub const CANCELLED: Self = Self(1);
    pub const UNKNOWN: Self = Self(2);
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    pub const PERMISSION_DENIED: Self = Self(7);
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    pub const UNIMPLEMENTED: Self = Self(12);
    pub const INTERNAL: Self = Self(13);
    pub const UNAVAILABLE: Self = Self(14);
    pub const UNAUTHENTICATED: Self = Self(16);

    /// What a response that says no status of gRPC means (gRPC: http-grpc-status-mapping).
    pub fn of_http(status: u16) -> Self {
        match status {
            400 | 431 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502..=504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// What a stream that its peer resets with `code` before there is a status means (gRPC over HTTP2, Errors). A client that
    /// hears of it from a proxy may try again where Envoy's may: all codes without a meaning of their own are UNAVAILABLE.
    pub fn of_reset(code: u32) -> Self {
        match code {
            8 => Self::CANCELLED,
            11 => Self::RESOURCE_EXHAUSTED,
            12 => Self::PERMISSION_DENIED,
            _ => Self::UNAVAILABLE,
        }
    }

    /// The status of HTTP that tells as much (Envoy: grpcToHttpStatus).
    pub fn to_http(self) -> u16 {
        match self.0 {
            0 => 200,
            1 => 499,
            3 | 9 | 11 => 400,
            4 => 504,
            5 => 404,
            6 | 10 => 409,
            7 => 403,
            8 => 429,
            12 => 501,
            14 => 503,
            16 => 401,
            _ => 500,
        }
    }

    /// The value of `grpc-status`.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let is_number = !value.is_empty() && value.len() <= 9 && value.iter().all(u8::is_ascii_digit);
        is_number.then(|| Self(value.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))))
    }
}

/// Whether a `content-type` is gRPC's; `application/grpc-web` is another protocol.
pub fn is_grpc_type(content_type: &[u8]) -> bool {
    let rest = content_type.get(..16).filter(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    rest.is_some() && matches!(content_type.get(16), None | Some(b'+' | b';' | b' '))
}

/// A `content-type` of gRPC-Web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebType {
    /// The body is base64.
    pub is_text: bool,
    /// Where the format of messages is named, `+` included.
    pub suffix: Range<usize>,
}

pub fn web_type(content_type: &[u8]) -> Option<WebType> {
    const WEB: &[u8] = b"application/grpc-web";
    const TEXT: &[u8] = b"-text";
    let starts = |at: usize, with: &[u8]| {
        content_type.get(at..at + with.len()).is_some_and(|part| part.eq_ignore_ascii_case(with))
    };
    let is_text = starts(WEB.len(), TEXT);
    let end = WEB.len() + if is_text { TEXT.len() } else { 0 };
    if !starts(0, WEB) || !matches!(content_type.get(end), None | Some(b'+' | b';' | b' ')) {
        return None;
    }
    let suffix = content_type[end..].iter().position(|byte| matches!(byte, b';' | b' '));
    Some(WebType { is_text, suffix: end..suffix.map_or(content_type.len(), |at| end + at) })
}

/// Whether a request is a call of gRPC. That is HTTP/2, unless it was made of one of gRPC-Web.
pub fn is_call(head: &RequestHead, view: HeadView<'_>) -> bool {
    match head.version {
        Version::Http2 => head.fields.value(FieldId::ContentType, view).is_some_and(is_grpc_type),
        _ => head.fields.contains(FieldId::ContentType) && bridged(head, view).is_some(),
    }
}

/// The type of the call of gRPC-Web that this one of gRPC was made of: it is kept behind the new one.
#[cold]
pub fn bridged(head: &RequestHead, view: HeadView<'_>) -> Option<WebType> {
    let mut types = head.fields.all(FieldId::ContentType);
    let is_grpc = is_grpc_type(types.next()?.value.of(view));
    let kept = types.filter(|field| is_grpc && field.hop_by_hop);
    kept.filter_map(|field| web_type(field.value.of(view))).next()
}

/// The status in a head: there it is where the response is nothing but its trailers.
pub fn status_of(head: &ResponseHead, view: HeadView<'_>) -> Option<GrpcStatus> {
    head.fields.value(FieldId::GrpcStatus, view).and_then(GrpcStatus::parse)
}

impl Message<RequestHead> {
    pub fn is_grpc(&self) -> bool {
        is_call(&self.head, self.view())
    }

    /// How long the client gives the call: the value of `grpc-timeout`.
    pub fn grpc_timeout(&self) -> Option<Duration> {
        self.head.fields.value(FieldId::GrpcTimeout, self.view()).and_then(parse_timeout)
    }
}

impl Message<ResponseHead> {
    /// The status of the call, from the trailers or from the head.
    pub fn grpc_status(&self) -> Option<GrpcStatus> {
        self.trailers.grpc_status().or_else(|| status_of(&self.head, self.view()))
    }

    /// The status of HTTP that tells as much as that of the call. `None`: it goes on, and it is not known how it ends.
    pub fn status_of_call(&self) -> Option<u16> {
        match self.head.status {
            200 => self.grpc_status().map(GrpcStatus::to_http),
            status => Some(status),
        }
    }

    /// What the call's end says in words, from where its status is: percent-encoded, as it came.
    pub fn grpc_message(&self) -> Option<&[u8]> {
        match self.trailers.grpc_status() {
            Some(_) => self.trailers.value(b"grpc-message"),
            None => self.head.fields.value(FieldId::GrpcMessage, self.view()),
        }
    }
}

impl Trailers {
    pub fn grpc_status(&self) -> Option<GrpcStatus> {
        self.value(b"grpc-status").and_then(GrpcStatus::parse)
    }

    /// The first one of this name, which is in lower case.
    fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Say how the call ended.
    pub fn set_grpc_status(&mut self, status: GrpcStatus, message: &str) {
        self.clear();
        let mut number = itoa::Buffer::new();
        self.add(b"grpc-status", number.format(status.0).as_bytes());
        if !message.is_empty() {
            let mut encoded = Vec::new();
            encode_message(message.as_bytes(), &mut encoded);
            self.add(b"grpc-message", &encoded);
        }
    }
}

/// Append a value of `grpc-message`: what is not printable ASCII is percent-encoded, and so are `%` and a space at either end, which
/// no field of HTTP/2 may have there.
pub fn encode_message(message: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for (at, byte) in message.iter().enumerate() {
        let is_end = at == 0 || at + 1 == message.len();
        match byte {
            b'!'..=b'~' if *byte != b'%' => out.push(*byte),
            b' ' if !is_end => out.push(b' '),
            _ => out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

/// The value of `grpc-timeout`: at most 8 digits and a unit.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_of_grpc() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/GRPC+json", "application/grpc;charset=x"]
        {
            assert!(is_grpc_type(yes.as_bytes()), "{yes}");
        }
        for no in ["application/grpc-web", "application/grpc-web+proto", "application/grp", "application/json", ""] {
            assert!(!is_grpc_type(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn statuses_of_http_and_back() {
        let table = [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (431, 13), (502, 14), (503, 14), (504, 14)];
        for (http, grpc) in table {
            assert_eq!(GrpcStatus::of_http(http), GrpcStatus(grpc), "{http}");
        }
        assert_eq!([301, 408, 413, 418, 500, 505].map(|http| GrpcStatus::of_http(http).0), [2; 6]);
        let https = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401, 500];
        for (status, http) in https.into_iter().enumerate() {
            assert_eq!(GrpcStatus(status as u32).to_http(), http, "{status}");
        }
    }

    #[test]
    fn messages_are_where_the_status_is() {
        let mut response = Message::<ResponseHead>::default();
        assert_eq!(response.grpc_message(), None);
        response.edit().add(b"grpc-status", b"5");
        response.edit().add(b"grpc-message", b"no%20such");
        assert_eq!((response.grpc_status(), response.grpc_message()), (Some(GrpcStatus(5)), Some(&b"no%20such"[..])));
        response.trailers.set_grpc_status(GrpcStatus::OK, "");
        assert_eq!((response.grpc_status(), response.grpc_message()), (Some(GrpcStatus::OK), None));
        response.trailers.set_grpc_status(GrpcStatus::UNKNOWN, "why not");
        assert_eq!(response.grpc_message(), Some(&b"why not"[..]));
    }

    #[test]
    fn resets_have_meanings() {
        assert_eq!([8, 11, 12].map(|code| GrpcStatus::of_reset(code).0), [1, 8, 7]);
        assert_eq!([0, 1, 2, 7, 13, 99].map(|code| GrpcStatus::of_reset(code).0), [14; 6]);
    }

    #[test]
    fn values_of_grpc_status() {
        assert_eq!(GrpcStatus::parse(b"14"), Some(GrpcStatus::UNAVAILABLE));
        assert_eq!(GrpcStatus::parse(b"00"), Some(GrpcStatus::OK));
        for bad in ["", "-1", "1 ", "x", "9999999999"] {
            assert_eq!(GrpcStatus::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        let mut out = Vec::new();
        encode_message("a 100 % \n\u{e9}~\x7f".as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a 100 %25 %0A%C3%A9~%7F");
        for (message, expected) in [("", ""), (" ", "%20"), ("  a b ", "%20 a b%20")] {
            let mut out = Vec::new();
            encode_message(message.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn timeouts_have_units() {
        let cases =
            [("1H", 3_600_000_000), ("2M", 120_000_000), ("99999999S", 99_999_999_000_000), ("5m", 5000), ("7u", 7)];
        for (text, micros) in cases {
            assert_eq!(parse_timeout(text.as_bytes()), Some(Duration::from_micros(micros)), "{text}");
        }
        assert_eq!(parse_timeout(b"1n"), Some(Duration::from_nanos(1)));
        for bad in ["", "S", "1", "123456789S", "1s", "-1S", "1.5S", " 1S"] {
            assert_eq!(parse_timeout(bad.as_bytes()), None, "{bad}");
        }
    }
}
