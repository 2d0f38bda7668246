//! The bench for the conformance tests: a proxy on in-memory pipes, driven from outside, with every byte in view.

use ringway::net::{MemoryListener, PipeEnd};
use ringway::shard::MemoryShard;
use ringway_config::model::Address;
use std::task::Poll;
use std::time::Duration;

/// Nothing is added to messages, so that tests can compare whole heads.
const PLAIN: &str = r#"
use_remote_address = false
x_forwarded_for = false
x_forwarded_proto = false
x_request_id = false
x_envoy_upstream_service_time = false
server_header = "pass_through"
"#;

/// A date for origins to send, so that the proxy adds none.
pub const DATE: &str = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n";

/// Bytes that a pipe holds in each direction.
const CAPACITY: usize = 64 * 1024;

/// The proxy with one listener, whose requests all go to one origin.
pub struct Proxy {
    pub shard: MemoryShard,
    origin: MemoryListener,
}

impl Proxy {
    pub fn new() -> Self {
        Self::with("", "")
    }

    /// `http` and `cluster` are further lines for these tables of the configuration.
    pub fn with(http: &str, cluster: &str) -> Self {
        Self::with_all(http, cluster, "")
    }

    /// `route` are further keys of the route.
    pub fn with_route(route: &str) -> Self {
        Self::with_all("", "", route)
    }

    fn with_all(http: &str, cluster: &str, route: &str) -> Self {
        let config = format!(
            "[[listeners]]\naddress = \"127.0.0.1:1\"\n[listeners.http]\n{PLAIN}\
             routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\"{route} }} }},\n\
             {{ match = {{ regex = '\\*' }}, route = {{ cluster = \"app\" }} }}]\n{http}\n\
             [[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:2\"]\n{cluster}\n"
        );
        let config = ringway_config::load_str("test.toml", &config).unwrap_or_else(|problems| panic!("{problems}"));
        let shard = MemoryShard::new(config, 1);
        let address = Address::Ip("127.0.0.1:2".parse().expect("an address"));
        let origin = shard.network.listen(address, CAPACITY);
        Self { shard, origin }
    }

    pub fn client(&self) -> End {
        End::new(self.shard.connect(0, "192.0.2.1:40000".parse().expect("an address")))
    }

    /// Let all tasks do what there is to do, with hardly any time passing.
    pub fn settle(&self) {
        self.advance(Duration::from_millis(2));
    }

    /// Let time pass.
    pub fn advance(&self, time: Duration) {
        self.shard.advance(time);
    }

    /// A connection that the proxy made to the origin, if one waits.
    pub fn try_accept(&self) -> Option<End> {
        self.settle();
        match self.origin.poll_accept(&self.shard.reactor) {
            Poll::Ready(pipe) => {
                let mut end = End::new(pipe);
                // Nothing is left in the pipe: closed with unread bytes, it would be a reset.
                end.drain();
                Some(end)
            }
            Poll::Pending => None,
        }
    }

    pub fn accept(&self) -> End {
        self.try_accept().expect("the proxy connects to the origin")
    }

    /// What came at `end` since the last look.
    pub fn read(&self, end: &mut End) -> String {
        self.settle();
        end.take()
    }

    /// Client and origin leave, in this order, and everything must be as at the start.
    pub fn hang_up(&self, client: End, origin: End) {
        drop(client);
        self.settle();
        drop(origin);
        self.settle();
        assert_eq!((self.shard.connections(), self.pooled()), (0, 0), "connections are left");
    }

    pub fn stat(&self, name: &str) -> i64 {
        self.shard.registry.value(name).unwrap_or_else(|| panic!("no statistic {name}"))
    }

    /// Idle connections to the origin, by what the statistics say when no request is active.
    pub fn pooled(&self) -> i64 {
        assert_eq!(self.stat("cluster.app.upstream_rq_active"), 0);
        self.stat("cluster.app.upstream_cx_active")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shard.reactor.shut_down();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// The peer ended its side (FIN).
    Ended,
    /// The peer broke the connection (RST).
    Reset,
}

/// The test's end of a connection.
pub struct End {
    pipe: PipeEnd,
    unread: Vec<u8>,
    state: State,
}

impl End {
    fn new(pipe: PipeEnd) -> Self {
        Self { pipe, unread: Vec::new(), state: State::Open }
    }

    pub fn write(&self, bytes: impl AsRef<[u8]>) {
        self.pipe.write(bytes.as_ref());
    }

    /// End this side; the other stays open.
    pub fn half_close(&self) {
        self.pipe.shutdown_write();
    }

    pub fn reset(&self) {
        self.pipe.reset();
    }

    /// Bytes written here that not even the pipe has taken.
    pub fn unsent(&self) -> usize {
        self.pipe.unsent()
    }

    fn drain(&mut self) {
        while self.state == State::Open {
            match self.pipe.poll_recv() {
                Poll::Ready(Ok(Some(bytes))) => self.unread.extend_from_slice(&bytes),
                Poll::Ready(Ok(None)) => self.state = State::Ended,
                Poll::Ready(Err(_)) => self.state = State::Reset,
                Poll::Pending => return,
            }
        }
    }

    pub fn take(&mut self) -> String {
        self.drain();
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    pub fn state(&mut self) -> State {
        self.drain();
        self.state
    }
}

/// What the tests look at in a response that the proxy made itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub closes: bool,
    pub whole: bool,
    pub state: State,
}

impl Refusal {
    /// Read exactly one response with a Content-Length and nothing behind it.
    pub fn parse(text: &str, state: State) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let head = head.to_ascii_lowercase();
        let field = |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name)).map(str::trim);
        let status = head.strip_prefix("http/1.1 ").and_then(|line| line.get(..3)).and_then(|code| code.parse().ok());
        let length = field("content-length:").and_then(|length| length.parse::<usize>().ok());
        Self {
            status: status.unwrap_or(0),
            closes: field("connection:") == Some("close"),
            whole: length == Some(body.len()),
            state,
        }
    }

    pub fn closing(status: u16) -> Self {
        Self { status, closes: true, whole: true, state: State::Ended }
    }
}

/// Send `request` in pieces on a new connection and expect the proxy to refuse it with `status`, to close, and to tell
/// the origin nothing.
fn refused_in_pieces(proxy: &Proxy, name: &str, pieces: &[&[u8]], status: u16) {
    let mut client = proxy.client();
    for piece in pieces {
        client.write(piece);
        proxy.settle();
    }
    let answer = proxy.read(&mut client);
    let cut = pieces[0].len();
    let refusal = Refusal::parse(&answer, client.state());
    assert_eq!(refusal, Refusal::closing(status), "{name}, cut after {cut}: {answer:?}");
    assert!(proxy.try_accept().is_none(), "{name}, cut after {cut}: the origin must not hear of it");
    // A client that does not close is not waited for.
    proxy.advance(Duration::from_millis(1100));
    assert_eq!(proxy.shard.connections(), 0, "{name}, cut after {cut}: the connection must be gone");
}

/// Each row's request must be refused with its status and `connection: close`, the connection be closed and the origin
/// hear nothing: sent at once, and cut in two at every byte.
pub fn refused(rows: &[(&str, &[u8], u16)]) {
    let proxy = Proxy::new();
    for (name, request, status) in rows {
        refused_in_pieces(&proxy, name, &[request], *status);
        for cut in 1..request.len() {
            let (first, second) = request.split_at(cut);
            refused_in_pieces(&proxy, name, &[first, second], *status);
        }
    }
}

/// How to cut a message of `len` bytes: not at all, and then in two at every byte.
pub fn cuts(len: usize) -> impl Iterator<Item = usize> {
    (1..len).chain([len]).rev()
}

/// Send `message` from `end`, cut at `cut`.
pub fn send_cut(proxy: &Proxy, end: &End, message: &[u8], cut: usize) {
    let (first, second) = message.split_at(cut);
    end.write(first);
    proxy.settle();
    if !second.is_empty() {
        end.write(second);
        proxy.settle();
    }
}

/// The request must reach the origin as `expected`, however it is cut.
pub fn forwarded_as(http: &str, request: &str, expected: &str) {
    let proxy = Proxy::with(http, "");
    for cut in cuts(request.len()) {
        let client = proxy.client();
        send_cut(&proxy, &client, request.as_bytes(), cut);
        let mut origin = proxy.accept();
        let seen = proxy.read(&mut origin);
        // A chunked body is forwarded in the chunks in which it came, which depends on the cut.
        assert_eq!(canonical(&seen), canonical(expected), "cut after {cut}");
        proxy.hang_up(client, origin);
    }
}

/// The origin's response to a GET (or what `request` says) must reach the client as `expected`, however it is cut.
/// Returns the connections kept in the pool, which must not depend on the cut.
pub fn answered_as(http: &str, request: &str, response: &str, expected: &str) -> i64 {
    let mut kept = None;
    let proxy = Proxy::with(http, "");
    for cut in cuts(response.len()) {
        let mut client = proxy.client();
        client.write(request);
        let origin = proxy.accept();
        send_cut(&proxy, &origin, response.as_bytes(), cut);
        let seen = proxy.read(&mut client);
        assert_eq!(canonical(&seen), canonical(expected), "cut after {cut}");
        let pooled = proxy.pooled();
        assert_eq!(*kept.get_or_insert(pooled), pooled, "cut after {cut}: pooled connections");
        proxy.hang_up(client, origin);
    }
    kept.unwrap_or(0)
}

/// A message in the form in which the tests compare it: field names in lower case and fields sorted by name (lines of
/// one name in their order), chunks joined into one. Strict: a chunked body with anything but canonical chunks in it
/// makes the test fail.
pub fn canonical(message: &str) -> String {
    let Some((head, body)) = message.split_once("\r\n\r\n") else { return message.into() };
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default();
    let mut fields: Vec<(String, &str)> = lines
        .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no field line: {line:?} in {message:?}")))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    let is_chunked = fields.iter().any(|field| field.0 == "transfer-encoding");
    let mut text = format!("{start}\r\n");
    fields.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    text.push_str("\r\n");
    text.push_str(&if is_chunked { joined_chunks(body) } else { body.into() });
    text
}

fn joined_chunks(body: &str) -> String {
    let mut data = String::new();
    let mut rest = body;
    while let Some((size, after)) = rest.split_once("\r\n") {
        let len = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk size: {size:?} in {body:?}"));
        if len == 0 {
            break;
        }
        let Some(chunk) = after.get(..len) else { break };
        data.push_str(chunk);
        rest = &after[len..];
        rest = rest.strip_prefix("\r\n").unwrap_or(rest);
    }
    let size = if data.is_empty() { String::new() } else { format!("{:x}\r\n{data}\r\n", data.len()) };
    format!("{size}{rest}")
}
