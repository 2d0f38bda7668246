//! HTTP/1.0 and HTTP/1.1 (RFC 9112), strict: what is ambiguous is an error with a name, never repaired.
//!
//! [`parse_request`] and [`parse_response`] read a head in place; [`HeadScanner`] keeps slow senders from costing more
//! than linear time; [`BodyDecoder`] finds the body's bytes; [`encode`] writes heads and chunk framing.
//!
//! Tokenising is httparse's. It is lenient where old peers need it, and every leniency is closed here: any number of
//! empty lines before the start line, a bare LF as a line end anywhere, non-ASCII targets, and a status below 100.

mod body;
mod chunk;
mod diagnose;
pub mod encode;
mod error;
mod framing;
mod index;
mod limits;
mod minor;
mod plain;
mod request;
mod response;
mod scanner;
#[cfg(test)]
mod tests;
mod trailers;
mod words;

pub use body::{BodyDecoder, Decoded};
pub use error::{BodyError, HeadError, RequestError, ResponseError};
pub use framing::{BodyKind, Framing};
pub use limits::Limits;
pub use request::{parse_line, parse_request};
pub use response::parse_response;
pub use scanner::HeadScanner;

/// What a parse of a head came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// The head is whole.
    Complete(Framing),
    /// No error so far; more bytes are needed. The head's content is meaningless.
    Partial,
}

impl Parse {
    /// The framing, where the head is whole.
    pub fn complete(self) -> Option<Framing> {
        match self {
            Parse::Complete(framing) => Some(framing),
            Parse::Partial => None,
        }
    }
}
