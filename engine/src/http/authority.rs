//! The authority that a request names: `uri-host [":" port]` (RFC 9110 section 7.2, RFC 3986 section 3.2).

use std::net::Ipv6Addr;

/// Classes of the bytes of a registered name or IPv4 address: unreserved, sub-delims and `%`, without the comma. The
/// grammar has the comma, but `a,b` is what two merged Host fields look like, and no name contains one.
static CLASSES: [u8; 256] = classes();

const NAME: u8 = 0;
/// What follows it is checked apart.
const ESCAPE: u8 = 1;
const OUTSIDE: u8 = 2;

const fn classes() -> [u8; 256] {
    let mut table = [OUTSIDE; 256];
    let mut byte = 0usize;
    while byte < 256 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = NAME;
        }
        byte += 1;
    }
    let marks = b"-._~!$&'()*+;=";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = NAME;
        at += 1;
    }
    table[b'%' as usize] = ESCAPE;
    table
}

/// Whether `bytes` is a host with an optional port: no user information, no path, port at most 65535. An empty host
/// is refused: "a recipient that processes such a URI reference MUST reject it as invalid" (RFC 9110 section 4.2.1).
pub fn is_valid_authority(bytes: &[u8]) -> bool {
    // Most are names without a port, and it takes less to look at all of their bytes than to look for one.
    if bytes.iter().fold(NAME, |seen, byte| seen | CLASSES[*byte as usize]) == NAME {
        return !bytes.is_empty();
    }
    is_valid_otherwise(bytes)
}

fn is_valid_otherwise(bytes: &[u8]) -> bool {
    if let [b'[', rest @ ..] = bytes {
        return is_bracketed_ipv6(rest);
    }
    let mut seen = NAME;
    let end = bytes.iter().position(|byte| {
        let class = CLASSES[*byte as usize];
        seen |= class;
        class == OUTSIDE
    });
    let (host, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    !host.is_empty() && is_port(rest) && (seen & ESCAPE == 0 || is_percent_encoded(host))
}

/// Host and port of an authority; a colon within the brackets of an IPv6 address begins no port.
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memrchr2(b':', b']', authority) {
        Some(at) if authority[at] == b':' => (&authority[..at], Some(&authority[at + 1..])),
        _ => (authority, None),
    }
}

/// The host of an authority as certificates have it: in lower case, without port, brackets and the dot at the end.
pub fn host_name(authority: &[u8]) -> Box<str> {
    let host = String::from_utf8_lossy(split_port(authority).0).to_ascii_lowercase();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    host.strip_suffix('.').unwrap_or(host).into()
}

/// `rest` is what follows the opening bracket. Zone ids and `IPvFuture` are not accepted.
fn is_bracketed_ipv6(rest: &[u8]) -> bool {
    let Some(close) = rest.iter().position(|b| *b == b']') else { return false };
    let address = std::str::from_utf8(&rest[..close]).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
    address.is_some() && is_port(&rest[close + 1..])
}

/// Nothing, or `:` with up to five digits and a value of at most 65535; `:` alone is in the grammar.
fn is_port(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
            digits.iter().fold(0u32, |port, digit| port * 10 + u32::from(digit - b'0')) <= u32::from(u16::MAX)
        }
        _ => false,
    }
}

fn is_percent_encoded(host: &[u8]) -> bool {
    let mut parts = host.split(|b| *b == b'%');
    parts.next();
    parts.all(|part| part.len() >= 2 && part[..2].iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Host = uri-host [ ":" port ]" (RFC 9110 section 7.2).
    #[test]
    fn hosts_with_and_without_a_port() {
        for good in ["a", "example.com", "EXAMPLE.com:80", "a:", "a:65535", "127.0.0.1:1", "[::1]", "[::1]:80"] {
            assert!(is_valid_authority(good.as_bytes()), "{good}");
        }
        for good in ["x_y.local", "a%2db", "[1:2::3.4.5.6]:9", "xn--a.b."] {
            assert!(is_valid_authority(good.as_bytes()), "{good}");
        }
    }

    #[test]
    fn a_host_is_what_a_certificate_may_be_for() {
        for (authority, host) in [
            ("A.Example", "a.example"),
            ("a.example:8443", "a.example"),
            ("a.example.", "a.example"),
            ("a.example.:1", "a.example"),
            ("[::1]:80", "::1"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(&*host_name(authority.as_bytes()), host);
        }
    }

    /// "A server MUST respond with a 400 ... to any request message that contains ... a Host header field with an
    /// invalid field value" (RFC 9112 section 3.2).
    #[test]
    fn anything_else_is_refused() {
        let bad = ["", ":80", "a b", "a,b", "u@a", "u:p@a", "a/b", "a?b", "a#b", "a\\b", "a:b", "a:80:80", "a:65536"];
        let more =
            ["a:000080", "[::1", "::1", "[::1]x", "[::1]:x", "[fe80::1%25eth0]", "[v1.x]", "a%2", "a%zz", "\u{e9}"];
        for host in bad.iter().chain(&more) {
            assert!(!is_valid_authority(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn a_port_is_behind_the_last_colon_outside_brackets() {
        let parts =
            [("a", None), ("a", Some("")), ("a", Some("80")), ("[::1]", None), ("[::1]", Some("80")), ("", None)];
        for (host, port) in parts {
            let authority = port.map_or(host.to_owned(), |port| format!("{host}:{port}"));
            let expected = (host.as_bytes(), port.map(str::as_bytes));
            assert_eq!(split_port(authority.as_bytes()), expected, "{authority}");
        }
    }
}
