//! Log records as OpenTelemetry takes them (`opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest`).

use ringway_config::model::{OTLP_FIELDS, OtlpField};

use super::number;
use crate::telemetry::Fields;
use crate::telemetry::otlp::Frame;

/// Numbers of fields.
mod field {
    /// `ScopeLogs.log_records`.
    pub const RECORDS: u32 = 2;
    pub const TIME: u32 = 1;
    pub const BODY: u32 = 5;
    pub const ATTRIBUTES: u32 = 6;
    pub const FLAGS: u32 = 8;
    pub const TRACE_ID: u32 = 9;
    pub const SPAN_ID: u32 = 10;
}

pub(super) struct Encoder {
    frame: Frame,
    attributes: Vec<String>,
}

impl Encoder {
    pub fn new(service: &str, resource: &[(String, String)], attributes: &[String]) -> Self {
        Self { frame: Frame::new(service, resource, None), attributes: attributes.to_vec() }
    }

    /// The body is behind what all records have, and attributes are behind it.
    pub fn field_count(&self) -> usize {
        OTLP_FIELDS.len() + 1 + self.attributes.len()
    }

    pub fn around(&self, items: &[u8]) -> Vec<u8> {
        self.frame.around(items)
    }

    pub fn add(&self, fields: &[&[u8]], items: &mut Vec<u8>) {
        let of = |field: OtlpField| fields[field as usize];
        Fields(items).long_message(field::RECORDS, |record| {
            record.fixed64(field::TIME, number(of(OtlpField::Start)) * 1000);
            record.message(field::BODY, |body| body.text(1, fields[OTLP_FIELDS.len()]));
            for (name, value) in self.attributes.iter().zip(&fields[OTLP_FIELDS.len() + 1..]) {
                if !value.is_empty() {
                    record.attribute(field::ATTRIBUTES, name.as_bytes(), value);
                }
            }
            if let Some(flags @ 1..) =
                std::str::from_utf8(of(OtlpField::Flags)).ok().and_then(|digits| digits.parse().ok())
            {
                record.fixed32(field::FLAGS, flags);
            }
            for (number, digits) in [(field::TRACE_ID, of(OtlpField::Trace)), (field::SPAN_ID, of(OtlpField::Span))] {
                if let Ok(id) = data_encoding::HEXLOWER.decode(digits)
                    && !id.is_empty()
                {
                    record.bytes(number, &id);
                }
            }
        });
    }
}
