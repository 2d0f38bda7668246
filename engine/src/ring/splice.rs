//! Moving a plain body from one socket to the other inside the kernel: splice(2) through a pipe.
//!
//! IORING_OP_SPLICE always runs on a worker thread, so the plain call is made once a poll entry says that it will not
//! have to wait.
//!
//! The pipe's memory is the kernel's pages of the socket buffers, passed on by reference: nothing is copied here.

use super::batch::Batch;
use super::socket::Socket;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A pipe between two sockets. Pipes are kept for reuse, and small to move.
pub struct Splice(Box<Pipe>);

struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    /// Bytes in the pipe.
    held: usize,
    /// What is waited for, while the pipe is in use.
    batch: Batch,
}

/// How far one call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    Bytes(usize),
    WouldBlock,
    /// The source's FIN.
    Eof,
}

/// Asked of the kernel for each pipe; it gives less where the user's quota is used up.
const PIPE_BYTES: i32 = 512 * 1024;

impl Splice {
    /// # Errors
    /// EMFILE, ENFILE: copy instead.
    pub fn new() -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for the two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above has just made these descriptors.
        let (reader, writer) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // SAFETY: no pointers are passed. A smaller pipe works as well.
        unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
        Ok(Self(Box::new(Pipe { reader, writer, held: 0, batch: Batch::new() })))
    }

    /// Bytes that were taken from the source and not yet given to the target.
    pub fn held(&self) -> usize {
        self.0.held
    }

    /// Whether to wait for more before the next pull, of which `rest` bytes are wanted; the current task is woken in time.
    pub fn waits(&mut self, from: &Socket, rest: u64) -> bool {
        self.0.batch.waits(from, rest)
    }

    /// Move at most `max` bytes from the socket into the pipe. The socket must be in non-blocking mode and its receive
    /// stopped; `stop` must come in the end.
    ///
    /// # Errors
    /// What the socket reports.
    pub fn pull(&mut self, from: &Socket, max: usize) -> io::Result<Moved> {
        let moved = splice(from.raw_fd(), self.0.writer.as_raw_fd(), max)?;
        match moved {
            Moved::Bytes(n) => {
                self.0.held += n;
                self.0.batch.took(n as u64, max as u64);
            }
            Moved::WouldBlock => self.0.batch.took(0, max as u64),
            Moved::Eof => {}
        }
        Ok(moved)
    }

    /// Nothing more is pulled from this socket.
    pub fn stop(&mut self, from: &Socket) {
        self.0.batch.stop(from);
    }

    /// Move what the pipe holds into the socket, which must be in non-blocking mode with nothing else to send.
    ///
    /// # Errors
    /// What the socket reports.
    pub fn push(&mut self, to: &Socket) -> io::Result<Moved> {
        let moved = splice(self.0.reader.as_raw_fd(), to.raw_fd(), self.0.held)?;
        if let Moved::Bytes(n) = moved {
            self.0.held -= n;
        }
        Ok(moved)
    }
}

fn splice(from: RawFd, to: RawFd, max: usize) -> io::Result<Moved> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    let null = std::ptr::null_mut;
    // SAFETY: both offsets are null, as pipes and sockets require; no other pointers are passed.
    match unsafe { libc::splice(from, null(), to, null(), max, flags) } {
        0 => Ok(Moved::Eof),
        n if n > 0 => Ok(Moved::Bytes(n as usize)),
        _ => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(Moved::WouldBlock),
            error => Err(error),
        },
    }
}

impl Socket {
    /// Switch the descriptor's O_NONBLOCK, which splice needs and the ring's operations must not see.
    pub fn set_nonblocking(&self, on: bool) {
        // SAFETY: no pointers are passed. All other status flags of a socket are zero.
        unsafe { libc::fcntl(self.raw_fd(), libc::F_SETFL, if on { libc::O_NONBLOCK } else { 0 }) };
    }
}
