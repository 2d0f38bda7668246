//! The substitution formatter (Envoy: advanced/substitution_formatter): what is known of an exchange becomes a log line
//! or the value of a header field.
//!
//! A format is compiled once per configuration ([`CompiledFormat`], [`LineFormat`]); writing it allocates only when the
//! output has no room. Whatever peers sent is made harmless for the place where it ends up.

mod compile;
mod escape;
mod evaluate;
mod flags;
mod query;
mod record;
mod secured;
mod time;
mod write;

pub use compile::{CompiledFormat, LineFormat};
pub use escape::push_json;
pub use flags::ResponseFlags;
pub use record::{ConnectionEnd, Record};
pub use time::SecondCache;
pub use write::{Escape, format_body, format_line, format_value, take_field};

#[cfg(test)]
mod operator_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod value_tests;
