//! The buffer filter.

use crate::reader::{Size, table};

table! {
    /// Waits for the whole request before any of it goes on, so that a slow client does not hold the upstream; the
    /// length is then known to it (Envoy: buffer).
    Buffer at "listeners[].http.http_filters[].buffer", example "buffer.toml" {
        /// Bytes of a request's body. Status 413.
        max_request_bytes: Size<1, 1_073_741_824>, required;
    }
}
