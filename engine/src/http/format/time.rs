//! The start time's text, `2026-01-31T23:59:59.123Z`, with the part down to the second kept from line to line.

use crate::base::date::Civil;

/// The text of the last second that was asked for. Lines of one shard mostly fall into the second of the line before.
#[derive(Debug)]
pub struct SecondCache {
    second: u64,
    text: [u8; 19],
}

impl Default for SecondCache {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00" }
    }
}

impl SecondCache {
    /// Appends the UTC time (RFC 3339 section 5.6) of `unix_micros`, to the millisecond.
    pub(super) fn push(&mut self, unix_micros: u64, out: &mut Vec<u8>) {
        let second = unix_micros / 1_000_000;
        if second != self.second {
            self.text = text_of(second);
            self.second = second;
        }
        out.extend_from_slice(&self.text);
        let mut fraction = *b".000Z";
        put(&mut fraction[1..4], unix_micros / 1000 % 1000);
        out.extend_from_slice(&fraction);
    }
}

/// `YYYY-MM-DDTHH:MM:SS`. Years after 9999 wrap around.
fn text_of(second: u64) -> [u8; 19] {
    let date = Civil::from_unix(second);
    let mut text = *b"0000-00-00T00:00:00";
    put(&mut text[0..4], u64::from(date.year % 10_000));
    put(&mut text[5..7], u64::from(date.month));
    put(&mut text[8..10], u64::from(date.day));
    put(&mut text[11..13], u64::from(date.hour));
    put(&mut text[14..16], u64::from(date.minute));
    put(&mut text[17..19], u64::from(date.second));
    text
}

/// Fills `digits` with the decimal digits of `number`, zeros in front.
fn put(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unix_micros: u64) -> String {
        let mut out = Vec::new();
        SecondCache::default().push(unix_micros, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_times() {
        // From `date -u -d @N +%FT%TZ`.
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_399_999_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(text(951_782_400_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(1_767_225_599_001_500), "2025-12-31T23:59:59.001Z");
        assert_eq!(text(4_107_542_400_000_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn the_cache_follows_a_clock_that_steps_back() {
        let (mut cache, mut out) = (SecondCache::default(), Vec::new());
        for unix_micros in [5_000_000, 5_100_000, 4_000_000] {
            cache.push(unix_micros, &mut out);
        }
        assert_eq!(out, b"1970-01-01T00:00:05.000Z1970-01-01T00:00:05.100Z1970-01-01T00:00:04.000Z");
    }
}
