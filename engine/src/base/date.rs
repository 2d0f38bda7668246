//! Calendar dates from seconds since the epoch, without a time zone database: everything here is UTC.

use std::fmt;

/// A moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: u32,
    /// 1 to 12.
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    /// 0 is Sunday.
    pub weekday: u32,
}

/// `YYYY-MM-DDTHH:MM:SS`, as RFC 3339 begins.
impl fmt::Display for Civil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second, .. } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

impl Civil {
    /// The algorithm is Howard Hinnant's `civil_from_days` (chrono-compatible low-level date algorithms).
    pub fn from_unix(seconds: u64) -> Self {
        let (days, rest) = (seconds / 86_400, (seconds % 86_400) as u32);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
        Self {
            year: (year_of_era + era * 400 + u64::from(month <= 2)) as u32,
            month,
            day: (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: ((days + 4) % 7) as u32,
        }
    }

    /// From 0, the 1st of January.
    pub fn day_of_year(&self) -> u32 {
        const BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        BEFORE[self.month as usize - 1] + self.day - 1 + u32::from(self.month > 2 && days_in(self.year) == 366)
    }

    /// Year and week of ISO 8601: a week belongs to the year that its Thursday is in.
    pub fn iso_week(&self) -> (u32, u32) {
        // From the 1st of January of the year before, so that nothing is negative.
        let before = days_in(self.year - 1);
        let thursday = before + self.day_of_year() + 3 - (self.weekday + 6) % 7;
        if thursday < before {
            (self.year - 1, thursday / 7 + 1)
        } else if thursday < before + days_in(self.year) {
            (self.year, (thursday - before) / 7 + 1)
        } else {
            (self.year + 1, 1)
        }
    }
}

fn days_in(year: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}

const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
pub fn imf_fixdate(seconds: u64) -> [u8; 29] {
    let date = Civil::from_unix(seconds);
    let mut text = *b"Sun, 06 Nov 1994 08:49:37 GMT";
    text[..3].copy_from_slice(WEEKDAYS[date.weekday as usize]);
    text[8..11].copy_from_slice(MONTHS[date.month as usize - 1]);
    let mut two = |at: usize, value: u32| {
        text[at] = b'0' + (value / 10 % 10) as u8;
        text[at + 1] = b'0' + (value % 10) as u8;
    };
    two(5, date.day);
    two(12, date.year / 100);
    two(14, date.year % 100);
    two(17, date.hour);
    two(20, date.minute);
    two(23, date.second);
    text
}

/// Seconds since the epoch of a date in one of the three forms that a recipient has to take (RFC 9110 section 5.6.7), of which the
/// last two are obsolete. `None`: it is none, or before the epoch. `now`, since the epoch, says which century two digits are of.
pub fn parse_http_date(text: &[u8], now: u64) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some((_, rest)) = text.split_once(", ") {
        let rest = rest.strip_suffix(" GMT")?;
        let (date, time) = rest.rsplit_once(' ')?;
        return match date.as_bytes() {
            // Sun, 06 Nov 1994 08:49:37 GMT
            [_, _, b' ', _, _, _, b' ', _, _, _, _] => unix(&date[..2], &date[3..6], number(&date[7..], 4)?, time),
            // Sunday, 06-Nov-94 08:49:37 GMT
            [_, _, b'-', _, _, _, b'-', _, _] => {
                let years = u64::from(Civil::from_unix(now).year);
                let year = years / 100 * 100 + number(&date[7..], 2)?;
                // One that seems to be more than fifty years ahead is the last one with these digits.
                unix(&date[..2], &date[3..6], if year > years + 50 { year - 100 } else { year }, time)
            }
            _ => None,
        };
    }
    // Sun Nov  6 08:49:37 1994
    match text.as_bytes() {
        [_, _, _, b' ', _, _, _, b' ', _, _, b' ', .., b' ', _, _, _, _] if text.is_ascii() && text.len() == 24 => {
            unix(text[8..10].trim_start(), &text[4..7], number(&text[20..], 4)?, &text[11..19])
        }
        _ => None,
    }
}

fn unix(day: &str, month: &str, year: u64, time: &str) -> Option<u64> {
    let month = 1 + MONTHS.iter().position(|name| *name == month.as_bytes())? as u64;
    let mut parts = time.splitn(3, ':').map(|part| number(part, 2));
    let time = [parts.next()??, parts.next()??, parts.next()??];
    let seconds = unix_from([year, month, number(day, day.len())?], time)?;
    if year < 1970 { None } else { seconds.try_into().ok() }
}

/// Seconds since the epoch, negative before it, of a year, month and day, and an hour, minute and second, which may be a leap second.
/// `None`: the calendar has no such day, or the day no such time.
pub fn unix_from([year, month, day]: [u64; 3], [hour, minute, second]: [u64; 3]) -> Option<i64> {
    let month_days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if days_in(year as u32) == 366 => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=month_days).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970 of a calendar that begins with March, so that a leap day is the last of its year.
    let (shifted, from_march) = (year as i64 - i64::from(month < 3), (month + 9) % 12);
    let before = 365 * shifted + shifted.div_euclid(4) - shifted.div_euclid(100) + shifted.div_euclid(400) - 719_468;
    let days = before + ((153 * from_march + 2) / 5 + day - 1) as i64;
    Some(days * 86_400 + (hour * 3600 + minute * 60 + second) as i64)
}

/// Exactly this number of digits.
fn number(text: &str, digits: usize) -> Option<u64> {
    let is_one = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_one { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_example_and_the_calendars_edges() {
        let text = |seconds| String::from_utf8(imf_fixdate(seconds).to_vec()).expect("ASCII");
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(text(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(text(1_735_689_599), "Tue, 31 Dec 2024 23:59:59 GMT");
        assert_eq!(text(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
    }

    /// RFC 9110: the three forms of one date.
    #[test]
    fn dates_are_read_in_all_three_forms() {
        let parse = |text: &str| parse_http_date(text.as_bytes(), 1_700_000_000);
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text), Some(784_111_777), "{text}");
        }
        assert_eq!(parse("Sunday, 06-Nov-40 08:49:37 GMT"), parse("Sun, 06 Nov 2040 08:49:37 GMT"));
        assert_eq!(parse("Sun Nov 16 08:49:37 1994"), Some(784_111_777 + 10 * 86_400));
        for seconds in (0..400 * 366 * 86_400).step_by(86_400 - 7) {
            assert_eq!(parse_http_date(&imf_fixdate(seconds), 0), Some(seconds));
        }
        for wrong in [
            "",
            "120",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 2023 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 0\u{e9}-Nov-94 08:49:37 GMT",
            "Sun, 06 No\u{e9}1994 08:49:37 GMT",
            "Sun Nov  6 08:49:37 94",
            "S\u{e9} Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let lengths = |year: u32| {
            let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
            [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..400 * 366 {
            let date = Civil::from_unix(days * 86_400);
            assert_eq!((date.year, date.month, date.day), (year, month, day));
            day += 1;
            if day > lengths(year)[month as usize - 1] {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}
