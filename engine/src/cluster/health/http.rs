//! The HTTP check: one HTTP/1.1 request, and a look at the status of its response.

use super::{Failure, Link, Verdict};
use crate::cluster::Host;
use crate::codec::h1::{BodyDecoder, HeadScanner, Limits, Parse};
use crate::http::{BodyKind, FieldId, Method, ResponseHead};
use crate::net::HeadBytes;
use crate::ring::Buf;
use ringway_config::model::HttpHealthCheck;
use std::ops::Range;

/// Envoy's is `Envoy/HC`.
const USER_AGENT: &str = "Ringway/HC";

/// Interim (1xx) responses at most.
const INTERIM_MAX: usize = 16;

/// The bytes of the request.
pub(super) fn request(check: &HttpHealthCheck, cluster: &str, host: &Host) -> Vec<u8> {
    let authority = check.host.as_deref().or(host.spec.hostname.as_deref()).unwrap_or(cluster);
    let mut text = format!("{} {} HTTP/1.1\r\nhost: {authority}\r\n", check.method, check.path);
    if !check.request_headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
        text += &format!("user-agent: {USER_AGENT}\r\n");
    }
    // A method that usually has a body says that there is none (RFC 9110 section 8.6).
    if matches!(Method::from_bytes(check.method.as_bytes()), Method::Post | Method::Put | Method::Patch) {
        text += "content-length: 0\r\n";
    }
    for (name, value) in &check.request_headers {
        text += &format!("{name}: {value}\r\n");
    }
    (text + "\r\n").into_bytes()
}

pub(super) async fn probe(check: &HttpHealthCheck, link: &mut Link, request: &[u8]) -> Verdict {
    loop {
        if let Err(failure) = link.open().await {
            return Verdict::failed(failure);
        }
        let mut exchange = Exchange { head: ResponseHead::default(), started: false };
        let result = exchange.run(check, link, request).await;
        match result {
            Ok(keep) => {
                if keep {
                    link.keep();
                } else {
                    link.close();
                }
                return judge(check, &exchange.head);
            }
            Err(failure) => {
                link.close();
                // The other end may have closed it just when the request came: that says nothing about its health.
                if !link.is_reused() || exchange.started {
                    return Verdict::failed(failure);
                }
            }
        }
    }
}

fn judge(check: &HttpHealthCheck, head: &ResponseHead) -> Verdict {
    let is_in = |ranges: &[Range<u16>]| ranges.iter().any(|range| range.contains(&head.status));
    if is_in(&check.expected_statuses) {
        return Verdict::passed(head.fields.contains(FieldId::XEnvoyDegraded));
    }
    let retriable = is_in(&check.retriable_statuses);
    let excluded = head.fields.contains(FieldId::XEnvoyImmediateHealthCheckFail);
    Verdict { excluded, ..Verdict::failed(Failure::Active { retriable }) }
}

struct Exchange {
    head: ResponseHead,
    /// A byte of the response has come.
    started: bool,
}

impl Exchange {
    /// Send the request and read the response to its end; whether the connection can be used again.
    async fn run(&mut self, check: &HttpHealthCheck, link: &mut Link, request: &[u8]) -> Result<bool, Failure> {
        link.send(request);
        let method = Method::from_bytes(check.method.as_bytes());
        let mut bytes = HeadBytes::default();
        let mut rest = None;
        for _ in 0..=INTERIM_MAX {
            rest = self.read_head(method, link, &mut bytes, rest).await?;
            if !self.head.is_interim() {
                let clean = read_body(self.head.framing, link, rest).await?;
                return Ok(clean && self.head.keep_alive);
            }
        }
        Err(Failure::Network)
    }

    /// Read one head; what came behind it is returned.
    async fn read_head(
        &mut self,
        method: Method,
        link: &Link,
        bytes: &mut HeadBytes,
        mut rest: Option<Buf>,
    ) -> Result<Option<Buf>, Failure> {
        let mut scanner = HeadScanner::default();
        bytes.clear(&link.reactor);
        loop {
            let buf = match rest.take() {
                Some(buf) => buf,
                None => link.receive().await?.ok_or(Failure::Network)?,
            };
            self.started = true;
            bytes.append(buf, &link.reactor);
            match scanner.response(bytes.as_slice(), &Limits::default(), method, &mut self.head) {
                Ok(Parse::Partial) => {}
                Ok(Parse::Complete) => return Ok(bytes.rest(self.head.len as usize, &link.reactor)),
                Err(_) => return Err(Failure::Network),
            }
        }
    }
}

/// Read the body away; whether nothing came behind it.
async fn read_body(kind: BodyKind, link: &Link, mut rest: Option<Buf>) -> Result<bool, Failure> {
    let mut decoder = BodyDecoder::new(kind);
    loop {
        if decoder.is_done() {
            return Ok(rest.is_none());
        }
        let mut buf = match rest.take() {
            Some(buf) => buf,
            None => match link.receive().await? {
                Some(buf) => buf,
                None => return decoder.on_eof().map(|()| false).map_err(|_| Failure::Network),
            },
        };
        let decoded = decoder.decode(&buf).map_err(|_| Failure::Network)?;
        buf.advance(decoded.consumed);
        rest = (!buf.is_empty()).then_some(buf);
    }
}
