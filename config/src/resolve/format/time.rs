//! Formats of times: the conversions of strftime(3) in the C locale, with Envoy's fractions and seconds.

use super::FormatFault;
use crate::model::{TimeField, TimeFormat, TimePiece};

/// Conversions for one field each, with what the reference says.
pub const TIME_FIELDS: [(char, TimeField, &str); 25] = [
    ('Y', TimeField::Year, "year"),
    ('C', TimeField::Century, "its first two digits"),
    ('y', TimeField::YearOfCentury, "its last two digits"),
    ('G', TimeField::IsoYear, "year of the ISO 8601 week"),
    ('g', TimeField::IsoYearOfCentury, "its last two digits"),
    ('m', TimeField::Month, "month, 01 to 12"),
    ('B', TimeField::MonthName, "its English name"),
    ('b', TimeField::MonthShort, "the first three letters of it"),
    ('d', TimeField::Day, "day of the month, 01 to 31"),
    ('e', TimeField::DayPadded, "the same, with a space instead of a leading zero"),
    ('j', TimeField::DayOfYear, "day of the year, 001 to 366"),
    ('A', TimeField::Weekday, "English name of the weekday"),
    ('a', TimeField::WeekdayShort, "the first three letters of it"),
    ('u', TimeField::WeekdayFromMonday, "weekday, 1 (Monday) to 7"),
    ('w', TimeField::WeekdayFromSunday, "weekday, 0 (Sunday) to 6"),
    ('U', TimeField::WeekFromSunday, "week of the year, the first Sunday begins week 01"),
    ('W', TimeField::WeekFromMonday, "week of the year, the first Monday begins week 01"),
    ('V', TimeField::IsoWeek, "ISO 8601 week"),
    ('H', TimeField::Hour, "hour, 00 to 23"),
    ('I', TimeField::HourOf12, "hour, 01 to 12"),
    ('p', TimeField::AmPm, "AM or PM"),
    ('M', TimeField::Minute, "minute"),
    ('S', TimeField::Second, "second"),
    ('z', TimeField::Offset, "`+0000`"),
    ('Z', TimeField::Zone, "`UTC`"),
];

/// Conversions that stand for several.
const COMPOUNDS: [(char, &str); 8] = [
    ('F', "%Y-%m-%d"),
    ('T', "%H:%M:%S"),
    ('D', "%m/%d/%y"),
    ('R', "%H:%M"),
    ('h', "%b"),
    ('r', "%I:%M:%S %p"),
    ('x', "%m/%d/%y"),
    ('X', "%H:%M:%S"),
];

/// `%c` of the C locale.
const DATE_AND_TIME: &str = "%a %b %e %H:%M:%S %Y";

/// Pieces of a format; none where it is empty.
pub(super) fn time_format(text: &str) -> Result<TimeFormat, FormatFault> {
    let mut pieces = Vec::new();
    read(text, &mut pieces)?;
    Ok(TimeFormat(pieces))
}

fn read(text: &str, pieces: &mut Vec<TimePiece>) -> Result<(), FormatFault> {
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('%') {
        push_literal(literal, pieces)?;
        let mut characters = after.chars();
        let conversion = characters.next().ok_or_else(|| unknown(""))?;
        rest = characters.as_str();
        let field = TIME_FIELDS.iter().find(|(known, ..)| *known == conversion).map(|(_, field, _)| *field);
        let compound = COMPOUNDS.iter().find(|(known, _)| *known == conversion).map(|(_, format)| *format);
        match (conversion, field, compound) {
            (_, Some(field), _) => pieces.push(TimePiece::Field(field)),
            (_, None, Some(format)) => read(format, pieces)?,
            ('c', ..) => read(DATE_AND_TIME, pieces)?,
            ('s', ..) => pieces.push(TimePiece::Field(TimeField::EpochSeconds)),
            ('f', ..) => pieces.push(TimePiece::Field(TimeField::Fraction(9))),
            ('1'..='9', ..) if rest.starts_with('f') => {
                rest = &rest[1..];
                pieces.push(TimePiece::Field(TimeField::Fraction(conversion as u8 - b'0')));
            }
            ('%', ..) => push_literal("%", pieces)?,
            ('n', ..) => {
                return Err(FormatFault::new("%n would write a line end").hint("a value has to stay on its line"));
            }
            _ => return Err(unknown(&conversion.to_string())),
        }
    }
    push_literal(rest, pieces)
}

/// Next to another literal they become one.
fn push_literal(text: &str, pieces: &mut Vec<TimePiece>) -> Result<(), FormatFault> {
    if text.chars().any(char::is_control) {
        return Err(FormatFault::new("the format of a time holds a control character"));
    }
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(TimePiece::Literal(literal)) => literal.push_str(text),
        Some(TimePiece::Field(_)) | None => pieces.push(TimePiece::Literal(text.into())),
    }
    Ok(())
}

fn unknown(conversion: &str) -> FormatFault {
    let mut known: String = TIME_FIELDS.iter().map(|(known, ..)| format!("%{known} ")).collect();
    known.extend(COMPOUNDS.iter().map(|(known, _)| format!("%{known} ")));
    let fault = FormatFault::new(format!("%{conversion} is not a conversion of a time"));
    fault.allowed(format!("{known}%c %s %f %1f to %9f %%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compounds_are_resolved_and_literals_joined() {
        use TimeField::*;
        use TimePiece::{Field, Literal};
        let literal = |text: &str| Literal(text.into());
        let hyphen = || literal("-");
        assert_eq!(
            time_format("[%F%% %6f").expect("valid").0,
            [
                literal("["),
                Field(Year),
                hyphen(),
                Field(Month),
                hyphen(),
                Field(Day),
                literal("% "),
                Field(Fraction(6))
            ]
        );
        assert_eq!(time_format("").expect("the default"), TimeFormat::default());
        assert_eq!(time_format("%c").expect("valid").0.len(), 13);
        for wrong in ["%", "%n", "%0f", "%10f", "%E4Y", "%Q", "a\nb"] {
            time_format(wrong).expect_err(wrong);
        }
        for (conversion, ..) in TIME_FIELDS {
            assert_eq!(time_format(&format!("%{conversion}")).expect("valid").0.len(), 1);
        }
    }
}
