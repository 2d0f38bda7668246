//! A finished span as it crosses from its shard to the thread that exports it: a record of bytes, written in one go, in which
//! the reader finds the parts again.
//!
//! Numbers are little-endian. Behind the fixed part come texts with their lengths, and then tags and events up to the end.

use crate::base::address;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The side that a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An exchange, as its client sees it.
    Server,
    /// One try of its request, towards an endpoint.
    Client,
}

/// What all spans have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanFacts {
    /// Index of the exporter among [`Tracers`](super::Tracers).
    pub tracer: u32,
    pub kind: Kind,
    /// The span has the id of its client's (Zipkin).
    pub shared: bool,
    /// The trace is one of debugging: nothing on the way may drop it (B3).
    pub debug: bool,
    /// The trace's id is known to be random (W3C, level 2).
    pub random: bool,
    pub error: bool,
    pub trace_id: u128,
    pub id: u64,
    /// 0: none.
    pub parent: u64,
    /// When it began, in microseconds since the epoch.
    pub start: u64,
    /// In microseconds.
    pub duration: u64,
    /// This side's and the other side's address.
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
}

/// The value of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Text(&'a [u8]),
    Int(i64),
    Address(SocketAddr),
}

impl Value<'_> {
    /// Whether it is made here, of digits and the like.
    #[inline]
    pub fn is_plain(&self) -> bool {
        !matches!(self, Self::Text(_))
    }

    /// Calls `take` with the value as text.
    #[inline]
    pub fn as_text<R>(&self, take: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Text(text) => take(text),
            Self::Int(number) => take(itoa::Buffer::new().format(*number).as_bytes()),
            Self::Address(address) => take(&address::socket(*address)),
        }
    }
}

/// The name of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    Known(Tag),
    /// From the configuration.
    Custom(&'a [u8]),
}

macro_rules! tags {
    ($($(#[$doc:meta])* $tag:ident = $envoy:literal, $semantic:expr;)*) => {
        /// The tags that are made here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Tag {
            $($(#[$doc])* $tag,)*
        }

        impl Tag {
            pub const ALL: &'static [Self] = &[$(Self::$tag),*];

            /// Its name with Envoy.
            pub const fn envoy_name(self) -> &'static str {
                match self {
                    $(Self::$tag => $envoy,)*
                }
            }

            /// The same as a key of JSON, behind another one.
            pub const fn json_key(self) -> &'static str {
                match self {
                    $(Self::$tag => concat!(",\"", $envoy, "\":"),)*
                }
            }

            /// Its stable name in OpenTelemetry's semantic conventions. `None`: there is none.
            pub const fn semantic_name(self) -> Option<&'static str> {
                match self {
                    $(Self::$tag => $semantic,)*
                }
            }
        }
    };
}

tags! {
    /// Always `proxy`.
    Component = "component", None;
    RequestId = "guid:x-request-id", None;
    ClientTraceId = "guid:x-client-trace-id", None;
    /// The whole URL.
    Url = "http.url", Some("url.full");
    Scheme = "url.scheme", Some("url.scheme");
    Path = "url.path", Some("url.path");
    Query = "url.query", Some("url.query");
    Method = "http.method", Some("http.request.method");
    /// `HTTP/1.1`; the conventions want `1.1`.
    Protocol = "http.protocol", Some("network.protocol.version");
    UserAgent = "user_agent", Some("user_agent.original");
    /// `x-envoy-downstream-service-cluster` of the request.
    DownstreamCluster = "downstream_cluster", None;
    RequestSize = "request_size", Some("http.request.body.size");
    ResponseSize = "response_size", Some("http.response.body.size");
    StatusCode = "http.status_code", Some("http.response.status_code");
    ResponseFlags = "response_flags", None;
    /// Why a span is one of an error.
    ErrorType = "error.reason", Some("error.type");
    PeerAddress = "peer.address", Some("network.peer.address");
    UpstreamCluster = "upstream_cluster", None;
    /// What statistics call it, which is the same.
    UpstreamClusterName = "upstream_cluster.name", None;
    UpstreamAddress = "upstream_address", None;
    /// The host that the request is for.
    ServerAddress = "server.address", Some("server.address");
    ServerPort = "server.port", Some("server.port");
    Route = "route_name", None;
    /// Which try it is: 1 for the first that is a retry.
    RetryCount = "retry.count", Some("http.request.resend_count");
    /// What the try before ended with, for which there is this one.
    RetryReason = "retry.reason", None;
    GrpcPath = "grpc.path", Some("rpc.method");
    GrpcAuthority = "grpc.authority", None;
    GrpcContentType = "grpc.content_type", None;
    GrpcTimeout = "grpc.timeout", None;
    GrpcStatus = "grpc.status_code", Some("rpc.grpc.status_code");
    GrpcMessage = "grpc.message", None;
}

macro_rules! events {
    ($($(#[$doc:meta])* $event:ident = $name:literal;)*) => {
        /// A moment within a span.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Event {
            $($(#[$doc])* $event,)*
        }

        impl Event {
            pub const ALL: &'static [Self] = &[$(Self::$event),*];

            /// Envoy's name, where it has the event.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$event => $name,)*
                }
            }
        }
    };
}

events! {
    /// The request's last byte came.
    RequestReceived = "last_downstream_rx_byte_received";
    /// The request's head was handed to the upstream's connection.
    RequestSending = "first_upstream_tx_byte_sent";
    /// The response came: its head, its last byte.
    ResponseReceiving = "first_upstream_rx_byte_received";
    ResponseReceived = "last_upstream_rx_byte_received";
    /// The response was handed to the client's connection: its head, its last byte.
    ResponseSending = "first_downstream_tx_byte_sent";
    ResponseSent = "last_downstream_tx_byte_sent";
    /// A connection was begun for this try, was there, and its TLS handshake was over.
    ConnectStart = "connect_start";
    Connected = "connected";
    Secured = "tls_handshake_done";
}

const SHARED: u8 = 1;
const DEBUG: u8 = 2;
const ERROR: u8 = 4;
const CLIENT: u8 = 8;
/// The record has tags that the configuration adds.
const OWN: u8 = 16;
const RANDOM: u8 = 32;
/// Where these are in a record.
const FLAGS_AT: usize = 4;

/// What a tag or an event begins with.
const CUSTOM: u8 = 0xff;
const EVENT: u8 = 0xfe;
/// On a tag's number: its value is a number, or an address.
const INT: u8 = 0x80;
const ADDRESS: u8 = 0x40;

/// Texts are cut at this many bytes.
const TEXT_MAX: usize = u16::MAX as usize;

/// Writes a record. Tags and events follow in any order.
pub struct RecordWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> RecordWriter<'a> {
    /// A record in `out`, in place of what is there. `tracestate` is that of W3C, as it came.
    pub fn new(out: &'a mut Vec<u8>, facts: &SpanFacts, name: &[u8], remote_service: &[u8], tracestate: &[u8]) -> Self {
        out.clear();
        out.extend_from_slice(&facts.tracer.to_le_bytes());
        let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        out.push(
            bit(facts.shared, SHARED)
                | bit(facts.debug, DEBUG)
                | bit(facts.random, RANDOM)
                | bit(facts.error, ERROR)
                | bit(facts.kind == Kind::Client, CLIENT),
        );
        out.extend_from_slice(&facts.trace_id.to_le_bytes());
        for number in [facts.id, facts.parent, facts.start, facts.duration] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let mut this = Self { out };
        this.end(facts.local);
        this.end(facts.remote);
        this.text(name);
        this.text(remote_service);
        this.text(tracestate);
        this
    }

    pub fn tag(&mut self, tag: Tag, value: &[u8]) {
        self.out.push(tag as u8);
        self.text(value);
    }

    /// The value is all of these.
    pub fn tag_of(&mut self, tag: Tag, parts: &[&[u8]]) {
        self.out.push(tag as u8);
        let at = self.out.len();
        self.text(b"");
        for part in parts {
            let room = TEXT_MAX - (self.out.len() - at - 2);
            self.out.extend_from_slice(&part[..part.len().min(room)]);
        }
        let length = (self.out.len() - at - 2) as u16;
        self.out[at..at + 2].copy_from_slice(&length.to_le_bytes());
    }

    /// The record so far.
    pub fn finish(self) -> &'a [u8] {
        self.out
    }

    pub fn address(&mut self, tag: Tag, address: SocketAddr) {
        self.out.push(tag as u8 | ADDRESS);
        self.end(Some(address));
    }

    pub fn number(&mut self, tag: Tag, value: i64) {
        self.out.push(tag as u8 | INT);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub fn custom(&mut self, name: &[u8], value: &[u8]) {
        self.out[FLAGS_AT] |= OWN;
        self.out.push(CUSTOM);
        self.text(name);
        self.text(value);
    }

    /// `after`: microseconds from the span's start.
    pub fn event(&mut self, event: Event, after: u64) {
        self.out.extend_from_slice(&[EVENT, event as u8]);
        self.out.extend_from_slice(&after.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        let text = &text[..text.len().min(TEXT_MAX)];
        self.out.extend_from_slice(&(text.len() as u16).to_le_bytes());
        self.out.extend_from_slice(text);
    }

    fn end(&mut self, address: Option<SocketAddr>) {
        let Some(address) = address else {
            self.out.push(0);
            return;
        };
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                self.out.push(4);
                self.out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.out.push(6);
                self.out.extend_from_slice(&ip.octets());
            }
        }
        self.out.extend_from_slice(&address.port().to_le_bytes());
    }
}

/// A record that was read.
#[derive(Clone, Copy, Debug)]
pub struct SpanRecord<'a> {
    pub facts: SpanFacts,
    pub name: &'a [u8],
    /// What the other side is called: the cluster, of a try. Empty: not known.
    pub remote_service: &'a [u8],
    pub tracestate: &'a [u8],
    has_own: bool,
    /// Tags and events.
    rest: &'a [u8],
}

/// One of what follows the fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Tag(Key<'a>, Value<'a>),
    /// Microseconds from the span's start.
    Event(Event, u64),
}

impl<'a> SpanRecord<'a> {
    /// `None`: these bytes are no record.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Bytes(bytes);
        let tracer = u32::from_le_bytes(reader.array()?);
        let [flags] = reader.array()?;
        let facts = SpanFacts {
            tracer,
            kind: if flags & CLIENT != 0 { Kind::Client } else { Kind::Server },
            shared: flags & SHARED != 0,
            debug: flags & DEBUG != 0,
            random: flags & RANDOM != 0,
            error: flags & ERROR != 0,
            trace_id: u128::from_le_bytes(reader.array()?),
            id: reader.number()?,
            parent: reader.number()?,
            start: reader.number()?,
            duration: reader.number()?,
            local: reader.address()?,
            remote: reader.address()?,
        };
        let (name, remote_service, tracestate) = (reader.text()?, reader.text()?, reader.text()?);
        Some(Self { facts, name, remote_service, tracestate, has_own: flags & OWN != 0, rest: reader.0 })
    }

    /// Tags and events, in the order in which they were written.
    pub fn items(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let mut reader = Bytes(self.rest);
        std::iter::from_fn(move || reader.item())
    }

    pub fn tags(&self) -> impl Iterator<Item = (Key<'a>, Value<'a>)> + use<'a> {
        self.items().filter_map(|item| match item {
            Item::Tag(key, value) => Some((key, value)),
            Item::Event(..) => None,
        })
    }

    /// Names of tags that the configuration adds. A tag that each span has anyway gives way to one with its name.
    pub fn own_names(&self) -> Vec<&'a [u8]> {
        if !self.has_own {
            return Vec::new();
        }
        let own = self.tags().filter_map(|(key, _)| match key {
            Key::Custom(name) => Some(name),
            Key::Known(_) => None,
        });
        own.collect()
    }

    pub fn events(&self) -> impl Iterator<Item = (Event, u64)> + use<'a> {
        self.items().filter_map(|item| match item {
            Item::Event(event, after) => Some((event, after)),
            Item::Tag(..) => None,
        })
    }
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_le_bytes(self.array()?);
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(text)
    }

    fn address(&mut self) -> Option<Option<SocketAddr>> {
        let ip = match self.array()? {
            [4] => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            [6] => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Some(None),
        };
        Some(Some(SocketAddr::new(ip, u16::from_le_bytes(self.array()?))))
    }

    fn item(&mut self) -> Option<Item<'a>> {
        match self.array()? {
            [CUSTOM] => Some(Item::Tag(Key::Custom(self.text()?), Value::Text(self.text()?))),
            [EVENT] => {
                let [event] = self.array()?;
                Some(Item::Event(*Event::ALL.get(usize::from(event))?, self.number()?))
            }
            [tag] => {
                let key = Key::Known(*Tag::ALL.get(usize::from(tag & !(INT | ADDRESS)))?);
                let value = match tag & (INT | ADDRESS) {
                    0 => Value::Text(self.text()?),
                    INT => Value::Int(self.number()? as i64),
                    _ => Value::Address(self.address()??),
                };
                Some(Item::Tag(key, value))
            }
        }
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
