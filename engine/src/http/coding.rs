//! Content codings as heads speak of them: what a client accepts, what a body has been through, and the fields that change
//! with it (RFC 9110 sections 8.4 and 12.5.3).

use super::edit::HeadEditor;
use super::field::Fields;
use super::field_id::FieldId;
use super::grammar::{list, trim_ows};
use super::span::HeadView;

/// The codings that the proxy can apply and undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

impl Coding {
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// As `content-encoding` names it.
    pub fn token(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// As Envoy names the library, in settings and statistics.
    pub fn envoy_name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "brotli",
            Self::Zstd => "zstd",
        }
    }

    /// By its name in any case; `x-gzip` is another name of gzip (RFC 9110 section 8.4.1.3).
    pub fn from_token(token: &[u8]) -> Option<Self> {
        if token.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| token.eq_ignore_ascii_case(coding.token().as_bytes()))
    }
}

/// In thousandths.
type Weight = u16;

/// What a client says in `accept-encoding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    has_header: bool,
    has_element: bool,
    /// By the place in `Coding::ALL`; `None`: not named.
    codings: [Option<Weight>; 3],
    identity: Option<Weight>,
    wildcard: Option<Weight>,
}

/// Which of some codings a response is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The client does not say what it accepts.
    NoHeader,
    /// It wants none, or likes none better than all that there are.
    Identity,
    /// It accepts none of them.
    NotValid,
    /// The one with this index. `by_wildcard`: the client did not name it.
    Coding { index: usize, by_wildcard: bool },
}

impl Accepted {
    /// From the values of all lines. What is malformed counts for nothing.
    pub fn new<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut accepted = Self::default();
        for value in values {
            accepted.has_header = true;
            for element in list(value).filter(|element| !element.is_empty()) {
                accepted.has_element = true;
                let (name, weight) = match element.iter().position(|byte| *byte == b';') {
                    None => (element, Some(1000)),
                    Some(at) => (trim_ows(&element[..at]), weight(&element[at + 1..])),
                };
                let Some(weight) = weight else { continue };
                if name == b"*" {
                    accepted.wildcard = Some(weight);
                } else if name.eq_ignore_ascii_case(b"identity") {
                    accepted.identity = Some(weight);
                } else if let Some(coding) = Coding::from_token(name) {
                    accepted.codings[coding as usize] = Some(weight);
                }
            }
        }
        accepted
    }

    /// What the request says. Where a filter has changed what the upstream is to get, the lines that do not go on are the
    /// client's.
    pub fn of_request(fields: &Fields, view: HeadView<'_>) -> Self {
        let all = || fields.all(FieldId::AcceptEncoding);
        let is_changed = all().any(|field| field.hop_by_hop);
        Self::new(all().filter(|field| !is_changed || field.hop_by_hop).map(|field| field.value.of(view)))
    }

    fn weight(&self, coding: Coding) -> Weight {
        self.codings[coding as usize].or(self.wildcard).unwrap_or(0)
    }

    /// Whether a body without a coding is not acceptable.
    pub fn refuses_identity(&self) -> bool {
        self.identity.or(self.wildcard) == Some(0)
    }

    /// The best of `offered`; among equals the first.
    pub fn choose(&self, offered: impl Iterator<Item = Coding>) -> Choice {
        if !self.has_header {
            return Choice::NoHeader;
        }
        let mut best: Option<(usize, Coding)> = None;
        for (index, coding) in offered.enumerate() {
            if self.weight(coding) > best.map_or(0, |(_, best)| self.weight(best)) {
                best = Some((index, coding));
            }
        }
        match best {
            Some((_, best)) if self.identity.is_some_and(|identity| identity > self.weight(best)) => Choice::Identity,
            Some((index, best)) => Choice::Coding { index, by_wildcard: self.codings[best as usize].is_none() },
            None if !self.has_element || self.identity.is_some_and(|weight| weight > 0) => Choice::Identity,
            None => Choice::NotValid,
        }
    }
}

/// `q=0.5` in thousandths: at most three digits behind the point, and nothing else (RFC 9110 section 12.4.2).
fn weight(parameter: &[u8]) -> Option<Weight> {
    let [b'q' | b'Q', b'=', number @ ..] = trim_ows(parameter) else { return None };
    let (whole, digits) = match number {
        [whole] => (*whole, &[][..]),
        [whole, b'.', digits @ ..] => (*whole, digits),
        _ => return None,
    };
    if digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let part = [100, 10, 1].iter().zip(digits).map(|(worth, digit)| worth * u16::from(digit - b'0')).sum();
    match whole {
        b'0' => Some(part),
        b'1' if part == 0 => Some(1000),
        _ => None,
    }
}

/// The lines of `accept-encoding` stay, and the upstream does not get them.
pub fn keep_from_upstream(fields: &mut Fields) {
    for field in fields.as_mut_slice().iter_mut().filter(|field| field.id == FieldId::AcceptEncoding) {
        field.hop_by_hop = true;
    }
}

/// The codings of a body, in the order in which they were applied, `identity` left out.
pub fn applied<'a>(fields: &'a Fields, view: HeadView<'a>) -> impl Iterator<Item = &'a [u8]> {
    let elements = fields.all(FieldId::ContentEncoding).flat_map(move |field| list(field.value.of(view)));
    elements.filter(|token| !token.is_empty() && !token.eq_ignore_ascii_case(b"identity"))
}

/// Whether `cache-control` forbids to transform the body (RFC 9111 section 5.2.2.6, and 5.2.1.6 for requests).
pub fn forbids_transform(fields: &Fields, view: HeadView<'_>) -> bool {
    let is_it = |value: &[u8]| {
        // A quoted string may hold commas.
        let (mut quoted, mut escaped) = (false, false);
        let mut elements = value.split(|byte| {
            let was_escaped = escaped;
            escaped = quoted && *byte == b'\\' && !was_escaped;
            quoted ^= *byte == b'"' && !was_escaped;
            *byte == b',' && !quoted
        });
        elements.any(|element| trim_ows(element).eq_ignore_ascii_case(b"no-transform"))
    };
    fields.all(FieldId::CacheControl).any(|field| is_it(field.value.of(view)))
}

/// Whether a media type is one of `types`, which are in lower case: `text/html`, `text/*`, `*/*`. Those that only a full
/// name stands for are streams of messages, each of which has to arrive on its own.
pub fn matches_type(value: &[u8], types: &[String]) -> bool {
    let essence = trim_ows(value.split(|byte| *byte == b';').next().unwrap_or_default());
    let is_stream = essence.eq_ignore_ascii_case(b"text/event-stream")
        || essence.len() >= 16 && essence[..16].eq_ignore_ascii_case(b"application/grpc");
    types.iter().any(|pattern| match pattern.strip_suffix('*') {
        None => essence.eq_ignore_ascii_case(pattern.as_bytes()),
        Some(_) if is_stream => false,
        Some("*/") => true,
        Some(start) => essence.len() >= start.len() && essence[..start.len()].eq_ignore_ascii_case(start.as_bytes()),
    })
}

/// `etag` no longer names the bytes, only what they stand for (RFC 9110 section 8.8.1).
pub fn weaken_etag(head: &mut HeadEditor<'_>) {
    let Some(strong) = head.fields.get(FieldId::Etag).map(|field| field.value) else { return };
    if !strong.of(head.view()).starts_with(b"\"") {
        return;
    }
    let start = head.edits.store(|out| out.extend_from_slice(b"W/"));
    let value = head.edits.extend_span(start, head.received, strong);
    head.fields.remove_id(FieldId::Etag);
    head.add_stored(b"etag", value);
}

/// Caches are told that the answer depends on what the client accepts (RFC 9110 section 12.5.5).
pub fn vary_by_encoding(head: &mut HeadEditor<'_>) {
    let view = head.view();
    let is_told = head.fields.all(FieldId::Vary).filter(|field| !field.hop_by_hop).any(|field| {
        list(field.value.of(view)).any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
    });
    if !is_told {
        head.append(b"vary", b"Accept-Encoding");
    }
}

/// The bytes of the body become other ones: what was said of them does not hold any more. Ranges of them cannot be asked
/// for, because the upstream knows other bytes by these numbers.
pub fn forget_bytes(head: &mut HeadEditor<'_>) {
    head.fields.remove_id(FieldId::ContentLength);
    for name in [&b"accept-ranges"[..], b"content-digest", b"repr-digest", b"digest", b"content-md5"] {
        head.remove(name);
    }
}

#[cfg(test)]
#[path = "coding_tests.rs"]
mod tests;
