//! An HTTP/1 client and server side of a connection that show what is on the wire. Simple on purpose, and without a line
//! of the engine's codec, so that an error cannot hide on both sides.

use super::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A request or a response as it was received.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The first line.
    pub start: String,
    pub fields: Vec<(String, String)>,
    /// Without the chunks' framing.
    pub body: Vec<u8>,
    /// Lines behind the last chunk.
    pub trailers: Vec<String>,
    /// The body ended as its framing says. A body until the end of the connection is always complete.
    pub complete: bool,
}

impl Message {
    pub fn status(&self) -> u16 {
        let status = self.start.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("not a status line: {:?}", self.start))
    }

    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// Values of the lines with this name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of the only line with this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands {} times in {:?}", all.len(), self.fields);
        all.first().copied()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).iter().any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    }

    /// Whether the sender says that it will close the connection.
    pub fn says_close(&self) -> bool {
        self.has_token("connection", "close")
    }
}

/// One side of an HTTP/1 connection.
#[derive(Debug)]
pub struct Connection<S> {
    pub stream: S,
    buffer: Vec<u8>,
    /// The line end behind the last chunk is still to come: as a rule it comes with the next one.
    in_chunk: bool,
}

pub type Client = Connection<TcpStream>;

impl Connection<TcpStream> {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap_or_else(|e| panic!("{address}: {e}"));
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        stream.set_write_timeout(Some(PATIENCE)).expect("SO_SNDTIMEO");
        Self::new(stream)
    }

    /// Close with RST.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }

    /// Say that nothing more will be sent.
    pub fn half_close(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
    }
}

impl Connection<UnixStream> {
    pub fn open_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        Self::new(stream)
    }
}

#[derive(Clone, Copy)]
enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

impl<S: Read + Write> Connection<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), in_chunk: false }
    }

    /// Send `GET target` and read the response.
    pub fn get(&mut self, target: &str) -> Message {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n").as_bytes());
        self.response()
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the peer takes bytes");
    }

    /// Send as far as the peer takes it; a peer that refuses a message may close before it has read all of it.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Read more; `false` at the end of the connection, clean or not.
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(n) => {
                    self.buffer.extend_from_slice(&chunk[..n]);
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return false;
                }
                Err(error) => panic!("read: {error}; so far {:?}", String::from_utf8_lossy(&self.buffer)),
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.buffer[seen..].windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..seen + at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..line.len() - 2]).into_owned());
            }
            seen = self.buffer.len().saturating_sub(1);
            if !self.fill() {
                return None;
            }
        }
    }

    /// The next head. `None`: the connection ended before it or within it.
    pub fn head(&mut self) -> Option<Message> {
        let mut message = Message { start: self.line()?, ..Message::default() };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(message);
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a field: {line:?}"));
            message.fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// The next request with its body, on the side of a server.
    pub fn request(&mut self) -> Option<Message> {
        let mut message = self.head()?;
        let framing = if message.has_token("transfer-encoding", "chunked") {
            Framing::Chunked
        } else {
            message.field("content-length").map_or(Framing::None, |n| Framing::Length(n.parse().expect("a length")))
        };
        self.body(&mut message, framing);
        Some(message)
    }

    /// The next response to anything but HEAD; it must come.
    pub fn response(&mut self) -> Message {
        self.try_response("GET").expect("a response")
    }

    /// The next response, interim ones included, to a request with this method, as far as it comes. `None`: the
    /// connection ended without one.
    pub fn try_response(&mut self, method: &str) -> Option<Message> {
        let mut message = self.head()?;
        let framing = if method == "HEAD" || matches!(message.status(), 100..200 | 204 | 304) {
            Framing::None
        } else if message.has_token("transfer-encoding", "chunked") {
            Framing::Chunked
        } else {
            let length = message.field("content-length");
            length.map_or(Framing::UntilClose, |n| Framing::Length(n.parse().expect("a length")))
        };
        self.body(&mut message, framing);
        Some(message)
    }

    fn body(&mut self, message: &mut Message, framing: Framing) {
        message.complete = match framing {
            Framing::None => true,
            Framing::Length(length) => self.take(length, &mut message.body),
            Framing::Chunked => self.chunks(message).is_some(),
            Framing::UntilClose => {
                while self.fill() {}
                message.body = std::mem::take(&mut self.buffer);
                true
            }
        };
    }

    /// Move `length` bytes; `false` when there are fewer.
    fn take(&mut self, length: usize, to: &mut Vec<u8>) -> bool {
        let end = to.len() + length;
        loop {
            let n = self.buffer.len().min(end - to.len());
            to.extend(self.buffer.drain(..n));
            if to.len() == end {
                return true;
            }
            if !self.fill() {
                return false;
            }
        }
    }

    fn chunks(&mut self, message: &mut Message) -> Option<()> {
        while self.chunk(&mut message.body)? {}
        message.trailers = self.trailers()?;
        Some(())
    }

    /// The next chunk of a body; `false`: it was the last one, and trailers follow. `None`: the connection ended.
    pub fn chunk(&mut self, to: &mut Vec<u8>) -> Option<bool> {
        if std::mem::take(&mut self.in_chunk) {
            assert_eq!(self.line()?, "", "what follows a chunk");
        }
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("not a chunk size: {line:?}"));
        if size == 0 {
            return Some(false);
        }
        self.in_chunk = true;
        self.take(size, to).then_some(true)
    }

    /// The trailers behind the last chunk.
    pub fn trailers(&mut self) -> Option<Vec<String>> {
        let mut trailers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(trailers);
            }
            trailers.push(line);
        }
    }

    /// What was received behind the last message.
    pub fn take_buffered(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// At least one more byte, without reading beyond what came with it; `false`: the connection ended.
    pub fn some(&mut self) -> bool {
        !self.buffer.is_empty() || self.fill()
    }

    /// The peer closes the connection and sends nothing before that.
    pub fn expect_end(&mut self) {
        let ended = !self.fill();
        assert!(ended && self.buffer.is_empty(), "not the end: {:?}", String::from_utf8_lossy(&self.buffer));
    }
}
