//! Making one connection.

use super::connection::{Connection, Ends, Slot};
use super::lease::Lease;
use super::limits::Overflow;
use super::pool::Pool;
use crate::mux::{Upstream, h1};
use crate::net::Protocol;
use crate::ring::Timer;
use ringway_config::model::Address;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

#[derive(Debug)]
pub enum ConnectError {
    /// A limit of the cluster is reached.
    Overflow(Overflow),
    Timeout,
    Failed(io::Error),
}

impl ConnectError {
    /// In words, for logs.
    pub fn reason(&self) -> &'static str {
        let error = match self {
            Self::Overflow(overflow) => return overflow.config_key(),
            Self::Timeout => return "connection timeout",
            Self::Failed(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => "connection refused",
            Some(libc::ECONNRESET) => "connection reset by peer",
            Some(libc::ETIMEDOUT) => "connection timed out in the kernel",
            Some(libc::EHOSTUNREACH) => "no route to host",
            Some(libc::ENETUNREACH) => "network is unreachable",
            Some(libc::EADDRNOTAVAIL) => "no local address or port available",
            Some(libc::EMFILE | libc::ENFILE) => "too many open files",
            Some(libc::ENOBUFS | libc::ENOMEM) => "out of memory for sockets",
            Some(libc::ENOENT) => "no such socket file",
            Some(libc::EACCES | libc::EPERM) => "permission denied",
            _ => "connection failed",
        }
    }
}

/// Connect within the cluster's timeout, in a task of its own: the connection is for the request that has waited longest
/// when it stands.
pub(super) async fn connect(pool: Rc<Pool>, slot: Slot) {
    let outcome = establish(&pool, slot).await;
    pool.connected(outcome);
}

/// A connection that stands.
pub(super) enum Made {
    /// It serves one exchange at a time.
    Exclusive(Lease),
    #[cfg(feature = "second-wire")]
    Shared(super::shared::Shared),
}

async fn establish(pool: &Rc<Pool>, slot: Slot) -> Result<Made, ConnectError> {
    let reactor = &pool.reactor;
    let (started, drained) = (reactor.now(), pool.drained.get());
    let timer = Timer::new(reactor);
    timer.arm_in(pool.options.connect_timeout);
    // Not within the match, and not afterwards: the address may change while this waits.
    let connecting = pool.network.connect(reactor, &pool.address.borrow());
    let remote = match &*pool.address.borrow() {
        Address::Ip(address) => Some(*address),
        Address::Unix(_) => None,
    };
    let result = match connecting {
        Ok(stream) => {
            let connected = poll_fn(|_| match stream.poll_connected() {
                Poll::Ready(result) => Poll::Ready(result.map_err(ConnectError::Failed)),
                Poll::Pending if timer.fired() => Poll::Ready(Err(ConnectError::Timeout)),
                Poll::Pending => Poll::Pending,
            });
            connected.await.map(|()| stream)
        }
        Err(error) => Err(ConnectError::Failed(error)),
    };
    match result {
        Ok(stream) => {
            pool.stats.upstream_cx_connect_ms.record((reactor.now() - started) / 1000);
            let ends = Ends { local: stream.local_address(), remote, connect_start: started };
            let connection = Connection::new(ends, slot, drained, reactor, &pool.stats);
            Ok(match pool.options.protocol {
                Protocol::Http1 => {
                    pool.stats.upstream_cx_http1_total.inc();
                    Made::Exclusive(Lease::new(Upstream::H1(h1::Asked::new(stream, reactor)), connection))
                }
                #[cfg(feature = "second-wire")]
                Protocol::Frames { streams } => {
                    Made::Shared(super::shared::Shared::new(pool, stream, connection, streams))
                }
            })
        }
        Err(error) => {
            pool.stats.upstream_cx_connect_fail.inc();
            slot.host().cx_connect_fail.inc();
            if matches!(error, ConnectError::Timeout) {
                pool.stats.upstream_cx_connect_timeout.inc();
            }
            Err(error)
        }
    }
}
