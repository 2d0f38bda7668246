//! The house: where connections wait for a request, on all shards. A shard that meets a limit finds here the one that has
//! waited longest, wherever it is, and has it give up its place.
//!
//! ```text
//! new connection ── demand ──> desk of the room ── keeper (a task of that shard) ──> the connection that waits longest
//!        ^                                                                               │ a request is arriving:
//!        └──────────── its permits <──────────────────────────────────────── or not <────┘ it declines
//! ```
//!
//! At the same desk a connection arrives that another shard has accepted and gives away.

use super::crossing::Crossing;
use super::limit::{ConnectionLimit, Permits};
use super::spread::Spread;
use crate::base::clock::{NEVER, Nanos};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use tokio::sync::oneshot;

/// All rooms of the process.
#[derive(Debug, Default)]
pub struct House {
    rooms: Mutex<Vec<Weak<Room>>>,
    pub(super) spread: Spread,
}

/// The connections of one listener on one shard, as the other shards see them.
#[derive(Debug)]
pub struct Room {
    /// Names the listener.
    listener: Arc<ConnectionLimit>,
    shard: usize,
    /// Since when the connection waits that has waited longest; `NEVER`: none waits.
    longest: AtomicU64,
    desk: Mutex<Desk>,
}

/// What is brought and the task to wake for it are under one lock, so that nothing is left lying.
#[derive(Debug, Default)]
struct Desk {
    demands: Vec<Demand>,
    arrivals: Vec<Crossing>,
    keeper: Option<Waker>,
    /// It is not looked at any more.
    closed: bool,
}

/// Connections that wait at a desk. A shard that leaves more of them lying has enough to do.
const ARRIVALS_MAX: usize = 256;

/// A place is wanted. Dropping it unanswered means that the connection that was asked has declined.
#[derive(Debug)]
pub struct Demand {
    /// Of a connection of this client.
    pub client: Option<IpAddr>,
    pub answer: oneshot::Sender<Answer>,
}

#[derive(Debug)]
pub enum Answer {
    /// Of a connection that closes now.
    Given(Permits),
    /// No connection waits here.
    None,
}

/// Which connections come into question.
#[derive(Clone, Debug)]
pub enum Scope {
    Process,
    Listener(Arc<ConnectionLimit>),
    /// Those of a client on a listener.
    Client(Arc<ConnectionLimit>, IpAddr),
}

impl House {
    /// A room on this shard for the listener with this limit.
    pub fn room(&self, listener: &Arc<ConnectionLimit>, shard: usize) -> Arc<Room> {
        let (longest, desk) = (AtomicU64::new(NEVER), Mutex::default());
        let room = Arc::new(Room { listener: listener.clone(), shard, longest, desk });
        let mut rooms = self.lock();
        rooms.retain(|room| room.strong_count() > 0);
        rooms.push(Arc::downgrade(&room));
        room
    }

    /// The rooms in which a connection of this kind may be waiting, the one with the longest wait first.
    pub fn candidates(&self, scope: &Scope) -> Vec<Arc<Room>> {
        let within = |room: &Arc<Room>| match scope {
            Scope::Process => true,
            Scope::Listener(listener) | Scope::Client(listener, _) => Arc::ptr_eq(listener, &room.listener),
        };
        let rooms = self.lock();
        let rooms = rooms.iter().filter_map(Weak::upgrade).filter(within);
        let mut found: Vec<_> =
            rooms.map(|room| (room.longest.load(Relaxed), room)).filter(|(longest, _)| *longest != NEVER).collect();
        found.sort_by_key(|(longest, _)| *longest);
        found.into_iter().map(|(_, room)| room).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Room>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scope {
    fn client(&self) -> Option<IpAddr> {
        match self {
            Self::Client(_, address) => Some(*address),
            Self::Process | Self::Listener(_) => None,
        }
    }
}

impl Room {
    /// Asks for a place. The answer may take until the connection's task has run.
    pub fn demand(&self, scope: &Scope) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let mut desk = self.lock();
        if desk.closed {
            let _ = answer.send(Answer::None);
            return receiver;
        }
        desk.demands.push(Demand { client: scope.client(), answer });
        wake_keeper(desk);
        receiver
    }

    /// The room of the same listener on another shard.
    pub(super) fn on(&self, house: &House, shard: usize) -> Option<Arc<Self>> {
        let rooms = house.lock();
        let mut rooms = rooms.iter().filter_map(Weak::upgrade);
        rooms.find(|room| room.shard == shard && Arc::ptr_eq(&room.listener, &self.listener))
    }

    /// Whether the connection that `make` makes is served here from now on. If not, it is not made.
    pub(super) fn take_in(&self, make: impl FnOnce() -> Crossing) -> bool {
        let mut desk = self.lock();
        if desk.closed || desk.arrivals.len() >= ARRIVALS_MAX {
            return false;
        }
        desk.arrivals.push(make());
        wake_keeper(desk);
        true
    }

    /// The demands and the connections that have come. The task of `context` is woken for the next one.
    pub fn take(&self, context: &Context<'_>) -> (Vec<Demand>, Vec<Crossing>) {
        let mut desk = self.lock();
        desk.keeper = Some(context.waker().clone());
        (std::mem::take(&mut desk.demands), std::mem::take(&mut desk.arrivals))
    }

    /// Wakes the keeper: something else has changed.
    pub(super) fn wake_keeper(&self) {
        wake_keeper(self.lock());
    }

    /// The desk is no longer looked at. Returns the connections that have come.
    pub fn close(&self) -> Vec<Crossing> {
        let mut desk = self.lock();
        desk.closed = true;
        desk.demands.drain(..).for_each(|demand| drop(demand.answer.send(Answer::None)));
        let arrivals = std::mem::take(&mut desk.arrivals);
        drop(desk);
        self.longest.store(NEVER, Relaxed);
        arrivals
    }

    #[inline]
    pub(super) fn set_longest(&self, since: Nanos) {
        self.longest.store(since, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keeper is to look at its desk, which it finds unlocked.
fn wake_keeper(mut desk: MutexGuard<'_, Desk>) {
    let keeper = desk.keeper.take();
    drop(desk);
    keeper.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Before;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_desk_takes_connections_until_it_is_full_or_closed() {
        let (house, limit) = (House::default(), ConnectionLimit::new(None));
        let [own, other] = [0, 1].map(|shard| house.room(&limit, shard));
        let _of_another_listener = house.room(&ConnectionLimit::new(None), 2);
        assert!(Arc::ptr_eq(&own.on(&house, 1).expect("a room"), &other) && own.on(&house, 2).is_none());
        let (one, mut clients) = (UnixStream::pair().expect("sockets").0, Vec::new());
        let mut come = || {
            other.take_in(|| {
                clients.push(());
                let (first, permits) = (None, None);
                let fd = one.try_clone().expect("a descriptor").into();
                let (received, before) = (vec![1], Before::default());
                Crossing { fd, received, remote: None, local: None, first, opened: 0, permits, before }
            })
        };
        for _ in 0..ARRIVALS_MAX {
            assert!(come());
        }
        assert!(!come(), "it is full");
        let (_, arrivals) = other.take(&Context::from_waker(Waker::noop()));
        assert_eq!(arrivals.len(), ARRIVALS_MAX);
        drop(arrivals);
        assert!(come());
        assert_eq!(other.close().len(), 1);
        assert!(!come(), "it is closed");
        assert_eq!(clients.len(), ARRIVALS_MAX + 1, "one that is not taken is not made");
        drop(other);
        assert!(own.on(&house, 1).is_none(), "its shard has ended");
    }
}
