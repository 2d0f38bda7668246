//! What everything may use: time and randomness behind one interface each.

pub mod clock;
pub mod date;
pub mod random;
