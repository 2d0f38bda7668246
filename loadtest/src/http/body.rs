//! Message bodies: counted, chunked (RFC 9112 section 7.1) or until the connection closes.
use super::{Framing, Malformed};

/// Where a body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Length { left: u64 },
    Chunked(Chunk),
    UntilClose,
    Done,
}

/// Where a chunked body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// In the digits of a chunk size; `seen` counts them.
    Size {
        size: u64,
        seen: u8,
    },
    /// In a chunk extension, which is skipped.
    Extension {
        size: u64,
    },
    /// At the line feed that ends the size line.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a trailer field or of the final empty line.
    TrailerStart,
    TrailerField,
    TrailerFieldLf,
    FinalLf,
}

impl Body {
    pub fn new(framing: Framing) -> Body {
        match framing {
            Framing::Length(0) => Body::Done,
            Framing::Length(left) => Body::Length { left },
            Framing::Chunked => Body::Chunked(Chunk::Size { size: 0, seen: 0 }),
            Framing::UntilClose => Body::UntilClose,
        }
    }

    /// Takes the next run of content bytes off the front of `input`, framing removed. An empty result means that the
    /// input is used up or the body is [`Body::Done`].
    pub fn take<'i>(&mut self, input: &mut &'i [u8]) -> Result<&'i [u8], Malformed> {
        match self {
            Body::Done => Ok(&[]),
            Body::UntilClose => Ok(std::mem::take(input)),
            Body::Length { left } => {
                let data = split(input, *left);
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Body::Done;
                }
                Ok(data)
            }
            Body::Chunked(chunk) => {
                while !input.is_empty() {
                    if let Chunk::Data { left } = chunk {
                        let data = split(input, *left);
                        *left -= data.len() as u64;
                        if *left == 0 {
                            *chunk = Chunk::DataCr;
                        }
                        return Ok(data);
                    }
                    let byte = input[0];
                    *input = &input[1..];
                    match chunk.step(byte)? {
                        Some(next) => *chunk = next,
                        None => {
                            *self = Body::Done;
                            break;
                        }
                    }
                }
                Ok(&[])
            }
        }
    }
}

impl Chunk {
    /// One byte of framing; `None` ends the body.
    fn step(self, byte: u8) -> Result<Option<Chunk>, Malformed> {
        let next = match (self, byte) {
            (Chunk::Size { size, seen }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if seen == 15 {
                    return Err(Malformed("chunk size of more than 15 digits"));
                }
                let digit = u64::from((byte as char).to_digit(16).unwrap_or(0));
                Chunk::Size { size: size * 16 + digit, seen: seen + 1 }
            }
            (Chunk::Size { seen: 0, .. }, _) => return Err(Malformed("chunk without a size")),
            (Chunk::Size { size, .. } | Chunk::Extension { size }, b'\r') => Chunk::SizeEnd { size },
            (Chunk::Size { size, .. }, b';' | b' ' | b'\t') => Chunk::Extension { size },
            (Chunk::Extension { size }, b) if b != b'\n' => Chunk::Extension { size },
            (Chunk::SizeEnd { size: 0 }, b'\n') => Chunk::TrailerStart,
            (Chunk::SizeEnd { size }, b'\n') => Chunk::Data { left: size },
            (Chunk::DataCr, b'\r') => Chunk::DataLf,
            (Chunk::DataLf, b'\n') => Chunk::Size { size: 0, seen: 0 },
            (Chunk::TrailerStart, b'\r') => Chunk::FinalLf,
            (Chunk::TrailerStart | Chunk::TrailerField, b) if b != b'\r' && b != b'\n' => Chunk::TrailerField,
            (Chunk::TrailerField, b'\r') => Chunk::TrailerFieldLf,
            (Chunk::TrailerFieldLf, b'\n') => Chunk::TrailerStart,
            (Chunk::FinalLf, b'\n') => return Ok(None),
            _ => return Err(Malformed("broken chunk framing")),
        };
        Ok(Some(next))
    }
}

fn split<'i>(input: &mut &'i [u8], at_most: u64) -> &'i [u8] {
    let (data, rest) = input.split_at(at_most.min(input.len() as u64) as usize);
    *input = rest;
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in pieces of `step` bytes; gives the content and what is left after the body.
    fn decode(framing: Framing, text: &[u8], step: usize) -> Result<(Vec<u8>, Body, usize), Malformed> {
        let mut body = Body::new(framing);
        let (mut content, mut used) = (Vec::new(), 0);
        for piece in text.chunks(step) {
            let mut input = piece;
            while !input.is_empty() && body != Body::Done {
                content.extend_from_slice(body.take(&mut input)?);
            }
            used += piece.len() - input.len();
        }
        Ok((content, body, used))
    }

    #[test]
    fn chunks_decode_however_they_are_split() {
        let text = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: 1\r\nOther: 2\r\n\r\nnext";
        for step in 1..text.len() {
            let (content, body, used) = decode(Framing::Chunked, text, step).unwrap();
            assert_eq!(content, b"hello world", "{step}");
            assert_eq!((body, used), (Body::Done, text.len() - 4), "{step}");
        }
    }

    #[test]
    fn a_counted_body_leaves_what_follows() {
        let (content, body, used) = decode(Framing::Length(5), b"helloHTTP", 3).unwrap();
        assert_eq!((content.as_slice(), body, used), (&b"hello"[..], Body::Done, 5));
    }

    #[test]
    fn broken_chunks_are_refused() {
        for text in [&b"\r\n"[..], b"5\nhello", b"5\r\nhelloX", b"g\r\n", b"1000000000000000\r\n", b"0\r\n\n"] {
            assert!(decode(Framing::Chunked, text, 64).is_err(), "{text:?}");
        }
    }
}
