//! The protocol-neutral message: heads as offsets into the bytes they arrived in, ids for known fields.
//!
//! Nothing here does I/O or allocates on a warm path: a head is an object that is cleared and filled again, and a
//! [`Span`] names bytes in the buffer that the head was parsed from.

mod authority;
pub mod coding;
mod edit;
mod exchange;
mod field;
mod field_id;
pub mod format;
pub mod grammar;
pub mod grpc;
mod head;
pub mod matcher;
mod message;
mod method;
mod mutation;
mod pairs;
pub mod path;
mod reply;
mod span;
mod status;
pub mod trace;
mod trailers;
mod violation;
mod work;

pub use authority::{host_name, is_valid_authority, split_port};
pub use edit::HeadEditor;
pub use exchange::{Exchange, Facts, RequestId, RouteRef, Times, TryFacts, TryTimes, TryWireBytes, WireBytes};
pub use field::{Field, Fields};
pub use field_id::{DASHED_MAX, FieldId, dash};
pub use head::{ImpliedPath, Length, RequestHead, ResponseHead, Scheme, TargetForm};
pub use message::Message;
pub use method::{Method, Version};
pub use mutation::Mutations;
pub use reply::Reply;
pub use span::{EditBytes, HeadView, Span, SpanBytes};
pub use status::reason;
pub use trailers::Trailers;
pub use violation::Violation;
pub use work::Work;
