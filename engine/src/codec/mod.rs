//! Codecs without I/O: bytes in, heads, body ranges or decoded bytes out, and the reverse.

pub mod coding;
pub mod grpc;
pub mod grpc_web;
pub mod h1;
pub mod h2;
