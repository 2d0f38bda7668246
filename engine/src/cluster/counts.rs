//! How many hosts of a set are healthy, degraded or left out.

use super::host::{Health, HealthFlags};

/// Excluded hosts are in `total` and `excluded`, and in one of the others where their health says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub total: u32,
    pub healthy: u32,
    pub degraded: u32,
    pub excluded: u32,
}

impl Counts {
    /// Counts a host with these flags.
    pub fn add(&mut self, flags: HealthFlags) {
        self.total += 1;
        self.excluded += u32::from(flags.is_excluded());
        match flags.health() {
            Health::Healthy => self.healthy += 1,
            Health::Degraded => self.degraded += 1,
            Health::Unhealthy => {}
        }
    }

    /// Takes back a host that was added with these flags.
    pub fn remove(&mut self, flags: HealthFlags) {
        self.total -= 1;
        self.excluded -= u32::from(flags.is_excluded());
        match flags.health() {
            Health::Healthy => self.healthy -= 1,
            Health::Degraded => self.degraded -= 1,
            Health::Unhealthy => {}
        }
    }

    /// The hosts that priorities and panic go by.
    pub fn considered(&self) -> u32 {
        self.total - self.excluded
    }
}
