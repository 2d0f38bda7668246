//! What speaks no TLS where TLS is spoken: what it may be, and what it is told.

use super::failure::Failure;

/// For a client that speaks HTTP without TLS (nginx: 497).
pub(super) const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 53\r\nconnection: close\r\n\r\nthis port speaks HTTPS, and the request is plain HTTP";

/// Whether a request or a response begins like this, as far as it has come: SSH and the PROXY protocol do not.
pub(super) fn looks_like_http(bytes: &[u8]) -> bool {
    const LONGEST: usize = 32;
    let of_method = |byte: &&u8| byte.is_ascii_alphabetic() || **byte == b'-';
    let (method, rest) = bytes.split_at(bytes.iter().take_while(of_method).count());
    let begins = |target: &[u8], with: &[u8]| with.iter().zip(target).all(|(a, b)| a.eq_ignore_ascii_case(b));
    match rest {
        _ if method.is_empty() || method.len() > LONGEST => false,
        [] => true,
        [b' ', target @ ..] => {
            method == b"CONNECT" || [&b"/"[..], b"*", b"http://", b"https://"].iter().any(|with| begins(target, with))
        }
        [b'/', ..] => method == b"HTTP",
        _ => false,
    }
}

pub(super) fn not_tls(is_http: bool) -> Failure {
    if is_http { Failure::PlainHttp } else { Failure::NotTls }
}

#[cfg(test)]
mod tests {
    use super::looks_like_http;

    #[test]
    fn http_is_told_from_other_protocols() {
        let http: [&[u8]; 11] = [
            b"GET / HTTP/1.1\r\n",
            b"get /index.html",
            b"OPTIONS * HTTP/1.1",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"CONNECT a.example:443 HTTP/1.1",
            b"POST http://a.example/ HTTP/1.1",
            b"M-SEARCH * HTTP/1.1",
            b"HTTP/1.1 400 Bad Request",
            // As far as they have come.
            b"G",
            b"DELETE ",
            b"PUT ht",
        ];
        let other: [&[u8]; 10] = [
            b"SSH-2.0-OpenSSH_9.2p1\r\n",
            b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n",
            b"\r\n\r\n\0\r\nQUIT\n",
            b"G\0",
            b"220 mail.example ESMTP\r\n",
            b"EHLO a.example\r\n",
            b" / HTTP/1.1",
            b"\x80\x2e\x01",
            &[b'A'; 100],
            b"",
        ];
        assert!(http.iter().all(|bytes| looks_like_http(bytes)));
        for bytes in other {
            assert!(!looks_like_http(bytes), "{bytes:?}");
        }
    }
}
