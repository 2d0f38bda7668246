//! Records of connections as Envoy's access log service takes them (`tcp_logs` of
//! `envoy.service.accesslog.v3.StreamAccessLogsMessage`).

use ringway_config::model::{CONNECTION_FIELDS, ConnectionField};

use super::common::{address, duration, flags, identifier, time, tls};
use super::number;
use crate::telemetry::Fields;

/// `StreamAccessLogsMessage.tcp_logs`.
const TCP_LOGS: u32 = 3;
/// `TCPAccessLogEntries.log_entry`.
const ENTRY: u32 = 1;
/// Of `TCPAccessLogEntry`.
const COMMON: u32 = 1;
const CONNECTION: u32 = 2;

/// `TcpConnectionEnd` of `AccessLogType`.
const TCP_CONNECTION_END: u64 = 3;

pub(super) const FIELD_COUNT: usize = CONNECTION_FIELDS.len();

pub(super) struct Encoder {
    /// The field `identifier`.
    identifier: Vec<u8>,
}

impl Encoder {
    pub fn new(log_name: &str) -> Self {
        Self { identifier: identifier(log_name) }
    }

    pub fn around(&self, entries: &[u8]) -> Vec<u8> {
        let mut out = self.identifier.clone();
        Fields(&mut out).message(TCP_LOGS, |logs| logs.0.extend_from_slice(entries));
        out
    }

    pub fn add(&self, fields: &[&[u8]], items: &mut Vec<u8>) {
        use ConnectionField::*;
        let of = |field: ConnectionField| fields[field as usize];
        Fields(items).message(ENTRY, |entry| {
            entry.message(COMMON, |common| {
                for (at, field) in [(2, Remote), (3, Local), (20, DirectRemote)] {
                    address(common, at, of(field));
                }
                tls(common, of(TlsVersion), of(TlsName), of(TlsJa3));
                let (start, end) = (number(of(Start)), number(of(End)));
                common.message(5, |fields| time(fields, start));
                for at in [12, 23] {
                    duration(common, at, end.saturating_sub(start));
                }
                flags(common, of(Flags));
                for (at, field) in [(25, TerminationDetails), (26, Connection), (28, TransportFailure)] {
                    if !of(field).is_empty() {
                        common.text(at, of(field));
                    }
                }
                for (at, field) in [(29, Sent), (30, Received)] {
                    if number(of(field)) > 0 {
                        common.varint(at, number(of(field)));
                    }
                }
                common.varint(33, TCP_CONNECTION_END);
            });
            entry.message(CONNECTION, |connection| {
                for (at, field) in [(1, Received), (2, Sent)] {
                    if number(of(field)) > 0 {
                        connection.varint(at, number(of(field)));
                    }
                }
            });
        });
    }
}
