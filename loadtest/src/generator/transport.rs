//! What a connection's bytes go through: the socket itself, or TLS.
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;

use rustls::{ClientConnection, HandshakeKind};

/// What is received at a time.
pub const BUFFER: usize = 128 * 1024;
/// What is received through TLS at a time: less than [`BUFFER`] by more than a record.
pub const SEALED: usize = 64 * 1024;

pub enum Transport {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

pub struct Tls {
    stream: TcpStream,
    session: ClientConnection,
    is_counted: bool,
    has_ended: bool,
}

/// What reading gave.
pub enum Received {
    Bytes(usize),
    Nothing,
    End,
}

impl Transport {
    pub fn new(stream: TcpStream, session: Option<ClientConnection>) -> Transport {
        match session {
            None => Transport::Plain(stream),
            Some(session) => Transport::Tls(Box::new(Tls { stream, session, is_counted: false, has_ended: false })),
        }
    }

    pub fn stream(&self) -> &TcpStream {
        match self {
            Transport::Plain(stream) => stream,
            Transport::Tls(tls) => &tls.stream,
        }
    }

    /// Whether TLS has something to send that was not asked for.
    pub fn has_unsent(&self) -> bool {
        matches!(self, Transport::Tls(tls) if tls.session.wants_write())
    }

    /// The kind of the handshake, once, when it is over.
    pub fn take_handshake(&mut self) -> Option<HandshakeKind> {
        match self {
            Transport::Tls(tls) if !tls.is_counted && !tls.session.is_handshaking() => {
                tls.is_counted = true;
                tls.session.handshake_kind()
            }
            _ => None,
        }
    }

    /// Hands over as much as can be taken. With nothing given, it only goes on with what TLS has to send.
    pub fn write(&mut self, head: &[u8], content: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(stream) if content.is_empty() => stream.write(head),
            Transport::Plain(stream) => stream.write_vectored(&[IoSlice::new(head), IoSlice::new(content)]),
            Transport::Tls(tls) => {
                let slices = [IoSlice::new(head), IoSlice::new(content)];
                let mut taken = tls.session.writer().write_vectored(&slices)?;
                tls.send()?;
                if taken == 0 && !(head.is_empty() && content.is_empty()) {
                    taken = tls.session.writer().write_vectored(&slices)?;
                    tls.send()?;
                    if taken == 0 {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                }
                Ok(taken)
            }
        }
    }

    /// Receives into `buffer`, which is of [`BUFFER`]. Through TLS it takes what is received at once, as far as `sealed`
    /// holds it, which is of [`SEALED`].
    pub fn read(&mut self, buffer: &mut [u8], sealed: &mut [u8]) -> io::Result<Received> {
        let read = match self {
            Transport::Plain(stream) => stream.read(buffer),
            Transport::Tls(tls) => return tls.read(buffer, sealed),
        };
        match read {
            Ok(0) => Ok(Received::End),
            Ok(count) => Ok(Received::Bytes(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) => Err(error),
        }
    }
}

impl Tls {
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], sealed: &mut [u8]) -> io::Result<Received> {
        if self.has_ended {
            return Ok(Received::End);
        }
        let count = match self.stream.read(sealed) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
            Err(error) => return Err(error),
        };
        let mut rest = &sealed[..count];
        let mut filled = 0;
        // An empty rest is read once, for that is how a session learns of the end.
        loop {
            self.session.read_tls(&mut rest)?;
            self.session.process_new_packets().map_err(io::Error::other)?;
            loop {
                match self.session.reader().read(&mut buffer[filled..]) {
                    Ok(0) => {
                        self.has_ended = true;
                        break;
                    }
                    Ok(plain) => filled += plain,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A socket that ends without a word: HTTP says whether the answer is whole.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        self.has_ended = true;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            if rest.is_empty() || self.has_ended {
                break;
            }
        }
        self.send()?;
        Ok(if filled > 0 {
            Received::Bytes(filled)
        } else if self.has_ended {
            Received::End
        } else {
            Received::Nothing
        })
    }
}
