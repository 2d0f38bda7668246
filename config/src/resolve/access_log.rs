//! Access logs: where they go, what they say, and which exchanges they take.

use std::path::Path;

use super::Resolver;
use super::format::compile;
use crate::diagnostic::Problem;
use crate::document::{self, Located};
use crate::model::{AccessLog, AccessLogFormat, AccessLogSink, DEFAULT_TEXT_FORMAT, FormatPiece};

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn access_log(&mut self, written: &'d Located<document::AccessLog>) -> Option<AccessLog> {
        if let (Some(_), Some(json)) = (written.format.origin(), written.json.origin()) {
            let problem = Problem::at_key(json, "`json` and `format` exclude each other");
            self.problems.push(problem.hint(Some("a log is either text or JSON; write a second log for the other")));
        }
        let format = match (written.format.given(), written.json.given()) {
            (_, Some(json)) => {
                if json.0.is_empty() {
                    let problem = Problem::at(&json.origin, "the JSON object has no key");
                    self.problems
                        .push(problem.hint(Some("name at least one: json = { status = \"%RESPONSE_CODE%\" }")));
                }
                let pairs = json.0.iter().map(|(key, text)| (key.clone(), self.format(text))).collect();
                AccessLogFormat::Json(pairs)
            }
            (Some(text), None) => AccessLogFormat::Text(with_line_end(self.format(text))),
            // The default holds known operators only, which a test compiles.
            (None, None) => AccessLogFormat::Text(compile(DEFAULT_TEXT_FORMAT).unwrap_or_default()),
        };
        let path = &written.path.given()?.value.0;
        let is_stdout = path == Path::new("/dev/stdout");
        let sink = if is_stdout { AccessLogSink::Stdout } else { AccessLogSink::File(self.directory.join(path)) };
        Some(AccessLog { sink, format, filter: None })
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
    use super::*;

    #[test]
    fn a_line_ends_once() {
        let pieces = compile(DEFAULT_TEXT_FORMAT).ok().unwrap();
        assert_eq!(with_line_end(pieces.clone()), pieces, "it brings its own line end");
        let end = FormatPiece::Literal("\n".into());
        assert_eq!(with_line_end(compile("%PROTOCOL%").ok().unwrap()).last(), Some(&end));
        assert_eq!(with_line_end(Vec::new()), [end]);
    }
}
