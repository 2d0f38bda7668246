//! Why a header block cannot be decoded.

use std::fmt;

/// All of these leave the table unknown, so each is an error of the connection (RFC 9113 section 4.3): COMPRESSION_ERROR,
/// and ENHANCE_YOUR_CALM for [`Error::Excessive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The block ends within a field.
    Truncated,
    /// An integer above 32 bits, or of more bytes than such a one needs (RFC 7541 section 5.1).
    Integer,
    /// Index 0, or one beyond the tables (RFC 7541 sections 2.3.3 and 6.1).
    Index,
    /// Padding that is longer than 7 bits or not of ones, or the end-of-string symbol (RFC 7541 section 5.2).
    Huffman,
    /// A size update behind a field, a third one, or one above the maximum (RFC 7541 sections 4.2 and 6.3).
    SizeUpdate,
    /// A lower maximum was acknowledged, and no size update followed (RFC 7541 section 4.2).
    NoSizeUpdate,
    /// The block holds many times more than the budget allows.
    Excessive,
}

impl Error {
    pub const ALL: &'static [Error] = &[
        Error::Truncated,
        Error::Integer,
        Error::Index,
        Error::Huffman,
        Error::SizeUpdate,
        Error::NoSizeUpdate,
        Error::Excessive,
    ];

    /// The response code details for the access log.
    pub const fn details(self) -> &'static str {
        match self {
            Error::Truncated => "http2.hpack.truncated",
            Error::Integer => "http2.hpack.integer",
            Error::Index => "http2.hpack.index",
            Error::Huffman => "http2.hpack.huffman",
            Error::SizeUpdate => "http2.hpack.size_update",
            Error::NoSizeUpdate => "http2.hpack.no_size_update",
            Error::Excessive => "http2.hpack.excessive",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.details())
    }
}

impl std::error::Error for Error {}
