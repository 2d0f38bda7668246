//! The HTTP connection manager.

pub mod access_log;
