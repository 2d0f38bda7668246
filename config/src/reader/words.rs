//! Values that people bring from nginx, HAProxy and Traefik: what to write here instead.

/// Word and the words that may stand for it, the first of which is allowed.
const WORDS: &[(&str, &[&str])] = &[
    ("leastconn", &["least_request"]),
    ("least_conn", &["least_request"]),
    ("least_connections", &["least_request"]),
    ("least_time", &["least_request"]),
    ("p2c", &["least_request"]),
    ("roundrobin", &["round_robin"]),
    ("rr", &["round_robin"]),
    ("wrr", &["round_robin"]),
    ("weighted", &["round_robin"]),
    ("ip_hash", &["ring_hash", "maglev"]),
    ("source", &["ring_hash", "maglev"]),
    ("hash", &["ring_hash", "maglev"]),
    ("consistent", &["ring_hash", "maglev"]),
    ("consistent_hash", &["ring_hash", "maglev"]),
    ("dns", &["strict_dns"]),
    ("h2", &["http2"]),
    ("h2c", &["http2"]),
    ("http/2", &["http2"]),
    ("grpc", &["http2"]),
    ("h1", &["http1"]),
    ("http/1.1", &["http1"]),
];

/// The allowed word that stands for `written` of another proxy.
pub fn word(written: &str, allowed: &[&'static str]) -> Option<&'static str> {
    let (_, candidates) = WORDS.iter().find(|(known, _)| *known == written)?;
    candidates.iter().copied().find(|candidate| allowed.contains(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_only_suggested_where_it_is_allowed() {
        assert_eq!(word("leastconn", &["round_robin", "least_request"]), Some("least_request"));
        assert_eq!(word("ip_hash", &["maglev"]), Some("maglev"));
        assert_eq!(word("leastconn", &["spread", "pack"]), None);
        assert_eq!(word("round_robin", &["round_robin"]), None);
    }
}
