//! The format language of access logs and header values, compiled (Envoy: access_log/usage, "Command Operators").

use std::ops::Range;

use super::Resolver;
use crate::diagnostic::{Problem, closest};
use crate::document::{Located, Text};
use crate::model::{CommandOperator, FieldOperand, FormatPiece};

/// Operators without arguments: name, meaning, and what docs/CONFIG.md says.
pub const PLAIN_OPERATORS: &[(&str, CommandOperator, &str)] = &[
    ("START_TIME", CommandOperator::StartTime, "when the request began, UTC, `2026-01-31T23:59:59.123Z`"),
    ("PROTOCOL", CommandOperator::Protocol, "`HTTP/1.1` or `HTTP/1.0`"),
    ("RESPONSE_CODE", CommandOperator::ResponseCode, "status; 0 where none was sent"),
    ("RESPONSE_CODE_DETAILS", CommandOperator::ResponseCodeDetails, "why this status"),
    ("RESPONSE_FLAGS", CommandOperator::ResponseFlags, "what went wrong, as Envoy's short flags"),
    ("BYTES_RECEIVED", CommandOperator::BytesReceived, "bytes of the request's body"),
    ("BYTES_SENT", CommandOperator::BytesSent, "bytes of the response's body"),
    ("DURATION", CommandOperator::Duration, "ms from the start of the request to the last byte out"),
    ("REQUEST_DURATION", CommandOperator::RequestDuration, "ms from the start of the request to its last byte in"),
    (
        "RESPONSE_DURATION",
        CommandOperator::ResponseDuration,
        "ms from the start of the request to the first byte from upstream",
    ),
    (
        "RESPONSE_TX_DURATION",
        CommandOperator::ResponseTxDuration,
        "ms from the first byte from upstream to the last byte out",
    ),
    ("UPSTREAM_HOST", CommandOperator::UpstreamHost, "address of the endpoint"),
    ("UPSTREAM_CLUSTER", CommandOperator::UpstreamCluster, "name of the cluster"),
    ("UPSTREAM_LOCAL_ADDRESS", CommandOperator::UpstreamLocalAddress, "this side of the upstream connection"),
    ("DOWNSTREAM_REMOTE_ADDRESS", CommandOperator::DownstreamRemoteAddress, "address and port of the client"),
    (
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        CommandOperator::DownstreamRemoteAddressWithoutPort,
        "address of the client",
    ),
    ("DOWNSTREAM_LOCAL_ADDRESS", CommandOperator::DownstreamLocalAddress, "address and port that the client connected to"),
    (
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        CommandOperator::DownstreamLocalAddressWithoutPort,
        "address that the client connected to",
    ),
    ("DOWNSTREAM_LOCAL_PORT", CommandOperator::DownstreamLocalPort, "port that the client connected to"),
    ("ROUTE_NAME", CommandOperator::RouteName, "name of the route"),
    ("VIRTUAL_HOST_NAME", CommandOperator::VirtualHostName, "name of the virtual host"),
    ("CONNECTION_ID", CommandOperator::ConnectionId, "number of the downstream connection"),
    ("HOSTNAME", CommandOperator::Hostname, "name of this machine"),
];

/// Parts of the request line that `%REQ(...)%` knows.
const PSEUDO_FIELDS: [&str; 4] = [":method", ":path", ":authority", ":scheme"];

/// A complaint about some bytes of a format.
pub struct FormatFault {
    part: Range<usize>,
    message: String,
    allowed: Option<String>,
    hint: Option<String>,
}

impl Resolver<'_, '_, '_> {
    /// The pieces of a format; empty where it is wrong, which is reported.
    pub(super) fn format(&mut self, text: &Located<Text>) -> Vec<FormatPiece> {
        compile(&text.value.0).unwrap_or_else(|faults| {
            for fault in faults {
                let problem = self.problems.within(&text.origin, &text.value.0, fault.part, fault.message);
                let problem = fault.allowed.into_iter().fold(problem, Problem::allowed);
                self.problems.push(problem.hint(fault.hint));
            }
            Vec::new()
        })
    }
}

/// The pieces of a format, or everything that is wrong with it.
pub fn compile(format: &str) -> Result<Vec<FormatPiece>, Vec<FormatFault>> {
    let mut pieces = Vec::new();
    let mut faults = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(start) = format[at..].find('%').map(|found| at + found) {
        literal.push_str(&format[at..start]);
        if format[start + 1..].starts_with('%') {
            literal.push('%');
            at = start + 2;
            continue;
        }
        let Some(end) = operator_end(format, start + 1) else {
            faults.push(FormatFault {
                part: start..format.len(),
                message: "the operator that begins here has no closing '%'".into(),
                allowed: None,
                hint: Some("write %% for a percent sign".into()),
            });
            return Err(faults);
        };
        if !literal.is_empty() {
            pieces.push(FormatPiece::Literal(std::mem::take(&mut literal)));
        }
        match operator(&format[start + 1..end]) {
            Ok(operator) => pieces.push(FormatPiece::Operator(operator)),
            Err(fault) => faults.push(FormatFault { part: start..end + 1, ..fault }),
        }
        at = end + 1;
    }
    literal.push_str(&format[at..]);
    if !literal.is_empty() {
        pieces.push(FormatPiece::Literal(literal));
    }
    if faults.is_empty() { Ok(pieces) } else { Err(faults) }
}

/// Where the '%' is that ends an operator; one in parentheses belongs to the argument.
fn operator_end(format: &str, start: usize) -> Option<usize> {
    let mut in_argument = false;
    for (at, byte) in format.bytes().enumerate().skip(start) {
        match byte {
            b'(' => in_argument = true,
            b')' => in_argument = false,
            b'%' if !in_argument => return Some(at),
            _ => {}
        }
    }
    None
}

/// One operator, without its percent signs: `NAME`, `NAME(argument)` or `NAME(argument):length`.
fn operator(text: &str) -> Result<CommandOperator, FormatFault> {
    let name_end = text.find(['(', ':']).unwrap_or(text.len());
    let (name, rest) = text.split_at(name_end);
    if let Some((_, operator, _)) = PLAIN_OPERATORS.iter().find(|(known, ..)| *known == name) {
        if rest.is_empty() {
            return Ok(operator.clone());
        }
        return Err(fault(format!("%{name}% takes no argument yet"), Some(format!("write %{name}%"))));
    }
    match name {
        "REQ" => field(name, rest).map(CommandOperator::Req),
        "RESP" => field(name, rest).map(CommandOperator::Resp),
        _ => {
            let names = PLAIN_OPERATORS.iter().map(|(known, ..)| *known).chain(["REQ", "RESP"]);
            let hint = closest(name, names.clone()).map(|near| format!("did you mean %{near}%?"));
            let allowed = names.collect::<Vec<_>>().join(", ");
            let fault = fault(format!("unknown operator %{name}%"), hint);
            Err(FormatFault { allowed: Some(allowed), ..fault })
        }
    }
}

fn fault(message: String, hint: Option<String>) -> FormatFault {
    FormatFault { part: 0..0, message, allowed: None, hint }
}

/// `(name?alternative):length` of REQ and RESP.
fn field(operator: &str, text: &str) -> Result<FieldOperand, FormatFault> {
    let example =
        || Some(format!("write it as %{operator}(X-NAME)%, %{operator}(X-NAME?X-OTHER)% or %{operator}(X-NAME):20%"));
    let wrong = || fault(format!("%{operator}{text}% does not name a header field"), example());
    let (argument, rest) = text.strip_prefix('(').and_then(|text| text.split_once(')')).ok_or_else(wrong)?;
    let max_length = match rest.strip_prefix(':') {
        Some(digits) => Some(digits.parse().map_err(|_| wrong())?),
        None if rest.is_empty() => None,
        None => return Err(wrong()),
    };
    let (name, alternative) = match argument.split_once('?') {
        Some((name, alternative)) => (name, Some(field_name(operator, alternative)?)),
        None => (argument, None),
    };
    Ok(FieldOperand { name: field_name(operator, name)?, alternative, max_length })
}

fn field_name(operator: &str, name: &str) -> Result<String, FormatFault> {
    let name = name.trim().to_ascii_lowercase();
    if name.starts_with(':') {
        return match operator {
            "REQ" if PSEUDO_FIELDS.contains(&name.as_str()) => Ok(name),
            "RESP" if name == ":status" => {
                Err(fault("%RESP(:STATUS)% is not known".into(), Some("write %RESPONSE_CODE%".into())))
            }
            _ => {
                let unknown = fault(format!("%{operator}({name})% is not known"), None);
                let allowed = (operator == "REQ").then(|| format!("{} or a header field", PSEUDO_FIELDS.join(", ")));
                Err(FormatFault { allowed, ..unknown })
            }
        };
    }
    if crate::document::is_token(&name) {
        return Ok(name);
    }
    Err(fault(format!("{name:?} is not a header name"), Some(format!("write it as %{operator}(X-NAME)%"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DEFAULT_TEXT_FORMAT;

    fn field(name: &str, alternative: Option<&str>, max_length: Option<usize>) -> FieldOperand {
        FieldOperand { name: name.into(), alternative: alternative.map(Into::into), max_length }
    }

    #[test]
    fn the_default_format_compiles() {
        let pieces = compile(DEFAULT_TEXT_FORMAT).ok().unwrap();
        assert_eq!(pieces.first(), Some(&FormatPiece::Literal("[".into())));
        assert!(pieces.contains(&FormatPiece::Operator(CommandOperator::Req(field(
            "x-envoy-original-path",
            Some(":path"),
            None
        )))));
    }

    #[test]
    fn operators_stand_between_literals() {
        let pieces = compile("100%% %PROTOCOL%%REQ(A):7%").ok().unwrap();
        assert_eq!(
            pieces,
            [
                FormatPiece::Literal("100% ".into()),
                FormatPiece::Operator(CommandOperator::Protocol),
                FormatPiece::Operator(CommandOperator::Req(field("a", None, Some(7)))),
            ]
        );
    }

    #[test]
    fn every_fault_of_a_format_is_found() {
        let faults = compile("%NOPE% %REQ% %RESP(:STATUS)% %REQ(A):x% %START_TIME(%s)%").err().unwrap();
        assert_eq!(faults.len(), 5);
        assert_eq!(faults[0].part, 0..6);
        assert!(compile("50% done").is_err());
    }
}
