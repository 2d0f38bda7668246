//! One thread of the generator: an epoll loop over its connections.
//!
//! A request costs one send and one receive; waiting is shared by all connections that are ready. Room to write is
//! watched only while something is left to send.
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Instant;

use rustix::event::{Timespec, epoll};
use rustls::HandshakeKind;

use super::connection::{Connection, Link};
use super::flight::Answer;
use super::recorder::{Failure, Outcome, Recorder, Window};
use super::schedule::Schedule;
use super::spec::{Pace, Reuse, Spec, Tick};
use super::transport::{BUFFER, Received, SEALED};
use crate::interrupt;

/// How long a refused connect is left alone; without it a dead target would be hammered in a loop.
const CONNECT_PAUSE_NS: u64 = 10_000_000;
/// How often time limits and interrupts are looked at.
const SWEEP_NS: u64 = 50_000_000;
const EVENTS: usize = 512;

pub struct Worker<'s> {
    spec: &'s Spec,
    epoch: Instant,
    window: Window,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    recorder: Recorder,
    schedule: Option<Schedule>,
    tick: Option<Tick>,
    /// Open loop: connections with nothing in flight, the longest idle first.
    idle: VecDeque<u32>,
    /// Open loop: arrivals that found no free connection.
    backlog: VecDeque<u64>,
    /// Connections to be used again once their pause is over; the pause is constant, so they are in order.
    paused: VecDeque<(u64, u32)>,
    in_flight: usize,
    now: u64,
    next_sweep: u64,
    buffer: Vec<u8>,
    sealed: Vec<u8>,
}

impl<'s> Worker<'s> {
    /// Worker `index` of `workers` takes its share of the connections and of the rate.
    pub fn new(spec: &'s Spec, index: usize, workers: usize, epoch: Instant, window: Window) -> io::Result<Worker<'s>> {
        let connections =
            (index..spec.connections).step_by(workers).map(|number| Connection::new(spec, number)).collect();
        let (schedule, tick) = match spec.pace {
            Pace::Closed => (None, None),
            Pace::Open { rate, arrivals, tick } => {
                (Some(Schedule::new(rate, arrivals, index, workers, spec.seed)), tick)
            }
        };
        Ok(Worker {
            spec,
            epoch,
            window,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections,
            recorder: Recorder::new(window, spec.slice, schedule.is_some()),
            schedule,
            tick,
            idle: VecDeque::new(),
            backlog: VecDeque::new(),
            paused: VecDeque::new(),
            in_flight: 0,
            now: 0,
            next_sweep: SWEEP_NS,
            buffer: vec![0; BUFFER],
            sealed: vec![0; SEALED],
        })
    }

    /// Loads until the window ends, then waits for the answers still due.
    pub fn run(mut self) -> io::Result<Outcome> {
        let mut events = Vec::with_capacity(EVENTS);
        self.now = self.clock();
        for index in 0..self.connections.len() as u32 {
            match self.schedule {
                None => self.refill(index)?,
                Some(_) => {
                    if self.spec.reuse == Reuse::KeepAlive {
                        self.connect(index)?;
                    }
                    self.idle.push_back(index);
                }
            }
        }
        let last_answer_by = self.window.until + self.spec.timeout.as_nanos() as u64;
        loop {
            self.now = self.clock();
            self.wake()?;
            let over = self.now >= self.window.until;
            if over && (self.in_flight + self.backlog.len() == 0 || self.now >= last_answer_by) {
                break;
            }
            if interrupt::requested() {
                break;
            }
            let wait = match self.tick {
                None => self.next_wake().saturating_sub(self.now),
                Some(tick) => {
                    thread::sleep(tick.wait(self.clock()));
                    0
                }
            };
            let timeout = Timespec { tv_sec: (wait / 1_000_000_000) as i64, tv_nsec: (wait % 1_000_000_000) as i64 };
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let event: &epoll::Event = event;
                self.on_event(event.data.u64(), event.flags)?;
            }
        }
        self.end();
        Ok(self.recorder.outcome)
    }

    fn clock(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Does what time brings: arrivals, ends of pauses, time limits.
    fn wake(&mut self) -> io::Result<()> {
        while let Some(&(due, index)) = self.paused.front() {
            if due > self.now {
                break;
            }
            self.paused.pop_front();
            self.make_available(index)?;
        }
        if self.now >= self.next_sweep {
            self.next_sweep = self.now + SWEEP_NS;
            self.sweep()?;
        }
        self.send_due()
    }

    /// Takes the arrivals that are due; those after the window are left alone.
    fn send_due(&mut self) -> io::Result<()> {
        while let Some(schedule) = &mut self.schedule {
            if schedule.next() >= self.window.until {
                return Ok(());
            }
            let Some(intended) = schedule.take_due(self.now) else { return Ok(()) };
            match self.idle.pop_front() {
                Some(index) => {
                    self.recorder.lag(intended, self.now);
                    self.begin(index, intended)?;
                    self.flush(index)?;
                    self.now = self.clock();
                }
                None => self.backlog.push_back(intended),
            }
        }
        Ok(())
    }

    fn next_wake(&self) -> u64 {
        let arrival = self.schedule.as_ref().map_or(u64::MAX, Schedule::next);
        let arrival = if arrival < self.window.until { arrival } else { u64::MAX };
        let pause = self.paused.front().map_or(u64::MAX, |&(due, _)| due);
        arrival.min(pause).min(self.next_sweep)
    }

    /// Fails exchanges that exceeded the time limit; their connections are of no more use.
    fn sweep(&mut self) -> io::Result<()> {
        let limit = self.spec.timeout.as_nanos() as u64;
        for index in 0..self.connections.len() as u32 {
            let connection = &self.connections[index as usize];
            if connection.front().is_some_and(|flight| flight.begun + limit < self.now) {
                self.fail(index, Failure::Timeout)?;
            }
        }
        Ok(())
    }

    fn on_event(&mut self, data: u64, flags: epoll::EventFlags) -> io::Result<()> {
        let index = data as u32;
        let connection = &mut self.connections[index as usize];
        if connection.generation != (data >> 32) as u32 || connection.link == Link::Closed {
            return Ok(());
        }
        if connection.link == Link::Connecting {
            if connection.connect_error().is_some() {
                return self.fail(index, Failure::Connect);
            }
            connection.link = Link::Open;
            return self.flush(index);
        }
        if flags.contains(epoll::EventFlags::OUT) {
            self.flush(index)?;
        }
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            let mut buffer = std::mem::take(&mut self.buffer);
            let result = self.receive(index, &mut buffer);
            self.buffer = buffer;
            return result;
        }
        Ok(())
    }

    fn receive(&mut self, index: u32, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let connection = &mut self.connections[index as usize];
            let generation = connection.generation;
            let received = connection.receive(buffer, &mut self.sealed);
            let handshake = connection.take_handshake();
            self.now = self.clock();
            if let Some(kind) = handshake {
                self.recorder.handshake(kind == HandshakeKind::Resumed, self.now);
            }
            match received {
                Ok(Received::Bytes(count)) => {
                    self.on_bytes(index, &buffer[..count])?;
                    // Less than was asked for means that the socket is empty; epoll reports what comes later.
                    if count < buffer.len() || self.connections[index as usize].generation != generation {
                        return Ok(());
                    }
                }
                Ok(Received::Nothing) => return self.flush_rest(index),
                Ok(Received::End) => return self.on_end(index),
                Err(_) => return self.fail(index, Failure::Closed),
            }
        }
    }

    fn on_bytes(&mut self, index: u32, mut input: &[u8]) -> io::Result<()> {
        let now = self.now;
        let mut completed = 0;
        loop {
            let (connection, recorder) = (&mut self.connections[index as usize], &mut self.recorder);
            let mut content = 0;
            let answer = connection.next_answer(
                &mut input,
                &self.spec.requests,
                |status| recorder.status(status, now),
                |bytes| content += bytes,
            );
            recorder.received(content, now);
            match answer {
                Ok(Some(answer)) => {
                    self.judge(&answer);
                    completed += 1;
                    if self.connections[index as usize].last_answer || self.spec.reuse == Reuse::PerRequest {
                        return self.reopen(index);
                    }
                }
                Ok(None) if self.connections[index as usize].last_answer => return self.reopen(index),
                Ok(None) => break,
                Err(_) => return self.fail(index, Failure::Malformed),
            }
        }
        if completed > 0 {
            self.make_available(index)?;
        }
        self.flush_rest(index)
    }

    /// Sends what received bytes are the reason of, rather than a request.
    fn flush_rest(&mut self, index: u32) -> io::Result<()> {
        if self.connections[index as usize].has_unsent() { self.flush(index) } else { Ok(()) }
    }

    fn on_end(&mut self, index: u32) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        if let Some(answer) = connection.answer_at_end(&self.spec.requests) {
            self.judge(&answer);
            return self.reopen(index);
        }
        if connection.in_flight() == 0 {
            // Closed between two exchanges, as a server may: the next request opens another connection.
            connection.close();
            return Ok(());
        }
        self.fail(index, Failure::Closed)
    }

    fn judge(&mut self, answer: &Answer) {
        self.in_flight -= 1;
        match answer.verdict {
            None => self.recorder.right(answer.flight.intended, self.now),
            Some(failure) => self.recorder.wrong(failure, answer.flight.intended, self.now),
        }
    }

    /// Closes a connection whose last answer has come; what was sent after it goes out again on the next one.
    fn reopen(&mut self, index: u32) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        connection.close();
        if connection.in_flight() == 0 {
            return self.make_available(index);
        }
        connection.requeue(&self.spec.requests, self.now);
        if self.connect(index)? {
            self.flush(index)?;
        }
        Ok(())
    }

    /// A connection can take requests: from the backlog, from the closed loop, or it waits.
    fn make_available(&mut self, index: u32) -> io::Result<()> {
        if self.schedule.is_none() {
            return self.refill(index);
        }
        if let Some(intended) = self.backlog.pop_front() {
            self.begin(index, intended)?;
            return self.flush(index);
        }
        self.idle.push_back(index);
        Ok(())
    }

    /// Closed loop: keeps the connection's pipeline full until the window ends.
    fn refill(&mut self, index: u32) -> io::Result<()> {
        if self.now >= self.window.until {
            return Ok(());
        }
        loop {
            let connection = &self.connections[index as usize];
            if connection.in_flight() >= self.spec.pipeline || !connection.takes_more() {
                break;
            }
            self.begin(index, self.now)?;
            if self.connections[index as usize].in_flight() == 0 {
                return Ok(());
            }
        }
        self.flush(index)
    }

    fn begin(&mut self, index: u32, intended: u64) -> io::Result<()> {
        self.in_flight += 1;
        let connection = &mut self.connections[index as usize];
        connection.begin(&self.spec.requests, intended, self.now);
        if connection.link == Link::Closed {
            self.connect(index)?;
        }
        Ok(())
    }

    /// Opens the connection's socket. False when that failed at once; its flights have then been failed.
    fn connect(&mut self, index: u32) -> io::Result<bool> {
        let connection = &mut self.connections[index as usize];
        if connection.connect().is_err() {
            self.fail(index, Failure::Connect)?;
            return Ok(false);
        }
        self.recorder.outcome.connects += 1;
        let waits = connection.link == Link::Connecting;
        connection.watches_room = waits;
        let interest = if waits { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        let data = epoll::EventData::new_u64(u64::from(connection.generation) << 32 | u64::from(index));
        if let Some(stream) = connection.stream() {
            epoll::add(&self.epoll, stream, data, interest)?;
        }
        Ok(true)
    }

    fn flush(&mut self, index: u32) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        if connection.link != Link::Open {
            return Ok(());
        }
        let (done, sent) = match connection.flush(&self.spec.requests) {
            Ok(result) => result,
            // The reason is read from the socket: an answer may stand before the reset.
            Err(_) => return Ok(()),
        };
        self.recorder.sent(sent, self.now);
        if connection.watches_room == done {
            connection.watches_room = !done;
            let interest = if done { epoll::EventFlags::IN } else { epoll::EventFlags::IN | epoll::EventFlags::OUT };
            let data = epoll::EventData::new_u64(u64::from(connection.generation) << 32 | u64::from(index));
            if let Some(stream) = connection.stream() {
                epoll::modify(&self.epoll, stream, data, interest)?;
            }
        }
        Ok(())
    }

    /// Everything in flight on the connection has failed.
    fn fail(&mut self, index: u32, failure: Failure) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        connection.close();
        let flights = connection.take_flights();
        let had_flights = !flights.is_empty();
        self.in_flight -= flights.len();
        if !had_flights && failure == Failure::Malformed {
            // Bytes that no request asked for: there is no exchange to fail, but it must not go unseen.
            self.recorder.wrong(failure, self.now, self.now);
        }
        for flight in flights {
            self.recorder.wrong(failure, flight.intended, self.now);
        }
        // A connection opened ahead of its first request is in the idle list already.
        if self.schedule.is_none() || had_flights {
            self.paused.push_back((self.now + CONNECT_PAUSE_NS, index));
        }
        Ok(())
    }

    /// Counts what was never answered.
    fn end(&mut self) {
        let now = self.now;
        for connection in &mut self.connections {
            for flight in connection.take_flights() {
                self.recorder.unanswered(flight.intended, now);
            }
        }
        for &intended in &self.backlog {
            self.recorder.unanswered(intended, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn waits_are_not_rounded_to_milliseconds() {
        // rustix rounds them up unless it may use epoll_pwait2(2). However busy the machine is, one of them is short.
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let timeout = Timespec { tv_sec: 0, tv_nsec: 50_000 };
        let wait = || {
            let (start, mut events) = (Instant::now(), Vec::with_capacity(1));
            epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)).unwrap();
            start.elapsed()
        };
        assert!((0..1_000).map(|_| wait()).any(|took| took < Duration::from_millis(1)));
    }
}
