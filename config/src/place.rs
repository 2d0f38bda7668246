//! Where something stands in the file: by its keys, by bytes, by line and column.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// Where a value stands in the file.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub path: KeyPath,
    /// Bytes of the key (of the value where it is a member of a list).
    pub key: Range<usize>,
    /// Bytes of the value, or of the header if it is a table with one.
    pub span: Range<usize>,
}

/// The keys that lead to a value, such as `listeners[0].http.routes[1].route.cluster`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyPath(Option<Rc<Step>>);

#[derive(Debug, PartialEq, Eq, Hash)]
enum Step {
    Key(KeyPath, Cow<'static, str>),
    Index(KeyPath, usize),
}

impl KeyPath {
    pub fn key(&self, key: impl Into<Cow<'static, str>>) -> Self {
        Self(Some(Rc::new(Step::Key(self.clone(), key.into()))))
    }

    /// The path to the table or list that holds this.
    pub fn parent(&self) -> Self {
        match self.0.as_deref() {
            Some(Step::Key(parent, _) | Step::Index(parent, _)) => parent.clone(),
            None => Self(None),
        }
    }

    pub fn index(&self, index: usize) -> Self {
        Self(Some(Rc::new(Step::Index(self.clone(), index))))
    }
}

/// Whether TOML has the key without quotes.
pub fn is_bare_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_deref() {
            None => Ok(()),
            Some(Step::Index(parent, index)) => write!(f, "{parent}[{index}]"),
            Some(Step::Key(parent, key)) => {
                let dot = if parent.0.is_some() { "." } else { "" };
                if is_bare_key(key) { write!(f, "{parent}{dot}{key}") } else { write!(f, "{parent}{dot}{key:?}") }
            }
        }
    }
}

/// Where in the file something was written, for people: `ringway explain` and logs.
///
/// It does not take part in comparisons: an entry that has moved in the file is still the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// From 1; 0 for a default, which is not in the file.
    pub line: u32,
    pub column: u32,
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

/// Values of keys as the file writes them, for people: `ringway explain`.
///
/// They do not take part in comparisons: what is written in another way and means the same is the same.
#[derive(Clone, Debug, Default)]
pub struct Texts(Vec<(&'static str, Cow<'static, str>)>);

impl Texts {
    pub fn add(&mut self, key: &'static str, text: impl Into<Cow<'static, str>>) {
        self.0.push((key, text.into()));
    }

    /// The value of the key, without quotes; `None` of one that has no text, such as a default that follows from others.
    pub fn of(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, text)| text.as_ref())
    }
}

impl PartialEq for Texts {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Texts {}
