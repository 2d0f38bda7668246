//! The house: where connections wait for a request, on all shards. A shard that meets a limit finds here the one that has
//! waited longest, wherever it is, and has it give up its place.
//!
//! ```text
//! new connection ── demand ──> desk of the room ── keeper (a task of that shard) ──> the connection that waits longest
//!        ^                                                                               │ a request is arriving:
//!        └──────────── its permits <──────────────────────────────────────── or not <────┘ it declines
//! ```

use super::limit::{ConnectionLimit, Permits};
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
}

/// The connections of one listener on one shard, as the other shards see them.
#[derive(Debug)]
pub struct Room {
    /// Names the listener.
    listener: Arc<ConnectionLimit>,
    /// Since when the connection waits that has waited longest; `NEVER`: none waits.
    longest: AtomicU64,
    desk: Mutex<Desk>,
}

/// Demands and the task to wake for them are under one lock, so that no demand is left lying.
#[derive(Debug, Default)]
struct Desk {
    demands: Vec<Demand>,
    keeper: Option<Waker>,
    /// Demands are not looked at any more.
    closed: bool,
}

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
    /// A room for the listener with this limit.
    pub fn room(&self, listener: &Arc<ConnectionLimit>) -> Arc<Room> {
        let room =
            Arc::new(Room { listener: listener.clone(), longest: AtomicU64::new(NEVER), desk: Mutex::default() });
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
        let keeper = desk.keeper.take();
        drop(desk);
        if let Some(keeper) = keeper {
            keeper.wake();
        }
        receiver
    }

    /// The demands that have come. The task of `context` is woken for the next one.
    pub fn take_demands(&self, context: &Context<'_>) -> Vec<Demand> {
        let mut desk = self.lock();
        desk.keeper = Some(context.waker().clone());
        std::mem::take(&mut desk.demands)
    }

    /// Wakes the keeper: something else has changed.
    pub(super) fn wake_keeper(&self) {
        if let Some(keeper) = self.lock().keeper.take() {
            keeper.wake();
        }
    }

    /// Demands are no longer looked at.
    pub fn close(&self) {
        let mut desk = self.lock();
        desk.closed = true;
        desk.demands.drain(..).for_each(|demand| drop(demand.answer.send(Answer::None)));
        drop(desk);
        self.longest.store(NEVER, Relaxed);
    }

    #[inline]
    pub(super) fn set_longest(&self, since: Nanos) {
        self.longest.store(since, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
