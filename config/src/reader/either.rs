//! Values that are a table or a word, and tables that hold nothing.

use toml::de::DeValue;

use super::read::{Input, Located, Read};
use super::shape::Shape;
use crate::diagnostic::{Problem, Problems};

/// "off" or a `T`.
#[derive(Clone, Debug)]
pub enum OffOr<T> {
    Off,
    On(Located<T>),
}

impl<T: Read> Read for OffOr<T> {
    fn shape() -> Shape {
        Shape::OrOff(Box::new(T::shape()))
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        match input.value {
            DeValue::String(text) if text == "off" => Some(Self::Off),
            DeValue::String(_) | DeValue::Boolean(_) => {
                input.refuse_type::<Self>(problems);
                None
            }
            _ => T::read(input, problems).map(|value| Self::On(Located { value, origin: input.origin.clone() })),
        }
    }
}

/// A table without keys, whose presence is its meaning.
#[derive(Clone, Copy, Debug)]
pub struct Empty;

impl Read for Empty {
    fn shape() -> Shape {
        Shape::Text { noun: "an empty table", allowed: "{}" }
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        match input.value {
            DeValue::Table(table) if table.is_empty() => Some(Self),
            DeValue::Table(_) => {
                problems.push(Problem::at(&input.origin, "this table must be empty").allowed("{}"));
                None
            }
            _ => {
                input.refuse_type::<Self>(problems);
                None
            }
        }
    }
}

/// A `T` inside of a `T`.
#[derive(Clone, Debug)]
pub struct Nested<T>(pub Box<Located<T>>);

impl<T: Read> Read for Nested<T> {
    fn shape() -> Shape {
        T::shape()
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        let value = T::read(input, problems)?;
        Some(Self(Box::new(Located { value, origin: input.origin.clone() })))
    }
}
