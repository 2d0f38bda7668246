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
