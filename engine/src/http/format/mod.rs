//! The substitution formatter (Envoy: access_log/usage, "Command Operators"): what is known of an exchange becomes a
//! log line or the value of a header field.
//!
//! A format is compiled once per configuration ([`CompiledFormat`]); writing it allocates only when the output has no
//! room. Whatever peers sent is made harmless for the place where it ends up.

mod compile;
mod escape;
mod flags;
#[allow(clippy::module_inception)]
mod format;
mod record;
mod time;

pub use compile::CompiledFormat;
pub use flags::ResponseFlags;
pub use format::format_line;
pub use record::{EditedField, Record};
pub use time::SecondCache;

#[cfg(test)]
mod tests;
