//! What a run counts, and when: exchanges, failures by kind, latency, a timeline.
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies are kept from 100 ns to 200 s in three significant digits.
const LATENCY_MIN_NS: u64 = 100;
const LATENCY_MAX_NS: u64 = 200_000_000_000;

/// The span in which a run counts, in nanoseconds since its start.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub from: u64,
    pub until: u64,
}

impl Window {
    pub fn new(warmup: Duration, duration: Duration) -> Window {
        let from = warmup.as_nanos() as u64;
        Window { from, until: from + duration.as_nanos() as u64 }
    }

    pub fn contains(&self, at: u64) -> bool {
        (self.from..self.until).contains(&at)
    }

    pub fn seconds(&self) -> f64 {
        (self.until - self.from) as f64 / 1e9
    }
}

/// Why an exchange was not right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection could not be opened.
    Connect,
    /// The connection was closed or reset before the whole answer was there.
    Closed,
    /// No whole answer within the time limit, or none at all when the run ended.
    Timeout,
    /// A status other than the expected one.
    Status,
    /// More or fewer content bytes than expected.
    Length,
    /// Content bytes other than the expected ones.
    Bytes,
    /// Not HTTP/1, or bytes that no request asked for.
    Malformed,
}

/// Failed exchanges by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failures {
    pub connect: u64,
    pub closed: u64,
    pub timeout: u64,
    pub status: u64,
    pub length: u64,
    pub bytes: u64,
    pub malformed: u64,
}

impl Failures {
    pub fn note(&mut self, failure: Failure) {
        *match failure {
            Failure::Connect => &mut self.connect,
            Failure::Closed => &mut self.closed,
            Failure::Timeout => &mut self.timeout,
            Failure::Status => &mut self.status,
            Failure::Length => &mut self.length,
            Failure::Bytes => &mut self.bytes,
            Failure::Malformed => &mut self.malformed,
        } += 1;
    }

    pub fn total(&self) -> u64 {
        self.connect + self.closed + self.timeout + self.status + self.wrong()
    }

    /// Answers that came and were wrong: what a proxy must never give.
    pub fn wrong(&self) -> u64 {
        self.length + self.bytes + self.malformed
    }

    pub fn add(&mut self, other: &Failures) {
        self.connect += other.connect;
        self.closed += other.closed;
        self.timeout += other.timeout;
        self.status += other.status;
        self.length += other.length;
        self.bytes += other.bytes;
        self.malformed += other.malformed;
    }
}

/// One entry of the timeline.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Slice {
    pub completed: u64,
    pub failed: u64,
    pub latency_max_ns: u64,
    /// Sum over the completed exchanges; divided by `completed` it is the mean.
    pub latency_sum_ns: u64,
}

/// Everything that a run counted.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Right answers that became whole within the window.
    pub completed: u64,
    pub failed: Failures,
    /// Answers by status code, right or wrong; index 0 counts codes above 599.
    pub statuses: Vec<u64>,
    /// Content bytes received and sent within the window, unfinished exchanges included.
    pub content_in: u64,
    pub content_out: u64,
    /// Right answers' latency. Closed loop: of those that completed within the window. Open loop: of those that were
    /// due within the window, from that instant, with those never answered entered at the time they had waited.
    pub latency: Histogram<u64>,
    /// Open loop: how late requests were sent although a connection was free. It belongs to the generator.
    pub lag: Histogram<u64>,
    pub timeline: Vec<Slice>,
    pub connects: u64,
    /// Handshakes of TLS that ended within the window.
    pub handshakes: Handshakes,
    pub seconds: f64,
}

/// Handshakes of TLS by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Handshakes {
    pub full: u64,
    /// Those that went on with an earlier session.
    pub resumed: u64,
}

impl Outcome {
    pub fn new(window: Window, slice: Duration) -> Outcome {
        let slices = (window.until - window.from).div_ceil(slice.as_nanos().max(1) as u64);
        Outcome {
            completed: 0,
            failed: Failures::default(),
            statuses: vec![0; 600],
            content_in: 0,
            content_out: 0,
            latency: latency_histogram(),
            lag: latency_histogram(),
            timeline: vec![Slice::default(); slices as usize],
            connects: 0,
            handshakes: Handshakes::default(),
            seconds: window.seconds(),
        }
    }

    /// Adds another worker's counts of the same window.
    pub fn add(&mut self, other: &Outcome) {
        self.merge_counts(other);
        for (mine, theirs) in self.timeline.iter_mut().zip(&other.timeline) {
            mine.completed += theirs.completed;
            mine.failed += theirs.failed;
            mine.latency_max_ns = mine.latency_max_ns.max(theirs.latency_max_ns);
            mine.latency_sum_ns += theirs.latency_sum_ns;
        }
    }

    fn merge_counts(&mut self, other: &Outcome) {
        self.completed += other.completed;
        self.failed.add(&other.failed);
        for (mine, theirs) in self.statuses.iter_mut().zip(&other.statuses) {
            *mine += theirs;
        }
        self.content_in += other.content_in;
        self.content_out += other.content_out;
        // Both were made with the same bounds, so adding cannot fail.
        let _ = self.latency.add(&other.latency);
        let _ = self.lag.add(&other.lag);
        self.connects += other.connects;
        self.handshakes.full += other.handshakes.full;
        self.handshakes.resumed += other.handshakes.resumed;
    }

    /// Right answers a second.
    pub fn rate(&self) -> f64 {
        self.completed as f64 / self.seconds
    }

    /// Microseconds below which the share `quantile` of the latencies lies.
    pub fn latency_us(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }
}

pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, 3).expect("the bounds are constants that fit")
}

/// Writes into an [`Outcome`] by the rules of its window.
pub struct Recorder {
    pub outcome: Outcome,
    window: Window,
    slice_ns: u64,
    open_loop: bool,
}

impl Recorder {
    pub fn new(window: Window, slice: Duration, open_loop: bool) -> Recorder {
        let slice_ns = slice.as_nanos().max(1) as u64;
        Recorder { outcome: Outcome::new(window, slice), window, slice_ns, open_loop }
    }

    pub fn right(&mut self, intended: u64, now: u64) {
        let latency = now.saturating_sub(intended);
        if self.window.contains(now) {
            self.outcome.completed += 1;
            let slice = self.slice(now);
            slice.completed += 1;
            slice.latency_sum_ns += latency;
            slice.latency_max_ns = slice.latency_max_ns.max(latency);
        }
        if self.counts_latency(intended, now) {
            self.outcome.latency.saturating_record(latency);
        }
    }

    pub fn wrong(&mut self, failure: Failure, intended: u64, now: u64) {
        if self.counts_latency(intended, now) {
            self.outcome.failed.note(failure);
            let at = now.min(self.window.until - 1).max(self.window.from);
            self.slice(at).failed += 1;
        }
    }

    /// An exchange without an answer when the run ended. It has waited at least this long, and leaving it out would
    /// hide the worst stalls (coordinated omission).
    pub fn unanswered(&mut self, intended: u64, now: u64) {
        let at = if self.open_loop { intended } else { intended.max(self.window.from) };
        if self.window.contains(at) {
            self.outcome.failed.note(Failure::Timeout);
            let last = self.window.until - 1;
            self.slice(last).failed += 1;
            if self.open_loop {
                self.outcome.latency.saturating_record(now.saturating_sub(intended));
            }
        }
    }

    pub fn status(&mut self, status: u16, now: u64) {
        if self.window.contains(now) {
            self.outcome.statuses[if status < 600 { status as usize } else { 0 }] += 1;
        }
    }

    pub fn received(&mut self, bytes: usize, now: u64) {
        if self.window.contains(now) {
            self.outcome.content_in += bytes as u64;
        }
    }

    pub fn sent(&mut self, bytes: usize, now: u64) {
        if self.window.contains(now) {
            self.outcome.content_out += bytes as u64;
        }
    }

    pub fn handshake(&mut self, is_resumed: bool, now: u64) {
        if self.window.contains(now) {
            let handshakes = &mut self.outcome.handshakes;
            *(if is_resumed { &mut handshakes.resumed } else { &mut handshakes.full }) += 1;
        }
    }

    pub fn lag(&mut self, intended: u64, now: u64) {
        if self.window.contains(intended) {
            self.outcome.lag.saturating_record(now.saturating_sub(intended));
        }
    }

    fn counts_latency(&self, intended: u64, now: u64) -> bool {
        self.window.contains(if self.open_loop { intended } else { now })
    }

    fn slice(&mut self, now: u64) -> &mut Slice {
        let index = (now - self.window.from) / self.slice_ns;
        &mut self.outcome.timeline[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn recorder(open_loop: bool) -> Recorder {
        let window = Window::new(Duration::from_millis(100), Duration::from_millis(1_000));
        Recorder::new(window, Duration::from_millis(500), open_loop)
    }

    #[test]
    fn a_closed_loop_counts_what_completes_within_the_window() {
        let mut recorder = recorder(false);
        recorder.right(0, 99 * MS);
        recorder.right(90 * MS, 110 * MS);
        recorder.right(1_090 * MS, 1_100 * MS);
        let outcome = recorder.outcome;
        assert_eq!((outcome.completed, outcome.latency.len()), (1, 1));
        assert!((19_900.0..20_100.0).contains(&outcome.latency_us(1.0)));
        assert_eq!(outcome.timeline.iter().map(|slice| slice.completed).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn an_open_loop_counts_from_the_intended_instant_even_after_the_window() {
        let mut recorder = recorder(true);
        recorder.right(90 * MS, 110 * MS);
        recorder.right(600 * MS, 1_600 * MS);
        let outcome = recorder.outcome;
        assert_eq!((outcome.completed, outcome.latency.len()), (1, 1));
        assert!((999_000.0..1_001_000.0).contains(&outcome.latency_us(1.0)));
    }

    #[test]
    fn a_stall_is_seen_by_every_request_it_held_up() {
        // 1,000 requests a second, each answered in 1 ms, but a stall of 500 ms in the middle answers its 500 requests
        // all at its end. A closed loop would report one slow request; here half of them are slow.
        let mut recorder = recorder(true);
        for due in (100..1_100).map(|ms| ms * MS) {
            let answered = if (400 * MS..900 * MS).contains(&due) { 900 * MS } else { due };
            recorder.right(due, answered + MS);
        }
        let outcome = recorder.outcome;
        assert_eq!(outcome.latency.len(), 1_000);
        assert!(outcome.latency_us(0.5) < 2_000.0);
        assert!((240_000.0..260_000.0).contains(&outcome.latency_us(0.75)), "{}", outcome.latency_us(0.75));
        assert!((498_000.0..503_000.0).contains(&outcome.latency_us(1.0)));
    }

    #[test]
    fn what_is_never_answered_counts_as_failed_and_as_slow() {
        let mut recorder = recorder(true);
        recorder.unanswered(500 * MS, 1_500 * MS);
        recorder.unanswered(50 * MS, 1_500 * MS);
        assert_eq!((recorder.outcome.failed.timeout, recorder.outcome.latency.len()), (1, 1));
        assert!(recorder.outcome.latency_us(0.5) > 999_000.0);
    }

    #[test]
    fn workers_add_up() {
        let (mut a, mut b) = (recorder(false), recorder(false));
        a.right(190 * MS, 200 * MS);
        b.right(690 * MS, 700 * MS);
        b.wrong(Failure::Bytes, 690 * MS, 700 * MS);
        let mut total = a.outcome;
        total.add(&b.outcome);
        assert_eq!((total.completed, total.latency.len(), total.failed.wrong()), (2, 2, 1));
        assert_eq!(total.timeline[1].failed, 1);
    }
}
