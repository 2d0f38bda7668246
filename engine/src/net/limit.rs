//! The limits of client connections, exact over all shards: counts that change when a connection opens and when it closes,
//! never for a request.

use super::refusals::Refusals;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xxhash_rust::xxh64::xxh64;

/// A limit and its use.
#[derive(Debug)]
pub struct ConnectionLimit {
    max: AtomicU64,
    used: AtomicU64,
    refusals: Refusals,
}

impl ConnectionLimit {
    /// `None`: no limit, but connections are still counted.
    pub fn new(max: Option<u64>) -> Arc<Self> {
        let max = AtomicU64::new(max.unwrap_or(u64::MAX));
        Arc::new(Self { max, used: AtomicU64::new(0), refusals: Refusals::default() })
    }

    /// Sets a new configuration's limit. Connections above it stay open.
    pub fn set(&self, max: Option<u64>) {
        self.max.store(max.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// One connection's part of the limit; dropping it gives it back.
#[derive(Debug)]
pub struct Permit(Arc<ConnectionLimit>);

impl Permit {
    pub fn take(limit: &Arc<ConnectionLimit>) -> Option<Self> {
        if limit.used.fetch_add(1, Ordering::Relaxed) >= limit.max.load(Ordering::Relaxed) {
            limit.used.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(limit.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections of each client, by its address.
#[derive(Debug)]
pub struct ClientLimit {
    /// `u64::MAX`: no limit, and nothing is counted.
    max: AtomicU64,
    /// A client's count is in the part that its address hashes to, so that shards seldom wait for each other.
    parts: [Mutex<HashMap<IpAddr, u64>>; 16],
    refusals: Refusals,
}

impl ClientLimit {
    pub fn new(max: Option<u64>) -> Arc<Self> {
        let max = AtomicU64::new(max.unwrap_or(u64::MAX));
        Arc::new(Self { max, parts: Default::default(), refusals: Refusals::default() })
    }

    /// Sets a new configuration's limit. Connections above it stay open; those from before there was a limit do not count.
    pub fn set(&self, max: Option<u64>) {
        self.max.store(max.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.max.load(Ordering::Relaxed) != u64::MAX
    }

    /// A panic of another holder leaves the counts whole.
    fn part(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u64>> {
        let hash = match address {
            IpAddr::V4(address) => xxh64(&address.octets(), 0),
            IpAddr::V6(address) => xxh64(&address.octets(), 0),
        };
        self.parts[(hash % self.parts.len() as u64) as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's part of its client's limit; dropping it gives it back.
#[derive(Debug)]
pub struct ClientPermit {
    limit: Arc<ClientLimit>,
    pub address: IpAddr,
}

impl ClientPermit {
    fn take(limit: &Arc<ClientLimit>, address: IpAddr) -> Option<Box<Self>> {
        let mut part = limit.part(address);
        let used = part.get(&address).copied().unwrap_or(0);
        if used >= limit.max.load(Ordering::Relaxed) {
            return None;
        }
        part.insert(address, used + 1);
        Some(Box::new(Self { limit: limit.clone(), address }))
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let mut part = self.limit.part(self.address);
        if let Some(used) = part.get_mut(&self.address) {
            *used -= 1;
            if *used == 0 {
                part.remove(&self.address);
            }
        }
    }
}

/// All limits that the connections of one listener count against.
#[derive(Debug)]
pub struct Limits {
    pub listener: Arc<ConnectionLimit>,
    pub process: Arc<ConnectionLimit>,
    pub client: Arc<ClientLimit>,
}

impl Limits {
    /// The limit, and what it has refused.
    pub fn of(&self, full: Full) -> (u64, &Refusals) {
        match full {
            Full::Client => (self.client.max.load(Ordering::Relaxed), &self.client.refusals),
            Full::Listener => (self.listener.max.load(Ordering::Relaxed), &self.listener.refusals),
            Full::Process => (self.process.max.load(Ordering::Relaxed), &self.process.refusals),
        }
    }
}

/// One connection's part of all its limits.
#[derive(Debug)]
pub struct Permits {
    listener: Permit,
    process: Permit,
    /// Absent where clients are not limited.
    pub client: Option<Box<ClientPermit>>,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Client,
    Listener,
    Process,
}

impl Full {
    /// The key of the configuration that sets the limit.
    pub fn config_key(self) -> &'static str {
        match self {
            Self::Client => "listeners[].max_connections_per_client",
            Self::Listener => "listeners[].max_connections",
            Self::Process => "runtime.max_connections",
        }
    }

    /// The listener's statistic that counts the refused connections.
    pub fn statistic(self) -> &'static str {
        match self {
            Self::Client => "downstream_cx_client_overflow",
            Self::Listener => "downstream_cx_overflow",
            Self::Process => "downstream_global_cx_overflow",
        }
    }
}

/// A new connection on its way to its permits.
#[derive(Debug)]
pub struct Claim {
    pub limits: Rc<Limits>,
    /// The client's address, where clients are limited.
    pub address: Option<IpAddr>,
    listener: Option<Permit>,
    process: Option<Permit>,
    client: Option<Box<ClientPermit>>,
}

impl Claim {
    pub fn new(limits: &Rc<Limits>, remote: Option<SocketAddr>) -> Self {
        let address = remote.filter(|_| limits.client.is_set()).map(|remote| remote.ip().to_canonical());
        Self { limits: limits.clone(), address, listener: None, process: None, client: None }
    }

    /// Takes what is missing.
    ///
    /// # Errors
    /// The limit that is in the way.
    pub fn fill(&mut self) -> Result<(), Full> {
        if self.client.is_none()
            && let Some(address) = self.address
        {
            self.client = Some(ClientPermit::take(&self.limits.client, address).ok_or(Full::Client)?);
        }
        if self.listener.is_none() {
            self.listener = Some(Permit::take(&self.limits.listener).ok_or(Full::Listener)?);
        }
        if self.process.is_none() {
            self.process = Some(Permit::take(&self.limits.process).ok_or(Full::Process)?);
        }
        Ok(())
    }

    /// Takes over what fits of another connection's permits; the rest is given back. No other connection can come between.
    pub fn inherit(&mut self, given: Permits) {
        let Permits { listener, process, client } = given;
        if self.client.is_none()
            && let Some(client) = client
            && Some(client.address) == self.address
            && Arc::ptr_eq(&client.limit, &self.limits.client)
        {
            self.client = Some(client);
        }
        if self.listener.is_none() && Arc::ptr_eq(&listener.0, &self.limits.listener) {
            self.listener = Some(listener);
        }
        if self.process.is_none() {
            self.process = Some(process);
        }
    }

    /// The permits; `None` unless `fill` has succeeded.
    pub fn permits(self) -> Option<Permits> {
        Some(Permits { listener: self.listener?, process: self.process?, client: self.client })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(listener: u64, process: u64, client: Option<u64>) -> Rc<Limits> {
        Rc::new(Limits {
            listener: ConnectionLimit::new(Some(listener)),
            process: ConnectionLimit::new(Some(process)),
            client: ClientLimit::new(client),
        })
    }

    fn take(limits: &Rc<Limits>, remote: &str) -> Result<Permits, Full> {
        let mut claim = Claim::new(limits, Some(remote.parse().expect("an address")));
        claim.fill().map(|()| claim.permits().expect("it is full"))
    }

    #[test]
    fn the_limit_is_exact() {
        let limit = ConnectionLimit::new(Some(2));
        let held = [Permit::take(&limit), Permit::take(&limit)];
        assert!(held.iter().all(Option::is_some) && Permit::take(&limit).is_none());
        drop(held);
        assert!(limit.used() == 0 && Permit::take(&limit).is_some());
    }

    /// The first at once, then one line in ten seconds, with the number of all since the last.
    #[test]
    fn refusals_are_told_once_in_ten_seconds() {
        const SECOND: u64 = 1_000_000_000;
        let limits = limits(1, 1, Some(1));
        let note = |full, now| limits.of(full).1.note(now);
        assert_eq!([0, 1, 9 * SECOND].map(|now| note(Full::Listener, now)), [Some(1), None, None]);
        assert_eq!(note(Full::Process, 2), Some(1), "each limit for itself");
        assert_eq!([11 * SECOND, 12 * SECOND].map(|now| note(Full::Listener, now)), [Some(3), None]);
        assert_eq!(note(Full::Listener, 100 * SECOND), Some(2));
    }

    #[test]
    fn a_client_is_its_address_and_forgotten_with_its_last_connection() {
        let limits = limits(10, 10, Some(2));
        let _other = take(&limits, "192.0.2.2:1").expect("another client");
        let held = [take(&limits, "192.0.2.1:1"), take(&limits, "[::ffff:192.0.2.1]:2")];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(take(&limits, "192.0.2.1:3").err(), Some(Full::Client));
        drop(held);
        assert!(take(&limits, "192.0.2.1:3").is_ok());
        let known: usize = limits.client.parts.iter().map(|part| part.lock().expect("whole").len()).sum();
        assert_eq!((known, limits.listener.used()), (1, 1));
    }

    #[test]
    fn what_a_connection_gives_up_is_inherited_where_it_fits() {
        let (one, mut other) = (limits(1, 1, Some(1)), limits(1, 9, Some(1)));
        Rc::get_mut(&mut other).expect("alone").process = one.process.clone();
        let given = take(&one, "192.0.2.1:1").expect("room");
        let mut claim = Claim::new(&other, Some("192.0.2.1:2".parse().expect("an address")));
        assert_eq!(claim.fill(), Err(Full::Process));
        claim.inherit(given);
        assert_eq!((claim.fill(), one.process.used(), one.listener.used()), (Ok(()), 1, 0));
        drop(claim.permits().expect("all of them"));
        assert_eq!((one.process.used(), other.listener.used()), (0, 0));
    }
}
