//! Tables: each is declared once with `table!`; its reader, the check for unknown keys and its section of
//! docs/CONFIG.md come from that.

use std::ops::Range;
use std::sync::LazyLock;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::read::{Input, Located, Read, Slot};
use super::shape::TableSpec;
use crate::diagnostic::{KeyFault, Problem, Problems};
use crate::place::{KeyPath, Origin};

/// `r#match` is the key `match`.
pub const fn key_name(identifier: &'static str) -> &'static str {
    match identifier.as_bytes() {
        [b'r', b'#', ..] => identifier.split_at(2).1,
        _ => identifier,
    }
}

/// Declares a table: a struct with one field for each key, its reader and its specification.
///
/// Each key has a mode: `required`, `optional "what its absence means"` (both give a `Slot`) or `default "TOML"`
/// (gives a `Located`; the text is read as if the user had written it).
macro_rules! table {
    (
        $(#[doc = $doc:literal])+
        $name:ident at $place:literal, example $example:literal {
            $( $(#[doc = $key_doc:literal])+ $key:ident: $type:ty, $mode:ident $($text:literal)?; )*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $(#[doc = $key_doc])+ pub $key: $crate::reader::table!(@field $mode $type), )*
            /// Whether an unknown key was written (and reported); if something seems to be missing, this key may have
            /// been meant.
            #[allow(dead_code)] // Not every table has keys that the resolver could miss.
            pub has_unknown: bool,
        }

        impl $name {
            pub fn spec() -> &'static $crate::reader::TableSpec {
                static SPEC: $crate::reader::TableSpec = $crate::reader::TableSpec {
                    place: $place,
                    docs: &[$($doc),+],
                    example: $example,
                    keys: &[$($crate::reader::KeySpec {
                        name: $crate::reader::key_name(stringify!($key)),
                        shape: <$type as $crate::reader::Read>::shape,
                        presence: $crate::reader::table!(@presence $mode $($text)?),
                        docs: &[$($key_doc),+],
                        #[cfg(test)]
                        reads: $crate::reader::reads::<$type>,
                    },)*],
                };
                &SPEC
            }
        }

        impl $crate::reader::Read for $name {
            fn shape() -> $crate::reader::Shape {
                $crate::reader::Shape::Table(Self::spec())
            }

            #[allow(unused_variables)] // A table without keys has nothing to read.
            fn read(
                input: &$crate::reader::Input<'_, '_>,
                problems: &mut $crate::diagnostic::Problems<'_>,
            ) -> Option<Self> {
                let reader = $crate::reader::TableReader::new::<Self>(input, Self::spec(), problems)?;
                Some(Self {
                    $( $key: $crate::reader::table!(
                        @read $mode $type, reader, $crate::reader::key_name(stringify!($key)), problems $(, $text)?
                    ), )*
                    has_unknown: reader.has_unknown(),
                })
            }
        }
    };
    (@field default $type:ty) => { $crate::reader::Located<$type> };
    (@field $mode:ident $type:ty) => { $crate::reader::Slot<$type> };
    (@presence required) => { $crate::reader::Presence::Required };
    (@presence optional $text:literal) => { $crate::reader::Presence::Optional($text) };
    (@presence default $text:literal) => { $crate::reader::Presence::Default($text) };
    (@read required $type:ty, $reader:ident, $key:expr, $problems:ident) => {
        $reader.required::<$type>($key, $problems)
    };
    (@read optional $type:ty, $reader:ident, $key:expr, $problems:ident, $text:literal) => {
        $reader.slot::<$type>($key, $problems)
    };
    (@read default $type:ty, $reader:ident, $key:expr, $problems:ident, $text:literal) => {{
        static DEFAULT: std::sync::LazyLock<$type> =
            std::sync::LazyLock::new(|| $crate::reader::read_default::<$type>($text));
        $reader.or_default::<$type>($key, &DEFAULT, $problems)
    }};
}
pub(crate) use table;

/// A default, read from the text that the documentation shows.
pub fn read_default<T: Read>(text: &'static str) -> T {
    // Only a wrong declaration gets here; tests read every default.
    read_text(text).unwrap_or_else(|| panic!("the default {text} is not a value of its key"))
}

/// Whether a text of TOML is a value of this type.
pub fn reads<T: Read>(text: &str) -> bool {
    read_text::<T>(text).is_some()
}

fn read_text<T: Read>(text: &str) -> Option<T> {
    let value = DeValue::parse(text).ok()?;
    let mut problems = Problems::trial(text);
    let value = T::read(&Input::new(&value, value.span(), KeyPath::default()), &mut problems);
    // A list is read without its wrong members.
    value.filter(|_| problems.is_empty())
}

/// A table that is not in the file, with every key at its default.
pub fn absent<T: Read>() -> Option<Located<T>> {
    let value = Spanned::new(0..0, DeValue::Table(DeTable::new()));
    let input = Input::new(&value, 0..0, KeyPath::default());
    let value = T::read(&input, &mut Problems::new(""))?;
    Some(Located { value, origin: input.origin })
}

/// Reads the keys of one table.
pub struct TableReader<'a, 'i> {
    table: &'a DeTable<'i>,
    origin: &'a Origin,
    has_unknown: bool,
}

impl<'a, 'i> TableReader<'a, 'i> {
    /// Reports a value that is not a table, and every key that does not exist.
    pub fn new<T: Read>(
        input: &'a Input<'a, 'i>,
        spec: &'static TableSpec,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let DeValue::Table(table) = input.value else {
            input.refuse_type::<T>(problems);
            return None;
        };
        let mut reader = Self { table, origin: &input.origin, has_unknown: false };
        for key in table.keys() {
            if !spec.keys.iter().any(|known| known.name == key.get_ref().as_ref()) {
                reader.refuse_key(key.get_ref(), key.span(), spec, problems);
            }
        }
        Some(reader)
    }

    pub fn has_unknown(&self) -> bool {
        self.has_unknown
    }

    pub fn slot<T: Read>(&self, key: &'static str, problems: &mut Problems<'_>) -> Slot<T> {
        let Some((written, value)) = self.table.get_key_value(key) else {
            return Slot::Absent;
        };
        let input = Input::new(value, written.span(), self.origin.path.key(key));
        match T::read(&input, problems) {
            Some(value) => Slot::Given(Located { value, origin: input.origin }),
            None => Slot::Invalid(input.origin),
        }
    }

    pub fn required<T: Read>(&self, key: &'static str, problems: &mut Problems<'_>) -> Slot<T> {
        let slot = self.slot(key, problems);
        if slot.origin().is_none() {
            let problem = Problem::at(self.origin, format!("the key `{key}` is missing"));
            let problem = problem.allowed(format!("{key} = {}", T::shape().allowed()));
            problems.push(problem.about(KeyFault::Missing { table: self.origin.path.clone(), key }));
        }
        slot
    }

    /// The default also replaces a wrong value: the file is refused in any case.
    pub fn or_default<T: Read>(
        &self,
        key: &'static str,
        default: &'static LazyLock<T>,
        problems: &mut Problems<'_>,
    ) -> Located<T> {
        match self.slot(key, problems) {
            Slot::Given(value) => value,
            Slot::Absent | Slot::Invalid(_) => Located { value: T::clone(default), origin: self.origin.clone() },
        }
    }

    fn refuse_key(&mut self, key: &str, span: Range<usize>, spec: &TableSpec, problems: &mut Problems<'_>) {
        self.has_unknown = true;
        let path = self.origin.path.key(key.to_owned());
        let place = Origin { path, key: span.clone(), span };
        let problem = Problem::at(&place, format!("unknown key `{key}`")).allowed(spec.allowed_keys());
        let (table, key) = (self.origin.path.clone(), key.to_owned());
        problems.push(problem.about(KeyFault::Unknown { table, place: spec.place, key }));
    }
}
