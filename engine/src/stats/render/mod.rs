//! Statistics as text, in the formats of the admin endpoint.

mod json;
mod prometheus;
mod shown;
mod text;

pub(super) use json::json;
pub(super) use prometheus::prometheus;
pub(super) use shown::find;
pub(super) use text::text;

#[cfg(test)]
mod tests;
