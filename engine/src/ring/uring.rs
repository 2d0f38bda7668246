//! One io_uring with one ring of provided buffers: set-up, submission, sleeping. What completions mean is driver.rs's.

use super::buffer::BufPool;
use super::memory::{self, Refused};
use super::pools::{Pools, ReceiveClass};
use io_uring::types::{BufRingEntry, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// The buffer group of a class.
pub(super) fn buffer_group(class: ReceiveClass) -> u16 {
    class as u16
}

/// What of a completion is needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub user_data: u64,
    pub result: i32,
    flags: u32,
}

impl Completion {
    /// The operation goes on and more completions follow.
    pub(super) fn more(self) -> bool {
        cqueue::more(self.flags)
    }

    /// Of an accept: more connections wait in the backlog.
    pub(super) fn left_some(self) -> bool {
        cqueue::sock_nonempty(self.flags)
    }

    pub(super) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

pub(super) struct Uring {
    ring: IoUring,
    short: BufferRing,
    /// Absent where there are no long buffers.
    long: Option<BufferRing>,
    /// Absent, too, where not even the smallest ring has memory for it.
    bulk: Option<BufferRing>,
    /// Calls of io_uring_enter.
    pub enters: u64,
}

impl Uring {
    /// `entries` submission entries, or fewer where little memory may be locked: a smaller ring serves as well, with more
    /// entries into the kernel.
    ///
    /// # Errors
    /// A sentence that names the cause and the remedy.
    pub(super) fn new(entries: u32, pools: &Pools) -> Result<Self, String> {
        let mut entries = entries.min(memory::largest_ring());
        loop {
            match memory::patiently(|| Self::of_size(entries, pools)) {
                Err(refused) if refused.no_memory && entries > memory::SMALLEST_RING => entries /= 2,
                made => return made.map_err(|refused| refused.why),
            }
        }
    }

    /// `entries` submission entries, four times as many for completions (multishot operations complete without being
    /// submitted again).
    pub(super) fn of_size(entries: u32, pools: &Pools) -> Result<Self, Refused> {
        let refused =
            |error: io::Error| Refused { no_memory: error.raw_os_error() == Some(libc::ENOMEM), why: refusal(&error) };
        let mut ring = build(entries).map_err(refused)?;
        check_operations(&ring).map_err(|why| Refused { no_memory: false, why })?;
        let mut register = |pool, class| BufferRing::register(&mut ring, pool, class).map_err(refused);
        let short = register(&pools.short, ReceiveClass::Short)?;
        let long = pools.long.as_ref().map(|pool| register(pool, ReceiveClass::Long)).transpose()?;
        let bulk = match pools.bulk.as_ref().map(|pool| register(pool, ReceiveClass::Bulk)) {
            Some(Err(refused)) if refused.no_memory && entries <= memory::SMALLEST_RING => None,
            bulk => bulk.transpose()?,
        };
        Ok(Self { ring, short, long, bulk, enters: 0 })
    }

    /// The pools whose buffers it may be lent.
    pub(super) fn served_by(&self, pools: Pools) -> Pools {
        Pools { bulk: pools.bulk.filter(|_| self.bulk.is_some()), ..pools }
    }

    /// Queue an entry; submits first when the queue is full.
    pub(super) fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: every caller is in driver.rs, where each operation's buffers belong to the socket table, whose
            // slot stays until the completion has arrived.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            self.enters += 1;
            if let Err(error) = self.ring.submit() {
                // EBUSY and EAGAIN pass as completions are fetched, which the next turn does; anything else is a bug.
                assert!(is_passing(&error), "io_uring_enter: {error}");
                std::thread::yield_now();
            }
        }
    }

    /// Submit what is queued and fetch what has completed. With `wait`, sleep until something completes or the time is
    /// over (`None`: without end).
    pub(super) fn enter(&mut self, wait: Option<Option<Duration>>) {
        self.enters += 1;
        let queued = self.ring.submission().len();
        let getevents = 1; // IORING_ENTER_GETEVENTS
        let entered = match wait {
            None => {
                // SAFETY: no argument is passed, and the entries' buffers are as `push` says.
                unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued as u32, 0, getevents, None) }
            }
            Some(None) => self.ring.submitter().submit_and_wait(1),
            Some(Some(time)) => {
                let timespec = Timespec::from(time);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
            }
        };
        if let Err(error) = entered {
            let timed_out = error.raw_os_error() == Some(libc::ETIME);
            assert!(timed_out || is_passing(&error), "io_uring_enter: {error}");
        }
    }

    /// Move completions to `into`.
    pub(super) fn completions(&mut self, into: &mut Vec<Completion>) {
        into.extend(self.ring.completion().map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    /// Whether every completion so far has been fetched, those that did not fit into the queue included.
    pub(super) fn has_no_completions(&mut self) -> bool {
        self.ring.completion().is_empty() && !self.ring.submission().cq_overflow()
    }

    pub(super) fn has_queued(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Lend free buffers to the kernel.
    pub(super) fn lend_buffers(&mut self, pools: &Pools) {
        self.short.fill(&pools.short);
        if let (Some(ring), Some(pool)) = (&mut self.long, &pools.long) {
            ring.fill(pool);
        }
        if let (Some(ring), Some(pool)) = (&mut self.bulk, &pools.bulk) {
            ring.fill(pool);
        }
    }

    /// Lend few again, after a burst.
    pub(super) fn trim(&mut self) {
        self.rings().for_each(|ring| ring.target = ring.at_first);
    }

    fn rings(&mut self) -> impl Iterator<Item = &mut BufferRing> {
        std::iter::once(&mut self.short).chain(&mut self.long).chain(&mut self.bulk)
    }
}

fn build(entries: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_clamp()
        .setup_submit_all()
        .setup_cqsize(entries.saturating_mul(4))
        .dontfork()
        .build(entries)
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN))
}

/// The operations that the engine uses must exist. Multishot receive and ring-mapped buffers cannot be probed by
/// opcode; SINGLE_ISSUER and DEFER_TASKRUN (6.0, 6.1) are younger than both, so their acceptance stands for them.
fn check_operations(ring: &IoUring) -> Result<(), String> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| refusal(&error))?;
    let needed = [
        (opcode::AcceptMulti::CODE, "accept"),
        (opcode::Connect::CODE, "connect"),
        (opcode::RecvMulti::CODE, "recv"),
        (opcode::Send::CODE, "send"),
        (opcode::SendMsg::CODE, "sendmsg"),
        (opcode::PollAdd::CODE, "poll"),
        (opcode::AsyncCancel::CODE, "cancel"),
        (opcode::Close::CODE, "close"),
    ];
    match needed.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => {
            Err(format!("this kernel's io_uring lacks the operation `{name}`: Linux 6.1 or newer is needed"))
        }
        None => Ok(()),
    }
}

/// Why the kernel refuses a ring, and what helps.
fn refusal(error: &io::Error) -> String {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match (error.raw_os_error(), disabled.trim()) {
        (Some(libc::ENOSYS), _) => {
            "io_uring does not exist here (ENOSYS): Linux 6.1 or newer is needed, and a sandbox such as gVisor has none"
                .into()
        }
        (Some(libc::EPERM | libc::EACCES), "1" | "2") => {
            "io_uring is switched off on this host: set `sysctl kernel.io_uring_disabled=0`".into()
        }
        (Some(libc::EPERM | libc::EACCES), _) => {
            "io_uring is refused (EPERM), most likely by a container's seccomp profile: allow io_uring_setup, \
             io_uring_enter and io_uring_register (docker: --security-opt seccomp=PROFILE)"
                .into()
        }
        (Some(libc::EINVAL), _) => {
            "this kernel's io_uring is too old (EINVAL): Linux 6.1 or newer is needed for DEFER_TASKRUN".into()
        }
        (Some(libc::ENOMEM), _) => {
            format!(
                "io_uring cannot lock enough memory (ENOMEM), this user may lock {}: {}, or lower runtime.ring_entries",
                memory::limit_text(),
                memory::REMEDIES
            )
        }
        (Some(libc::EMFILE | libc::ENFILE), _) => "no file descriptor is left for io_uring: raise `ulimit -n`".into(),
        _ => format!("io_uring cannot be set up: {error}"),
    }
}

/// Entries through which buffers are lent to the kernel.
struct BufferRing {
    class: ReceiveClass,
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    count: u16,
    tail: u16,
    /// Buffers to keep lent. The fewer there are, the sooner each is used again, while it is still in the cache; when
    /// one turn uses most of them up, there are more from then on.
    target: u16,
    at_first: u16,
}

/// Bytes lent of each class at first, within bounds.
const LENT_AT_FIRST: usize = 1 << 20;
/// Buffers lent of each class at most.
const LENT_MAX: u16 = 512;

impl BufferRing {
    fn register(ring: &mut IoUring, pool: &BufPool, class: ReceiveClass) -> io::Result<Self> {
        let count = pool.count().min(LENT_MAX);
        // Between 8 and 64, so that the cast loses nothing.
        let at_first = count.min((LENT_AT_FIRST / pool.buffer_size()).clamp(8, 64) as u16);
        let layout = Layout::array::<BufRingEntry>(count as usize)
            .and_then(|layout| layout.align_to(4096))
            .map_err(io::Error::other)?;
        // SAFETY: count is at least 1, so the layout has a size.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else { handle_alloc_error(layout) };
        let this = Self { class, entries, layout, count, tail: 0, target: at_first, at_first };
        // SAFETY: the memory has the size and alignment that the kernel asks for and lives until after the ring.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, count, buffer_group(class), 0)?;
        }
        Ok(this)
    }

    /// As a rule nothing is missing.
    #[inline]
    fn fill(&mut self, pool: &BufPool) {
        if pool.lent() < u32::from(self.target) {
            self.refill(pool);
        }
    }

    fn refill(&mut self, pool: &BufPool) {
        let before = self.tail;
        if pool.lent() < u32::from(self.target / 4) && before != 0 {
            self.target = self.target.saturating_mul(2).min(self.count);
        }
        while pool.lent() < u32::from(self.target) {
            let Some((id, address)) = pool.lend() else { break };
            let slot = (self.tail & (self.count - 1)) as usize;
            // SAFETY: slot < count, and the kernel reads an entry only after the tail has moved past it.
            let entry = unsafe { &mut *self.entries.as_ptr().add(slot) };
            entry.set_addr(address as u64);
            entry.set_len(pool.buffer_size() as u32);
            entry.set_bid(Pools::number(self.class, id));
            self.tail = self.tail.wrapping_add(1);
        }
        if self.tail != before {
            // SAFETY: the tail lies in the first entry's reserved bytes, 2-byte aligned; only the kernel reads it.
            let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
            tail.store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        for class in [ReceiveClass::Short, ReceiveClass::Long, ReceiveClass::Bulk] {
            // Fails for a class that was not registered.
            let _ = self.ring.submitter().unregister_buf_ring(buffer_group(class));
        }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `register` with this layout. `Uring::drop` has unregistered it from the kernel.
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) }
    }
}
