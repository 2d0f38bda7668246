//! What a seed decides: random numbers, and the plan of each exchange.

use std::cell::Cell;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Rng(Cell<u64>);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `n` times.
    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(usize),
    Chunked(usize),
    /// Responses only.
    UntilClose(usize),
}

impl Framing {
    pub fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Length(len) | Self::Chunked(len) | Self::UntilClose(len) => len,
        }
    }
}

/// What the origin does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Ends before the response; by a reset or a close.
    NoResponse {
        reset: bool,
    },
    CutHead {
        reset: bool,
    },
    CutBody {
        reset: bool,
    },
    /// Answers before it has read the body, and may close then.
    Early {
        close: bool,
    },
    /// Never answers.
    Hangs,
    /// Sends another response behind its own.
    Excess,
    /// Closes after the response without saying so.
    SilentClose,
    /// Chunks that are none, or a head that is none.
    Garbage,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub method: &'static str,
    pub http10: bool,
    pub keep_alive: bool,
    pub expect: bool,
    pub request: Framing,
    pub status: u16,
    pub interim: u64,
    pub response: Framing,
    /// The origin says `connection: close`.
    pub closes: bool,
    pub fault: Fault,
}

fn length(rng: &Rng) -> usize {
    match rng.below(20) {
        0 => 0,
        1 => 1,
        2 => 60_000 + rng.below(140_000) as usize,
        3..6 => rng.below(20_000) as usize,
        _ => rng.below(600) as usize,
    }
}

impl Plan {
    /// `last`: nothing comes after it on its connection. `calm`: nothing goes wrong.
    pub fn new(rng: &Rng, last: bool, calm: bool) -> Self {
        let method = rng.pick(&["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE"]);
        let http10 = last && rng.one_in(5);
        let request = match method {
            "GET" | "HEAD" | "DELETE" => Framing::None,
            _ if http10 || rng.one_in(2) => Framing::Length(length(rng)),
            _ => Framing::Chunked(length(rng)),
        };
        let response = match rng.below(6) {
            0 => Framing::UntilClose(length(rng)),
            1..3 => Framing::Chunked(length(rng)),
            _ => Framing::Length(length(rng)),
        };
        let status = rng.pick(&[200, 200, 200, 200, 404, 204, 304]);
        let response = if matches!(status, 204 | 304) { Framing::None } else { response };
        let reset = rng.one_in(2);
        let fault = match rng.below(24) {
            _ if calm => Fault::None,
            0 => Fault::NoResponse { reset },
            1 => Fault::CutHead { reset },
            2 | 3 => Fault::CutBody { reset },
            4 => Fault::Early { close: reset },
            5 if rng.one_in(3) => Fault::Hangs,
            6 => Fault::Excess,
            7 | 8 => Fault::SilentClose,
            9 => Fault::Garbage,
            _ => Fault::None,
        };
        Self {
            method,
            http10,
            keep_alive: !(last && rng.one_in(3)),
            expect: request != Framing::None && request.len() > 0 && !http10 && rng.one_in(5),
            request,
            status,
            interim: if rng.one_in(8) { rng.below(3) + 1 } else { 0 },
            response,
            closes: rng.one_in(10),
            fault,
        }
    }

    /// The response has a body.
    pub fn has_body(&self) -> bool {
        self.method != "HEAD" && self.response != Framing::None
    }
}

/// Byte `at` of a body of exchange `id`.
pub fn byte(id: usize, at: usize, is_response: bool) -> u8 {
    (id.wrapping_mul(151) ^ at.wrapping_mul(7) ^ (at >> 8).wrapping_mul(13) ^ if is_response { 0x5a } else { 0 }) as u8
}

pub fn body(id: usize, len: usize, is_response: bool) -> Vec<u8> {
    (0..len).map(|at| byte(id, at, is_response)).collect()
}

/// `data` as the message's body in this framing, with chunks of random sizes.
pub fn frame(rng: &Rng, framing: Framing, data: &[u8]) -> Vec<u8> {
    let Framing::Chunked(_) = framing else { return data.to_vec() };
    let mut wire = Vec::with_capacity(data.len() + 64);
    let mut rest = data;
    while !rest.is_empty() {
        let len = (1 + rng.below(if rng.one_in(4) { 30_000 } else { 300 }) as usize).min(rest.len());
        let extension = if rng.one_in(6) { ";a=b" } else { "" };
        wire.extend_from_slice(format!("{len:x}{extension}\r\n").as_bytes());
        wire.extend_from_slice(&rest[..len]);
        wire.extend_from_slice(b"\r\n");
        rest = &rest[len..];
    }
    wire.extend_from_slice(if rng.one_in(4) { b"0\r\nX-Trailer: t\r\n\r\n" } else { b"0\r\n\r\n" });
    wire
}
