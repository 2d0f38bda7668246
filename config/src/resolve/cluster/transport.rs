//! `clusters[].transport_socket_matches`: which endpoints are reached in which way.

use std::collections::{BTreeSet, HashMap};

use super::lb::{is_incomplete, sorted_pairs};
use crate::diagnostic::Problem;
use crate::document::{self, EndpointEntry};
use crate::model::TransportMatch;
use crate::reader::{List, Located, Slot};
use crate::resolve::Resolver;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn transport_matches(&mut self, cluster: &'d Located<document::Cluster>) -> Vec<TransportMatch> {
        let hint = "leave it out, or list at least one: { name = \"...\", match = { ... }, tls = { ... } }";
        self.refuse_empty(&cluster.transport_socket_matches, "`transport_socket_matches` is empty", hint);
        let known: Option<BTreeSet<&str>> = (!is_incomplete(cluster)).then(|| {
            let pairs = cluster.endpoints.items().iter().flat_map(|entry| entry.metadata());
            pairs.map(|(key, _)| key.0.as_str()).collect()
        });
        let (mut names, mut matches) = (HashMap::new(), Vec::<TransportMatch>::new());
        for written in cluster.transport_socket_matches.items() {
            let tls = written.tls.given().map(|tls| self.upstream_tls(tls, cluster.protocol.0));
            if let Some(name) = written.name.given() {
                self.unique(&mut names, name.0.as_str(), &name.origin, |name| {
                    format!("there are two transport_socket_matches with the name `{name}`")
                });
            }
            let (Some(name), Some(criteria)) = (written.name.value(), written.r#match.given()) else { continue };
            if let Some(known) = known.as_ref().filter(|_| !criteria.is_incomplete) {
                for (key, _) in criteria.entries.iter().filter(|(key, _)| !known.contains(key.0.as_str())) {
                    self.refuse_unknown(key, known, "no endpoint has metadata with the key");
                }
            }
            let criteria = sorted_pairs(&criteria.entries);
            if let Some(earlier) = matches.iter().find(|earlier| earlier.takes(&criteria)) {
                let message = format!("it is never used: `{}` before it takes each of its endpoints", earlier.name);
                self.problems.warn(Problem::at(&written.origin, message).hint(Some("write the narrower match first")));
            }
            matches.push(TransportMatch { place: self.problems.place(&written.origin), name, criteria, tls });
        }
        matches
    }
}

/// The table of TLS that is for this endpoint, if it is reached by TLS. `None` also where the tables cannot all be read.
pub(in crate::resolve) fn tls_of<'d>(
    cluster: &'d document::Cluster,
    entry: &EndpointEntry,
) -> Option<&'d Slot<document::UpstreamTls>> {
    let list = &cluster.transport_socket_matches;
    if is_unread(list) {
        return None;
    }
    let has = |key: &str, value: &str| entry.metadata().iter().any(|(k, v)| k.0 == key && v.0 == value);
    let takes = |written: &&Located<document::TransportSocketMatch>| {
        written.r#match.given().is_some_and(|it| it.entries.iter().all(|(key, value)| has(&key.0, &value.0)))
    };
    let matching = list.items().iter().find(takes);
    Some(matching.map_or(&cluster.tls, |written| &written.tls))
}

/// Whether there is no way by TLS to any endpoint, and none that could not be read.
pub(super) fn is_plain(cluster: &document::Cluster) -> bool {
    let list = &cluster.transport_socket_matches;
    let may_be_secure = |it: &Located<document::TransportSocketMatch>| it.tls.origin().is_some() || it.has_unknown;
    cluster.tls.origin().is_none()
        && !cluster.has_unknown
        && !is_unread(list)
        && !list.items().iter().any(may_be_secure)
}

fn is_unread(list: &Slot<List<document::TransportSocketMatch>>) -> bool {
    matches!(list, Slot::Invalid(_)) || list.given().is_some_and(|list| list.is_incomplete)
}
