//! Connecting to an endpoint with several addresses (RFC 8305, "Happy Eyeballs"): one attempt after the other, the next one
//! as soon as one has failed or has taken too long, and the first that stands is used.

use super::{ByteStream, Network};
use crate::ring::{Reactor, Timer};
use ringway_config::model::Address;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// RFC 8305 section 5: Connection Attempt Delay.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

impl Network {
    /// Connects to the first of `addresses` that can be reached. The caller keeps the deadline. Returns the connection and
    /// the index of its address.
    ///
    /// # Errors
    /// That of the last attempt that failed.
    pub async fn connect_any(&self, reactor: &Rc<Reactor>, addresses: &[Address]) -> io::Result<(ByteStream, usize)> {
        race(reactor, addresses, |address| self.connect(reactor, address), ByteStream::poll_connected).await
    }

    /// The same for side work, which leaves a quarter of the descriptors to main traffic.
    ///
    /// # Errors
    /// As `connect_any`; EMFILE where descriptors are short.
    pub async fn connect_any_side(
        &self,
        reactor: &Rc<Reactor>,
        addresses: &[Address],
    ) -> io::Result<(ByteStream, usize)> {
        race(reactor, addresses, |address| self.connect_side(reactor, address), ByteStream::poll_connected).await
    }
}

async fn race<S>(
    reactor: &Rc<Reactor>,
    addresses: &[Address],
    start: impl Fn(&Address) -> io::Result<S>,
    poll: impl Fn(&S) -> Poll<io::Result<()>>,
) -> io::Result<(S, usize)> {
    if let [only] = addresses {
        let attempt = start(only)?;
        poll_fn(|_| poll(&attempt)).await?;
        return Ok((attempt, 0));
    }
    let timer = Timer::new(reactor);
    let mut under_way: Vec<(S, usize)> = Vec::new();
    let (mut next, mut is_due) = (0, true);
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    poll_fn(|_| {
        loop {
            let mut at = 0;
            while let Some((attempt, _)) = under_way.get(at) {
                match poll(attempt) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Ok(under_way.swap_remove(at))),
                    Poll::Ready(Err(error)) => {
                        (failed, is_due) = (error, true);
                        under_way.remove(at);
                    }
                    Poll::Pending => at += 1,
                }
            }
            let Some(address) = addresses.get(next) else {
                let error = std::mem::replace(&mut failed, io::ErrorKind::Other.into());
                return if under_way.is_empty() { Poll::Ready(Err(error)) } else { Poll::Pending };
            };
            if !is_due && !timer.fired() {
                return Poll::Pending;
            }
            (next, is_due) = (next + 1, false);
            match start(address) {
                Ok(attempt) => under_way.push((attempt, next - 1)),
                Err(error) => (failed, is_due) = (error, true),
            }
            timer.arm_in(ATTEMPT_DELAY);
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::PoolSize;
    use std::cell::{Cell, RefCell};

    /// What becomes of the attempts: milliseconds, and whether it stands then. They are told apart by the port.
    fn run(fates: &'static [(u64, bool)]) -> (Result<usize, String>, Vec<u64>, u64) {
        let reactor = Reactor::simulated(1, PoolSize { count: 1, size: 64 });
        let addresses: Vec<_> =
            (1..=fates.len() as u16).map(|port| Address::Ip(([10, 0, 0, 1], port).into())).collect();
        let started = Rc::new(RefCell::new(Vec::new()));
        let (on, times, open) = (reactor.clone(), started.clone(), Rc::new(Cell::new(0)));
        let outcome = reactor.block_on(async move {
            let milliseconds = || on.now() / 1_000_000;
            let start = |address: &Address| {
                let Address::Ip(address) = address else { unreachable!("an IP address") };
                times.borrow_mut().push(milliseconds());
                open.set(open.get() + 1);
                let (time, stands) = fates[usize::from(address.port()) - 1];
                let timer = Timer::new(&on);
                timer.arm_in(Duration::from_millis(time));
                if time == 0 && !stands { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok((timer, stands)) }
            };
            let poll = |(timer, stands): &(Timer, bool)| match (timer.fired(), stands) {
                (true, true) => Poll::Ready(Ok(())),
                (true, false) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                (false, _) => Poll::Pending,
            };
            let won = race(&on, &addresses, start, poll).await;
            (won.map(|(_, index)| index).map_err(|error| error.kind().to_string()), milliseconds())
        });
        let started = started.borrow().clone();
        (outcome.0, started, outcome.1)
    }

    #[test]
    fn the_next_address_follows_a_failure_at_once_and_a_slow_attempt_after_250_ms() {
        let near = |times: &[u64], expected: &[u64]| {
            times.len() == expected.len() && times.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 3)
        };
        // The first one stands in time: the others are not tried.
        let (won, started, _) = run(&[(100, true), (1, true)]);
        assert!(won == Ok(0) && near(&started, &[0]), "{started:?}");
        let (won, started, _) = run(&[(0, false), (10, false), (5, true)]);
        assert!(won == Ok(2) && near(&started, &[0, 0, 10]), "{started:?}");
        let (won, started, over) = run(&[(10_000, true), (20, true)]);
        assert!(won == Ok(1) && near(&started, &[0, 250]) && near(&[over], &[270]), "{started:?} {over}");
        // A slow one may still win.
        let (won, started, over) = run(&[(300, true), (10_000, true), (10_000, true)]);
        assert!(won == Ok(0) && near(&started, &[0, 250]) && near(&[over], &[300]), "{started:?} {over}");
        let (won, started, _) = run(&[(600, false), (0, false)]);
        assert!(won == Err("connection reset".into()) && near(&started, &[0, 250]), "{won:?} {started:?}");
        assert!(run(&[(0, false)]).0.is_err() && run(&[]).0.is_err());
    }
}
