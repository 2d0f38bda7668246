//! The process: sockets that are bound before any shard starts, signals, reload, drain, exit.

mod bind;
mod control;
mod discovery;
mod embedded;
mod export;
mod holders;
mod host;
mod notify;
mod orders;
mod passed;
mod placement;
mod reload;
mod renewal;
mod room;
mod run;
mod running;
mod warnings;
mod worker;

pub use embedded::{EMBEDDED, HINTS};
pub use host::{HostReport, check as check_host, check_as_runtime_user, check_files};
pub use run::{StartError, run};

/// What is valid and yet will not go well on this host, in a sentence each.
pub fn host_warnings(config: &ringway_config::model::Config) -> Vec<String> {
    warnings::warnings(config, crate::net::sys::raise_descriptor_limit())
}
