//! HTTP/1 for the admin endpoint: small requests and whole responses, with the same codec and ring as everything else.

use super::endpoints::answer;
use super::guests::{Guest, Guests, Wait, keep_reserve};
use super::message::{Answer, Call};
use super::state::State;
use crate::codec::coding::{Encoder, Goal, Settings};
use crate::hcm::access_log::{CompiledLog, ShardLog, Writer};
use crate::http::coding::{Accepted, Choice, Coding};
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

/// The time for a request's head, between requests, and for a client to take more of its response.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a response that are made and not sent.
const UNSENT_MAX: usize = 32 * 1024;
/// The same in the kernel.
const SEND_BUFFER: usize = 64 * 1024;
/// After an accept that found no descriptor; and after a connection was closed for it, when it is free soon.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const CLOSE_TIME: Duration = Duration::from_millis(2);
/// Between two looks at the backlog while no descriptor is left.
const BACKLOG_PAUSE: Duration = Duration::from_millis(10);

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

pub(super) fn spawn(reactor: &Rc<Reactor>, socket: OwnedFd, guests: Rc<Guests>, state: Arc<State>, log: Option<Log>) {
    let acceptor = Acceptor::new(reactor, socket);
    let log = Rc::new(log);
    let on = reactor.clone();
    reactor.spawn(keep_reserve(reactor.clone(), guests.clone()));
    reactor.spawn(async move {
        loop {
            let fd = match poll_fn(|_| acceptor.poll_accept()).await {
                Ok(fd) => fd,
                // So it is without a descriptor, whether a connection waits or not.
                Err(_) if !sys::has_backlog(acceptor.raw_fd()) => {
                    on.sleep(BACKLOG_PAUSE).await;
                    continue;
                }
                Err(error) => match guests.accept_from_reserve(&on) {
                    Some(fd) => fd,
                    None => {
                        tracing::warn!(target: "ringway::admin", %error, "cannot accept, trying again soon");
                        let is_freed = guests.close_one(&on);
                        on.sleep(if is_freed { CLOSE_TIME } else { ACCEPT_PAUSE }).await;
                        continue;
                    }
                },
            };
            while guests.are_full() {
                // First the tasks whose requests have just come have their turn.
                on.yield_now().await;
                if guests.are_full() {
                    guests.close_one(&on);
                }
            }
            let remote = sys::peer_address(fd.as_raw_fd());
            sys::limit_send_buffer(fd.as_raw_fd(), SEND_BUFFER);
            let stream = ByteStream::Socket(Socket::new(&on, fd));
            let connection = Connection { reactor: on.clone(), stream, guests: guests.clone(), remote };
            on.spawn(serve(connection, state.clone(), log.clone()));
            // The task registers itself.
            on.yield_now().await;
        }
    });
}

/// One connection.
struct Connection {
    reactor: Rc<Reactor>,
    stream: ByteStream,
    guests: Rc<Guests>,
    remote: Option<SocketAddr>,
}

async fn serve(connection: Connection, state: Arc<State>, log: Rc<Option<Log>>) {
    let Connection { reactor, stream, guests, remote } = &connection;
    let guest = guests.register(reactor);
    let limits = Limits::default();
    loop {
        let mut request = Message::<RequestHead>::default();
        let start = reactor.wall_micros();
        let mut served = Served::new(stream, reactor, &limits, false);
        let head = read_head(reactor, stream, &mut served, &mut request).await;
        let mut wire = Downstream::H1(served);
        let mut answered = match head {
            Ok(()) => {
                let body = read_body(reactor, &mut wire, &request.head).await;
                guest.waits(Wait::Nothing, reactor.now());
                let bytes = request.received.as_slice();
                let (path, query) = (request.head.path(bytes), request.head.query(bytes).unwrap_or_default());
                let call = Call { method: request.head.method, path, query, body: body.as_deref() };
                refusal(&request.head, bytes, &state.allowed_hosts()).unwrap_or_else(|| answer(&state, &call))
            }
            Err(Broken::Violation(violation)) => Answer::text(violation.status, "bad request\n"),
            Err(_) => return,
        };
        let sent = send(&connection, &guest, &state, &mut wire, &request, &mut answered).await;
        if let Some(log) = &*log {
            let record = Record {
                times: Times { start_wall_micros: start, ..Times::default() },
                request: request.is_whole.then_some((&request.head, HeadView::new(request.received.as_slice()))),
                response_code: answered.status,
                sent: sent.unwrap_or_else(|sent| sent),
                downstream_remote_address: *remote,
                ..Record::default()
            };
            log.log.append(&log.compiled, &record);
            log.log.flush();
        }
        if let Some(order) = answered.then {
            state.order(order);
        }
        if sent.is_err() || wire.close(true) != Disposition::KeepAlive {
            return;
        }
        guest.waits(Wait::Request, reactor.now());
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
fn refusal(head: &RequestHead, bytes: &[u8], allowed_hosts: &[String]) -> Option<Answer> {
    let authority = std::str::from_utf8(head.authority.of(bytes)).unwrap_or_default();
    let host = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let host = host.map_or(authority, |(host, _)| host).trim_start_matches('[').trim_end_matches(']');
    let known = host.is_empty() || host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok();
    if !known && !allowed_hosts.iter().any(|allowed| is_host(allowed, &host.to_ascii_lowercase())) {
        let told = "the admin endpoint answers only to an IP address, localhost and admin.allowed_hosts as host\n";
        return Some(Answer::text(403, told));
    }
    let own = [b"http://", authority.as_bytes()].concat();
    let is_foreign = head.fields.value(FieldId::Origin, bytes).is_some_and(|origin| origin != own);
    // Browsers set it, and no script can (Fetch Metadata).
    let site = head.fields.find(b"sec-fetch-site", bytes).map(|field| field.value.of(bytes));
    let is_cross_site = site.is_some_and(|site| site != b"same-origin" && site != b"none");
    (head.method == Method::Post && (is_foreign || is_cross_site))
        .then(|| Answer::text(403, "the admin endpoint takes no orders from other sites\n"))
}

/// Whether the name is `allowed`, which has the form of a virtual host's domain.
fn is_host(allowed: &str, name: &str) -> bool {
    match (allowed.strip_prefix('*'), allowed.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(suffix), _) => name.len() > suffix.len() && name.ends_with(suffix),
        (None, Some(prefix)) => name.len() > prefix.len() && name.starts_with(prefix),
        (None, None) => name == allowed,
    }
}

/// Sends the answer as the client takes it, and returns how long its body was.
///
/// # Errors
/// The client does not take it. The number of bytes that were made.
async fn send(
    connection: &Connection,
    guest: &Guest,
    state: &State,
    wire: &mut Downstream<'_>,
    request: &Message<RequestHead>,
    answer: &mut Answer,
) -> Result<u64, u64> {
    let mut response = Message::<ResponseHead>::default();
    let mut packed = Packed::of(request, answer);
    let length = if packed.is_some() { Length::Unknown } else { answer.body.length() };
    let request = &request.head;
    response.head.status = answer.status;
    response.head.reason = response.edits.store(|out| out.extend_from_slice(reason(answer.status).as_bytes()));
    let known = if let Length::Known(length) = length { Some(length) } else { None };
    response.head.content_length = known;
    response.head.length = if request.method == Method::Head { Length::None } else { length };
    let mut head = response.edit();
    head.add(b"content-type", answer.content_type.as_bytes());
    head.add(b"cache-control", b"no-cache, max-age=0");
    head.add(b"x-content-type-options", b"nosniff");
    head.add(b"server", b"ringway");
    head.add(b"vary", b"accept-encoding");
    if packed.is_some() {
        head.add(b"content-encoding", b"gzip");
    }
    if answer.status == 405 {
        head.add(b"allow", answer.allow.as_bytes());
    }
    // A request that did not come whole leaves the connection of no further use.
    let closes = !wire.is_done();
    wire.send_head(request, &response, closes);
    let (mut sent, mut piece) = (0, String::new());
    let mut more = request.method != Method::Head;
    while more {
        more = answer.body.piece(&state.registry, &mut piece);
        let bytes = match &mut packed {
            Some(packed) => packed.add(piece.as_bytes(), !more).ok_or(sent)?,
            None => piece.as_bytes(),
        };
        if !bytes.is_empty() {
            wire.put_bytes(bytes);
            sent += bytes.len() as u64;
            wire.flush();
            flushed(connection, guest, UNSENT_MAX).await.map_err(|()| sent)?;
        }
        piece.clear();
        if more {
            // Others may have a shorter question.
            connection.reactor.yield_now().await;
        }
    }
    wire.end(&response.trailers);
    wire.flush();
    flushed(connection, guest, 0).await.map_err(|()| sent)?;
    Ok(sent)
}

/// Bytes below which a body is not compressed.
const PACK_MIN: u64 = 1024;

/// A body on its way through gzip, for those that ask for that: statistics become a tenth.
struct Packed {
    encoder: Encoder,
    out: Vec<u8>,
}

impl Packed {
    fn of(request: &Message<RequestHead>, answer: &Answer) -> Option<Self> {
        let accepted = Accepted::of_request(&request.head.fields, request.view());
        let is_asked = matches!(accepted.choose([Coding::Gzip].into_iter()), Choice::Coding { .. });
        let is_short = matches!(answer.body.length(), Length::Known(length) if length < PACK_MIN);
        let settings = Settings::Gzip { level: 1, window_bits: 14 };
        (is_asked && !is_short).then(|| Self { encoder: Encoder::new(settings), out: Vec::new() })
    }

    /// What becomes of a further piece, or of the last one. `None`: the library failed.
    fn add(&mut self, piece: &[u8], is_last: bool) -> Option<&[u8]> {
        self.out.clear();
        let (mut rest, mut room) = (piece, [0; 4096]);
        let mut goal = Goal::Take;
        loop {
            let step = self.encoder.step(rest, goal, &mut room).ok()?;
            self.out.extend_from_slice(&room[..step.produced]);
            rest = &rest[step.consumed..];
            match (step.is_done, goal) {
                (true, Goal::Take) if is_last => goal = Goal::End,
                (true, _) => return Some(&self.out),
                (false, _) => {}
            }
        }
    }
}

/// Waits until at most `limit` bytes are unsent, as long as the client takes some now and then.
///
/// # Errors
/// It does not, or it is gone.
async fn flushed(connection: &Connection, guest: &Guest, limit: usize) -> Result<(), ()> {
    let Connection { reactor, stream, .. } = connection;
    let (timer, mut unsent) = (Timer::new(reactor), usize::MAX);
    let flushed = poll_fn(|_| match stream.poll_flushed(limit) {
        Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|_| ())),
        Poll::Pending if stream.unsent() < unsent => {
            unsent = stream.unsent();
            guest.waits(Wait::Reader, reactor.now());
            timer.arm_in(PATIENCE);
            Poll::Pending
        }
        Poll::Pending if timer.fired() => Poll::Ready(Err(())),
        Poll::Pending => Poll::Pending,
    });
    flushed.await?;
    guest.waits(Wait::Nothing, reactor.now());
    Ok(())
}
