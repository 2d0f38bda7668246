//! Ids of the field names that the proxy looks at, and the lookup from a name.
//!
//! The lookup runs once for every field of every message: a name is read as two words, with all letters folded at once,
//! and a hash of these has a place of its own for each name that is known.

/// Declares the enum with each member's canonical lower-case name.
macro_rules! field_ids {
    ($($(#[$doc:meta])* $id:ident = $name:literal,)*) => {
        /// A field name that the proxy knows, or [`FieldId::Unknown`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum FieldId {
            #[default]
            Unknown,
            $($(#[$doc])* $id,)*
        }

        impl FieldId {
            /// Every known name.
            pub const ALL: &'static [FieldId] = &[$(FieldId::$id),*];

            /// The name in lower case; empty for [`FieldId::Unknown`].
            #[inline]
            pub const fn name(self) -> &'static str {
                // A table: a match would become a jump to one of as many pieces of code.
                const NAMES: &[&str] = &["", $($name),*];
                NAMES[self as usize]
            }
        }
    };
}

field_ids! {
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    Age = "age",
    Allow = "allow",
    AltSvc = "alt-svc",
    Authorization = "authorization",
    B3 = "b3",
    CacheControl = "cache-control",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentRange = "content-range",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    Etag = "etag",
    Expect = "expect",
    Expires = "expires",
    Forwarded = "forwarded",
    GrpcMessage = "grpc-message",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    Host = "host",
    Http2Settings = "http2-settings",
    IfModifiedSince = "if-modified-since",
    IfNoneMatch = "if-none-match",
    KeepAlive = "keep-alive",
    LastModified = "last-modified",
    Location = "location",
    MaxForwards = "max-forwards",
    Origin = "origin",
    Pragma = "pragma",
    Proxy = "proxy",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    Range = "range",
    Referer = "referer",
    RetryAfter = "retry-after",
    Server = "server",
    SetCookie = "set-cookie",
    Te = "te",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Vary = "vary",
    Via = "via",
    WwwAuthenticate = "www-authenticate",
    XB3Flags = "x-b3-flags",
    XB3ParentSpanId = "x-b3-parentspanid",
    XB3Sampled = "x-b3-sampled",
    XB3SpanId = "x-b3-spanid",
    XB3TraceId = "x-b3-traceid",
    XClientTraceId = "x-client-trace-id",
    XForwardedClientCert = "x-forwarded-client-cert",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XForwardedProto = "x-forwarded-proto",
    XRequestId = "x-request-id",
    XEnvoyAttemptCount = "x-envoy-attempt-count",
    XEnvoyDecoratorOperation = "x-envoy-decorator-operation",
    XEnvoyDegraded = "x-envoy-degraded",
    XEnvoyDownstreamServiceCluster = "x-envoy-downstream-service-cluster",
    XEnvoyDownstreamServiceNode = "x-envoy-downstream-service-node",
    XEnvoyExpectedRqTimeoutMs = "x-envoy-expected-rq-timeout-ms",
    XEnvoyExternalAddress = "x-envoy-external-address",
    XEnvoyForceTrace = "x-envoy-force-trace",
    XEnvoyHedgeOnPerTryTimeout = "x-envoy-hedge-on-per-try-timeout",
    XEnvoyImmediateHealthCheckFail = "x-envoy-immediate-health-check-fail",
    XEnvoyInternal = "x-envoy-internal",
    XEnvoyIpTags = "x-envoy-ip-tags",
    XEnvoyIsTimeoutRetry = "x-envoy-is-timeout-retry",
    XEnvoyMaxRetries = "x-envoy-max-retries",
    XEnvoyOriginalHost = "x-envoy-original-host",
    XEnvoyOriginalPath = "x-envoy-original-path",
    XEnvoyOriginalUrl = "x-envoy-original-url",
    XEnvoyOverloaded = "x-envoy-overloaded",
    XEnvoyRatelimited = "x-envoy-ratelimited",
    XEnvoyRetriableHeaderNames = "x-envoy-retriable-header-names",
    XEnvoyRetriableStatusCodes = "x-envoy-retriable-status-codes",
    XEnvoyRetryGrpcOn = "x-envoy-retry-grpc-on",
    XEnvoyRetryOn = "x-envoy-retry-on",
    XEnvoyUpstreamAltStatName = "x-envoy-upstream-alt-stat-name",
    XEnvoyUpstreamCanary = "x-envoy-upstream-canary",
    XEnvoyUpstreamHealthcheckedCluster = "x-envoy-upstream-healthchecked-cluster",
    XEnvoyUpstreamRqPerTryTimeoutMs = "x-envoy-upstream-rq-per-try-timeout-ms",
    XEnvoyUpstreamRqTimeoutAltResponse = "x-envoy-upstream-rq-timeout-alt-response",
    XEnvoyUpstreamRqTimeoutMs = "x-envoy-upstream-rq-timeout-ms",
    XEnvoyUpstreamServiceTime = "x-envoy-upstream-service-time",
    XEnvoyUpstreamStreamDurationMs = "x-envoy-upstream-stream-duration-ms",
}

impl FieldId {
    /// The id of `name` in any case. `name` must be a token (RFC 9110 section 5.1): the comparison folds with `| 0x20`,
    /// which is exact for tokens only.
    #[inline]
    pub fn lookup(name: &[u8]) -> FieldId {
        let Some(key) = Key::of(name) else { return Self::lookup_long(name) };
        let id = TABLE.ids[key.slot(TABLE.multiplier)];
        match key == TABLE.keys[id as usize] {
            true => id,
            false => FieldId::Unknown,
        }
    }

    /// Names that are too long for a key, or too short.
    #[inline(never)]
    fn lookup_long(name: &[u8]) -> FieldId {
        let Some(first) = name.first() else { return FieldId::Unknown };
        use FieldId::*;
        match (name.len(), first | 0x20) {
            (2, b'b') => only(name, b"b3", B3),
            (2, b't') => only(name, b"te", Te),
            (3, b'a') => only(name, b"age", Age),
            (3, b'v') => only(name, b"via", Via),
            (17, b'i') => only(name, b"if-modified-since", IfModifiedSince),
            (17, b't') => only(name, b"transfer-encoding", TransferEncoding),
            (17, b'x') => one_of(name, X_OF_17),
            (18, b'p') => only(name, b"proxy-authenticate", ProxyAuthenticate),
            (19, b'p') => only(name, b"proxy-authorization", ProxyAuthorization),
            (29, b'x') => only(name, b"x-envoy-upstream-service-time", XEnvoyUpstreamServiceTime),
            (17.., b'x') => x_lookup(name),
            _ => Unknown,
        }
    }

    /// Fields that concern one connection only and are never forwarded (RFC 9110 section 7.6.1). HTTP2-Settings went
    /// with the h2c upgrade (RFC 9113 section 3.1) and is treated alike. Trailer is not among them: it describes the
    /// message.
    #[inline]
    pub fn is_hop_by_hop(self) -> bool {
        use FieldId::*;
        matches!(self, Connection | KeepAlive | ProxyConnection | Te | TransferEncoding | Upgrade | Http2Settings)
    }

    /// Fields that a Connection option cannot take out of a message: they decide routing or framing, or the proxy sets
    /// them itself. No sender may name a field that is meant for all recipients (RFC 9110 section 7.6.1), so nothing
    /// legitimate is lost.
    #[inline]
    pub fn survives_connection_option(self, name: &[u8]) -> bool {
        use FieldId::*;
        matches!(self, Host | ContentLength | TransferEncoding | XRequestId)
            || starts_with_folded(name, b"x-forwarded-")
            || starts_with_folded(name, b"x-envoy-")
    }

    /// Fields that this proxy sets, believes or acts on, whatever its configuration: another spelling of their names must
    /// not reach an upstream that cannot tell it from them.
    pub fn is_the_proxys(self, name: &[u8]) -> bool {
        use FieldId::*;
        matches!(self, Date | Expect | Forwarded | Proxy | Trailer | Via)
            || self.is_hop_by_hop()
            || self.survives_connection_option(name)
    }

    /// Fields that must not come as trailers, because they are needed before the body or change how the message is
    /// framed, routed, authenticated or handled (RFC 9110 section 6.5.1).
    pub fn is_forbidden_trailer(self, name: &[u8]) -> bool {
        use FieldId::*;
        // Behind a gateway to CGI or WSGI both spellings are one variable.
        if name.contains(&b'_') {
            let mut dashed = [0; DASHED_MAX];
            let dashed = dash(name, &mut dashed);
            return Self::lookup(dashed).is_forbidden_trailer(dashed);
        }
        let by_id = matches!(
            self,
            Age | Authorization
                | CacheControl
                | Cookie
                | Date
                | Expect
                | Expires
                | Forwarded
                | Host
                | Http2Settings
                | Location
                | MaxForwards
                | Pragma
                | Proxy
                | ProxyAuthenticate
                | ProxyAuthorization
                | Range
                | RetryAfter
                | SetCookie
                | Trailer
                | Vary
                | Via
                | WwwAuthenticate
                | XRequestId
        );
        let prefixes: [&[u8]; 4] = [b"content-", b"if-", b"x-forwarded-", b"x-envoy-"];
        let names: [&[u8]; 3] = [b"authentication-info", b"proxy-authentication-info", b"warning"];
        by_id
            || self.is_hop_by_hop()
            || prefixes.iter().any(|prefix| starts_with_folded(name, prefix))
            || names.iter().any(|other| name.eq_ignore_ascii_case(other))
    }
}

/// A name of 4 to 16 bytes, which two words hold: those at its beginning and at its end, in lower case.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    first: u64,
    last: u64,
    len: usize,
}

impl Key {
    /// Of no name.
    const NONE: Key = Key { first: 0, last: 0, len: 0 };

    #[inline]
    const fn of(name: &[u8]) -> Option<Key> {
        const SPACES: u64 = u64::from_le_bytes([0x20; 8]);
        let len = name.len();
        if len > 16 {
            return None;
        }
        let (first, last) = match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (name.first_chunk(), name.last_chunk()) {
                (Some(first), Some(last)) => (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64),
                _ => return None,
            },
        };
        Some(Key { first: first | SPACES, last: last | SPACES, len })
    }

    #[inline]
    const fn slot(self, multiplier: u64) -> usize {
        ((self.first ^ self.last.rotate_left(29)).wrapping_mul(multiplier) >> (64 - SLOT_BITS)) as usize
    }
}

const SLOT_BITS: u32 = 9;

/// The known names that have a key, by a hash of it that no two of them share.
struct Table {
    multiplier: u64,
    ids: [FieldId; 1 << SLOT_BITS],
    /// By id.
    keys: [Key; FieldId::ALL.len() + 1],
}

static TABLE: Table = Table::new();

impl Table {
    /// The first multiplier that will do, of a row of odd numbers.
    const fn new() -> Self {
        let mut multiplier = 0x9e37_79b9_7f4a_7c15u64;
        let mut tries = 0;
        while tries < 200 {
            if let Some(table) = Self::with(multiplier) {
                return table;
            }
            multiplier = multiplier.wrapping_mul(0xd134_2543_de82_ef95);
            tries += 1;
        }
        panic!("no multiplier gives each known name a place of its own: take more SLOT_BITS, or another hash");
    }

    const fn with(multiplier: u64) -> Option<Self> {
        let mut ids = [FieldId::Unknown; 1 << SLOT_BITS];
        let mut keys = [Key::NONE; FieldId::ALL.len() + 1];
        let mut at = 0;
        while at < FieldId::ALL.len() {
            let id = FieldId::ALL[at];
            at += 1;
            let Some(key) = Key::of(id.name().as_bytes()) else { continue };
            let slot = key.slot(multiplier);
            if ids[slot] as u8 != FieldId::Unknown as u8 {
                return None;
            }
            ids[slot] = id;
            keys[id as usize] = key;
        }
        Some(Self { multiplier, ids, keys })
    }
}

/// Names of 17 bytes that begin with `x-`.
const X_OF_17: [(&[u8; 17], FieldId); 3] = [
    (b"x-forwarded-proto", FieldId::XForwardedProto),
    (b"x-b3-parentspanid", FieldId::XB3ParentSpanId),
    (b"x-client-trace-id", FieldId::XClientTraceId),
];

/// Bytes of a name that are compared with `-` for `_`; no known name is longer.
pub const DASHED_MAX: usize = 64;

/// The name with `-` for each `_` and letters in lower case, as far as there is room.
pub fn dash<'o>(name: &[u8], out: &'o mut [u8; DASHED_MAX]) -> &'o [u8] {
    let len = name.len().min(DASHED_MAX);
    for (out, byte) in out.iter_mut().zip(name) {
        *out = if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    }
    &out[..len]
}

/// Whether the token `name` is `lower` (letters, digits and `-`) in any case. With the length a constant this becomes
/// a few wide loads.
#[inline]
fn is<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    let mut difference = 0;
    for at in 0..N {
        difference |= (name[at] | 0x20) ^ lower[at];
    }
    difference == 0
}

#[inline]
fn only<const N: usize>(name: &[u8], lower: &[u8; N], id: FieldId) -> FieldId {
    if is(name, lower) { id } else { FieldId::Unknown }
}

#[inline]
fn one_of<const N: usize, const K: usize>(name: &[u8], known: [(&[u8; N], FieldId); K]) -> FieldId {
    known.into_iter().find(|(lower, _)| is(name, lower)).map_or(FieldId::Unknown, |(_, id)| id)
}

/// The remaining names that begin with `x-`: Envoy's many, which come from other proxies and not from browsers.
fn x_lookup(name: &[u8]) -> FieldId {
    if !starts_with_folded(name, b"x-envoy-") && !starts_with_folded(name, b"x-forwarded-") {
        return FieldId::Unknown;
    }
    let found =
        FieldId::ALL.iter().find(|id| id.name().len() == name.len() && id.name().as_bytes().eq_ignore_ascii_case(name));
    found.copied().unwrap_or(FieldId::Unknown)
}

#[inline]
fn starts_with_folded(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::FieldId;

    /// "field names are case-insensitive" (RFC 9110 section 5.1).
    #[test]
    fn every_name_is_found_in_every_case() {
        for id in FieldId::ALL {
            let lower = id.name();
            assert_eq!(lower, lower.to_ascii_lowercase());
            assert_eq!(FieldId::lookup(lower.as_bytes()), *id, "{lower}");
            assert_eq!(FieldId::lookup(lower.to_ascii_uppercase().as_bytes()), *id, "{lower}");
        }
        assert!(FieldId::ALL.len() < 128, "Fields keeps one bit for each");
    }

    #[test]
    fn a_name_that_differs_in_one_byte_is_another() {
        for id in FieldId::ALL {
            let name = id.name().as_bytes();
            for at in 0..name.len() {
                let mut other = name.to_vec();
                other[at] = if other[at] == b'_' { b'~' } else { b'_' };
                assert_eq!(FieldId::lookup(&other), FieldId::Unknown, "{}", String::from_utf8_lossy(&other));
            }
            assert_ne!(FieldId::lookup(&name[..name.len() - 1]), *id);
        }
        assert_eq!(FieldId::lookup(b""), FieldId::Unknown);
    }

    #[test]
    fn the_proxys_own_fields_survive_a_connection_option() {
        for name in ["host", "Content-Length", "X-Forwarded-For", "x-forwarded-anything", "X-Envoy-New", "x-request-id"]
        {
            assert!(FieldId::lookup(name.as_bytes()).survives_connection_option(name.as_bytes()), "{name}");
        }
        for name in ["cookie", "x-forwarded", "x-env", "foo"] {
            assert!(!FieldId::lookup(name.as_bytes()).survives_connection_option(name.as_bytes()), "{name}");
        }
    }
}
