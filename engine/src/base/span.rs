//! Durations as the configuration file writes them, for messages.

use std::fmt;
use std::time::Duration;

/// `250ms`, `1.5s`, `5m`, `1h`; to the millisecond, so that measured times are short, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = (self.0.as_micros() + 500) / 1000;
        match ms {
            0 if !self.0.is_zero() => f.write_str("under 1ms"),
            0 => f.write_str("0s"),
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            1..1000 => write!(f, "{ms}ms"),
            ms => write!(f, "{}s", ms as f64 / 1000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_in_the_configuration() {
        let span = |micros| Span(Duration::from_micros(micros)).to_string();
        assert_eq!([span(0), span(1), span(700)], ["0s", "under 1ms", "1ms"]);
        assert_eq!([span(250_000), span(1_000_000), span(1_180_417)], ["250ms", "1s", "1.18s"]);
        assert_eq!([span(90_000_000), span(300_000_000), span(7_200_000_000)], ["90s", "5m", "2h"]);
    }
}
