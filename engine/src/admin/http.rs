//! HTTP/1 for the admin endpoint: small requests and whole responses, with the same codec and ring as everything else.

use super::endpoints::answer;
use super::message::{Answer, Call};
use super::state::State;
use crate::codec::h1::{BodyDecoder, HeadScanner, Limits, Parse, encode};
use crate::hcm::access_log::{CompiledLog, ShardLog, Writer};
use crate::http::format::Record;
use crate::http::{BodyKind, FieldId, HeadView, Method, RequestHead, Times};
use crate::net::{ByteStream, HeadBytes, sys};
use crate::ring::{Acceptor, Reactor, Segment, Socket, Timer};
use crate::stats::Registry;
use ringway_config::format_pieces;
use ringway_config::model::{AccessLog, AccessLogFormat, AccessLogSink};
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The time for a request's head, between requests, and for the client to take a response.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections at the same time; further ones wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 256;

/// A line of the access log.
const LINE: &str =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(:PATH)%\" %RESPONSE_CODE% %BYTES_SENT% %DOWNSTREAM_REMOTE_ADDRESS%\n";

/// The admin endpoint's access log.
pub(super) struct Log {
    log: ShardLog,
    compiled: CompiledLog,
}

impl Log {
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn new(writer: &Arc<Writer>, registry: &Registry, path: &Path) -> Result<Self, String> {
        let log = AccessLog {
            sink: AccessLogSink::File(path.into()),
            format: AccessLogFormat::Text(format_pieces(LINE)?),
            filter: None,
        };
        let compiled = CompiledLog::new(&log, writer).map_err(|error| error.to_string())?;
        // Statistics cells have one writer each; the shards have the low numbers.
        Ok(Self { log: ShardLog::new(writer.clone(), registry, usize::MAX), compiled })
    }
}

pub(super) fn spawn(reactor: &Rc<Reactor>, socket: OwnedFd, state: Arc<State>, log: Option<Log>) {
    let acceptor = Acceptor::new(reactor, socket);
    let log = Rc::new(log);
    let on = reactor.clone();
    reactor.spawn(async move {
        loop {
            if on.facts().tasks as usize > CONNECTIONS_MAX {
                on.sleep(Duration::from_millis(10)).await;
                continue;
            }
            match poll_fn(|_| acceptor.poll_accept()).await {
                Ok(fd) => {
                    let remote = sys::peer_address(fd.as_raw_fd());
                    let stream = ByteStream::Socket(Socket::new(&on, fd));
                    on.spawn(serve(on.clone(), stream, remote, state.clone(), log.clone()));
                }
                Err(error) => {
                    tracing::warn!(target: "ringway::admin", %error, "cannot accept, trying again soon");
                    on.sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
}

async fn serve(
    reactor: Rc<Reactor>,
    stream: ByteStream,
    remote: Option<SocketAddr>,
    state: Arc<State>,
    log: Rc<Option<Log>>,
) {
    let mut head = RequestHead::default();
    loop {
        let mut bytes = HeadBytes::Empty;
        head.clear();
        let start = reactor.wall_micros();
        let answered = match read_head(&reactor, &stream, &mut bytes, &mut head).await {
            Some(Ok(())) => {
                let body = read_body(&reactor, &stream, &head).await;
                head.keep_alive &= body.is_some();
                let raw = bytes.as_slice();
                let (path, query) = (head.path(raw), head.query(raw).unwrap_or_default());
                let call = Call { method: head.method, path, query, body: body.as_deref() };
                match refusal(&head, raw) {
                    Some(refused) => refused,
                    None => answer(&state, &call),
                }
            }
            Some(Err(status)) => {
                head.keep_alive = false;
                Answer::text(status, "bad request\n")
            }
            None => return,
        };
        let keep_alive = head.keep_alive;
        send(&stream, &head, &answered, keep_alive);
        if let Some(log) = &*log {
            let record = Record {
                times: Times { start_wall_micros: start, ..Times::default() },
                request: (head.len > 0).then_some((&head, HeadView::new(bytes.as_slice()))),
                response_code: answered.status,
                sent: answered.body.len() as u64,
                downstream_remote_address: remote,
                ..Record::default()
            };
            log.log.append(&log.compiled, &record);
            log.log.flush();
        }
        let timer = Timer::new(&reactor);
        timer.arm_in(PATIENCE);
        poll_fn(|_| {
            let flushed = stream.poll_flushed(0).map(|_| ());
            if flushed.is_pending() && timer.fired() { Poll::Ready(()) } else { flushed }
        })
        .await;
        if let Some(order) = answered.then {
            state.order(order);
        }
        if !keep_alive {
            return;
        }
    }
}

/// `None`: the connection is over. `Err`: the status to answer with.
async fn read_head(
    reactor: &Rc<Reactor>,
    stream: &ByteStream,
    bytes: &mut HeadBytes,
    head: &mut RequestHead,
) -> Option<Result<(), u16>> {
    let timer = Timer::new(reactor);
    timer.arm_in(PATIENCE);
    let mut scanner = HeadScanner::default();
    loop {
        let received = poll_fn(|_| match stream.poll_recv() {
            Poll::Ready(received) => Poll::Ready(received.ok().flatten()),
            Poll::Pending if timer.fired() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        bytes.append(received.await?, reactor);
        match scanner.request(bytes.as_slice(), &Limits::default(), head) {
            Ok(Parse::Partial) => {}
            Err(error) => return Some(Err(error.status())),
            Ok(Parse::Complete) => {
                if let Some(rest) = bytes.rest(head.len as usize, reactor) {
                    stream.unread(rest);
                }
                return Some(Ok(()));
            }
        }
    }
}

/// The largest body that is read; no question is longer.
const BODY_MAX: u64 = 64 * 1024;

/// The request's body; `None`: it is too long or does not come, and the connection cannot be used again.
async fn read_body(reactor: &Rc<Reactor>, stream: &ByteStream, head: &RequestHead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if head.framing.is_empty() {
        return Some(body);
    }
    if !matches!(head.framing, BodyKind::Length(length) if length <= BODY_MAX) {
        return None;
    }
    let timer = Timer::new(reactor);
    timer.arm_in(Duration::from_secs(1));
    let mut decoder = BodyDecoder::new(head.framing);
    poll_fn(|_| {
        while !decoder.is_done() {
            match stream.poll_recv() {
                Poll::Ready(Ok(Some(mut buf))) => {
                    let Ok(decoded) = decoder.decode(&buf) else { return Poll::Ready(None) };
                    body.extend_from_slice(&buf[decoded.data.clone()]);
                    buf.advance(decoded.consumed);
                    if !buf.is_empty() {
                        stream.unread(buf);
                    }
                }
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending if timer.fired() => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Some(()))
    })
    .await?;
    Some(body)
}

/// Refuses requests that a page in a browser makes: through a name that an attacker controls (DNS rebinding), and orders
/// from another site.
fn refusal(head: &RequestHead, bytes: &[u8]) -> Option<Answer> {
    let authority = std::str::from_utf8(head.authority.of(bytes)).unwrap_or_default();
    let host = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let host = host.map_or(authority, |(host, _)| host).trim_start_matches('[').trim_end_matches(']');
    let known = host.is_empty() || host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok();
    if !known {
        return Some(Answer::text(403, "the admin endpoint answers only to an IP address or localhost as host\n"));
    }
    let origin = head.fields.value(FieldId::Origin, bytes)?;
    let own = [b"http://", authority.as_bytes()].concat();
    (head.method == Method::Post && origin != own)
        .then(|| Answer::text(403, "the admin endpoint takes no orders from other sites\n"))
}

fn send(stream: &ByteStream, head: &RequestHead, answer: &Answer, keep_alive: bool) {
    let mut out = Vec::with_capacity(256 + answer.body.len());
    encode::status(&mut out, answer.status);
    encode::field(&mut out, b"content-type", answer.content_type.as_bytes());
    encode::field_u64(&mut out, b"content-length", answer.body.len() as u64);
    encode::field(&mut out, b"cache-control", b"no-cache, max-age=0");
    encode::field(&mut out, b"x-content-type-options", b"nosniff");
    encode::field(&mut out, b"server", b"ringway");
    if answer.status == 405 {
        encode::field(&mut out, b"allow", answer.allow.as_bytes());
    }
    if !keep_alive {
        encode::field(&mut out, b"connection", b"close");
    }
    encode::end(&mut out);
    if head.method != Method::Head {
        out.extend_from_slice(answer.body.as_bytes());
    }
    stream.send_one(Segment::Owned(out));
}
