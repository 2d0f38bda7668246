//! Conditions on paths, headers, query parameters and cookies.

use super::Resolver;
use super::never::Part;
use crate::diagnostic::Problem;
use crate::document;
use crate::model::{
    CookieMatch, Fraction, HeaderMatch, HeaderMatchKind, PathMatch, QueryParameterMatch, RouteMatch, StringMatch,
    StringMatchKind, TlsContextMatch,
};
use crate::place::Origin;
use crate::reader::{FromText, Located, Pattern, Percent, Slot, Text};

/// Keys of a table that say how a text is compared.
pub(super) struct StringKeys<'d> {
    pub exact: &'d Slot<Text>,
    pub prefix: &'d Slot<Text>,
    pub suffix: &'d Slot<Text>,
    pub contains: &'d Slot<Text>,
    pub regex: &'d Slot<Pattern>,
    pub ignore_case: &'d Slot<bool>,
}

/// The string keys of a table that has them.
macro_rules! string_keys {
    ($table:expr) => {
        StringKeys {
            exact: &$table.exact,
            prefix: &$table.prefix,
            suffix: &$table.suffix,
            contains: &$table.contains,
            regex: &$table.regex,
            ignore_case: &$table.ignore_case,
        }
    };
}
pub(super) use string_keys;

impl<'d> StringKeys<'d> {
    pub(super) fn origins(&self) -> [(&'static str, Option<&'d Origin>); 5] {
        [
            ("exact", self.exact.origin()),
            ("prefix", self.prefix.origin()),
            ("suffix", self.suffix.origin()),
            ("contains", self.contains.origin()),
            ("regex", self.regex.origin()),
        ]
    }

    fn resolve(&self) -> Option<StringMatch> {
        let text = |slot: &Slot<Text>, kind: fn(String) -> StringMatchKind| {
            slot.given().map(|text: &Located<Text>| kind(text.0.clone()))
        };
        let kind = text(self.exact, StringMatchKind::Exact)
            .or_else(|| text(self.prefix, StringMatchKind::Prefix))
            .or_else(|| text(self.suffix, StringMatchKind::Suffix))
            .or_else(|| text(self.contains, StringMatchKind::Contains))
            .or_else(|| self.regex.value().map(StringMatchKind::Regex))?;
        Some(StringMatch { kind, ignore_case: self.ignore_case.given().is_some_and(|ignore| ignore.value) })
    }
}

/// A percentage as a fraction.
pub(super) fn fraction(percent: Percent) -> Fraction {
    Fraction { per_million: percent.of(1_000_000) }
}

/// That the request is a call of gRPC; `application/grpc-web` is another protocol.
fn is_grpc() -> Option<HeaderMatch> {
    let pattern = Pattern::from_text("(?i:application/grpc)(?:[+; ].*)?").ok()?;
    let value = StringMatch { kind: StringMatchKind::Regex(pattern.0), ignore_case: false };
    let kind = HeaderMatchKind::Value(value);
    Some(HeaderMatch { name: "content-type".into(), kind, invert: false, missing_as_empty: false })
}

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn route_match(&mut self, written: &'d Located<document::RouteMatch>) -> Option<RouteMatch> {
        let keys = [
            ("prefix", written.prefix.origin()),
            ("path", written.path.origin()),
            ("path_separated_prefix", written.path_separated_prefix.origin()),
            ("regex", written.regex.origin()),
            ("template", written.template.origin()),
        ];
        let is_one =
            self.exactly_one(&written.origin, written.has_unknown, &keys, "the match has no condition on the path");
        if let (true, Some(sensitive)) = (is_one, written.case_sensitive.given()) {
            let (name, hint) = match (written.regex.origin(), written.template.origin()) {
                (Some(_), _) => ("regex", "start the pattern with (?i) to ignore case"),
                (None, Some(_)) => ("template", "for any case, write a regex that starts with (?i)"),
                (None, None) => ("", ""),
            };
            if !name.is_empty() {
                let message = format!("`case_sensitive` does not apply to `{name}`");
                self.problems.push(Problem::at_key(&sensitive.origin, message).hint(Some(hint)));
            }
        }
        self.check_spelling(written);
        self.check_paths(written);
        self.check_exact_values(written);
        self.check_percent(written);
        self.check_headers(written);
        let prefix = written.prefix.value().map(PathMatch::Prefix);
        let exact = written.path.value().map(PathMatch::Exact);
        let separated = written.path_separated_prefix.given();
        let separated = separated.map(|path| PathMatch::PathSeparatedPrefix(path.0.clone()));
        let regex = written.regex.value().map(PathMatch::Regex);
        let template = written.template.value().map(PathMatch::Template);
        let mut headers = self.header_matches(written.headers.items());
        headers.extend(written.grpc.value.then(is_grpc).flatten());
        let parameters = written.query_parameters.items();
        let parameters = parameters.iter().filter_map(|parameter| self.query_parameter_match(parameter)).collect();
        let cookies = written.cookies.items().iter().filter_map(|cookie| self.cookie_match(cookie)).collect();
        Some(RouteMatch {
            path: prefix.or(exact).or(separated).or(regex).or(template)?,
            case_sensitive: written.case_sensitive.given().is_none_or(|sensitive| sensitive.value),
            methods: written.methods.values(),
            headers,
            query_parameters: parameters,
            cookies,
            addresses: self.address_matches(written),
            tls: written.tls_context.given().and_then(|tls| self.tls_context(tls)),
            fraction: written.percent.given().map(|percent| fraction(percent.value)),
        })
    }

    /// Conditions on one value that exclude each other.
    fn check_exact_values(&mut self, written: &'d Located<document::RouteMatch>) {
        macro_rules! exact {
            ($list:ident, $is_plain:expr) => {
                written.$list.items().iter().filter($is_plain).filter_map(|it| {
                    let text = it.exact.given()?;
                    Some((it.name.given()?.0.as_str(), text.0.as_str(), &text.origin))
                })
            };
        }
        let minds_case = |slot: &Slot<bool>| slot.given().is_none_or(|ignore| !ignore.value);
        let headers = exact!(headers, |it| !it.invert.value && minds_case(&it.ignore_case));
        self.check_contradictions(Part::Header, headers);
        let parameters = exact!(query_parameters, |it| minds_case(&it.ignore_case));
        self.check_contradictions(Part::Parameter, parameters);
        let cookies = exact!(cookies, |it| !it.invert.value && minds_case(&it.ignore_case));
        self.check_contradictions(Part::Cookie, cookies);
    }

    /// Conditions on the headers of a request.
    pub(super) fn header_matches(&mut self, written: &'d [Located<document::HeaderMatch>]) -> Vec<HeaderMatch> {
        written.iter().filter_map(|header| self.header_match(header)).collect()
    }

    fn tls_context(&mut self, written: &'d Located<document::TlsContextMatch>) -> Option<TlsContextMatch> {
        let matcher = TlsContextMatch {
            presented: written.presented.given().map(|is| is.value),
            validated: written.validated.given().map(|is| is.value),
        };
        if matcher.presented.is_none() && matcher.validated.is_none() {
            if !written.has_unknown {
                let problem = Problem::at(&written.origin, "this condition asks for nothing");
                self.problems.push(problem.allowed("presented, validated, or both"));
            }
            return None;
        }
        Some(matcher)
    }

    /// Conditions on the headers of a response, which has no request line.
    pub(super) fn response_header_matches(
        &mut self,
        written: &'d [Located<document::HeaderMatch>],
    ) -> Vec<HeaderMatch> {
        for name in written.iter().filter_map(|header| header.name.given()).filter(|name| name.0.starts_with(':')) {
            let problem = Problem::at(&name.origin, format!("a response has no {:?}", name.0));
            self.problems.push(problem.hint(Some("for its status, write retriable_status_codes")));
        }
        self.header_matches(written)
    }

    pub(super) fn header_match(&mut self, written: &'d Located<document::HeaderMatch>) -> Option<HeaderMatch> {
        let strings = string_keys!(written);
        let others = [("range", written.range.origin()), ("present", written.present.origin())];
        let keys: Vec<_> = strings.origins().into_iter().chain(others).collect();
        self.at_most_one(&keys);
        self.check_ignore_case(&strings);
        self.check_text(&strings, Part::Header, written.name.given().map(|name| name.0.as_str()));
        let range = written.range.given().and_then(|range| self.range(range));
        let kind = match (strings.resolve(), range) {
            (Some(strings), _) => HeaderMatchKind::Value(strings),
            (None, Some(range)) => range,
            (None, None) => HeaderMatchKind::Present,
        };
        let missing_as_empty = &written.treat_missing_header_as_empty;
        if let (HeaderMatchKind::Present, true) = (&kind, missing_as_empty.value) {
            let message =
                "`treat_missing_header_as_empty` makes every request match: a missing header counts as present";
            self.problems.push(Problem::at_key(&missing_as_empty.origin, message));
        }
        // `present = false` is the inverse of `present = true`.
        let absent = written.present.given().is_some_and(|present| !present.value);
        Some(HeaderMatch {
            name: written.name.value()?,
            kind,
            invert: written.invert.value != absent,
            missing_as_empty: missing_as_empty.value,
        })
    }

    fn range(&mut self, written: &'d Located<document::RangeMatch>) -> Option<HeaderMatchKind> {
        let (start, end) = (written.start.value()?, written.end.value()?);
        if start >= end {
            let problem = Problem::at(&written.origin, format!("the range from {start} to {end} contains no integer"));
            self.problems.push(problem.hint(Some("`end` is not part of the range: for 1 to 9, write end = 10")));
        }
        Some(HeaderMatchKind::Range { start, end })
    }

    fn query_parameter_match(
        &mut self,
        written: &'d Located<document::QueryParameterMatch>,
    ) -> Option<QueryParameterMatch> {
        let strings = string_keys!(written);
        self.at_most_one(&strings.origins());
        self.check_ignore_case(&strings);
        self.check_text(&strings, Part::Parameter, None);
        Some(QueryParameterMatch { name: written.name.value()?, value: strings.resolve() })
    }

    fn cookie_match(&mut self, written: &'d Located<document::CookieMatch>) -> Option<CookieMatch> {
        let strings = string_keys!(written);
        let missing = "the condition does not say which value the cookie must have";
        let value = self.one_string(&written.origin, written.has_unknown, &strings, missing);
        self.check_text(&strings, Part::Cookie, None);
        Some(CookieMatch { name: written.name.value()?, value: value?, invert: written.invert.value })
    }

    /// The comparison that a table must have one of.
    pub(super) fn one_string(
        &mut self,
        table: &Origin,
        has_unknown: bool,
        strings: &StringKeys<'d>,
        missing: &str,
    ) -> Option<StringMatch> {
        self.exactly_one(table, has_unknown, &strings.origins(), missing);
        self.check_ignore_case(strings);
        strings.resolve()
    }

    fn check_ignore_case(&mut self, strings: &StringKeys<'d>) {
        if let Some(pattern) = strings.regex.given() {
            self.check_cost(&pattern.origin, &pattern.0);
        }
        let Some(ignore_case) = strings.ignore_case.origin() else {
            return;
        };
        let is_text = strings.origins()[..4].iter().any(|(_, origin)| origin.is_some());
        if strings.regex.origin().is_some() {
            let problem = Problem::at_key(ignore_case, "`ignore_case` does not apply to `regex`");
            self.problems.push(problem.hint(Some("start the pattern with (?i) to ignore case")));
        } else if !is_text {
            let problem = Problem::at_key(ignore_case, "`ignore_case` has no effect: there is no text to compare");
            self.problems.push(problem.allowed("`ignore_case` together with exact, prefix, suffix or contains"));
        }
    }
}
