//! The gRPC check: a call of `grpc.health.v1.Health/Check`, whose answer must be SERVING (Envoy: GrpcHealthCheck).

use super::http::{add_headers, ask};
use super::{Link, Missed, Verdict};
use crate::cluster::Host;
use crate::http::grpc::{GrpcStatus, is_grpc_type};
use crate::http::{FieldId, Length, Message, RequestHead, ResponseHead};
use ringway_config::model::{GRPC_STATUSES, GrpcHealthCheck};

const TARGET: &[u8] = b"/grpc.health.v1.Health/Check";

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Values of `HealthCheckResponse.ServingStatus`.
const SERVING_STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u64 = 1;

/// Any other status of HTTP is no answer to a call.
const STATUS_OK: std::ops::Range<u16> = 200..201;

/// The request's head.
pub(super) fn request(check: &GrpcHealthCheck, cluster: &str, host: &Host) -> Message<RequestHead> {
    let authority = check.authority.as_deref().or(host.spec.hostname.as_deref()).unwrap_or(cluster);
    let mut request = Message::request(b"POST", TARGET, authority.as_bytes());
    request.edit().add_known(FieldId::ContentType, |out| out.extend_from_slice(b"application/grpc"));
    add_headers(&mut request, &check.initial_metadata);
    request.head.length = Length::Unknown;
    request
}

/// `HealthCheckRequest { service }` as the one message of a call.
fn message(service: &str) -> Vec<u8> {
    let mut fields = Vec::new();
    if !service.is_empty() {
        fields.push(1 << 3 | 2);
        write_varint(&mut fields, service.len() as u64);
        fields.extend_from_slice(service.as_bytes());
    }
    let mut message = vec![0];
    message.extend_from_slice(&(fields.len() as u32).to_be_bytes());
    message.extend(fields);
    message
}

pub(super) async fn probe(check: &GrpcHealthCheck, link: &mut Link, request: &Message<RequestHead>) -> Verdict {
    match ask(link, request, Some(&message(&check.service_name)), true).await {
        Ok((answer, body)) => judge(&answer, &body),
        Err(missed) => Verdict::failed(missed),
    }
}

fn judge(answer: &Message<ResponseHead>, body: &[u8]) -> Verdict {
    let head = &answer.head;
    let is_grpc = head.fields.value(FieldId::ContentType, answer.view()).is_some_and(is_grpc_type);
    let missed = match answer.grpc_status() {
        _ if head.status != 200 => Missed::status(head.status, &[STATUS_OK], false),
        _ if !is_grpc => Missed::call("the response is not gRPC"),
        None => Missed::call("the response has no grpc-status"),
        Some(GrpcStatus::OK) => match serving_status(body) {
            Some(SERVING) => return Verdict::passed(head.fields.contains(FieldId::XEnvoyDegraded)),
            Some(status) => {
                let name = SERVING_STATUSES.get(status as usize).map_or_else(|| status.to_string(), |it| (*it).into());
                Missed::call(format!("{name}, expected SERVING"))
            }
            None => Missed::call("the response is not a HealthCheckResponse"),
        },
        Some(status) => {
            let name = GRPC_STATUSES.get(status.0 as usize).map_or("unknown", |(_, name)| name);
            Missed::call(format!("grpc-status {} ({name}), expected 0", status.0))
        }
    };
    let excluded = head.fields.contains(FieldId::XEnvoyImmediateHealthCheckFail);
    Verdict { excluded, ..Verdict::failed(missed) }
}

/// The status in the one message of the answer, which is not compressed, because the call did not offer it.
fn serving_status(body: &[u8]) -> Option<u64> {
    let (prefix, mut fields) = body.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    if prefix[0] != 0 || fields.len() != length as usize {
        return None;
    }
    let mut status = 0;
    while !fields.is_empty() {
        let tag = read_varint(&mut fields)?;
        let skipped = match tag & 7 {
            0 => {
                let value = read_varint(&mut fields)?;
                if tag >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => read_varint(&mut fields)?,
            5 => 4,
            _ => return None,
        };
        fields = fields.get(usize::try_from(skipped).ok()?..)?;
    }
    Some(status)
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_their_service() {
        assert_eq!(message(""), [0, 0, 0, 0, 0]);
        assert_eq!(message("app"), [&[0, 0, 0, 0, 5, 10, 3][..], b"app"].concat());
        let long = "x".repeat(300);
        assert_eq!(message(&long)[..8], [0, 0, 0, 1, 0x2f, 10, 0xac, 2]);
    }

    #[test]
    fn answers_have_a_status() {
        let answer = |fields: &[u8]| [&[0, 0, 0, 0, fields.len() as u8][..], fields].concat();
        for (fields, expected) in [
            (&[][..], Some(0)),
            (&[8, 1], Some(1)),
            (&[8, 2], Some(2)),
            (&[8, 2, 8, 1], Some(1)),
            // Fields that are not known.
            (&[18, 2, 8, 7, 8, 1, 29, 1, 2, 3, 4, 33, 1, 2, 3, 4, 5, 6, 7, 8, 16, 5], Some(1)),
            (&[8], None),
            (&[18, 9, 1], None),
            (&[11], None),
            (&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], None),
        ] {
            assert_eq!(serving_status(&answer(fields)), expected, "{fields:?}");
        }
        // Not whole, more than one, compressed.
        for body in [&[][..], &[0, 0, 0, 0], &[0, 0, 0, 0, 2, 8], &[0, 0, 0, 0, 2, 8, 1, 0], &[1, 0, 0, 0, 2, 8, 1]] {
            assert_eq!(serving_status(body), None, "{body:?}");
        }
    }
}
