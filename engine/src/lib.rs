//! Ringway's engine. Data flows one way and imports follow it: a module may import those that stand below it in this
//! list, never one above (tests/tidy.rs reads every `use crate::`).

pub mod server;
pub mod admin;
pub mod shard;
pub mod listener;
pub mod network_filter;
pub mod hcm;
pub mod router;
pub mod cluster;
pub mod upstream;
pub mod codec;
pub mod http;
pub mod net;
pub mod ring;
pub mod stats;

pub mod base;
