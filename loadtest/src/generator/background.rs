//! Connections in addition to the measured ones: many idle ones, or clients that read slowly.
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use super::spec::Prepared;
use crate::http::{Event, ResponseReader};

const TIMEOUT: Duration = Duration::from_secs(10);

/// One exchange on a blocking connection, checked. Errors say what was wrong with the answer.
pub fn exchange(stream: &mut TcpStream, request: &Prepared) -> io::Result<()> {
    stream.write_all(&request.head)?;
    let mut reader = ResponseReader::new();
    let mut buffer = [0; 16 * 1024];
    let mut received = 0;
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut input = &buffer[..count];
        loop {
            match reader.next(&mut input, request.to_head).map_err(io::Error::other)? {
                Event::Head(head) if !request.expect.status.allows(head.status) => {
                    return Err(io::Error::other(format!("status {}", head.status)));
                }
                Event::Head(_) => {}
                Event::Data(data) => {
                    if request.expect.content.is_some_and(|(pattern, _)| !pattern.matches(received, data)) {
                        return Err(io::Error::other("content bytes other than the expected ones"));
                    }
                    received += data.len() as u64;
                }
                Event::End => {
                    return match request.expect.content {
                        Some((_, len)) if len != received => {
                            Err(io::Error::other(format!("{received} content bytes instead of {len}")))
                        }
                        _ => Ok(()),
                    };
                }
                Event::More => break,
            }
        }
    }
}

/// Opens a connection for [`exchange`], with a time limit on every call.
pub fn open(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Connections that have carried one exchange and are kept.
pub struct Idle {
    streams: Vec<TcpStream>,
}

impl Idle {
    /// Opens `count` connections, each with one checked exchange. Stops early, without an error, where the target
    /// takes no more: [`Idle::len`] says how many there are.
    pub fn open(target: SocketAddr, count: usize, request: &Prepared) -> Idle {
        let mut streams = Vec::with_capacity(count);
        while streams.len() < count {
            match open(target).and_then(|mut stream| exchange(&mut stream, request).map(|()| stream)) {
                Ok(stream) => streams.push(stream),
                Err(_) => break,
            }
        }
        Idle { streams }
    }

    pub fn len(&self) -> usize {
        self.streams.len()
    }

    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// How many the other side has not closed meanwhile.
    pub fn still_open(&self) -> usize {
        let open = |stream: &&TcpStream| {
            let mut byte = [0; 1];
            stream.set_nonblocking(true).is_ok()
                && matches!(stream.peek(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        };
        self.streams.iter().filter(open).count()
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
