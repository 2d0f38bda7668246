//! What a run sends and expects: targets, prepared requests, pace.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::pattern::{Pattern, SPAN};

/// One run of the generator.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Connection number i goes to target i modulo their number.
    pub targets: Vec<SocketAddr>,
    /// Each connection cycles through these, starting at its own number.
    pub requests: Vec<Prepared>,
    pub connections: usize,
    /// Requests in flight per connection; more than 1 is pipelining (RFC 9112 section 9.3.2).
    pub pipeline: usize,
    pub reuse: Reuse,
    pub pace: Pace,
    /// Load before counting starts.
    pub warmup: Duration,
    /// Length of the window in which is counted.
    pub duration: Duration,
    /// An exchange without its whole answer after this time has failed.
    pub timeout: Duration,
    pub threads: usize,
    /// Thread i is pinned to entry i modulo their number; empty leaves the threads unpinned.
    pub cpus: Vec<usize>,
    /// Width of one entry of the timeline.
    pub slice: Duration,
    /// Fixes the arrivals of an open loop.
    pub seed: u64,
}

/// Whether a connection carries more than one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    KeepAlive,
    /// A new connection for each request; its latency counts from the start of the connect.
    PerRequest,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Each connection sends its next request when the last is answered: as many as the proxy manages.
    Closed,
    /// Requests are due at fixed instants whatever the answers do, `rate` a second over all connections. Latency counts
    /// from the instant a request was due, so a stall is seen by every request it held up.
    Open { rate: f64, arrivals: Arrivals },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Arrivals {
    /// Evenly spaced.
    #[default]
    Constant,
    /// Independent of each other, as from many users.
    Poisson,
}

/// One request, ready to be sent, with the answer that is right.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Request line and fields, final empty line included.
    pub head: Vec<u8>,
    pub upload: Option<Content>,
    /// A HEAD request, whose answer has no content.
    pub to_head: bool,
    pub expect: Expect,
}

/// Bytes of known length, made on the fly or given.
#[derive(Clone, Debug)]
pub enum Content {
    Pattern { pattern: Pattern, len: u64 },
    Bytes(Arc<[u8]>),
}

/// The answer that is right.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    pub status: ExpectStatus,
    /// Content of the answer; `None` takes any.
    pub content: Option<(Pattern, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectStatus {
    Exactly(u16),
    /// Any 2xx or 3xx.
    Success,
}

impl ExpectStatus {
    pub fn allows(self, status: u16) -> bool {
        match self {
            ExpectStatus::Exactly(expected) => status == expected,
            ExpectStatus::Success => (200..400).contains(&status),
        }
    }
}

impl Content {
    pub fn len(&self) -> u64 {
        match self {
            Content::Pattern { len, .. } => *len,
            Content::Bytes(bytes) => bytes.len() as u64,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes from `position` on, as many as can be had at once.
    pub fn run(&self, position: u64) -> &[u8] {
        match self {
            Content::Pattern { pattern, len } => pattern.run(position, len - position),
            Content::Bytes(bytes) => {
                let rest = &bytes[position as usize..];
                &rest[..rest.len().min(SPAN)]
            }
        }
    }
}

/// The parts of a request from which [`Prepared`] is made.
#[derive(Clone, Debug)]
pub struct RequestText<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub host: &'a str,
    pub fields: &'a [(String, String)],
    pub upload: Option<Content>,
    pub reuse: Reuse,
    pub expect: Expect,
}

impl Prepared {
    /// Writes the head: request line, Host, the given fields, and what framing and reuse need.
    pub fn new(text: RequestText<'_>) -> Prepared {
        let mut head = format!("{} {} HTTP/1.1\r\n", text.method, text.target);
        if !text.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("Host: {}\r\n", text.host);
        }
        for (name, value) in text.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(upload) = &text.upload {
            head += &format!("Content-Length: {}\r\n", upload.len());
        }
        if text.reuse == Reuse::PerRequest {
            head += "Connection: close\r\n";
        }
        head += "\r\n";
        Prepared { head: head.into_bytes(), upload: text.upload, to_head: text.method == "HEAD", expect: text.expect }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_carries_what_framing_and_reuse_need() {
        let expect = Expect { status: ExpectStatus::Success, content: None };
        let text = RequestText {
            method: "POST",
            target: "/a",
            host: "h:1",
            fields: &[("X".into(), "y".into())],
            upload: Some(Content::Bytes(Arc::from(&b"abc"[..]))),
            reuse: Reuse::PerRequest,
            expect,
        };
        let head = String::from_utf8(Prepared::new(text).head).unwrap();
        assert_eq!(head, "POST /a HTTP/1.1\r\nHost: h:1\r\nX: y\r\nContent-Length: 3\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn only_the_expected_status_is_right() {
        assert!(ExpectStatus::Success.allows(204) && !ExpectStatus::Success.allows(502));
        assert!(ExpectStatus::Exactly(404).allows(404) && !ExpectStatus::Exactly(404).allows(200));
    }
}
