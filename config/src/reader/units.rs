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

/// Milliseconds. A fraction is allowed if no part of a millisecond is left: "0.25s", "1.5m".
pub fn parse_duration_ms(text: &str) -> Result<u64, Refusal> {
    let (number, unit) = split_decimal(text);
    let refusal = || Refusal::new(format!("\"{text}\" is not a duration"));
    let Some((_, factor)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(other_unit(refusal(), number, unit));
    };
    let Some(decimal) = Decimal::parse(number) else {
        let mended = match number.strip_suffix('.') {
            Some(whole) => format!("{whole}{unit}"),
            None if number.starts_with('.') => format!("0{number}{unit}"),
            None => return Err(refusal()),
        };
        return Err(refusal().instead("write digits on both sides of the point: {}", [mended]));
    };
    match decimal.times(*factor) {
        None => Err(out_of_range(text, false)),
        Some((ms, true)) => Ok(ms),
        Some((ms, false)) => {
            let near = format_duration_ms(ms.max(1));
            Err(refusal().instead("the shortest step is 1ms: did you mean {}?", [near]))
        }
    }
}

/// What stands for a number of seconds, if no part of a millisecond is left: "250ms", "1.5s".
pub fn seconds(number: &str) -> Option<String> {
    let (ms, is_whole) = Decimal::parse(number)?.times(1_000)?;
    let text = if ms < 1_000 { format_duration_ms(ms) } else { format!("{number}s") };
    is_whole.then_some(text)
}

/// Why a unit that is none, or a unit of another program, is refused.
fn other_unit(refusal: Refusal, number: &str, unit: &str) -> Refusal {
    let Some(decimal) = Decimal::parse(number) else { return refusal };
    let meant = match unit.trim().to_ascii_lowercase().as_str() {
        "" if decimal.places > 0 => return refusal.instead("the unit is missing: {}", seconds(number)),
        "" => return refusal.instead("the unit is missing: {}", [format!("{number}s"), format!("{number}ms")]),
        "us" | "µs" | "ns" => return refusal.instead("the shortest duration is {}", ["1ms"]),
        "ms" | "msec" | "msecs" | "millis" | "milliseconds" => format!("{number}ms"),
        "s" | "sec" | "secs" | "second" | "seconds" => format!("{number}s"),
        "m" | "min" | "mins" | "minute" | "minutes" => format!("{number}m"),
        "h" | "hr" | "hour" | "hours" => format!("{number}h"),
        "d" | "day" | "days" => match decimal.times(24 * 3_600_000) {
            Some((ms, _)) => format_duration_ms(ms),
            None => return refusal,
        },
        _ => {
            let sum = sum_of_parts(&format!("{number}{unit}")).map(format_duration_ms);
            return refusal.instead("write one number with one unit: {}", sum);
        }
    };
    refusal.instead("did you mean {}?", [meant])
}

/// What "1m30s" comes to.
fn sum_of_parts(text: &str) -> Option<u64> {
    let (mut rest, mut sum) = (text, 0u64);
    while !rest.is_empty() {
        let (number, after) = split_decimal(rest);
        let length = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == &after[..length])?;
        sum = sum.checked_add(Decimal::parse(number)?.times(*factor)?.0)?;
        rest = after[length..].trim_start();
    }
    Some(sum)
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
    Err(other_size_unit(refusal(), digits, unit))
}

fn other_size_unit(refusal: Refusal, digits: &str, unit: &str) -> Refusal {
    let Ok(number) = digits.parse::<u64>() else { return refusal };
    let (meant, factor) = match unit.trim().to_ascii_lowercase().as_str() {
        "" if number >= 1024 => {
            let phrase = format!("the unit is missing: {number} bytes are {{}}");
            return refusal.instead(&phrase, [format_size(number)]);
        }
        "" => return refusal.instead("the unit is missing: {}", [format!("{number}B"), format!("{number}KiB")]),
        "b" | "byte" | "bytes" => return refusal.instead("did you mean {}?", [format!("{number}B")]),
        "k" | "kb" | "kib" => ("KiB", 1u64 << 10),
        "m" | "mb" | "mib" => ("MiB", 1 << 20),
        "g" | "gb" | "gib" => ("GiB", 1 << 30),
        _ => {
            let smaller = smaller_unit(digits, unit).filter(|_| unit.starts_with('.'));
            return refusal.instead("sizes have no fraction: write {}", smaller);
        }
    };
    let Some(bytes) = number.checked_mul(factor) else { return refusal };
    let phrase = format!("units are powers of 1024: did you mean {{}} ({bytes} bytes)?");
    refusal.instead(&phrase, [format!("{number}{meant}")])
}

/// The size with a fraction as a whole number of bytes or of a smaller unit.
fn smaller_unit(digits: &str, rest: &str) -> Option<String> {
    let text = format!("{digits}{rest}");
    let (number, unit) = split_decimal(&text);
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    let (bytes, _) = Decimal::parse(number)?.times(*factor)?;
    Some(format_size(bytes))
}

/// A number with or without a fraction: `units / 10^places`.
struct Decimal {
    units: u64,
    places: u32,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !are_digits(whole) || !are_digits(fraction) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        // A number that is too large for 64 bits is still a number.
        let units = format!("{whole}{fraction}").parse().unwrap_or(u64::MAX);
        Some(Self { units, places: u32::try_from(fraction.len()).ok()? })
    }

    /// The product with `factor`, rounded down, and whether nothing is left over; `None` if it is too large.
    fn times(&self, factor: u64) -> Option<(u64, bool)> {
        if self.units == u64::MAX {
            return None;
        }
        let product = u128::from(self.units) * u128::from(factor);
        let divisor = 10u128.checked_pow(self.places)?;
        Some((u64::try_from(product / divisor).ok()?, product.is_multiple_of(divisor)))
    }
}

fn split_decimal(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count())
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
    fn durations_may_have_a_fraction() {
        for (text, ms) in [("0.25s", 250), ("1.5m", 90_000), ("0.5h", 1_800_000), ("2.0ms", 2), ("0.001s", 1)] {
            assert_eq!(parse_duration_ms(text).ok(), Some(ms), "{text}");
        }
        for text in ["0.5ms", "0.0001s", "1.s", ".5s", "1..5s", "1.5.5s", "1.5", "99999999999999999999.5s"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
        assert_eq!(sum_of_parts("1m30s"), Some(90_000));
        assert_eq!(sum_of_parts("1.5x"), None);
        assert_eq!(smaller_unit("1", ".5MiB").as_deref(), Some("1536KiB"));
        assert_eq!(seconds("0.25").zip(seconds("1.5")), Some(("250ms".into(), "1.5s".into())));
        assert_eq!(seconds("0.0001"), None);
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
