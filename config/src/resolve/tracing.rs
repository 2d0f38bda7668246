//! Distributed tracing: `http.tracing`, and what routes say of it.

use super::Resolver;
use super::destination::destination;
use super::matcher::fraction;
use crate::diagnostic::Problem;
use crate::document::{self, ZipkinFormat};
use crate::model::{
    FormatPiece, Fraction, OtlpProtocol, RouteTracing, Sampling, SpanExporter, SpanFormat, TraceForm, Tracing,
};
use crate::reader::{List, Located, Map, Name, OneOf, Percent, Slot, Text};
use std::sync::Arc;

/// Over HTTP and over gRPC.
const PATHS: [&str; 2] = ["/v1/traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"];

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn tracing(&mut self, written: &'d Located<document::Tracing>) -> Option<Tracing> {
        let keys = [("zipkin", written.zipkin.origin()), ("otlp", written.otlp.origin())];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "`tracing` does not say where spans go");
        self.traces = true;
        let service_name = written.service_name.0.clone();
        let exporter = match (written.zipkin.given(), written.otlp.given()) {
            (Some(zipkin), _) => self.zipkin_exporter(zipkin, service_name)?,
            (None, Some(otlp)) => self.otlp_exporter(otlp, service_name)?,
            (None, None) => return None,
        };
        let is_zipkin = matches!(exporter.format, SpanFormat::ZipkinJson | SpanFormat::ZipkinProtobuf);
        let (extract, inject): (&[TraceForm], &[TraceForm]) = match is_zipkin {
            true => (&[TraceForm::B3, TraceForm::B3Multi, TraceForm::W3c], &[TraceForm::B3Multi]),
            false => (&[TraceForm::W3c, TraceForm::B3, TraceForm::B3Multi], &[TraceForm::W3c]),
        };
        let zipkin = written.zipkin.given();
        Some(Tracing {
            exporter: Arc::new(exporter),
            extract: forms(&written.extract, extract),
            inject: forms(&written.inject, inject),
            trust: written.trust.0,
            sampling: Sampling {
                client: share(&written.client_sampling).unwrap_or(ALL),
                random: share(&written.random_sampling).unwrap_or(ALL),
                overall: share(&written.overall_sampling).unwrap_or(ALL),
            },
            shared_span: zipkin.is_some_and(|zipkin| zipkin.shared_span.value),
            trace_id_128bit: zipkin.is_none_or(|zipkin| zipkin.trace_id_128bit.value),
            operation: written.operation.given().map(|text| self.format(text)),
            tags: self.span_tags(&written.tags),
            max_path_length: written.max_path_tag_length.to_usize(),
            events: written.events.value,
        })
    }

    fn zipkin_exporter(
        &mut self,
        written: &'d Located<document::Zipkin>,
        service_name: String,
    ) -> Option<SpanExporter> {
        Some(SpanExporter {
            service_name,
            to: self.destination(destination!(written), written.path.0.clone(), None)?,
            format: match written.format.0 {
                ZipkinFormat::Json => SpanFormat::ZipkinJson,
                ZipkinFormat::Protobuf => SpanFormat::ZipkinProtobuf,
            },
            flush_interval: written.flush_interval.0,
            flush_spans: written.min_flush_spans.to_u32(),
        })
    }

    fn otlp_exporter(&mut self, written: &'d Located<document::Otlp>, service_name: String) -> Option<SpanExporter> {
        let (protocol, names) = (written.protocol.0, written.tags.0);
        Some(SpanExporter {
            service_name,
            to: self.otlp_destination(destination!(written), protocol, &written.path, PATHS)?,
            format: match protocol {
                OtlpProtocol::Http => SpanFormat::OtlpHttp { names },
                OtlpProtocol::Grpc => SpanFormat::OtlpGrpc { names },
            },
            flush_interval: written.flush_interval.0,
            flush_spans: written.min_flush_spans.to_u32(),
        })
    }

    /// What a route says, which needs `http.tracing`.
    pub(super) fn route_tracing(&mut self, written: &'d Located<document::RouteTracing>) -> RouteTracing {
        if !self.traces {
            let message = "`tracing` of the route has no effect: its `http` has no `tracing`";
            let problem = Problem::at_key(&written.origin, message);
            self.problems.warn(problem.hint(Some("add http.tracing = { zipkin = { cluster = \"...\" } }")));
        }
        RouteTracing {
            client: share(&written.client_sampling),
            random: share(&written.random_sampling),
            overall: share(&written.overall_sampling),
            operation: written.operation.given().map(|text| self.format(text)),
            tags: self.span_tags(&written.tags),
        }
    }

    fn span_tags(&mut self, written: &'d Slot<Map<Name, Text>>) -> Vec<(String, Vec<FormatPiece>)> {
        let entries = written.given().map_or(&[][..], |map| &map.entries);
        entries.iter().map(|(name, text)| (name.0.clone(), self.format(text))).collect()
    }
}

const ALL: Fraction = Fraction { per_million: 1_000_000 };

fn share(written: &Slot<Percent>) -> Option<Fraction> {
    written.given().map(|percent| fraction(percent.value))
}

fn forms(written: &Slot<List<OneOf<TraceForm>>>, default: &[TraceForm]) -> Vec<TraceForm> {
    written.given().map_or(default.to_vec(), |list| list.items.iter().map(|form| form.0).collect())
}
