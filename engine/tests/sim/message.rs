//! Reading and writing HTTP/1 messages in the simulation: strict, slow and independent of the engine's codec.

use crate::world::World;
use ringway::net::PipeEnd;
use ringway::ring::Timer;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// No client or origin waits longer than this: every one of the proxy's timeouts is shorter.
pub const PATIENCE: Duration = Duration::from_secs(400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The peer closed its side.
    Fin,
    Reset,
    /// Nothing came.
    Timeout,
    /// What came is no HTTP.
    Malformed,
}

pub struct Head {
    pub start: String,
    fields: Vec<(String, String)>,
}

impl Head {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }
}

/// How a body is delimited, as its reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimited {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

impl Delimited {
    pub fn of(head: &Head) -> Option<Self> {
        match (head.field("transfer-encoding"), head.field("content-length")) {
            (Some("chunked"), None) => Some(Self::Chunked),
            (None, Some(length)) => length.parse().ok().map(Self::Length),
            (None, None) => Some(Self::None),
            _ => None,
        }
    }
}

/// Reads one side of a connection.
pub struct Wire {
    world: Rc<World>,
    end: Rc<PipeEnd>,
    bytes: Vec<u8>,
    timer: Timer,
}

impl Wire {
    pub fn new(world: &Rc<World>, end: &Rc<PipeEnd>) -> Self {
        Self { world: world.clone(), end: end.clone(), bytes: Vec::new(), timer: Timer::new(&world.reactor) }
    }

    /// Bytes that were received and not read.
    pub fn rest(&self) -> &[u8] {
        &self.bytes
    }

    pub async fn fill(&mut self) -> Result<(), Ended> {
        if self.world.rng.one_in(10) {
            self.world.pause(60).await;
        }
        self.timer.arm_in(PATIENCE);
        let received = poll_fn(|_| match self.end.poll_recv() {
            Poll::Ready(Ok(Some(bytes))) => Poll::Ready(Ok(bytes)),
            Poll::Ready(Ok(None)) => Poll::Ready(Err(Ended::Fin)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Ended::Reset)),
            Poll::Pending if self.timer.fired() => Poll::Ready(Err(Ended::Timeout)),
            Poll::Pending => Poll::Pending,
        })
        .await;
        self.timer.disarm();
        self.bytes.extend_from_slice(&received?);
        Ok(())
    }

    async fn line(&mut self) -> Result<String, Ended> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.bytes[searched..].windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.bytes.drain(..searched + at + 2).collect();
                return String::from_utf8(line[..searched + at].to_vec()).map_err(|_| Ended::Malformed);
            }
            searched = self.bytes.len().saturating_sub(1);
            if searched > 100_000 {
                return Err(Ended::Malformed);
            }
            self.fill().await?;
        }
    }

    pub async fn head(&mut self) -> Result<Head, Ended> {
        let start = self.line().await?;
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(Head { start, fields });
            }
            let (name, value) = line.split_once(": ").ok_or(Ended::Malformed)?;
            fields.push((name.to_ascii_lowercase(), value.to_string()));
        }
    }

    /// Read a body to its end and show each piece to `check`.
    pub async fn body(&mut self, delimited: Delimited, mut check: impl FnMut(&[u8])) -> Result<(), Ended> {
        match delimited {
            Delimited::None => Ok(()),
            Delimited::Length(length) => self.take(length, &mut check).await,
            Delimited::Chunked => loop {
                let line = self.line().await?;
                let size = usize::from_str_radix(&line, 16).map_err(|_| Ended::Malformed)?;
                if size == 0 {
                    while !self.line().await?.is_empty() {}
                    return Ok(());
                }
                self.take(size, &mut check).await?;
                if !self.line().await?.is_empty() {
                    return Err(Ended::Malformed);
                }
            },
            Delimited::UntilClose => loop {
                check(&self.bytes);
                self.bytes.clear();
                match self.fill().await {
                    Ok(()) => {}
                    Err(Ended::Fin) => return Ok(()),
                    Err(ended) => return Err(ended),
                }
            },
        }
    }

    async fn take(&mut self, length: usize, check: &mut impl FnMut(&[u8])) -> Result<(), Ended> {
        let mut left = length;
        loop {
            let now = left.min(self.bytes.len());
            check(&self.bytes[..now]);
            self.bytes.drain(..now);
            left -= now;
            if left == 0 {
                return Ok(());
            }
            self.fill().await?;
        }
    }
}

/// Write in random pieces with random pauses.
pub async fn write(world: &World, end: &PipeEnd, bytes: &[u8]) {
    let mut rest = bytes;
    // Sometimes byte by byte, if it is not too long.
    let tiny = bytes.len() < 400 && world.rng.one_in(6);
    let mut pieces = 1 + world.rng.below(5);
    while !rest.is_empty() {
        pieces = pieces.saturating_sub(1);
        let len = match (tiny, pieces) {
            (true, _) => 1,
            (false, 0) => rest.len(),
            (false, _) => 1 + world.rng.below(rest.len() as u64) as usize,
        };
        end.write(&rest[..len]);
        rest = &rest[len..];
        if rest.is_empty() {
            return;
        }
        if world.rng.one_in(3) { world.pause(30).await } else { world.reactor.yield_now().await }
    }
}
