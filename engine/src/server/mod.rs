//! The process: sockets that are bound before any shard starts, signals, reload, drain, exit.

mod bind;
mod control;
mod discovery;
mod embedded;
mod holders;
mod orders;
mod placement;
mod reload;
mod run;
mod running;
mod worker;

pub use embedded::{EMBEDDED, HINTS};
pub use run::{StartError, run};
