//! What goes wrong on a connection or on one of its streams, and how the peer is told (RFC 9113 section 5.4).

use std::fmt;

/// A code of RST_STREAM and GOAWAY (RFC 9113 section 7).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    pub const NO_ERROR: Self = Self(0);
    pub const PROTOCOL_ERROR: Self = Self(1);
    pub const INTERNAL_ERROR: Self = Self(2);
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    pub const SETTINGS_TIMEOUT: Self = Self(4);
    pub const STREAM_CLOSED: Self = Self(5);
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    pub const REFUSED_STREAM: Self = Self(7);
    pub const CANCEL: Self = Self(8);
    pub const COMPRESSION_ERROR: Self = Self(9);
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
    pub const INADEQUATE_SECURITY: Self = Self(12);
    pub const HTTP_1_1_REQUIRED: Self = Self(13);

    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "code {:#x}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    pub scope: Scope,
    pub code: Code,
    /// The rule, as it stands in logs and in the debug data of GOAWAY.
    pub reason: &'static str,
}

/// How much ends by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Connection,
    Stream(u32),
}

impl Error {
    pub const fn connection(code: Code, reason: &'static str) -> Self {
        Self { scope: Scope::Connection, code, reason }
    }

    pub const fn stream(id: u32, code: Code, reason: &'static str) -> Self {
        Self { scope: Scope::Stream(id), code, reason }
    }

    pub(super) const fn protocol(reason: &'static str) -> Self {
        Self::connection(Code::PROTOCOL_ERROR, reason)
    }

    pub(super) const fn size(reason: &'static str) -> Self {
        Self::connection(Code::FRAME_SIZE_ERROR, reason)
    }
}
