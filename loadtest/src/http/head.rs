//! Message heads: status or request line and the few fields that decide framing and reuse.
use memchr::{memchr, memmem};

use super::Malformed;

/// How the body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// What the load test needs of a response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    pub status: u16,
    pub framing: Framing,
    /// Whether the connection may carry another exchange (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// The seed that the load test's origin says its body was made from (`x-seed`).
    pub seed: Option<u64>,
}

/// What the origin needs of a request head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    pub method: String,
    pub target: String,
    pub framing: Framing,
    pub keep_alive: bool,
    pub expect_continue: bool,
}

/// The longest head that is read; a longer one is malformed to this client.
pub const HEAD_MAX: usize = 128 * 1024;

/// Length of the head at the start of `buf`, final empty line included, if it is all there.
pub fn head_len(buf: &[u8]) -> Result<Option<usize>, Malformed> {
    match memmem::find(buf, b"\r\n\r\n") {
        Some(at) => Ok(Some(at + 4)),
        None if buf.len() > HEAD_MAX => Err(Malformed("head longer than 128 KiB")),
        None => Ok(None),
    }
}

/// Reads a response head. `buf` is exactly one head; `to_head` says that the request was a HEAD, whose answer has no
/// body whatever its fields say (RFC 9112 section 6.3, rule 1).
pub fn response_head(buf: &[u8], to_head: bool) -> Result<ResponseHead, Malformed> {
    let (line, fields) = split_line(buf)?;
    let minor = match line.get(..9) {
        Some(b"HTTP/1.1 ") => 1,
        Some(b"HTTP/1.0 ") => 0,
        _ => return Err(Malformed("status line does not start with HTTP/1.")),
    };
    let status = line[9..].get(..3).and_then(digits).ok_or(Malformed("status is not three digits"))? as u16;
    if status < 100 || line.get(12).is_some_and(|&byte| byte != b' ') {
        return Err(Malformed("status is not three digits"));
    }
    let fields = Fields::read(fields, minor)?;
    let framing = match (fields.chunked, fields.length) {
        _ if to_head || status < 200 || status == 204 || status == 304 => Framing::Length(0),
        (true, Some(_)) => return Err(Malformed("both Transfer-Encoding and Content-Length")),
        (true, None) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    };
    let keep_alive = fields.keep_alive && framing != Framing::UntilClose;
    Ok(ResponseHead { status, framing, keep_alive, seed: fields.seed })
}

/// Reads a request head; `buf` is exactly one head.
pub fn request_head(buf: &[u8]) -> Result<RequestHead, Malformed> {
    let (line, fields) = split_line(buf)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed("request line is not text"))?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed("request line is not three words"));
    };
    let minor = match version {
        "HTTP/1.1" => 1,
        "HTTP/1.0" => 0,
        _ => return Err(Malformed("version is not HTTP/1.")),
    };
    let fields = Fields::read(fields, minor)?;
    let framing = match (fields.chunked, fields.length) {
        (true, Some(_)) => return Err(Malformed("both Transfer-Encoding and Content-Length")),
        (true, None) => Framing::Chunked,
        (false, length) => Framing::Length(length.unwrap_or(0)),
    };
    Ok(RequestHead {
        method: method.to_owned(),
        target: target.to_owned(),
        framing,
        keep_alive: fields.keep_alive,
        expect_continue: fields.expect_continue,
    })
}

/// The fields that matter here; every other one is only checked for its form.
struct Fields {
    length: Option<u64>,
    chunked: bool,
    keep_alive: bool,
    expect_continue: bool,
    seed: Option<u64>,
}

impl Fields {
    fn read(mut rest: &[u8], minor: u8) -> Result<Fields, Malformed> {
        let mut fields =
            Fields { length: None, chunked: false, keep_alive: minor == 1, expect_continue: false, seed: None };
        while rest != b"\r\n" {
            let (line, next) = split_line(rest)?;
            rest = next;
            let colon = memchr(b':', line).ok_or(Malformed("field line without a colon"))?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.is_empty() || name.iter().any(|byte| byte.is_ascii_whitespace()) {
                return Err(Malformed("white space in a field name"));
            }
            fields.note(name, value)?;
        }
        Ok(fields)
    }

    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        // The length decides first: comparing five names for each of thirty fields would cost the generator more than
        // the rest of the head.
        match name.len() {
            6 if name.eq_ignore_ascii_case(b"x-seed") => self.seed = digits(value),
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expect_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        self.keep_alive = false;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        self.keep_alive = true;
                    }
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = digits(value).ok_or(Malformed("Content-Length is not a number"))?;
                if self.length.is_some_and(|before| before != length) {
                    return Err(Malformed("two different Content-Length fields"));
                }
                self.length = Some(length);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed("a transfer coding other than chunked"));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The first line without its end, and what follows it.
fn split_line(buf: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    match memchr(b'\n', buf) {
        Some(at) if at > 0 && buf[at - 1] == b'\r' => Ok((&buf[..at - 1], &buf[at + 1..])),
        Some(_) => Err(Malformed("line feed without carriage return")),
        None => Err(Malformed("line without an end")),
    }
}

/// A decimal number of at most 19 digits and nothing else.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> Result<ResponseHead, Malformed> {
        response_head(text.as_bytes(), false)
    }

    #[test]
    fn content_length_and_reuse_are_read() {
        let head = response("HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 46\r\nX-Seed: 9\r\n\r\n").unwrap();
        assert_eq!(head, ResponseHead { status: 200, framing: Framing::Length(46), keep_alive: true, seed: Some(9) });
        let head = response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n").unwrap();
        assert!(!head.keep_alive);
        assert!(!response("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap().keep_alive);
    }

    #[test]
    fn framing_follows_rfc_9112_section_6_3() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(response(chunked).unwrap().framing, Framing::Chunked);
        assert_eq!(response("HTTP/1.1 200 OK\r\n\r\n").unwrap().framing, Framing::UntilClose);
        assert_eq!(response("HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n").unwrap().framing, Framing::Length(0));
        let to_head = response_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true).unwrap();
        assert_eq!(to_head.framing, Framing::Length(0));
        assert!(response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n").is_err());
    }

    #[test]
    fn broken_heads_are_refused() {
        for text in [
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname value\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname : value\r\n\r\n",
            "HTTP/1.1 200 OK\nname: value\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        ] {
            assert!(response(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn requests_give_method_target_and_framing() {
        let head =
            request_head(b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
        let head = head.unwrap();
        assert_eq!((head.method.as_str(), head.target.as_str()), ("POST", "/a?b=c"));
        assert_eq!(head.framing, Framing::Length(3));
        assert!(head.expect_continue && head.keep_alive);
        assert!(request_head(b"GET  / HTTP/1.1\r\n\r\n").is_err());
    }

    #[test]
    fn a_head_is_found_only_when_whole() {
        assert_eq!(head_len(b"HTTP/1.1 200 OK\r\n\r"), Ok(None));
        assert_eq!(head_len(b"HTTP/1.1 200 OK\r\n\r\nbody"), Ok(Some(19)));
        assert!(head_len(&vec![b'a'; HEAD_MAX + 1]).is_err());
    }
}
