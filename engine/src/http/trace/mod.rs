//! Distributed tracing: the context in which a request comes and goes on, and the spans that tell of it.

mod record;
mod tracers;

pub use record::{Event, Item, Key, Kind, RecordWriter, SpanFacts, SpanRecord, Tag, Value};
pub use tracers::Tracers;
