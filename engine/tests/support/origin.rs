//! Origins in this process: threads that answer as a test wants, and remember what they were asked.

use super::http::{Connection, Message};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::JoinHandle;

/// A server; it stops accepting when dropped.
pub struct Origin {
    pub address: SocketAddr,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    requests: Mutex<Vec<Message>>,
    connections: AtomicUsize,
    stop: AtomicBool,
}

impl Origin {
    /// Answers every request on every connection with what `answer` makes of it.
    pub fn answering(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::recording(move |connection, request, _| {
            connection.send(&answer(request));
            true
        })
    }

    /// Answers each request with `answer` once the test lets it: that meets at the first barrier when the request has come, and at
    /// the second one when it may be answered.
    pub fn held(answer: Vec<u8>) -> (Self, Arc<Barrier>, Arc<Barrier>) {
        let (begun, gate) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (notes, waits) = (begun.clone(), gate.clone());
        let origin = Self::answering(move |_| {
            notes.wait();
            waits.wait();
            answer.clone()
        });
        (origin, begun, gate)
    }

    /// Reads requests and hands each, with the number of its connection, to `serve`, until that returns `false`.
    pub fn recording(
        serve: impl Fn(&mut Connection<TcpStream>, &Message, usize) -> bool + Send + Sync + 'static,
    ) -> Self {
        let state = Arc::new(State::default());
        let seen = state.clone();
        Self::start(state, move |mut connection, number| {
            while let Some(request) = connection.request() {
                seen.requests.lock().expect("no panic").push(request.clone());
                if !serve(&mut connection, &request, number) {
                    return;
                }
            }
        })
    }

    /// Hands over each connection with its number, from 0.
    pub fn raw(serve: impl Fn(Connection<TcpStream>, usize) + Send + Sync + 'static) -> Self {
        Self::start(Arc::default(), serve)
    }

    fn start(state: Arc<State>, serve: impl Fn(Connection<TcpStream>, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (shared, serve) = (state.clone(), Arc::new(serve));
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                stream.set_nodelay(true).expect("TCP_NODELAY");
                let number = shared.connections.fetch_add(1, Ordering::AcqRel);
                let serve = serve.clone();
                // The thread ends with its connection, at the latest when the proxy does.
                std::thread::spawn(move || serve(Connection::new(stream), number));
            }
        });
        Self { address, state, acceptor: Some(acceptor) }
    }

    /// What came so far, in order of arrival.
    pub fn requests(&self) -> Vec<Message> {
        self.state.requests.lock().expect("no panic").clone()
    }

    /// The last request.
    pub fn last(&self) -> Message {
        self.requests().pop().expect("a request came")
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Acquire)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Release);
        // Wakes the acceptor, which closes the socket.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// A response with `Content-Length`; `fields` are whole lines.
pub fn response(status: u16, fields: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut out = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n", body.len());
    for field in fields {
        out += &format!("{field}\r\n");
    }
    let mut out = (out + "\r\n").into_bytes();
    out.extend_from_slice(body);
    out
}
