//! Records as Envoy's access log service takes them (`envoy.service.accesslog.v3.StreamAccessLogsMessage`).

use ringway_config::model::{SERVICE_FIELDS, ServiceField};

use super::common::{address, duration, flags, identifier, time, tls};
use super::number;
use crate::telemetry::Fields;

/// Numbers of fields, in the order of the proto files.
mod message {
    pub const HTTP_LOGS: u32 = 2;
    /// Of the logs.
    pub const ENTRY: u32 = 1;
}

/// `AccessLogCommon` of the first two, and so on.
mod entry {
    pub const COMMON: u32 = 1;
    pub const PROTOCOL: u32 = 2;
    pub const REQUEST: u32 = 3;
    pub const RESPONSE: u32 = 4;
}

/// `DownstreamEnd` of `AccessLogType`.
const DOWNSTREAM_END: u64 = 6;

/// In the order of `RequestMethod`, which begins with none.
const METHODS: [&[u8]; 9] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

pub(super) struct Encoder {
    /// The field `identifier`.
    identifier: Vec<u8>,
    request_headers: Vec<String>,
    response_headers: Vec<String>,
}

impl Encoder {
    pub fn new(log_name: &str, request_headers: &[String], response_headers: &[String]) -> Self {
        let identifier = identifier(log_name);
        Self { identifier, request_headers: request_headers.to_vec(), response_headers: response_headers.to_vec() }
    }

    /// Headers are behind what all records have.
    pub fn field_count(&self) -> usize {
        SERVICE_FIELDS.len() + self.request_headers.len() + self.response_headers.len()
    }

    pub fn around(&self, entries: &[u8]) -> Vec<u8> {
        let mut out = self.identifier.clone();
        Fields(&mut out).message(message::HTTP_LOGS, |logs| logs.0.extend_from_slice(entries));
        out
    }

    pub fn add(&self, fields: &[&[u8]], items: &mut Vec<u8>) {
        let record = Record { fields };
        let (request, response) = fields[SERVICE_FIELDS.len()..].split_at(self.request_headers.len());
        Fields(items).message(message::ENTRY, |fields| {
            fields.message(entry::COMMON, |common| record.common(common));
            fields.varint(
                entry::PROTOCOL,
                match record.of(ServiceField::Protocol) {
                    b"HTTP/1.0" => 1,
                    b"HTTP/1.1" => 2,
                    b"HTTP/2" => 3,
                    _ => 0,
                },
            );
            fields.message(entry::REQUEST, |fields| {
                record.request(fields);
                headers(fields, 13, &self.request_headers, request);
            });
            fields.message(entry::RESPONSE, |fields| {
                record.response(fields);
                headers(fields, 4, &self.response_headers, response);
            });
        });
    }
}

/// A field of type `map<string, string>`, with those that are there.
fn headers(fields: &mut Fields<'_>, number: u32, names: &[String], values: &[&[u8]]) {
    for (name, value) in names.iter().zip(values).filter(|pair| !pair.1.is_empty()) {
        fields.message(number, |pair| {
            pair.text(1, name.as_bytes());
            pair.text(2, value);
        });
    }
}

struct Record<'r> {
    fields: &'r [&'r [u8]],
}

impl Record<'_> {
    fn of(&self, field: ServiceField) -> &[u8] {
        self.fields[field as usize]
    }

    fn text(&self, fields: &mut Fields<'_>, number: u32, field: ServiceField) {
        if !self.of(field).is_empty() {
            fields.text(number, self.of(field));
        }
    }

    fn varint(&self, fields: &mut Fields<'_>, at: u32, field: ServiceField) {
        let value = number(self.of(field));
        if value != 0 {
            fields.varint(at, value);
        }
    }

    /// `google.protobuf.Duration` for microseconds.
    fn duration(&self, fields: &mut Fields<'_>, at: u32, field: ServiceField) {
        if !self.of(field).is_empty() {
            duration(fields, at, number(self.of(field)));
        }
    }

    fn address(&self, fields: &mut Fields<'_>, number: u32, field: ServiceField) {
        address(fields, number, self.of(field));
    }

    fn common(&self, fields: &mut Fields<'_>) {
        use ServiceField::*;
        for (number, field) in [(2, Remote), (3, Local), (13, UpstreamRemote), (14, UpstreamLocal), (20, DirectRemote)]
        {
            self.address(fields, number, field);
        }
        tls(fields, self.of(TlsVersion), self.of(TlsName), self.of(TlsJa3));
        fields.message(5, |fields| time(fields, number(self.of(Start))));
        for (number, field) in [
            (6, LastRx),
            (7, FirstUpstreamTx),
            (8, LastUpstreamTx),
            (9, FirstUpstreamRx),
            (10, LastUpstreamRx),
            (11, FirstTx),
            (12, Duration),
            (23, Duration),
        ] {
            self.duration(fields, number, field);
        }
        for (number, field) in [(15, UpstreamCluster), (18, UpstreamFailure), (19, Route), (26, Stream)] {
            self.text(fields, number, field);
        }
        flags(fields, self.of(Flags));
        for (number, field) in [
            (24, UpstreamAttempts),
            (29, WireSent),
            (30, WireReceived),
            (31, UpstreamWireSent),
            (32, UpstreamWireReceived),
        ] {
            self.varint(fields, number, field);
        }
        fields.varint(33, DOWNSTREAM_END);
    }

    fn request(&self, fields: &mut Fields<'_>) {
        use ServiceField::*;
        if let Some(at) = METHODS.iter().position(|method| *method == self.of(Method)) {
            fields.varint(1, at as u64 + 1);
        }
        for (number, field) in [
            (2, Scheme),
            (3, Authority),
            (5, Path),
            (6, UserAgent),
            (7, Referer),
            (8, ForwardedFor),
            (9, Stream),
            (10, OriginalPath),
        ] {
            self.text(fields, number, field);
        }
        for (number, field) in
            [(11, RequestHeadersBytes), (12, RequestBodyBytes), (14, UpstreamHeaderSent), (15, HeaderReceived)]
        {
            self.varint(fields, number, field);
        }
    }

    fn response(&self, fields: &mut Fields<'_>) {
        use ServiceField::*;
        if number(self.of(Code)) != 0 {
            fields.message(1, |fields| self.varint(fields, 1, Code));
        }
        self.text(fields, 6, Details);
        for (number, field) in
            [(2, ResponseHeadersBytes), (3, ResponseBodyBytes), (7, UpstreamHeaderReceived), (8, HeaderSent)]
        {
            self.varint(fields, number, field);
        }
    }
}
