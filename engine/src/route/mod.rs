//! Which route a request takes, and what the route says: matching, rewriting, hashing, redirects. All of it is pure.
//!
//! Invariant: nothing here sends, waits or counts time; `ringway explain` walks the same code without a request.

pub mod explain;
pub mod hash_policy;
pub mod internal_redirect;
pub mod matcher;
pub mod rewrite;
mod table;

pub use table::{Route, RouteTable, VirtualHost};
