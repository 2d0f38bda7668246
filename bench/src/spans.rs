//! What the thread that exports spans does with each: from a shard's ring into a report.

use crate::exchange::{Rig, Traced, Traffic, Way};
use ringway::base::record_ring::{Writer, record_ring};
use ringway::http::trace::SpanRecord;
use ringway::telemetry::SpanBatch;
use ringway_config::model::{Destination, SpanExporter, SpanFormat, TagNames};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// Exchanges whose spans wait in the ring.
const EXCHANGES: usize = 1000;
/// Spans of a report.
const REPORT: u32 = 100;

pub const ZIPKIN_JSON: SpanFormat = SpanFormat::ZipkinJson;
pub const ZIPKIN_PROTO: SpanFormat = SpanFormat::ZipkinProtobuf;
pub const OTLP: SpanFormat = SpanFormat::OtlpHttp { names: TagNames::Semantic };

/// The two spans of one small exchange: taken out of the ring, read, and written into a report.
pub fn export_two(format: SpanFormat) -> impl FnMut() {
    let records = records(format);
    let (writer, mut reader) = record_ring(EXCHANGES * records.iter().map(|record| record.len() + 16).sum::<usize>());
    fill(&writer, &records);
    let mut batch = SpanBatch::new(&exporter(format));
    let mut record = Vec::new();
    move || {
        for _ in 0..2 {
            while !reader.pop(&mut record) {
                fill(&writer, &records);
            }
            batch.add(&SpanRecord::read(&record).expect("a record"));
        }
        if batch.count() >= REPORT {
            black_box(batch.take());
        }
    }
}

/// Those that an exchange leaves.
fn records(format: SpanFormat) -> Vec<Vec<u8>> {
    let traced = match format {
        SpanFormat::ZipkinJson | SpanFormat::ZipkinProtobuf => Traced::SampledW3c,
        SpanFormat::OtlpHttp { .. } | SpanFormat::OtlpGrpc { .. } => Traced::SampledOtlp,
    };
    let rig = Rig::new(Traffic::Small, Way::Traced(traced));
    rig.run(1);
    let records = rig.spans();
    assert_eq!(records.len(), 2, "an exchange and its try");
    records
}

fn fill(writer: &Writer, records: &[Vec<u8>]) {
    for record in (0..EXCHANGES).flat_map(|_| records) {
        assert!(writer.push(record), "the ring has room for all");
    }
}

fn exporter(format: SpanFormat) -> Arc<SpanExporter> {
    let second = Duration::from_secs(1);
    Arc::new(SpanExporter {
        service_name: "ringway".into(),
        to: Destination {
            cluster: "spans".into(),
            host: "spans".into(),
            path: "/".into(),
            headers: Vec::new(),
            timeout: second,
        },
        format,
        flush_interval: second,
        flush_spans: REPORT,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_filled_again() {
        for format in [ZIPKIN_JSON, ZIPKIN_PROTO, OTLP] {
            let mut piece = export_two(format);
            (0..2 * EXCHANGES).for_each(|_| piece());
        }
    }
}
