//! The buffer filter.

use crate::reader::{Size, table};

table! {
    /// Waits for the whole request before any of it is forwarded, so that a slow client does not occupy the upstream,
    /// which also learns the length of the body (Envoy: buffer).
    Buffer at "listeners[].http.http_filters[].buffer", example "buffer.toml" {
        /// Bytes of a request's body. Above it, status 413.
        max_request_bytes: Size<1, 1_073_741_824>, required;
    }
}
