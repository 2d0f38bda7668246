//! Connections in addition to the measured ones: many idle ones, or clients that read slowly.
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use super::connection::{Connection, Link};
use super::spec::{Prepared, Wire};
use super::transport::{BUFFER, Received, SEALED};
use crate::http::{Event, ResponseReader};
use crate::tls;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A client that makes one exchange at a time and waits for it.
#[derive(Clone, Debug)]
pub struct Caller {
    pub request: Prepared,
    pub wire: Wire,
    pub tls: Option<tls::Client>,
}

impl Caller {
    /// Opens a connection and makes a checked exchange on it. Errors say what was wrong with the answer.
    pub fn open(&self, target: SocketAddr) -> io::Result<Connection> {
        let mut connection = Connection::to(target, self.wire, self.tls.clone());
        connection.connect()?;
        if connection.link == Link::Connecting {
            wait(&connection, PollFlags::OUT)?;
            if let Some(error) = connection.connect_error() {
                return Err(error);
            }
            connection.link = Link::Open;
        }
        self.exchange(&mut connection)?;
        Ok(connection)
    }

    fn exchange(&self, connection: &mut Connection) -> io::Result<()> {
        let requests = std::slice::from_ref(&self.request);
        let (mut buffer, mut sealed) = (vec![0; BUFFER], vec![0; SEALED]);
        connection.begin(requests, 0, 0);
        loop {
            let (is_sent, _) = connection.flush(requests)?;
            wait(connection, if is_sent { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT })?;
            let count = match connection.receive(&mut buffer, &mut sealed)? {
                Received::Bytes(count) => count,
                Received::Nothing => continue,
                Received::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            };
            let (mut input, mut status, mut answer) = (&buffer[..count], None, None);
            // What is behind the answer is read too: a connection that stays must not owe anything.
            while let Some(next) = connection
                .next_answer(&mut input, requests, |got| status = Some(got), |_| {})
                .map_err(io::Error::other)?
            {
                answer = Some(next.verdict);
            }
            match answer {
                None => {}
                Some(None) => return connection.flush(requests).map(drop),
                Some(Some(verdict)) => {
                    return Err(io::Error::other(format!("a wrong answer ({verdict:?}), status {status:?}")));
                }
            }
        }
    }
}

fn wait(connection: &Connection, events: PollFlags) -> io::Result<()> {
    let Some(stream) = connection.stream() else { return Err(io::ErrorKind::NotConnected.into()) };
    let limit = Timespec { tv_sec: TIMEOUT.as_secs() as i64, tv_nsec: 0 };
    match poll(&mut [PollFd::new(stream, events)], Some(&limit))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// Connections that have carried one exchange and are kept.
pub struct Idle {
    connections: Vec<Connection>,
}

impl Idle {
    /// Opens `count` connections, each with one checked exchange. Stops early, without an error, where the target
    /// takes no more: [`Idle::len`] says how many there are.
    pub fn open(target: SocketAddr, count: usize, caller: &Caller) -> Idle {
        let mut connections = Vec::with_capacity(count);
        while connections.len() < count {
            match caller.open(target) {
                Ok(connection) => connections.push(connection),
                Err(_) => break,
            }
        }
        Idle { connections }
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// How many the other side has not closed meanwhile.
    pub fn still_open(&mut self) -> usize {
        let (mut buffer, mut sealed) = (vec![0; BUFFER], vec![0; SEALED]);
        let is_open = |connection: &mut Connection| loop {
            match connection.receive(&mut buffer, &mut sealed) {
                Ok(Received::Nothing) => return true,
                // HTTP/2 has more to say than answers; HTTP/1 says goodbye.
                Ok(Received::Bytes(count)) => {
                    if connection.next_answer(&mut &buffer[..count], &[], |_| {}, |_| {}).is_err() {
                        return false;
                    }
                }
                Ok(Received::End) | Err(_) => return false,
            }
        };
        self.connections.iter_mut().map(is_open).filter(|open| *open).count()
    }
}

/// Clients that read a large answer at a fixed, low rate, over and over.
pub struct Slow {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<SlowOutcome>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SlowOutcome {
    pub clients: usize,
    /// Content bytes read.
    pub received: u64,
    pub completed: u64,
    /// Connections refused or lost, and wrong answers.
    pub failed: u64,
}

impl Slow {
    const TICK: Duration = Duration::from_millis(20);
    /// Small, so that the proxy and not the client's kernel holds what is not read.
    const RECEIVE_BUFFER: usize = 16 * 1024;

    /// `rate` is in bytes a second for each client.
    pub fn start(target: SocketAddr, clients: usize, rate: u64, request: Prepared) -> Slow {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut outcome = SlowOutcome { clients, ..SlowOutcome::default() };
            let mut readers: Vec<SlowReader> = (0..clients).map(|_| SlowReader::default()).collect();
            let allowance = (rate as f64 * Slow::TICK.as_secs_f64()).ceil() as usize;
            let mut next = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                for reader in &mut readers {
                    reader.tick(target, &request, allowance, &mut outcome);
                }
                next += Slow::TICK;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            outcome
        });
        Slow { stop, thread }
    }

    pub fn stop(self) -> SlowOutcome {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

#[derive(Default)]
struct SlowReader {
    stream: Option<TcpStream>,
    reader: ResponseReader,
    received: u64,
}

impl SlowReader {
    fn tick(&mut self, target: SocketAddr, request: &Prepared, allowance: usize, outcome: &mut SlowOutcome) {
        if self.stream.is_none() {
            match SlowReader::connect(target, request) {
                Ok(stream) => *self = SlowReader { stream: Some(stream), ..SlowReader::default() },
                Err(_) => outcome.failed += 1,
            }
            return;
        }
        if let Err(_broken) = self.read(request, allowance, outcome) {
            outcome.failed += 1;
            self.stream = None;
        }
    }

    fn connect(target: SocketAddr, request: &Prepared) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_recv_buffer_size(Slow::RECEIVE_BUFFER)?;
        socket.connect_timeout(&target.into(), TIMEOUT)?;
        let mut stream = TcpStream::from(socket);
        stream.write_all(&request.head)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    fn read(&mut self, request: &Prepared, allowance: usize, outcome: &mut SlowOutcome) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let mut buffer = vec![0; allowance];
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut input = &buffer[..count];
        loop {
            match self.reader.next(&mut input, false).map_err(io::Error::other)? {
                Event::Head(head) if !request.expect.status.allows(head.status) => {
                    return Err(io::Error::other("unexpected status"));
                }
                Event::Head(_) => {}
                Event::Data(data) => {
                    if request.expect.content.is_some_and(|(pattern, _)| !pattern.matches(self.received, data)) {
                        return Err(io::Error::other("content bytes other than the expected ones"));
                    }
                    self.received += data.len() as u64;
                    outcome.received += data.len() as u64;
                }
                Event::End => {
                    if request.expect.content.is_some_and(|(_, len)| len != self.received) {
                        return Err(io::Error::other("wrong content length"));
                    }
                    self.received = 0;
                    outcome.completed += 1;
                    stream.write_all(&request.head)?;
                }
                Event::More => return Ok(()),
            }
        }
    }
}
