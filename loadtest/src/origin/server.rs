//! One thread of the origin: accepts, and advances the connections that are ready or whose delay has passed.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use slab::Slab;

use super::connection::{Connection, Interest, Next};
use crate::interrupt;
use crate::rng::Rng;

const LISTENER: u64 = u64::MAX;
const BUFFER: usize = 128 * 1024;
const EVENTS: usize = 512;
/// How long a full file table is left alone before accepting again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

pub struct Server {
    listener: TcpListener,
    epoll: OwnedFd,
    connections: Slab<Connection>,
    generation: u32,
    timers: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    delay: Duration,
    buffer: Vec<u8>,
    rng: Rng,
}

impl Server {
    pub fn new(listener: TcpListener, delay: Duration) -> io::Result<Server> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        Ok(Server {
            listener,
            epoll,
            connections: Slab::new(),
            generation: 0,
            timers: BinaryHeap::new(),
            delay,
            buffer: vec![0; BUFFER],
            rng: Rng::new(1),
        })
    }

    /// Serves until an interrupt.
    pub fn run(mut self) -> io::Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        while !interrupt::requested() {
            let timeout = self.wait_time();
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    data => {
                        let (index, generation) = (data as u32 as usize, (data >> 32) as u32);
                        // Reported whatever was asked for, and again and again: a connection that waits for its delay
                        // would otherwise spin.
                        let flags = event.flags;
                        if flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
                            self.remove(index, generation);
                        } else {
                            self.advance(index, generation);
                        }
                    }
                }
            }
            self.wake();
        }
        Ok(())
    }

    fn wait_time(&self) -> Timespec {
        let interrupt_check = Duration::from_millis(200);
        let wait = match self.timers.peek() {
            Some(Reverse((due, ..))) => due.saturating_duration_since(Instant::now()).min(interrupt_check),
            None => interrupt_check,
        };
        Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) }
    }

    fn wake(&mut self) {
        while let Some(&Reverse((due, index, generation))) = self.timers.peek() {
            if due > Instant::now() {
                return;
            }
            self.timers.pop();
            self.advance(index, generation);
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(_) => {
                    // The file table is full: the listener stays readable, and without a pause this would spin.
                    std::thread::sleep(ACCEPT_PAUSE);
                    return Ok(());
                }
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            self.generation = self.generation.wrapping_add(1);
            let entry = self.connections.vacant_entry();
            let data = u64::from(self.generation) << 32 | entry.key() as u64;
            epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(data), epoll::EventFlags::IN)?;
            entry.insert(Connection::new(stream, self.generation));
        }
    }

    fn remove(&mut self, index: usize, generation: u32) {
        if self.connections.get(index).is_some_and(|connection| connection.generation == generation) {
            self.connections.remove(index);
        }
    }

    fn advance(&mut self, index: usize, generation: u32) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.generation != generation {
            return;
        }
        let next = connection.advance(&mut self.buffer, self.delay, &mut self.rng).unwrap_or(Next::Gone);
        let interest = match next {
            Next::Gone => {
                self.connections.remove(index);
                return;
            }
            Next::Input => Interest::Read,
            Next::Room => Interest::Write,
            Next::Time(due) => {
                self.timers.push(Reverse((due, index, generation)));
                Interest::Nothing
            }
        };
        if interest != connection.interest {
            connection.interest = interest;
            let flags = match interest {
                Interest::Read => epoll::EventFlags::IN,
                Interest::Write => epoll::EventFlags::OUT,
                Interest::Nothing => epoll::EventFlags::empty(),
            };
            let data = u64::from(generation) << 32 | index as u64;
            if epoll::modify(&self.epoll, &connection.stream, epoll::EventData::new_u64(data), flags).is_err() {
                self.connections.remove(index);
            }
        }
    }
}
