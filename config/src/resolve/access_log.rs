//! Access logs: their files, their lines, and the exchanges that they log.

use std::path::Path;
use std::sync::Arc;

use super::Resolver;
use super::format::compile_about;
use super::matcher::fraction;
use crate::diagnostic::Problem;
use crate::document;
use crate::foreign::variable;
use crate::model::{
    AccessLog, AccessLogFilter, AccessLogFormat, AccessLogSink, ComparisonOp, DEFAULT_CONNECTION_FORMAT,
    DEFAULT_TEXT_FORMAT, FormatPiece, Needed, Subject,
};
use crate::place::Origin;
use crate::reader::{FilePath, List, Located, Map, Slot, Text};

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn access_log(&mut self, written: &'d Located<document::AccessLog>) -> Option<AccessLog> {
        let format = self.lines(&written.format, &written.json, Subject::Exchange);
        let filter = written.filter.given().and_then(|filter| self.access_log_filter(filter));
        let keys = [("path", written.path.origin()), ("grpc", written.grpc.origin()), ("otlp", written.otlp.origin())];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "the access log does not say where it goes");
        let (export, fields) = if let Some(service) = written.grpc.given() {
            for (key, origin) in [("format", written.format.origin()), ("json", written.json.origin())] {
                self.refuse_lines(key, origin, "write request_headers or response_headers in `grpc`");
            }
            self.log_service(service)?
        } else if let Some(collector) = written.otlp.given() {
            self.refuse_lines("json", written.json.origin(), "write attributes = { ... } in `otlp`");
            let AccessLogFormat::Text(body) = format else { return None };
            self.log_collector(collector, body, Subject::Exchange)?
        } else {
            return Some(AccessLog { sink: self.log_file(&written.path)?, format, filter });
        };
        let sink = AccessLogSink::Export(Arc::new(export));
        Some(AccessLog { sink, format: AccessLogFormat::Fields(fields), filter })
    }

    /// What a line says.
    pub(super) fn lines(
        &mut self,
        text: &Slot<Text>,
        json: &Slot<Map<Text, Text>>,
        subject: Subject,
    ) -> AccessLogFormat {
        if let (Some(_), Some(json)) = (text.origin(), json.origin()) {
            let problem = Problem::at_key(json, "`json` and `format` exclude each other");
            self.problems.push(problem.hint(Some("a log is either text or JSON; write a second log for the other")));
        }
        match (text.given(), json.given()) {
            (_, Some(json)) => {
                let pairs = self.json(json, subject);
                let all: Vec<_> = pairs.iter().flat_map(|(_, pieces)| pieces.iter().cloned()).collect();
                self.check_constant(&json.origin, "", &all, subject);
                AccessLogFormat::Json(pairs)
            }
            (Some(text), None) => {
                let pieces = self.format_about(text, subject);
                self.check_constant(&text.origin, text.0.as_str(), &pieces, subject);
                AccessLogFormat::Text(with_line_end(pieces))
            }
            // The defaults hold known operators only, which a test compiles.
            (None, None) => {
                let format = match subject {
                    Subject::Exchange => DEFAULT_TEXT_FORMAT,
                    Subject::Connection => DEFAULT_CONNECTION_FORMAT,
                };
                AccessLogFormat::Text(compile_about(format, subject).unwrap_or_default())
            }
        }
    }

    pub(super) fn log_file(&mut self, written: &Slot<FilePath>) -> Option<AccessLogSink> {
        let path = &written.given()?.0;
        let is_stdout = path == Path::new("/dev/stdout");
        let sink = if is_stdout { AccessLogSink::Stdout } else { AccessLogSink::File(self.directory.join(path)) };
        if let (AccessLogSink::File(path), Some(origin)) = (&sink, written.origin()) {
            self.need(origin, Needed::LogFile(path.clone()));
        }
        Some(sink)
    }

    /// Warns of a format without any operator.
    fn check_constant(&mut self, origin: &Origin, text: &str, pieces: &[FormatPiece], subject: Subject) {
        let is_literal = |piece: &FormatPiece| matches!(piece, FormatPiece::Literal(_));
        // Variables of other programs have their own warning, and a format that is wrong has no pieces.
        if pieces.is_empty() || !pieces.iter().all(is_literal) || variable(text).is_some() {
            return;
        }
        let problem = Problem::at(origin, "the format has no command operator: every line would be the same");
        let hint = match subject {
            Subject::Exchange => "values are command operators, such as %REQ(:PATH)% and %RESPONSE_CODE%",
            Subject::Connection => "values are command operators, such as %DOWNSTREAM_REMOTE_ADDRESS% and %DURATION%",
        };
        self.problems.warn(problem.hint(Some(hint)));
    }

    pub(super) fn access_log_filter(
        &mut self,
        written: &'d Located<document::AccessLogFilter>,
    ) -> Option<AccessLogFilter> {
        let keys = [
            ("status", written.status.origin()),
            ("duration", written.duration.origin()),
            ("response_flags", written.response_flags.origin()),
            ("header", written.header.origin()),
            ("grpc_status", written.grpc_status.origin()),
            ("sample_percent", written.sample_percent.origin()),
            ("and", written.and.origin()),
            ("or", written.or.origin()),
            ("not", written.not.origin()),
        ];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "this table names no filter");
        if let Some(status) = written.status.given() {
            let (op, value) = self.comparison(status, &status.equal, &status.at_least, &status.at_most)?;
            return Some(AccessLogFilter::Status { op, value: value.to_u16() });
        }
        if let Some(duration) = written.duration.given() {
            let (op, value) = self.comparison(duration, &duration.equal, &duration.at_least, &duration.at_most)?;
            return Some(AccessLogFilter::Duration { op, value: value.0 });
        }
        if let Some(flags) = written.response_flags.given() {
            return Some(AccessLogFilter::ResponseFlag(flags.items.iter().map(|flag| flag.0).collect()));
        }
        if let Some(header) = written.header.given() {
            return self.header_match(header).map(|header| AccessLogFilter::Header(Box::new(header)));
        }
        if let Some(grpc) = written.grpc_status.given() {
            self.refuse_empty(&grpc.statuses, "the list names no status", "such as [\"UNAVAILABLE\"]");
            let statuses = grpc.statuses.items().iter().map(|status| status.0.0).collect();
            return Some(AccessLogFilter::GrpcStatus { statuses, exclude: grpc.exclude.value });
        }
        if let Some(percent) = written.sample_percent.given() {
            return Some(AccessLogFilter::Sample(fraction(percent.value)));
        }
        if let Some(list) = written.and.given() {
            return Some(AccessLogFilter::And(self.combined(list, Self::access_log_filter)));
        }
        if let Some(list) = written.or.given() {
            return Some(AccessLogFilter::Or(self.combined(list, Self::access_log_filter)));
        }
        let inner = self.access_log_filter(&written.not.given()?.0)?;
        Some(AccessLogFilter::Not(Box::new(inner)))
    }

    /// What `and` and `or` combine, each read by `read`.
    pub(super) fn combined<F>(
        &mut self,
        list: &'d Located<List<F>>,
        read: fn(&mut Self, &'d Located<F>) -> Option<AccessLogFilter>,
    ) -> Vec<AccessLogFilter> {
        if list.items.len() < 2 && !list.is_incomplete {
            let problem = Problem::at(&list.origin, "there is nothing to combine");
            self.problems.push(problem.allowed("at least two filters"));
        }
        list.items.iter().filter_map(|filter| read(self, filter)).collect()
    }

    /// The one comparison of a table that must have one.
    pub(super) fn comparison<T, V: Copy>(
        &mut self,
        table: &Located<T>,
        equal: &Slot<V>,
        at_least: &Slot<V>,
        at_most: &Slot<V>,
    ) -> Option<(ComparisonOp, V)> {
        let keys = [("equal", equal.origin()), ("at_least", at_least.origin()), ("at_most", at_most.origin())];
        self.exactly_one(&table.origin, false, &keys, "the filter does not say what to compare with");
        let operands =
            [(ComparisonOp::Equal, equal), (ComparisonOp::AtLeast, at_least), (ComparisonOp::AtMost, at_most)];
        operands.into_iter().find_map(|(op, slot)| slot.given().map(|value| (op, value.value)))
    }
}

fn with_line_end(mut pieces: Vec<FormatPiece>) -> Vec<FormatPiece> {
    match pieces.last_mut() {
        Some(FormatPiece::Literal(text)) if text.ends_with('\n') => {}
        Some(FormatPiece::Literal(text)) => text.push('\n'),
        Some(FormatPiece::Operator(_)) | None => pieces.push(FormatPiece::Literal("\n".into())),
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::super::format::compile;
    use super::*;

    #[test]
    fn the_line_of_a_connection_compiles() {
        let pieces = compile_about(DEFAULT_CONNECTION_FORMAT, Subject::Connection).expect("valid");
        assert_eq!(with_line_end(pieces.clone()), pieces);
    }

    #[test]
    fn a_line_ends_once() {
        let pieces = compile(DEFAULT_TEXT_FORMAT).ok().unwrap();
        assert_eq!(with_line_end(pieces.clone()), pieces, "it brings its own line end");
        let end = FormatPiece::Literal("\n".into());
        assert_eq!(with_line_end(compile("%PROTOCOL%").ok().unwrap()).last(), Some(&end));
        assert_eq!(with_line_end(Vec::new()), [end]);
    }
}
