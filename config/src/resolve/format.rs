//! The format language of access logs and header values (Envoy: advanced/substitution_formatter): a text with
//! `%OPERATORS%` becomes pieces.

mod arguments;
mod operators;
mod subject;
mod time;

pub use operators::{OPERATORS, TIME_POINTS};
pub use time::TIME_FIELDS;

use std::ops::Range;

use super::Resolver;
use crate::diagnostic::Problem;
use crate::model::{FormatPiece, Subject};
use crate::reader::{Located, Map, Text};
pub(super) use operators::name_of;
use operators::operator;
use subject::misplaced;

/// A problem with some bytes of a format.
#[derive(Debug)]
pub struct FormatFault {
    pub(super) part: Range<usize>,
    pub(super) message: String,
    pub(super) allowed: Option<String>,
    pub(super) hint: Option<String>,
}

impl FormatFault {
    /// About an operator; its place is filled in by `compile`.
    fn new(message: impl Into<String>) -> Self {
        Self { part: 0..0, message: message.into(), allowed: None, hint: None }
    }

    fn allowed(self, allowed: impl Into<String>) -> Self {
        Self { allowed: Some(allowed.into()), ..self }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl Resolver<'_, '_, '_> {
    /// The texts of a JSON object about `subject`.
    pub(super) fn json(
        &mut self,
        json: &Located<Map<Text, Text>>,
        subject: Subject,
    ) -> Vec<(String, Vec<FormatPiece>)> {
        if json.is_empty {
            let problem = Problem::at(&json.origin, "the JSON object has no key");
            self.problems.push(problem.hint(Some(match subject {
                Subject::Exchange => "name at least one: json = { status = \"%RESPONSE_CODE%\" }",
                Subject::Connection => "name at least one: json = { flags = \"%RESPONSE_FLAGS%\" }",
            })));
        }
        json.entries.iter().map(|(key, text)| (key.0.clone(), self.format_about(text, subject))).collect()
    }

    /// The pieces of a format about an exchange; empty if it is wrong, which is reported.
    pub(super) fn format(&mut self, text: &Located<Text>) -> Vec<FormatPiece> {
        self.format_about(text, Subject::Exchange)
    }

    /// The same about `subject`.
    pub(super) fn format_about(&mut self, text: &Located<Text>, subject: Subject) -> Vec<FormatPiece> {
        let pieces = compile_about(&text.0, subject).unwrap_or_else(|faults| {
            for fault in faults {
                let problem = self.problems.within(&text.origin, &text.0, fault.part, fault.message);
                let problem = fault.allowed.into_iter().fold(problem, Problem::allowed);
                self.problems.push(problem.hint(fault.hint));
            }
            Vec::new()
        });
        self.note_fingerprints(&pieces);
        pieces
    }

    /// What the listener has to compute for a text of it.
    pub(super) fn note_fingerprints(&mut self, pieces: &[FormatPiece]) {
        for piece in pieces {
            if let FormatPiece::Operator(operator) = piece {
                self.fingerprints.add(operator);
            }
        }
    }
}

/// As `compile_about`, with the faults as text.
pub fn format_pieces(text: &str, subject: Subject) -> Result<Vec<FormatPiece>, String> {
    compile_about(text, subject)
        .map_err(|faults| faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("\n"))
}

/// The pieces of a format about an exchange, or everything that is wrong with it.
pub fn compile(format: &str) -> Result<Vec<FormatPiece>, Vec<FormatFault>> {
    compile_about(format, Subject::Exchange)
}

/// The same about `subject`.
pub fn compile_about(format: &str, subject: Subject) -> Result<Vec<FormatPiece>, Vec<FormatFault>> {
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
            let fault = FormatFault::new("the operator that begins here has no closing '%'");
            let fault = fault.hint("write %% for a percent sign");
            faults.push(FormatFault { part: start..format.len(), ..fault });
            return Err(faults);
        };
        if !literal.is_empty() {
            pieces.push(FormatPiece::Literal(std::mem::take(&mut literal)));
        }
        let read = operator(&format[start + 1..end]);
        match read.and_then(|operator| misplaced(&operator, &format[start..=end], subject).map_or(Ok(operator), Err)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AddressOf, AddressPart, CommandOperator, DEFAULT_TEXT_FORMAT, FieldOperand, Precision, Rewritten, TimeField,
        TimeFormat, TimePiece, TimePoint,
    };

    fn field(name: &str, alternative: Option<&str>, max_length: Option<usize>) -> FieldOperand {
        FieldOperand { name: name.into(), alternative: alternative.map(Into::into), max_length }
    }

    fn one(format: &str) -> CommandOperator {
        match compile(format).unwrap_or_else(|faults| panic!("{format}: {faults:?}")).as_slice() {
            [FormatPiece::Operator(operator)] => operator.clone(),
            pieces => panic!("{format}: {pieces:?}"),
        }
    }

    fn complaint(format: &str) -> String {
        let faults = compile(format).expect_err(format);
        assert_eq!(faults.len(), 1, "{format}");
        assert_eq!(faults[0].part, 0..format.len(), "{format}");
        format!(
            "{}|{}|{}",
            faults[0].message,
            faults[0].allowed.as_deref().unwrap_or(""),
            faults[0].hint.as_deref().unwrap_or("")
        )
    }

    #[test]
    fn the_default_format_compiles() {
        let pieces = compile(DEFAULT_TEXT_FORMAT).expect("valid");
        assert_eq!(pieces.first(), Some(&FormatPiece::Literal("[".into())));
        assert!(pieces.contains(&FormatPiece::Operator(CommandOperator::Req(field(
            "x-envoy-original-path",
            Some(":path"),
            None
        )))));
    }

    #[test]
    fn operators_stand_between_literals() {
        assert_eq!(
            compile("100%% %PROTOCOL%%REQ(A):7%").expect("valid"),
            [
                FormatPiece::Literal("100% ".into()),
                FormatPiece::Operator(CommandOperator::Protocol),
                FormatPiece::Operator(CommandOperator::Req(field("a", None, Some(7)))),
            ]
        );
    }

    #[test]
    fn every_fault_of_a_format_is_found() {
        let faults = compile("%NOPE% %REQ% %RESP(:STATUS)% %REQ(A):x% %START_TIME(%n)%").expect_err("five faults");
        assert_eq!(faults.len(), 5);
        assert_eq!(faults[0].part, 0..6);
        assert!(compile("50% done").is_err());
    }

    #[test]
    fn arguments_and_lengths() {
        use CommandOperator::*;
        for (format, expected) in [
            ("%REQUEST_HEADER(A?B):9%", Req(field("a", Some("b"), Some(9)))),
            ("%RESPONSE_HEADER(A)%", Resp(field("a", None, None))),
            ("%REQ_WITHOUT_QUERY(X?:PATH)%", ReqWithoutQuery(field("x", Some(":path"), None))),
            ("%PATH%", Path { with_query: true, source: Rewritten::OriginalOrCurrent, max_length: None }),
            ("%PATH(NQ):5%", Path { with_query: false, source: Rewritten::OriginalOrCurrent, max_length: Some(5) }),
            ("%PATH(WQ:ORIG)%", Path { with_query: true, source: Rewritten::Original, max_length: None }),
            ("%PATH(:PATH)%", Path { with_query: true, source: Rewritten::Current, max_length: None }),
            ("%QUERY_PARAM(Id):3%", QueryParam { name: "Id".into(), max_length: Some(3) }),
            ("%QUERY_PARAMS%", QueryParams { decoded: false, max_length: None }),
            ("%QUERY_PARAMS(DECODED)%", QueryParams { decoded: true, max_length: None }),
            ("%RESPONSE_CODE_DETAILS%", ResponseCodeDetails { keep_spaces: false }),
            ("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", ResponseCodeDetails { keep_spaces: true }),
            ("%ENVIRONMENT(HOME)%", Environment { name: "HOME".into(), max_length: None }),
            (
                "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)%",
                Address { of: AddressOf::DownstreamRemote, part: AddressPart::Address { mask_prefix_len: Some(16) } },
            ),
            (
                "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%",
                Elapsed {
                    start: TimePoint::DownstreamReceiveBegin,
                    end: TimePoint::UpstreamSendBegin,
                    precision: Precision::Microseconds,
                },
            ),
            (
                "%COMMON_DURATION(US_TX_BEG:US_RX_BEG)%",
                Elapsed {
                    start: TimePoint::UpstreamSendBegin,
                    end: TimePoint::UpstreamReceiveBegin,
                    precision: Precision::Milliseconds,
                },
            ),
            (
                "%EMIT_TIME(%s.%3f)%",
                EmitTime(TimeFormat(vec![
                    TimePiece::Field(TimeField::EpochSeconds),
                    TimePiece::Literal(".".into()),
                    TimePiece::Field(TimeField::Fraction(3)),
                ])),
            ),
            (
                r#"%COALESCE({"operators": ["ROUTE_NAME", {"command": "REQ", "param": "X-A", "max_length": 4}]}):9%"#,
                Coalesce { operators: vec![RouteName, Req(field("x-a", None, Some(4)))], max_length: Some(9) },
            ),
        ] {
            assert_eq!(one(format), expected, "{format}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_operator_is_told() {
        for (format, part) in [
            ("%PROTOCL%", "did you mean %PROTOCOL%?"),
            ("%PROTOCOL(X)%", "takes no argument"),
            ("%PROTOCOL:3%", "cannot be cut"),
            ("%REQ%", "needs an argument"),
            ("%REQ()%", "is not a header name"),
            ("%REQ(:STATUS)%", ":method, :path, :authority, :scheme or a header field"),
            ("%RESP(:STATUS)%", "write %RESPONSE_CODE%"),
            ("%REQ(A):-1%", "is not a length"),
            ("%REQ(A)x%", "is not a length"),
            ("%PATH(XQ)%", "WQ, NQ"),
            ("%PATH(WQ:ORG)%", "ORIG, PATH, ORIG_OR_PATH"),
            ("%QUERY_PARAMS(X)%", "ORIG, DECODED"),
            ("%ENVIRONMENT()%", "is not the name of an environment variable"),
            ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(129)%", "0 to 32 for IPv4, 0 to 128 for IPv6"),
            ("%COMMON_DURATION(DS_RX_BEG)%", "DS_RX_BEG:DS_TX_END:us"),
            ("%COMMON_DURATION(DS_RX_BGE:DS_TX_END)%", "did you mean DS_RX_BEG?"),
            ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:s)%", "ms, us, ns"),
            ("%START_TIME(%Q)%", "%Q"),
            ("%START_TIME(%Y%n)%", "a line end"),
            ("%COALESCE(REQ)%", "is not JSON"),
            ("%COALESCE({\"operators\": []})%", "an `operators` array"),
            ("%COALESCE({\"operators\": [\"NOPE\"]})%", "unknown operator %NOPE%"),
            ("%COALESCE({\"operators\": [{\"command\": \"REQ\", \"parm\": \"a\"}]})%", "parm"),
        ] {
            let complaint = complaint(format);
            assert!(complaint.contains(part), "{format}: {complaint}");
        }
    }
}
