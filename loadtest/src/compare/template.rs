//! Peer configs are ordinary config files with a few placeholders, so that users of the peer can read them.
//!
//! `@NAME@` stands for a value. A comment line `#@each NAME` repeats the lines up to `#@end` for each entry of a list,
//! as `@NAME@`; `#@if NAME` and `#@unless NAME` keep them where a list has entries, or has none. Such blocks may stand
//! in each other.
use std::collections::BTreeMap;

use anyhow::{Context, bail};

#[derive(Clone, Debug, Default)]
pub struct Values {
    pub single: BTreeMap<&'static str, String>,
    pub lists: BTreeMap<&'static str, Vec<String>>,
}

/// Fills the template. Errors name a place that has no value, and a block that is not closed.
pub fn render(template: &str, values: &Values) -> anyhow::Result<String> {
    let lines: Vec<&str> = template.lines().collect();
    let mut out = String::with_capacity(template.len());
    render_lines(&lines, values, None, &mut out)?;
    Ok(out)
}

fn render_lines(lines: &[&str], values: &Values, entry: Option<(&str, &str)>, out: &mut String) -> anyhow::Result<()> {
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        let Some(directive) = line.trim_start().strip_prefix("#@") else {
            *out += &fill(line, values, entry)?;
            out.push('\n');
            continue;
        };
        let (verb, name) = directive.trim().split_once(' ').with_context(|| format!("`{line}` names no list"))?;
        let (name, list) =
            values.lists.get_key_value(name.trim()).with_context(|| format!("`{line}`: there is no such list"))?;
        let mut block = Vec::new();
        let mut depth = 1;
        loop {
            let Some(inner) = lines.next() else { bail!("`{line}` is not closed by #@end") };
            if inner.trim() == "#@end" {
                depth -= 1;
            } else if inner.trim_start().starts_with("#@") {
                depth += 1;
            }
            if depth == 0 {
                break;
            }
            block.push(*inner);
        }
        let entries: Vec<Option<(&str, &str)>> = match verb {
            "each" => list.iter().map(|entry| Some((*name, entry.as_str()))).collect(),
            "if" if !list.is_empty() => vec![entry],
            "unless" if list.is_empty() => vec![entry],
            "if" | "unless" => Vec::new(),
            _ => bail!("`{line}`: the directives are each, if, unless and end"),
        };
        for entry in entries {
            render_lines(&block, values, entry, out)?;
        }
    }
    Ok(())
}

fn fill(line: &str, values: &Values, entry: Option<(&str, &str)>) -> anyhow::Result<String> {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find('@') {
        let name = &rest[start + 1..];
        // Only capitals and underscores between two signs are a place; `"@type"` in Envoy's files is not.
        let len = name.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(name.len());
        out += &rest[..start];
        if len == 0 || !name[len..].starts_with('@') {
            out.push('@');
            rest = name;
            continue;
        }
        let (name, after) = (&name[..len], &name[len + 1..]);
        match entry {
            Some((key, value)) if key == name => out += value,
            _ => out += values.single.get(name).with_context(|| format!("`{line}`: @{name}@ has no value"))?,
        }
        rest = after;
    }
    out += rest;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values {
            single: BTreeMap::from([("LISTEN", "1.2.3.4:5".to_owned())]),
            lists: BTreeMap::from([("ROUTE", vec!["a".to_owned(), "b".to_owned()]), ("NONE", Vec::new())]),
        }
    }

    #[test]
    fn places_and_lists_are_filled() {
        let template = "bind @LISTEN@ \"@type\"\n  #@each ROUTE\n  to @ROUTE@ from @LISTEN@\n  #@end\nlast\n";
        let expected = "bind 1.2.3.4:5 \"@type\"\n  to a from 1.2.3.4:5\n  to b from 1.2.3.4:5\nlast\n";
        assert_eq!(render(template, &values()).unwrap(), expected);
    }

    #[test]
    fn conditions_keep_or_drop() {
        let template =
            "#@if ROUTE\nmany\n#@unless NONE\nnested\n#@end\n#@end\n#@unless ROUTE\none\n#@end\n#@if NONE\nno\n#@end\n";
        assert_eq!(render(template, &values()).unwrap(), "many\nnested\n");
    }

    #[test]
    fn mistakes_are_named() {
        assert!(render("@PORT@", &values()).unwrap_err().to_string().contains("@PORT@ has no value"));
        assert!(render("#@each ROUTE\nx", &values()).unwrap_err().to_string().contains("not closed"));
        assert!(render("#@each OTHER\n#@end", &values()).unwrap_err().to_string().contains("no such list"));
    }
}
