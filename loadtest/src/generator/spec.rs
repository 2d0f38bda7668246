//! What a run sends and expects: targets, prepared requests, pace.
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::h2::hpack::Blocks;
use crate::measure::precedence::Precedence;
use crate::pattern::{Pattern, SPAN};
use crate::tls;

/// One run of the generator.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Connection number i goes to target i modulo their number.
    pub targets: Vec<SocketAddr>,
    /// Each connection cycles through these, starting at its own number.
    pub requests: Vec<Prepared>,
    pub connections: usize,
    pub wire: Wire,
    pub tls: Option<tls::Client>,
    /// Requests in flight per connection: over HTTP/1, more than 1 is pipelining (RFC 9112 section 9.3.2).
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
    pub precedence: Precedence,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    #[default]
    Http1,
    /// By ALPN over TLS, else with prior knowledge.
    Http2,
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
    Open { rate: f64, arrivals: Arrivals, tick: Option<Tick> },
}

/// Time between two instants at which clients send what is due and read what has come, all of them together. A generator
/// that sleeps and wakes less often for the same requests leaves more of its core to others, and each latency is up to two
/// ticks longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick(NonZeroU64);

impl Tick {
    /// `None` for nothing.
    pub fn new(time: Duration) -> Option<Tick> {
        NonZeroU64::new(time.as_nanos() as u64).map(Tick)
    }

    /// The time from `now` to the next one, both in nanoseconds.
    pub fn wait(self, now: u64) -> Duration {
        Duration::from_nanos(self.0.get() - now % self.0)
    }
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
    /// Request line and fields of HTTP/1, final empty line included.
    pub head: Vec<u8>,
    /// The same for HTTP/2.
    pub blocks: Blocks,
    pub upload: Option<Content>,
    /// A HEAD request, whose answer has no content.
    pub to_head: bool,
    /// Messages of a call of gRPC that lasts: each is sent and comes back on its own. 0: the call has one.
    pub messages: u64,
    /// The head is no request, but a client's first message of TLS: the server's first one is the answer.
    pub is_hello: bool,
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
    /// The answer is one message of gRPC that carries this content, and its trailers say that all is well.
    pub grpc: bool,
}

impl Expect {
    /// How many bytes stand before the content: see [`message_head`].
    pub fn head_len(&self) -> usize {
        if self.grpc { MESSAGE_HEAD } else { 0 }
    }
}

/// Bytes before a message of gRPC: whether it is compressed, and its length.
pub const MESSAGE_HEAD: usize = 5;

/// What stands before an uncompressed message of gRPC.
pub fn message_head(len: u64) -> [u8; MESSAGE_HEAD] {
    let [a, b, c, d] = (len as u32).to_be_bytes();
    [0, a, b, c, d]
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
    /// The scheme is https.
    pub secure: bool,
}

impl Prepared {
    /// Writes the heads: request line, Host, the given fields, and what framing and reuse need.
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
        let (head, blocks) = (head.into_bytes(), blocks(&text));
        let to_head = text.method == "HEAD";
        Prepared { head, blocks, upload: text.upload, to_head, messages: 0, is_hello: false, expect: text.expect }
    }

    /// A first message of TLS, to be sent over plain connections.
    pub fn hello(message: Vec<u8>) -> Prepared {
        let expect = Expect { status: ExpectStatus::Success, content: None, grpc: false };
        let (blocks, upload) = (Blocks::new(&[]), None);
        Prepared { head: message, blocks, upload, to_head: true, messages: 0, is_hello: true, expect }
    }
}

fn blocks(text: &RequestText<'_>) -> Blocks {
    let lower: Vec<(String, &str)> =
        text.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str())).collect();
    let host = lower.iter().find(|(name, _)| name == "host").map_or(text.host, |(_, value)| value);
    let length = text.upload.as_ref().map(|upload| upload.len().to_string());
    let scheme = if text.secure { "https" } else { "http" };
    let mut fields = vec![(":method", text.method), (":scheme", scheme), (":authority", host), (":path", text.target)];
    fields.extend(lower.iter().filter(|(name, _)| name != "host").map(|(name, value)| (name.as_str(), *value)));
    // Clients of gRPC send no length.
    fields.extend(length.as_deref().filter(|_| !text.expect.grpc).map(|length| ("content-length", length)));
    Blocks::new(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_carries_what_framing_and_reuse_need() {
        let expect = Expect { status: ExpectStatus::Success, content: None, grpc: false };
        let text = RequestText {
            method: "POST",
            target: "/a",
            host: "h:1",
            fields: &[("X".into(), "y".into())],
            upload: Some(Content::Bytes(Arc::from(&b"abc"[..]))),
            reuse: Reuse::PerRequest,
            expect,
            secure: true,
        };
        let prepared = Prepared::new(text);
        let head = String::from_utf8(prepared.head).unwrap();
        assert_eq!(head, "POST /a HTTP/1.1\r\nHost: h:1\r\nX: y\r\nContent-Length: 3\r\nConnection: close\r\n\r\n");
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut decoder = crate::h2::hpack::Decoder::default();
        decoder.decode(&prepared.blocks.first, |name, value| fields.push(text(name) + "=" + &text(value))).unwrap();
        let expected = [":method=POST", ":scheme=https", ":authority=h:1", ":path=/a", "x=y", "content-length=3"];
        assert_eq!(fields, expected);
    }

    #[test]
    fn only_the_expected_status_is_right() {
        assert!(ExpectStatus::Success.allows(204) && !ExpectStatus::Success.allows(502));
        assert!(ExpectStatus::Exactly(404).allows(404) && !ExpectStatus::Exactly(404).allows(200));
    }
}
