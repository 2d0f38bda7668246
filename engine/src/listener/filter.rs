//! Listener filters: what looks at a connection's first bytes before a chain is chosen for it.
//!
//! A filter is sans-I/O: it is shown the bytes that came so far and says what it makes of them. What it does not take goes
//! on to whatever comes after it, as if it had never been read.

use crate::net::{Accepted, Arrival};
use crate::ring::{Buf, Reactor};
use std::future::poll_fn;
use std::rc::Rc;

/// What a filter makes of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
// Only filters make one, and there is none but for tests yet.
#[cfg_attr(not(test), allow(dead_code))]
pub enum Inspected {
    /// More are needed.
    More,
    /// It is done, and takes this many bytes for itself.
    Done { taken: usize },
    /// The connection is refused.
    Refused,
}

/// One filter. There is none yet that a configuration can ask for; PROXY protocol and TLS inspection come here.
#[derive(Clone, Debug)]
pub enum ListenerFilter {
    /// For tests: takes a line that names an address, which is the client's from then on.
    #[cfg(test)]
    Named,
    /// For tests: waits for this many bytes and takes none.
    #[cfg(test)]
    Peek(usize),
}

/// Bytes that filters may look at.
const INSPECTED_MAX: usize = 64 * 1024;

impl ListenerFilter {
    #[cfg_attr(not(test), allow(unused_variables))]
    fn inspect(&self, bytes: &[u8], arrival: &mut Arrival) -> Inspected {
        match *self {
            #[cfg(test)]
            Self::Named => {
                let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Inspected::More };
                match std::str::from_utf8(&bytes[..end]).ok().and_then(|line| line.parse().ok()) {
                    Some(address) => {
                        arrival.remote = Some(address);
                        Inspected::Done { taken: end + 1 }
                    }
                    None => Inspected::Refused,
                }
            }
            #[cfg(test)]
            Self::Peek(count) if bytes.len() < count => Inspected::More,
            #[cfg(test)]
            Self::Peek(_) => Inspected::Done { taken: 0 },
        }
    }

    /// Show the filter what comes until it is done. What it does not take is put back. `false`: the connection is of no
    /// further use.
    pub(super) async fn run(&self, accepted: &mut Accepted, reactor: &Rc<Reactor>) -> bool {
        let mut seen = reactor.take_vec();
        let passed = loop {
            match self.inspect(&seen, &mut accepted.arrival) {
                Inspected::Done { taken } => {
                    seen.drain(..taken);
                    break true;
                }
                Inspected::More if seen.len() < INSPECTED_MAX => {}
                Inspected::More | Inspected::Refused => break false,
            }
            match poll_fn(|_| accepted.stream.poll_recv()).await {
                Ok(Some(buf)) => seen.extend_from_slice(&buf),
                Ok(None) | Err(_) => break false,
            }
        };
        if passed && !seen.is_empty() {
            accepted.stream.unread(Buf::from(seen.into_boxed_slice()));
        } else {
            reactor.give_vec(seen);
        }
        passed
    }
}
