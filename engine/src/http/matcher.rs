//! Does a head have what a matcher asks for? Pure functions over one head, used by routes, retries, filters and the
//! access log alike.

use super::field::Fields;
use super::field_id::FieldId;
use super::head::{RequestHead, ResponseHead, Scheme};
use super::pairs::Pairs;
use super::span::{HeadView, Span};
use super::work::Work;
use ringway_config::model::{CookieMatch, Fraction, HeaderMatch, HeaderMatchKind, QueryParameterMatch};
use ringway_config::model::{MATCH_STEPS_MAX, Pattern, StringMatch, StringMatchKind, steps};
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
    fn work(&self) -> &'a Work {
        match self.line {
            FirstLine::Request(head) => &head.work,
            FirstLine::Response(head) => &head.work,
        }
    }

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
        let first = lines.next();
        // Each line is looked at.
        take(self.work(), self.fields.len() as u64);
        let first = first?;
        let Some(second) = lines.next() else { return Some(first) };
        joined.clear();
        joined.extend_from_slice(first);
        for line in std::iter::once(second).chain(lines) {
            joined.push(b',');
            joined.extend_from_slice(line);
        }
        take(self.work(), joined.len() as u64);
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

/// Whether the request may still cost these steps.
#[inline]
pub fn take(work: &Work, steps: u64) -> bool {
    work.take(steps, MATCH_STEPS_MAX)
}

/// Whether the comparisons of a request would have cost too much: what they found is then not to be relied upon.
#[inline]
pub fn is_exhausted(work: &Work) -> bool {
    work.taken() > MATCH_STEPS_MAX
}

/// Whether all of the text matches, as far as the request may cost that.
#[inline]
pub fn matches_pattern(pattern: &Pattern, text: &[u8], work: &Work) -> bool {
    take(work, steps(pattern.cost(), text.len())) && pattern.is_match(text)
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
        (HeaderMatchKind::Value(text), Some(value)) => matches_string(text, value, head.work()),
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
pub fn matches_string(matcher: &StringMatch, value: &[u8], work: &Work) -> bool {
    let same =
        |a: &[u8], b: &str| if matcher.ignore_case { a.eq_ignore_ascii_case(b.as_bytes()) } else { a == b.as_bytes() };
    match &matcher.kind {
        StringMatchKind::Exact(text) => same(value, text),
        StringMatchKind::Prefix(text) => value.get(..text.len()).is_some_and(|start| same(start, text)),
        StringMatchKind::Suffix(text) => {
            value.len().checked_sub(text.len()).is_some_and(|start| same(&value[start..], text))
        }
        StringMatchKind::Contains(text) if matcher.ignore_case => contains_folded(value, text.as_bytes(), work),
        StringMatchKind::Contains(text) => {
            take(work, value.len() as u64) && memchr::memmem::find(value, text.as_bytes()).is_some()
        }
        StringMatchKind::Regex(pattern) => matches_pattern(pattern, value, work),
    }
}

/// Whether `text` stands in `value` in any case. Each place where its first byte stands costs its length.
fn contains_folded(value: &[u8], text: &[u8], work: &Work) -> bool {
    let Some(first) = text.first() else { return true };
    let Some(last) = value.len().checked_sub(text.len()) else { return false };
    let mut begins = memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), &value[..=last]);
    take(work, value.len() as u64)
        && begins.any(|at| take(work, text.len() as u64) && value[at..at + text.len()].eq_ignore_ascii_case(text))
}

/// Envoy: QueryParameterMatcher, on the first parameter of the name.
pub fn matches_query_parameter(matcher: &QueryParameterMatch, head: &RequestHead, view: HeadView<'_>) -> bool {
    let Some(value) = query_parameter(head, view, matcher.name.as_bytes()) else { return false };
    matcher.value.as_ref().is_none_or(|text| matches_string(text, value, &head.work))
}

/// Steps after which looking for cookies or parameters takes an index.
const INDEX_FROM: u64 = 8 * 1024;

/// What a pair costs in an index.
const PAIR_STEPS: u64 = 32;

/// The value of the first pair of this name: along the text, or by its index, which is made when the request has cost more
/// than `INDEX_FROM` steps. `of`: a mark of the text; `len`: its bytes.
fn pair<'a, I: Iterator<Item = (Span, Span)>>(
    head: &RequestHead,
    view: HeadView<'a>,
    (of, len): (u64, u64),
    name: &[u8],
    index: impl Fn(&super::pairs::Index) -> &std::cell::RefCell<Pairs>,
    pairs: impl Fn() -> I,
) -> Option<&'a [u8]> {
    let text = |span: Span| span.of(view);
    if head.work.taken() > INDEX_FROM {
        let mut index = index(head.index.get_or_init(Box::default)).borrow_mut();
        if !index.is_of(of) {
            take(&head.work, PAIR_STEPS * (len / 2).min(4096) + len);
            index.fill(of, pairs(), text);
        }
        take(&head.work, PAIR_STEPS + name.len() as u64);
        if let Ok(found) = index.get(of, name, text) {
            return found;
        }
    }
    if !take(&head.work, len) {
        return None;
    }
    pairs().find(|(key, _)| text(*key) == name).map(|(_, value)| text(value))
}

/// The value of the first parameter of this name, as it stands in the query; empty where it has none.
pub fn query_parameter<'a>(head: &RequestHead, view: HeadView<'a>, name: &[u8]) -> Option<&'a [u8]> {
    let query = head.query(view)?;
    let start = head.path.end - query.len() as u32;
    let of = mark(0, Span { start, end: head.path.end });
    let pairs = || {
        let mut at = start;
        query.split(|&byte| byte == b'&').map(move |parameter| {
            let begin = at;
            at += parameter.len() as u32 + 1;
            let end = begin + parameter.len() as u32;
            let equals = memchr::memchr(b'=', parameter).map_or(end, |equals| begin + equals as u32);
            (Span { start: begin, end: equals }, Span { start: (equals + 1).min(end), end })
        })
    };
    pair(head, view, (of, query.len() as u64), name, |index| &index.parameters, pairs)
}

/// Envoy: CookieMatcher. An absent cookie has no value that could match.
pub fn matches_cookie(matcher: &CookieMatch, head: &RequestHead, view: HeadView<'_>) -> bool {
    let value = cookie(head, view, matcher.name.as_bytes());
    value.is_some_and(|value| matches_string(&matcher.value, value, &head.work)) != matcher.invert
}

/// The value of the first cookie of this name, without the quotes that may stand around it (RFC 6265 section 4.1.1).
pub fn cookie<'a>(head: &RequestHead, view: HeadView<'a>, name: &[u8]) -> Option<&'a [u8]> {
    let lines = || head.fields.all(FieldId::Cookie).map(|line| line.value);
    let (of, len) = lines().fold((1, 0), |(of, len), line| (mark(of, line), len + line.len() as u64));
    if len == 0 {
        return None;
    }
    let pairs = || {
        lines().flat_map(move |line| {
            let bytes = line.of(view);
            let part = move |part: &[u8]| {
                let within = Span::within(part, bytes);
                Span { start: line.start + within.start, end: line.start + within.end }
            };
            let pairs = bytes.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            pairs.filter_map(move |pair| {
                let (key, value) = pair.split_at(memchr::memchr(b'=', pair)?);
                Some((part(key), part(&value[1..])))
            })
        })
    };
    match pair(head, view, (of, len), name, |index| &index.cookies, pairs)? {
        [b'"', inner @ .., b'"'] => Some(inner),
        value => Some(value),
    }
}

/// A mark of texts by their places among the bytes of a head, which do not change while it lasts; never 0.
fn mark(before: u64, text: Span) -> u64 {
    let place = u64::from(text.start) << 32 | u64::from(text.end);
    (before.rotate_left(5) ^ place).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// Whether the exchange with this random number belongs to the share. The same number always gives the same answer, and
/// a larger share holds every smaller one.
#[inline]
pub fn is_in_share(share: Fraction, random: u64) -> bool {
    random % 1_000_000 < u64::from(share.per_million)
}

#[cfg(test)]
mod tests;
