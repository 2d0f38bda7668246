//! What happens at a limit: the connection that has waited longest for a request is closed, on whichever shard it is, and a
//! new connection has its place. At the same desk connections arrive that other shards give away.

use super::{Listener, take_over};
use crate::net::{Answer, Claim, Full, House, Scope};
use crate::ring::{Reactor, Timer};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// The longest time that a new connection waits for its place. Usually it is a turn or two of a shard.
const PATIENCE: Duration = Duration::from_secs(1);
/// Connections that may decline, because their next request is arriving, before the new one is refused.
const ATTEMPTS: usize = 16;

/// Whether a connection of this kind waits, so that `make_room` may succeed.
pub(super) fn may_have_room(house: &House, claim: &Claim, full: Full) -> bool {
    !house.candidates(&scope(claim, full)).is_empty()
}

/// Closes connections that wait until `claim` has all its permits.
///
/// # Errors
/// The limit that is still in the way: no connection waits, or those that do are on shards that do not answer.
pub(super) async fn make_room(reactor: &Rc<Reactor>, house: &House, claim: &mut Claim) -> Result<(), Full> {
    let timer = Timer::new(reactor);
    timer.arm_in(PATIENCE);
    while let Err(full) = claim.fill() {
        let scope = scope(claim, full);
        match vacate(house, &scope, &timer).await {
            Some(Answer::Given(permits)) => claim.inherit(permits),
            _ => return Err(full),
        }
    }
    Ok(())
}

/// Closes the connection of the process that has waited longest, for its descriptor. Returns whether there was one.
pub(super) async fn free_descriptor(reactor: &Rc<Reactor>, house: &House) -> bool {
    let timer = Timer::new(reactor);
    timer.arm_in(PATIENCE);
    vacate(house, &Scope::Process, &timer).await.is_some()
}

fn scope(claim: &Claim, full: Full) -> Scope {
    let listener = claim.limits.listener.clone();
    match (full, claim.address) {
        (Full::Client, Some(address)) => Scope::Client(listener, address),
        (Full::Listener | Full::Client, _) => Scope::Listener(listener),
        (Full::Process, _) => Scope::Process,
    }
}

async fn vacate(house: &House, scope: &Scope, timer: &Timer) -> Option<Answer> {
    let mut attempts = 0;
    let mut empty = 0;
    while attempts < ATTEMPTS {
        // Asked again each time: meanwhile others may have waited longer.
        let room = house.candidates(scope).into_iter().nth(empty)?;
        let mut answer = pin!(room.demand(scope));
        let answer = poll_fn(|context| match answer.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer.ok())),
            Poll::Pending if timer.fired() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match answer.await? {
            Some(Answer::None) => empty += 1,
            None => attempts += 1,
            given => return given,
        }
    }
    None
}

/// The keeper of a room: asks connections for their places as the demands come, and takes over connections of other shards,
/// until the listener drains.
pub fn keep(reactor: Rc<Reactor>, listener: Rc<Listener>) -> impl Future<Output = ()> {
    let arriving = listener.drain.arriving();
    async move {
        let (drain, _arriving) = (&listener.drain, arriving);
        let room = drain.room();
        poll_fn(|context| {
            let (demands, arrivals) = room.take(context);
            demands.into_iter().for_each(|demand| drain.ask(&reactor, demand));
            arrivals.into_iter().for_each(|crossing| take_over(&reactor, &listener, crossing));
            if drain.is_draining() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        room.close().into_iter().for_each(|crossing| take_over(&reactor, &listener, crossing));
        // A connection is one of the listener's once its task has run.
        reactor.yield_now().await;
    }
}
