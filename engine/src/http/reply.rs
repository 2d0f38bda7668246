//! A response made here. Its head is built in the exchange like any other; this is what else there is to it.

use super::exchange::Exchange;
use super::format::ResponseFlags;
use super::grpc::{self, GrpcStatus};
use super::head::{Length, ResponseHead};
use super::method::{Method, Version};
use super::status::reason;
use super::{FieldId, Fields};
use crate::ring::Reactor;

/// The body of a local reply and why it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    pub status: u16,
    pub body: &'a [u8],
    /// Where there is a body.
    pub content_type: &'a str,
    pub flags: ResponseFlags,
    /// Envoy's response code details.
    pub details: &'static str,
    /// What a call of gRPC is told, where that is not what the status of HTTP means.
    pub grpc_status: Option<GrpcStatus>,
}

impl<'a> Reply<'a> {
    /// A status with a line of text for people.
    pub fn text(status: u16, body: &'a str, flags: ResponseFlags, details: &'static str) -> Self {
        Self { status, body: body.as_bytes(), content_type: "text/plain", flags, details, grpc_status: None }
    }

    /// Make an empty response head in the exchange; fields may be added to it until the reply is sent.
    pub fn begin(exchange: &mut Exchange, reactor: &Reactor) {
        exchange.clear_response(reactor);
    }

    /// Fill in what follows from the reply itself. Fields that `begin`'s caller added stay.
    pub fn finish(&self, exchange: &mut Exchange) {
        // 204 and 304 have no body and no length (RFC 9110 section 8.6).
        let bodiless = matches!(self.status, 204 | 304);
        let is_head = exchange.request.head.method == Method::Head;
        let response = &mut exchange.response;
        let fields: Fields = std::mem::take(&mut response.head.fields);
        let length = self.body.len() as u64;
        response.head = ResponseHead {
            version: Version::Http11,
            status: self.status,
            reason: response.edits.store(|out| out.extend_from_slice(reason(self.status).as_bytes())),
            fields,
            length: if bodiless || is_head { Length::None } else { Length::Known(length) },
            content_length: (!bodiless).then_some(length),
            ..ResponseHead::default()
        };
        response.is_whole = true;
        if !bodiless && !self.body.is_empty() {
            response.edit().add_known(FieldId::ContentType, |out| {
                out.extend_from_slice(self.content_type.as_bytes());
            });
        }
    }

    /// The same, filled in already, for a call of gRPC: a response that is nothing but its trailers, with the body as the message
    /// (Envoy: Utility::sendLocalReply).
    pub fn finish_grpc(&self, exchange: &mut Exchange) -> Reply<'static> {
        let status = self.grpc_status.unwrap_or_else(|| GrpcStatus::of_http(self.status));
        let trailers_only = Reply {
            status: 200,
            body: b"",
            content_type: "",
            flags: self.flags,
            details: self.details,
            grpc_status: self.grpc_status,
        };
        exchange.response.head.fields.remove_id(FieldId::ContentType);
        trailers_only.finish(exchange);
        let head = &mut exchange.response.head;
        // Towards HTTP/2 it goes without saying.
        head.content_length = None;
        let is_said = head.fields.contains(FieldId::GrpcStatus);
        let mut head = exchange.response.edit();
        head.add_known(FieldId::ContentType, |out| out.extend_from_slice(b"application/grpc"));
        if !is_said {
            let mut number = itoa::Buffer::new();
            head.add_known(FieldId::GrpcStatus, |out| out.extend_from_slice(number.format(status.0).as_bytes()));
        }
        let message = self.body.strip_suffix(b"\n").unwrap_or(self.body);
        if !message.is_empty() {
            head.add_known(FieldId::GrpcMessage, |out| grpc::encode_message(message, out));
        }
        trailers_only
    }

    /// Whether the body is sent.
    pub fn has_body(&self, method: Method) -> bool {
        !matches!(self.status, 204 | 304) && method != Method::Head && !self.body.is_empty()
    }
}
