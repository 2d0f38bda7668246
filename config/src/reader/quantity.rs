//! Durations and sizes as values of a key.

use std::time::Duration;

use super::read::holds;
use super::refusal::Refusal;
use super::scalar::FromText;
use super::shape::Shape;
use super::units::{DURATION_MAX_MS, out_of_range, parse_duration_ms, parse_size};

/// A time span of at least `MIN_MS` milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Time<const MIN_MS: u64>(pub Duration);

/// A time span that can be switched off with "off" or "0s".
#[derive(Clone, Copy, Debug)]
pub struct Timeout(pub Option<Duration>);

/// A number of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Size<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    pub fn to_u32(self) -> u32 {
        const { assert!(MAX <= u32::MAX as u64) };
        self.0 as u32
    }
}

/// A number of bytes, or "off".
#[derive(Clone, Copy, Debug)]
pub struct SizeOrOff<const MIN: u64>(pub Option<u64>);

holds! {
    [const MIN_MS: u64] Time<MIN_MS>: Duration;
    [] Timeout: Option<Duration>;
    [const MIN: u64, const MAX: u64] Size<MIN, MAX>: u64;
}

impl<const MIN_MS: u64> FromText for Time<MIN_MS> {
    fn shape() -> Shape {
        Shape::Duration { min: MIN_MS, max: DURATION_MAX_MS }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let ms = parse_duration_ms(text)?;
        if !(MIN_MS..=DURATION_MAX_MS).contains(&ms) {
            return Err(out_of_range(text, ms < MIN_MS));
        }
        Ok(Self(Duration::from_millis(ms)))
    }
}

impl FromText for Timeout {
    fn shape() -> Shape {
        Shape::OrOff(Box::new(Time::<1>::shape()))
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text == "off" {
            return Ok(Self(None));
        }
        let Time(duration) = Time::<0>::from_text(text)?;
        Ok(Self(Some(duration).filter(|duration| !duration.is_zero())))
    }
}

impl<const MIN: u64, const MAX: u64> FromText for Size<MIN, MAX> {
    fn shape() -> Shape {
        Shape::Size { min: MIN, max: MAX }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let bytes = parse_size(text)?;
        if !(MIN..=MAX).contains(&bytes) {
            return Err(out_of_range(text, bytes < MIN));
        }
        Ok(Self(bytes))
    }
}

impl<const MIN: u64> FromText for SizeOrOff<MIN> {
    fn shape() -> Shape {
        Shape::OrOff(Box::new(Shape::Size { min: MIN, max: u64::MAX }))
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text == "off" {
            return Ok(Self(None));
        }
        Size::<MIN, { u64::MAX }>::from_text(text).map(|size| Self(Some(size.0)))
    }
}
