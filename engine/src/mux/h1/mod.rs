//! HTTP/1 as a wire: one exchange after the other on a connection, each with the connection to itself.

mod asked;
mod body_writer;
mod encode;
mod served;

pub use asked::Asked;
pub use encode::connection;
pub use served::{Disposition, Served};

use super::LONG_BODY;
use crate::codec::h1::BodyDecoder;
use crate::http::Trailers;

/// Whether a body of which `received` bytes came is long, as far as is known.
fn is_long(decoder: &BodyDecoder, received: u64) -> bool {
    received >= LONG_BODY || decoder.remaining().is_some_and(|left| left >= LONG_BODY)
}

/// Put the trailers that were kept, if any came, into the message.
fn take_trailers(decoder: &mut BodyDecoder, trailers: &mut Trailers) {
    let Some(lines) = decoder.take_trailers() else { return };
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            trailers.add(&line[..colon], line[colon + 1..].trim_ascii());
        }
    }
}
