//! Why a value is refused, and what to write in its place.

use super::read::Read;
use super::table::reads;
use crate::diagnostic::{Problem, Problems};
use crate::place::Origin;
use crate::syntax::quoted;

/// Why a string is refused.
#[derive(Debug)]
pub struct Refusal {
    pub message: String,
    pub hint: Option<String>,
    instead: Option<Instead>,
}

impl Refusal {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, instead: None }
    }

    pub fn hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    /// Texts that may have been meant, for the `{}` in `phrase`: a hint that is only given for those that are accepted.
    pub fn instead(self, phrase: &str, texts: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let values = texts.into_iter().map(|text| quoted(text.as_ref()));
        Self { instead: Some(Instead::new(phrase, values)), ..self }
    }

    /// Reports it for the value at `origin`, which should be a `T`.
    pub fn report<T: Read>(self, origin: &Origin, problems: &mut Problems<'_>) {
        let hint = self.hint_of::<T>(problems);
        problems.push(Problem::at(origin, self.message).allowed(T::shape().allowed()).hint(hint));
    }

    /// The hint for a value that should be a `T`.
    pub fn hint_of<T: Read>(&self, problems: &Problems<'_>) -> Option<String> {
        let instead = self.instead.as_ref().and_then(|instead| instead.hint::<T>(problems));
        instead.or_else(|| self.hint.clone())
    }
}

/// Values that may have been meant, as TOML, and the sentence around them.
#[derive(Debug)]
pub struct Instead {
    phrase: String,
    values: Vec<String>,
}

impl Instead {
    pub fn new(phrase: &str, values: impl IntoIterator<Item = String>) -> Self {
        Self { phrase: phrase.to_owned(), values: values.into_iter().collect() }
    }

    /// The sentence with those of the values that are a `T`. What is read only to see whether it is accepted needs none, and
    /// its values would be tried in their turn.
    pub fn hint<T: Read>(&self, problems: &Problems<'_>) -> Option<String> {
        if problems.is_trial() {
            return None;
        }
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).filter(|value| reads::<T>(value)).collect();
        values.dedup();
        (!values.is_empty()).then(|| self.phrase.replacen("{}", &values.join(" or "), 1))
    }
}
