//! The access log: a record of each exchange becomes a line, lines become batches, one thread writes the batches.
//!
//! A shard formats into a buffer of its own ([`ShardLog`]) and hands full buffers over without waiting ([`Writer`]). When
//! the writer is behind or the disk is full, lines are lost and counted; a request never waits for its log line.

mod compile;
mod filter;
mod shard_log;
mod writer;

pub use compile::CompiledLog;
pub use shard_log::ShardLog;
pub use writer::{OpenError, SinkId, Writer};

#[cfg(test)]
mod tests;
