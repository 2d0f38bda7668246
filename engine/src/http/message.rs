//! A message: its head with the bytes that the head is in, what edits add, and the trailers behind the body.

use super::Field;
use super::edit::HeadEditor;
use super::field::Fields;
use super::head::{RequestHead, ResponseHead};
use super::method::Method;
use super::span::{EditBytes, HeadView, Span};
use super::trailers::Trailers;
use crate::net::HeadBytes;
use crate::ring::Reactor;

/// A request or a response, without its body. Cleared and filled again from exchange to exchange.
#[derive(Debug, Default)]
pub struct Message<H> {
    pub head: H,
    /// The bytes that the head was read from.
    pub received: HeadBytes,
    /// Bytes of edits.
    pub edits: EditBytes,
    /// The head is whole; before, its index means nothing.
    pub is_whole: bool,
    /// Of a head that did not become whole, method and target are known.
    pub has_line: bool,
    /// What came behind the body.
    pub trailers: Trailers,
}

/// What all heads have.
pub trait Head {
    fn fields(&mut self) -> &mut Fields;
    fn clear(&mut self);
}

impl Head for RequestHead {
    fn fields(&mut self) -> &mut Fields {
        &mut self.fields
    }

    fn clear(&mut self) {
        Self::clear(self);
    }
}

impl Head for ResponseHead {
    fn fields(&mut self) -> &mut Fields {
        &mut self.fields
    }

    fn clear(&mut self) {
        Self::clear(self);
    }
}

impl<H: Head> Message<H> {
    /// The bytes that the head's spans name.
    #[inline]
    pub fn view(&self) -> HeadView<'_> {
        HeadView { received: self.received.as_slice(), edits: self.edits.as_slice() }
    }

    #[inline]
    pub fn edit(&mut self) -> HeadEditor<'_> {
        HeadEditor { fields: self.head.fields(), received: self.received.as_slice(), edits: &mut self.edits }
    }

    /// Make it empty; capacities stay.
    pub fn clear(&mut self, reactor: &Reactor) {
        self.head.clear();
        self.received.clear(reactor);
        self.edits.clear();
        self.trailers.clear();
        self.is_whole = false;
        self.has_line = false;
    }
}

impl Message<RequestHead> {
    /// A request of the proxy's own making, without a body.
    pub fn request(method: &[u8], target: &[u8], authority: &[u8]) -> Self {
        let mut message = Self::default();
        let edits = &mut message.edits;
        message.head = RequestHead {
            method: Method::from_bytes(method),
            method_span: edits.store(|out| out.extend_from_slice(method)),
            path: edits.store(|out| out.extend_from_slice(target)),
            path_len: target.iter().position(|byte| *byte == b'?').unwrap_or(target.len()) as u32,
            authority: edits.store(|out| out.extend_from_slice(authority)),
            ..RequestHead::default()
        };
        message.is_whole = true;
        message
    }

    /// Copy the head from another message, with all its edits.
    pub fn copy_head(&mut self, other: &Self) {
        let view = other.view();
        let mut copy = |span: Span| self.edits.store(|out| out.extend_from_slice(span.of(view)));
        let head = &other.head;
        let (method_span, path, authority) = (copy(head.method_span), copy(head.path), copy(head.authority));
        let fields = head.fields.iter().map(|field| {
            let (name, value) = (copy(field.name), copy(field.value));
            Field { name, value, is_canonical: false, ..*field }
        });
        let mut copied = std::mem::take(&mut self.head.fields);
        copied.clear();
        fields.for_each(|field| copied.push(field));
        // Nothing is routed by a copy.
        self.head = RequestHead {
            method: head.method,
            method_span,
            version: head.version,
            target_form: head.target_form,
            path,
            path_len: head.path_len,
            implied_path: head.implied_path,
            authority,
            scheme: head.scheme,
            fields: copied,
            length: head.length,
            ..RequestHead::default()
        };
        self.is_whole = other.is_whole;
    }
}
