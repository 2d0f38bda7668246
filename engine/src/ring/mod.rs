//! The shard's reactor: tasks, timers, receive buffers and the io_uring driver beneath them.
//!
//! Invariants: what the kernel reads or writes belongs to the socket table here, never to a task, so that a task can
//! be dropped at any time. Every entry is tagged with its slot's generation, so that a late completion finds no socket.
//! Leaf futures (`poll_recv`, `Timer`, ...) wake the task that polled them (`Reactor::current_task`), not the waker of the
//! context: so each exchange is a task of its own. Several exchanges polled inside one task would all be polled for each
//! byte that one of them gets; in a `FuturesUnordered`, which polls only what its own wakers name, they would hang.
//! Nothing here knows HTTP. Outside this folder and net/sys.rs there is no `unsafe`.
#![allow(unsafe_code)]

mod accept;
mod assembly;
mod batch;
mod buffer;
mod deadline;
mod dispatch;
mod driver;
mod fetch;
pub mod host;
mod idle;
mod jobs;
pub mod memory;
mod paged;
mod pooled;
mod pools;
mod reactor;
mod receive;
mod send;
mod socket;
mod splice;
mod task;
mod timer;
mod unpark;
mod uring;
pub mod workers;
mod yielding;

pub use accept::Acceptor;
pub use assembly::Assembly;
pub use buffer::{Buf, BufPool, PoolSize};
pub use deadline::Timer;
pub use fetch::Memory;
pub use jobs::{Disposer, Job, Progress};
pub use pooled::Pooled;
pub use pools::{BULK_SIZE, ReceiveClass};
pub use reactor::{Facts, Reactor, ReactorOptions};
pub use send::Segment;
pub(crate) use send::{JOINED_MAX, SendQueue};
pub use socket::Socket;
pub use splice::{Moved, Splice};
pub use task::TaskId;
pub use unpark::Unpark;
pub use yielding::{Attempts, Spare};
