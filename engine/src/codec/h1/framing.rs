//! What an HTTP/1 head says about its own connection: where the message ends and whether another may follow. None of it
//! is part of the message, and none of it leaves `codec` and `mux`.

use crate::http::Length;

/// How the length of a message's body is known (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    #[default]
    None,
    /// Content-Length, in bytes.
    Length(u64),
    Chunked,
    /// The body ends with the connection: responses only.
    UntilClose,
}

impl BodyKind {
    /// Whether no body byte will follow the head.
    #[inline]
    pub fn is_empty(self) -> bool {
        matches!(self, BodyKind::None | BodyKind::Length(0))
    }

    /// The part of it that is the message's.
    #[inline]
    pub fn length(self) -> Length {
        match self {
            BodyKind::None => Length::None,
            BodyKind::Length(length) => Length::Known(length),
            BodyKind::Chunked | BodyKind::UntilClose => Length::Unknown,
        }
    }
}

/// The framing of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// Bytes of the head in the buffer, a tolerated leading CRLF and the final empty line included.
    pub len: u32,
    /// Never [`BodyKind::UntilClose`] for a request: without a length it has no body (RFC 9112 section 6.3).
    pub body: BodyKind,
    /// Whether the sender allows another message on this connection once the body is read (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// An HTTP/1.1 client waits for `100 Continue` before it sends the body (RFC 9110 section 10.1.1).
    pub expect_continue: bool,
    /// Upgrade is there and Connection names it (RFC 9110 section 7.8).
    pub upgrade: bool,
    /// A 1xx or 204 carried Content-Length, which it must not (RFC 9110 section 8.6): the field is marked hop-by-hop,
    /// so that it is not forwarded, and the head's `content_length` is `None`.
    pub content_length_dropped: bool,
}
