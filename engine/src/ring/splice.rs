//! Moving a plain body from one socket to the other inside the kernel: splice(2) through a pipe.
//!
//! IORING_OP_SPLICE always runs on a worker thread, so the plain call is made once a poll entry says that it will not
//! have to wait.
//!
//! The pipe's memory is the kernel's pages of the socket buffers, passed on by reference: nothing is copied here.

use super::socket::Socket;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A pipe between two sockets.
pub struct Splice {
    reader: OwnedFd,
    writer: OwnedFd,
    /// Bytes in the pipe.
    held: usize,
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
        Ok(Self { reader, writer, held: 0 })
    }

    /// Bytes that were taken from the source and not yet given to the target.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Move at most `max` bytes from the socket into the pipe. The socket must be in non-blocking mode and its receive
    /// stopped.
    ///
    /// # Errors
    /// What the socket reports.
    pub fn pull(&mut self, from: &Socket, max: usize) -> io::Result<Moved> {
        let moved = splice(from.raw_fd(), self.writer.as_raw_fd(), max)?;
        if let Moved::Bytes(n) = moved {
            self.held += n;
        }
        Ok(moved)
    }

    /// Move what the pipe holds into the socket, which must be in non-blocking mode with nothing else to send.
    ///
    /// # Errors
    /// What the socket reports.
    pub fn push(&mut self, to: &Socket) -> io::Result<Moved> {
        let moved = splice(self.reader.as_raw_fd(), to.raw_fd(), self.held)?;
        if let Moved::Bytes(n) = moved {
            self.held -= n;
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
