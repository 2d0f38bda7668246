//! Variables of nginx in texts with command operators, where they stand for themselves.

use std::ops::Range;

/// Variable and operator.
pub const VARIABLES: &[(&str, &str)] = &[
    ("args", "%QUERY_PARAMS%"),
    ("body_bytes_sent", "%BYTES_SENT%"),
    ("bytes_sent", "%DOWNSTREAM_WIRE_BYTES_SENT%"),
    ("connection", "%CONNECTION_ID%"),
    ("host", "%REQ(:AUTHORITY)%"),
    ("hostname", "%HOSTNAME%"),
    ("http_host", "%REQ(:AUTHORITY)%"),
    ("proxy_add_x_forwarded_for", "x_forwarded_for = true in `http`, the default"),
    ("proxy_host", "%REQ(:AUTHORITY)%"),
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

/// The first text like `$name` or `${name}` in `text`, and what to write instead.
pub fn variable(text: &str) -> Option<(Range<usize>, String)> {
    text.match_indices('$').find_map(|(at, _)| {
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
        Some((at..at + 1 + length + 2 * open, instead(name)))
    })
}

fn instead(name: &str) -> String {
    if let Some((_, operator)) = VARIABLES.iter().find(|(known, _)| *known == name) {
        return format!("write {operator}");
    }
    let header = |name: &str| name.replace('_', "-").to_ascii_uppercase();
    let prefixes = [("sent_http_", "RESP"), ("upstream_http_", "RESP"), ("http_", "REQ")];
    let known = prefixes.iter().find_map(|(prefix, operator)| Some((name.strip_prefix(prefix)?, operator)));
    match known {
        Some((field, operator)) => format!("write %{operator}({})%", header(field)),
        None => "variables are command operators, such as %REQ(X-NAME)%; docs/CONFIG.md lists them".into(),
    }
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
            ("$5 or $ or US$ or $A or ${x", None),
        ] {
            let expected = expected.map(|(part, hint)| (part, hint.to_owned()));
            assert_eq!(variable(text), expected, "{text}");
        }
    }

    #[test]
    fn every_operator_exists() {
        for (name, operator) in VARIABLES.iter().filter(|(_, operator)| operator.starts_with('%')) {
            assert!(crate::format_pieces(operator).is_ok(), "{name}: {operator}");
        }
    }
}
