//! Which virtual host a request is for, by its authority.

use super::trie::{Folded, FoldedBackwards, NONE, Trie};
use crate::http::split_port;
use ringway_config::model;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Hosts {
    /// Whole names and what stands before the star of `prefix.*`. Values are virtual hosts of whole names; or places in
    /// `names` and `NAME`, where there is a star.
    forwards: Trie,
    names: Box<[Name]>,
    /// What stands behind the star of `*.suffix`, backwards; values are virtual hosts.
    backwards: Trie,
    /// The virtual host of `*`.
    any: Option<u32>,
}

const NAME: u32 = 1 << 31;

/// The virtual hosts that have this name as it is, and with a star behind it.
#[derive(Clone, Copy, Debug)]
struct Name {
    whole: u32,
    starred: u32,
}

impl Hosts {
    pub(super) fn new(virtual_hosts: &[model::VirtualHost]) -> Self {
        let mut names = BTreeMap::<&[u8], Name>::new();
        let mut backwards = Vec::new();
        let mut any = None;
        for (index, host) in (0..).zip(virtual_hosts) {
            for domain in &host.domains {
                if domain == "*" {
                    any = Some(index);
                } else if let Some(suffix) = domain.strip_prefix('*') {
                    backwards.push((suffix.bytes().rev().collect(), index));
                } else {
                    let starred = domain.strip_suffix('*');
                    let name = starred.unwrap_or(domain).as_bytes();
                    let name = names.entry(name).or_insert(Name { whole: NONE, starred: NONE });
                    *(if starred.is_some() { &mut name.starred } else { &mut name.whole }) = index;
                }
            }
        }
        let mut starred = Vec::new();
        let forwards = names.into_iter().map(|(text, name)| {
            if name.starred == NONE {
                return (text.to_vec(), name.whole);
            }
            starred.push(name);
            (text.to_vec(), (starred.len() as u32 - 1) | NAME)
        });
        Self { forwards: Trie::new(forwards.collect()), names: starred.into(), backwards: Trie::new(backwards), any }
    }

    /// Envoy's order: the whole name, the longest suffix, the longest prefix, any. The port does not count, nor does
    /// case; a star stands for at least one byte.
    pub(super) fn find(&self, authority: &[u8]) -> Option<u32> {
        if self.forwards.is_empty() && self.backwards.is_empty() {
            return self.any;
        }
        let (host, _) = split_port(authority);
        let (mut whole, mut suffix, mut prefix) = (NONE, NONE, NONE);
        self.forwards.walk(Folded(host), |len, value| {
            let name = match value & NAME {
                0 => Name { whole: value, starred: NONE },
                _ => self.names[(value & !NAME) as usize],
            };
            if len == host.len() {
                whole = name.whole;
            } else if name.starred != NONE {
                prefix = name.starred;
            }
        });
        if whole != NONE {
            return Some(whole);
        }
        self.backwards.walk(FoldedBackwards(host), |len, virtual_host| {
            if len < host.len() {
                suffix = virtual_host;
            }
        });
        [suffix, prefix].into_iter().find(|found| *found != NONE).or(self.any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(domains: &[&[&str]]) -> Hosts {
        let host = |domains: &&[&str]| model::VirtualHost {
            place: model::Place::default(),
            name: String::new(),
            domains: domains.iter().map(|domain| (*domain).into()).collect(),
            routes: Vec::new(),
            headers: model::HeaderMutations::default(),
            filters: model::FilterOverrides::default(),
            include_request_attempt_count: false,
            include_attempt_count_in_response: false,
        };
        Hosts::new(&domains.iter().map(host).collect::<Vec<_>>())
    }

    #[test]
    fn hosts_match_in_envoys_order() {
        let table = hosts(&[
            &["*"],
            &["*.example.com"],
            &["*.api.example.com", "*-x.org"],
            &["www.*", "www.a.*"],
            &["www.example.com", "[::1]", "www."],
        ]);
        for (authority, expected) in [
            ("www.example.com", 4),
            ("WWW.Example.COM:8080", 4),
            ("a.example.com", 1),
            ("A.API.example.com:1", 2),
            ("api.example.com", 1),
            ("example.com", 0),
            (".example.com", 0),
            ("a-x.org", 2),
            ("-x.org", 0),
            ("www.other.org", 3),
            ("www.a.b.example.com", 1),
            ("www.a.b", 3),
            ("www.", 4),
            ("www", 0),
            ("[::1]", 4),
            ("[::1]:80", 4),
            ("", 0),
        ] {
            assert_eq!(table.find(authority.as_bytes()), Some(expected), "{authority}");
        }
        let none = hosts(&[&["one.org"], &["*.two.org"]]);
        assert_eq!(none.find(b"two.org"), None);
        assert_eq!(none.find("x".repeat(4000).as_bytes()), None);
        assert_eq!(none.find(format!("{}.two.org", "x".repeat(4000)).as_bytes()), Some(1));
    }
}
