//! One exchange of the soak: sent over a blocking connection, its answer read and judged.
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::http::{Event, Framing, ResponseReader};
use crate::pattern::Pattern;

/// An exchange without its answer after this time has none.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A client connection, with the bytes of answers not read yet.
pub struct Link {
    pub stream: TcpStream,
    reader: ResponseReader,
    buffer: Vec<u8>,
    pending: Vec<u8>,
    /// Exchanges completed; the first one on a connection has no keep-alive race.
    pub completed: u32,
}

/// How fast an answer is read.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub piece: usize,
    pub pause: Duration,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Whole(Answer),
    /// The connection ended, or the time did, before the answer was whole.
    Cut {
        answer: Option<Answer>,
        how: Cut,
    },
    Malformed(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Closed,
    Reset,
    TimedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub seed: Option<u64>,
    pub received: u64,
    /// All content so far is what the request's seed gives.
    pub bytes_right: bool,
    pub keep_alive: bool,
    pub framing: Framing,
}

/// What the request's seed and form make right.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub seed: u64,
    pub len: u64,
    pub to_head: bool,
}

/// What an answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The whole answer, status 200.
    Right,
    /// This status, passed on from the origin.
    Status(u16),
    /// The origin gives no answer or garbage: an error answer, or the connection closed.
    ErrorOrClose,
    /// The origin stops half way: an error answer, or the start of the right one and then the connection closed.
    NeverWhole,
    /// A half-closed client: the right answer, or the connection closed.
    RightOrClose,
    /// The client's bytes are no request: a 4xx or 5xx, or the connection closed.
    Refusal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it has to be.
    Right,
    /// A sound request was answered with a 5xx.
    Unavailable(u16),
    /// Closed on a connection that had carried exchanges before, without a byte: try again on a new one.
    KeepAliveRace,
    Violation(String),
}

impl Link {
    pub fn open(target: SocketAddr) -> io::Result<Link> {
        let stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Link {
            stream,
            reader: ResponseReader::new(),
            buffer: vec![0; 64 * 1024],
            pending: Vec::new(),
            completed: 0,
        })
    }

    /// Sends as much as the other side takes; a refusal shows in the answer.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one answer to its end, or to the end of the connection.
    pub fn receive(&mut self, wanted: Wanted, pace: Option<Pace>) -> Got {
        let pattern = Pattern::new(wanted.seed);
        let mut answer: Option<Answer> = None;
        loop {
            let pending = std::mem::take(&mut self.pending);
            let mut input = pending.as_slice();
            loop {
                match self.reader.next(&mut input, wanted.to_head) {
                    Ok(Event::Head(head)) => {
                        answer = Some(Answer {
                            status: head.status,
                            seed: head.seed,
                            received: 0,
                            bytes_right: true,
                            keep_alive: head.keep_alive,
                            framing: head.framing,
                        });
                    }
                    Ok(Event::Data(data)) => {
                        if let Some(answer) = &mut answer {
                            answer.bytes_right &= pattern.matches(answer.received, data);
                            answer.received += data.len() as u64;
                        }
                    }
                    Ok(Event::End) => {
                        self.pending = input.to_vec();
                        self.completed += 1;
                        return match answer {
                            Some(answer) => Got::Whole(answer),
                            None => Got::Malformed("an end without a head"),
                        };
                    }
                    Ok(Event::More) => break,
                    Err(error) => return Got::Malformed(error.0),
                }
            }
            let piece = pace.map_or(self.buffer.len(), |pace| pace.piece.min(self.buffer.len()));
            if let Some(pace) = pace {
                thread::sleep(pace.pause);
            }
            match self.stream.read(&mut self.buffer[..piece]) {
                Ok(0) => {
                    return match answer {
                        Some(answer) if self.reader.ends_at_close() => Got::Whole(answer),
                        answer => Got::Cut { answer, how: Cut::Closed },
                    };
                }
                Ok(count) => self.pending.extend_from_slice(&self.buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let timed_out = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                    return Got::Cut { answer, how: if timed_out { Cut::TimedOut } else { Cut::Reset } };
                }
            }
        }
    }
}

/// Judges an answer. `reused`: the connection had carried an exchange before this one.
pub fn judge(rule: Rule, wanted: Wanted, got: &Got, reused: bool) -> Verdict {
    let violation = |text: String| Verdict::Violation(text);
    match got {
        Got::Malformed(what) => violation(format!("malformed: {what}")),
        Got::Cut { how: Cut::TimedOut, .. } => violation("no answer in 15 s".to_owned()),
        Got::Cut { answer: None, how } => match rule {
            Rule::ErrorOrClose | Rule::NeverWhole | Rule::RightOrClose | Rule::Refusal => Verdict::Right,
            Rule::Right | Rule::Status(_) if reused => Verdict::KeepAliveRace,
            Rule::Right | Rule::Status(_) => violation(format!("{how:?} without an answer")),
        },
        Got::Cut { answer: Some(answer), how } => match foreign(wanted, answer) {
            Some(text) => violation(text),
            None if matches!(rule, Rule::NeverWhole | Rule::RightOrClose | Rule::Refusal) => Verdict::Right,
            None => violation(format!("{how:?} after {} of {} content bytes", answer.received, wanted.len)),
        },
        Got::Whole(answer) => judge_whole(rule, wanted, answer),
    }
}

fn judge_whole(rule: Rule, wanted: Wanted, answer: &Answer) -> Verdict {
    if let Some(text) = foreign(wanted, answer) {
        return Verdict::Violation(text);
    }
    let whole = wanted.to_head || answer.received == wanted.len;
    match (rule, answer.status) {
        (Rule::Status(expected), status) if status == expected => Verdict::Right,
        (Rule::ErrorOrClose | Rule::NeverWhole | Rule::Refusal, 400..) => Verdict::Right,
        (Rule::Right | Rule::RightOrClose, 200) if whole => Verdict::Right,
        (Rule::Right | Rule::RightOrClose, 200) => {
            let (got, framing) = (answer.received, answer.framing);
            Verdict::Violation(format!("{got} content bytes instead of {} ({framing:?})", wanted.len))
        }
        (Rule::Right | Rule::RightOrClose | Rule::Status(_), status @ 500..) => Verdict::Unavailable(status),
        (Rule::NeverWhole, 200) => {
            Verdict::Violation(format!("ended properly after {} bytes, although the origin did not", answer.received))
        }
        (_, status) => Verdict::Violation(format!("status {status}")),
    }
}

/// Bytes of another exchange, or of none: what must never reach a client.
fn foreign(wanted: Wanted, answer: &Answer) -> Option<String> {
    match answer.seed {
        Some(seed) if seed != wanted.seed => {
            Some(format!("ANOTHER EXCHANGE'S ANSWER: seed {seed} instead of {}", wanted.seed))
        }
        Some(_) if answer.status == 200 && !answer.bytes_right => Some("WRONG CONTENT BYTES".to_owned()),
        None if answer.status == 200 => Some("status 200, but not from the origin".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted { seed: 7, len: 100, to_head: false };
    const ANSWER: Answer = Answer {
        status: 200,
        seed: Some(7),
        received: 100,
        bytes_right: true,
        keep_alive: true,
        framing: Framing::Length(100),
    };

    fn whole(answer: Answer) -> Got {
        Got::Whole(answer)
    }

    fn cut(answer: Option<Answer>) -> Got {
        Got::Cut { answer, how: Cut::Closed }
    }

    fn is_violation(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Violation(_))
    }

    #[test]
    fn a_sound_exchange_needs_its_own_whole_answer() {
        let judge = |got: Got| judge(Rule::Right, WANTED, &got, false);
        assert_eq!(judge(whole(ANSWER)), Verdict::Right);
        assert!(is_violation(judge(whole(Answer { seed: Some(8), ..ANSWER }))));
        assert!(is_violation(judge(whole(Answer { received: 99, ..ANSWER }))));
        assert!(is_violation(judge(whole(Answer { bytes_right: false, ..ANSWER }))));
        assert!(is_violation(judge(whole(Answer { seed: None, ..ANSWER }))));
        assert!(is_violation(judge(cut(Some(Answer { received: 50, ..ANSWER })))));
        assert!(is_violation(judge(cut(None))));
        assert!(is_violation(judge(Got::Cut { answer: None, how: Cut::TimedOut })));
        let unavailable = Answer { status: 502, seed: None, received: 10, bytes_right: false, ..ANSWER };
        assert_eq!(judge(whole(unavailable)), Verdict::Unavailable(502));
    }

    #[test]
    fn a_connection_closed_between_exchanges_is_tried_again() {
        assert_eq!(judge(Rule::Right, WANTED, &cut(None), true), Verdict::KeepAliveRace);
    }

    #[test]
    fn an_answer_that_the_origin_broke_off_must_not_end_properly() {
        let judge = |got: Got| judge(Rule::NeverWhole, WANTED, &got, false);
        assert_eq!(judge(cut(Some(Answer { received: 50, ..ANSWER }))), Verdict::Right);
        assert!(is_violation(judge(whole(Answer { received: 50, ..ANSWER }))));
        assert!(is_violation(judge(cut(Some(Answer { bytes_right: false, ..ANSWER })))));
        assert_eq!(judge(whole(Answer { status: 502, seed: None, ..ANSWER })), Verdict::Right);
    }

    #[test]
    fn garbage_must_be_refused() {
        let judge = |got: Got| judge(Rule::Refusal, WANTED, &got, true);
        assert_eq!(judge(cut(None)), Verdict::Right);
        assert_eq!(judge(whole(Answer { status: 400, seed: None, ..ANSWER })), Verdict::Right);
        assert!(is_violation(judge(whole(ANSWER))));
        assert!(is_violation(judge(Got::Malformed("x"))));
    }
}
