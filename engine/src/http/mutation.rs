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
            HeaderMutation::Set { name, value, action, .. } => Mutation::Set {
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
        let present = head.forwards(id, name);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::h1::{Limits, parse_request};
    use crate::http::{EditBytes, RequestHead};
    use ringway_config::model::CommandOperator;

    const BYTES: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nVia: 1.0 a\r\nx-a: 2\r\n\r\n";

    fn set(name: &str, action: AppendAction) -> HeaderMutation {
        HeaderMutation::Set {
            name: name.into(),
            value: vec![FormatPiece::Literal("new".into())],
            written: "new".into(),
            action,
        }
    }

    /// The lines after Host once the edits are made; `evaluated` is what operators give.
    fn edited(mutations: &[HeaderMutation], evaluated: &[u8]) -> Vec<String> {
        let mut head = RequestHead::default();
        parse_request(BYTES, &Limits::default(), &mut head).expect("valid");
        let mut edits = EditBytes::default();
        let mutations = Mutations::new(mutations);
        for index in 0..mutations.len() {
            let mut editor = HeadEditor { fields: &mut head.fields, received: BYTES, edits: &mut edits };
            mutations.apply(index, evaluated, &mut editor);
        }
        let editor = HeadEditor { fields: &mut head.fields, received: BYTES, edits: &mut edits };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let view = editor.view();
        let lines =
            editor.fields.iter().map(|field| format!("{}={}", text(field.name.of(view)), text(field.value.of(view))));
        lines.skip(1).collect()
    }

    /// Envoy: HeaderAppendAction, for a field that is there twice, one that has an id, and one that is not there.
    #[test]
    fn what_each_action_does() {
        use AppendAction::*;
        for (action, twice, known, absent) in [
            (AppendIfExistsOrAdd, "X-A=1 Via=1.0 a x-a=2 x-a=new", "X-A=1 Via=1.0 a x-a=2 via=new", true),
            (AddIfAbsent, "X-A=1 Via=1.0 a x-a=2", "X-A=1 Via=1.0 a x-a=2", true),
            (OverwriteIfExistsOrAdd, "Via=1.0 a x-a=new", "X-A=1 x-a=2 via=new", true),
            (OverwriteIfExists, "Via=1.0 a x-a=new", "X-A=1 x-a=2 via=new", false),
        ] {
            assert_eq!(edited(&[set("x-a", action)], b"").join(" "), twice, "{action:?}");
            assert_eq!(edited(&[set("via", action)], b"").join(" "), known, "{action:?}");
            assert_eq!(edited(&[set("x-b", action)], b"").contains(&"x-b=new".to_owned()), absent, "{action:?}");
            assert_eq!(edited(&[set("origin", action)], b"").contains(&"origin=new".to_owned()), absent, "{action:?}");
        }
    }

    #[test]
    fn edits_are_made_in_order() {
        let mutations = [HeaderMutation::Remove("x-a".into()), set("x-a", AppendAction::AddIfAbsent)];
        assert_eq!(edited(&mutations, b""), ["Via=1.0 a", "x-a=new"]);
        let mutations = [set("x-b", AppendAction::default()), set("x-b", AppendAction::OverwriteIfExists)];
        assert_eq!(edited(&mutations, b"").len(), 4);
    }

    #[test]
    fn an_empty_value_changes_nothing() {
        let mutation = |action| HeaderMutation::Set {
            written: String::new(),
            name: "x-a".into(),
            value: vec![FormatPiece::Operator(CommandOperator::Protocol)],
            action,
        };
        for action in [AppendAction::AppendIfExistsOrAdd, AppendAction::OverwriteIfExistsOrAdd] {
            assert_eq!(edited(&[mutation(action)], b"").len(), 3, "{action:?}");
        }
        assert_eq!(edited(&[mutation(AppendAction::OverwriteIfExists)], b"HTTP/1.1")[1], "x-a=HTTP/1.1");
    }
}
