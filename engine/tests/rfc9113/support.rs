//! The bench for tests of HTTP/2's bytes: a proxy on in-memory pipes, with raw frames from a client and from an origin.

use crate::balance::imbalances;
use crate::frames::{self, Fields, Frame, PREFACE, take};
use ringway::codec::h2::hpack::Decoder;
use ringway::net::{MemoryListener, PipeEnd};
use ringway::shard::MemoryShard;
use ringway_config::model::Address;
use std::task::Poll;
use std::time::Duration;

/// Bytes that a pipe to the origin holds in each direction.
const CAPACITY: usize = 64 * 1024;

/// The windows that the proxy gives, of each stream and of each connection.
pub const WINDOW: usize = 64 * 1024;

/// Streams that a client may have.
pub const STREAMS: u32 = 100;

/// How what the tests send comes in at the proxy: whole, or byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Whole,
    Bytes,
}

impl Cut {
    /// A size of a body: byte by byte, a shorter one does.
    pub fn size(self, whole: usize) -> usize {
        if self == Self::Whole { whole } else { whole.div_ceil(16) }
    }
}

pub struct Bench {
    cut: Cut,
    pub shard: MemoryShard,
    listener: MemoryListener,
}

impl Bench {
    /// The origin speaks HTTP/2.
    pub fn new(cut: Cut) -> Self {
        Self::with(cut, "", "", "")
    }

    /// Further lines for the listener's `http`, for the route, and for the cluster.
    pub fn with(cut: Cut, http: &str, route: &str, cluster: &str) -> Self {
        Self::of(cut, "http2", http, route, cluster)
    }

    pub fn of(cut: Cut, protocol: &str, http: &str, route: &str, cluster: &str) -> Self {
        let windows = "http2.initial_connection_window_size = \"64KiB\"";
        let config = format!(
            "[[listeners]]\naddress = \"127.0.0.1:1\"\n[listeners.http]\nx_request_id = false\n\
             http2.max_concurrent_streams = {STREAMS}\n{windows}\n{http}\n\
             [[listeners.http.routes]]\nmatch = {{ prefix = \"/direct\" }}\n\
             direct_response = {{ status = 200, body = \"direct\" }}\n\
             [[listeners.http.routes]]\nmatch = {{ prefix = \"/\" }}\n[listeners.http.routes.route]\n\
             cluster = \"app\"\n{route}\n\
             [[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:2\"]\nprotocol = \"{protocol}\"\n\
             {windows}\n{cluster}\n"
        );
        let config = ringway_config::load_str("test.toml", &config).unwrap_or_else(|problems| panic!("{problems}"));
        let shard = MemoryShard::new(config, 1);
        let address = Address::Ip("127.0.0.1:2".parse().expect("an address"));
        let listener = shard.network.listen(address, CAPACITY);
        Self { cut, shard, listener }
    }

    fn end(&self, pipe: PipeEnd) -> End {
        if self.cut == Cut::Bytes {
            pipe.set_write_limit(1);
        }
        End {
            pipe,
            unread: Vec::new(),
            answered: Vec::new(),
            frames: Vec::new(),
            is_over: false,
            hpack: Decoder::new(0),
            credits: [false; 2],
        }
    }

    /// A connection of a client that has said nothing.
    pub fn silent(&self) -> End {
        self.end(self.shard.connect(0, "192.0.2.1:40000".parse().expect("an address")))
    }

    /// A connection of a client that has begun.
    pub fn client(&self) -> End {
        self.client_with(&[])
    }

    /// The same, with these settings.
    pub fn client_with(&self, pairs: &[(u16, u32)]) -> End {
        let mut client = self.silent();
        client.write(&[PREFACE, &frames::settings(pairs), &frames::frame(4, frames::ACK, 0, b"")].concat());
        self.look(&mut client);
        assert!(matches!(client.frames[0], Frame::Settings(_)), "{:?}", client.frames);
        client
    }

    /// A connection that the proxy made to the origin, as it is.
    pub fn try_accept(&self) -> Option<End> {
        self.settle();
        match self.listener.poll_accept(&self.shard.reactor) {
            Poll::Ready(pipe) => Some(self.end(pipe)),
            Poll::Pending => None,
        }
    }

    /// All further ones.
    pub fn origins(&self) -> Vec<End> {
        std::iter::from_fn(|| self.try_accept()).collect()
    }

    /// The next one, with the preface read and this side's settings sent.
    #[track_caller]
    pub fn accept_with(&self, pairs: &[(u16, u32)]) -> End {
        let mut origin = self.try_accept().expect("the proxy connects to the origin");
        origin.begin(pairs);
        self.settle();
        self.look(&mut origin);
        origin
    }

    #[track_caller]
    pub fn accept(&self) -> End {
        self.accept_with(&[])
    }

    /// Let all tasks do what there is to do, with hardly any time passing.
    pub fn settle(&self) {
        self.advance(Duration::from_millis(2));
    }

    pub fn advance(&self, time: Duration) {
        self.shard.advance(time);
    }

    /// Write, and read what comes of it.
    pub fn say(&self, end: &mut End, bytes: &[u8]) {
        end.write(bytes);
        self.look(end);
    }

    /// Read what has come.
    pub fn look(&self, end: &mut End) {
        loop {
            self.settle();
            let before = end.frames.len();
            end.pump();
            if end.frames.len() == before {
                return;
            }
        }
    }

    pub fn stat(&self, name: &str) -> i64 {
        self.shard.registry.value(name).unwrap_or_else(|| panic!("no statistic {name}"))
    }

    pub fn http(&self, name: &str) -> i64 {
        self.stat(&format!("http.ingress_http.{name}"))
    }

    pub fn cluster(&self, name: &str) -> i64 {
        self.stat(&format!("cluster.app.{name}"))
    }

    /// A request that is answered here, which must go well.
    #[track_caller]
    pub fn works(&self, client: &mut End, id: u32) {
        self.say(client, &frames::get(id, "/direct"));
        assert_eq!((client.status(id), client.body(id), client.has_ended(id)), (200, b"direct".to_vec(), true));
    }

    /// All leave, clients first, and nothing of them may be left.
    #[track_caller]
    pub fn finish(self, clients: impl IntoIterator<Item = End>, origins: impl IntoIterator<Item = End>) {
        drop(Vec::from_iter(clients));
        self.advance(Duration::from_secs(2));
        self.settle();
        assert_eq!(self.shard.connections(), 0, "connections of clients are left");
        for gauge in ["downstream_cx_active", "downstream_cx_http2_active", "downstream_rq_active"] {
            assert_eq!(self.http(gauge), 0, "{gauge}");
        }
        for gauge in ["upstream_rq_active", "upstream_rq_pending_active"] {
            assert_eq!(self.cluster(gauge), 0, "{gauge}");
        }
        drop(Vec::from_iter(origins));
        self.settle();
        assert_eq!(self.cluster("upstream_cx_active"), 0);
        let found = imbalances(|statistic| self.cluster(statistic));
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(self.shard.reactor.facts().buffers_in_use, 0, "buffers are left");
        self.shard.reactor.shut_down();
    }
}

/// The test's end of a connection.
pub struct End {
    pipe: PipeEnd,
    unread: Vec<u8>,
    /// Exchanges that this end has answered, where a test keeps count.
    pub answered: Vec<u32>,
    /// All frames that came.
    pub frames: Vec<Frame>,
    /// The proxy has closed the connection.
    pub is_over: bool,
    hpack: Decoder,
    /// Whether what comes is credited at once: to the streams, and to the connection.
    pub credits: [bool; 2],
}

impl End {
    pub fn write(&self, bytes: &[u8]) {
        self.pipe.write(bytes);
    }

    /// Times that the proxy has sent something to this end.
    pub fn sends(&self) -> u64 {
        self.pipe.sends()
    }

    /// Bytes written here that the proxy has not taken.
    pub fn unsent(&self) -> usize {
        self.pipe.unsent()
    }

    fn receive(&mut self) {
        while !self.is_over
            && let Poll::Ready(received) = self.pipe.poll_recv()
        {
            match received {
                Ok(Some(bytes)) => self.unread.extend_from_slice(&bytes),
                Ok(None) | Err(_) => self.is_over = true,
            }
        }
    }

    fn parse(&mut self) {
        while let Some(frame) = take(&mut self.unread, &mut self.hpack) {
            if let Frame::Data { id, bytes, .. } = &frame
                && !bytes.is_empty()
            {
                for (_, id) in self.credits.iter().zip([*id, 0]).filter(|(on, _)| **on) {
                    self.pipe.write(&frames::credit(id, bytes.len() as u32));
                }
            }
            self.frames.push(frame);
        }
    }

    /// Read what comes as bytes of no interest.
    pub fn discard(&mut self) {
        self.receive();
        self.unread.clear();
    }

    /// What has come, as text.
    pub fn text(&mut self) -> String {
        self.receive();
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    /// Answer what the proxy says first with these settings.
    pub fn begin(&mut self, pairs: &[(u16, u32)]) {
        self.skip_preface();
        self.write(&[frames::settings(pairs), frames::frame(frames::SETTINGS, frames::ACK, 0, b"")].concat());
    }

    /// What the proxy says first was read.
    pub fn skip_preface(&mut self) {
        self.receive();
        assert!(self.unread.starts_with(PREFACE), "{:?}", self.unread);
        self.unread.drain(..PREFACE.len());
    }

    pub fn pump(&mut self) {
        self.receive();
        self.parse();
    }

    /// Heads of a stream, 1xx and trailers included.
    pub fn heads(&self, stream: u32) -> Vec<Fields> {
        let heads = self.frames.iter().filter_map(|frame| match frame {
            Frame::Headers { id, fields, .. } if *id == stream => Some(fields.clone()),
            _ => None,
        });
        heads.collect()
    }

    /// The value of a field in any of a stream's heads.
    pub fn field(&self, stream: u32, name: &str) -> Option<String> {
        let fields = self.heads(stream).into_iter().flatten();
        fields.filter(|field| field.0 == name).map(|field| field.1).next_back()
    }

    /// The last status; 0: none came.
    pub fn status(&self, stream: u32) -> u16 {
        self.field(stream, ":status").map_or(0, |status| status.parse().expect("a status"))
    }

    pub fn body(&self, stream: u32) -> Vec<u8> {
        let parts = self.frames.iter().filter_map(|frame| match frame {
            Frame::Data { id, bytes, .. } if *id == stream => Some(&bytes[..]),
            _ => None,
        });
        parts.collect::<Vec<_>>().concat()
    }

    /// The stream's message ended as it should: once, behind everything else.
    pub fn has_ended(&self, stream: u32) -> bool {
        let ends = self.frames.iter().filter_map(|frame| match frame {
            Frame::Data { id, ends, .. } | Frame::Headers { id, ends, .. } if *id == stream => Some(*ends),
            _ => None,
        });
        let ends: Vec<bool> = ends.collect();
        let has_ended = ends.last() == Some(&true);
        assert_eq!(ends.iter().filter(|ends| **ends).count(), usize::from(has_ended), "stream {stream}: {ends:?}");
        has_ended
    }

    /// Codes of the resets of a stream.
    pub fn resets(&self, stream: u32) -> Vec<u32> {
        let resets = self.frames.iter().filter_map(|frame| match frame {
            Frame::Reset { id, code } if *id == stream => Some(*code),
            _ => None,
        });
        resets.collect()
    }

    /// The last stream and the code of each GOAWAY.
    pub fn goaways(&self) -> Vec<(u32, u32)> {
        let all = self.frames.iter().filter_map(|frame| match frame {
            Frame::GoAway { last, code } => Some((*last, *code)),
            _ => None,
        });
        all.collect()
    }

    /// PINGs that came and are no answers.
    pub fn pings(&self) -> Vec<[u8; 8]> {
        let ping = |frame: &Frame| if let Frame::Ping(data) = frame { Some(*data) } else { None };
        self.frames.iter().filter_map(ping).collect()
    }

    /// Bytes that the proxy has given a stream, or with 0 the connection, in addition to the first window.
    pub fn credited(&self, stream: u32) -> u64 {
        let all = self.frames.iter().map(|frame| match frame {
            Frame::Credit { id, increment } if *id == stream => u64::from(*increment),
            _ => 0,
        });
        // The first window of the connection is one byte larger than that of the protocol.
        all.sum::<u64>() - u64::from(stream == 0)
    }

    /// Requests that came, in the order of their streams.
    pub fn requests(&self) -> Vec<u32> {
        let ids = self.frames.iter().filter_map(|frame| match frame {
            Frame::Headers { id, fields, .. } if fields.iter().any(|field| field.0 == ":method") => Some(*id),
            _ => None,
        });
        ids.collect()
    }

    /// The stream of the last request that came.
    #[track_caller]
    pub fn asked(&self) -> u32 {
        *self.requests().last().expect("a request came")
    }

    /// Say nothing more, and go on listening.
    pub fn half_close(&self) {
        self.pipe.shutdown_write();
    }

    /// Break the connection.
    pub fn reset_connection(&mut self) {
        self.pipe.reset();
        self.is_over = true;
    }
}

pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// Each test twice: with what its ends send in one piece, and byte by byte.
macro_rules! however_it_is_cut {
    ($($(#[$meta:meta])* fn $name:ident($cut:ident) $body:block)*) => {
        $(
            $(#[$meta])*
            #[test]
            fn $name() {
                for $cut in [$crate::support::Cut::Whole, $crate::support::Cut::Bytes] {
                    println!("{:?}", $cut);
                    $body
                }
            }
        )*
    };
}
pub(crate) use however_it_is_cut;
