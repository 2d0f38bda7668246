//! Edits of headers, and conditions on headers, query parameters and cookies.

use toml::de::DeValue;

use crate::diagnostic::{Problem, Problems};
use crate::model::AppendAction;
use crate::reader::{
    CookieName, EditableHeader, Input, MatchableHeader, OneOf, Pattern, QueryName, Read, Shape, Text, Word, holds,
    table,
};

table! {
    /// A header to add (Envoy: HeaderValueOption). The same table is used in `http`, virtual hosts, routes and weighted
    /// clusters, for requests and responses. The edits of the most specific place are made first: weighted cluster,
    /// route, virtual host, `http`. In one place, headers are removed first and added afterwards.
    HeaderToAdd at "listeners[].http.request_headers_to_add[]", example "headers.toml" {
        /// Name of the header, in any case. It cannot be the host, a header of the connection, or a header about the
        /// length of the body.
        name: EditableHeader, required;
        /// Its value, with [command operators](#command-operators) such as `%DOWNSTREAM_REMOTE_ADDRESS%`; `%%` is a
        /// percent sign. If the whole value turns out empty, no header is added.
        value: Text, required;
        /// What happens if the message already has this header: another one is added, the old one is kept, or it is
        /// replaced. With `overwrite_if_exists` nothing is added to a message that does not have it.
        append_action: OneOf<AppendAction>, default "\"append_if_exists_or_add\"";
    }
}

impl Word for AppendAction {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("append_if_exists_or_add", Self::AppendIfExistsOrAdd),
        ("add_if_absent", Self::AddIfAbsent),
        ("overwrite_if_exists_or_add", Self::OverwriteIfExistsOrAdd),
        ("overwrite_if_exists", Self::OverwriteIfExists),
    ];
    const LATER: &'static [&'static str] = &[];
}

table! {
    /// A condition on one header (Envoy: HeaderMatcher). At most one of `exact`, `prefix`, `suffix`, `contains`,
    /// `regex`, `range` and `present` is written; without one, the header must be there. Several headers with the same
    /// name count as one, their values joined by commas.
    HeaderMatch at "listeners[].http.virtual_hosts[].routes[].match.headers[]", example "routes.toml" {
        /// Name of the header, in any case. Conditions on requests can also look at `:method`, `:path` (with the
        /// query), `:authority` (the host) and `:scheme`.
        name: MatchableHeader, required;
        /// The value is exactly this.
        exact: Text, optional "another kind of match";
        /// The value starts with this.
        prefix: Text, optional "another kind of match";
        /// The value ends with this.
        suffix: Text, optional "another kind of match";
        /// The value contains this.
        contains: Text, optional "another kind of match";
        /// The whole value matches this pattern; see `match.regex`.
        regex: Pattern, optional "another kind of match";
        /// The value is an integer in this range.
        range: RangeMatch, optional "another kind of match";
        /// `true`: the header is there, with any value; `false`: it is not there.
        present: bool, optional "`true` if no other kind is written";
        /// Compare without regard to upper and lower case. Not for `regex`: start the pattern with `(?i)`.
        ignore_case: bool, optional "`false`";
        /// Match if the condition does not hold. A header that is not there meets no condition, inverted or not; see
        /// `treat_missing_header_as_empty`.
        invert: bool, default "false";
        /// Treat a header that is not there as one with an empty value.
        treat_missing_header_as_empty: bool, default "false";
    }
}

table! {
    /// Integers from `start` up to but not including `end` (Envoy: Int64Range).
    RangeMatch at "listeners[].http.virtual_hosts[].routes[].match.headers[].range", example "routes.toml" {
        /// The first integer of the range.
        start: Signed, required;
        /// The first integer after the range.
        end: Signed, required;
    }
}

table! {
    /// A condition on a query parameter (Envoy: QueryParameterMatcher). At most one of `exact`, `prefix`, `suffix`,
    /// `contains` and `regex` is written; without one, the parameter must be there. Of several parameters with the same
    /// name, the first counts. Values are compared as they are written in the URL, percent-encoded.
    QueryParameterMatch at "listeners[].http.virtual_hosts[].routes[].match.query_parameters[]", example "routes.toml" {
        /// Name of the parameter, as it is written in the URL.
        name: QueryName, required;
        /// The value is exactly this.
        exact: Text, optional "another kind of match";
        /// The value starts with this.
        prefix: Text, optional "another kind of match";
        /// The value ends with this.
        suffix: Text, optional "another kind of match";
        /// The value contains this.
        contains: Text, optional "another kind of match";
        /// The whole value matches this pattern; see `match.regex`.
        regex: Pattern, optional "another kind of match";
        /// Compare without regard to upper and lower case. Not for `regex`: start the pattern with `(?i)`.
        ignore_case: bool, optional "`false`";
    }
}

table! {
    /// A condition on a cookie of the request (Envoy: CookieMatcher). Exactly one of `exact`, `prefix`, `suffix`,
    /// `contains` and `regex` is written.
    CookieMatch at "listeners[].http.virtual_hosts[].routes[].match.cookies[]", example "routes.toml" {
        /// Name of the cookie.
        name: CookieName, required;
        /// The value is exactly this.
        exact: Text, optional "another kind of match";
        /// The value starts with this.
        prefix: Text, optional "another kind of match";
        /// The value ends with this.
        suffix: Text, optional "another kind of match";
        /// The value contains this.
        contains: Text, optional "another kind of match";
        /// The whole value matches this pattern; see `match.regex`.
        regex: Pattern, optional "another kind of match";
        /// Compare without regard to upper and lower case. Not for `regex`: start the pattern with `(?i)`.
        ignore_case: bool, optional "`false`";
        /// Match if the condition does not hold.
        invert: bool, default "false";
    }
}

/// An integer with a sign.
#[derive(Clone, Copy, Debug)]
pub struct Signed(pub i64);

holds! { [] Signed: i64; }

impl Read for Signed {
    fn shape() -> Shape {
        Shape::Text { noun: "an integer", allowed: "a whole number, which may be negative" }
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        let DeValue::Integer(written) = input.value else {
            input.refuse_type::<Self>(problems);
            return None;
        };
        let number = i64::from_str_radix(written.as_str(), written.radix()).ok();
        if number.is_none() {
            let problem = Problem::at(&input.origin, format!("{written} is out of range"));
            problems.push(problem.allowed(format!("{} to {}", i64::MIN, i64::MAX)));
        }
        number.map(Self)
    }
}
