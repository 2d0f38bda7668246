//! HTTP/1 for the admin endpoint: small requests and whole responses, with the same codec and ring as everything else.

use super::endpoints::answer;
use super::message::{Answer, Call};
use super::state::State;
use crate::hcm::access_log::{CompiledLog, ShardLog, Writer};
use crate::http::format::Record;
use crate::http::{FieldId, HeadView, Length, Message, Method, RequestHead, ResponseHead, Times, Trailers, reason};
use crate::mux::h1::{Disposition, Served};
use crate::mux::{Broken, Downstream, Limits, Piece};
use crate::net::{ByteStream, sys};
use crate::ring::{Acceptor, Reactor, Socket, Timer};
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
        Ok(Self { log: ShardLog::new(registry, usize::MAX), compiled })
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
    let limits = Limits::default();
    loop {
        let mut request = Message::<RequestHead>::default();
        let start = reactor.wall_micros();
        let mut served = Served::new(&stream, &reactor, &limits, false);
        let head = read_head(&reactor, &stream, &mut served, &mut request).await;
        let mut wire = Downstream::H1(served);
        let answered = match head {
            Ok(()) => {
                let body = read_body(&reactor, &mut wire, &request.head).await;
                let bytes = request.received.as_slice();
                let (path, query) = (request.head.path(bytes), request.head.query(bytes).unwrap_or_default());
                let call = Call { method: request.head.method, path, query, body: body.as_deref() };
                refusal(&request.head, bytes).unwrap_or_else(|| answer(&state, &call))
            }
            Err(Broken::Violation(violation)) => Answer::text(violation.status, "bad request\n"),
            Err(_) => return,
        };
        send(&mut wire, &request.head, &answered);
        if let Some(log) = &*log {
            let record = Record {
                times: Times { start_wall_micros: start, ..Times::default() },
                request: request.is_whole.then_some((&request.head, HeadView::new(request.received.as_slice()))),
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
        if wire.close(true) != Disposition::KeepAlive {
            return;
        }
    }
}

/// Read a head.
///
/// # Errors
/// It breaks a rule, or the connection is over.
async fn read_head(
    reactor: &Rc<Reactor>,
    stream: &ByteStream,
    served: &mut Served<'_>,
    request: &mut Message<RequestHead>,
) -> Result<(), Broken> {
    let timer = Timer::new(reactor);
    timer.arm_in(PATIENCE);
    let first = poll_fn(|_| match stream.poll_recv() {
        Poll::Ready(received) => Poll::Ready(received.ok().flatten()),
        Poll::Pending if timer.fired() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    request.received.append(first.await.ok_or(Broken::Closed)?, reactor);
    poll_fn(|_| match served.poll_request(request) {
        Poll::Pending if timer.fired() => Poll::Ready(Err(Broken::Closed)),
        polled => polled,
    })
    .await
}

/// The largest body that is read; no question is longer.
const BODY_MAX: u64 = 64 * 1024;

/// The request's body; `None`: it is too long, or does not come, and the connection cannot go on.
async fn read_body(reactor: &Rc<Reactor>, wire: &mut Downstream<'_>, head: &RequestHead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if head.length.is_empty() {
        return Some(body);
    }
    if !matches!(head.length, Length::Known(length) if length <= BODY_MAX) {
        return None;
    }
    let timer = Timer::new(reactor);
    timer.arm_in(Duration::from_secs(1));
    let mut trailers = Trailers::default();
    poll_fn(|_| {
        loop {
            match wire.poll_piece(&mut trailers) {
                Poll::Ready(Ok(Piece::Data(buf))) => body.extend_from_slice(&buf),
                Poll::Ready(Ok(Piece::End)) => return Poll::Ready(Some(())),
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending if timer.fired() => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
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

fn send(wire: &mut Downstream<'_>, request: &RequestHead, answer: &Answer) {
    let mut response = Message::<ResponseHead>::default();
    let length = answer.body.len() as u64;
    response.head.status = answer.status;
    response.head.reason = response.edits.store(|out| out.extend_from_slice(reason(answer.status).as_bytes()));
    response.head.content_length = Some(length);
    response.head.length = if request.method == Method::Head { Length::None } else { Length::Known(length) };
    let mut head = response.edit();
    head.add(b"content-type", answer.content_type.as_bytes());
    head.add(b"cache-control", b"no-cache, max-age=0");
    head.add(b"x-content-type-options", b"nosniff");
    head.add(b"server", b"ringway");
    if answer.status == 405 {
        head.add(b"allow", answer.allow.as_bytes());
    }
    // A request that did not come whole leaves the connection of no further use.
    let closes = !wire.is_done();
    wire.send_head(request, &response, closes);
    if request.method != Method::Head {
        wire.put_bytes(answer.body.as_bytes());
    }
    wire.end(&response.trailers);
    wire.flush();
}
