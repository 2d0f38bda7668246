//! Pieces of the engine's work, each made ready to be repeated: what the benches measure, by the clock
//! (benches/clock.rs) and by instructions (benches/instructions.rs).
//!
//! A piece is a closure that does the work once, on memory that is warm. It checks the result as far as that is free,
//! so that no bench can measure a refusal.

pub mod baseline;
pub mod codec;
pub mod config;
pub mod exchange;
pub mod lb;
pub mod messages;
pub mod ring;
pub mod routing;
pub mod spans;
pub mod stats;
pub mod streams;
pub mod timer;
