//! Reading values out of the parsed file: their places, the values that could be read, and traces of those that could not.

use std::ops::{Deref, Range};

use toml::Spanned;
use toml::de::DeValue;

use super::refusal::Instead;
use super::shape::Shape;
use super::units::{format_size, seconds};
use super::written::on_one_line;
use crate::diagnostic::{Problem, Problems};
use crate::place::{KeyPath, Origin};

/// A value that a user may write.
pub trait Read: Sized + Clone {
    /// What may be written, for messages and for the documentation.
    fn shape() -> Shape;

    /// The value, or `None` after at least one problem has been reported.
    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self>;
}

/// One value of the file with its place.
pub struct Input<'a, 'i> {
    pub value: &'a DeValue<'i>,
    pub origin: Origin,
}

impl<'a, 'i> Input<'a, 'i> {
    pub fn new(value: &'a Spanned<DeValue<'i>>, key: Range<usize>, path: KeyPath) -> Self {
        Self { value: value.get_ref(), origin: Origin { path, key, span: value.span() } }
    }

    /// Reports that the value is of another type than `T` needs.
    pub fn refuse_type<T: Read>(&self, problems: &mut Problems<'_>) {
        let shape = T::shape();
        let found = match self.value {
            DeValue::String(text) if text.len() <= 40 => format!("the string {text:?}"),
            DeValue::String(_) => "a string".into(),
            DeValue::Integer(_) => "an integer".into(),
            DeValue::Float(_) => "a number with a fraction".into(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date".into(),
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
        };
        let problem = Problem::at(&self.origin, format!("this must be {}, not {found}", shape.noun()));
        let hint = type_value(&shape, self.value).and_then(|instead| instead.hint::<T>(problems));
        let hint = hint.or_else(|| type_words(&shape, self.value));
        problems.push(problem.allowed(shape.allowed()).hint(hint));
    }
}

/// What a value of the wrong type stands for, if the mistake is a common one.
fn type_value(shape: &Shape, value: &DeValue<'_>) -> Option<Instead> {
    let instead = |phrase, values: &[String]| Some(Instead::new(phrase, values.iter().cloned()));
    let string = |value: &dyn std::fmt::Display| format!("\"{value}\"");
    match (shape, value) {
        (Shape::OrOff(inner), DeValue::Integer(n)) if n.as_str() == "0" && is_quantity(inner) => {
            instead("write {} to switch it off", &[string(&"off")])
        }
        (Shape::OrOff(inner), _) => type_value(inner, value),
        (Shape::Either(shapes), _) => shapes.iter().find_map(|shape| type_value(shape, value)),
        (Shape::Duration { .. }, DeValue::Integer(n)) => {
            instead("a duration is a string with a unit: {}", &[format!("\"{n}s\""), format!("\"{n}ms\"")])
        }
        (Shape::Duration { .. }, DeValue::Float(n)) => {
            let ms = string(&seconds(n.as_str())?);
            instead("a duration is a string with a unit: write {}", &[ms])
        }
        (Shape::Size { .. }, DeValue::Integer(n)) => {
            let bytes = u64::from_str_radix(n.as_str(), n.radix()).ok()?;
            match bytes {
                0..1024 => {
                    let values = [format!("\"{bytes}B\""), format!("\"{bytes}KiB\"")];
                    instead("a size is a string with a unit: {}", &values)
                }
                _ => {
                    let phrase = format!("a size is a string with a unit: {bytes} bytes are {{}}");
                    instead(&phrase, &[string(&format_size(bytes))])
                }
            }
        }
        (Shape::Integer { .. } | Shape::PowerOfTwo { .. } | Shape::Numbers(_), DeValue::String(text)) => {
            text.parse::<u64>().ok().and_then(|number| instead("write it without quotes: {}", &[number.to_string()]))
        }
        (Shape::Number { .. }, DeValue::String(text)) => {
            let number = text.trim_end_matches('%').trim_end().parse::<f64>().ok()?;
            instead("write only the number: {}", &[number.to_string()])
        }
        (Shape::Text { .. } | Shape::Words(_), DeValue::Integer(n)) => instead("put it in quotes: {}", &[string(n)]),
        (Shape::Words(_), DeValue::Float(n)) => instead("put it in quotes: {}", &[string(n)]),
        (Shape::List(_), DeValue::String(_) | DeValue::Integer(_)) => {
            let written = Some(on_one_line(value)).filter(|text| text.len() <= 80)?;
            instead("put it in a list: {}", &[format!("[{written}]")])
        }
        (Shape::Address, DeValue::Integer(n)) => {
            instead("write the address with the port: {}", &[format!("\"0.0.0.0:{n}\"")])
        }
        (Shape::EndpointAddress, DeValue::Integer(n)) => {
            instead("write the address with the port: {}", &[format!("\"127.0.0.1:{n}\"")])
        }
        _ => None,
    }
}

fn is_quantity(shape: &Shape) -> bool {
    matches!(shape, Shape::Duration { .. } | Shape::Size { .. })
}

/// For what is switched on elsewhere by a word.
const A_TABLE: &str = "write a table, { ... }; {} has every default, where no key must be there";

/// The hint for a value of the wrong type for which nothing can be said that would be accepted.
fn type_words(shape: &Shape, value: &DeValue<'_>) -> Option<String> {
    match (shape, value) {
        (Shape::Duration { .. }, DeValue::Integer(_) | DeValue::Float(_)) => {
            Some("a duration is a string with a unit, such as \"250ms\"".into())
        }
        (Shape::Size { .. }, DeValue::Integer(_) | DeValue::Float(_)) => {
            Some("a size is a string with a unit, such as \"16KiB\"".into())
        }
        (Shape::OrOff(inner), DeValue::Boolean(false)) => {
            Some(format!("write \"off\" to switch it off, or {}", inner.noun()))
        }
        (Shape::OrOff(inner), _) => type_words(inner, value),
        (Shape::Boolean, DeValue::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some("write it without quotes: true".into()),
            "false" | "no" | "off" => Some("write it without quotes: false".into()),
            _ => None,
        },
        (Shape::Address | Shape::EndpointAddress, DeValue::Table(_)) => {
            Some("write it as one string: \"127.0.0.1:8080\"".into())
        }
        (Shape::List(_), DeValue::Table(_)) => {
            Some("put it in a list: [{ ... }], or write [[...]] as its header".into())
        }
        (Shape::List(_), _) => Some("put it in a list: [...]".into()),
        (Shape::Table(_), DeValue::Boolean(true)) => Some(A_TABLE.into()),
        (Shape::Table(_), DeValue::String(text)) if matches!(text.as_ref(), "on" | "yes" | "true") => {
            Some(A_TABLE.into())
        }
        (Shape::Text { noun: "a file path", .. }, DeValue::Table(_)) => {
            Some("write the path itself, as a string".into())
        }
        (Shape::Table(_), DeValue::Array(_)) => {
            Some("there is only one of these: write [...] as its header, not [[...]], or { ... }".into())
        }
        _ => None,
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Located<T> {
    pub value: T,
    pub origin: Origin,
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A key that need not be there: left out, written but wrong (and reported), or written and read.
#[derive(Clone, Debug)]
pub enum Slot<T> {
    Absent,
    Invalid(Origin),
    Given(Located<T>),
}

impl<T> Slot<T> {
    pub fn given(&self) -> Option<&Located<T>> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Invalid(_) => None,
        }
    }

    /// Where it was written, whether it could be read or not.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Given(value) => Some(&value.origin),
            Self::Invalid(origin) => Some(origin),
            Self::Absent => None,
        }
    }
}

/// A type that only says how its value is written, such as `Name` of a string or `Time` of a duration.
pub trait Holds {
    type Inner: Clone;

    fn inner(&self) -> &Self::Inner;
}

/// `[generics] Type: Inner;` for types whose one field is the value.
macro_rules! holds {
    ($([$($generics:tt)*] $type:ty: $inner:ty;)+) => {$(
        impl<$($generics)*> $crate::reader::Holds for $type {
            type Inner = $inner;

            fn inner(&self) -> &$inner {
                &self.0
            }
        }
    )+};
}
pub(crate) use holds;

impl<T: Holds> Slot<T> {
    /// What the model takes over from a key that was given.
    pub fn value(&self) -> Option<T::Inner> {
        self.given().map(|written| written.inner().clone())
    }
}

impl<T: Holds> Slot<List<T>> {
    /// What the model takes over from the members that could be read.
    pub fn values(&self) -> Vec<T::Inner> {
        self.items().iter().map(|member| member.inner().clone()).collect()
    }
}

impl<T> Slot<List<T>> {
    /// The members that could be read; none if the list was left out.
    pub fn items(&self) -> &[Located<T>] {
        self.given().map_or(&[], |list| &list.items)
    }
}

/// A list; members that could not be read have been reported and are left out of `items`.
#[derive(Clone, Debug)]
pub struct List<T> {
    pub items: Vec<Located<T>>,
    /// Whether the file wrote no member at all.
    pub is_empty: bool,
    /// Whether a member could not be read; if something seems to be missing, it may be this member.
    pub is_incomplete: bool,
}

impl<T: Read> Read for List<T> {
    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        let DeValue::Array(array) = input.value else {
            input.refuse_type::<Self>(problems);
            return None;
        };
        let mut items = Vec::with_capacity(array.len());
        for (index, member) in array.iter().enumerate() {
            let member = Input::new(member, member.span(), input.origin.path.index(index));
            if let Some(value) = T::read(&member, problems) {
                items.push(Located { value, origin: member.origin });
            }
        }
        let is_incomplete = items.len() < array.len();
        Some(Self { items, is_empty: array.is_empty(), is_incomplete })
    }
}
