//! Which exchanges an access log takes (Envoy: AccessLogFilter), decided before anything is formatted.

use crate::http::format::{Record, ResponseFlags};
use crate::http::matcher::{HeadRef, is_in_share, matches_header};
use ringway_config::model::{AccessLogFilter, ComparisonOp, Fraction, HeaderMatch};

/// One filter, with the names of flags resolved.
#[derive(Clone, Debug)]
pub enum LogFilter {
    Status(ComparisonOp, u64),
    /// Milliseconds.
    Duration(ComparisonOp, u64),
    AnyFlag,
    Flags(ResponseFlags),
    Header(Box<HeaderMatch>),
    GrpcStatus {
        statuses: Box<[u32]>,
        exclude: bool,
    },
    Sample(Fraction),
    And(Box<[LogFilter]>),
    Or(Box<[LogFilter]>),
    Not(Box<LogFilter>),
}

impl LogFilter {
    pub fn new(filter: &AccessLogFilter) -> Self {
        let list = |filters: &[AccessLogFilter]| filters.iter().map(Self::new).collect();
        match filter {
            AccessLogFilter::Status { op, value } => Self::Status(*op, u64::from(*value)),
            AccessLogFilter::Duration { op, value } => {
                Self::Duration(*op, u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
            }
            AccessLogFilter::ResponseFlag(names) if names.is_empty() => Self::AnyFlag,
            AccessLogFilter::ResponseFlag(names) => {
                let flags = names.iter().filter_map(|name| ResponseFlags::named(name));
                Self::Flags(flags.fold(ResponseFlags::empty(), |all, flag| all | flag))
            }
            AccessLogFilter::Header(header) => Self::Header(header.clone()),
            AccessLogFilter::GrpcStatus { statuses, exclude } => {
                Self::GrpcStatus { statuses: statuses.as_slice().into(), exclude: *exclude }
            }
            AccessLogFilter::Sample(fraction) => Self::Sample(*fraction),
            AccessLogFilter::And(filters) => Self::And(list(filters)),
            AccessLogFilter::Or(filters) => Self::Or(list(filters)),
            AccessLogFilter::Not(filter) => Self::Not(Box::new(Self::new(filter))),
        }
    }

    pub fn takes(&self, record: &Record<'_>) -> bool {
        match self {
            Self::Status(op, status) => compare(*op, u64::from(record.response_code), *status),
            Self::Duration(op, milliseconds) => compare(*op, record.duration_ms(), *milliseconds),
            Self::AnyFlag => !record.response_flags.is_empty(),
            Self::Flags(flags) => record.response_flags.intersects(*flags),
            // A request whose head could not be read has no fields to look at.
            Self::Header(header) => {
                record.request.is_some_and(|(head, view)| matches_header(header, HeadRef::request(head, view)))
            }
            Self::GrpcStatus { statuses, exclude } => {
                record.grpc_status().is_some_and(|status| statuses.contains(&status.0) != *exclude)
            }
            Self::Sample(fraction) => record.random.is_none_or(|random| is_in_share(*fraction, random.next_u64())),
            Self::And(filters) => filters.iter().all(|filter| filter.takes(record)),
            Self::Or(filters) => filters.iter().any(|filter| filter.takes(record)),
            Self::Not(filter) => !filter.takes(record),
        }
    }
}

fn compare(op: ComparisonOp, is: u64, wanted: u64) -> bool {
    match op {
        ComparisonOp::Equal => is == wanted,
        ComparisonOp::AtLeast => is >= wanted,
        ComparisonOp::AtMost => is <= wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::http::{HeadView, RequestHead, Times};
    use ringway_config::model::HeaderMatchKind;
    use std::time::Duration;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nX-Log: 1\r\n\r\n";

    /// Status 404 with the flag NR after 12.9 ms.
    fn takes(filter: &AccessLogFilter) -> bool {
        let mut head = RequestHead::default();
        crate::codec::h1::parse_request(HEAD, &crate::codec::h1::Limits::default(), &mut head).expect("valid");
        let record = Record {
            times: Times { start: 1_000_000, ..Times::default() },
            now: 13_900_000,
            request: Some((&head, HeadView::new(HEAD))),
            response_code: 404,
            response_flags: ResponseFlags::NO_ROUTE_FOUND,
            ..Record::default()
        };
        LogFilter::new(filter).takes(&record)
    }

    fn header(name: &str) -> AccessLogFilter {
        AccessLogFilter::Header(Box::new(HeaderMatch {
            name: name.into(),
            kind: HeaderMatchKind::Present,
            invert: false,
            missing_as_empty: false,
        }))
    }

    #[test]
    fn comparisons() {
        use AccessLogFilter::{Duration as Took, Status};
        use ComparisonOp::{AtLeast, AtMost, Equal};
        for (op, value, expected) in [
            (Equal, 404, true),
            (Equal, 403, false),
            (AtLeast, 404, true),
            (AtLeast, 405, false),
            (AtMost, 404, true),
            (AtMost, 403, false),
        ] {
            assert_eq!(takes(&Status { op, value }), expected, "status {op:?} {value}");
        }
        for (op, millis, expected) in
            [(Equal, 12, true), (AtLeast, 12, true), (AtLeast, 13, false), (AtMost, 12, true), (AtMost, 11, false)]
        {
            let value = Duration::from_millis(millis);
            assert_eq!(takes(&Took { op, value }), expected, "duration {op:?} {millis}");
        }
    }

    #[test]
    fn flags_headers_and_combinations() {
        use AccessLogFilter::{And, Not, Or, ResponseFlag};
        assert!(takes(&ResponseFlag(vec!["UH", "NR"])) && !takes(&ResponseFlag(vec!["UH", "DC"])));
        assert!(takes(&ResponseFlag(Vec::new())));
        assert!(!LogFilter::new(&ResponseFlag(Vec::new())).takes(&Record::default()));
        assert!(takes(&header("x-log")) && !takes(&header("x-other")));
        assert!(!LogFilter::new(&header("x-log")).takes(&Record::default()), "no head");
        let (yes, no) = (|| header("x-log"), || header("x-other"));
        assert!(takes(&And(vec![yes(), yes()])) && !takes(&And(vec![yes(), no()])));
        assert!(takes(&Or(vec![no(), yes()])) && !takes(&Or(vec![no(), no()])));
        assert!(takes(&Not(Box::new(no()))) && !takes(&Not(Box::new(yes()))));
    }

    #[test]
    fn calls_by_their_status() {
        use crate::http::{Field, FieldId, Span, Version};
        let bytes = b"content-typeapplication/grpc";
        let mut head = RequestHead { version: Version::Http2, ..RequestHead::default() };
        let (name, value) = (Span::new(0, 12), Span::new(12, bytes.len()));
        let id = FieldId::ContentType;
        head.fields.push(Field { name, value, id, hop_by_hop: false, never_indexed: false, is_canonical: false });
        let request = Some((&head, HeadView::new(bytes)));
        let takes = |statuses: &[u32], exclude, record: &Record<'_>| {
            LogFilter::new(&AccessLogFilter::GrpcStatus { statuses: statuses.to_vec(), exclude }).takes(record)
        };
        let denied = Record { request, response_code: 403, ..Record::default() };
        assert!(takes(&[0, 7], false, &denied) && !takes(&[0, 14], false, &denied));
        assert!(takes(&[0, 14], true, &denied) && !takes(&[7], true, &denied));
        let no_call = Record { response_code: 403, ..Record::default() };
        assert!(!takes(&[7], false, &no_call) && !takes(&[0], true, &no_call));
    }

    #[test]
    fn a_sample_is_a_share() {
        let random = Random::seeded(3);
        let record = Record { random: Some(&random), ..Record::default() };
        let taken = |per_million| {
            let filter = LogFilter::new(&AccessLogFilter::Sample(Fraction { per_million }));
            (0..10_000).filter(|_| filter.takes(&record)).count()
        };
        assert_eq!((taken(0), taken(1_000_000)), (0, 10_000));
        assert!((2300..2700).contains(&taken(250_000)), "a quarter");
    }
}
