//! The eventfd through which other threads wake a reactor.

use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;

/// Makes the reactor's loop turn; may be called on any thread.
#[derive(Clone, Debug)]
pub struct Unpark(pub(super) Arc<std::fs::File>);

impl Unpark {
    pub fn unpark(&self) {
        // An eventfd's write fails only when its counter is full, and then the loop has been told already.
        let _ = (&*self.0).write(&1u64.to_ne_bytes());
    }
}

pub(super) fn eventfd() -> std::io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the call above has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
