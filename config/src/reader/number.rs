//! Numbers that may have a fraction: percentages and factors.

use toml::de::DeValue;

use super::read::{Input, Read};
use super::shape::Shape;
use crate::diagnostic::{Problem, Problems};

/// A percentage, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

impl Percent {
    /// As a number of parts of `whole`, rounded; with 10,000 these are hundredths of a per cent.
    pub fn of(self, whole: u32) -> u32 {
        (self.0 / 100.0 * f64::from(whole)).round() as u32
    }
}

impl Read for Percent {
    fn shape() -> Shape {
        Shape::Number { min: 0.0, max: 100.0 }
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        let percent = read_number::<Self>(input, 0.0..=100.0, problems).map(Self)?;
        if percent.0 > 0.0 && percent.of(1_000_000) == 0 {
            let problem = Problem::at(&input.origin, "this is less than one in a million, and would be none");
            problems.push(problem.allowed("0, or a number from 0.0001 to 100"));
            return None;
        }
        Some(percent)
    }
}

/// A number from `MIN` to `MAX` thousandths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number<const MIN: u32, const MAX: u32>(pub f64);

impl<const MIN: u32, const MAX: u32> Read for Number<MIN, MAX> {
    fn shape() -> Shape {
        Shape::Number { min: f64::from(MIN) / 1e3, max: f64::from(MAX) / 1e3 }
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        read_number::<Self>(input, f64::from(MIN) / 1e3..=f64::from(MAX) / 1e3, problems).map(Self)
    }
}

/// A number with or without a fraction; problems are reported with the description of `T`.
fn read_number<T: Read>(
    input: &Input<'_, '_>,
    range: std::ops::RangeInclusive<f64>,
    problems: &mut Problems<'_>,
) -> Option<f64> {
    let (written, number) = match input.value {
        DeValue::Integer(it) => (it.to_string(), i64::from_str_radix(it.as_str(), it.radix()).ok().map(|it| it as f64)),
        DeValue::Float(it) => (it.to_string(), it.as_str().parse::<f64>().ok()),
        _ => {
            input.refuse_type::<T>(problems);
            return None;
        }
    };
    // Not a number and infinity are outside of every range.
    let number = number.filter(|number| range.contains(number));
    if number.is_none() {
        let problem = Problem::at(&input.origin, format!("{written} is out of range"));
        problems.push(problem.allowed(T::shape().allowed()));
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_rounded() {
        assert_eq!(Percent(20.0).of(10_000), 2_000);
        assert_eq!(Percent(0.29).of(10_000), 29);
        assert_eq!(Percent(0.0001).of(1_000_000), 1);
        assert_eq!(Percent(100.0).of(1_000_000), 1_000_000);
    }
}
