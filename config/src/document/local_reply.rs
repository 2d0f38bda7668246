//! Replies of the proxy's own, in the words of the configuration.

use super::access_log::AccessLogFilter;
use crate::reader::{FilePath, HeaderValue, Int, Map, Text, table};

table! {
    /// Changes the replies that are made here and not by an upstream: errors, and also redirects and direct responses
    /// (Envoy: LocalReplyConfig, ResponseMapper). It says a new status, a new body, or both.
    LocalReply at "listeners[].http.local_reply[]", example "local-reply.toml" {
        /// The replies that it changes, by their status, response flags and so on.
        filter: AccessLogFilter, optional "every reply";
        /// The new status (Envoy: status_code).
        status_code: Int<200, 599>, optional "unchanged";
        /// The body as text with [command operators](#command-operators), of which `%LOCAL_REPLY_BODY%` is the body that it
        /// replaces. What a client said is escaped as the content type asks: HTML and XML, JSON, or other text. At most one of
        /// `format`, `json` and `body_file` is written.
        format: Text, optional "unchanged";
        /// The body as a JSON object with keys of your choice, each with a text like that of `format`.
        json: Map<Text, Text>, optional "unchanged";
        /// File with a text like that of `format`, at most 1MiB of UTF-8, read once when the configuration is loaded; a percent
        /// sign in it is written as `%%`. A relative path starts at the directory of the configuration file.
        body_file: FilePath, optional "unchanged";
        /// Value of the `content-type` header of the new body.
        content_type: HeaderValue, optional "`text/plain`; `application/json` with `json`; `text/html` with `body_file`";
    }
}
