//! The connections of one listener on one shard, and in which order those that wait for a request began to wait.

use super::house::{Answer, Demand, Room};
use super::limit::Permits;
use crate::base::clock::{NEVER, Nanos};
use crate::ring::{Reactor, TaskId};
use slab::Slab;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A connection's place in its roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat(pub(super) u32);

/// No entry.
const NONE: u32 = u32::MAX;

impl Seat {
    /// Of a connection that is not in a roster yet.
    pub const NONE: Self = Self(NONE);
}

pub(super) struct Roster {
    entries: Slab<Entry>,
    /// Those that wait, as a list: the longest wait first.
    first: u32,
    last: u32,
    /// The connections of each client that is limited.
    clients: HashMap<IpAddr, Vec<u32>>,
    pub room: Arc<Room>,
}

struct Entry {
    task: TaskId,
    /// `None` once they are given up.
    permits: Option<Permits>,
    /// Since when it waits; `NEVER` while it is not in the list.
    since: Nanos,
    before: u32,
    after: u32,
    /// It was asked to give up its place, and is not in the list.
    asked: Option<oneshot::Sender<Answer>>,
}

impl Roster {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Self { entries: Slab::new(), first: NONE, last: NONE, clients: HashMap::new(), room }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.entries.iter().map(|(_, entry)| entry.task)
    }

    pub(super) fn trim(&mut self) {
        self.entries.shrink_to_fit();
        self.clients.shrink_to_fit();
    }

    pub(super) fn insert(&mut self, task: TaskId, permits: Option<Permits>) -> Seat {
        let client = permits.as_ref().and_then(|permits| permits.client.as_ref()).map(|client| client.address);
        let entry = Entry { task, permits, since: NEVER, before: NONE, after: NONE, asked: None };
        let key = self.entries.insert(entry) as u32;
        if let Some(client) = client {
            self.clients.entry(client).or_default().push(key);
        }
        Seat(key)
    }

    /// The connection is over; its permits are given back.
    pub(super) fn remove(&mut self, seat: Seat) {
        self.works(seat);
        self.forget_client(seat);
        self.entries.remove(seat.0 as usize);
    }

    fn forget_client(&mut self, Seat(key): Seat) {
        let client = self.entries[key as usize].permits.as_ref().and_then(|permits| permits.client.as_ref());
        let Some(client) = client.map(|client| client.address) else { return };
        if let Some(seats) = self.clients.get_mut(&client) {
            seats.retain(|seat| *seat != key);
            if seats.is_empty() {
                self.clients.remove(&client);
            }
        }
    }

    /// It waits for a request, from now on.
    #[inline]
    pub(super) fn waits(&mut self, seat: Seat, now: Nanos) {
        self.works(seat);
        let Seat(key) = seat;
        let last = std::mem::replace(&mut self.last, key);
        let entry = &mut self.entries[key as usize];
        (entry.since, entry.before, entry.after) = (now, last, NONE);
        match self.entries.get_mut(last as usize) {
            Some(last) => last.after = key,
            None => {
                self.first = key;
                self.room.set_longest(now);
            }
        }
    }

    /// It does not wait, or no longer: if it was asked to give up its place, it declines.
    #[inline]
    pub(super) fn works(&mut self, Seat(key): Seat) {
        let entry = &mut self.entries[key as usize];
        entry.asked = None;
        self.unlink(key);
    }

    #[inline]
    fn unlink(&mut self, key: u32) {
        if self.entries[key as usize].since != NEVER {
            self.take_out(key);
        }
    }

    fn take_out(&mut self, key: u32) {
        let entry = &mut self.entries[key as usize];
        entry.since = NEVER;
        let (before, after) = (entry.before, entry.after);
        match self.entries.get_mut(after as usize) {
            Some(after) => after.before = before,
            None => self.last = before,
        }
        if let Some(before) = self.entries.get_mut(before as usize) {
            before.after = after;
            return;
        }
        self.first = after;
        self.room.set_longest(self.entries.get(after as usize).map_or(NEVER, |first| first.since));
    }

    #[inline]
    pub(super) fn is_asked(&self, Seat(key): Seat) -> bool {
        self.entries[key as usize].asked.is_some()
    }

    /// It closes: its permits go to the connection that asked for them.
    pub(super) fn give_up(&mut self, seat: Seat) {
        self.forget_client(seat);
        let entry = &mut self.entries[seat.0 as usize];
        if let (Some(asked), Some(permits)) = (entry.asked.take(), entry.permits.take()) {
            // If the other side has stopped waiting, they are given back.
            let _ = asked.send(Answer::Given(permits));
        }
        self.unlink(seat.0);
    }

    pub(super) fn take_permits(&mut self, seat: Seat) -> Option<Permits> {
        self.forget_client(seat);
        self.entries[seat.0 as usize].permits.take()
    }

    /// Asks the connection that has waited longest.
    pub(super) fn ask(&mut self, reactor: &Reactor, demand: Demand) {
        if demand.answer.is_closed() {
            return;
        }
        let key = match demand.client {
            None => self.first,
            Some(client) => self.longest_of(client),
        };
        if key == NONE {
            let _ = demand.answer.send(Answer::None);
            return;
        }
        self.unlink(key);
        let entry = &mut self.entries[key as usize];
        entry.asked = Some(demand.answer);
        reactor.wake(entry.task);
    }

    fn longest_of(&self, client: IpAddr) -> u32 {
        let seats = self.clients.get(&client).into_iter().flatten().copied();
        let waiting = seats.map(|key| (self.entries[key as usize].since, key)).filter(|(since, _)| *since != NEVER);
        waiting.min().map_or(NONE, |(_, key)| key)
    }
}
