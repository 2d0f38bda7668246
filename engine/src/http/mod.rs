//! The protocol-neutral message: heads as offsets into the bytes they arrived in, ids for known fields, body framing.
//!
//! Nothing here does I/O or allocates on a warm path: a head is an object that is cleared and filled again, and a
//! [`Span`] names bytes in the buffer that the head was parsed from.

mod authority;
mod exchange;
mod field;
mod field_id;
pub mod grammar;
mod head;
mod method;
mod span;
mod status;

pub use authority::is_valid_authority;
pub use exchange::{Exchange, RequestId, RouteRef, Times};
pub use field::{Field, Fields};
pub use field_id::FieldId;
pub use head::{BodyKind, ImpliedPath, RequestHead, ResponseHead, Scheme, TargetForm};
pub use method::{Method, Version};
pub use span::Span;
pub use status::reason;
