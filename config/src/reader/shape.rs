//! What may be written at a key: the one description from which messages and docs/CONFIG.md are made.

use super::units::{format_duration_ms, format_size};

/// What may be written as a value.
#[derive(Clone, Debug)]
pub enum Shape {
    Boolean,
    Integer {
        min: u64,
        max: u64,
    },
    PowerOfTwo {
        min: u64,
        max: u64,
    },
    /// One of these integers.
    Numbers(&'static [u64]),
    /// With or without a fraction.
    Number {
        min: f64,
        max: f64,
    },
    /// A string such as "250ms"; bounds in milliseconds.
    Duration {
        min: u64,
        max: u64,
    },
    /// A string such as "16KiB"; bounds in bytes.
    Size {
        min: u64,
        max: u64,
    },
    Address,
    /// An address, or a host name with a port.
    EndpointAddress,
    /// A string with special rules: its name with the article, and what is allowed.
    Text {
        noun: &'static str,
        allowed: &'static str,
    },
    /// One of these strings.
    Words(Vec<&'static str>),
    /// "off" or the inner shape.
    OrOff(Box<Shape>),
    List(Box<Shape>),
    /// Keys of the user's choice.
    Map(Box<Shape>),
    Table(&'static TableSpec),
    Either(Vec<Shape>),
}

impl Shape {
    /// "a duration", for "this must be ...".
    pub fn noun(&self) -> String {
        match self {
            Self::Boolean => "a boolean".into(),
            Self::Integer { .. } | Self::PowerOfTwo { .. } | Self::Numbers(_) => "an integer".into(),
            Self::Number { .. } => "a number".into(),
            Self::Duration { .. } => "a duration".into(),
            Self::Size { .. } => "a size".into(),
            Self::Address => "an address".into(),
            Self::EndpointAddress => "an address".into(),
            Self::Text { noun, .. } => (*noun).into(),
            Self::Words(words) if words.len() == 1 => format!("{:?}", words[0]),
            Self::Words(_) => "one of a few words".into(),
            Self::OrOff(inner) => format!("{} or \"off\"", inner.noun()),
            Self::List(_) => "a list".into(),
            Self::Map(_) | Self::Table(_) => "a table".into(),
            Self::Either(shapes) => shapes.iter().map(Self::noun).collect::<Vec<_>>().join(" or "),
        }
    }

    /// What is allowed, as a message says it.
    pub fn allowed(&self) -> String {
        match self {
            Self::Boolean => "true, false".into(),
            Self::Integer { min, max: u64::MAX } => format!("{min} or more"),
            Self::Integer { min, max } => format!("{min} to {max}"),
            Self::PowerOfTwo { min, max } => format!("a power of two from {min} to {max}"),
            Self::Numbers(numbers) => numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::Duration { min, max } => format!(
                "a number with a unit (ms, s, m, h) from \"{}\" to \"{}\", such as \"250ms\" or \"15s\"",
                format_duration_ms(*min),
                format_duration_ms(*max)
            ),
            Self::Size { min, max: u64::MAX } => format!(
                "a whole number with a unit (B, KiB, MiB, GiB), \"{}\" or more, such as \"16KiB\"",
                format_size(*min)
            ),
            Self::Size { min, max } => format!(
                "a whole number with a unit (B, KiB, MiB, GiB) from \"{}\" to \"{}\", such as \"16KiB\"",
                format_size(*min),
                format_size(*max)
            ),
            Self::Address => "\"ip:port\", \"[ipv6]:port\" or \"unix:/path\", such as \"127.0.0.1:8080\"".into(),
            Self::EndpointAddress => {
                "\"ip:port\", \"[ipv6]:port\", \"unix:/path\", or \"host:port\" where names are looked up".into()
            }
            Self::Text { allowed, .. } => (*allowed).into(),
            Self::Words(words) => words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", "),
            Self::OrOff(inner) => format!("\"off\", or {}", inner.allowed()),
            Self::List(inner) => match &**inner {
                Self::Table(spec) => format!("a list of tables with the keys {}", spec.allowed_keys()),
                inner => format!("a list in brackets; each member: {}", inner.allowed()),
            },
            Self::Map(inner) => format!("any keys, each with a value: {}", inner.allowed()),
            Self::Table(spec) => format!("a table with the keys {}", spec.allowed_keys()),
            Self::Either(shapes) => shapes.iter().map(Self::allowed).collect::<Vec<_>>().join("; or "),
        }
    }

    /// The type column of the documentation.
    pub fn type_name(&self) -> String {
        match self {
            Self::Boolean => "boolean".into(),
            Self::Integer { min, max: u64::MAX } => format!("integer, {min} or more"),
            Self::Integer { min, max } => format!("integer, {min} to {max}"),
            Self::PowerOfTwo { min, max } => format!("power of two, {min} to {max}"),
            Self::Numbers(numbers) => numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" or "),
            Self::Number { min, max } => format!("number, {min} to {max}"),
            Self::Duration { min, max } => {
                format!("duration, {} to {}", format_duration_ms(*min), format_duration_ms(*max))
            }
            Self::Size { min, max: u64::MAX } => format!("size, {} or more", format_size(*min)),
            Self::Size { min, max } => format!("size, {} to {}", format_size(*min), format_size(*max)),
            Self::Address => "address".into(),
            Self::EndpointAddress => "endpoint address".into(),
            Self::Text { noun, .. } => {
                let articles = ["an ", "a ", "the "];
                articles.iter().find_map(|article| noun.strip_prefix(article)).unwrap_or(noun).into()
            }
            Self::Words(words) => words.iter().map(|word| format!("`{word:?}`")).collect::<Vec<_>>().join(" or "),
            Self::OrOff(inner) => format!("{}, or `\"off\"`", inner.type_name()),
            Self::List(inner) => match &**inner {
                Self::Table(spec) => format!("list of [tables](#{})", spec.anchor()),
                inner => format!("list: {}", inner.type_name()),
            },
            Self::Map(inner) => format!("table of your keys: {}", inner.type_name()),
            Self::Table(spec) => format!("[table](#{})", spec.anchor()),
            Self::Either(shapes) => shapes.iter().map(Self::type_name).collect::<Vec<_>>().join(" or "),
        }
    }
}

/// One table of the file.
#[derive(Debug)]
pub struct TableSpec {
    /// Where it is written, such as `listeners[].http`; empty for the file itself.
    pub place: &'static str,
    /// Lines of its meaning.
    pub docs: &'static [&'static str],
    /// Name of a file in docs/examples.
    pub example: &'static str,
    pub keys: &'static [KeySpec],
}

/// One key of a table.
#[derive(Debug)]
pub struct KeySpec {
    pub name: &'static str,
    pub shape: fn() -> Shape,
    pub presence: Presence,
    /// Lines of its meaning.
    pub docs: &'static [&'static str],
    /// Whether a text is a value of the key.
    #[cfg(test)]
    pub reads: fn(&'static str) -> bool,
}

/// What it means to leave a key out.
#[derive(Debug)]
pub enum Presence {
    Required,
    /// What its absence means, in words.
    Optional(&'static str),
    /// The value as TOML.
    Default(&'static str),
}

impl TableSpec {
    pub fn allowed_keys(&self) -> String {
        if self.keys.is_empty() {
            return "no key".into();
        }
        self.keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
    }

    /// Its heading in the documentation.
    pub fn title(&self) -> &'static str {
        if self.place.is_empty() { "top level" } else { self.place }
    }

    /// The heading as GitHub and most renderers turn it into a link target.
    pub fn anchor(&self) -> String {
        let kept = self.title().chars().filter(|c| c.is_ascii_alphanumeric() || "_- ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    }
}
