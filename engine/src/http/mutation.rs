//! Header mutations of the configuration, ready to use (Envoy: HeaderValueOption, request_headers_to_remove, ...).

use super::format::CompiledFormat;
use super::{FieldId, HeadEditor};
use ringway_config::model::{AppendAction, FormatPiece, HeaderMutation};

/// Edits in the order in which they are made.
#[derive(Debug, Default)]
pub struct Mutations(Vec<Mutation>);

#[derive(Debug)]
enum Mutation {
    Remove(Box<[u8]>),
    Set { name: Box<[u8]>, id: FieldId, value: Value, action: AppendAction },
}

#[derive(Debug)]
enum Value {
    Literal(Box<[u8]>),
    Format(CompiledFormat),
}

impl Mutations {
    pub fn new(mutations: &[HeaderMutation]) -> Self {
        let compile = |mutation: &HeaderMutation| match mutation {
            HeaderMutation::Remove(name) => Mutation::Remove(name.as_bytes().into()),
            HeaderMutation::Set { name, value, action } => Mutation::Set {
                name: name.as_bytes().into(),
                id: FieldId::lookup(name.as_bytes()),
                value: Value::new(value),
                action: *action,
            },
        };
        Self(mutations.iter().map(compile).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The format of the value at `index`, where it depends on the exchange.
    pub fn format(&self, index: usize) -> Option<&CompiledFormat> {
        match &self.0[index] {
            Mutation::Set { value: Value::Format(format), .. } => Some(format),
            _ => None,
        }
    }

    /// Make the edit at `index`; `evaluated` is what its format gave. An empty value adds no field.
    pub fn apply(&self, index: usize, evaluated: &[u8], head: &mut HeadEditor<'_>) {
        let (name, id, value, action) = match &self.0[index] {
            Mutation::Remove(name) => {
                head.remove(name);
                return;
            }
            Mutation::Set { name, id, value, action } => (name, *id, value, *action),
        };
        let value = match value {
            Value::Literal(text) => text,
            Value::Format(_) => evaluated,
        };
        if value.is_empty() {
            return;
        }
        let present = head.fields.contains(id) && (id != FieldId::Unknown || head.contains(name));
        match action {
            AppendAction::AppendIfExistsOrAdd => head.add(name, value),
            AppendAction::AddIfAbsent if present => {}
            AppendAction::OverwriteIfExists if !present => {}
            AppendAction::OverwriteIfExistsOrAdd | AppendAction::OverwriteIfExists if present => head.set(name, value),
            _ => head.add(name, value),
        }
    }
}

impl Value {
    fn new(pieces: &[FormatPiece]) -> Self {
        let literal = |piece: &FormatPiece| match piece {
            FormatPiece::Literal(text) => Some(text.clone()),
            FormatPiece::Operator(_) => None,
        };
        match pieces.iter().map(literal).collect::<Option<String>>() {
            Some(text) => Self::Literal(text.into_bytes().into()),
            None => Self::Format(CompiledFormat::new(pieces)),
        }
    }
}
