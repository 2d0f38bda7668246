//! HTTP/2 in the simulation: a connection's streams, whose bytes go out in random pieces.

use crate::h2::{self, Fields, Head};
use crate::message::{Ended, PATIENCE};
use crate::world::World;
use ringway::net::PipeEnd;
use ringway::ring::{TaskId, Timer};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

#[derive(Default)]
pub struct Stream {
    pub heads: VecDeque<Head>,
    pub body: Vec<u8>,
    /// The peer has sent everything.
    pub ended: bool,
    /// It gave the stream up, or refused it.
    pub reset: bool,
    pub refused: bool,
    pub credit: usize,
    /// A 100 has come, or the final head.
    pub invited: bool,
    /// The task that reads and the one that writes.
    tasks: [Option<TaskId>; 2],
}

pub struct Streams {
    pub world: Rc<World>,
    pub end: Rc<PipeEnd>,
    is_client: bool,
    pub streams: RefCell<BTreeMap<u32, Stream>>,
    /// The highest stream that the peer serves, once it has said so.
    pub last_served: Cell<u32>,
    /// No bytes come any more.
    pub over: Cell<bool>,
    out: RefCell<Vec<u8>>,
    writer: Cell<TaskId>,
    /// When something last came.
    heard: Cell<u64>,
}

impl Streams {
    pub fn new(world: &Rc<World>, end: PipeEnd, is_client: bool) -> Rc<Self> {
        let out = RefCell::new(h2::begin(is_client));
        Rc::new(Self {
            world: world.clone(),
            end: Rc::new(end),
            is_client,
            streams: RefCell::default(),
            last_served: Cell::new(u32::MAX),
            over: Cell::new(false),
            out,
            writer: Cell::new(TaskId::NONE),
            heard: Cell::new(world.reactor.now()),
        })
    }

    pub fn open(&self, id: u32) {
        self.streams.borrow_mut().insert(id, Stream { credit: h2::WINDOW, ..Stream::default() });
    }

    pub fn send(&self, bytes: &[u8]) {
        self.out.borrow_mut().extend_from_slice(bytes);
        self.world.reactor.wake(self.writer.get());
    }

    /// The connection is over, and all that wait for it hear of it.
    pub fn finish(&self) {
        self.over.set(true);
        self.world.reactor.wake(self.writer.get());
        self.streams.borrow().values().for_each(|stream| self.wake(stream));
    }

    fn wake(&self, stream: &Stream) {
        stream.tasks.iter().flatten().for_each(|task| self.world.reactor.wake(*task));
    }

    /// This end gives the stream up.
    pub fn reset(&self, id: u32, code: u32) {
        if let Some(stream) = self.streams.borrow_mut().get_mut(&id) {
            stream.reset = true;
            self.wake(stream);
        }
        self.send(&h2::reset(id, code));
    }

    /// Write what there is in random pieces until the connection is over.
    pub async fn write(self: Rc<Self>) {
        while !self.over.get() {
            let bytes = std::mem::take(&mut *self.out.borrow_mut());
            if !bytes.is_empty() {
                crate::message::write(&self.world, &self.end, &bytes).await;
                continue;
            }
            self.writer.set(self.world.reactor.current_task());
            let mut woken = false;
            poll_fn(|_| if std::mem::replace(&mut woken, true) { Poll::Ready(()) } else { Poll::Pending }).await;
        }
    }

    /// Read until the connection is over; `begin` hears of each stream that the peer begins.
    pub async fn read(self: Rc<Self>, begin: impl Fn(u32)) {
        let mut bytes = Vec::new();
        while !self.over.get() {
            if self.world.rng.one_in(10) {
                self.world.pause(60).await;
            }
            match poll_fn(|_| self.end.poll_recv()).await {
                Ok(Some(received)) => {
                    self.heard.set(self.world.reactor.now());
                    bytes.extend_from_slice(&received);
                }
                Ok(None) | Err(_) => break,
            }
            while let Some(frames) = h2::take(&mut bytes) {
                frames.iter().for_each(|frame| self.take(frame, &begin));
            }
        }
        self.finish();
    }

    fn take(&self, frame: &h2::Frame, begin: &impl Fn(u32)) {
        let mut streams = self.streams.borrow_mut();
        if frame.kind == h2::ANSWER {
            return self.send(&frame.payload);
        }
        if frame.kind == h2::GOAWAY {
            self.last_served.set(frame.id);
            streams.values().for_each(|stream| self.wake(stream));
            return;
        }
        if frame.kind == h2::HEAD && !self.is_client {
            if streams.contains_key(&frame.id) || streams.keys().last().is_some_and(|last| *last > frame.id) {
                return self.world.problem(format!("stream {} begins twice", frame.id));
            }
            let head = frame.head.clone();
            let mut stream = Stream { credit: h2::WINDOW, ended: head.ends, ..Stream::default() };
            stream.heads.push_back(head);
            streams.insert(frame.id, stream);
            drop(streams);
            return begin(frame.id);
        }
        let Some(stream) = streams.get_mut(&frame.id) else {
            return self.world.problem(format!("a frame for no stream: {} {}", frame.kind, frame.id));
        };
        if stream.ended && matches!(frame.kind, h2::HEAD | h2::DATA | h2::END) {
            self.world.problem(format!("stream {}: kind {} behind its end", frame.id, frame.kind));
        }
        match frame.kind {
            h2::HEAD => {
                let head = frame.head.clone();
                stream.ended = head.ends && head.status >= 200;
                stream.heads.push_back(head);
            }
            h2::DATA => stream.body.extend_from_slice(&frame.payload),
            h2::END => stream.ended = true,
            h2::RESET => stream.reset = true,
            h2::REFUSED => stream.refused = true,
            _ => stream.credit += h2::value(&frame.payload) as usize,
        }
        self.wake(stream);
    }

    /// Wait until `done` with the stream, but no longer than anything may take, and not when the connection is over.
    pub async fn wait<T>(
        &self,
        id: u32,
        writes: bool,
        mut done: impl FnMut(&mut Stream) -> Option<T>,
    ) -> Result<T, Ended> {
        let timer = Timer::new(&self.world.reactor);
        timer.arm_in(PATIENCE);
        poll_fn(|_| {
            let mut streams = self.streams.borrow_mut();
            let stream = streams.get_mut(&id).expect("a stream that was opened");
            stream.tasks[usize::from(writes)] = Some(self.world.reactor.current_task());
            match done(stream) {
                Some(value) => Poll::Ready(Ok(value)),
                None if self.over.get() || stream.reset || stream.refused => Poll::Ready(Err(Ended::Reset)),
                None if id > self.last_served.get() => Poll::Ready(Err(Ended::Fin)),
                None => {
                    // What others wait for may be in front of it.
                    let heard = Duration::from_nanos(self.world.reactor.now() - self.heard.get());
                    if timer.fired() && heard >= PATIENCE {
                        return Poll::Ready(Err(Ended::Timeout));
                    }
                    if timer.fired() {
                        timer.arm_in(PATIENCE - heard);
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }

    pub async fn head(&self, id: u32) -> Result<Head, Ended> {
        self.wait(id, false, |stream| stream.heads.pop_front()).await
    }

    /// Read the body to its end, and show each piece to `check`. Credit is given for what was read.
    pub async fn body(&self, id: u32, mut check: impl FnMut(&[u8])) -> Result<(), Ended> {
        loop {
            if self.world.rng.one_in(10) {
                self.world.pause(60).await;
            }
            let piece = self.wait(id, false, |stream| match stream.body.is_empty() {
                false => Some(std::mem::take(&mut stream.body)),
                true => stream.ended.then(Vec::new),
            });
            let piece = piece.await?;
            if piece.is_empty() {
                return Ok(());
            }
            check(&piece);
            self.send(&h2::credit(id, piece.len()));
        }
    }

    /// Send a body, in random pieces, as far as the peer takes it. `ends`: with END behind it.
    pub async fn send_body(&self, id: u32, body: &[u8], ends: bool) -> Result<(), Ended> {
        let rng = &self.world.rng;
        let mut rest = body;
        while !rest.is_empty() {
            let most = 1 + rng.below(if rng.one_in(3) { h2::DATA_MAX as u64 } else { 600 }) as usize;
            let taken = self.wait(id, true, |stream| {
                let len = most.min(rest.len()).min(stream.credit);
                stream.credit -= len;
                // The rest of a message that the peer gave up is of no use.
                (len > 0 && !stream.reset).then_some(len)
            });
            let (now, after) = rest.split_at(taken.await?);
            self.send(&h2::data(id, now));
            rest = after;
            if rng.one_in(6) {
                self.world.pause(20).await;
            }
        }
        if ends {
            let trailers: Fields = if rng.one_in(4) { vec![("x-trailer".into(), "t".into())] } else { Vec::new() };
            self.send(&h2::end(id, &trailers));
        }
        Ok(())
    }
}
