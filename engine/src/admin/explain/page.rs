//! Lines of an explanation: a label, a statement, and its place in the file.

use ringway_config::model::Place;
use std::fmt::{Display, Write};

pub(super) struct Page<'c> {
    pub text: String,
    file: &'c str,
}

impl<'c> Page<'c> {
    pub(super) fn new(file: &'c str) -> Self {
        Self { text: String::new(), file }
    }

    pub(super) fn line(&mut self, label: &str, what: impl Display) {
        self.line_at(label, what, Place::default());
    }

    /// Adds `file:line`, where the statement has a place in the file.
    pub(super) fn line_at(&mut self, label: &str, what: impl Display, place: Place) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{label:<12}{what}");
        if place.line > 0 {
            let _ = write!(self.text, "  ({}:{})", self.file, place.line);
        }
        self.text.push('\n');
    }

    pub(super) fn blank(&mut self) {
        self.text.push('\n');
    }
}
