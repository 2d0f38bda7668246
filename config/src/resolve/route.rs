//! Routes: redirects, direct responses, and what belongs to all actions.

use std::fs;
use std::io;
use std::path::Path;

use super::Resolver;
use super::header::mutations;
use crate::diagnostic::Problem;
use crate::document;
use crate::model::{DirectResponse, HeaderMatch, Redirect, RedirectPath, RetryPolicy, Route, RouteAction, RouteMatch};
use crate::place::Origin;
use crate::reader::{FilePath, Located};

/// Bytes of the largest `body_file`.
const BODY_FILE_MAX: u64 = 1 << 20;

impl<'d> Resolver<'d, '_, '_> {
    /// Routes; those without a retry policy have the one that is `inherited`.
    pub(super) fn routes(
        &mut self,
        written: &'d [Located<document::Route>],
        inherited: Option<&RetryPolicy>,
    ) -> Vec<Route> {
        let routes = written.iter().filter_map(|route| Some((self.route(route, inherited)?, &route.origin)));
        let routes: Vec<_> = routes.collect();
        self.check_reach(&routes);
        routes.into_iter().map(|(route, _)| route).collect()
    }

    fn route(&mut self, route: &'d Located<document::Route>, inherited: Option<&RetryPolicy>) -> Option<Route> {
        let keys = [
            ("route", route.route.origin()),
            ("redirect", route.redirect.origin()),
            ("direct_response", route.direct_response.origin()),
        ];
        self.exactly_one(&route.origin, route.has_unknown, &keys, "the route has no action");
        let matcher = route.r#match.given();
        let resolved = matcher.and_then(|matcher| self.route_match(matcher));
        // Every action is checked, even if there is one too many.
        let forward = route.route.given().and_then(|forward| self.forward(forward, matcher, inherited));
        let redirect = route.redirect.given().and_then(|redirect| self.redirect(redirect, matcher));
        if let (Some(redirect), Some(matcher), Some(written)) = (&redirect, &resolved, route.redirect.given()) {
            self.check_loop(&written.origin, redirect, matcher);
        }
        let direct = route.direct_response.given().and_then(|direct| self.direct_response(direct));
        let action = forward.map(|forward| RouteAction::Forward(Box::new(forward)));
        let action = action.or(redirect.map(RouteAction::Redirect)).or(direct.map(RouteAction::DirectResponse));
        Some(Route {
            place: self.problems.place(&route.origin),
            name: route.name.value(),
            matcher: resolved?,
            action: action?,
            headers: self.mutations(mutations!(route)),
            tracing: route.tracing.given().map(|tracing| self.route_tracing(tracing)).unwrap_or_default(),
            filters: self.filter_overrides(&route.filters),
        })
    }

    fn redirect(
        &mut self,
        written: &'d Located<document::Redirect>,
        matcher: Option<&'d Located<document::RouteMatch>>,
    ) -> Option<Redirect> {
        self.check_prefix_rewrite(written.prefix_rewrite.origin(), matcher);
        let paths = [
            ("path", written.path.origin()),
            ("prefix_rewrite", written.prefix_rewrite.origin()),
            ("regex_rewrite", written.regex_rewrite.origin()),
        ];
        self.at_most_one(&paths);
        let parts = [
            written.scheme.origin(),
            written.host.origin(),
            written.port.origin(),
            written.path.origin(),
            written.prefix_rewrite.origin(),
            written.regex_rewrite.origin(),
        ];
        if parts.iter().all(Option::is_none) && !written.strip_query.value && !written.has_unknown {
            let problem =
                Problem::at(&written.origin, "the redirect changes nothing: the client would be redirected in a loop");
            self.problems.push(
                problem.allowed("scheme, host, port, path, prefix_rewrite, regex_rewrite, strip_query; at least one"),
            );
        }
        let path = written.path.value().map(RedirectPath::Path);
        let prefix = written.prefix_rewrite.value().map(RedirectPath::Prefix);
        let regex = written.regex_rewrite.given().and_then(|rewrite| self.regex_rewrite(rewrite));
        let regex = regex.map(RedirectPath::Regex);
        Some(Redirect {
            scheme: written.scheme.value(),
            host: written.host.value(),
            port: written.port.given().map(|port| port.value.to_u16()),
            path: path.or(prefix).or(regex),
            status: written.status.0,
            strip_query: written.strip_query.value,
        })
    }

    /// Warns of a redirect to https for requests that a balancer in front may have got by https.
    fn check_loop(&mut self, origin: &Origin, redirect: &Redirect, matcher: &RouteMatch) {
        let is_https = redirect.scheme.as_deref() == Some("https") && redirect.port.is_none_or(|port| port == 443);
        let changes_more = redirect.host.is_some() || redirect.path.is_some() || redirect.strip_query;
        let about_scheme = |header: &HeaderMatch| header.name == ":scheme" || header.name == "x-forwarded-proto";
        let is_bound = matcher.headers.iter().any(about_scheme) || !matcher.addresses.is_empty();
        if self.believes_schemes && is_https && !changes_more && !is_bound {
            let message = "a request that came to the balancer by https is redirected to its own URL, again and again: \
                           x-forwarded-proto is believed here (`xff_trusted_cidrs`, `xff_num_trusted_hops`, `use_remote_address = false`)";
            let hint = "let the route match http only: headers = [{ name = \":scheme\", exact = \"http\" }]";
            self.problems.warn(Problem::at(origin, message).hint(Some(hint)));
        }
    }

    fn direct_response(&mut self, written: &'d Located<document::DirectResponse>) -> Option<DirectResponse> {
        let body_at = written.body.origin().or(written.body_file.origin());
        if let (Some(_), Some(file)) = (written.body.origin(), written.body_file.origin()) {
            let problem = Problem::at_key(file, "`body_file` and `body` exclude each other");
            self.problems.push(problem.hint(Some("keep one of them")));
        }
        let status = written.status.given()?.value.to_u16();
        self.check_has_body(Some(status), body_at, "leave it out, or answer with status 200");
        let body = match (written.body.given(), written.body_file.given()) {
            (Some(body), _) => body.0.clone().into_bytes(),
            (None, Some(file)) => self.body_file(file)?,
            (None, None) => Vec::new(),
        };
        Some(DirectResponse { status, body, content_type: written.content_type.0.clone() })
    }

    /// Refuses a body for a status that has none (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5).
    pub(super) fn check_has_body(&mut self, status: Option<u16>, body: Option<&Origin>, hint: &str) {
        if let (Some(status @ (204 | 205 | 304)), Some(body)) = (status, body) {
            let problem = Problem::at_key(body, format!("a response with status {status} has no body"));
            self.problems.push(problem.hint(Some(hint)));
        }
    }

    /// What is in a file of a body; nothing where the file may be on another host and is not here. One that cannot be read is
    /// reported.
    pub(super) fn body_file(&mut self, file: &Located<FilePath>) -> Option<Vec<u8>> {
        let path = self.directory.join(&file.0);
        match read_body(&path) {
            Ok(bytes) => Some(bytes),
            Err(_) if self.is_portable => Some(Vec::new()),
            Err(error) => {
                let message = crate::access::cannot_read(&path, &error);
                self.problems.push(Problem::at(&file.origin, message));
                None
            }
        }
    }
}

/// Reads a regular file; a pipe or device could block forever.
fn read_body(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.len() > BODY_FILE_MAX {
        return Err(io::Error::other("larger than 1MiB"));
    }
    fs::read(path)
}
