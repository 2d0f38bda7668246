//! What everything may use: time and randomness behind one interface each, and where logs are written.

pub mod address;
pub mod clock;
pub mod date;
pub mod log_file;
pub mod logging;
pub mod output;
pub mod random;
pub mod record_ring;
pub mod span;
pub mod spare;
pub mod version;
