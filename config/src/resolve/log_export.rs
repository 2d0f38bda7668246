//! Access logs that go to programs elsewhere.

use super::Resolver;
use super::destination::destination;
use super::format::compile_about;
use crate::diagnostic::Problem;
use crate::document;
use crate::model::{
    CONNECTION_FIELDS, CommandOperator, FieldOperand, FormatPiece, LogExport, LogExportKind, OTLP_FIELDS,
    SERVICE_FIELDS, Subject,
};
use crate::place::Origin;
use crate::reader::Located;

const SERVICE_PATH: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
/// Over HTTP and over gRPC.
const PATHS: [&str; 2] = ["/v1/logs", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"];

/// An export, and the formats of its records' fields.
type Exported = (LogExport, Vec<Vec<FormatPiece>>);

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn log_service(&mut self, written: &'d Located<document::GrpcAccessLog>) -> Option<Exported> {
        self.fingerprints.ja3 = true;
        let (request_headers, response_headers) = (written.request_headers.values(), written.response_headers.values());
        let operator = |operator| vec![FormatPiece::Operator(operator)];
        let request = request_headers.iter().map(|name| operator(CommandOperator::Req(field(name))));
        let response = response_headers.iter().map(|name| operator(CommandOperator::Resp(field(name))));
        let fields = compiled(SERVICE_FIELDS, Subject::Exchange).chain(request).chain(response).collect();
        let kind = LogExportKind::Service { log_name: written.log_name.0.clone(), request_headers, response_headers };
        let needs_http2 = Some("the access log service needs");
        let to = self.destination(destination!(written), SERVICE_PATH.into(), needs_http2)?;
        Some((LogExport { to, kind }, fields))
    }

    /// The service for records of connections.
    pub(super) fn tcp_log_service(&mut self, written: &'d Located<document::GrpcConnectionLog>) -> Option<Exported> {
        self.fingerprints.ja3 = true;
        let needs_http2 = Some("the access log service needs");
        let to = self.destination(destination!(written), SERVICE_PATH.into(), needs_http2)?;
        let kind = LogExportKind::TcpService { log_name: written.log_name.0.clone() };
        Some((LogExport { to, kind }, compiled(CONNECTION_FIELDS, Subject::Connection).collect()))
    }

    /// `body`: of the records.
    pub(super) fn log_collector(
        &mut self,
        written: &'d Located<document::OtlpAccessLog>,
        mut body: Vec<FormatPiece>,
        subject: Subject,
    ) -> Option<Exported> {
        let protocol = written.protocol.0;
        let to = self.otlp_destination(destination!(written), protocol, &written.path, PATHS)?;
        without_line_end(&mut body);
        let entries = written.attributes.given().map_or(&[][..], |map| &map.entries);
        let attributes: Vec<_> = entries.iter().map(|(_, text)| self.format_about(text, subject)).collect();
        // Those of a trace have no value where the record is of a connection.
        let fields = compiled(OTLP_FIELDS, Subject::Exchange).chain([body]).chain(attributes).collect();
        let resource = written.resource_attributes.given().map_or(&[][..], |map| &map.entries);
        let kind = LogExportKind::Otlp {
            protocol,
            service_name: written.service_name.0.clone(),
            resource: resource.iter().map(|(name, value)| (name.0.clone(), value.0.clone())).collect(),
            attributes: entries.iter().map(|(name, _)| name.0.clone()).collect(),
        };
        Some((LogExport { to, kind }, fields))
    }

    /// Reports a key that is about lines, where records go.
    pub(super) fn refuse_lines(&mut self, key: &str, origin: Option<&Origin>, hint: &'static str) {
        let Some(origin) = origin else { return };
        let problem = Problem::at_key(origin, format!("`{key}` has no effect: records are no lines"));
        self.problems.push(problem.hint(Some(hint)));
    }
}

fn field(name: &str) -> FieldOperand {
    FieldOperand { name: name.into(), alternative: None, max_length: None }
}

/// A test compiles all of them.
fn compiled(formats: &'static [&'static str], subject: Subject) -> impl Iterator<Item = Vec<FormatPiece>> {
    formats.iter().map(move |format| compile_about(format, subject).unwrap_or_default())
}

fn without_line_end(body: &mut Vec<FormatPiece>) {
    if let Some(FormatPiece::Literal(text)) = body.last_mut() {
        let len = text.trim_end_matches('\n').len();
        text.truncate(len);
        if text.is_empty() {
            body.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_have_a_format() {
        let fields = [SERVICE_FIELDS, OTLP_FIELDS, CONNECTION_FIELDS];
        let subjects = [Subject::Exchange, Subject::Exchange, Subject::Connection];
        for (fields, subject) in fields.into_iter().zip(subjects) {
            for format in fields {
                let pieces = compile_about(format, subject).unwrap_or_default();
                assert!(matches!(&pieces[..], [FormatPiece::Operator(_)]), "{format}");
            }
        }
    }
}
