//! Header blocks as heads and trailers (RFC 9113 section 8): what has come is decoded at once, because of the table that all
//! blocks of a connection share. Requests are read at once, too; responses and trailers when their exchange looks at them.

use super::hpack::{self, Budget, Decoded, Pseudo};
use crate::codec::h1::Limits;
use crate::http::grammar::{self, is_token};
use crate::http::{
    Field, FieldId, Fields, Length, Method, RequestHead, ResponseHead, Span, TargetForm, Trailers, Version, Violation,
    is_valid_authority,
};

const fn violation(status: u16, details: &'static str) -> Violation {
    Violation { status, details }
}

const MALFORMED: Violation = violation(400, "http2.malformed_head");
const INVALID_FIELD: Violation = violation(400, "http2.invalid_field");
const CONNECTION_FIELD: Violation = violation(400, "http2.connection_field");
const PSEUDO_FIELDS: Violation = violation(400, "http2.pseudo_fields");
const INVALID_PATH: Violation = violation(400, "http2.invalid_path");
const INVALID_AUTHORITY: Violation = violation(400, "http2.invalid_authority");
const HOST_DIFFERS: Violation = violation(400, "http2.host_differs_from_authority");
const TOO_LARGE: Violation = violation(431, "http2.head_too_large");
const TRAILERS_TOO_LARGE: Violation = violation(431, "http2.trailers_too_large");
const TARGET_TOO_LONG: Violation = violation(414, "http2.target_too_long");
const CONNECT_NOT_SUPPORTED: Violation = violation(501, "http2.connect_not_supported");
const TRACE_NOT_ALLOWED: Violation = violation(405, "http2.trace_not_allowed");

/// A body is another than its head announced (RFC 9113 section 8.1.1).
pub const WRONG_LENGTH: Violation = violation(400, "http2.wrong_content_length");

/// A header block that was decoded. Its memory is used again from block to block.
#[derive(Debug, Default)]
pub struct Block {
    /// The bytes that all spans name.
    pub arena: Vec<u8>,
    pub fields: Fields,
    /// By [`Pseudo`].
    pseudo: [Option<Span>; 6],
    /// The first rule that it breaks, apart from those of requests or responses.
    fault: Option<Violation>,
    /// White space stood at the ends of values.
    was_trimmed: bool,
    crumbs: u16,
    /// Bytes on the wire, without those of frames.
    pub size: u32,
    /// The stream ends with it.
    pub ends: bool,
}

impl Block {
    /// Forget what is in it.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.fields.clear();
        (self.pseudo, self.fault, self.was_trimmed) = ([None; 6], None, false);
        (self.crumbs, self.size, self.ends) = (0, 0, false);
    }

    /// Decode a block, which is the last of its stream if it `ends` it.
    ///
    /// # Errors
    /// The connection's table is lost, and the connection with it (RFC 9113 section 4.3).
    pub fn decode(
        &mut self,
        decoder: &mut hpack::Decoder,
        block: &[u8],
        ends: bool,
        limits: &Limits,
    ) -> Result<(), hpack::Error> {
        self.clear();
        (self.size, self.ends) = (block.len() as u32, ends);
        let mut arena = std::mem::take(&mut self.arena);
        let mut budget = Budget::new(limits.head_bytes, limits.fields);
        let field_bytes = limits.field_bytes as usize;
        let decoded = decoder.decode(block, &mut arena, &mut budget, |decoded, arena| {
            self.take(decoded, arena, field_bytes);
        });
        self.arena = arena;
        if budget.is_exceeded {
            self.fault = Some(TOO_LARGE);
        } else if self.crumbs > 1 {
            self.join_cookies();
        }
        decoded
    }

    /// White space at the ends of values is an error (RFC 9113 section 8.2.1), as in all that a client sends. Servers of gRPC have
    /// it in messages, and a call would lose its status for it.
    pub fn refuse_white_space(&mut self) {
        if self.was_trimmed {
            self.fail(INVALID_FIELD);
        }
    }

    fn fail(&mut self, violation: Violation) {
        self.fault.get_or_insert(violation);
    }

    fn take(&mut self, decoded: &Decoded, arena: &[u8], field_bytes: usize) {
        let Decoded { name, mut value, id, pseudo, is_valid, never_indexed } = *decoded;
        if !is_valid {
            match decoded.trimmed(arena) {
                Some(trimmed) => (value, self.was_trimmed) = (trimmed, true),
                None => return self.fail(INVALID_FIELD),
            }
        }
        if let Some(pseudo) = pseudo {
            let place = self.pseudo.get_mut(pseudo as usize);
            // Before all other fields, each once (RFC 9113 section 8.3).
            return match place.filter(|place| place.is_none()) {
                Some(place) if self.fields.is_empty() => *place = Some(value),
                _ => self.fail(PSEUDO_FIELDS),
            };
        }
        if name.len() + value.len() + 2 > field_bytes {
            return self.fail(TOO_LARGE);
        }
        let hop_by_hop = id.is_hop_by_hop();
        if hop_by_hop && !(id == FieldId::Te && value.of(arena).eq_ignore_ascii_case(b"trailers")) {
            return self.fail(CONNECTION_FIELD);
        }
        self.crumbs += u16::from(id == FieldId::Cookie);
        self.fields.push(Field { name, value, id, hop_by_hop, never_indexed, is_canonical: false });
    }

    /// Crumbs of a cookie are one line (RFC 9113 section 8.2.3).
    fn join_cookies(&mut self) {
        let start = self.arena.len();
        self.arena.extend_from_slice(b"cookie: ");
        let mut never_indexed = false;
        for crumb in self.fields.all(FieldId::Cookie) {
            if self.arena.len() > start + 8 {
                self.arena.extend_from_slice(b"; ");
            }
            never_indexed |= crumb.never_indexed;
            self.arena.extend_from_within(crumb.value.start as usize..crumb.value.end as usize);
        }
        let value = Span::new(start + 8, self.arena.len());
        self.arena.extend_from_slice(b"\r\n");
        self.fields.remove_id(FieldId::Cookie);
        let name = Span::new(start, start + 6);
        let id = FieldId::Cookie;
        self.fields.push(Field { name, value, id, hop_by_hop: false, never_indexed, is_canonical: true });
    }

    #[inline]
    fn pseudo(&self, pseudo: Pseudo) -> Option<Span> {
        self.pseudo[pseudo as usize]
    }

    /// Read a request's head, whose spans then name bytes of the arena.
    ///
    /// # Errors
    /// It breaks a rule. What is known of it is in `head`.
    pub fn read_request(&mut self, limits: &Limits, head: &mut RequestHead) -> Result<(), Violation> {
        std::mem::swap(&mut self.fields, &mut head.fields);
        self.fields.clear();
        let fields = std::mem::take(&mut head.fields);
        let method_span = self.pseudo(Pseudo::Method).unwrap_or_default();
        let method = method_span.of(&self.arena);
        let path = self.pseudo(Pseudo::Path).unwrap_or_default();
        let target = path.of(&self.arena);
        let (path_len, is_visible) = look_at(target);
        *head = RequestHead {
            method: Method::from_bytes(method),
            method_span,
            version: Version::Http2,
            path,
            path_len: path_len as u32,
            authority: self.pseudo(Pseudo::Authority).unwrap_or_default(),
            fields,
            ..RequestHead::default()
        };
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.pseudo(Pseudo::Status).is_some() || head.method == Method::Other && !is_token(method) {
            return Err(PSEUDO_FIELDS);
        }
        if head.method == Method::Connect {
            return Err(self.of_connect());
        }
        let scheme = self.pseudo(Pseudo::Scheme).ok_or(PSEUDO_FIELDS)?.of(&self.arena);
        if !is_scheme(scheme) || self.pseudo(Pseudo::Path).is_none() || self.pseudo(Pseudo::Protocol).is_some() {
            return Err(PSEUDO_FIELDS);
        }
        if target.len() > limits.target_bytes as usize {
            return Err(TARGET_TOO_LONG);
        }
        let is_star = target == b"*" && head.method == Method::Options;
        if !(is_star || is_visible && target.first() == Some(&b'/')) {
            return Err(INVALID_PATH);
        }
        if is_star {
            head.target_form = TargetForm::Asterisk;
        }
        self.read_authority(head)?;
        head.length = length(self.ends, content_length(&head.fields, &self.arena)?)?;
        if head.method == Method::Trace { Err(TRACE_NOT_ALLOWED) } else { Ok(()) }
    }

    /// What is wrong with a CONNECT: it names a host and nothing else (RFC 9113 section 8.5), with `:protocol` all that other
    /// requests do (RFC 8441 section 4). One that is right is not served.
    fn of_connect(&self) -> Violation {
        let is_extended = self.pseudo(Pseudo::Protocol).is_some();
        let is_right = self.pseudo(Pseudo::Authority).is_some()
            && [Pseudo::Scheme, Pseudo::Path].iter().all(|pseudo| self.pseudo(*pseudo).is_some() == is_extended);
        if is_right { CONNECT_NOT_SUPPORTED } else { PSEUDO_FIELDS }
    }

    /// The authority, from `:authority` or else from Host; where both are there, they are the same (RFC 9113 section 8.3.1).
    fn read_authority(&self, head: &mut RequestHead) -> Result<(), Violation> {
        let mut authority = self.pseudo(Pseudo::Authority);
        for field in head.fields.all(FieldId::Host) {
            let first = *authority.get_or_insert(field.value);
            if !field.value.of(&self.arena).eq_ignore_ascii_case(first.of(&self.arena)) {
                return Err(HOST_DIFFERS);
            }
        }
        head.authority = authority.unwrap_or_default();
        match is_valid_authority(head.authority.of(&self.arena)) {
            true => Ok(()),
            false => Err(INVALID_AUTHORITY),
        }
    }

    /// Whether it is the head of a 1xx response.
    pub fn is_interim(&self) -> bool {
        self.pseudo(Pseudo::Status).is_some_and(|status| status.of(&self.arena).first() == Some(&b'1'))
    }

    /// Whether it has a field of the beginning of a message, as trailers must not.
    pub fn has_pseudo(&self) -> bool {
        self.pseudo.iter().any(Option::is_some)
    }

    /// Read a response's head, to a request with `method`.
    ///
    /// # Errors
    /// It breaks a rule.
    pub fn read_response(&mut self, method: Method, head: &mut ResponseHead) -> Result<(), Violation> {
        std::mem::swap(&mut self.fields, &mut head.fields);
        self.fields.clear();
        let fields = std::mem::take(&mut head.fields);
        *head = ResponseHead { version: Version::Http2, fields, ..ResponseHead::default() };
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let others = [Pseudo::Method, Pseudo::Scheme, Pseudo::Authority, Pseudo::Path, Pseudo::Protocol];
        let status = self.pseudo(Pseudo::Status).ok_or(PSEUDO_FIELDS)?.of(&self.arena);
        if others.iter().any(|other| self.pseudo(*other).is_some()) {
            return Err(PSEUDO_FIELDS);
        }
        let [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] = status else { return Err(MALFORMED) };
        head.status = status.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        head.content_length = content_length(&head.fields, &self.arena)?;
        // 101 has no meaning here (RFC 9113 section 8.6), and an interim head is not the last.
        if head.status == 101 || head.is_interim() && self.ends {
            return Err(MALFORMED);
        }
        let is_bodiless = head.is_interim() || method == Method::Head || matches!(head.status, 204 | 304);
        head.length = match is_bodiless {
            true => Length::None,
            // Nothing follows, and towards HTTP/1 that has to be said.
            false => match length(self.ends, head.content_length)? {
                Length::None => Length::Known(0),
                // Trailers may follow.
                Length::Known(0) if !self.ends => Length::Unknown,
                length => length,
            },
        };
        Ok(())
    }

    /// Read the trailers behind a body; where they are not wanted they are only checked.
    ///
    /// # Errors
    /// They break a rule.
    pub fn read_trailers(&self, limits: &Limits, keeps: bool, into: &mut Trailers) -> Result<(), Violation> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.has_pseudo() {
            return Err(PSEUDO_FIELDS);
        }
        let sizes = self.fields.iter().map(|field| field.name.len() + field.value.len() + 4);
        if sizes.sum::<usize>() > limits.trailer_bytes as usize {
            return Err(TRAILERS_TOO_LARGE);
        }
        if !keeps {
            return Ok(());
        }
        for field in self.fields.iter() {
            let (name, value) = (field.name.of(&self.arena), field.value.of(&self.arena));
            if !field.hop_by_hop && !field.id.is_forbidden_trailer(name) {
                into.add_as(name, value, field.never_indexed);
            }
        }
        Ok(())
    }
}

/// Where a target's query begins, if it has one, or its length; and whether all of it can be seen and none is a fragment.
#[inline]
fn look_at(target: &[u8]) -> (usize, bool) {
    let (mut path_len, mut is_visible) = (target.len(), true);
    for (at, byte) in target.iter().enumerate() {
        is_visible &= (0x21..0x7f).contains(byte) && *byte != b'#';
        if *byte == b'?' {
            path_len = path_len.min(at);
        }
    }
    (path_len, is_visible)
}

/// RFC 3986 section 3.1.
#[inline]
fn is_scheme(scheme: &[u8]) -> bool {
    match scheme {
        b"http" | b"https" => true,
        [first, rest @ ..] => {
            first.is_ascii_alphabetic()
                && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        }
        [] => false,
    }
}

fn content_length(fields: &Fields, arena: &[u8]) -> Result<Option<u64>, Violation> {
    let mut announced = None;
    for field in fields.all(FieldId::ContentLength) {
        let length = grammar::content_length(field.value.of(arena)).ok_or(MALFORMED)?;
        if announced.is_some_and(|other| other != length) {
            return Err(MALFORMED);
        }
        announced = Some(length);
    }
    Ok(announced)
}

/// What follows a head that announces this length and `ends` its stream or does not.
fn length(ends: bool, announced: Option<u64>) -> Result<Length, Violation> {
    match (ends, announced) {
        (false, Some(length)) => Ok(Length::Known(length)),
        (false, None) => Ok(Length::Unknown),
        (true, None) => Ok(Length::None),
        (true, Some(0)) => Ok(Length::Known(0)),
        (true, Some(_)) => Err(WRONG_LENGTH),
    }
}
