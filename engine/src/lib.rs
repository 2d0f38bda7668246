//! Ringway's engine. Data flows one way and imports follow it: a module may import those that stand below it in this
//! list, never one above (tests/tidy.rs reads every `use crate::`).

pub mod codec;
pub mod hcm;
pub mod http;
pub mod net;
pub mod ring;
pub mod stats;

pub mod base;
