//! Variables of nginx in texts with command operators, where they stand for themselves.

use std::ops::Range;

/// Variable and operator.
pub const VARIABLES: &[(&str, &str)] = &[
    ("args", "%QUERY_PARAMS%"),
    ("binary_remote_addr", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
    ("body_bytes_sent", "%BYTES_SENT%"),
    ("bytes_sent", "%DOWNSTREAM_WIRE_BYTES_SENT%"),
    ("connection", "%CONNECTION_ID%"),
    ("document_uri", "%PATH(NQ)%"),
    ("host", "%REQ(:AUTHORITY)%"),
    ("hostname", "%HOSTNAME%"),
    ("http_host", "%REQ(:AUTHORITY)%"),
    ("proxy_add_x_forwarded_for", "x_forwarded_for = true in `http`, the default"),
    ("proxy_host", "%REQ(:AUTHORITY)%"),
    ("query_string", "%QUERY_PARAMS%"),
    ("realip_remote_addr", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
    ("remote_addr", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
    ("remote_port", "%DOWNSTREAM_REMOTE_PORT%"),
    ("request", "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("request_length", "%DOWNSTREAM_WIRE_BYTES_RECEIVED%"),
    ("request_method", "%REQ(:METHOD)%"),
    ("request_time", "%DURATION%"),
    ("request_uri", "%REQ(:PATH)%"),
    ("scheme", "%REQ(:SCHEME)%"),
    ("server_addr", "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"),
    ("server_port", "%DOWNSTREAM_LOCAL_PORT%"),
    ("server_protocol", "%PROTOCOL%"),
    ("status", "%RESPONSE_CODE%"),
    ("time_iso8601", "%START_TIME%"),
    ("time_local", "%START_TIME%"),
    ("upstream_addr", "%UPSTREAM_HOST%"),
    ("uri", "%PATH(NQ)%"),
];

/// Prefixes of variables that have a name of the user's behind them, and what it is the name of.
const PREFIXES: &[(&str, Part)] = &[
    ("sent_http_", Part::ResponseHeader),
    ("upstream_http_", Part::ResponseHeader),
    ("http_", Part::RequestHeader),
    ("arg_", Part::Parameter),
    ("cookie_", Part::Cookie),
];

#[derive(Clone, Copy)]
enum Part {
    ResponseHeader,
    RequestHeader,
    Parameter,
    Cookie,
}

/// What a variable with such a prefix names; fields of headers have `-` in their names.
fn user_part(name: &str) -> Option<(Part, String)> {
    let (part, rest) = PREFIXES.iter().find_map(|(prefix, part)| Some((*part, name.strip_prefix(prefix)?)))?;
    let is_header = matches!(part, Part::ResponseHeader | Part::RequestHeader);
    Some((part, if is_header { rest.replace('_', "-") } else { rest.into() }))
}

/// The name of the user's that a variable has behind its prefix: of a header, a parameter or a cookie.
pub fn user_name(variable: &str) -> Option<String> {
    user_part(variable).map(|(_, name)| name)
}

/// A text like `$name` or `${name}`.
#[derive(Debug, PartialEq, Eq)]
pub struct Variable<'t> {
    pub part: Range<usize>,
    pub name: &'t str,
    /// What to write where operators are.
    pub operator: String,
}

/// The first one in `text`.
pub fn variable(text: &str) -> Option<Variable<'_>> {
    text.match_indices('$').find_map(|(at, _)| variable_at(text, at))
}

/// The first one in `text` that nginx has; others may be a part of a script in a body, or of a name.
pub fn known_variable(text: &str) -> Option<Variable<'_>> {
    let is_known = |name: &str| user_part(name).is_some() || VARIABLES.iter().any(|(known, _)| *known == name);
    let mut all = text.match_indices('$').filter_map(|(at, _)| variable_at(text, at));
    all.find(|variable| is_known(variable.name))
}

fn variable_at(text: &str, at: usize) -> Option<Variable<'_>> {
    let rest = &text[at + 1..];
    let (open, inner) = match rest.strip_prefix('{') {
        Some(inner) => (1, inner),
        None => (0, rest),
    };
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit();
    let length = inner.bytes().take_while(|byte| is_name(*byte)).count();
    let name = &inner[..length];
    if length < 3 || !name.as_bytes()[0].is_ascii_lowercase() || (open == 1 && !inner[length..].starts_with('}')) {
        return None;
    }
    Some(Variable { part: at..at + 1 + length + 2 * open, name, operator: instead(name) })
}

fn instead(name: &str) -> String {
    if let Some((_, operator)) = VARIABLES.iter().find(|(known, _)| *known == name) {
        return format!("write {operator}");
    }
    match user_part(name) {
        Some((Part::ResponseHeader, field)) => format!("write %RESP({})%", field.to_ascii_uppercase()),
        Some((Part::RequestHeader, field)) => format!("write %REQ({})%", field.to_ascii_uppercase()),
        Some((Part::Parameter, parameter)) => format!("write %QUERY_PARAM({parameter})%"),
        Some((Part::Cookie, _)) => "there is no operator: %REQ(COOKIE)% has all cookies".into(),
        None => "variables are command operators, such as %REQ(X-NAME)%; docs/CONFIG.md lists them".into(),
    }
}

/// The first text in `text` that would be a command operator in a format.
pub fn operator(text: &str) -> Option<Range<usize>> {
    text.match_indices('%').find_map(|(at, _)| {
        let rest = &text[at + 1..];
        let is_name = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
        let length = rest.bytes().take_while(|byte| is_name(*byte)).count();
        let end = at + 1 + length;
        let end = match &text[end..] {
            // Not an escape of a path, such as `%AB%CD`.
            after if after.starts_with('%') && length > 2 => end,
            after if after.starts_with('(') && length > 1 => end + after.find(")%")? + 1,
            _ => return None,
        };
        Some(at..end + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_prices_are_not() {
        for (text, expected) in [
            ("$remote_addr", Some((0..12, "write %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"))),
            ("a ${http_x_id} b", Some((2..14, "write %REQ(X-ID)%"))),
            ("$sent_http_etag", Some((0..15, "write %RESP(ETAG)%"))),
            ("$arg_id", Some((0..7, "write %QUERY_PARAM(id)%"))),
            ("$cookie_sid", Some((0..11, "there is no operator: %REQ(COOKIE)% has all cookies"))),
            ("$5 or $ or US$ or $A or ${x", None),
        ] {
            let found = variable(text).map(|found| (found.part, found.operator));
            assert_eq!(found, expected.map(|(part, hint)| (part, hint.to_owned())), "{text}");
        }
    }

    #[test]
    fn only_known_names_count_where_scripts_may_be() {
        let known = |text| known_variable(text).map(|found| text[found.part].to_owned());
        assert_eq!(known("`${item} of ${request_uri}`").as_deref(), Some("${request_uri}"));
        assert_eq!(known("$http_x_a").as_deref(), Some("$http_x_a"));
        assert_eq!(known("$item, $http"), None);
    }

    #[test]
    fn operators_are_told_from_escapes() {
        for (text, expected) in [
            ("a %REQ(:PATH)% b", Some("%REQ(:PATH)%")),
            ("50 %, %PROTOCOL%", Some("%PROTOCOL%")),
            ("/a%20b%2Fc%AB%CD", None),
            ("100%", None),
            ("%RE", None),
            ("%(x)%", None),
        ] {
            assert_eq!(operator(text).map(|part| &text[part]), expected, "{text}");
        }
    }

    #[test]
    fn every_operator_exists() {
        for (name, operator) in VARIABLES.iter().filter(|(_, operator)| operator.starts_with('%')) {
            assert!(crate::format_pieces(operator).is_ok(), "{name}: {operator}");
        }
    }
}
