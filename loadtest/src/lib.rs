//! The load test: a load generator, an origin, a soak, and the comparison of Ringway with other proxies.
//!
//! Start reading at [`generator`] for how load is made and counted, at [`compare`] for how a comparison runs.
pub mod cli;
pub mod compare;
pub mod generator;
pub mod h2;
pub mod http;
pub mod interrupt;
pub mod load;
pub mod measure;
pub mod origin;
pub mod pattern;
pub mod report;
pub mod rng;
pub mod soak;
pub mod tls;
pub mod units;
