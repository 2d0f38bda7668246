//! HTTP filters in the chain, and what virtual hosts, routes and weighted clusters say about them; one file for each in
//! `filter/`. The list of them is `http_filters!` in the model.

use crate::reader::{Empty, OffOr, table};

mod buffer;
mod fault;
mod local_ratelimit;

pub use buffer::Buffer;
pub use fault::{Fault, FaultAbort, FaultDelay, FaultRateLimit};
pub use local_ratelimit::{
    LocalRateLimit, RateLimitAction, RateLimitDescriptor, RateLimitEntry, RateLimitRule, TokenBucket,
};

macro_rules! declare {
    ($($name:ident $filter:ident;)*) => {
        table! {
            /// A filter: a table with exactly one key, the filter's name. Each filter stands in the chain once.
            HttpFilter at "listeners[].http.http_filters[]", example "filters.toml" {
                $(
                    /// See the table.
                    $name: $filter, optional "another filter";
                )*
                /// Sends the request where its route says. It is the last filter, and may be left out.
                router: Empty, optional "another filter";
            }
        }

        table! {
            /// Settings of HTTP filters for some requests, in the place of those in `http_filters`, where the filter must
            /// stand; `"off"` passes the filter over (Envoy: typed_per_filter_config). A route is stronger than its
            /// virtual host, a weighted cluster stronger than its route.
            FilterOverrides at "listeners[].http.virtual_hosts[].routes[].filters", example "filter-overrides.toml" {
                $(
                    /// See the filter's table in `http_filters`.
                    $name: OffOr<$filter>, optional "no change";
                )*
            }
        }
    };
}

crate::http_filters!(declare);
