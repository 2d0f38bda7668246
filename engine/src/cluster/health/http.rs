//! The HTTP check: one request, and a look at the status of its response. The gRPC check makes its request in the same way.

use super::{Link, Missed, Verdict};
use crate::cluster::Host;
use crate::cluster::call::{CallError, Conversation, MadeBody, Patience};
use crate::http::{FieldId, Length, Message, Method, RequestHead, ResponseHead};
use crate::mux::Limits;
use crate::ring::Buf;
use ringway_config::model::HttpHealthCheck;
use std::ops::Range;

/// Envoy's is `Envoy/HC`.
const USER_AGENT: &str = "Ringway/HC";

/// Bytes of a response's body that are read, so that the connection can be used again. The status is known before them.
const BODY_MAX: u64 = 64 * 1024;

/// The request.
pub(super) fn request(check: &HttpHealthCheck, cluster: &str, host: &Host) -> Message<RequestHead> {
    let authority = check.host.as_deref().or(host.spec.hostname.as_deref()).unwrap_or(cluster);
    let mut request = Message::request(check.method.as_bytes(), check.path.as_bytes(), authority.as_bytes());
    add_headers(&mut request, &check.request_headers);
    // A method that usually has a body says that there is none (RFC 9110 section 8.6).
    if matches!(request.head.method, Method::Post | Method::Put | Method::Patch) {
        request.head.length = Length::Known(0);
    }
    request
}

/// The check's own headers, and `user-agent` where it is not one of them.
pub(super) fn add_headers(request: &mut Message<RequestHead>, headers: &[(String, String)]) {
    let mut head = request.edit();
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
        head.add(b"user-agent", USER_AGENT.as_bytes());
    }
    for (name, value) in headers {
        head.add(name.as_bytes(), value.as_bytes());
    }
}

pub(super) async fn probe(check: &HttpHealthCheck, link: &mut Link, request: &Message<RequestHead>) -> Verdict {
    match ask(link, request, None, false).await {
        Ok((answer, _)) => judge(check, &answer.head),
        Err(missed) => Verdict::failed(missed),
    }
}

/// Make the request, with this body, and give its answer, with the answer's body if the check `keeps` it.
///
/// # Errors
/// There is no whole answer.
pub(super) async fn ask(
    link: &mut Link,
    request: &Message<RequestHead>,
    body: Option<&[u8]>,
    keeps: bool,
) -> Result<(Message<ResponseHead>, Vec<u8>), Missed> {
    let reactor = link.reactor.clone();
    loop {
        // The check as a whole has a deadline of its own.
        let mut patience = Patience::new(&reactor, None, None);
        let mut conversation = Conversation {
            reactor: &reactor,
            request,
            host: request.head.authority.of(request.view()),
            body: &mut MadeBody(body.map(|body| Buf::from(Box::from(body)))),
            patience: &mut patience,
            limits: &Limits::default(),
            buffer_limit: BODY_MAX as usize,
            answer_limit: BODY_MAX,
            request_end: None,
            answer: Message::default(),
            kept: keeps.then(Vec::new),
        };
        match conversation.run(link.open_http().await?).await {
            Ok(()) => {
                link.keep();
                return Ok((conversation.answer, conversation.kept.unwrap_or_default()));
            }
            // The other end may have left just when the request came: that says nothing about its health.
            Err(CallError::Broken { begun: false, .. }) if link.is_reused() => link.close(),
            Err(error) => {
                let failure = link.tls_failure();
                link.close();
                return Err(Missed::answer(&error, failure.as_ref()));
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
    let missed = Missed::status(head.status, &check.expected_statuses, retriable);
    Verdict { excluded, ..Verdict::failed(missed) }
}
