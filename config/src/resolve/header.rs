//! Edits of header fields.

use std::collections::HashMap;

use super::Resolver;
use crate::diagnostic::Problem;
use crate::document::{EditableHeader, HeaderToAdd, List, Located, Slot};
use crate::model::{FormatPiece, HeaderMutation, HeaderMutations};

/// The four keys of a table that edits header fields.
pub(super) struct WrittenMutations<'d> {
    pub request_add: &'d Slot<List<HeaderToAdd>>,
    pub request_remove: &'d Slot<List<EditableHeader>>,
    pub response_add: &'d Slot<List<HeaderToAdd>>,
    pub response_remove: &'d Slot<List<EditableHeader>>,
}

/// The edits of a table that has the four keys.
macro_rules! mutations {
    ($table:expr) => {
        $crate::resolve::header::WrittenMutations {
            request_add: &$table.request_headers_to_add,
            request_remove: &$table.request_headers_to_remove,
            response_add: &$table.response_headers_to_add,
            response_remove: &$table.response_headers_to_remove,
        }
    };
}
pub(super) use mutations;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn mutations(&mut self, written: WrittenMutations<'d>) -> HeaderMutations {
        HeaderMutations {
            request: self.edits(written.request_add, written.request_remove),
            response: self.edits(written.response_add, written.response_remove),
        }
    }

    /// Fields are removed first, so that one can be replaced (Envoy: HeaderParser).
    fn edits(
        &mut self,
        add: &'d Slot<List<HeaderToAdd>>,
        remove: &'d Slot<List<EditableHeader>>,
    ) -> Vec<HeaderMutation> {
        let mut first = HashMap::new();
        for name in remove.items() {
            self.unique(&mut first, name.value.0.as_str(), &name.origin, |name| format!("`{name}` is removed twice"));
        }
        let mut edits: Vec<_> =
            remove.items().iter().map(|name| HeaderMutation::Remove(name.value.0.clone())).collect();
        edits.extend(add.items().iter().filter_map(|header| self.header_to_add(header)));
        edits
    }

    fn header_to_add(&mut self, written: &'d Located<HeaderToAdd>) -> Option<HeaderMutation> {
        let name = written.name.given();
        let text = written.value.value.given()?;
        let value = self.format(text);
        if text.0.is_empty() {
            let problem = Problem::at(&text.origin, "the value is empty: no field would be written");
            self.problems.push(problem.hint(Some("to remove a field, list it in ..._headers_to_remove")));
        }
        let is_literal = |c: char| matches!(c, ' ' | '\t' | '!'..='~');
        let mut literals = value.iter().filter_map(|piece| match piece {
            FormatPiece::Literal(text) => Some(text),
            FormatPiece::Operator(_) => None,
        });
        if let Some(bad) = literals.find_map(|text| text.chars().find(|c| !is_literal(*c))) {
            let problem = Problem::at(&text.origin, format!("a header's value cannot hold {bad:?}"));
            self.problems.push(problem.allowed("visible ASCII characters, spaces and command operators"));
        }
        if text.0.trim() != text.0 {
            let problem = Problem::at(&text.origin, "spaces at the ends of a header's value are not part of it");
            self.problems.push(problem.hint(Some("remove them")));
        }
        Some(HeaderMutation::Set { name: name?.value.0.clone(), value, action: written.append_action.value.0 })
    }
}
