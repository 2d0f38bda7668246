//! The state that the admin endpoint shows and the server keeps up to date.

use super::limits;
use super::process;
use crate::base::output;
use crate::shard::Plan;
use crate::stats::{Registry, ServerState, ServerStats, server_version};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

/// An order to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    Signal(i32),
    Quit,
    DrainListeners,
    ReopenLogs,
}

/// Where a configuration came from.
#[derive(Clone, Debug)]
pub struct Source {
    /// `None` for the built-in example.
    pub file: Option<PathBuf>,
    pub text: String,
}

/// The configuration in force.
#[derive(Clone)]
pub struct Loaded {
    pub source: Source,
    pub plan: Arc<Plan>,
    pub at: SystemTime,
    /// The text of /config_dump, once it has been asked for.
    pub dump: Arc<OnceLock<Arc<str>>>,
}

pub struct State {
    pub registry: Arc<Registry>,
    pub started: Instant,
    pub started_at: SystemTime,
    loaded: Mutex<Loaded>,
    control: Mutex<Sender<Control>>,
    server: AtomicU8,
    /// Set by POST /healthcheck/fail.
    failed: AtomicBool,
    stats: Arc<ServerStats>,
}

impl State {
    pub fn new(
        registry: Arc<Registry>,
        source: Source,
        plan: Arc<Plan>,
        control: Sender<Control>,
        shards: usize,
    ) -> Arc<Self> {
        let stats: Arc<ServerStats> = registry.scope("", 0);
        stats.concurrency.set(shards as i64);
        stats.version.set(server_version(env!("CARGO_PKG_VERSION")));
        stats.set_state(ServerState::Initializing);
        let state = Arc::new(Self {
            registry,
            started: Instant::now(),
            started_at: SystemTime::now(),
            loaded: Mutex::new(Loaded { source, plan, at: SystemTime::now(), dump: Arc::default() }),
            control: Mutex::new(control),
            server: AtomicU8::new(ServerState::Initializing as u8),
            failed: AtomicBool::new(false),
            stats,
        });
        let read = Arc::downgrade(&state);
        state.registry.refresh_by(move || read.upgrade().iter().for_each(|state| state.refresh()));
        state
    }

    pub fn set(&self, state: ServerState) {
        self.server.store(state as i64 as u8, Ordering::Release);
    }

    /// Envoy: ServerInfo.State. A failed health check counts as draining.
    pub fn server_state(&self) -> ServerState {
        match self.server.load(Ordering::Acquire) {
            0 if self.failed.load(Ordering::Acquire) => ServerState::Draining,
            0 => ServerState::Live,
            1 => ServerState::Draining,
            2 => ServerState::PreInitializing,
            _ => ServerState::Initializing,
        }
    }

    pub fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Ordering::Release);
    }

    pub fn replace(&self, source: Source, plan: Arc<Plan>) {
        *self.lock() = Loaded { source, plan, at: SystemTime::now(), dump: Arc::default() };
    }

    pub fn source(&self) -> Source {
        self.lock().source.clone()
    }

    /// Names by which the endpoint may be asked for, as the configuration in force has them.
    pub fn allowed_hosts(&self) -> Vec<String> {
        self.lock().plan.config.admin.as_ref().map_or_else(Vec::new, |admin| admin.allowed_hosts.clone())
    }

    pub fn loaded(&self) -> Loaded {
        self.lock().clone()
    }

    pub fn order(&self, control: Control) {
        // The receiver is gone only when the process is about to end.
        let _ = self.control.lock().unwrap_or_else(PoisonError::into_inner).send(control);
    }

    /// Brings the process's own gauges up to date: for the admin endpoint and for sinks of statistics.
    pub fn refresh(&self) {
        // All of it under the lock: cells have one writer at a time, and a replaced plan makes no more cells for its clusters.
        let loaded = self.lock();
        self.stats.uptime.set(self.started.elapsed().as_secs() as i64);
        self.stats.set_state(self.server_state());
        self.stats.memory_allocated.set(resident_bytes() as i64);
        let lost = &self.stats.log_lines_lost;
        lost.add(output::lost_lines() - lost.get());
        self.stats.total_connections.set(loaded.plan.global_limit.used() as i64);
        let days = loaded.plan.files.get().ends().map_or(i64::from(u32::MAX), days_until);
        self.stats.days_until_first_cert_expiring.set(days);
        let seconds = loaded.plan.files.get().staples_end().map_or(i64::from(u32::MAX), seconds_until);
        self.stats.seconds_until_first_ocsp_response_expiring.set(seconds);
        limits::refresh(&loaded.plan.clusters, &self.registry);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole days until this moment, in seconds since the epoch; 0 when it is past.
pub(super) fn days_until(end: i64) -> i64 {
    seconds_until(end) / 86_400
}

fn seconds_until(end: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
    (end - now).max(0)
}

/// Resident memory of this process, in bytes; 0 where /proc is missing.
pub fn resident_bytes() -> u64 {
    process::memory()[1]
}
