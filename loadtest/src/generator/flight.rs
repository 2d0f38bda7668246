//! One exchange under way, on whatever wire.
use super::recorder::Failure;
use super::spec::{Expect, message_head};

#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// Index into the prepared requests.
    pub request: u32,
    /// When it was due (open loop) or begun (closed loop); latency counts from here.
    pub intended: u64,
    /// When it was handed to the connection; the time limit counts from here.
    pub begun: u64,
    /// Content bytes of the answer so far.
    received: u64,
    pub verdict: Option<Failure>,
}

/// What an answer was, once it is whole.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub flight: Flight,
    pub verdict: Option<Failure>,
}

impl Flight {
    pub fn new(request: u32, intended: u64, now: u64) -> Flight {
        Flight { request, intended, begun: now, received: 0, verdict: None }
    }

    /// The same exchange, from its beginning on another connection.
    pub fn again(self, now: u64) -> Flight {
        Flight { begun: now, received: 0, verdict: None, ..self }
    }

    pub fn fail(&mut self, failure: Failure) {
        self.verdict.get_or_insert(failure);
    }

    /// Compares content with what is expected at its place.
    pub fn check(&mut self, expect: &Expect, data: &[u8]) {
        if let (None, Some((pattern, len))) = (self.verdict, expect.content) {
            // A message of gRPC has a head that belongs to no pattern.
            let head = message_head(len);
            let head = &head[..expect.head_len()];
            let of_head = (head.len() as u64).saturating_sub(self.received).min(data.len() as u64) as usize;
            let (got, rest) = data.split_at(of_head);
            let at = self.received as usize;
            if self.received + data.len() as u64 > len + head.len() as u64 {
                self.verdict = Some(Failure::Length);
            } else if (of_head > 0 && got != &head[at..at + of_head])
                || !pattern.matches((self.received + of_head as u64).saturating_sub(head.len() as u64), rest)
            {
                self.verdict = Some(Failure::Bytes);
            }
        }
        self.received += data.len() as u64;
    }

    pub fn finish(self, expect: &Expect, to_head: bool) -> Answer {
        let whole = |len: u64| self.received == len + expect.head_len() as u64;
        let is_short = !to_head && expect.content.is_some_and(|(_, len)| !whole(len));
        Answer { flight: self, verdict: self.verdict.or(if is_short { Some(Failure::Length) } else { None }) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::ExpectStatus;
    use super::*;
    use crate::pattern::Pattern;

    fn verdict(grpc: bool, text: &[u8], step: usize) -> Option<Failure> {
        let expect = Expect { status: ExpectStatus::Success, content: Some((Pattern::new(3), 9)), grpc };
        let mut flight = Flight::new(0, 0, 0);
        text.chunks(step).for_each(|piece| flight.check(&expect, piece));
        flight.finish(&expect, false).verdict
    }

    #[test]
    fn content_is_checked_with_and_without_the_head_of_a_message() {
        let content = Pattern::new(3).to_vec(9);
        let message = [&[0, 0, 0, 0, 9], content.as_slice()].concat();
        for step in 1..=message.len() {
            assert_eq!(verdict(false, &content, step), None);
            assert_eq!(verdict(true, &message, step), None);
            assert_eq!(verdict(true, &message[..12], step), Some(Failure::Length));
            assert!(verdict(false, &message, step).is_some());
            for at in 0..message.len() {
                let mut wrong = message.clone();
                wrong[at] ^= 1;
                assert_eq!(verdict(true, &wrong, step), Some(Failure::Bytes), "{at}");
            }
        }
        assert_eq!(verdict(true, &[message.as_slice(), b"x"].concat(), 4), Some(Failure::Length));
    }
}
