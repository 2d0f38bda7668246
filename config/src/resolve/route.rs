//! Routes: matches and actions.

use std::fs;
use std::io;
use std::path::Path;

use super::Resolver;
use crate::diagnostic::{Problem, name_list};
use crate::document::{self, Located, Origin, Slot};
use crate::model::{
    ClusterTarget, DirectResponse, FilterOverrides, Forward, HeaderMatch, HeaderMatchKind, HeaderMutations,
    HostRewrite, PathMatch, PathRewrite, Place, Priority, Redirect, RedirectPath, Route, RouteAction, RouteMatch,
    StringMatch, StringMatchKind,
};

/// Bytes of the largest `body_file`.
const BODY_FILE_MAX: u64 = 1 << 20;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn routes(&mut self, written: &'d [Located<document::Route>]) -> Vec<Route> {
        written.iter().filter_map(|route| self.route(route)).collect()
    }

    fn route(&mut self, route: &'d Located<document::Route>) -> Option<Route> {
        let keys = [
            ("route", route.route.origin()),
            ("redirect", route.redirect.origin()),
            ("direct_response", route.direct_response.origin()),
        ];
        self.exactly_one(&route.origin, route.has_unknown, &keys, "the route does not say what to do");
        let matcher = route.r#match.given();
        let resolved = matcher.and_then(|matcher| self.route_match(matcher));
        // Every action is checked, also where there is one too many.
        let forward = route.route.given().and_then(|forward| self.forward(forward, matcher));
        let redirect = route.redirect.given().and_then(|redirect| self.redirect(redirect, matcher));
        let direct = route.direct_response.given().and_then(|direct| self.direct_response(direct));
        let action = forward.map(|forward| RouteAction::Forward(Box::new(forward)));
        let action = action.or(redirect.map(RouteAction::Redirect)).or(direct.map(RouteAction::DirectResponse));
        Some(Route {
            place: self.problems.place(&route.origin),
            name: route.name.given().map(|name| name.value.0.clone()),
            matcher: resolved?,
            action: action?,
            headers: HeaderMutations::default(),
            filters: FilterOverrides::default(),
        })
    }

    fn route_match(&mut self, written: &'d Located<document::RouteMatch>) -> Option<RouteMatch> {
        let keys = [
            ("prefix", written.prefix.origin()),
            ("path", written.path.origin()),
            ("path_separated_prefix", written.path_separated_prefix.origin()),
            ("regex", written.regex.origin()),
        ];
        let is_one =
            self.exactly_one(&written.origin, written.has_unknown, &keys, "the match says nothing about the path");
        if let (true, Some(_), Some(sensitive)) = (is_one, written.regex.origin(), written.case_sensitive.given()) {
            let problem = Problem::at_key(&sensitive.origin, "`case_sensitive` does not apply to `regex`");
            self.problems.push(problem.hint(Some("start the pattern with (?i) to ignore case")));
        }
        let prefix = written.prefix.given().map(|path| PathMatch::Prefix(path.value.0.clone()));
        let exact = written.path.given().map(|path| PathMatch::Exact(path.value.0.clone()));
        let separated = written.path_separated_prefix.given();
        let separated = separated.map(|path| PathMatch::PathSeparatedPrefix(path.value.0.clone()));
        let regex = written.regex.given().map(|pattern| PathMatch::Regex(pattern.value.0.clone()));
        Some(RouteMatch {
            path: prefix.or(exact).or(separated).or(regex)?,
            case_sensitive: written.case_sensitive.given().is_none_or(|sensitive| sensitive.value),
            methods: written.methods.items().iter().map(|method| method.value.0.clone()).collect(),
            headers: written.headers.items().iter().filter_map(|header| self.header_match(header)).collect(),
            query_parameters: Vec::new(),
            cookies: Vec::new(),
            fraction: None,
        })
    }

    fn header_match(&mut self, written: &'d Located<document::HeaderMatch>) -> Option<HeaderMatch> {
        let keys = [
            ("exact", written.exact.origin()),
            ("prefix", written.prefix.origin()),
            ("suffix", written.suffix.origin()),
            ("contains", written.contains.origin()),
            ("regex", written.regex.origin()),
            ("present", written.present.origin()),
        ];
        let none_written = keys.iter().all(|(_, origin)| origin.is_none());
        if !none_written {
            self.exactly_one(&written.origin, written.has_unknown, &keys, "");
        }
        let text = |slot: &Slot<_>, kind: fn(String) -> StringMatchKind| {
            slot.given().map(|text: &Located<document::Text>| kind(text.value.0.clone()))
        };
        let kind = text(&written.exact, StringMatchKind::Exact)
            .or_else(|| text(&written.prefix, StringMatchKind::Prefix))
            .or_else(|| text(&written.suffix, StringMatchKind::Suffix))
            .or_else(|| text(&written.contains, StringMatchKind::Contains))
            .or_else(|| written.regex.given().map(|pattern| StringMatchKind::Regex(pattern.value.0.clone())));
        let value = |kind| HeaderMatchKind::Value(StringMatch { kind, ignore_case: false });
        let kind = kind.map_or(HeaderMatchKind::Present, value);
        // `present = false` is the inverse of `present = true`.
        let absent = written.present.given().is_some_and(|present| !present.value);
        Some(HeaderMatch {
            name: written.name.given()?.value.0.clone(),
            kind,
            invert: written.invert.value != absent,
            missing_as_empty: false,
        })
    }

    fn forward(
        &mut self,
        written: &'d Located<document::Forward>,
        matcher: Option<&Located<document::RouteMatch>>,
    ) -> Option<Forward> {
        self.check_prefix_rewrite(written.prefix_rewrite.origin(), matcher);
        let name = written.cluster.given()?;
        let Some(cluster) = self.clusters.get(name.value.0.as_str()).copied() else {
            self.refuse_cluster(name);
            return None;
        };
        let is_default = written.timeout.origin.key == written.origin.key;
        Some(Forward {
            target: ClusterTarget::Cluster(cluster),
            cluster_not_found_status: 503,
            path_rewrite: written.prefix_rewrite.given().map(|path| PathRewrite::Prefix(path.value.0.clone())),
            host_rewrite: written.host_rewrite.given().map(|host| HostRewrite::Literal(host.value.0.clone())),
            append_x_forwarded_host: false,
            timeout: written.timeout.value.0,
            stream_idle_timeout: None,
            max_stream_duration: None,
            retry: None,
            hedge_on_per_try_timeout: false,
            hash_policy: Vec::new(),
            mirrors: Vec::new(),
            internal_redirect: None,
            priority: Priority::Default,
            metadata_match: Vec::new(),
            timeout_place: if is_default { Place::default() } else { self.problems.place(&written.timeout.origin) },
        })
    }

    fn refuse_cluster(&mut self, name: &Located<document::ClusterName>) {
        let written = &name.value.0;
        let near = self.problems.suggest(written, self.cluster_names.iter().copied());
        let hint = match near {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if self.cluster_names.is_empty() => {
                Some(format!("the file has no cluster: add [[clusters]] with name = {written:?} and endpoints = [...]"))
            }
            None => None,
        };
        let mut problem = Problem::at(&name.origin, format!("there is no cluster `{written}`"));
        if !self.cluster_names.is_empty() {
            problem = problem.allowed(name_list(self.cluster_names.iter().copied()));
        }
        self.problems.push(problem.hint(hint));
    }

    /// A pattern has no prefix that could be replaced.
    fn check_prefix_rewrite(&mut self, rewrite: Option<&Origin>, matcher: Option<&Located<document::RouteMatch>>) {
        if let (Some(rewrite), true) = (rewrite, matcher.is_some_and(|matcher| matcher.regex.origin().is_some())) {
            let problem = Problem::at_key(rewrite, "`prefix_rewrite` does not apply to a route with match.regex");
            self.problems.push(problem.hint(Some("match by prefix, path or path_separated_prefix")));
        }
    }

    fn redirect(
        &mut self,
        written: &'d Located<document::Redirect>,
        matcher: Option<&Located<document::RouteMatch>>,
    ) -> Option<Redirect> {
        self.check_prefix_rewrite(written.prefix_rewrite.origin(), matcher);
        if let (Some(_), Some(rewrite)) = (written.path.origin(), written.prefix_rewrite.origin()) {
            let problem = Problem::at_key(rewrite, "`prefix_rewrite` and `path` exclude each other");
            self.problems.push(problem.hint(Some("`path` replaces the whole path; keep one of them")));
        }
        let parts = [
            written.scheme.origin(),
            written.host.origin(),
            written.port.origin(),
            written.path.origin(),
            written.prefix_rewrite.origin(),
        ];
        if parts.iter().all(Option::is_none) && !written.strip_query.value && !written.has_unknown {
            let problem =
                Problem::at(&written.origin, "the redirect changes nothing: the client would come back for ever");
            self.problems.push(problem.allowed("scheme, host, port, path, prefix_rewrite, strip_query; at least one"));
        }
        let path = written.path.given().map(|path| RedirectPath::Path(path.value.0.clone()));
        let prefix = written.prefix_rewrite.given().map(|path| RedirectPath::Prefix(path.value.0.clone()));
        Some(Redirect {
            scheme: written.scheme.given().map(|scheme| scheme.value.0.clone()),
            host: written.host.given().map(|host| host.value.0.clone()),
            port: written.port.given().map(|port| port.value.to_u16()),
            path: path.or(prefix),
            status: written.status.value.0,
            strip_query: written.strip_query.value,
        })
    }

    fn direct_response(&mut self, written: &'d Located<document::DirectResponse>) -> Option<DirectResponse> {
        let body_at = written.body.origin().or(written.body_file.origin());
        if let (Some(_), Some(file)) = (written.body.origin(), written.body_file.origin()) {
            let problem = Problem::at_key(file, "`body_file` and `body` exclude each other");
            self.problems.push(problem.hint(Some("keep one of them")));
        }
        let status = written.status.given()?.value.to_u16();
        // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
        if let (204 | 205 | 304, Some(origin)) = (status, body_at) {
            let problem = Problem::at_key(origin, format!("a response with status {status} has no body"));
            self.problems.push(problem.hint(Some("leave it out, or answer with status 200")));
        }
        let body = match (written.body.given(), written.body_file.given()) {
            (Some(body), _) => body.value.0.clone().into_bytes(),
            (None, Some(file)) => match read_body(&self.directory.join(&file.value.0)) {
                Ok(bytes) => bytes,
                Err(error) => {
                    let path = self.directory.join(&file.value.0);
                    let message = format!("cannot read {}: {error}", path.display());
                    self.problems.push(Problem::at(&file.origin, message));
                    return None;
                }
            },
            (None, None) => Vec::new(),
        };
        Some(DirectResponse { status, body, content_type: written.content_type.value.0.clone() })
    }
}

/// Reads a regular file; a pipe or device could keep the caller waiting for ever.
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
