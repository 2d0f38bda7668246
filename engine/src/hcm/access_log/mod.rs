//! The access log: a record of each exchange becomes a line, lines become batches, and each file has a thread that writes
//! its batches. For programs elsewhere it becomes the texts of a record ([`LogQueue`]), and another thread sends them.
//!
//! A shard formats into a buffer of its own ([`ShardLog`]) and hands full buffers over without waiting. When a thread is
//! behind, a pipe is not read or the disk is full, lines are lost and counted; a request never waits for its log line.

mod compile;
mod export;
mod filter;
mod shard_log;
mod sink;
mod writer;

pub use compile::CompiledLog;
pub use export::{LogQueue, LogQueues, Records};
pub(super) use filter::LogFilter;
pub use shard_log::ShardLog;
pub use writer::{OpenError, Writer};

#[cfg(test)]
mod tests;
