//! Distributed tracing: the context in which a request comes and goes on, and the spans that tell of it.

mod b3;
mod context;
pub mod parse;
mod record;
mod state;
mod tracers;
mod w3c;

pub use context::{Found, Onward, Slots, fields, find, write};
pub use parse::{Context, Ids, Malformed};
pub use record::{Event, Item, Key, Kind, RecordWriter, SpanFacts, SpanRecord, Tag, Value};
pub use state::{RetryReason, Trace, Tracing, Tries, TrySpan, new_id};
pub use tracers::Tracers;
pub use w3c::{is_valid_tracestate, write_unsampled};

#[cfg(test)]
mod tests;
