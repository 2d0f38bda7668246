//! The access log: a record of each exchange becomes a line, lines become batches, one thread writes the batches.
//!
//! A shard formats into a buffer of its own ([`ShardLog`]) and hands full buffers over without waiting ([`Writer`]). When
//! the writer is behind or the disk is full, lines are lost and counted; a request never waits for its log line.

mod compile;
mod escape;
mod flags;
mod format;
mod record;
mod shard_log;
mod time;
mod writer;

pub use compile::{CompiledFormat, CompiledLog};
pub use flags::ResponseFlags;
pub use format::format;
pub use record::{EditedField, Record};
pub use shard_log::ShardLog;
pub use time::SecondCache;
pub use writer::{OpenError, SinkId, Writer};

#[cfg(test)]
mod tests;
