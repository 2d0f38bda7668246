//! The shard's reactor: tasks, timers, receive buffers and the io_uring driver beneath them.
//!
//! Invariants: what the kernel reads or writes belongs to the socket table here, never to a task, so that a task can
//! be dropped at any time. Every entry is tagged with its slot's generation, so that a late completion finds nobody.
//! Nothing here knows HTTP. Outside this folder and net/sys.rs there is no `unsafe`.
#![allow(unsafe_code)]

mod accept;
mod buffer;
mod dispatch;
mod driver;
mod pooled;
mod reactor;
mod send;
mod socket;
mod splice;
mod task;
mod timer;
mod uring;

pub use accept::Acceptor;
pub use buffer::{Buf, BufPool, PoolSize};
pub use pooled::Pooled;
pub use reactor::{Facts, Reactor, ReactorOptions, Timer, Unpark};
pub use send::Segment;
pub use socket::Socket;
pub use splice::{Moved, Splice};
pub use task::{Memory, TaskId};
