//! Units: durations ("250ms") and sizes ("16KiB") as text and as numbers.

use super::refusal::Refusal;

/// A year, which is long enough for every timer of the engine.
pub const DURATION_MAX_MS: u64 = 365 * 24 * 3_600_000;

const DURATION_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// The largest unit that leaves no remainder: "1h", "90s".
pub fn format_duration_ms(ms: u64) -> String {
    if ms == 0 { "0s".into() } else { format_in(&DURATION_UNITS, ms) }
}

/// The largest unit that leaves no remainder: "16KiB", "1500B".
pub fn format_size(bytes: u64) -> String {
    format_in(&SIZE_UNITS, bytes)
}

fn format_in(units: &[(&str, u64)], value: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| value >= *factor && value.is_multiple_of(*factor);
    let (unit, factor) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{unit}", value / factor)
}

pub fn out_of_range(text: &str, below: bool) -> Refusal {
    Refusal::new(format!("\"{text}\" is too {}", if below { "small" } else { "large" }))
}

pub fn parse_duration_ms(text: &str) -> Result<u64, Refusal> {
    let (digits, unit) = split_number(text);
    let refusal = || Refusal::new(format!("\"{text}\" is not a duration"));
    if let Some((_, factor)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) {
        if digits.is_empty() {
            return Err(refusal());
        }
        let ms = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        return ms.ok_or_else(|| out_of_range(text, false));
    }
    Err(refusal().hint(duration_hint(digits, unit)))
}

fn duration_hint(digits: &str, unit: &str) -> Option<String> {
    let number: u64 = digits.parse().ok()?;
    let meant = match unit.trim().to_ascii_lowercase().as_str() {
        "" => return Some(format!("the unit is missing: \"{number}s\" or \"{number}ms\"")),
        "us" | "µs" | "ns" => return Some("the shortest duration is \"1ms\"".into()),
        "ms" | "msec" | "msecs" | "millis" | "milliseconds" => format!("{number}ms"),
        "s" | "sec" | "secs" | "second" | "seconds" => format!("{number}s"),
        "m" | "min" | "mins" | "minute" | "minutes" => format!("{number}m"),
        "h" | "hr" | "hour" | "hours" => format!("{number}h"),
        "d" | "day" | "days" => format!("{}h", number.checked_mul(24)?),
        other if other.starts_with('.') => return Some("write a whole number of a smaller unit: \"1500ms\"".into()),
        other if other.contains(|c: char| c.is_ascii_digit()) => {
            return Some("write one number with one unit: \"90s\", not \"1m30s\"".into());
        }
        _ => return None,
    };
    Some(format!("did you mean \"{meant}\"?"))
}

pub fn parse_size(text: &str) -> Result<u64, Refusal> {
    let (digits, unit) = split_number(text);
    let refusal = || Refusal::new(format!("\"{text}\" is not a size"));
    if let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        if digits.is_empty() {
            return Err(refusal());
        }
        let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        return bytes.ok_or_else(|| out_of_range(text, false));
    }
    Err(refusal().hint(size_hint(digits, unit)))
}

fn size_hint(digits: &str, unit: &str) -> Option<String> {
    let number: u64 = digits.parse().ok()?;
    let (meant, factor) = match unit.trim().to_ascii_lowercase().as_str() {
        "" => return Some(format!("the unit is missing: \"{number}B\" or \"{number}KiB\"")),
        "b" | "byte" | "bytes" => return Some(format!("did you mean \"{number}B\"?")),
        "k" | "kb" | "kib" => ("KiB", 1u64 << 10),
        "m" | "mb" | "mib" => ("MiB", 1 << 20),
        "g" | "gb" | "gib" => ("GiB", 1 << 30),
        other if other.starts_with('.') => return Some("write a whole number of a smaller unit: \"1536KiB\"".into()),
        _ => return None,
    };
    Some(format!("units are powers of 1024: did you mean \"{number}{meant}\" ({} bytes)?", number.checked_mul(factor)?))
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_formatted_is_read_back() {
        for (ms, text) in [(0, "0s"), (1, "1ms"), (1500, "1500ms"), (90_000, "90s"), (300_000, "5m"), (3_600_000, "1h")]
        {
            assert_eq!(format_duration_ms(ms), text);
            assert_eq!(parse_duration_ms(text).ok(), Some(ms));
        }
        for (bytes, text) in
            [(0, "0B"), (1500, "1500B"), (16 << 10, "16KiB"), (1536 << 10, "1536KiB"), (1 << 30, "1GiB")]
        {
            assert_eq!(format_size(bytes), text);
            assert_eq!(parse_size(text).ok(), Some(bytes));
        }
    }

    #[test]
    fn a_number_and_its_unit_are_both_needed() {
        for text in ["", "s", "5", "-5s", "+5s", "5 s", " 5s", "5s ", "5S", "1e3s", "٣s", "18446744073709551616ms"] {
            assert!(parse_duration_ms(text).is_err(), "{text:?}");
        }
        for text in ["", "B", "5", "5kib", "5 KiB", "16777216TiB", "18014398509481984KiB"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }
}
