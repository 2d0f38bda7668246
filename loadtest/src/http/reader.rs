//! Turns received bytes into heads, content and ends, one message after another on a connection.
use super::body::Body;
use super::head::{self, RequestHead, ResponseHead};
use super::{Framing, Malformed};

/// What the next bytes of a connection were.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'i, H> {
    Head(H),
    Data(&'i [u8]),
    /// The message is complete; the next byte starts another one.
    End,
    /// The input is used up in the middle of a message or between two.
    More,
}

/// Heads that a [`Reader`] can read.
pub trait Head: Sized {
    /// What must be known to read one (for a response: whether it answers a HEAD request).
    type Context: Copy;

    fn parse(buf: &[u8], context: Self::Context) -> Result<Self, Malformed>;
    fn framing(&self) -> Framing;
    /// An interim response (1xx), after which the final head follows.
    fn interim(&self) -> bool;
}

/// One side of one connection: bytes in, events out.
#[derive(Debug)]
pub struct Reader<H> {
    /// The start of a head whose end has not arrived.
    partial: Vec<u8>,
    state: State,
    head: std::marker::PhantomData<H>,
}

/// Reads requests, at the origin.
pub type RequestReader = Reader<RequestHead>;
/// Reads responses, at the client.
pub type ResponseReader = Reader<ResponseHead>;

#[derive(Debug)]
enum State {
    Head,
    Body(Body),
}

impl<H: Head> Reader<H> {
    pub fn new() -> Reader<H> {
        Reader { partial: Vec::new(), state: State::Head, head: std::marker::PhantomData }
    }

    /// Takes the next event off the front of `input`. After [`Event::More`] the input is empty.
    pub fn next<'i>(&mut self, input: &mut &'i [u8], context: H::Context) -> Result<Event<'i, H>, Malformed> {
        match &mut self.state {
            State::Head => self.next_head(input, context),
            State::Body(body) => {
                let data = body.take(input)?;
                if !data.is_empty() {
                    return Ok(Event::Data(data));
                }
                if *body == Body::Done {
                    self.state = State::Head;
                    return Ok(Event::End);
                }
                Ok(Event::More)
            }
        }
    }

    fn next_head<'i>(&mut self, input: &mut &'i [u8], context: H::Context) -> Result<Event<'i, H>, Malformed> {
        loop {
            let (head, used) = if self.partial.is_empty() {
                match head::head_len(input)? {
                    Some(len) => (H::parse(&input[..len], context)?, len),
                    None => return Ok(self.keep(input)),
                }
            } else {
                let before = self.partial.len();
                self.partial.extend_from_slice(input);
                match head::head_len(&self.partial)? {
                    Some(len) => {
                        let head = H::parse(&self.partial[..len], context)?;
                        self.partial.clear();
                        (head, len - before)
                    }
                    None => {
                        *input = &[];
                        return Ok(Event::More);
                    }
                }
            };
            *input = &input[used..];
            if !head.interim() {
                self.state = State::Body(Body::new(head.framing()));
                return Ok(Event::Head(head));
            }
        }
    }

    fn keep<'i>(&mut self, input: &mut &'i [u8]) -> Event<'i, H> {
        self.partial.extend_from_slice(input);
        *input = &[];
        Event::More
    }

    /// Whether the connection stands between two messages, with nothing of the next one received.
    pub fn at_start(&self) -> bool {
        matches!(self.state, State::Head) && self.partial.is_empty()
    }

    /// Whether the end of the connection is the proper end of the message being read.
    pub fn ends_at_close(&self) -> bool {
        matches!(self.state, State::Body(Body::UntilClose))
    }
}

impl<H: Head> Default for Reader<H> {
    fn default() -> Self {
        Reader::new()
    }
}

impl Head for ResponseHead {
    type Context = bool;

    fn parse(buf: &[u8], to_head: bool) -> Result<Self, Malformed> {
        head::response_head(buf, to_head)
    }

    fn framing(&self) -> Framing {
        self.framing
    }

    fn interim(&self) -> bool {
        self.status < 200
    }
}

impl Head for RequestHead {
    type Context = ();

    fn parse(buf: &[u8], (): ()) -> Result<Self, Malformed> {
        head::request_head(buf)
    }

    fn framing(&self) -> Framing {
        self.framing
    }

    fn interim(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every event of `text`, fed in pieces of `step` bytes, as one line of words.
    fn events(text: &[u8], step: usize) -> String {
        let mut reader = ResponseReader::new();
        let mut words = String::new();
        let mut content = 0;
        for mut input in text.chunks(step) {
            loop {
                match reader.next(&mut input, false).unwrap() {
                    Event::Head(head) => words += &format!("{} ", head.status),
                    Event::Data(data) => content += data.len(),
                    Event::End => words += &format!("{} ", std::mem::take(&mut content)),
                    Event::More => break,
                }
            }
        }
        assert!(reader.at_start());
        words
    }

    #[test]
    fn pipelined_answers_come_apart_at_any_split() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\n\
            Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nHTTP/1.1 204 No\r\n\r\n";
        for step in 1..=text.len() {
            assert_eq!(events(text, step), "200 3 404 2 204 0 ", "step {step}");
        }
    }

    #[test]
    fn a_body_without_length_ends_with_the_connection() {
        let mut reader = ResponseReader::new();
        let mut input = &b"HTTP/1.1 200 OK\r\n\r\nabc"[..];
        assert!(matches!(reader.next(&mut input, false), Ok(Event::Head(_))));
        assert_eq!(reader.next(&mut input, false), Ok(Event::Data(b"abc")));
        assert_eq!(reader.next(&mut input, false), Ok(Event::More));
        assert!(reader.ends_at_close());
    }
}
