//! HTTP filters: their settings in the chain and where a route overrides them.
//!
//! A new filter is a struct here (or in a separate file), a line in `http_filters!`, and the tables of `document`.

use super::{Fraction, HeaderMatch, Place};
use std::ops::Deref;
use std::time::Duration;

/// The one list of filters: name, variant, settings.
#[macro_export]
macro_rules! http_filters {
    ($then:ident) => {
        $then! {
            local_ratelimit LocalRateLimit;
            fault Fault;
            buffer Buffer;
            compressor Compressor;
            decompressor Decompressor;
            grpc_stats GrpcStats;
            grpc_web GrpcWeb;
        }
    };
}

macro_rules! declare {
    ($($name:ident $filter:ident;)*) => {
        /// A filter in a chain.
        #[derive(Clone, Debug)]
        pub enum HttpFilter {
            $($filter(Written<$filter>),)*
        }

        /// Settings of a virtual host, route or weighted cluster for the filters of the chain (Envoy:
        /// typed_per_filter_config).
        #[derive(Clone, Debug, Default)]
        pub struct FilterOverrides {
            /// Different for each that is not empty; numbered when the filters are made. 0: not numbered yet.
            pub id: u32,
            $(pub $name: FilterOverride<$filter>,)*
        }

        impl FilterOverrides {
            pub fn is_empty(&self) -> bool {
                true $(&& matches!(self.$name, FilterOverride::None))*
            }
        }

        impl HttpFilter {
            /// As written in the file.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$filter(_) => stringify!($name),)*
                }
            }
        }
    };
}

http_filters!(declare);

#[derive(Clone, Debug, Default)]
pub enum FilterOverride<T> {
    /// The chain's settings hold.
    #[default]
    None,
    /// The filter is skipped.
    Disabled,
    /// These settings replace the chain's.
    Settings(Written<T>),
}

/// Settings, and how the file writes them.
#[derive(Clone, Debug)]
pub struct Written<T> {
    pub settings: T,
    /// One line of TOML with the keys that are in the file, for people.
    pub text: String,
    pub place: Place,
}

impl<T> Deref for Written<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.settings
    }
}

/// Envoy: extensions.filters.http.local_ratelimit.v3.LocalRateLimit.
#[derive(Clone, Debug)]
pub struct LocalRateLimit {
    /// Statistics: `<stat_prefix>.http_local_rate_limit.*`.
    pub stat_prefix: String,
    /// For every request, after the buckets of its descriptors; `None`: only descriptors have limits.
    pub token_bucket: Option<TokenBucket>,
    /// How requests get their descriptors (Envoy: rate_limits).
    pub rate_limits: Vec<RateLimitRule>,
    /// The buckets of some descriptors.
    pub descriptors: Vec<RateLimitDescriptor>,
    /// Buckets kept at once for descriptors without a value, such as one for each client address (default 10_000); the
    /// least recently used one is dropped.
    pub max_dynamic_descriptors: u32,
    /// Fraction of the requests that the filter looks at (default all).
    pub enabled: Fraction,
    /// Fraction of the requests above the limit that are refused; the others are only counted (default all).
    pub enforced: Fraction,
    /// Default 429.
    pub status: u16,
    /// Calls of gRPC that are refused get RESOURCE_EXHAUSTED and not UNAVAILABLE (default false).
    pub as_resource_exhausted: bool,
    /// Add x-ratelimit-limit, -remaining and -reset (default false).
    pub x_ratelimit_headers: bool,
}

/// Envoy: type.v3.TokenBucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    pub max_tokens: u32,
    /// Default 1.
    pub tokens_per_fill: u32,
    pub fill_interval: Duration,
}

/// One descriptor: entries in order. A request that lacks one of the parts gives no descriptor.
#[derive(Clone, Debug)]
pub struct RateLimitRule {
    pub actions: Vec<RateLimitAction>,
}

/// Envoy: RateLimit.Action.
#[derive(Clone, Debug)]
pub enum RateLimitAction {
    /// `("remote_address", the client's address)`
    RemoteAddress,
    /// `(key, value of the header)`; the name in lower case, or `:method`, `:path`, `:authority`, `:scheme`.
    RequestHeader { name: String, key: String },
    /// `(key, value)`
    GenericKey { key: String, value: String },
    /// `(key, value)` if all conditions hold.
    HeaderValueMatch { key: String, value: String, headers: Vec<HeaderMatch> },
}

#[derive(Clone, Debug)]
pub struct RateLimitDescriptor {
    /// Key and value; without a value, every value has its own bucket.
    pub entries: Vec<(String, Option<String>)>,
    pub token_bucket: TokenBucket,
}

/// Envoy: extensions.filters.http.fault.v3.HTTPFault.
#[derive(Clone, Debug)]
pub struct Fault {
    pub delay: Option<FaultDelay>,
    pub abort: Option<FaultAbort>,
    pub response_rate_limit: Option<FaultRateLimit>,
    /// Only requests that meet all conditions.
    pub headers: Vec<HeaderMatch>,
    /// Only requests for this cluster (Envoy: upstream_cluster), by its name.
    pub upstream_cluster: Option<String>,
    /// Faults at the same time in this process; further requests pass (default no limit).
    pub max_active_faults: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct FaultDelay {
    pub kind: FaultDelayKind,
    pub percentage: Fraction,
}

#[derive(Clone, Debug)]
pub enum FaultDelayKind {
    Fixed(Duration),
    /// x-envoy-fault-delay-request in milliseconds, and x-envoy-fault-delay-request-percentage.
    Header,
}

#[derive(Clone, Debug)]
pub struct FaultAbort {
    pub kind: FaultAbortKind,
    pub percentage: Fraction,
}

#[derive(Clone, Debug)]
pub enum FaultAbortKind {
    Status(u16),
    /// Of gRPC.
    GrpcStatus(u32),
    /// x-envoy-fault-abort-request, and x-envoy-fault-abort-request-percentage.
    Header,
}

#[derive(Clone, Debug)]
pub struct FaultRateLimit {
    pub kind: FaultRateLimitKind,
    pub percentage: Fraction,
}

#[derive(Clone, Debug)]
pub enum FaultRateLimitKind {
    /// Bytes of the body in a second.
    Fixed(u64),
    /// x-envoy-fault-throughput-response in KiB/s, and x-envoy-fault-throughput-response-percentage.
    Header,
}

/// Envoy: extensions.filters.http.buffer.v3.Buffer.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// Bytes of a request's body; more get status 413.
    pub max_request_bytes: u64,
}

/// Envoy: extensions.filters.http.compressor.v3.Compressor.
#[derive(Clone, Debug)]
pub struct Compressor {
    /// In order of preference; never empty (default gzip).
    pub libraries: Vec<CompressorSettings>,
    /// `None`: responses are left alone.
    pub response: Option<CompressorResponse>,
    /// `None`: requests are left alone (default).
    pub request: Option<CompressorRequest>,
}

/// A library of Envoy's with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressorSettings {
    /// `level` 1 to 9 (default 4), `window_bits` 9 to 14 (default 14).
    Gzip { level: u8, window_bits: u8 },
    /// `quality` 0 or 1 (default 1).
    Brotli { quality: u8 },
    /// `level` 1 to 9 (default 3).
    Zstd { level: u8 },
}

#[derive(Clone, Debug)]
pub struct CompressorResponse {
    /// Bytes; shorter bodies are left alone (default 30).
    pub min_content_length: u32,
    /// In lower case: `text/html`, `text/*`, `*/*` (default: a list of types that get smaller).
    pub content_type: Vec<String>,
    /// Default false.
    pub disable_on_etag_header: bool,
    /// Default false.
    pub remove_accept_encoding_header: bool,
    pub uncompressible_response_codes: Vec<u16>,
}

#[derive(Clone, Debug)]
pub struct CompressorRequest {
    /// As for responses.
    pub min_content_length: u32,
    pub content_type: Vec<String>,
}

/// Envoy: extensions.filters.http.decompressor.v3.Decompressor.
#[derive(Clone, Debug)]
pub struct Decompressor {
    /// Never empty (default all).
    pub libraries: Vec<Coding>,
    /// `None`: requests are left alone.
    pub request: Option<DecompressorDirection>,
    /// `None`: responses are left alone.
    pub response: Option<DecompressorDirection>,
    /// Default true.
    pub advertise_accept_encoding: bool,
    /// Default 1 GiB.
    pub max_output_bytes: Option<u64>,
    /// Default 100.
    pub max_inflate_ratio: u32,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

#[derive(Clone, Copy, Debug)]
pub struct DecompressorDirection {
    /// Whether `no-transform` protects nothing (default false).
    pub ignore_no_transform: bool,
}

/// Envoy: extensions.filters.http.grpc_stats.v3.FilterConfig.
#[derive(Clone, Debug)]
pub struct GrpcStats {
    pub methods: GrpcMethods,
    /// Default false.
    pub enable_upstream_stats: bool,
}

/// Envoy: extensions.filters.http.grpc_web.v3.GrpcWeb.
#[derive(Clone, Copy, Debug)]
pub struct GrpcWeb {
    /// Methods of each cluster with statistics of their own (default 500).
    pub max_methods: u32,
}

/// The methods of gRPC that have statistics of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrpcMethods {
    /// Services and methods (default none); other calls are counted together.
    Listed(Vec<(String, String)>),
    /// As they are called, up to this many of each cluster (default 500).
    All { max: u32 },
}
