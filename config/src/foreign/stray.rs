//! Variables of nginx and command operators where they stand for themselves: in texts of formats the first are no
//! variables, and elsewhere there are neither. A pass over the whole file, so that no key is left out.

use std::ops::Range;

use toml::de::DeValue;

use super::variables::{known_variable, operator, user_name, variable};
use crate::diagnostic::{Problem, Problems};
use crate::document::Document;
use crate::reader::{Input, Shape};

/// Table and key of the texts with command operators.
const FORMATS: &[(&str, &str)] = &[
    ("listeners[].access_log[]", "format"),
    ("listeners[].access_log[]", "json"),
    ("listeners[].http.access_log[]", "format"),
    ("listeners[].http.access_log[]", "json"),
    ("listeners[].http.access_log[].otlp", "attributes"),
    ("listeners[].http.local_reply[]", "format"),
    ("listeners[].http.local_reply[]", "json"),
    ("listeners[].http.request_headers_to_add[]", "value"),
    ("listeners[].http.tracing", "operation"),
    ("listeners[].http.tracing", "tags"),
    ("listeners[].http.virtual_hosts[].routes[].tracing", "operation"),
    ("listeners[].http.virtual_hosts[].routes[].tracing", "tags"),
];

/// Warns of them.
pub fn warn(root: &Input<'_, '_>, problems: &mut Problems<'_>) {
    if problems.text().contains(['$', '%']) {
        let top = Key { table: "", name: "" };
        walk(&Shape::Table(Document::spec()), root, top, problems);
    }
}

/// The key whose value is looked at, which may be a list or a table of texts.
#[derive(Clone, Copy)]
struct Key {
    table: &'static str,
    name: &'static str,
}

fn walk(shape: &Shape, input: &Input<'_, '_>, key: Key, problems: &mut Problems<'_>) {
    match (shape, input.value) {
        (Shape::OrOff(inner), _) => walk(inner, input, key, problems),
        (Shape::Either(shapes), value) => {
            let is_it = |shape: &&Shape| match value {
                DeValue::Table(_) => matches!(shape, Shape::Table(_)),
                DeValue::Array(_) => matches!(shape, Shape::List(_)),
                _ => !matches!(shape, Shape::Table(_) | Shape::List(_)),
            };
            shapes.iter().filter(is_it).take(1).for_each(|shape| walk(shape, input, key, problems));
        }
        (Shape::List(inner), DeValue::Array(members)) => {
            for (index, member) in members.iter().enumerate() {
                let member = Input::new(member, member.span(), input.origin.path.index(index));
                walk(inner, &member, key, problems);
            }
        }
        (Shape::Map(inner), DeValue::Table(table)) => {
            for (name, value) in table {
                let path = input.origin.path.key(name.get_ref().to_string());
                walk(inner, &Input::new(value, name.span(), path), key, problems);
            }
        }
        (Shape::Table(spec), DeValue::Table(table)) => {
            for known in spec.keys {
                let Some((name, value)) = table.get_key_value(known.name) else { continue };
                let value = Input::new(value, name.span(), input.origin.path.key(known.name));
                walk(&(known.shape)(), &value, Key { table: spec.place, name: known.name }, problems);
            }
        }
        // `$` is the end of a text there, and a group may have such a name.
        (Shape::Text { noun: "a regular expression", .. }, _) => {}
        (_, DeValue::String(text)) => check(text, input, key, problems),
        _ => {}
    }
}

fn check(text: &str, input: &Input<'_, '_>, key: Key, problems: &mut Problems<'_>) {
    let mut warn = |part: Range<usize>, what: &str, hint: String| {
        let message = format!("`{}` is {what} here: it stands for itself", &text[part.clone()]);
        let problem: Problem = problems.within(&input.origin, text, part, message);
        problems.warn(problem.hint(Some(hint)));
    };
    if FORMATS.contains(&(key.table, key.name)) {
        if let Some(found) = variable(text) {
            warn(found.part, "no variable", found.operator);
        }
    } else if let Some(found) = known_variable(text) {
        warn(found.part, "no variable", instead(key, found.name));
    } else if let Some(part) = operator(text) {
        warn(part, "no command operator", instead(key, ""));
    }
}

/// What to write in place of a variable, or of an operator (without a name), in the text of this key.
fn instead(key: Key, name: &str) -> String {
    let is_path =
        key.table.ends_with("redirect") || key.table.ends_with("route") || key.table.ends_with("regex_rewrite");
    match (key.name, user_name(name)) {
        ("name" | "header" | "header_name" | "cookie" | "query_parameter" | "cluster_header" | "host_rewrite_header", Some(name)) => {
            format!("write the name itself: {name:?}")
        }
        ("body" | "content_type", _) => {
            "a body with command operators is a local reply of `http`: local_reply = [{ filter = { ... }, format = \"...\" }]"
                .into()
        }
        ("path", _) if key.table.ends_with("access_log[]") => {
            "each log has one file; %REQ(:AUTHORITY)% in its format tells hosts apart".into()
        }
        ("path" | "prefix_rewrite" | "substitution" | "template_rewrite", _) if is_path => {
            "what a redirect or a rewrite does not name stays as the request has it: host, query, and what follows a prefix; \
             parts of the path are groups of regex_rewrite or variables of template_rewrite"
                .into()
        }
        ("generic_key" | "descriptor_value", _) => {
            "values of a request are the actions remote_address and request_headers".into()
        }
        _ => "command operators are for the formats of logs, the values of headers, local_reply and the tags of tracing".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::all_tables;

    /// What their documentation says and what is checked here do not drift apart.
    #[test]
    fn every_text_with_operators_is_known() {
        let mut found = Vec::new();
        for table in all_tables() {
            for key in table.keys {
                let docs = key.docs.join(" ");
                let says = docs.contains("ommand operators") || docs.contains("like that of `format`");
                let is_text = matches!((key.shape)(), Shape::Text { noun: "a string", .. } | Shape::Map(_));
                if says && is_text {
                    found.push((table.place, key.name));
                }
            }
        }
        found.sort_unstable();
        let mut formats = FORMATS.to_vec();
        formats.sort_unstable();
        assert_eq!(found, formats);
    }
}
