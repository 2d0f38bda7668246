//! Distributed tracing: the context in which a request comes and goes on, and the spans that tell of it.

mod b3;
mod context;
mod record;
mod state;
mod tracers;
mod w3c;

pub use context::{Context, Found, Ids, Malformed, Onward, Slots, fields, find, write};
pub use record::{Event, Item, Key, Kind, RecordWriter, SpanFacts, SpanRecord, Tag, Value};
pub use state::{RetryReason, Trace, TrySpan, TryTrace, new_id};
pub use tracers::Tracers;
pub use w3c::is_valid_tracestate;

#[cfg(test)]
mod tests;
