//! What everything may use: time and randomness behind one interface each, and the program log.

pub mod clock;
pub mod date;
pub mod logging;
pub mod random;
