//! The heads of a request and of a response: reusable objects, filled by a codec.

use super::field::Fields;
use super::method::{Method, Version};
use super::pairs::Index;
use super::span::{Span, SpanBytes};
use super::work::Work;
use std::cell::OnceCell;

/// What a head says of the body behind it. How its end is marked on the wire is the wire's affair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    /// There is no body.
    #[default]
    None,
    /// Bytes.
    Known(u64),
    /// The body ends when the sender says so.
    Unknown,
}

impl Length {
    /// Whether no body byte will follow the head.
    #[inline]
    pub fn is_empty(self) -> bool {
        matches!(self, Length::None | Length::Known(0))
    }

    /// Whether the body is certain to be longer than `limit`.
    #[inline]
    pub fn exceeds(self, limit: Option<u64>) -> bool {
        matches!((self, limit), (Length::Known(length), Some(limit)) if length > limit)
    }
}

/// The four forms of a request target (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    #[default]
    Origin,
    Absolute,
    Authority,
    Asterisk,
}

/// The scheme of an absolute-form target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// What stands before `RequestHead::path` when it is sent in origin-form, because the absolute-form left it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImpliedPath {
    #[default]
    None,
    /// `http://host` and `http://host?query` mean the path `/` (RFC 9112 section 3.2.1).
    Slash,
    /// `OPTIONS http://host` means `*` (RFC 9112 section 3.2.4).
    Asterisk,
}

impl ImpliedPath {
    #[inline]
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            ImpliedPath::None => b"",
            ImpliedPath::Slash => b"/",
            ImpliedPath::Asterisk => b"*",
        }
    }
}

/// The head of a request. Every [`Span`] is an offset into the slice that the head was parsed from.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    pub method: Method,
    pub method_span: Span,
    pub version: Version,
    pub target_form: TargetForm,
    /// Path and query as they came. Empty where `implied_path` says it all; `*` in asterisk-form.
    pub path: Span,
    /// Bytes of `path` that are the path; the query, when there is one, begins after them with `?`.
    pub path_len: u32,
    pub implied_path: ImpliedPath,
    /// The path as conditions see it, where that is not the one that is sent on; else empty.
    pub matched_path: Span,
    /// From the target in absolute-form, else from Host. Empty only where an HTTP/1.0 request names none.
    pub authority: Span,
    /// Only in absolute-form.
    pub scheme: Option<Scheme>,
    pub fields: Fields,
    pub length: Length,
    /// What conditions on this head have cost so far.
    pub work: Work,
    /// Of cookies and parameters, where conditions look for many.
    pub(crate) index: OnceCell<Box<Index>>,
}

impl RequestHead {
    /// Makes it empty and keeps the capacity.
    #[inline]
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        let mut index = std::mem::take(&mut self.index);
        if let Some(index) = index.get_mut() {
            index.cookies.get_mut().clear();
            index.parameters.get_mut().clear();
        }
        *self = RequestHead { fields, index, ..RequestHead::default() };
    }

    /// The target in origin-form (or asterisk-form), as the pieces of a request line.
    #[inline]
    pub fn target<'a>(&self, bytes: impl SpanBytes<'a>) -> [&'a [u8]; 2] {
        [self.implied_path.as_bytes(), self.path.of(bytes)]
    }

    /// The path without the query; never empty.
    #[inline]
    pub fn path<'a>(&self, bytes: impl SpanBytes<'a>) -> &'a [u8] {
        match self.path_len {
            0 => self.implied_path.as_bytes(),
            len => &self.path.of(bytes)[..len as usize],
        }
    }

    /// The path that routes and conditions see: rows of slashes as one, unless they are told apart.
    #[inline]
    pub fn match_path<'a>(&self, bytes: impl SpanBytes<'a>) -> &'a [u8] {
        match self.matched_path.is_empty() {
            true => self.path(bytes),
            false => self.matched_path.of(bytes),
        }
    }

    /// The target with that path. `*` stays what it is.
    pub fn match_target<'a>(&self, bytes: impl SpanBytes<'a>) -> [&'a [u8]; 2] {
        if self.matched_path.is_empty() || self.is_asterisk() {
            return self.target(bytes);
        }
        [self.matched_path.of(bytes), &self.path.of(bytes)[self.path_len as usize..]]
    }

    /// The request is about the host and not about a path: `OPTIONS *` or `OPTIONS http://host` (RFC 9112 section 3.2.4).
    #[inline]
    pub fn is_asterisk(&self) -> bool {
        self.target_form == TargetForm::Asterisk || self.implied_path == ImpliedPath::Asterisk
    }

    /// What follows the first `?`.
    #[inline]
    pub fn query<'a>(&self, bytes: impl SpanBytes<'a>) -> Option<&'a [u8]> {
        self.path.of(bytes).get(self.path_len as usize + 1..)
    }

    /// The query with its `?`.
    pub(super) fn path_query(&self) -> Option<Span> {
        let start = self.path.start + self.path_len;
        (start < self.path.end).then_some(Span { start, end: self.path.end })
    }

    #[inline]
    pub fn method_bytes<'a>(&self, bytes: impl SpanBytes<'a>) -> &'a [u8] {
        self.method_span.of(bytes)
    }
}

/// The head of a response. Every [`Span`] is an offset into the slice that the head was parsed from.
#[derive(Debug, Default)]
pub struct ResponseHead {
    pub version: Version,
    /// 100 to 999 (RFC 9110 section 15).
    pub status: u16,
    /// May be empty and may hold obs-text.
    pub reason: Span,
    pub fields: Fields,
    pub length: Length,
    /// Content-Length as a number. It is not always the body's length: answers to HEAD and 304 carry the length that a
    /// GET would have had (RFC 9110 section 8.6).
    pub content_length: Option<u64>,
    /// What conditions on this head have cost so far.
    pub work: Work,
}

impl ResponseHead {
    /// Makes it empty and keeps the capacity.
    #[inline]
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead { fields, ..ResponseHead::default() };
    }

    /// A 1xx: the final response is still to come.
    #[inline]
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }
}
