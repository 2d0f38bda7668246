//! Logs of connections.

use std::sync::Arc;

use super::Resolver;
use super::matcher::fraction;
use crate::document::{self, ConnectionLogFilter};
use crate::model::{AccessLog, AccessLogFilter, AccessLogFormat, AccessLogSink, Subject};
use crate::reader::Located;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn connection_log(&mut self, written: &'d Located<document::ConnectionLog>) -> Option<AccessLog> {
        let format = self.lines(&written.format, &written.json, Subject::Connection);
        let filter = written.filter.given().and_then(|filter| self.connection_log_filter(filter));
        let keys = [("path", written.path.origin()), ("grpc", written.grpc.origin()), ("otlp", written.otlp.origin())];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "the access log does not say where it goes");
        let (export, fields) = if let Some(service) = written.grpc.given() {
            for (key, origin) in [("format", written.format.origin()), ("json", written.json.origin())] {
                self.refuse_lines(key, origin, "leave it out: the service gets all that is known of a connection");
            }
            self.tcp_log_service(service)?
        } else if let Some(collector) = written.otlp.given() {
            self.refuse_lines("json", written.json.origin(), "write attributes = { ... } in `otlp`");
            let AccessLogFormat::Text(body) = format else { return None };
            self.log_collector(collector, body, Subject::Connection)?
        } else {
            return Some(AccessLog { sink: self.log_file(&written.path)?, format, filter });
        };
        let sink = AccessLogSink::Export(Arc::new(export));
        Some(AccessLog { sink, format: AccessLogFormat::Fields(fields), filter })
    }

    fn connection_log_filter(&mut self, written: &'d Located<ConnectionLogFilter>) -> Option<AccessLogFilter> {
        let keys = [
            ("duration", written.duration.origin()),
            ("response_flags", written.response_flags.origin()),
            ("sample_percent", written.sample_percent.origin()),
            ("and", written.and.origin()),
            ("or", written.or.origin()),
            ("not", written.not.origin()),
        ];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "this table names no filter");
        if let Some(duration) = written.duration.given() {
            let (op, value) = self.comparison(duration, &duration.equal, &duration.at_least, &duration.at_most)?;
            return Some(AccessLogFilter::Duration { op, value: value.0 });
        }
        if let Some(flags) = written.response_flags.given() {
            return Some(AccessLogFilter::ResponseFlag(flags.items.iter().map(|flag| flag.0).collect()));
        }
        if let Some(percent) = written.sample_percent.given() {
            return Some(AccessLogFilter::Sample(fraction(percent.value)));
        }
        if let Some(list) = written.and.given() {
            return Some(AccessLogFilter::And(self.combined(list, Self::connection_log_filter)));
        }
        if let Some(list) = written.or.given() {
            return Some(AccessLogFilter::Or(self.combined(list, Self::connection_log_filter)));
        }
        let inner = self.connection_log_filter(&written.not.given()?.0)?;
        Some(AccessLogFilter::Not(Box::new(inner)))
    }
}
