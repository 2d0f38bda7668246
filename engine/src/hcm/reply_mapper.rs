//! Replies made here, in the words of the configuration (Envoy: LocalReplyConfig).

use super::access_log::LogFilter;
use super::connection::Connection;
use super::manager::Hcm;
use super::record::record;
use super::serving::Ending;
use crate::http::format::{Escape, LineFormat, Record, format_body};
use crate::http::{Exchange, FieldId, Reply};
use ringway_config::model::LocalReply;

/// One entry of `local_reply`, ready to use.
#[derive(Debug)]
pub struct ReplyMapper {
    /// `None`: every reply.
    filter: Option<LogFilter>,
    status: Option<u16>,
    body: Option<LineFormat>,
    content_type: Box<str>,
    escape: Escape,
}

impl ReplyMapper {
    pub fn new(reply: &LocalReply) -> Self {
        Self {
            filter: reply.filter.as_ref().map(LogFilter::new),
            status: reply.status,
            body: reply.body.as_ref().map(LineFormat::new),
            content_type: reply.content_type.as_str().into(),
            escape: Escape::for_type(&reply.content_type),
        }
    }

    /// Whether the body tells the one that it replaces.
    pub(super) fn tells_local_body(&self) -> bool {
        self.body.as_ref().is_some_and(LineFormat::tells_local_body)
    }

    fn takes(&self, record: &Record<'_>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.takes(record))
    }
}

/// The reply, whose head is in the exchange, as the configuration wants it; its body is put in `body`. `None`: as it is.
pub(super) fn map<'r>(
    hcm: &'r Hcm,
    connection: &Connection,
    exchange: &mut Exchange,
    reply: &Reply<'r>,
    body: &'r mut Vec<u8>,
) -> Option<Reply<'r>> {
    let ending = Ending::whole(reply.flags, reply.details);
    let mapper = {
        let record = record(hcm, connection, exchange, Some(&ending));
        hcm.replies.iter().find(|mapper| mapper.takes(&record))?
    };
    let mut mapped = *reply;
    if let Some(status) = mapper.status {
        mapped.status = status;
        exchange.response.head.status = status;
    }
    if let Some(format) = &mapper.body {
        format_body(format, &record(hcm, connection, exchange, Some(&ending)), mapper.escape, body);
        (mapped.body, mapped.content_type) = (body, &mapper.content_type);
    }
    exchange.response.head.fields.remove_id(FieldId::ContentType);
    mapped.finish(exchange);
    Some(mapped)
}
