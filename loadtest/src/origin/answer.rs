//! What a URL asks of the origin.
use std::time::Duration;

use crate::pattern::Pattern;
use crate::units::{Size, Span};

/// The content length of an answer to a URL that names none; the size of a small API answer.
pub const DEFAULT_SIZE: u64 = 46;

/// The parameters of a query such as `?size=16KiB&seed=7&delay=10ms`; those not named keep their default.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// `size`: content bytes.
    pub size: u64,
    /// `seed`: which bytes (see [`crate::pattern`]); sent back as `X-Seed`.
    pub seed: u64,
    /// `status`: the status code.
    pub status: u16,
    /// `delay`: time between the whole request and the first byte of the answer.
    pub delay: Duration,
    /// `chunk`: chunked transfer coding with chunks of this size instead of Content-Length; 0 is without.
    pub chunk: u64,
    /// `error`: the share of requests, 0 to 1, that get a 503 without content instead.
    pub error: f64,
    /// `fields`: this many further response fields of 40 bytes each.
    pub fields: u32,
    /// `upload`: the seed by which the request's content is checked; a wrong byte gives a 400.
    pub upload: Option<u64>,
    /// `close`: how the connection ends with this answer.
    pub close: Close,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Close {
    /// It does not.
    #[default]
    Keep,
    /// `after`: `Connection: close`, and closed.
    After,
    /// `silent`: closed after the answer without having said so, as at the end of an idle time.
    Silent,
    /// `before`: closed instead of an answer.
    Before,
    /// `mid`: closed after half the content.
    Mid,
    /// `reset`: reset after half the content.
    Reset,
    /// `garbage`: bytes that are not HTTP, then closed.
    Garbage,
}

impl Default for Answer {
    fn default() -> Self {
        Answer {
            size: DEFAULT_SIZE,
            seed: 0,
            status: 200,
            delay: Duration::ZERO,
            chunk: 0,
            error: 0.0,
            fields: 0,
            upload: None,
            close: Close::Keep,
        }
    }
}

impl Answer {
    /// Reads a request target. Errors name the parameter that is not understood.
    pub fn from_target(target: &str) -> Result<Answer, String> {
        let mut answer = Answer::default();
        let Some((_, query)) = target.split_once('?') else { return Ok(answer) };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            answer.set(name, value).ok_or_else(|| format!("`{pair}` is not understood"))?;
        }
        Ok(answer)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "size" => self.size = value.parse::<Size>().ok()?.0,
            "seed" => self.seed = value.parse().ok()?,
            "status" => self.status = value.parse().ok().filter(|status| (200..600).contains(status))?,
            "delay" => self.delay = value.parse::<Span>().ok()?.0,
            "chunk" => self.chunk = value.parse::<Size>().ok()?.0,
            "error" => self.error = value.parse().ok().filter(|share| (0.0..=1.0).contains(share))?,
            "fields" => self.fields = value.parse().ok().filter(|&count| count <= 1_000)?,
            "upload" => self.upload = Some(value.parse().ok()?),
            "close" => {
                self.close = match value {
                    "after" => Close::After,
                    "silent" => Close::Silent,
                    "before" => Close::Before,
                    "mid" => Close::Mid,
                    "reset" => Close::Reset,
                    "garbage" => Close::Garbage,
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(())
    }

    pub fn pattern(&self) -> Pattern {
        Pattern::new(self.seed)
    }

    /// Whether an answer with this status has content (RFC 9110 section 6.4.1).
    pub fn has_content(&self) -> bool {
        self.status != 204 && self.status != 304
    }

    /// The response head, final empty line included.
    pub fn write_head(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        // Writing to a Vec cannot fail.
        let _ = write!(out, "HTTP/1.1 {} {}\r\nServer: origin\r\n", self.status, reason(self.status));
        let _ = write!(out, "Content-Type: text/plain\r\nX-Seed: {}\r\n", self.seed);
        for index in 0..self.fields {
            let _ = write!(out, "X-Origin-Field-{index:04}: value-of-origin-{index:04}\r\n");
        }
        if self.has_content() {
            if self.chunk > 0 {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            } else {
                let _ = write!(out, "Content-Length: {}\r\n", self.size);
            }
        }
        if self.close == Close::After {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        503 => "Service Unavailable",
        _ => "Answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_sets_what_it_names() {
        let answer = Answer::from_target("/x?size=16KiB&seed=7&delay=10ms&close=mid&upload=3&error=0.5").unwrap();
        assert_eq!((answer.size, answer.seed, answer.delay.as_millis()), (16_384, 7, 10));
        assert_eq!((answer.close, answer.upload, answer.error), (Close::Mid, Some(3), 0.5));
        assert_eq!(Answer::from_target("/x"), Ok(Answer::default()));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(Answer::from_target("/?sise=3").unwrap_err(), "`sise=3` is not understood");
        assert!(Answer::from_target("/?error=2").is_err());
        assert!(Answer::from_target("/?status=100").is_err());
    }

    #[test]
    fn heads_frame_the_content() {
        let head = |target: &str| {
            let mut out = Vec::new();
            Answer::from_target(target).unwrap().write_head(&mut out);
            crate::http::head::response_head(&out, false).unwrap()
        };
        assert_eq!(head("/?size=3&seed=9").framing, crate::http::Framing::Length(3));
        assert_eq!(head("/?size=3&seed=9").seed, Some(9));
        assert_eq!(head("/?chunk=3").framing, crate::http::Framing::Chunked);
        assert!(!head("/?close=after").keep_alive);
        assert_eq!(head("/?status=204&fields=3").framing, crate::http::Framing::Length(0));
    }
}
