//! Locked memory: the kernel counts rings against RLIMIT_MEMLOCK of their user, root excepted. Where the limit is small, the
//! rings are small, all of them, instead of large ones for the first shards and none for the last.

use super::pools::Pools;
use super::reactor::ReactorOptions;
use super::uring::Uring;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Submission entries below which a ring is not worth having.
pub(super) const SMALLEST_RING: u32 = 16;

/// What helps, as part of a sentence.
pub(super) const REMEDIES: &str =
    "raise the limit (systemd: LimitMEMLOCK=8M, docker: --ulimit memlock=8388608, shell: ulimit -l 8192)";

/// Submission entries that a ring of this process has at most.
static LARGEST: AtomicU32 = AtomicU32::new(u32::MAX);

pub(super) fn largest_ring() -> u32 {
    LARGEST.load(Relaxed)
}

/// What the kernel limits for each process (getrlimit(2)).
#[derive(Clone, Copy, Debug)]
pub enum Resource {
    LockedMemory,
    Descriptors,
    Addresses,
}

impl Resource {
    /// How much of it this process may use; `None`: all that there is.
    pub fn limit(self) -> Option<u64> {
        let limit = self.read();
        (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
    }

    /// Raises the soft limit to the hard one, and returns what then is the limit.
    pub fn raise(self) -> Option<u64> {
        let limit = self.read();
        if limit.rlim_cur < limit.rlim_max {
            let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
            // SAFETY: the pointer is valid for the call. Where it fails, the limit stays.
            let _ = unsafe {
                match self {
                    Self::LockedMemory => libc::setrlimit(libc::RLIMIT_MEMLOCK, &raised),
                    Self::Descriptors => libc::setrlimit(libc::RLIMIT_NOFILE, &raised),
                    Self::Addresses => libc::setrlimit(libc::RLIMIT_AS, &raised),
                }
            };
        }
        self.limit()
    }

    fn read(self) -> libc::rlimit {
        let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the pointer is valid for the call. Should it fail, the limit is as above.
        let _ = unsafe {
            match self {
                Self::LockedMemory => libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit),
                Self::Descriptors => libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit),
                Self::Addresses => libc::getrlimit(libc::RLIMIT_AS, &mut limit),
            }
        };
        limit
    }
}

/// Locked memory held for reactors that are still to be made.
pub struct Reserved(Vec<Uring>);

impl Reserved {
    /// Where nothing limits the memory.
    pub fn nothing() -> Self {
        Self(Vec::new())
    }

    /// Gives one reactor's memory back, to be taken by the reactor itself.
    pub fn release_one(&mut self) {
        self.0.pop();
    }
}

/// Finds the size at which all these rings fit together, by making them: as asked for, or half as large, and so on. From now
/// on no ring of the process is larger.
///
/// # Errors
/// One sentence: even the smallest rings do not fit, or io_uring is refused.
pub fn reserve(rings: &[ReactorOptions]) -> Result<Reserved, String> {
    let wanted = rings.iter().map(|ring| ring.ring_entries).max().unwrap_or(SMALLEST_RING);
    // Sizes that cannot fit are not tried: the memory of each attempt comes back late.
    let mut entries = wanted;
    while entries > SMALLEST_RING && Resource::LockedMemory.limit().is_some_and(|limit| bytes(rings, entries) > limit) {
        entries = (entries / 2).max(SMALLEST_RING);
    }
    loop {
        match make_all(rings, entries) {
            Ok(made) => {
                if entries < wanted {
                    LARGEST.store(entries, Relaxed);
                    tracing::warn!(target: "ringway::ring", "{}", smaller(rings, wanted, entries));
                }
                return Ok(Reserved(made));
            }
            Err(refused) if refused.no_memory && entries > SMALLEST_RING => entries = (entries / 2).max(SMALLEST_RING),
            Err(refused) if refused.no_memory => return Err(too_small(rings)),
            Err(refused) => return Err(refused.why),
        }
    }
}

/// Why there is no ring.
pub(super) struct Refused {
    /// Less memory may be locked than the ring needs.
    pub no_memory: bool,
    /// A sentence that names the cause and the remedy.
    pub why: String,
}

/// The kernel takes back the memory of a ring some time after its end. A new ring is tried this many times more, after a
/// pause that doubles each time.
const RETRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Repeats `make` while the memory of earlier rings may still come back.
pub(super) fn patiently<T>(mut make: impl FnMut() -> Result<T, Refused>) -> Result<T, Refused> {
    for retry in 0..RETRIES {
        match make() {
            Err(refused) if refused.no_memory => std::thread::sleep(FIRST_PAUSE * (1 << retry)),
            made => return made,
        }
    }
    make()
}

/// Those that are made stay while the next one is tried again.
fn make_all(rings: &[ReactorOptions], largest: u32) -> Result<Vec<Uring>, Refused> {
    let make = |ring: &ReactorOptions| {
        let pools = Pools::new(ring.buffers).map_err(|why| Refused { no_memory: false, why })?;
        patiently(|| Uring::of_size(ring.ring_entries.min(largest), &pools))
    };
    rings.iter().map(make).collect()
}

/// Bytes that the kernel locks for these rings: the entries of both queues and a header, in at least two pages, and those
/// of the receive buffers, 16 bytes each. The smallest rings do without bulk buffers if they must.
fn bytes(rings: &[ReactorOptions], largest: u32) -> u64 {
    const PAGE: u64 = 4096;
    let buffers = |count: u64| (count * 16).next_multiple_of(PAGE);
    let of = |ring: &ReactorOptions| {
        let count = u64::from(ring.buffers.count.min(512));
        (u64::from(ring.ring_entries.min(largest)) * 128 + 512).next_multiple_of(PAGE).max(2 * PAGE)
            + buffers(count)
            + buffers(count / 4)
            + if largest > SMALLEST_RING { buffers(count / 16) } else { 0 }
    };
    rings.iter().map(of).sum()
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes / 1024)
}

pub(super) fn limit_text() -> String {
    Resource::LockedMemory.limit().map_or_else(|| "any amount".into(), kib)
}

fn smaller(rings: &[ReactorOptions], wanted: u32, entries: u32) -> String {
    format!(
        "this user may lock {} of memory, and {} rings of up to {wanted} entries need about {}: all rings have at most \
         {entries} entries, which costs more system calls; {REMEDIES}",
        limit_text(),
        rings.len(),
        kib(bytes(rings, wanted)),
    )
}

fn too_small(rings: &[ReactorOptions]) -> String {
    format!(
        "this user may lock {} of memory, and {} rings of only {SMALLEST_RING} entries need about {}: {REMEDIES}, or run \
         fewer shards",
        limit_text(),
        rings.len(),
        kib(bytes(rings, SMALLEST_RING)),
    )
}
