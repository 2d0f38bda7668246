//! Single values: booleans, integers, words, and everything that is written as a string.

use toml::de::DeValue;

use super::read::{Input, Read, holds};
use super::refusal::{Instead, Refusal};
use super::shape::Shape;
use crate::diagnostic::{Problem, Problems};

/// A value that is written as a string.
pub trait FromText: Sized + Clone {
    fn shape() -> Shape;

    fn from_text(text: &str) -> Result<Self, Refusal>;
}

impl<T: FromText> Read for T {
    fn shape() -> Shape {
        T::shape()
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        let DeValue::String(text) = input.value else {
            input.refuse_type::<Self>(problems);
            return None;
        };
        T::from_text(text).map_err(|refusal| refusal.report::<T>(&input.origin, problems)).ok()
    }
}

/// A string that must be one of a few words.
pub trait Word: Sized + Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
    /// Words that Envoy knows and this version does not.
    const LATER: &'static [&'static str];
}

/// Reads one of the words of `T`.
#[derive(Clone, Copy, Debug)]
pub struct OneOf<T>(pub T);

holds! {
    [T: Clone] OneOf<T>: T;
    [const MIN: u64, const MAX: u64] Int<MIN, MAX>: u64;
}

impl<T: Word> FromText for OneOf<T> {
    fn shape() -> Shape {
        Shape::Words(T::WORDS.iter().map(|(word, _)| *word).collect())
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(Self(*value));
        }
        // Envoy's files write these words in capitals.
        let lower = text.to_ascii_lowercase();
        let hint = if T::LATER.contains(&lower.as_str()) {
            Some(format!("`{lower}` is not supported yet"))
        } else {
            let words: Vec<_> = T::WORDS.iter().map(|(word, _)| *word).collect();
            let meant = super::words::word(&lower, &words);
            let meant = meant.or_else(|| crate::diagnostic::closest(&lower, words.into_iter()));
            meant.map(|word| format!("did you mean \"{word}\"?"))
        };
        Err(Refusal::new(format!("unknown word \"{text}\"")).hint(hint))
    }
}

impl Read for bool {
    fn shape() -> Shape {
        Shape::Boolean
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        match input.value {
            DeValue::Boolean(value) => Some(*value),
            _ => {
                input.refuse_type::<Self>(problems);
                None
            }
        }
    }
}

/// An integer from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug)]
pub struct Int<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Int<MIN, MAX> {
    pub fn to_u8(self) -> u8 {
        const { assert!(MAX <= u8::MAX as u64) };
        self.0 as u8
    }

    pub fn to_u16(self) -> u16 {
        const { assert!(MAX <= u16::MAX as u64) };
        self.0 as u16
    }

    pub fn to_u32(self) -> u32 {
        const { assert!(MAX <= u32::MAX as u64) };
        self.0 as u32
    }

    pub fn to_usize(self) -> usize {
        const { assert!(MAX <= usize::MAX as u64) };
        self.0 as usize
    }
}

impl<const MIN: u64, const MAX: u64> Read for Int<MIN, MAX> {
    fn shape() -> Shape {
        Shape::Integer { min: MIN, max: MAX }
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        read_integer::<Self>(input, MIN, MAX, problems).map(Self)
    }
}

/// The integer from `min` to `max`; problems are reported with the description of `T`.
pub fn read_integer<T: Read>(input: &Input<'_, '_>, min: u64, max: u64, problems: &mut Problems<'_>) -> Option<u64> {
    let DeValue::Integer(written) = input.value else {
        input.refuse_type::<T>(problems);
        return None;
    };
    let number = u64::from_str_radix(written.as_str(), written.radix()).ok();
    let number = number.filter(|number| (min..=max).contains(number));
    if number.is_none() {
        let problem = Problem::at(&input.origin, format!("{written} is out of range"));
        problems.push(problem.allowed(T::shape().allowed()));
    }
    number
}

/// An integer that must be a power of two.
#[derive(Clone, Copy, Debug)]
pub struct PowerOfTwo<const MIN: u64, const MAX: u64>(pub Int<MIN, MAX>);

impl<const MIN: u64, const MAX: u64> Read for PowerOfTwo<MIN, MAX> {
    fn shape() -> Shape {
        Shape::PowerOfTwo { min: MIN, max: MAX }
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        let number = read_integer::<Self>(input, MIN, MAX, problems)?;
        if number.is_power_of_two() {
            return Some(Self(Int(number)));
        }
        let above = number.next_power_of_two();
        let near = Instead::new("the nearest are {}", [above / 2, above].map(|near| near.to_string()));
        let problem = Problem::at(&input.origin, format!("{number} is not a power of two"));
        problems.push(problem.allowed(Self::shape().allowed()).hint(near.hint::<Self>(problems)));
        None
    }
}

/// An integer from `MIN` to `MAX`, or "off".
#[derive(Clone, Copy, Debug)]
pub struct IntOrOff<const MIN: u64, const MAX: u64>(pub Option<Int<MIN, MAX>>);

impl<const MIN: u64, const MAX: u64> Read for IntOrOff<MIN, MAX> {
    fn shape() -> Shape {
        Shape::OrOff(Box::new(Shape::Integer { min: MIN, max: MAX }))
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        match input.value {
            DeValue::Integer(_) => read_integer::<Self>(input, MIN, MAX, problems).map(|it| Self(Some(Int(it)))),
            DeValue::String(text) if text == "off" => Some(Self(None)),
            _ => {
                input.refuse_type::<Self>(problems);
                None
            }
        }
    }
}

/// A status out of `all`; problems are reported with the description of `T`, and as not being `noun`.
pub fn read_status<T: Read>(
    input: &Input<'_, '_>,
    all: &[u64],
    noun: &str,
    problems: &mut Problems<'_>,
) -> Option<u16> {
    let status = Int::<0, 999>(read_integer::<T>(input, 0, 999, problems)?);
    if all.contains(&status.0) {
        return Some(status.to_u16());
    }
    let problem = Problem::at(&input.origin, format!("{} is not {noun}", status.0));
    problems.push(problem.allowed(T::shape().allowed()));
    None
}
