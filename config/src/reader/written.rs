//! Values that are also kept as text, one line of TOML, for explanations.

use std::fmt::Write as _;

use toml::de::DeValue;

use super::read::{Input, Located, Read};
use super::shape::Shape;
use crate::diagnostic::Problems;
use crate::place::is_bare_key;
use crate::syntax::quoted;

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
        Some(Self { settings, text: on_one_line(input.value) })
    }
}

/// The value as TOML on one line, whatever headers and dotted keys it is spread over.
pub fn on_one_line(value: &DeValue<'_>) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
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
                let key = if is_bare_key(key) { key.to_string() } else { quoted(key) };
                let _ = write!(out, "{}{key} = ", if index > 0 { ", " } else { "{ " });
                write_value(out, value.get_ref());
            }
            out.push_str(" }");
            Ok(())
        }
    };
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
