//! Durations, sizes and rates as people write them ("250ms", "16KiB", "20k"), and numbers as tables print them.
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration written with a unit: `500us`, `250ms`, `3s`, `5m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes: `46`, `46B`, `16KiB`, `1MiB`, `1GiB` (binary) or `2kB`, `1MB` (decimal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(pub u64);

/// A plain count with an optional `k` or `M`: `800`, `20k`, `1.5M`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

/// A text that is not the number with unit that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError {
    text: String,
    expected: &'static str,
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let expected = "a duration such as 250ms, 3s or 5m";
        let (value, unit) = number_and_unit(text, expected)?;
        let seconds = match unit {
            "us" | "µs" => value / 1e6,
            "ms" => value / 1e3,
            "s" => value,
            "m" | "min" => value * 60.0,
            "h" => value * 3600.0,
            _ => return Err(UnitError { text: text.into(), expected }),
        };
        Duration::try_from_secs_f64(seconds).map(Span).map_err(|_| UnitError { text: text.into(), expected })
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let expected = "a size such as 46, 16KiB or 1MiB";
        let (value, unit) = number_and_unit(text, expected)?;
        let scale = match unit {
            "" | "B" => 1.0,
            "kB" | "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(UnitError { text: text.into(), expected }),
        };
        Ok(Size((value * scale).round() as u64))
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let expected = "a rate such as 800, 20k or 1.5M";
        let (value, unit) = number_and_unit(text, expected)?;
        let scale = match unit {
            "" => 1.0,
            "k" | "K" => 1e3,
            "M" => 1e6,
            _ => return Err(UnitError { text: text.into(), expected }),
        };
        if value > 0.0 { Ok(Rate(value * scale)) } else { Err(UnitError { text: text.into(), expected }) }
    }
}

fn number_and_unit<'t>(text: &'t str, expected: &'static str) -> Result<(f64, &'t str), UnitError> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    match digits.parse::<f64>() {
        Ok(value) => Ok((value, unit.trim())),
        Err(_) => Err(UnitError { text: text.into(), expected }),
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not {}", self.text, self.expected)
    }
}

impl std::error::Error for UnitError {}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs_f64() {
            s if s >= 1.0 => write!(f, "{s}s"),
            s if s >= 1e-3 => write!(f, "{}ms", s * 1e3),
            s => write!(f, "{}us", s * 1e6),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bytes(self.0 as f64))
    }
}

/// Deserialises through `FromStr`, so that scenario files carry units.
macro_rules! serde_by_text {
    ($name:ty, $write:expr) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let write: fn(&$name) -> String = $write;
                serializer.serialize_str(&write(self))
            }
        }
    };
}
serde_by_text!(Span, |v| v.to_string());
serde_by_text!(Size, |v| v.0.to_string());
serde_by_text!(Rate, |v| v.0.to_string());

/// Bytes in the largest binary unit that keeps at least one whole digit: `46 B`, `16.0 KiB`.
pub fn bytes(count: f64) -> String {
    let magnitude = count.abs();
    match magnitude {
        m if m < 1024.0 => format!("{count:.0} B"),
        m if m < 1024.0 * 1024.0 => format!("{:.1} KiB", count / 1024.0),
        m if m < 1024.0 * 1024.0 * 1024.0 => format!("{:.1} MiB", count / 1024.0 / 1024.0),
        _ => format!("{:.2} GiB", count / 1024.0 / 1024.0 / 1024.0),
    }
}

/// A count in three or four significant digits: `812`, `20.4k`, `1.31M`.
pub fn count(value: f64) -> String {
    match value.abs() {
        v if v > 0.0 && v < 10.0 => format!("{value:.2}"),
        v if v < 1e3 => format!("{value:.0}"),
        v if v < 1e6 => format!("{:.1}k", value / 1e3),
        _ => format!("{:.2}M", value / 1e6),
    }
}

/// Microseconds in the unit that reads best: `87.3us`, `4.21ms`, `1.20s`.
pub fn micros(us: f64) -> String {
    match us {
        v if v < 1e3 => format!("{v:.1}us"),
        v if v < 1e6 => format!("{:.2}ms", v / 1e3),
        v => format!("{:.2}s", v / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_keep_it() {
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
        assert_eq!("1.5s".parse(), Ok(Span(Duration::from_millis(1500))));
        assert_eq!("2m".parse(), Ok(Span(Duration::from_secs(120))));
        assert!("250".parse::<Span>().is_err());
        assert!("-1s".parse::<Span>().is_err());
        assert_eq!(Span(Duration::from_millis(250)).to_string(), "250ms");
    }

    #[test]
    fn sizes_are_binary_or_decimal_as_written() {
        assert_eq!("16KiB".parse(), Ok(Size(16_384)));
        assert_eq!("2kB".parse(), Ok(Size(2_000)));
        assert_eq!("46".parse(), Ok(Size(46)));
        assert_eq!("16k".parse::<Size>().unwrap_err().to_string(), "`16k` is not a size such as 46, 16KiB or 1MiB");
    }

    #[test]
    fn rates_refuse_zero() {
        assert_eq!("20k".parse(), Ok(Rate(20_000.0)));
        assert!("0".parse::<Rate>().is_err());
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(20_412.0), "20.4k");
        assert_eq!((count(812.0).as_str(), count(3.5).as_str(), count(0.0).as_str()), ("812", "3.50", "0"));
        assert_eq!(micros(4_212.0), "4.21ms");
        assert_eq!(bytes(16_384.0), "16.0 KiB");
    }
}
