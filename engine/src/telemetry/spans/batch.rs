//! A report that grows span by span.

use super::{otlp, zipkin};
use crate::http::trace::SpanRecord;
use crate::telemetry::otlp::Frame;
use ringway_config::model::{SpanExporter, SpanFormat};
use std::sync::Arc;

pub struct SpanBatch {
    exporter: Arc<SpanExporter>,
    /// What stands around the spans of OpenTelemetry.
    frame: Option<Frame>,
    /// Spans, one behind the other.
    body: Vec<u8>,
    count: u32,
}

impl SpanBatch {
    pub fn new(exporter: &Arc<SpanExporter>) -> Self {
        let frame = match exporter.format {
            SpanFormat::ZipkinJson | SpanFormat::ZipkinProtobuf => None,
            SpanFormat::OtlpHttp { names } | SpanFormat::OtlpGrpc { names } => {
                Some(otlp::frame(&exporter.service_name, names))
            }
        };
        Self { exporter: exporter.clone(), frame, body: Vec::new(), count: 0 }
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    pub fn add(&mut self, span: &SpanRecord<'_>) {
        let service = &self.exporter.service_name;
        match self.exporter.format {
            SpanFormat::ZipkinJson => {
                self.body.push(if self.count == 0 { b'[' } else { b',' });
                zipkin::json(&mut self.body, span, service);
            }
            SpanFormat::ZipkinProtobuf => zipkin::protobuf(&mut self.body, span, service),
            SpanFormat::OtlpHttp { names } | SpanFormat::OtlpGrpc { names } => {
                otlp::span(&mut self.body, span, names);
            }
        }
        self.count += 1;
    }

    /// The report of the spans so far. Another batch begins.
    pub fn take(&mut self) -> Vec<u8> {
        self.count = 0;
        if let Some(frame) = &self.frame {
            let report = frame.around(&self.body);
            self.body.clear();
            return report;
        }
        if self.exporter.format == SpanFormat::ZipkinJson {
            self.body.push(b']');
        }
        // The next one is probably as long.
        let room = Vec::with_capacity(self.body.len());
        std::mem::replace(&mut self.body, room)
    }
}
