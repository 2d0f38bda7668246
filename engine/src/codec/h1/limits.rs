//! What a peer may send before it is refused.

/// Limits on one message, all inclusive: a message of exactly this size passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole head, start line and final empty line included (Envoy's max_request_headers_kb; default 60
    /// KiB).
    pub head_bytes: u32,
    /// Field lines in a head, and again in a trailer section (Envoy's max_headers_count; default 100). More than
    /// [`Limits::FIELDS_MAX`] means that.
    pub fields: u16,
    /// Bytes of a request's target (default 16 KiB).
    pub target_bytes: u32,
    /// Bytes of one field line without its CRLF (default 60 KiB: only the head's limit counts).
    pub field_bytes: u32,
    /// Bytes of chunk extensions in one message, their separators included (default 16 KiB).
    pub chunk_extension_bytes: u32,
    /// Bytes of a trailer section (default 16 KiB).
    pub trailer_bytes: u32,
}

impl Limits {
    /// The most field lines that a head may have, whatever the configuration says: the parser's table of lines stands
    /// on the stack.
    pub const FIELDS_MAX: u16 = 1024;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes: 60 * 1024,
            fields: 100,
            target_bytes: 16 * 1024,
            field_bytes: 60 * 1024,
            chunk_extension_bytes: 16 * 1024,
            trailer_bytes: 16 * 1024,
        }
    }
}
