//! The running process: what a reload changes and the end takes down.

use super::control::Supervision;
use super::discovery::Lookups;
use super::export::Exports;
use super::notify::Notifier;
use super::passed::Passed;
use super::renewal::Renewal;
use super::worker::Worker;
use crate::admin::{self, State};
use crate::hcm::access_log::Writer;
use crate::net::Loopback;
use crate::shard::{Mailbox, Plan, Sockets};
use crate::stats::Registry;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A shard's mailbox and thread.
pub(super) type Shard = (Arc<Mailbox>, JoinHandle<()>);

pub(super) struct Running {
    pub state: Arc<State>,
    pub registry: Arc<Registry>,
    pub writer: Arc<Writer>,
    pub plan: Arc<Plan>,
    pub sockets: Unused,
    /// What the service manager has passed.
    pub passed: Passed,
    pub notifier: Notifier,
    pub shards: Vec<Shard>,
    pub dns: Worker<Lookups>,
    pub supervision: Worker<Supervision>,
    pub exports: Worker<Exports>,
    pub renewal: Renewal,
    pub admin_thread: Option<admin::Thread>,
    /// How many files and sockets the process may open.
    pub descriptors: u64,
    /// Since the start.
    pub loopback: Loopback,
    /// Where the listeners listen.
    pub addresses: Vec<String>,
    /// Where the admin endpoint listens.
    pub admin: Option<String>,
}

/// Sockets whose threads do not run yet.
#[derive(Default)]
pub(super) struct Unused {
    pub admin: Option<OwnedFd>,
    /// For each shard, with its core.
    pub shards: Vec<(usize, Sockets)>,
}
