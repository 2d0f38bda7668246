//! A sink of statistics that speaks the protocol of statsd: lines are put together in datagrams, which are sent as fast as the
//! receiver takes them. What is lost is counted and not sent again.

mod line;
mod socket;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use ringway_config::model::{EndpointTarget, Statsd, StatsdDialect};

use super::Progress;
use crate::cluster::EXPORT;
use crate::stats::{Reading, Registry, StatsSinkStats};
use socket::Socket;

#[derive(Debug)]
pub(super) struct Sink {
    config: Statsd,
    stats: Arc<StatsSinkStats>,
    socket: Socket,
    /// Datagrams that are not sent yet, and the one that is being filled after the last of them.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The datagrams that are done with.
    sent: usize,
    /// Datagrams are lost, and the log says so.
    is_failing: bool,
    /// One was lost in this report.
    has_lost: bool,
    /// All statistics of this report are added.
    is_whole: bool,
}

impl Sink {
    pub fn new(config: &Statsd, registry: &Registry) -> Self {
        let stats = registry.scope(&scope_name(config), EXPORT);
        let socket = Socket::new(config.target.clone());
        Self {
            config: config.clone(),
            stats,
            socket,
            bytes: Vec::new(),
            ends: Vec::new(),
            sent: 0,
            is_failing: false,
            has_lost: false,
            is_whole: false,
        }
    }

    pub fn config(&self) -> &Statsd {
        &self.config
    }

    /// Looks a name up again if it is time, in microseconds since the epoch.
    pub fn look_up(&mut self, now: u64) {
        self.socket.look_up(now);
    }

    /// A report begins.
    pub fn begin(&mut self, now: u64) {
        self.look_up(now);
        (self.has_lost, self.is_whole) = (false, false);
    }

    pub fn add(&mut self, reading: &Reading<'_>) {
        let (bytes, ends) = (&mut self.bytes, &mut self.ends);
        let most = self.config.max_bytes_per_datagram;
        line::lines(self.config.dialect, &self.config.prefix, reading, |line| {
            let start = ends.last().copied().unwrap_or(0);
            if bytes.len() > start {
                // A line that is longer than a datagram may be is one of its own.
                match bytes.len() - start + 1 + line.len() > most {
                    true => ends.push(bytes.len()),
                    false => bytes.push(b'\n'),
                }
            }
            bytes.extend_from_slice(line.as_bytes());
        });
    }

    /// All statistics of a report are added: the last datagram is as full as it will be.
    pub fn finish(&mut self) {
        if self.bytes.len() > self.ends.last().copied().unwrap_or(0) {
            self.ends.push(self.bytes.len());
        }
        self.is_whole = true;
        self.stats.flushes.inc();
    }

    /// Tries to send the next datagram. With `gives_up`, one for which there is no room is lost.
    pub fn send(&mut self, gives_up: bool) -> Progress {
        let Some(datagram) = self.datagram(self.sent) else {
            self.keep_open();
            self.tell();
            return Progress::Done;
        };
        let mut result = self.socket.send(&self.bytes[datagram.clone()]);
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) && self.is_udp() {
            // It is an earlier datagram that nothing has taken.
            self.lost(&result);
            result = self.socket.send(&self.bytes[datagram]);
        }
        match &result {
            Ok(()) => {
                self.stats.datagrams_sent.inc();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !gives_up => return Progress::Full,
            Err(_) => self.lost(&result),
        }
        self.sent += 1;
        Progress::One
    }

    fn datagram(&self, index: usize) -> Option<Range<usize>> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(start..end)
    }

    /// Forgets what was sent; the datagram that is being filled stays.
    fn keep_open(&mut self) {
        self.bytes.drain(..self.ends.last().copied().unwrap_or(0));
        self.ends.clear();
        self.sent = 0;
    }

    /// A report of which nothing was lost ends what the log has said.
    fn tell(&mut self) {
        if self.is_whole && !self.has_lost && std::mem::take(&mut self.is_failing) {
            tracing::info!(target: "ringway::stats", sink = scope_name(&self.config), "statistics arrive again");
        }
    }

    fn is_udp(&self) -> bool {
        !matches!(&self.config.target, EndpointTarget::Address(ringway_config::model::Address::Unix(_)))
    }

    fn lost(&mut self, result: &io::Result<()>) {
        self.stats.datagrams_lost.inc();
        self.has_lost = true;
        let Err(error) = result else { return };
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(target: "ringway::stats", sink = scope_name(&self.config), %error, "statistics are lost");
        }
    }
}

/// `statsd.127.0.0.1_8125`.
pub(super) fn scope_name(config: &Statsd) -> String {
    let kind = match config.dialect {
        StatsdDialect::Plain => "statsd",
        StatsdDialect::Datadog => "dog_statsd",
    };
    let target = match &config.target {
        EndpointTarget::Address(address) => address.to_string(),
        EndpointTarget::Name { host, port } => format!("{host}:{port}"),
    };
    format!("{kind}.{}", target.replace(':', "_"))
}

#[cfg(test)]
mod tests;
