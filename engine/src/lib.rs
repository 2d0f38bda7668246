//! Ringway's engine. Data flows one way and imports follow it: a module may import those that stand below it in this
//! list, never one above (tests/tidy reads every `use crate::`).

pub mod admin;
pub mod cluster;
pub mod codec;
pub mod hcm;
pub mod http;
pub mod http_filter;
pub mod listener;
pub mod mux;
pub mod net;
pub mod network_filter;
pub mod ring;
pub mod route;
pub mod router;
pub mod server;
pub mod shard;
pub mod stats;
pub mod telemetry;
pub mod upstream;

pub mod base;
