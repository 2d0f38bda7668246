//! Does a head have what a matcher asks for? Pure functions over one head, used by routes, retries, filters and the
//! access log alike.

use super::field::Fields;
use super::field_id::FieldId;
use super::head::{RequestHead, ResponseHead, Scheme};
use super::span::HeadView;
use ringway_config::model::{CookieMatch, Fraction, HeaderMatch, HeaderMatchKind, QueryParameterMatch};
use ringway_config::model::{StringMatch, StringMatchKind};
use smallvec::SmallVec;

/// A head as matchers see it: its fields, and the parts of its first line under names that begin with `:`.
#[derive(Clone, Copy)]
pub struct HeadRef<'a> {
    line: FirstLine<'a>,
    fields: &'a Fields,
    view: HeadView<'a>,
}

#[derive(Clone, Copy)]
enum FirstLine<'a> {
    Request(&'a RequestHead),
    Response(&'a ResponseHead),
}

/// Room for a value that does not stand anywhere in one piece.
pub type Joined = SmallVec<[u8; 128]>;

impl<'a> HeadRef<'a> {
    pub fn request(head: &'a RequestHead, view: HeadView<'a>) -> Self {
        Self { line: FirstLine::Request(head), fields: &head.fields, view }
    }

    pub fn response(head: &'a ResponseHead, view: HeadView<'a>) -> Self {
        Self { line: FirstLine::Response(head), fields: &head.fields, view }
    }

    /// The value under this name, in lower case. Several lines count as one value, joined by commas (RFC 9110 section
    /// 5.3); it is put together in `joined`.
    pub fn value<'j>(&self, name: &[u8], joined: &'j mut Joined) -> Option<&'j [u8]>
    where
        'a: 'j,
    {
        if name.first() == Some(&b':') {
            return self.pseudo(name, joined);
        }
        let id = FieldId::lookup(name);
        // The target's authority stands above the field (RFC 9112 section 3.2.2), and rewrites change it.
        if id == FieldId::Host && matches!(self.line, FirstLine::Request(_)) {
            return self.pseudo(b":authority", joined);
        }
        if !self.fields.contains(id) {
            return None;
        }
        let is_named = |field: &&super::Field| {
            field.id == id && (id != FieldId::Unknown || field.name.of(self.view).eq_ignore_ascii_case(name))
        };
        let mut lines = self.fields.iter().filter(is_named).map(|field| field.value.of(self.view));
        let first = lines.next()?;
        let Some(second) = lines.next() else { return Some(first) };
        joined.clear();
        joined.extend_from_slice(first);
        for line in std::iter::once(second).chain(lines) {
            joined.push(b',');
            joined.extend_from_slice(line);
        }
        Some(joined)
    }

    fn pseudo<'j>(&self, name: &[u8], joined: &'j mut Joined) -> Option<&'j [u8]>
    where
        'a: 'j,
    {
        match (self.line, name) {
            (FirstLine::Request(head), b":method") => Some(head.method_bytes(self.view)),
            (FirstLine::Request(head), b":path") => match head.match_target(self.view) {
                [b"", path] | [path, b""] => Some(path),
                pieces => {
                    joined.clear();
                    pieces.iter().for_each(|piece| joined.extend_from_slice(piece));
                    Some(joined)
                }
            },
            (FirstLine::Request(head), b":authority") => {
                Some(head.authority.of(self.view)).filter(|authority| !authority.is_empty())
            }
            (FirstLine::Request(head), b":scheme") => Some(scheme(head, self.view).as_bytes()),
            (FirstLine::Response(head), b":status") => {
                joined.clear();
                joined.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
                Some(joined)
            }
            _ => None,
        }
    }
}

/// The scheme that the client used: of the absolute-form, else what x-forwarded-proto says, else http.
pub fn scheme(head: &RequestHead, view: HeadView<'_>) -> &'static str {
    match head.scheme {
        Some(Scheme::Https) => "https",
        Some(Scheme::Http) => "http",
        None => match head.fields.value(FieldId::XForwardedProto, view) {
            Some(proto) if proto.eq_ignore_ascii_case(b"https") => "https",
            _ => "http",
        },
    }
}

/// Envoy: HeaderMatcher. `present` asks whether the field is there; every other kind fails where it is not, inverted or
/// not, unless a missing field counts as an empty one.
pub fn matches_header(matcher: &HeaderMatch, head: HeadRef<'_>) -> bool {
    let mut joined = Joined::new();
    let value = head.value(matcher.name.as_bytes(), &mut joined);
    let value = if matcher.missing_as_empty { Some(value.unwrap_or_default()) } else { value };
    let holds = match (&matcher.kind, value) {
        (HeaderMatchKind::Present, value) => value.is_some(),
        (_, None) => return false,
        (HeaderMatchKind::Value(text), Some(value)) => matches_string(text, value),
        (HeaderMatchKind::Range { start, end }, Some(value)) => {
            integer(value).is_some_and(|number| (*start..*end).contains(&number))
        }
    };
    holds != matcher.invert
}

fn integer(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.trim_ascii().parse().ok()
}

/// Envoy: StringMatcher.
pub fn matches_string(matcher: &StringMatch, value: &[u8]) -> bool {
    let same =
        |a: &[u8], b: &str| if matcher.ignore_case { a.eq_ignore_ascii_case(b.as_bytes()) } else { a == b.as_bytes() };
    match &matcher.kind {
        StringMatchKind::Exact(text) => same(value, text),
        StringMatchKind::Prefix(text) => value.get(..text.len()).is_some_and(|start| same(start, text)),
        StringMatchKind::Suffix(text) => {
            value.len().checked_sub(text.len()).is_some_and(|start| same(&value[start..], text))
        }
        StringMatchKind::Contains(text) if matcher.ignore_case && !text.is_empty() => {
            value.windows(text.len()).any(|part| same(part, text))
        }
        StringMatchKind::Contains(text) => memchr::memmem::find(value, text.as_bytes()).is_some(),
        StringMatchKind::Regex(regex) => regex.is_match(value),
    }
}

/// Envoy: QueryParameterMatcher, on the first parameter of the name.
pub fn matches_query_parameter(matcher: &QueryParameterMatch, query: Option<&[u8]>) -> bool {
    let Some(value) = query_parameter(query, matcher.name.as_bytes()) else { return false };
    matcher.value.as_ref().is_none_or(|text| matches_string(text, value))
}

/// The value of the first parameter of this name, as it stands in the query; empty where it has none.
pub fn query_parameter<'q>(query: Option<&'q [u8]>, name: &[u8]) -> Option<&'q [u8]> {
    query?.split(|&byte| byte == b'&').find_map(|parameter| match parameter.strip_prefix(name)? {
        [] => Some(&[][..]),
        [b'=', value @ ..] => Some(value),
        _ => None,
    })
}

/// Envoy: CookieMatcher. An absent cookie has no value that could match.
pub fn matches_cookie(matcher: &CookieMatch, fields: &Fields, view: HeadView<'_>) -> bool {
    let value = cookie(fields, view, matcher.name.as_bytes());
    value.is_some_and(|value| matches_string(&matcher.value, value)) != matcher.invert
}

/// The value of the first cookie of this name, without the quotes that may stand around it (RFC 6265 section 4.1.1).
pub fn cookie<'a>(fields: &Fields, view: HeadView<'a>, name: &[u8]) -> Option<&'a [u8]> {
    let pairs = fields.all(FieldId::Cookie).flat_map(|line| line.value.of(view).split(|&byte| byte == b';'));
    let value = pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))?;
    match value {
        [b'"', inner @ .., b'"'] => Some(inner),
        _ => Some(value),
    }
}

/// Whether the exchange with this random number belongs to the share. The same number always gives the same answer, and
/// a larger share holds every smaller one.
#[inline]
pub fn is_in_share(share: Fraction, random: u64) -> bool {
    random % 1_000_000 < u64::from(share.per_million)
}

#[cfg(test)]
mod tests;
