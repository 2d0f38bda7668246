//! The event log of health checks: one line of JSON for each event, in Envoy's form (data.core.v3.HealthCheckEvent).
//!
//! A thread writes, so that a slow disk delays no check. The file is opened for each line: events are rare, and a rotated
//! file is released without a signal. A FIFO gets the lines for which it has a reader and room.

use super::Missed;
use crate::base::date::Civil;
use crate::base::log_file;
use crate::cluster::Host;
use crate::stats::{EventLogStats, Registry};
use ringway_config::model::{Address, HealthCheckKind};
use serde_json::{Value, json};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// The largest number of lines on their way; further ones are lost and counted.
const QUEUE_LEN: usize = 4096;
/// How long the end waits for the last lines to be written.
const PATIENCE: Duration = Duration::from_millis(250);

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind<'a> {
    /// The endpoint has become unhealthy.
    EjectUnhealthy(&'a Missed),
    /// A check failed: an endpoint's first one, or any one with `always_log_failures`.
    Failure {
        missed: &'a Missed,
        first: bool,
    },
    /// The endpoint has become healthy.
    AddHealthy {
        first: bool,
    },
    Degraded,
    NoLongerDegraded,
}

pub struct Event<'a> {
    pub kind: EventKind<'a>,
    pub cluster: &'a str,
    pub host: &'a Host,
    pub check: &'a HealthCheckKind,
    /// Microseconds since the epoch.
    pub wall: u64,
}

/// A handle on the thread, which ends with its last handle.
#[derive(Clone, Debug)]
pub struct EventLog {
    lines: SyncSender<(PathBuf, String)>,
    stats: Arc<EventLogStats>,
}

/// Closed by the thread when it ends.
#[derive(Debug)]
pub struct Written(Receiver<()>);

impl Written {
    /// Waits for the last lines. The handles must be gone.
    pub fn wait(&self) {
        let _ = self.0.recv_timeout(PATIENCE);
    }
}

impl EventLog {
    /// # Errors
    /// No thread can be made.
    pub fn start(registry: &Registry) -> io::Result<(Self, Written)> {
        let (lines, received) = sync_channel::<(PathBuf, String)>(QUEUE_LEN);
        let (done, written) = sync_channel(1);
        // A cell has one writer: the thread's are those of a shard that does not exist.
        let mut thread = Thread { stats: registry.scope("", usize::MAX), is_failing: false };
        std::thread::Builder::new().name("health-events".into()).spawn(move || {
            for (path, line) in received {
                thread.write(&path, &line);
            }
            drop(done);
        })?;
        Ok((Self { lines, stats: registry.scope("", 0) }, Written(written)))
    }

    pub fn write(&self, path: &Path, event: &Event<'_>) {
        if self.lines.try_send((path.into(), event.line())).is_err() {
            self.stats.events_lost.inc();
            tracing::warn!(target: "ringway::health", path = %path.display(), "an event is lost: the log is behind");
        }
    }
}

struct Thread {
    stats: Arc<EventLogStats>,
    /// The last write failed; the program log has it once for each row of failures.
    is_failing: bool,
}

impl Thread {
    fn write(&mut self, path: &Path, line: &str) {
        match append(path, line) {
            Ok(()) => {
                self.stats.events_written.inc();
                self.is_failing = false;
            }
            Err(error) => {
                self.stats.events_lost.inc();
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(target: "ringway::health", path = %path.display(), %error, "events are lost");
                }
            }
        }
    }
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    match log_file::open(path)? {
        Some(mut file) => log_file::write(&mut file, line.as_bytes(), || true).1,
        None => Err(io::Error::new(ErrorKind::BrokenPipe, "the FIFO has no reader")),
    }
}

impl Event<'_> {
    /// With its line end.
    fn line(&self) -> String {
        let kind = match self.check {
            HealthCheckKind::Http(_) => "HTTP",
            HealthCheckKind::Tcp(_) => "TCP",
            HealthCheckKind::Grpc(_) => "GRPC",
        };
        let host = match &self.host.spec.address {
            Address::Ip(address) => json!({
                "socket_address": {
                    "protocol": "TCP", "address": address.ip().to_string(), "port_value": address.port(),
                },
            }),
            Address::Unix(path) => json!({ "pipe": { "path": path.display().to_string() } }),
        };
        let (name, what) = self.what();
        let mut line = json!({
            "health_checker_type": kind,
            "host": host,
            "cluster_name": self.cluster,
            "timestamp": timestamp(self.wall),
        });
        line[name] = what;
        format!("{line}\n")
    }

    fn what(&self) -> (&'static str, Value) {
        match self.kind {
            EventKind::EjectUnhealthy(Missed { failure, reason }) => {
                ("eject_unhealthy_event", json!({ "failure_type": failure.name(), "reason": reason }))
            }
            EventKind::Failure { missed: Missed { failure, reason }, first } => (
                "health_check_failure_event",
                json!({ "failure_type": failure.name(), "first_check": first, "reason": reason }),
            ),
            EventKind::AddHealthy { first } => ("add_healthy_event", json!({ "first_check": first })),
            EventKind::Degraded => ("degraded_healthy_host", json!({})),
            EventKind::NoLongerDegraded => ("no_longer_degraded_host", json!({})),
        }
    }
}

/// RFC 3339, in UTC, to the millisecond.
fn timestamp(micros: u64) -> String {
    format!("{}.{:03}Z", Civil::from_unix(micros / 1_000_000), micros / 1000 % 1000)
}
