//! Moving the rest of a body from one socket to the other inside the kernel, step by step.

use crate::ring::{Moved, Reactor, Socket, Splice};
use std::io;

/// A pipe between two sockets, which are in non-blocking mode for as long as this runs. `stop` must end it.
pub struct SpliceRun {
    pipe: Splice,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bytes left the source.
    Pulled(u64),
    /// Bytes reached the target.
    Pushed(u64),
    /// Neither side can go on; the current task is woken when one can.
    Blocked,
    /// The pipe is empty, and nothing more is wanted.
    Done,
    /// The source's FIN.
    Eof,
}

/// The side that failed.
#[derive(Debug)]
pub enum SpliceError {
    Source(io::Error),
    Target,
}

impl SpliceRun {
    /// The receive of `from` must be stopped and all that was queued on `to` be sent. `None`: no pipe is left.
    pub fn start(from: &Socket, to: &Socket, reactor: &Reactor) -> Option<Self> {
        let pipe = reactor.take_pipe().ok()?;
        from.set_nonblocking(true);
        to.set_nonblocking(true);
        Some(Self { pipe })
    }

    /// Move bytes once. At most `want` are taken from the source.
    ///
    /// # Errors
    /// The side that broke.
    pub fn step(&mut self, from: &Socket, to: &Socket, want: u64) -> Result<Step, SpliceError> {
        if self.pipe.held() > 0 {
            loop {
                return match self.pipe.push(to) {
                    Ok(Moved::Bytes(n)) => Ok(Step::Pushed(n as u64)),
                    Ok(Moved::WouldBlock) if to.poll_writable().is_ready() => continue,
                    Ok(Moved::WouldBlock) => Ok(Step::Blocked),
                    Ok(Moved::Eof) | Err(_) => Err(SpliceError::Target),
                };
            }
        }
        if want == 0 {
            return Ok(Step::Done);
        }
        while !self.pipe.waits(from, want) {
            match self.pipe.pull(from, usize::try_from(want).unwrap_or(usize::MAX)) {
                Ok(Moved::Bytes(n)) => return Ok(Step::Pulled(n as u64)),
                Ok(Moved::WouldBlock) => {}
                Ok(Moved::Eof) => return Ok(Step::Eof),
                Err(error) => return Err(SpliceError::Source(error)),
            }
        }
        Ok(Step::Blocked)
    }

    /// Give the sockets back to the ring.
    pub fn stop(mut self, from: &Socket, to: &Socket, reactor: &Reactor) {
        self.pipe.stop(from);
        from.set_nonblocking(false);
        to.set_nonblocking(false);
        reactor.give_pipe(self.pipe);
    }
}
