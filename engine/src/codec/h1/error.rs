//! Why a message was refused: one member per rule, with the status for the client and the word for the access log.

use crate::http::Violation;
use std::fmt;

/// Declares an error enum whose members carry a status and details. With `wraps HeadError through STATUS` it also has a
/// member `Head` for the rules that requests and responses share.
macro_rules! errors {
    (
        $(#[$meta:meta])* $name:ident $(wraps $inner:ident through $inner_status:path)?
        { $($(#[$doc:meta])* $member:ident => $status:literal, $details:literal;)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(
                /// A rule that holds for all heads.
                Head($inner),
            )?
            $($(#[$doc])* $member,)*
        }

        impl $name {
            /// Every member of its own.
            pub const ALL: &'static [$name] = &[$($name::$member),*];

            /// The status to answer a client with; the connection is closed after it.
            pub const fn status(self) -> u16 {
                match self {
                    $($name::Head(inner) => $inner_status(inner),)?
                    $($name::$member => $status,)*
                }
            }

            /// The response code details for the access log, in Envoy's style.
            pub const fn details(self) -> &'static str {
                match self {
                    $($name::Head(inner) => $inner::details(inner),)?
                    $($name::$member => $details,)*
                }
            }
        }

        impl From<$name> for Violation {
            fn from(error: $name) -> Violation {
                Violation { status: error.status(), details: error.details() }
            }
        }

        $(
            impl From<$inner> for $name {
                fn from(inner: $inner) -> $name {
                    $name::Head(inner)
                }
            }
        )?

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.details())
            }
        }

        impl std::error::Error for $name {}
    };
}

/// Whatever an upstream did wrong, the client sees a bad gateway.
const fn bad_gateway(_: HeadError) -> u16 {
    502
}

errors! {
    /// Rules that hold for the heads of requests and responses alike.
    HeadError {
        /// A line ends in LF alone (RFC 9112 section 2.2 allows to accept it; no honest sender does it).
        BareLf => 400, "http1.bare_lf";
        /// A CR that no LF follows (RFC 9112 section 2.2).
        BareCr => 400, "http1.bare_cr";
        /// Empty lines before the start line: more than two, or any before a status
        /// line (RFC 9112 section 2.2).
        LeadingEmptyLine => 400, "http1.leading_empty_line";
        /// White space between the start line and the first field (RFC 9112 section 2.2).
        SpaceBeforeFirstField => 400, "http1.space_before_first_header";
        /// A field line continues on the next line (RFC 9112 section 5.2).
        ObsFold => 400, "http1.obs_fold";
        /// White space between a field's name and the colon (RFC 9112 section 5.1).
        SpaceBeforeColon => 400, "http1.space_before_colon";
        /// A field line without a colon (RFC 9112 section 5).
        MissingColon => 400, "http1.missing_colon";
        /// A field line that begins with the colon (RFC 9110 section 5.1).
        EmptyFieldName => 400, "http1.empty_header_name";
        /// A field name that is not a token (RFC 9110 section 5.1).
        InvalidFieldName => 400, "http1.invalid_header_name";
        /// NUL or another control character in a field value (RFC 9110 section 5.5).
        InvalidFieldValue => 400, "http1.invalid_characters";
        /// The major version is above 1 (RFC 9112 section 2.3), or that of a response is 1 with a minor one above 1.
        VersionNotSupported => 505, "http1.version_not_supported";
        /// Not `HTTP/` DIGIT `.` DIGIT, or major version 0 (RFC 9112 section 2.3).
        InvalidVersion => 400, "http1.invalid_version";
        /// The head is longer than the limit.
        HeadTooLarge => 431, "http1.headers_too_large";
        /// One field line is longer than the limit.
        FieldTooLarge => 431, "http1.header_too_large";
        /// More field lines than the limit.
        TooManyFields => 431, "http1.too_many_headers";
        /// Content-Length is not 1*DIGIT or exceeds 64 bits (RFC 9110 section 8.6).
        InvalidContentLength => 400, "http1.invalid_content_length";
        /// More than one Content-Length line, even with the same value (RFC 9110 section 8.6).
        DuplicateContentLength => 400, "http1.duplicate_content_length";
        /// Both Content-Length and Transfer-Encoding (RFC 9112 section 6.3).
        ContentLengthWithTransferEncoding => 400, "http1.content_length_and_chunked_not_allowed";
        /// Transfer-Encoding is no list of codings, or `chunked` is not once and last (RFC 9112 section 6.1).
        InvalidTransferEncoding => 400, "http1.invalid_transfer_encoding";
        /// A transfer coding other than chunked (RFC 9112 section 6.1).
        UnknownTransferCoding => 501, "http1.unknown_transfer_coding";
        /// Transfer-Encoding in an HTTP/1.0 message, whose framing is therefore faulty (RFC 9112 section 6.1).
        TransferEncodingInHttp10 => 400, "http1.transfer_encoding_in_http10";
        /// Connection is not a list of tokens (RFC 9110 section 7.6.1).
        InvalidConnection => 400, "http1.invalid_connection_header";
        /// More connection options than any honest sender has: each is looked up among all fields.
        TooManyConnectionOptions => 431, "http1.too_many_connection_options";
        /// The tokeniser refused the head for a reason that none of the other members names.
        Malformed => 400, "http1.codec_error";
    }
}

errors! {
    /// Rules for requests; the client gets `status()` and the connection is closed.
    RequestError wraps HeadError through HeadError::status {
        /// Not method SP target SP version CRLF (RFC 9112 section 3).
        InvalidRequestLine => 400, "http1.invalid_request_line";
        /// The method is not a token (RFC 9110 section 9.1).
        InvalidMethod => 400, "http1.invalid_method";
        /// A method longer than any that exists (RFC 9112 section 3: 501).
        MethodTooLong => 501, "http1.method_too_long";
        /// The target is in none of the four forms or holds a byte that no URI may hold (RFC 9112 section 3.2).
        InvalidTarget => 400, "http1.invalid_url";
        /// The target holds a fragment, which is never sent (RFC 9110 section 7.1).
        TargetFragment => 400, "http1.fragment_in_url";
        /// The target is longer than the limit (RFC 9112 section 3: 414).
        TargetTooLong => 414, "http1.url_too_long";
        /// An absolute-form target with another scheme than http or https.
        InvalidScheme => 400, "http1.invalid_scheme";
        /// The authority in the target is empty, invalid or holds user information (RFC 9110 sections 4.2.1, 4.2.4).
        InvalidAuthority => 400, "http1.invalid_authority";
        /// `*` with another method than OPTIONS (RFC 9112 section 3.2.4).
        AsteriskWithoutOptions => 400, "http1.asterisk_without_options";
        /// CONNECT: this proxy opens no tunnels (RFC 9110 section 9.3.6).
        ConnectNotSupported => 501, "http1.connect_not_supported";
        /// TRACE would send back what the proxy added (RFC 9110 section 9.3.8).
        TraceNotAllowed => 405, "http1.trace_not_allowed";
        /// An HTTP/1.1 request without Host (RFC 9112 section 3.2).
        MissingHost => 400, "http1.missing_host_header";
        /// More than one Host line (RFC 9112 section 3.2).
        DuplicateHost => 400, "http1.duplicate_host_header";
        /// Host is no host with an optional port (RFC 9112 section 3.2).
        InvalidHost => 400, "http1.invalid_host_header";
        /// Expect holds anything else than `100-continue` (RFC 9110 section 10.1.1).
        UnknownExpectation => 417, "http1.unknown_expectation";
    }
}

errors! {
    /// Rules for responses; the client gets 502 and the upstream connection is closed.
    ResponseError wraps HeadError through bad_gateway {
        /// Not version SP status SP reason CRLF (RFC 9112 section 4).
        InvalidStatusLine => 502, "http1.invalid_status_line";
        /// The status is below 100 (RFC 9110 section 15).
        InvalidStatus => 502, "http1.invalid_status";
        /// 101 although no other protocol was asked for (RFC 9110 section 15.2.2).
        UnaskedSwitchingProtocols => 502, "http1.unasked_switching_protocols";
        /// Transfer-Encoding in a 1xx or 204 (RFC 9112 section 6.1).
        TransferEncodingNotAllowed => 502, "http1.transfer_encoding_not_allowed";
    }
}

errors! {
    /// Rules for bodies. For a request the status is what the client gets if no response has started; for a response
    /// the upstream connection is closed and the client's message stays visibly incomplete.
    BodyError {
        /// A chunk size that is not 1*HEXDIG (RFC 9112 section 7.1).
        InvalidChunkSize => 400, "http1.invalid_chunk_size";
        /// A chunk size with more than 16 digits (RFC 9112 section 7.1: "anticipate potentially large hexadecimal
        /// numerals and prevent parsing errors due to integer conversion overflows").
        ChunkSizeOverflow => 400, "http1.chunk_size_overflow";
        /// A chunk extension that is not in the grammar (RFC 9112 section 7.1.1).
        InvalidChunkExtension => 400, "http1.invalid_chunk_extension";
        /// More bytes of chunk extensions than the limit.
        ChunkExtensionsTooLarge => 400, "http1.chunk_extensions_too_large";
        /// A line of the chunked framing ends in LF alone.
        BareLf => 400, "http1.chunk_bare_lf";
        /// A CR in the chunked framing that no LF follows.
        BareCr => 400, "http1.chunk_bare_cr";
        /// Chunk data is not followed by CRLF: it is longer than its size says.
        MissingChunkEnd => 400, "http1.missing_chunk_end";
        /// A trailer line that is no valid field line (RFC 9112 section 7.1.2).
        InvalidTrailer => 400, "http1.invalid_trailer";
        /// A trailer section longer than the limit.
        TrailersTooLarge => 431, "http1.trailers_too_large";
        /// More trailer lines than the limit.
        TooManyTrailers => 431, "http1.too_many_trailers";
        /// The connection ended before the body did (RFC 9112 section 8).
        Truncated => 400, "http1.body_truncated";
    }
}
