//! Times as text: the default, `2026-01-31T23:59:59.123Z`, with the part down to the second kept from line to line, and
//! what a format asks for.

use ringway_config::model::{TimeField, TimePiece};

use super::write::{Target, push_number};
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

/// Appends the UTC time of `unix_micros` as the pieces say.
pub(super) fn push_time(pieces: &[TimePiece], unix_micros: u64, target: Target, out: &mut Vec<u8>) {
    let date = Civil::from_unix(unix_micros / 1_000_000);
    for piece in pieces {
        match piece {
            TimePiece::Literal(text) => target.push(text.as_bytes(), out),
            TimePiece::Field(field) => push_field(*field, &date, unix_micros, out),
        }
    }
}

fn push_field(field: TimeField, date: &Civil, unix_micros: u64, out: &mut Vec<u8>) {
    let day_of_year = date.day_of_year();
    // The weekday with Monday as 0.
    let from_monday = (date.weekday + 6) % 7;
    match field {
        TimeField::Year => digits::<4>(date.year, out),
        TimeField::Century => digits::<2>(date.year / 100, out),
        TimeField::YearOfCentury => digits::<2>(date.year % 100, out),
        TimeField::IsoYear => digits::<4>(date.iso_week().0, out),
        TimeField::IsoYearOfCentury => digits::<2>(date.iso_week().0 % 100, out),
        TimeField::Month => digits::<2>(date.month, out),
        TimeField::MonthName => out.extend_from_slice(MONTHS[date.month as usize - 1].as_bytes()),
        TimeField::MonthShort => out.extend_from_slice(&MONTHS[date.month as usize - 1].as_bytes()[..3]),
        TimeField::Day => digits::<2>(date.day, out),
        TimeField::DayPadded if date.day < 10 => out.extend_from_slice(&[b' ', b'0' + date.day as u8]),
        TimeField::DayPadded => digits::<2>(date.day, out),
        TimeField::DayOfYear => digits::<3>(day_of_year + 1, out),
        TimeField::Weekday => out.extend_from_slice(WEEKDAYS[date.weekday as usize].as_bytes()),
        TimeField::WeekdayShort => out.extend_from_slice(&WEEKDAYS[date.weekday as usize].as_bytes()[..3]),
        TimeField::WeekdayFromMonday => digits::<1>(from_monday + 1, out),
        TimeField::WeekdayFromSunday => digits::<1>(date.weekday, out),
        TimeField::WeekFromSunday => digits::<2>((day_of_year + 7 - date.weekday) / 7, out),
        TimeField::WeekFromMonday => digits::<2>((day_of_year + 7 - from_monday) / 7, out),
        TimeField::IsoWeek => digits::<2>(date.iso_week().1, out),
        TimeField::Hour => digits::<2>(date.hour, out),
        TimeField::HourOf12 => digits::<2>((date.hour + 11) % 12 + 1, out),
        TimeField::AmPm => out.extend_from_slice(if date.hour < 12 { b"AM" } else { b"PM" }),
        TimeField::Minute => digits::<2>(date.minute, out),
        TimeField::Second => digits::<2>(date.second, out),
        TimeField::Offset => out.extend_from_slice(b"+0000"),
        TimeField::Zone => out.extend_from_slice(b"UTC"),
        TimeField::EpochSeconds => push_number(unix_micros / 1_000_000, out),
        TimeField::Fraction(count) => {
            let mut nanos = [0; 9];
            put(&mut nanos, unix_micros % 1_000_000 * 1000);
            out.extend_from_slice(&nanos[..usize::from(count).min(9)]);
        }
    }
}

fn digits<const COUNT: usize>(number: u32, out: &mut Vec<u8>) {
    let mut text = [0; COUNT];
    put(&mut text, u64::from(number));
    out.extend_from_slice(&text);
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

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

    /// From `date -u -d @N +FORMAT`, every conversion there is.
    #[test]
    fn conversions_are_those_of_strftime() {
        use TimeField::*;
        let all = [
            Year,
            Century,
            YearOfCentury,
            IsoYear,
            IsoYearOfCentury,
            Month,
            MonthName,
            MonthShort,
            Day,
            DayPadded,
            DayOfYear,
            Weekday,
            WeekdayShort,
            WeekdayFromMonday,
            WeekdayFromSunday,
            WeekFromSunday,
            WeekFromMonday,
            IsoWeek,
            Hour,
            HourOf12,
            AmPm,
            Minute,
            Second,
            Offset,
            Zone,
            EpochSeconds,
            Fraction(9),
            Fraction(3),
        ];
        let pieces: Vec<_> =
            all.into_iter().flat_map(|field| [TimePiece::Field(field), TimePiece::Literal("|".into())]).collect();
        for (unix_micros, expected) in EXPECTED {
            let mut out = Vec::new();
            push_time(&pieces, unix_micros, Target::Text, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[rustfmt::skip]
    const EXPECTED: [(u64, &str); 8] = [
        (1483228800000000, "2017|20|17|2016|16|01|January|Jan|01| 1|001|Sunday|Sun|7|0|01|00|52|00|12|AM|00|00|+0000|UTC|1483228800|000000000|000|"),
        (1262476800000000, "2010|20|10|2009|09|01|January|Jan|03| 3|003|Sunday|Sun|7|0|01|00|53|00|12|AM|00|00|+0000|UTC|1262476800|000000000|000|"),
        (0, "1970|19|70|1970|70|01|January|Jan|01| 1|001|Thursday|Thu|4|4|00|00|01|00|12|AM|00|00|+0000|UTC|0|000000000|000|"),
        (1230768000000001, "2009|20|09|2009|09|01|January|Jan|01| 1|001|Thursday|Thu|4|4|00|00|01|00|12|AM|00|00|+0000|UTC|1230768000|000001000|000|"),
        (951782399999999, "2000|20|00|2000|00|02|February|Feb|28|28|059|Monday|Mon|1|1|09|09|09|23|11|PM|59|59|+0000|UTC|951782399|999999000|999|"),
        (1767225599123456, "2025|20|25|2026|26|12|December|Dec|31|31|365|Wednesday|Wed|3|3|52|52|01|23|11|PM|59|59|+0000|UTC|1767225599|123456000|123|"),
        (1735689600500000, "2025|20|25|2025|25|01|January|Jan|01| 1|001|Wednesday|Wed|3|3|00|00|01|00|12|AM|00|00|+0000|UTC|1735689600|500000000|500|"),
        (1457956800000000, "2016|20|16|2016|16|03|March|Mar|14|14|074|Monday|Mon|1|1|11|11|11|12|12|PM|00|00|+0000|UTC|1457956800|000000000|000|"),
    ];

    #[test]
    fn literals_of_a_format_are_escaped_for_their_place() {
        let pieces = [TimePiece::Literal("\"".into()), TimePiece::Field(TimeField::Year)];
        let mut out = Vec::new();
        push_time(&pieces, 0, Target::Json, &mut out);
        push_time(&pieces, 0, Target::Text, &mut out);
        assert_eq!(out, b"\\\"1970\\x221970");
    }
}
