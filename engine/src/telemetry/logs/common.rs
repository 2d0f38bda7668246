//! What all records for Envoy's access log service have (`envoy.data.accesslog.v3.AccessLogCommon`).

use std::net::SocketAddr;

use ringway_config::model::RESPONSE_FLAGS;

use crate::base::version::VERSION;
use crate::telemetry::Fields;

/// Fields of `ResponseFlags` by the short names of flags.
const FLAGS: [(&str, u32); 24] = [
    ("LH", 1),
    ("UH", 2),
    ("UT", 3),
    ("LR", 4),
    ("UR", 5),
    ("UF", 6),
    ("UC", 7),
    ("UO", 8),
    ("NR", 9),
    ("DI", 10),
    ("FI", 11),
    ("RL", 12),
    ("DC", 15),
    ("URX", 16),
    ("SI", 17),
    ("IH", 18),
    ("DPE", 19),
    ("UMSDR", 20),
    ("DT", 23),
    ("UPE", 24),
    ("NC", 25),
    ("OM", 26),
    ("DF", 27),
    ("DR", 28),
];

/// The field `identifier` of a report.
pub(super) fn identifier(log_name: &str) -> Vec<u8> {
    debug_assert!(RESPONSE_FLAGS.iter().all(|(name, ..)| FLAGS.iter().any(|flag| flag.0 == *name)));
    let mut identifier = Vec::new();
    let host = rustix::system::uname();
    Fields(&mut identifier).message(1, |identifier| {
        identifier.message(1, |node| {
            node.text(1, host.nodename().to_bytes());
            node.text(2, b"ringway");
            node.text(6, b"ringway");
            node.text(7, VERSION.as_bytes());
        });
        identifier.text(2, log_name.as_bytes());
    });
    identifier
}

/// `google.protobuf.Duration`.
pub(super) fn duration(fields: &mut Fields<'_>, at: u32, micros: u64) {
    fields.message(at, |fields| time(fields, micros));
}

/// Seconds and nanoseconds, as in `google.protobuf.Timestamp` and `Duration`.
pub(super) fn time(fields: &mut Fields<'_>, micros: u64) {
    fields.varint(1, micros / 1_000_000);
    fields.varint(2, micros % 1_000_000 * 1000);
}

/// `envoy.config.core.v3.Address`; nothing where `text` is none.
pub(super) fn address(fields: &mut Fields<'_>, at: u32, text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match text.parse::<SocketAddr>() {
        Ok(address) => fields.message(at, |fields| {
            fields.message(1, |fields| {
                fields.text(2, &crate::base::address::ip(address.ip()));
                fields.varint(3, address.port().into());
            });
        }),
        Err(_) if text.contains('/') => fields.message(at, |fields| {
            fields.message(2, |fields| fields.text(1, text.as_bytes()));
        }),
        Err(_) => {}
    }
}

/// `TLSProperties`. A handshake that failed has no version, and may have a name.
pub(super) fn tls(fields: &mut Fields<'_>, version: &[u8], server_name: &[u8], ja3: &[u8]) {
    let version = match version {
        b"TLSv1.2" => 3,
        b"TLSv1.3" => 4,
        _ if server_name.is_empty() && ja3.is_empty() => return,
        _ => 0,
    };
    fields.message(4, |fields| {
        if version > 0 {
            fields.varint(1, version);
        }
        for (at, text) in [(3, server_name), (7, ja3)] {
            if !text.is_empty() {
                fields.text(at, text);
            }
        }
    });
}

/// `ResponseFlags`, for the short names of flags.
pub(super) fn flags(fields: &mut Fields<'_>, names: &[u8]) {
    let names = std::str::from_utf8(names).unwrap_or_default();
    let number = |name: &str| FLAGS.iter().find(|flag| flag.0 == name).map(|flag| flag.1);
    let set: Vec<u32> = names.split(',').filter_map(number).collect();
    if !set.is_empty() {
        fields.message(16, |fields| set.iter().for_each(|number| fields.varint(*number, 1)));
    }
}
