//! Access logs that go to programs elsewhere.

use super::Resolver;
use super::format::compile;
use crate::diagnostic::Problem;
use crate::document;
use crate::model::{
    CommandOperator, FieldOperand, FormatPiece, LogExport, LogExportKind, OTLP_FIELDS, OtlpProtocol, SERVICE_FIELDS,
};
use crate::place::Origin;
use crate::reader::Located;

const SERVICE_PATH: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
const HTTP_PATH: &str = "/v1/logs";
const GRPC_PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// An export, and the formats of its records' fields.
type Exported = (LogExport, Vec<Vec<FormatPiece>>);

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn log_service(&mut self, written: &'d Located<document::GrpcAccessLog>) -> Option<Exported> {
        let cluster = written.cluster.given()?;
        self.cluster_named(cluster)?;
        self.check_speaks_grpc(cluster, "the access log service needs");
        let (request_headers, response_headers) = (written.request_headers.values(), written.response_headers.values());
        let operator = |operator| vec![FormatPiece::Operator(operator)];
        let request = request_headers.iter().map(|name| operator(CommandOperator::Req(field(name))));
        let response = response_headers.iter().map(|name| operator(CommandOperator::Resp(field(name))));
        let fields = compiled(SERVICE_FIELDS).chain(request).chain(response).collect();
        let kind = LogExportKind::Service { log_name: written.log_name.0.clone(), request_headers, response_headers };
        let host = written.host.value().unwrap_or_else(|| cluster.0.clone());
        let (cluster, path, timeout) = (cluster.0.clone(), SERVICE_PATH.into(), written.timeout.0);
        Some((LogExport { cluster, host, path, timeout, kind }, fields))
    }

    /// `body`: of the records.
    pub(super) fn log_collector(
        &mut self,
        written: &'d Located<document::OtlpAccessLog>,
        mut body: Vec<FormatPiece>,
    ) -> Option<Exported> {
        let cluster = written.cluster.given()?;
        self.cluster_named(cluster)?;
        let protocol = written.protocol.0;
        self.check_otlp_protocol(protocol, cluster);
        let path = match protocol {
            OtlpProtocol::Http => HTTP_PATH,
            OtlpProtocol::Grpc => GRPC_PATH,
        };
        without_line_end(&mut body);
        let entries = written.attributes.given().map_or(&[][..], |map| &map.entries);
        let attributes: Vec<_> = entries.iter().map(|(_, text)| self.format(text)).collect();
        let fields = compiled(OTLP_FIELDS).chain([body]).chain(attributes).collect();
        let resource = written.resource_attributes.given().map_or(&[][..], |map| &map.entries);
        let kind = LogExportKind::Otlp {
            protocol,
            service_name: written.service_name.0.clone(),
            resource: resource.iter().map(|(name, value)| (name.0.clone(), value.0.clone())).collect(),
            attributes: entries.iter().map(|(name, _)| name.0.clone()).collect(),
        };
        let host = written.host.value().unwrap_or_else(|| cluster.0.clone());
        let path = written.path.value().unwrap_or_else(|| path.into());
        Some((LogExport { cluster: cluster.0.clone(), host, path, timeout: written.timeout.0, kind }, fields))
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
fn compiled(formats: &'static [&'static str]) -> impl Iterator<Item = Vec<FormatPiece>> {
    formats.iter().map(|format| compile(format).unwrap_or_default())
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
        for format in SERVICE_FIELDS.iter().chain(OTLP_FIELDS) {
            let pieces = compile(format).unwrap_or_default();
            assert!(matches!(&pieces[..], [FormatPiece::Operator(_)]), "{format}");
        }
    }
}
