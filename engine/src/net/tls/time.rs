//! The wall clock of handshakes: by it certificates expire and sessions end. That of the machine, or of a simulation.

use crate::base::clock::Wall;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

pub(super) fn now(wall: &Wall) -> UnixTime {
    UnixTime::since_unix_epoch(wall.since_epoch())
}

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        Some(now(self))
    }
}
