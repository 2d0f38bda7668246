//! Bodies of gRPC-Web on their way: requests as gRPC has them, and responses with their trailers as a part of the body.

use super::calls::CallNotes;
use super::{Coders, Piece, Violation};
use crate::base::clock::Nanos;
use crate::codec::grpc::Messages;
use crate::codec::grpc_web::{TextDecoder, TextEncoder, encodable, trailers_frame};
use crate::http::Trailers;
use crate::ring::Buf;
use std::rc::Rc;
use std::task::{Poll, ready};

/// One body of a call of gRPC-Web.
pub(super) struct WebStage {
    work: Work,
    notes: Rc<CallNotes>,
    coders: Rc<Coders>,
    /// Not all taken yet.
    input: Option<Buf>,
    is_over: bool,
}

enum Work {
    /// A request that is base64.
    Decode(TextDecoder),
    Respond(Messages),
    /// A response that is to be base64.
    RespondInText(TextEncoder),
}

impl WebStage {
    pub(super) fn request(coders: &Rc<Coders>, notes: &Rc<CallNotes>) -> Self {
        Self::new(coders, notes, Work::Decode(TextDecoder::default()))
    }

    pub(super) fn response(coders: &Rc<Coders>, notes: &Rc<CallNotes>, is_text: bool) -> Self {
        notes.is_between.set(true);
        let work = match is_text {
            true => Work::RespondInText(TextEncoder::default()),
            false => Work::Respond(Messages::default()),
        };
        Self::new(coders, notes, work)
    }

    fn new(coders: &Rc<Coders>, notes: &Rc<CallNotes>, work: Work) -> Self {
        Self { work, notes: notes.clone(), coders: coders.clone(), input: None, is_over: false }
    }

    /// The next piece of what becomes of the pieces of `source`, or the body's end.
    pub(super) fn poll<E>(
        &mut self,
        now: Nanos,
        trailers: &mut Trailers,
        mut source: impl FnMut(&mut Trailers) -> Poll<Result<Piece, E>>,
        fault: fn(Violation) -> E,
    ) -> Poll<Result<Piece, E>> {
        loop {
            if let Some(input) = self.input.take() {
                match self.step(input).map_err(fault)? {
                    Some(buf) => return Poll::Ready(Ok(Piece::Data(buf))),
                    None => continue,
                }
            }
            if self.is_over {
                return Poll::Ready(Ok(Piece::End));
            }
            match ready!(source(trailers))? {
                Piece::Data(buf) => self.input = Some(buf),
                Piece::End => {
                    self.is_over = true;
                    if let Some(frame) = self.end(trailers, now).map_err(fault)? {
                        return Poll::Ready(Ok(Piece::Data(frame)));
                    }
                }
            }
        }
    }

    /// Take some of the input.
    fn step(&mut self, mut input: Buf) -> Result<Option<Buf>, Violation> {
        let (result, made) = match &mut self.work {
            Work::Respond(messages) => {
                messages.pass(&input);
                self.notes.is_between.set(messages.is_between());
                self.notes.given.set(self.notes.given.get() + input.len() as u64);
                return Ok(Some(input));
            }
            Work::Decode(decoder) => self.coders.write(|out| {
                let text = slice(&input, out);
                let decoded = decoder.decode(text, out);
                (decoded.map(|_| text.len()), decoded.unwrap_or(0))
            }),
            Work::RespondInText(encoder) => self.coders.write(|out| {
                let bytes = slice(&input, out);
                let written = encoder.encode(bytes, out);
                self.notes.is_between.set(encoder.is_between());
                self.notes.given.set(self.notes.given.get() + written as u64);
                (Ok(bytes.len()), written)
            }),
        };
        input.advance(result.map_err(|_| BAD_DATA)?);
        self.input = (!input.is_empty()).then_some(input);
        Ok(made)
    }

    /// The body has ended.
    fn end(&mut self, trailers: &mut Trailers, now: Nanos) -> Result<Option<Buf>, Violation> {
        let is_text = match &self.work {
            Work::Decode(decoder) => return if decoder.may_end() { Ok(None) } else { Err(BAD_SIZE) },
            Work::Respond(_) => false,
            Work::RespondInText(_) => true,
        };
        self.notes.responded(trailers.grpc_status(), now);
        if trailers.is_empty() {
            return Ok(None);
        }
        let frame = self.coders.assemble(|out| trailers_frame(out, trailers.iter(), is_text));
        trailers.are_in_body();
        Ok(Some(frame))
    }
}

/// The input of one step, whose output has this room.
fn slice<'i>(input: &'i [u8], room: &[u8]) -> &'i [u8] {
    &input[..input.len().min(encodable(room.len()))]
}

const BAD_DATA: Violation = Violation { status: 400, details: "grpc_base_64_decode_failed_bad_data" };
const BAD_SIZE: Violation = Violation { status: 400, details: "grpc_base_64_decode_failed_bad_size" };
