//! What becomes of a report after one try to send it.

use super::wire::{Message as Fields, Value};
use crate::base::date::parse_http_date;
use crate::base::span::Span;
use crate::cluster::call::{Answer, CallError};
use crate::http::FieldId;
use crate::http::grpc::GrpcStatus;
use crate::mux::Broken;
use data_encoding::BASE64_NOPAD;
use ringway_config::model::GRPC_STATUSES;
use std::time::Duration;

/// What is spoken with the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Any status of 2xx is a success.
    Http,
    /// The same, with an answer that says what was not taken.
    OtlpHttp,
    /// The same in a call of gRPC.
    OtlpGrpc,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The collector has it, save for what it says that it does not take.
    Taken { rejected: u64, why: String },
    /// The collector does not want it, and would not the next time.
    Refused(String),
    /// It may be taken another time. `answered`: the collector said so, and perhaps when.
    Later { why: String, answered: bool, after: Option<Duration> },
}

/// Bytes of an answer that stand in the log.
const SHOWN_MAX: usize = 200;

/// Statuses of HTTP that may be other ones the next time.
const PASSING: [u16; 5] = [408, 429, 502, 503, 504];

/// The same of gRPC (OpenTelemetry: OTLP/gRPC, failures): cancelled, deadline exceeded, resource exhausted, aborted, out of
/// range, unavailable, data loss.
const PASSING_CALLS: [u32; 7] = [1, 4, 8, 10, 11, 14, 15];

/// `timeout`: that of the try. `now`: seconds since the epoch.
pub fn judge(protocol: Protocol, outcome: Result<Answer, CallError>, timeout: Duration, now: u64) -> Verdict {
    match outcome {
        Ok(answer) if protocol == Protocol::OtlpGrpc => of_call(&answer),
        Ok(answer) => of_status(protocol, &answer, now),
        Err(error) => Verdict::Later { why: reason(&error, timeout), answered: false, after: None },
    }
}

fn of_status(protocol: Protocol, answer: &Answer, now: u64) -> Verdict {
    let status = answer.message.head.status;
    if (200..300).contains(&status) {
        return match protocol {
            Protocol::Http => Verdict::Taken { rejected: 0, why: String::new() },
            Protocol::OtlpHttp | Protocol::OtlpGrpc => partial_success(&answer.body),
        };
    }
    let why = format!("status {status}{}", shown(&answer.body));
    if !PASSING.contains(&status) {
        return Verdict::Refused(why);
    }
    let after = header(answer, FieldId::RetryAfter).and_then(|text| retry_after(&text, now));
    Verdict::Later { why, answered: true, after }
}

fn of_call(answer: &Answer) -> Verdict {
    let status = match (answer.message.grpc_status(), answer.message.head.status) {
        (Some(status), _) => status,
        (None, 200) => return Verdict::Refused("the answer has no grpc-status".into()),
        (None, status) => GrpcStatus::of_http(status),
    };
    if status == GrpcStatus::OK {
        // Behind whether it is compressed, which was not offered, and its length.
        return partial_success(answer.body.get(5..).unwrap_or_default());
    }
    let name = GRPC_STATUSES.get(status.0 as usize).map_or("unknown", |(_, name)| name);
    let message = trailer(answer, b"grpc-message").map_or_else(String::new, |text| shown(&text));
    let why = format!("grpc-status {} ({name}){message}", status.0);
    if !PASSING_CALLS.contains(&status.0) {
        return Verdict::Refused(why);
    }
    let details = trailer(answer, b"grpc-status-details-bin").and_then(|details| retry_delay(&details));
    let pushback =
        || trailer(answer, b"grpc-retry-pushback-ms").and_then(|text| number(&text)).map(Duration::from_millis);
    Verdict::Later { why, answered: true, after: details.or_else(pushback) }
}

/// `google.rpc.RetryInfo` among the details of a `google.rpc.Status`, which is how OpenTelemetry's collector says "later".
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let end = details.iter().rposition(|byte| *byte != b'=').map_or(0, |at| at + 1);
    let status = BASE64_NOPAD.decode(&details[..end]).ok()?;
    let inside = |message: &[u8], number: u32| {
        let mut fields = Fields(message).filter(|field| field.0 == number);
        fields.find_map(|field| if let Value::Bytes(bytes) = field.1 { Some(bytes.to_vec()) } else { None })
    };
    let mut details = Fields(&status).filter_map(|field| match field {
        (3, Value::Bytes(any)) => Some(any),
        _ => None,
    });
    let is_it = |any: &&[u8]| inside(any, 1).is_some_and(|url| url.ends_with(b"/google.rpc.RetryInfo"));
    let delay = inside(&inside(details.find(is_it)?, 2)?, 1)?;
    let mut after = Duration::ZERO;
    for field in Fields(&delay) {
        match field {
            (1, Value::Number(seconds)) => after += Duration::from_secs(seconds.min(u64::from(u32::MAX))),
            (2, Value::Number(nanos)) => after += Duration::from_nanos(nanos.min(999_999_999)),
            _ => {}
        }
    }
    Some(after)
}

/// `Export*ServiceResponse`: `partial_success` has the number of what was not taken, and why.
fn partial_success(body: &[u8]) -> Verdict {
    let (mut rejected, mut why) = (0, String::new());
    let partial = Fields(body).filter_map(|field| match field {
        (1, Value::Bytes(partial)) => Some(partial),
        _ => None,
    });
    for field in partial.flat_map(Fields) {
        match field {
            (1, Value::Number(count)) => rejected = (count as i64).max(0) as u64,
            (2, Value::Bytes(message)) => why = shown(message).trim_start_matches(": ").into(),
            _ => {}
        }
    }
    Verdict::Taken { rejected, why }
}

fn header(answer: &Answer, id: FieldId) -> Option<Vec<u8>> {
    answer.message.head.fields.value(id, answer.message.view()).map(<[u8]>::to_vec)
}

/// From the trailers, or from the head of an answer that is nothing else.
fn trailer(answer: &Answer, name: &[u8]) -> Option<Vec<u8>> {
    let (message, is_it) = (&answer.message, |other: &[u8]| other.eq_ignore_ascii_case(name));
    let trailer = message.trailers.iter().find(|(name, _)| is_it(name)).map(|(_, value)| value.to_vec());
    let view = message.view();
    trailer.or_else(|| {
        let mut fields = message.head.fields.iter();
        fields.find(|field| is_it(field.name.of(view))).map(|field| field.value.of(view).to_vec())
    })
}

/// `Retry-After`: seconds, or a date.
fn retry_after(text: &[u8], now: u64) -> Option<Duration> {
    let seconds = number(text).or_else(|| Some(parse_http_date(text, now)?.saturating_sub(now)));
    seconds.map(Duration::from_secs)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// The beginning of a text from outside, for the log.
fn shown(text: &[u8]) -> String {
    let text = text.trim_ascii();
    let is_text = !text.is_empty() && text.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    if !is_text {
        return String::new();
    }
    let begin = &text[..text.len().min(SHOWN_MAX)];
    let more = if text.len() > SHOWN_MAX { "..." } else { "" };
    format!(": {}{more}", begin.escape_ascii())
}

fn reason(error: &CallError, timeout: Duration) -> String {
    match error {
        CallError::NoHost => "the cluster has no endpoint that can be used".into(),
        CallError::Connect(error) => error.reason().into_owned(),
        CallError::Timeout | CallError::Idle => format!("no answer within {}", Span(timeout)),
        CallError::BodyGone => "the report is gone".into(),
        CallError::Broken { broken, .. } => match broken {
            Broken::Violation(violation) => format!("invalid answer: {}", violation.details),
            Broken::Reset(code) => format!("the collector reset the request with code {code}"),
            Broken::Refused => "the collector refused the request".into(),
            Broken::Truncated | Broken::Closed => "the collector closed the connection".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Message, ResponseHead};
    use crate::telemetry::Fields as Writer;
    use crate::upstream::ConnectError;

    const TIMEOUT: Duration = Duration::from_secs(5);
    /// Sun, 29 Nov 2026 07:59:50 GMT.
    const NOW: u64 = 1_795_939_190;

    fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, CallError> {
        let mut message = Message::<ResponseHead>::default();
        message.head.status = status;
        let mut head = message.edit();
        headers.iter().for_each(|(name, value)| head.add(name.as_bytes(), value.as_bytes()));
        Ok(Answer { message, body: body.into() })
    }

    fn taken(rejected: u64, why: &str) -> Verdict {
        Verdict::Taken { rejected, why: why.into() }
    }

    fn later(why: &str, after: Option<u64>) -> Verdict {
        Verdict::Later { why: why.into(), answered: true, after: after.map(Duration::from_millis) }
    }

    #[test]
    fn statuses_of_http_tell_whether_and_when_to_try_again() {
        let of =
            |status, headers: &[_], body: &[u8]| judge(Protocol::Http, answer(status, headers, body), TIMEOUT, NOW);
        for status in [200, 202, 204, 299] {
            assert_eq!(of(status, &[], b"\x0a\x02\x08\x05"), taken(0, ""));
        }
        for status in [302, 400, 401, 404, 413, 500, 501, 505] {
            assert_eq!(of(status, &[], b""), Verdict::Refused(format!("status {status}")));
        }
        for status in [408, 429, 502, 503, 504] {
            assert_eq!(of(status, &[], b""), later(&format!("status {status}"), None));
        }
        assert_eq!(of(503, &[("retry-after", "7")], b""), later("status 503", Some(7000)));
        let date = [("retry-after", "Sun, 29 Nov 2026 08:00:00 GMT")];
        assert_eq!(of(429, &date, b"quota\n"), later("status 429: quota", Some(10_000)));
        let past = [("retry-after", "Sun, 29 Nov 2026 07:00:00 GMT")];
        assert_eq!(of(429, &past, b""), later("status 429", Some(0)));
        assert_eq!(of(429, &[("retry-after", "soon")], b""), later("status 429", None));
        assert_eq!(of(400, &[], b"\x08\x03\xff"), Verdict::Refused("status 400".into()), "not a text");
        let Verdict::Refused(long) = of(400, &[], &[b'x'; 1000]) else { panic!("it is refused") };
        assert_eq!(long.len(), "status 400: ...".len() + SHOWN_MAX);
    }

    #[test]
    fn a_part_may_be_rejected() {
        let mut body = Vec::new();
        Writer(&mut body).message(1, |partial| {
            partial.varint(1, 3);
            partial.text(2, b"too old\n");
        });
        assert_eq!(judge(Protocol::OtlpHttp, answer(200, &[], &body), TIMEOUT, NOW), taken(3, "too old"));
        assert_eq!(judge(Protocol::OtlpHttp, answer(200, &[], b"<html>"), TIMEOUT, NOW), taken(0, ""));
        let message = [&[0, 0, 0, 0, body.len() as u8][..], &body].concat();
        let ok = answer(200, &[("grpc-status", "0")], &message);
        assert_eq!(judge(Protocol::OtlpGrpc, ok, TIMEOUT, NOW), taken(3, "too old"));
        body.clear();
        Writer(&mut body).message(1, |partial| partial.varint(1, u64::MAX));
        assert_eq!(judge(Protocol::OtlpHttp, answer(200, &[], &body), TIMEOUT, NOW), taken(0, ""), "-1");
    }

    #[test]
    fn statuses_of_grpc_tell_whether_and_when_to_try_again() {
        let of =
            |status, headers: &[(&str, &str)]| judge(Protocol::OtlpGrpc, answer(status, headers, b""), TIMEOUT, NOW);
        assert_eq!(of(200, &[("grpc-status", "0")]), taken(0, ""));
        let unavailable = [("grpc-status", "14"), ("grpc-message", "restarting"), ("grpc-retry-pushback-ms", "250")];
        assert_eq!(of(200, &unavailable), later("grpc-status 14 (UNAVAILABLE): restarting", Some(250)));
        for status in [1, 4, 8, 10, 11, 14, 15] {
            let verdict = of(200, &[("grpc-status", &status.to_string())]);
            assert!(matches!(verdict, Verdict::Later { after: None, .. }), "{status}: {verdict:?}");
        }
        for status in [2, 3, 5, 6, 7, 9, 12, 13, 16, 99] {
            assert!(matches!(of(200, &[("grpc-status", &status.to_string())]), Verdict::Refused(_)), "{status}");
        }
        // google.rpc.Status { 14, "busy", [RetryInfo { 2.5s }] }, with and without padding.
        let mut details = Vec::new();
        let mut status = Writer(&mut details);
        status.varint(1, 14);
        status.message(3, |any| any.text(1, b"type.googleapis.com/google.rpc.DebugInfo"));
        status.message(3, |any| {
            any.text(1, b"type.googleapis.com/google.rpc.RetryInfo");
            any.message(2, |info| {
                info.message(1, |delay| {
                    delay.varint(1, 2);
                    delay.varint(2, 500_000_000);
                });
            });
        });
        for text in [data_encoding::BASE64.encode(&details), BASE64_NOPAD.encode(&details)] {
            let headers = [("grpc-status", "14"), ("grpc-status-details-bin", &*text)];
            assert_eq!(of(200, &headers), later("grpc-status 14 (UNAVAILABLE)", Some(2500)));
        }
        let broken = [("grpc-status", "14"), ("grpc-status-details-bin", "!"), ("grpc-retry-pushback-ms", "1")];
        assert_eq!(of(200, &broken), later("grpc-status 14 (UNAVAILABLE)", Some(1)));
        assert_eq!(of(200, &[]), Verdict::Refused("the answer has no grpc-status".into()));
        assert_eq!(of(503, &[]), later("grpc-status 14 (UNAVAILABLE)", None));
        assert_eq!(of(404, &[]), Verdict::Refused("grpc-status 12 (UNIMPLEMENTED)".into()));
    }

    #[test]
    fn what_did_not_come_to_an_answer_is_tried_again() {
        let why = |error| match judge(Protocol::Http, Err(error), TIMEOUT, NOW) {
            Verdict::Later { why, answered: false, after: None } => why,
            verdict => panic!("{verdict:?}"),
        };
        assert_eq!(why(CallError::Timeout), "no answer within 5s");
        assert_eq!(why(CallError::NoHost), "the cluster has no endpoint that can be used");
        let refused = std::io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert_eq!(why(CallError::Connect(ConnectError::Failed(refused))), "connection refused");
        let closed = CallError::Broken { broken: Broken::Closed, begun: true };
        assert_eq!(why(closed), "the collector closed the connection");
    }
}
