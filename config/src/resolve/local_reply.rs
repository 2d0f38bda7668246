//! Replies of the proxy's own, in the words of the configuration.

use super::Resolver;
use super::format::compile;
use crate::diagnostic::Problem;
use crate::document;
use crate::foreign::known_variable;
use crate::model::{AccessLogFormat, FormatPiece, LocalReply, Subject};
use crate::reader::{FilePath, List, Located, Slot, Written};

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn local_replies(&mut self, written: &'d Slot<List<Written<document::LocalReply>>>) -> Vec<LocalReply> {
        let items = written.items();
        for reply in items.iter().map(|reply| &reply.settings).rev().skip(1) {
            if reply.filter.origin().is_none() && !reply.has_unknown {
                let problem = Problem::at(&reply.origin, "this one changes every reply: those after it are never used");
                self.problems.push(problem.hint(Some("give it a `filter`, or put it last")));
            }
        }
        items.iter().filter_map(|reply| self.local_reply(reply)).collect()
    }

    fn local_reply(&mut self, reply: &'d Written<document::LocalReply>) -> Option<LocalReply> {
        let written = &reply.settings;
        let bodies = [
            ("format", written.format.origin()),
            ("json", written.json.origin()),
            ("body_file", written.body_file.origin()),
        ];
        self.at_most_one(&bodies);
        let body_at = bodies.iter().find_map(|(_, origin)| *origin);
        let status = written.status_code.given().map(|status| status.value.to_u16());
        if body_at.is_none() && written.status_code.origin().is_none() && !written.has_unknown {
            let problem = Problem::at(&written.origin, "it changes nothing of the reply");
            self.problems.push(problem.allowed("status_code, format, json, body_file; at least one"));
        }
        self.check_has_body(status, body_at, "leave it out, or write another status_code");
        if let (Some(origin), None) = (written.content_type.origin(), body_at) {
            let problem = Problem::at_key(origin, "`content_type` has no effect: there is no new body");
            self.problems.push(problem.allowed("`content_type` together with format, json or body_file"));
        }
        let (body, default_type) = if let Some(json) = written.json.given() {
            (Some(AccessLogFormat::Json(self.json(json, Subject::Exchange))), "application/json")
        } else if let Some(text) = written.format.given() {
            (Some(AccessLogFormat::Text(self.format(text))), "text/plain")
        } else if let Some(file) = written.body_file.given() {
            (Some(AccessLogFormat::Text(self.format_file(file))), "text/html")
        } else {
            (None, "text/plain")
        };
        let filter = match written.filter.given() {
            Some(filter) => Some(self.access_log_filter(filter)?),
            None => None,
        };
        let content_type = written.content_type.value().unwrap_or_else(|| default_type.into());
        let place = self.problems.place(&written.origin);
        Some(LocalReply { filter, status, body, content_type, text: reply.text.clone(), place })
    }

    fn format_file(&mut self, file: &Located<FilePath>) -> Vec<FormatPiece> {
        let Some(bytes) = self.body_file(file) else { return Vec::new() };
        let path = self.directory.join(&file.0);
        let Ok(text) = String::from_utf8(bytes) else {
            let message = format!("cannot read {}: it is not UTF-8", path.display());
            self.problems.push(Problem::at(&file.origin, message));
            return Vec::new();
        };
        if let Some(found) = known_variable(&text) {
            let line = text[..found.part.start].matches('\n').count() + 1;
            let name = &text[found.part];
            let message = format!("line {line} of {}: `{name}` is no variable: it stands for itself", path.display());
            self.problems.warn(Problem::at(&file.origin, message).hint(Some(found.operator)));
        }
        let pieces = compile(&text).unwrap_or_else(|faults| {
            for fault in faults {
                let line = text[..fault.part.start].matches('\n').count() + 1;
                let message = format!("line {line} of {}: {}", path.display(), fault.message);
                let hint = fault.hint.unwrap_or_else(|| "write a percent sign as %%".into());
                let problem = fault.allowed.into_iter().fold(Problem::at(&file.origin, message), Problem::allowed);
                self.problems.push(problem.hint(Some(hint)));
            }
            Vec::new()
        });
        self.note_fingerprints(&pieces);
        pieces
    }
}
