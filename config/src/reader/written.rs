//! Values that are also kept as text, one line of TOML, for explanations.

use std::fmt::Write as _;

use toml::de::DeValue;

use super::read::{Input, Located, Read};
use super::shape::Shape;
use crate::diagnostic::Problems;

/// A `T`, and how the file writes it.
#[derive(Clone, Debug)]
pub struct Written<T> {
    pub settings: Located<T>,
    /// On one line, whatever headers and dotted keys it is spread over.
    pub text: String,
}

impl<T: Read> Read for Written<T> {
    fn shape() -> Shape {
        T::shape()
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        let settings = Located { value: T::read(input, problems)?, origin: input.origin.clone() };
        let mut text = String::new();
        write_value(&mut text, input.value);
        Some(Self { settings, text })
    }
}

fn write_value(out: &mut String, value: &DeValue<'_>) {
    // Writing to a string cannot fail.
    let _ = match value {
        DeValue::String(text) => {
            out.push_str(&quoted(text));
            Ok(())
        }
        DeValue::Integer(number) => write!(out, "{number}"),
        DeValue::Float(number) => write!(out, "{number}"),
        DeValue::Boolean(value) => write!(out, "{value}"),
        DeValue::Datetime(time) => write!(out, "{time}"),
        DeValue::Array(members) => {
            out.push('[');
            for (index, member) in members.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_value(out, member.get_ref());
            }
            out.push(']');
            Ok(())
        }
        DeValue::Table(table) if table.is_empty() => {
            out.push_str("{}");
            Ok(())
        }
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| key.span().start);
            for (index, (key, value)) in entries.into_iter().enumerate() {
                let key = key.get_ref();
                let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
                let key = if is_bare { key.to_string() } else { quoted(key) };
                let _ = write!(out, "{}{key} = ", if index > 0 { ", " } else { "{ " });
                write_value(out, value.get_ref());
            }
            out.push_str(" }");
            Ok(())
        }
    };
}

/// The text as TOML has it on one line: in single quotes where escapes would be needed otherwise, as patterns are written.
pub fn quoted(text: &str) -> String {
    let needs_escapes = text.contains(['"', '\\']);
    if needs_escapes && !text.contains('\'') && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_as_the_file_has_it() {
        for text in [
            "{ b = 1, a = \"250ms\", 'a b' = [0x1F, 0.5, true] }",
            "{}",
            "[{ x = {} }, 'a\"\\d+', \"it's \\\\\", \"\\n\\t\\u0001é\"]",
        ] {
            let value = DeValue::parse(text).expect("TOML");
            let mut written = String::new();
            write_value(&mut written, value.get_ref());
            assert_eq!(written, text.replace("'a b'", "\"a b\""));
        }
    }

    #[test]
    fn headers_and_dotted_keys_become_one_line() {
        let (table, errors) = toml::de::DeTable::parse_recoverable("z.y = 1\nz.x = 'p'\n[[list]]\nc = 2\n[[list]]\n");
        assert!(errors.is_empty());
        let mut written = String::new();
        write_value(&mut written, &DeValue::Table(table.into_inner()));
        assert_eq!(written, "{ z = { y = 1, x = \"p\" }, list = [{ c = 2 }, {}] }");
    }
}
