//! Time. A shard reads the clock once per turn of its loop and everything on the shard uses that reading; tests put a
//! virtual clock in its place and move it by hand.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds on a monotonic clock with an arbitrary start, the same for all threads of the process.
pub type Nanos = u64;

static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// Where a shard's time comes from.
#[derive(Debug)]
pub enum Clock {
    /// The machine's clocks: monotonic for deadlines, wall clock for logs.
    Real { origin: Instant, wall_origin: Cell<u64> },
    /// Stands still until `Clock::advance` moves it.
    Virtual { now: Arc<AtomicU64> },
}

/// The wall clock for what is shared by threads: that of the machine, or the one of a simulation.
#[derive(Clone, Debug, Default)]
pub enum Wall {
    #[default]
    System,
    /// With the nanoseconds that have passed in it.
    Virtual(Arc<AtomicU64>),
}

impl Wall {
    pub fn since_epoch(&self) -> Duration {
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Self::Virtual(now) => {
                Duration::from_micros(VIRTUAL_WALL_ORIGIN) + Duration::from_nanos(now.load(Ordering::Relaxed))
            }
        }
    }
}

/// Virtual time starts here on the wall clock: 2026-01-01T00:00:00Z, in microseconds since the epoch.
const VIRTUAL_WALL_ORIGIN: u64 = 1_767_225_600_000_000;

impl Clock {
    pub fn real() -> Self {
        let clock = Self::Real { origin: *ORIGIN.get_or_init(Instant::now), wall_origin: Cell::new(0) };
        clock.resync();
        clock
    }

    pub fn virtual_time() -> Self {
        Self::Virtual { now: Arc::default() }
    }

    pub fn now(&self) -> Nanos {
        match self {
            Self::Real { origin, .. } => origin.elapsed().as_nanos() as u64,
            Self::Virtual { now } => now.load(Ordering::Relaxed),
        }
    }

    /// Wall clock time in microseconds since the epoch that belongs to the monotonic reading `now`. A step of the wall
    /// clock is followed when the caller passes fresh readings to `Clock::resync`.
    pub fn wall_micros(&self, now: Nanos) -> u64 {
        match self {
            Self::Real { wall_origin, .. } => wall_origin.get() + now / 1000,
            Self::Virtual { .. } => VIRTUAL_WALL_ORIGIN + now / 1000,
        }
    }

    pub fn wall(&self) -> Wall {
        match self {
            Self::Real { .. } => Wall::System,
            Self::Virtual { now } => Wall::Virtual(now.clone()),
        }
    }

    /// Read the wall clock again, so that a step of it (NTP, an operator) shows in logs.
    pub fn resync(&self) {
        if let Self::Real { origin, wall_origin } = self {
            wall_origin.set(unix_micros().saturating_sub(origin.elapsed().as_micros() as u64));
        }
    }

    /// Move virtual time on. Does nothing to a real clock.
    pub fn advance(&self, by: Duration) {
        if let Self::Virtual { now } = self {
            now.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
        }
    }
}

/// `Duration` as the clock's unit; centuries saturate.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn unix_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// A deadline that does not come.
pub const NEVER: Nanos = Nanos::MAX;

/// The end of `limit`, which begins at `now`; without one, `NEVER`.
pub fn deadline(now: Nanos, limit: Option<Duration>) -> Nanos {
    limit.map_or(NEVER, |limit| now.saturating_add(nanos(limit)))
}
