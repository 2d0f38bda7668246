//! Codecs without I/O: bytes in, heads and body ranges out, and the reverse.

pub mod h1;
