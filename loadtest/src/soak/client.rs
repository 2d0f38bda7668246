//! One soak client: a seeded sequence of actions over a connection that it keeps as long as it may.
use std::fmt::Write as _;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::exchange::{Got, Link, Pace, Rule, Verdict, Wanted, judge};
use super::{ACTIONS, Action, Tally};
use crate::interrupt;
use crate::pattern::Pattern;
use crate::rng::Rng;

pub struct Client {
    number: u64,
    target: SocketAddr,
    rng: Rng,
    link: Option<Link>,
    /// Exchanges begun; the number makes each one's seed its own.
    exchanges: u64,
    without: Vec<Action>,
    pub tally: Tally,
}

impl Client {
    pub fn new(number: u64, seed: u64, target: SocketAddr, without: Vec<Action>) -> Client {
        let rng = Rng::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ number);
        Client { number, target, rng, link: None, exchanges: 0, without, tally: Tally::default() }
    }

    pub fn run(mut self, until: Instant, progress: impl Fn(bool)) -> Tally {
        while Instant::now() < until && !interrupt::requested() {
            let action = self.pick();
            let violations = self.tally.violations.len();
            if let Err(error) = self.act(action) {
                self.tally.violation(action, format!("client {}: {error}", self.number));
            }
            progress(self.tally.violations.len() > violations);
        }
        self.tally
    }

    fn pick(&mut self) -> Action {
        loop {
            let total: u64 = ACTIONS.iter().map(|(_, weight)| weight).sum();
            let mut at = self.rng.below(total);
            for (action, weight) in ACTIONS {
                if at < weight {
                    if self.without.contains(&action) {
                        break;
                    }
                    return action;
                }
                at -= weight;
            }
        }
    }

    /// Does one action. Errors are those of connecting: everything else is judged.
    fn act(&mut self, action: Action) -> io::Result<()> {
        match action {
            Action::Get | Action::SlowAnswer => self.get(action),
            Action::Head => self.head(),
            Action::Upload | Action::ChunkedUpload | Action::Continue => self.upload(action),
            Action::Pipeline => self.pipeline(),
            Action::SlowRead => self.slow_read(),
            Action::SlowSend => self.slow_send(),
            Action::HalfClose => self.half_close(),
            Action::ClientReset => self.client_reset(),
            Action::UploadAbort => self.upload_abort(),
            Action::ClientGarbage => self.client_garbage(),
            Action::OriginError => self.origin_fault(action, "error=1", Rule::Status(503)),
            Action::OriginSilentClose => self.origin_fault(action, "close=silent", Rule::Right),
            Action::OriginCloses => self.origin_fault(action, "close=after", Rule::Right),
            Action::OriginNoAnswer => self.origin_fault(action, "close=before", Rule::ErrorOrClose),
            Action::OriginMidClose => self.origin_fault(action, "close=mid", Rule::NeverWhole),
            Action::OriginReset => self.origin_fault(action, "close=reset", Rule::NeverWhole),
            Action::OriginGarbage => self.origin_fault(action, "close=garbage", Rule::ErrorOrClose),
        }
    }

    /// What the next exchange asks for: a seed of its own, and a size from a few bytes to `most`, small ones oftener.
    fn wanted(&mut self, most: u64) -> Wanted {
        self.exchanges += 1;
        let len = match self.rng.below(10) {
            0 => self.rng.below(4),
            1..6 => self.rng.below(2_000),
            6..9 => self.rng.below(64 * 1024),
            _ => self.rng.below(1024 * 1024),
        };
        Wanted { seed: self.number * 1_000_000_007 + self.exchanges, len: len.min(most), to_head: false }
    }

    fn target(&mut self, wanted: Wanted, extra: &str) -> String {
        let mut target = format!("/soak?size={}&seed={}", wanted.len, wanted.seed);
        if self.rng.chance(0.3) {
            let _ = write!(target, "&chunk={}", self.rng.between(1, 20_000));
        }
        if !extra.is_empty() {
            let _ = write!(target, "&{extra}");
        }
        target
    }

    fn request(&mut self, method: &str, wanted: Wanted, extra: &str, fields: &str) -> Vec<u8> {
        let target = self.target(wanted, extra);
        format!("{method} {target} HTTP/1.1\r\nHost: soak.example\r\n{fields}\r\n").into_bytes()
    }

    fn link(&mut self) -> io::Result<Link> {
        // A connection now and then is given up, so that new ones keep coming.
        match self.link.take() {
            Some(link) if !self.rng.chance(0.02) => Ok(link),
            _ => Link::open(self.target),
        }
    }

    /// Keeps the connection where the answer allows it.
    fn keep(&mut self, link: Link, got: &Got) {
        if matches!(got, Got::Whole(answer) if answer.keep_alive) {
            self.link = Some(link);
        }
    }

    /// Sends, reads and judges; once more on a new connection if the old one had been closed meanwhile.
    fn exchange(
        &mut self,
        action: Action,
        rule: Rule,
        wanted: Wanted,
        pace: Option<Pace>,
        send: impl Fn(&mut Link) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut link = self.link()?;
        loop {
            let reused = link.completed > 0;
            // A failed send shows in the answer, which may stand in the socket already.
            let _ = send(&mut link);
            let got = link.receive(wanted, pace);
            match judge(rule, wanted, &got, reused) {
                Verdict::KeepAliveRace => {
                    self.tally.races += 1;
                    link = Link::open(self.target)?;
                }
                verdict => {
                    self.record(action, wanted, verdict);
                    self.keep(link, &got);
                    return Ok(());
                }
            }
        }
    }

    fn record(&mut self, action: Action, wanted: Wanted, verdict: Verdict) {
        if verdict == Verdict::KeepAliveRace {
            self.tally.races += 1;
            return;
        }
        self.tally.exchange(action);
        match verdict {
            Verdict::Right | Verdict::KeepAliveRace => {}
            Verdict::Unavailable(status) => self.tally.unavailable(action, status),
            Verdict::Violation(text) => {
                self.tally.violation(action, format!("client {}, seed {}: {text}", self.number, wanted.seed));
            }
        }
    }

    fn get(&mut self, action: Action) -> io::Result<()> {
        let wanted = self.wanted(u64::MAX);
        let extra = match action {
            Action::SlowAnswer => format!("delay={}ms", self.rng.between(1, 50)),
            _ => String::new(),
        };
        let request = self.request("GET", wanted, &extra, "");
        self.exchange(action, Rule::Right, wanted, None, |link| link.send(&request))
    }

    fn head(&mut self) -> io::Result<()> {
        let wanted = Wanted { to_head: true, ..self.wanted(100_000) };
        let request = self.request("HEAD", wanted, "", "");
        self.exchange(Action::Head, Rule::Right, wanted, None, |link| link.send(&request))
    }

    fn upload(&mut self, action: Action) -> io::Result<()> {
        let wanted = self.wanted(4_000);
        let body = Pattern::new(wanted.seed).to_vec(self.rng.below(200_000) as usize);
        let fields = match action {
            Action::ChunkedUpload => "Transfer-Encoding: chunked\r\n".to_owned(),
            Action::Continue => format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len()),
            _ => format!("Content-Length: {}\r\n", body.len()),
        };
        let request = self.request("POST", wanted, &format!("upload={}", wanted.seed), &fields);
        let chunk = self.rng.between(1, 30_000) as usize;
        let body = if action == Action::ChunkedUpload { chunked(&body, chunk) } else { body };
        self.exchange(action, Rule::Right, wanted, None, |link| {
            link.send(&request)?;
            if action == Action::Continue {
                // RFC 9110 section 10.1.1: a client need not wait for the 100 for ever.
                thread::sleep(Duration::from_millis(2));
            }
            link.send(&body)
        })
    }

    /// Several requests at once; their answers must come whole and in order.
    fn pipeline(&mut self) -> io::Result<()> {
        let count = self.rng.between(2, 8);
        let wanted: Vec<Wanted> = (0..count).map(|_| self.wanted(20_000)).collect();
        let requests: Vec<Vec<u8>> = wanted.iter().map(|wanted| self.request("GET", *wanted, "", "")).collect();
        let mut link = Link::open(self.target)?;
        let _ = link.send(&requests.concat());
        for (index, wanted) in wanted.iter().enumerate() {
            let got = link.receive(*wanted, None);
            let closing = matches!(&got, Got::Whole(answer) if !answer.keep_alive);
            // RFC 9112 section 9.3.2: a connection may end after any answer, and the client sends the rest again.
            let verdict = judge(Rule::Right, *wanted, &got, index > 0);
            let broken = matches!(verdict, Verdict::Violation(_) | Verdict::KeepAliveRace);
            self.record(Action::Pipeline, *wanted, verdict);
            if broken || closing || index + 1 == requests.len() {
                self.keep(link, &got);
                return Ok(());
            }
        }
        Ok(())
    }

    fn slow_read(&mut self) -> io::Result<()> {
        let wanted = Wanted { len: self.rng.between(100_000, 800_000), ..self.wanted(0) };
        let request = self.request("GET", wanted, "", "");
        let pace = Pace { piece: self.rng.between(2_000, 30_000) as usize, pause: Duration::from_millis(2) };
        self.exchange(Action::SlowRead, Rule::Right, wanted, Some(pace), |link| link.send(&request))
    }

    fn slow_send(&mut self) -> io::Result<()> {
        let wanted = self.wanted(10_000);
        let request = self.request("GET", wanted, "", "");
        let piece = self.rng.between(1, 40) as usize;
        self.exchange(Action::SlowSend, Rule::Right, wanted, None, |link| {
            for piece in request.chunks(piece) {
                link.send(piece)?;
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })
    }

    fn half_close(&mut self) -> io::Result<()> {
        let wanted = self.wanted(100_000);
        let request = self.request("GET", wanted, "", "");
        let mut link = Link::open(self.target)?;
        let _ = link.send(&request).and_then(|()| link.stream.shutdown(Shutdown::Write));
        let got = link.receive(wanted, None);
        let verdict = judge(Rule::RightOrClose, wanted, &got, false);
        self.record(Action::HalfClose, wanted, verdict);
        Ok(())
    }

    /// Asks for much, reads little, resets. There is nothing to judge but that others do not suffer.
    fn client_reset(&mut self) -> io::Result<()> {
        let wanted = Wanted { len: 2_000_000, ..self.wanted(0) };
        let request = self.request("GET", wanted, "", "");
        let mut link = Link::open(self.target)?;
        link.stream.set_read_timeout(Some(Duration::from_millis(self.rng.between(1, 20))))?;
        let _ = link.send(&request);
        let mut some = [0; 4_096];
        let _ = io::Read::read(&mut link.stream, &mut some);
        SockRef::from(&link.stream).set_linger(Some(Duration::ZERO))?;
        self.tally.exchange(Action::ClientReset);
        Ok(())
    }

    fn upload_abort(&mut self) -> io::Result<()> {
        let wanted = self.wanted(100);
        let request = self.request("POST", wanted, "", "Content-Length: 100000\r\n");
        let mut link = Link::open(self.target)?;
        let sent = self.rng.below(90_000) as usize;
        let _ = link.send(&request).and_then(|()| link.send(&Pattern::new(wanted.seed).to_vec(sent)));
        self.tally.exchange(Action::UploadAbort);
        Ok(())
    }

    fn client_garbage(&mut self) -> io::Result<()> {
        let wanted = self.wanted(100);
        let mut bytes: Vec<u8> = (0..self.rng.between(1, 3_000)).map(|_| self.rng.number() as u8).collect();
        // Two line ends make it a head, though never a right one.
        bytes.extend_from_slice(b"\r\n\r\n");
        if self.rng.chance(0.5) {
            let smuggled = format!(
                "POST /soak?seed={} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
                wanted.seed
            );
            bytes = smuggled.into_bytes();
        }
        let mut link = Link::open(self.target)?;
        let _ = link.send(&bytes).and_then(|()| link.stream.shutdown(Shutdown::Write));
        let got = link.receive(wanted, None);
        let verdict = judge(Rule::Refusal, wanted, &got, false);
        self.record(Action::ClientGarbage, wanted, verdict);
        Ok(())
    }

    fn origin_fault(&mut self, action: Action, extra: &str, rule: Rule) -> io::Result<()> {
        let mut wanted = self.wanted(200_000);
        if rule == Rule::NeverWhole {
            // Half of it must be less than all of it.
            wanted.len = wanted.len.max(2);
        }
        let request = self.request("GET", wanted, extra, "");
        self.exchange(action, rule, wanted, None, |link| link.send(&request))
    }
}

/// `body` in chunked coding (RFC 9112 section 7.1).
fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 64);
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
