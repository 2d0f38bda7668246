//! `clusters[].health_checks`: active checks of endpoints.

use std::ops::Range;

use toml::de::DeValue;

use crate::diagnostic::{Problem, Problems};
use crate::reader::{
    FilePath, FromText, HeaderName, HeaderValue, Host, Input, Int, List, Map, Method, NewPath, Read, Refusal, Shape,
    Text, Time, holds, read_integer, table,
};

/// Statuses that a check may name (RFC 9110 section 15).
const STATUSES: Range<u16> = 100..600;

table! {
    /// An active check that every endpoint gets regularly, once for the whole process (Envoy: HealthCheck). Exactly one
    /// of `http`, `tcp` and `grpc` is written. The first check of an endpoint decides at once; after it, the state changes
    /// after `unhealthy_threshold` failures or `healthy_threshold` successes in a row. Unhealthy endpoints get no
    /// requests.
    HealthCheck at "clusters[].health_checks[]", example "health-checks.toml" {
        /// Send a request and check the status of the response.
        http: HttpHealthCheck, optional "another kind of check";
        /// Connect, and check the bytes that come. `{}`: connecting is enough.
        tcp: TcpHealthCheck, optional "another kind of check";
        /// Call `grpc.health.v1.Health/Check`: anything but `SERVING` makes the endpoint unhealthy at once. The cluster
        /// needs `protocol = "http2"` or `"auto"`.
        grpc: GrpcHealthCheck, optional "another kind of check";
        /// Time that one check may take.
        timeout: Time<1>, default "\"1s\"";
        /// Time between two checks.
        interval: Time<1>, default "\"5s\"";
        /// A random time up to this is added to each interval.
        interval_jitter: Time<0>, default "\"0s\"";
        /// Time between two checks until the cluster gets its first request. One that has begun by then is waited out.
        no_traffic_interval: Time<1>, default "\"60s\"";
        /// Time between two checks of an unhealthy endpoint.
        unhealthy_interval: Time<1>, optional "`interval`";
        /// Time to the next check after an endpoint has become unhealthy.
        unhealthy_edge_interval: Time<1>, optional "`unhealthy_interval`";
        /// Time to the next check after an endpoint has become healthy.
        healthy_edge_interval: Time<1>, optional "`interval`";
        /// Failures in a row that make an endpoint unhealthy. A status that is neither in `expected_statuses` nor in
        /// `retriable_statuses` does so at once.
        unhealthy_threshold: Int<1, 10_000>, default "3";
        /// Successes in a row that make an endpoint healthy.
        healthy_threshold: Int<1, 10_000>, default "2";
        /// Use the same connection for the next check.
        reuse_connection: bool, default "true";
        /// File that gets a line of JSON for each change of health. A relative path starts at the directory of the
        /// configuration file.
        event_log: FilePath, optional "no event log";
        /// Log every failed check, not only changes (Envoy: always_log_health_check_failures).
        always_log_failures: bool, default "false";
    }
}

table! {
    /// A check by a request and the status of its response (Envoy: HttpHealthCheck).
    HttpHealthCheck at "clusters[].health_checks[].http", example "health-checks.toml" {
        /// Path of the request; it may have a query.
        path: NewPath, required;
        /// Value of the `host` header.
        host: Host, optional "the endpoint's `hostname`, or the cluster's name";
        /// Method of the request. Any response to HEAD has no body; CONNECT is refused.
        method: Method, default "\"GET\"";
        /// Statuses that mean success: numbers, and ranges such as `"200-299"`.
        expected_statuses: List<CheckedStatuses>, optional "`[200]`";
        /// Statuses of failures that count towards `unhealthy_threshold`. Any other status that is not expected makes
        /// the endpoint unhealthy at once.
        retriable_statuses: List<CheckedStatuses>, optional "none";
        /// Headers added to the request.
        request_headers: Map<HeaderName, HeaderValue>, optional "none";
    }
}

table! {
    /// A check by the [health checking protocol of gRPC](https://github.com/grpc/grpc/blob/master/doc/health-checking.md)
    /// (Envoy: GrpcHealthCheck).
    GrpcHealthCheck at "clusters[].health_checks[].grpc", example "grpc.toml" {
        /// Name of the service that is asked for.
        service_name: Text, optional "the server as a whole";
        /// Value of `:authority`.
        authority: Host, optional "the endpoint's `hostname`, or the cluster's name";
        /// Headers added to the call.
        initial_metadata: Map<HeaderName, HeaderValue>, optional "none";
    }
}

table! {
    /// A check by a connection and the bytes that come over it (Envoy: TcpHealthCheck).
    TcpHealthCheck at "clusters[].health_checks[].tcp", example "health-checks.toml" {
        /// Bytes to send: a text, or `{ hex = "..." }`.
        send: PayloadEntry, optional "nothing";
        /// Bytes that must be received, in this order, with any others in between: texts, or `{ hex = "..." }`.
        receive: List<PayloadEntry>, optional "nothing: a connection is enough";
    }
}

table! {
    /// Bytes that are not text.
    Payload at "clusters[].health_checks[].tcp.send", example "health-checks.toml" {
        /// Pairs of hexadecimal digits: `"00ff1a"`.
        hex: HexBytes, required;
    }
}

/// One status, or a range of statuses.
#[derive(Clone, Debug)]
pub struct CheckedStatuses(pub Range<u16>);

holds! { [] CheckedStatuses: Range<u16>; }

impl Read for CheckedStatuses {
    fn shape() -> Shape {
        Shape::Either(vec![
            Shape::Integer { min: STATUSES.start.into(), max: u64::from(STATUSES.end) - 1 },
            Shape::Text { noun: "a range of statuses", allowed: "first and last status: \"200-299\"" },
        ])
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        match input.value {
            DeValue::Integer(_) => {
                let max = u64::from(STATUSES.end) - 1;
                let status = read_integer::<Self>(input, STATUSES.start.into(), max, problems)?;
                let first = u16::try_from(status).ok()?;
                Some(Self(first..first + 1))
            }
            DeValue::String(text) => {
                status_range(text).map_err(|refusal| refusal.report::<Self>(&input.origin, problems)).ok().map(Self)
            }
            _ => {
                input.refuse_type::<Self>(problems);
                None
            }
        }
    }
}

fn status_range(text: &str) -> Result<Range<u16>, Refusal> {
    let refusal = || Refusal::new(format!("{text:?} is not a range of statuses"));
    let number = |digits: &str| {
        let number = digits.parse::<u16>().ok().filter(|_| digits.len() == 3)?;
        Some(number).filter(|number| STATUSES.contains(number))
    };
    let lower = text.to_ascii_lowercase();
    if let Some(class) = lower.strip_suffix("xx").filter(|class| matches!(*class, "1" | "2" | "3" | "4" | "5")) {
        return Err(refusal().instead("did you mean {}?", [format!("{class}00-{class}99")]));
    }
    match text.split_once('-').map(|(first, last)| (number(first), number(last))) {
        Some((Some(first), Some(last))) if first <= last => Ok(first..last + 1),
        Some((Some(first), Some(last))) => Err(refusal().instead("did you mean {}?", [format!("{last}-{first}")])),
        None if number(text).is_some() => Err(refusal().hint(Some(format!("write it without quotes: {text}")))),
        _ => Err(refusal()),
    }
}

/// What a TCP check sends or expects.
#[derive(Clone, Debug)]
pub struct PayloadEntry(pub Vec<u8>);

holds! { [] PayloadEntry: Vec<u8>; }

impl Read for PayloadEntry {
    fn shape() -> Shape {
        Shape::Either(vec![<Text as Read>::shape(), Payload::shape()])
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        let bytes = match input.value {
            DeValue::String(text) => text.as_bytes().to_vec(),
            DeValue::Table(_) => Payload::read(input, problems)?.hex.given()?.value.0.clone(),
            _ => {
                input.refuse_type::<Self>(problems);
                return None;
            }
        };
        if bytes.is_empty() {
            let problem = Problem::at(&input.origin, "there is nothing to send or to expect");
            problems.push(problem.hint(Some("leave it out: connecting is enough then")));
            return None;
        }
        Some(Self(bytes))
    }
}

/// Bytes in hexadecimal.
#[derive(Clone, Debug)]
pub struct HexBytes(pub Vec<u8>);

impl FromText for HexBytes {
    fn shape() -> Shape {
        Shape::Text { noun: "hexadecimal digits", allowed: "pairs of hexadecimal digits: \"00ff1a\"" }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        bytes.map(Self).ok_or_else(|| Refusal::new(format!("{text:?} is not in pairs of hexadecimal digits")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_both_ends() {
        assert_eq!(status_range("200-299").unwrap(), 200..300);
        assert_eq!(status_range("599-599").unwrap(), 599..600);
        for text in
            ["", "200", "200-", "-299", "200-600", "99-200", "0200-299", "300-200", "2xx", "200 - 299", "+20-200"]
        {
            assert!(status_range(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn hexadecimal_comes_in_pairs() {
        assert_eq!(HexBytes::from_text("00fF1a").unwrap().0, [0, 255, 26]);
        for text in ["0", "000", "0g", "0x00", "00 ff", "é"] {
            assert!(HexBytes::from_text(text).is_err(), "{text:?}");
        }
    }
}
