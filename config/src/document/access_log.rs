//! Access logs: their files, lines, and which exchanges they take.

use super::header::HeaderMatch;
use crate::model::RESPONSE_FLAGS;
use crate::reader::{FilePath, FromText, Int, List, Map, Nested, Percent, Refusal, Shape, Text, Time, holds, table};

table! {
    /// Where a line for each exchange goes, and what it says.
    AccessLog at "listeners[].http.access_log[]", example "access-log.toml" {
        /// File to append to; `/dev/stdout` is the standard output. A relative path starts at this file's directory.
        /// Reopened on SIGUSR1.
        path: FilePath, required;
        /// The line as text with command operators such as `%RESPONSE_CODE%`, listed below; a line end is added where
        /// there is none. Excludes `json`.
        format: Text, optional "Envoy's default format";
        /// The line as a JSON object: keys of your choice, each with a text like `format`. Excludes `format`.
        json: Map<Text, Text>, optional "`format`";
        /// Which exchanges get a line.
        filter: AccessLogFilter, optional "every exchange";
    }
}

table! {
    /// Which exchanges a log takes (Envoy: AccessLogFilter): a table with exactly one key.
    AccessLogFilter at "listeners[].http.access_log[].filter", example "access-log-filters.toml" {
        /// The status, which is 0 where none was sent.
        status: StatusComparison, optional "another filter";
        /// How long the exchange took.
        duration: DurationComparison, optional "another filter";
        /// The exchange has one of these [response flags](#command-operators); an empty list: any flag at all.
        response_flags: List<ResponseFlag>, optional "another filter";
        /// The request's header fulfils this.
        header: HeaderMatch, optional "another filter";
        /// A random share of the exchanges, in per cent.
        sample_percent: Percent, optional "another filter";
        /// All of these take it.
        and: List<AccessLogFilter>, optional "another filter";
        /// One of these takes it.
        or: List<AccessLogFilter>, optional "another filter";
        /// This does not take it.
        not: Nested<AccessLogFilter>, optional "another filter";
    }
}

table! {
    /// Exactly one comparison with a status.
    StatusComparison at "listeners[].http.access_log[].filter.status", example "access-log-filters.toml" {
        /// It is this.
        equal: Int<0, 999>, optional "another comparison";
        /// It is this or larger.
        at_least: Int<0, 999>, optional "another comparison";
        /// It is this or smaller.
        at_most: Int<0, 999>, optional "another comparison";
    }
}

table! {
    /// Exactly one comparison with a duration, in whole milliseconds.
    DurationComparison at "listeners[].http.access_log[].filter.duration", example "access-log-filters.toml" {
        /// It is this.
        equal: Time<0>, optional "another comparison";
        /// It is this or longer.
        at_least: Time<0>, optional "another comparison";
        /// It is this or shorter.
        at_most: Time<0>, optional "another comparison";
    }
}

/// The short name of a response flag.
#[derive(Clone, Copy, Debug)]
pub struct ResponseFlag(pub &'static str);

holds! { [] ResponseFlag: &'static str; }

impl FromText for ResponseFlag {
    fn shape() -> Shape {
        Shape::Words(RESPONSE_FLAGS.iter().map(|(name, ..)| *name).collect())
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let upper = text.to_ascii_uppercase();
        if let Some((name, ..)) = RESPONSE_FLAGS.iter().find(|(name, ..)| *name == text) {
            return Ok(Self(name));
        }
        let near = RESPONSE_FLAGS.iter().find(|(name, long, _)| *name == upper || *long == text);
        let hint = near.map(|(name, ..)| format!("did you mean \"{name}\"?"));
        Err(Refusal::new(format!("unknown response flag \"{text}\"")).hint(hint))
    }
}
