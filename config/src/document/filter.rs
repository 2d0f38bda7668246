//! HTTP filters in the chain, and their settings in virtual hosts, routes and weighted clusters; one file for each in
//! `filter/`. The list of them is `http_filters!` in the model.

use crate::reader::{Empty, OffOr, Written, table};

mod buffer;
mod compressor;
mod decompressor;
mod fault;
mod grpc_stats;
mod grpc_web;
mod local_ratelimit;

pub use buffer::Buffer;
pub use compressor::{Compressor, CompressorLibrary, CompressorResponse};
pub use decompressor::{CodingLibrary, Decompressor, DecompressorDirection};
pub use fault::{Fault, FaultAbort, FaultDelay, FaultRateLimit};
pub use grpc_stats::{GrpcMethodList, GrpcStats};
pub use grpc_web::GrpcWeb;
pub use local_ratelimit::{
    LocalRateLimit, RateLimitAction, RateLimitDescriptor, RateLimitEntry, RateLimitRule, TokenBucket,
};

macro_rules! declare {
    ($($name:ident $filter:ident;)*) => {
        table! {
            /// A filter: a table with exactly one key, the filter's name. A filter can be in the chain only once.
            HttpFilter at "listeners[].http.http_filters[]", example "filters.toml" {
                $(
                    /// See the table.
                    $name: Written<$filter>, optional "another filter";
                )*
                /// Sends the request to the target of its route. It is the last filter, and may be left out.
                router: Empty, optional "another filter";
            }
        }

        table! {
            /// Settings of HTTP filters for some requests, instead of those in `http_filters`; the filter must be
            /// listed there. `"off"` skips the filter (Envoy: typed_per_filter_config). The settings of a route
            /// override those of its virtual host, and the settings of a weighted cluster override those of its route.
            FilterOverrides at "listeners[].http.virtual_hosts[].routes[].filters", example "filter-overrides.toml" {
                $(
                    /// See the filter's table in `http_filters`.
                    $name: OffOr<Written<$filter>>, optional "no change";
                )*
            }
        }
    };
}

crate::http_filters!(declare);
