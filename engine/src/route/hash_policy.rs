//! A request's hash, by which the consistent hashes pick an endpoint (Envoy: RouteAction.HashPolicy).

use crate::http::{FieldId, HeadView, RequestHead, matcher};
use ringway_config::model::{HashPolicy, HashPolicyKind};
use smallvec::SmallVec;
use std::fmt::Display;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use xxhash_rust::xxh64::xxh64;

/// The client and its connection, as far as a hash policy may look at them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker {
    /// The client as far as it can be believed.
    pub client: Option<IpAddr>,
    /// The connection's two ends; cookies are made from them.
    pub remote: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
}

/// What the policies say of a request.
#[derive(Debug, Default)]
pub struct Hashed<'a> {
    /// `None`: the request has nothing that they ask for.
    pub hash: Option<u64>,
    /// To be set by the response.
    pub cookies: SmallVec<[NewCookie<'a>; 1]>,
}

/// A cookie that the request lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewCookie<'a> {
    pub name: &'a str,
    /// Zero: it lasts as long as the client's session.
    pub ttl: Duration,
    pub path: Option<&'a str>,
    pub value: u64,
}

impl NewCookie<'_> {
    /// The value of `set-cookie`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { name, ttl, path, value } = self;
        // Writing to a vector does not fail.
        let _ = write!(out, "{name}=\"{value:x}\"");
        if !ttl.is_zero() {
            let _ = write!(out, "; Max-Age={}", ttl.as_secs());
        }
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            let _ = write!(out, "; Path={path}");
        }
        out.extend_from_slice(b"; HttpOnly");
    }
}

/// Ask the policies in order, up to the first terminal one with a hash so far. Each hash is mixed with those before it.
pub fn hash<'a>(policies: &'a [HashPolicy], head: &RequestHead, view: HeadView<'_>, asker: Asker) -> Hashed<'a> {
    let mut hashed = Hashed::default();
    for policy in policies {
        if let Some(hash) = hash_one(&policy.kind, head, view, asker, &mut hashed.cookies) {
            // Rotated, so that two equal ones do not cancel each other out.
            hashed.hash = Some(hashed.hash.map_or(0, |before| before.rotate_left(1)) ^ hash);
        }
        if policy.terminal && hashed.hash.is_some() {
            break;
        }
    }
    hashed
}

fn hash_one<'a>(
    kind: &'a HashPolicyKind,
    head: &RequestHead,
    view: HeadView<'_>,
    asker: Asker,
    cookies: &mut SmallVec<[NewCookie<'a>; 1]>,
) -> Option<u64> {
    match kind {
        HashPolicyKind::Header(name) => hash_field(name, head, view),
        HashPolicyKind::Cookie { name, ttl, path } => {
            if let Some(value) = matcher::cookie(head, view, name.as_bytes()).filter(|value| !value.is_empty()) {
                return Some(xxh64(value, 0));
            }
            let value = connection_hash(asker);
            cookies.push(NewCookie { name, ttl: (*ttl)?, path: path.as_deref(), value });
            // Of the text: the client's next request is to hash the same.
            Some(hash_text(format_args!("{value:x}")))
        }
        HashPolicyKind::SourceIp => asker.client.map(hash_text),
        HashPolicyKind::QueryParameter(name) => {
            matcher::query_parameter(head, view, name.as_bytes()).map(|value| xxh64(value, 0))
        }
    }
}

/// Several lines count in the order of their values, so that their own order does not matter.
fn hash_field(name: &str, head: &RequestHead, view: HeadView<'_>) -> Option<u64> {
    match name {
        ":path" => return Some(xxh64(head.path.of(view), 0)),
        ":authority" => return Some(xxh64(head.authority.of(view), 0)),
        ":method" => return Some(xxh64(head.method_span.of(view), 0)),
        ":scheme" => return Some(xxh64(matcher::scheme(head, view).as_bytes(), 0)),
        _ => {}
    }
    let id = FieldId::lookup(name.as_bytes());
    let is_it = |at: &&[u8]| id != FieldId::Unknown || at.eq_ignore_ascii_case(name.as_bytes());
    let lines = head.fields.all(id).filter(|field| is_it(&field.name.of(view)));
    let mut values: SmallVec<[&[u8]; 4]> = lines.map(|field| field.value.of(view)).collect();
    values.sort_unstable();
    values.iter().fold(None, |hash, value| Some(xxh64(value, hash.unwrap_or(0))))
}

/// The same for all requests of a connection that race for their cookie.
fn connection_hash(asker: Asker) -> u64 {
    hash_texts([asker.remote, asker.local].into_iter().flatten())
}

fn hash_text(value: impl Display) -> u64 {
    hash_texts(std::iter::once(value))
}

/// Of the texts in a row. Two addresses with their ports fit; of more the beginning counts.
fn hash_texts(values: impl Iterator<Item = impl Display>) -> u64 {
    let mut text = [0; 128];
    let mut rest = &mut text[..];
    for value in values {
        let _ = write!(rest, "{value}");
    }
    let len = 128 - rest.len();
    xxh64(&text[..len], 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::h1::{HeadScanner, Limits, Parse};

    fn policy(kind: HashPolicyKind) -> HashPolicy {
        HashPolicy { kind, terminal: false, text: String::new() }
    }

    fn header(name: &str) -> HashPolicy {
        policy(HashPolicyKind::Header(name.into()))
    }

    fn cookie(ttl: Option<u64>, path: Option<&str>) -> HashPolicy {
        let ttl = ttl.map(Duration::from_secs);
        policy(HashPolicyKind::Cookie { name: "sid".into(), ttl, path: path.map(Into::into) })
    }

    fn asker() -> Asker {
        let remote: SocketAddr = "10.1.2.3:4000".parse().expect("an address");
        Asker { client: Some(remote.ip()), remote: Some(remote), local: "10.0.0.1:80".parse().ok() }
    }

    fn hash_of<'a>(policies: &'a [HashPolicy], target: &str, fields: &str) -> Hashed<'a> {
        let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let mut head = RequestHead::default();
        let parsed = HeadScanner::default().request(text.as_bytes(), &Limits::default(), &mut head);
        assert!(matches!(parsed, Ok(Parse::Complete(_))));
        hash(policies, &head, HeadView::new(text.as_bytes()), asker())
    }

    #[test]
    fn each_kind_hashes_its_part_as_envoy_does() {
        for (kind, target, fields, expected) in [
            (HashPolicyKind::Header("x-user".into()), "/", "X-User: ann\r\n", Some(xxh64(b"ann", 0))),
            (HashPolicyKind::Header("x-user".into()), "/", "X-Other: ann\r\n", None),
            (HashPolicyKind::Header("user-agent".into()), "/", "User-Agent: a\r\n", Some(xxh64(b"a", 0))),
            (HashPolicyKind::Header(":path".into()), "/a?b", "", Some(xxh64(b"/a?b", 0))),
            (HashPolicyKind::SourceIp, "/", "", Some(xxh64(b"10.1.2.3", 0))),
            (HashPolicyKind::QueryParameter("k".into()), "/?j=1&k=v&k=w", "", Some(xxh64(b"v", 0))),
            (HashPolicyKind::QueryParameter("k".into()), "/?key=v", "", None),
        ] {
            let policies = [policy(kind)];
            assert_eq!(hash_of(&policies, target, fields).hash, expected, "{policies:?}");
        }
    }

    #[test]
    fn the_order_of_lines_does_not_matter_and_their_number_does() {
        let policies = [header("x-user")];
        let of = |fields: &str| hash_of(&policies, "/", fields).hash;
        let both = of("X-User: ann\r\nX-User: bob\r\n");
        assert_eq!(both, of("x-user: bob\r\nx-user: ann\r\n"));
        assert_eq!(both, Some(xxh64(b"bob", xxh64(b"ann", 0))));
        assert_ne!(both, of("X-User: ann\r\n"));
    }

    #[test]
    fn hashes_are_mixed_up_to_a_terminal_one() {
        let (a, b) = (xxh64(b"a", 0), xxh64(b"b", 0));
        let fields = "X-A: a\r\nX-B: b\r\n";
        let policies = [header("x-a"), header("x-b")];
        assert_eq!(hash_of(&policies, "/", fields).hash, Some(a.rotate_left(1) ^ b));
        let twice = [header("x-a"), header("x-a")];
        assert_ne!(hash_of(&twice, "/", fields).hash, Some(0));
        let mut terminal = [header("x-none"), header("x-a"), header("x-b")];
        terminal[0].terminal = true;
        terminal[1].terminal = true;
        assert_eq!(hash_of(&terminal, "/", fields).hash, Some(a));
    }

    #[test]
    fn a_missing_cookie_is_made_and_hashes_the_same_when_it_comes_back() {
        let policies = [cookie(Some(60), Some("/app"))];
        let first = hash_of(&policies, "/", "Cookie: other=1\r\n");
        let mut line = Vec::new();
        first.cookies[0].write(&mut line);
        let line = String::from_utf8(line).expect("ASCII");
        let value = line.split('"').nth(1).expect("a quoted value");
        assert_eq!(line, format!("sid=\"{value}\"; Max-Age=60; Path=/app; HttpOnly"));
        for cookie in [format!("Cookie: sid={value}\r\n"), format!("Cookie: a=b; sid=\"{value}\"\r\n")] {
            let second = hash_of(&policies, "/", &cookie);
            assert_eq!((second.hash, second.cookies.len()), (first.hash, 0));
        }
        let session = [cookie(Some(0), None)];
        let mut line = Vec::new();
        hash_of(&session, "/", "").cookies[0].write(&mut line);
        assert!(line.starts_with(b"sid=\"") && line.ends_with(b"\"; HttpOnly"));
        // Without a time to live nothing is made.
        let policies = [cookie(None, None)];
        let none = hash_of(&policies, "/", "");
        assert_eq!((none.hash, none.cookies.len()), (None, 0));
    }
}
