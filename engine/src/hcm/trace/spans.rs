//! The spans of an exchange that has ended: its own and those of its tries, as records for the thread that exports them.

use super::super::connection::Connection;
use super::super::manager::{Hcm, SpanQueue};
use super::super::record::record;
use super::super::serving::Ending;
use super::TraceTable;
use super::table::Said;
use crate::base::clock::Nanos;
use crate::http::format::{Record, format_value};
use crate::http::grpc::{self, GrpcStatus};
use crate::http::matcher::scheme;
use crate::http::trace::{Event, Kind, RecordWriter, RetryReason, SpanFacts, Tag, Trace, TrySpan};
use crate::http::{Exchange, FieldId, HeadView, Method, RequestHead, Version, split_port};
use ringway_config::model::TagNames;
use std::borrow::Cow;

/// A sampled exchange has ended.
#[cold]
pub(in super::super) fn end(hcm: &Hcm, connection: &Connection, exchange: &mut Exchange, ending: &Ending) {
    let Some(tries) = exchange.trace.tries.take() else { return };
    if let (Some(table), Some(queue)) = (&hcm.tracing, hcm.shard.spans()) {
        let record = record(hcm, connection, exchange, Some(ending));
        let telling = Telling { table, trace: &exchange.trace, record: &record, now: record.now };
        let spans = tries.spans();
        let came = spans.first().map_or(record.request, |first| telling.sent(first));
        let mut lost = u64::from(!telling.exchange(queue, exchange, came, ending));
        for span in spans.iter() {
            lost += u64::from(!telling.one_try(queue, span));
        }
        hcm.stats.tracing_spans_lost.add(lost);
        if queue.writer.is_due() {
            table.tracers().wake();
        }
    }
    hcm.shard.give_tries(tries);
}

/// A request's head, and the bytes that it names.
type Request<'a> = Option<(&'a RequestHead, HeadView<'a>)>;

struct Telling<'a> {
    table: &'a TraceTable,
    trace: &'a Trace,
    record: &'a Record<'a>,
    now: Nanos,
}

impl Telling<'_> {
    /// On the wall clock, in microseconds.
    fn wall(&self, at: Nanos) -> u64 {
        let times = &self.record.times;
        times.start_wall_micros + at.saturating_sub(times.start) / 1000
    }

    fn is_semantic(&self) -> bool {
        self.table.names == TagNames::Semantic
    }

    /// `came`: the request before an internal redirect changed it. Whether there was room for it.
    fn exchange(&self, queue: &SpanQueue, exchange: &Exchange, came: Request<'_>, ending: &Ending) -> bool {
        let (record, trace) = (self.record, self.trace);
        let said = self.table.said(exchange.facts.route);
        let status = record.response_code;
        let grpc_status = record.grpc_status();
        let facts = SpanFacts {
            tracer: self.table.tracer,
            kind: Kind::Server,
            shared: trace.shared,
            debug: trace.debug,
            random: trace.random,
            error: status == 0 || status >= 500 || grpc_status.is_some_and(is_error),
            trace_id: trace.trace,
            id: trace.span,
            parent: trace.parent,
            start: record.times.start_wall_micros,
            duration: self.now.saturating_sub(record.times.start) / 1000,
            local: record.downstream_local_address,
            remote: record.downstream_remote_address,
        };
        let mut scratch = queue.record.borrow_mut();
        let [out, text] = &mut *scratch;
        text.clear();
        self.name(said, exchange, came, text);
        let caller = came.and_then(|(head, view)| head.fields.value(DOWNSTREAM_CLUSTER, view));
        let tracestate = came.map(|(head, view)| tracestate(head, view)).unwrap_or_default();
        let mut out = RecordWriter::new(out, &facts, text, caller.unwrap_or_default(), &tracestate);
        if let Some((head, view)) = came {
            self.request_tags(&mut out, head, view);
        }
        out.number(Tag::RequestSize, record.received as i64);
        out.number(Tag::ResponseSize, record.sent as i64);
        // Envoy says 0 where there was no response; the conventions say nothing.
        if status != 0 || !self.is_semantic() {
            out.number(Tag::StatusCode, i64::from(status));
        }
        let flags = record.response_flags;
        if !(flags.is_empty() && self.is_semantic()) {
            text.clear();
            flags.push(false, text);
            out.tag(Tag::ResponseFlags, text);
        }
        if let Some(cluster) = record.upstream_cluster {
            self.cluster(&mut out, cluster);
        }
        if let Some(route) = record.route_name {
            out.tag(Tag::Route, route.as_bytes());
        }
        if let Some(status) = grpc_status {
            out.number(Tag::GrpcStatus, i64::from(status.0));
            if let Some(message) = exchange.response.grpc_message() {
                out.tag(Tag::GrpcMessage, message);
            }
        }
        if let Some(kind) = kind_of_error(facts.error, status, ending.details) {
            out.tag(Tag::ErrorType, kind.as_bytes());
        }
        for (name, format) in &said.tags {
            text.clear();
            if format_value(format, record, text) {
                out.custom(name, text);
            }
        }
        if self.table.config.events {
            self.events(&mut out);
        }
        queue.writer.push(out.finish())
    }

    /// What the span of the exchange is called.
    fn name(&self, said: &Said, exchange: &Exchange, came: Request<'_>, text: &mut Vec<u8>) {
        let Some((head, view)) = came else { return };
        if !self.trace.operation.is_empty() {
            text.extend_from_slice(self.trace.operation.of(exchange.request.view()));
            return;
        }
        if said.operation.as_ref().is_some_and(|format| format_value(format, self.record, text)) {
            return;
        }
        if !self.is_semantic() {
            text.extend_from_slice(head.authority.of(view));
            return;
        }
        text.extend_from_slice(method_name(head, view));
        if let Some(route) = self.record.route_name {
            text.push(b' ');
            text.extend_from_slice(route.as_bytes());
        }
    }

    fn request_tags(&self, out: &mut RecordWriter<'_>, head: &RequestHead, view: HeadView<'_>) {
        let original = head.fields.value(FieldId::XEnvoyOriginalPath, view);
        let target = original.map_or_else(|| head.target(view), |original| [original, b""]);
        let authority = head.authority.of(view);
        if self.is_semantic() {
            semantic_method(out, head, view);
            self.semantic_url(out, target, authority);
            out.tag(Tag::Scheme, scheme(head, view).as_bytes());
            out.tag(Tag::Protocol, version(head.version));
        } else {
            out.tag(Tag::Method, head.method_bytes(view));
            out.tag(Tag::Component, b"proxy");
            self.url(out, head, view, target);
            out.tag(Tag::Protocol, head.version.as_str().as_bytes());
        }
        let texts = [
            (Tag::RequestId, FieldId::XRequestId),
            (Tag::ClientTraceId, FieldId::XClientTraceId),
            (Tag::UserAgent, FieldId::UserAgent),
            (Tag::DownstreamCluster, DOWNSTREAM_CLUSTER),
        ];
        for (tag, id) in texts {
            if let Some(value) = head.fields.value(id, view) {
                out.tag(tag, value);
            }
        }
        if grpc::is_call(head, view) {
            self.grpc_tags(out, head, view);
        }
        if let Some(peer) = self.record.downstream_direct_remote_address {
            out.address(Tag::PeerAddress, peer);
        }
    }

    /// The whole URL, as the client wrote it.
    fn url(&self, out: &mut RecordWriter<'_>, head: &RequestHead, view: HeadView<'_>, target: [&[u8]; 2]) {
        let max = self.table.config.max_path_length;
        let rest = cut(target[1], max.saturating_sub(target[0].len()));
        let scheme = scheme(head, view).as_bytes();
        out.tag_of(Tag::Url, &[scheme, b"://", head.authority.of(view), cut(target[0], max), rest]);
    }

    fn semantic_url(&self, out: &mut RecordWriter<'_>, target: [&[u8]; 2], authority: &[u8]) {
        let whole = if target[0].is_empty() || target[1].is_empty() { None } else { Some(target.concat()) };
        let target = whole.as_deref().unwrap_or(if target[0].is_empty() { target[1] } else { target[0] });
        let target = cut(target, self.table.config.max_path_length);
        let mut parts = target.splitn(2, |byte| *byte == b'?');
        out.tag(Tag::Path, parts.next().unwrap_or_default());
        if let Some(query) = parts.next() {
            out.tag(Tag::Query, query);
        }
        server_tags(out, authority);
    }

    fn grpc_tags(&self, out: &mut RecordWriter<'_>, head: &RequestHead, view: HeadView<'_>) {
        out.tag(Tag::GrpcPath, head.path(view));
        out.tag(Tag::GrpcAuthority, head.authority.of(view));
        let texts = [(Tag::GrpcContentType, FieldId::ContentType), (Tag::GrpcTimeout, FieldId::GrpcTimeout)];
        for (tag, id) in texts {
            if let Some(value) = head.fields.value(id, view) {
                out.tag(tag, value);
            }
        }
    }

    fn cluster(&self, out: &mut RecordWriter<'_>, cluster: &str) {
        out.tag(Tag::UpstreamCluster, cluster.as_bytes());
        if !self.is_semantic() {
            out.tag(Tag::UpstreamClusterName, cluster.as_bytes());
        }
    }

    fn events(&self, out: &mut RecordWriter<'_>) {
        let times = &self.record.times;
        let moments = [
            (Event::RequestReceived, times.request_end),
            (Event::ResponseSending, times.downstream_start),
            (Event::ResponseSent, times.downstream_end),
        ];
        for (event, at) in moments {
            if let Some(at) = at {
                out.event(event, at.saturating_sub(times.start) / 1000);
            }
        }
    }

    /// Whether there was room for it.
    fn one_try(&self, queue: &SpanQueue, span: &TrySpan) -> bool {
        let (record, trace) = (self.record, self.trace);
        let end = span.end.unwrap_or(self.now);
        let grpc_error = span.grpc_status.is_some_and(is_error);
        // Without a connection, the endpoint's own is the best that is known.
        let remote = span.remote.or_else(|| span.endpoint.parse().ok());
        let facts = SpanFacts {
            tracer: self.table.tracer,
            kind: Kind::Client,
            shared: false,
            debug: trace.debug,
            random: trace.random,
            error: span.failure.is_some() || span.status >= 500 || grpc_error,
            trace_id: trace.trace,
            id: span.id,
            parent: trace.span,
            start: self.wall(span.start),
            duration: end.saturating_sub(span.start) / 1000,
            local: span.local,
            remote,
        };
        let cluster = record.upstream_cluster.unwrap_or_default();
        let mut scratch = queue.record.borrow_mut();
        let [out, text] = &mut *scratch;
        text.clear();
        match (self.is_semantic(), self.sent(span)) {
            (true, Some((head, view))) => text.extend_from_slice(method_name(head, view)),
            _ => [b"router ", cluster.as_bytes(), b" egress"].iter().for_each(|part| text.extend_from_slice(part)),
        }
        let mut out = RecordWriter::new(out, &facts, text, cluster.as_bytes(), b"");
        self.try_tags(&mut out, span, cluster);
        if self.table.config.events {
            try_events(&mut out, span);
        }
        queue.writer.push(out.finish())
    }

    /// The request's head as it went out with this try.
    fn sent<'s>(&'s self, span: &'s TrySpan) -> Request<'s> {
        self.record.request.map(|(head, view)| (span.head.as_deref().unwrap_or(head), view))
    }

    fn try_tags(&self, out: &mut RecordWriter<'_>, span: &TrySpan, cluster: &str) {
        if self.is_semantic() {
            if let Some((head, view)) = self.sent(span) {
                semantic_method(out, head, view);
                self.url(out, head, view, head.target(view));
                server_tags(out, head.authority.of(view));
            }
            let version = span.protocol.strip_prefix("HTTP/").unwrap_or(span.protocol);
            if !version.is_empty() {
                out.tag(Tag::Protocol, version.as_bytes());
            }
        } else {
            out.tag(Tag::Component, b"proxy");
            if !span.protocol.is_empty() {
                out.tag(Tag::Protocol, span.protocol.as_bytes());
            }
        }
        self.cluster(out, cluster);
        out.tag(Tag::UpstreamAddress, span.endpoint.as_bytes());
        if let Some(remote) = span.remote {
            out.address(Tag::PeerAddress, remote);
        }
        if span.status != 0 {
            out.number(Tag::StatusCode, i64::from(span.status));
        }
        if let Some(status) = span.grpc_status {
            out.number(Tag::GrpcStatus, i64::from(status.0));
        }
        if let Some(failure) = span.failure {
            out.tag(Tag::ErrorType, failure.as_bytes());
        } else if span.end.is_none() {
            out.tag(Tag::ErrorType, b"given up");
        }
        if span.number > 0 {
            out.number(Tag::RetryCount, i64::from(span.number));
        }
        match span.reason {
            None => {}
            Some(RetryReason::Status(status)) => {
                out.tag(Tag::RetryReason, itoa::Buffer::new().format(status).as_bytes());
            }
            Some(RetryReason::Grpc(status)) => {
                out.tag_of(Tag::RetryReason, &[b"grpc ", itoa::Buffer::new().format(status.0).as_bytes()]);
            }
            Some(RetryReason::Failure(why)) => out.tag(Tag::RetryReason, why.as_bytes()),
            Some(RetryReason::Redirect) => out.tag(Tag::RetryReason, b"internal redirect"),
        }
    }
}

const DOWNSTREAM_CLUSTER: FieldId = FieldId::XEnvoyDownstreamServiceCluster;

fn try_events(out: &mut RecordWriter<'_>, span: &TrySpan) {
    let mut event = |event, at: Option<Nanos>| {
        if let Some(at) = at {
            out.event(event, at.saturating_sub(span.start) / 1000);
        }
    };
    if let Some([start, connected, ready]) = span.connect {
        event(Event::ConnectStart, Some(start));
        event(Event::Connected, Some(connected));
        event(Event::Secured, (ready > connected).then_some(ready));
    }
    event(Event::RequestSending, span.sent);
    event(Event::ResponseReceiving, span.responded);
    event(Event::ResponseReceived, span.end.filter(|_| span.responded.is_some() && span.failure.is_none()));
}

/// Statuses that are the server's errors, for Envoy and for OpenTelemetry's conventions alike.
fn is_error(status: GrpcStatus) -> bool {
    matches!(status.0, 2 | 4 | 12 | 13 | 14 | 15)
}

/// The host that the request is for.
fn server_tags(out: &mut RecordWriter<'_>, authority: &[u8]) {
    let (host, port) = split_port(authority);
    out.tag(Tag::ServerAddress, host);
    if let Some(port) = port.and_then(|port| std::str::from_utf8(port).ok()?.parse().ok()) {
        out.number(Tag::ServerPort, port);
    }
}

/// All lines of it as one.
fn tracestate<'a>(head: &RequestHead, view: HeadView<'a>) -> Cow<'a, [u8]> {
    let mut lines = head.fields.all(FieldId::Tracestate).map(|line| line.value.of(view));
    let first = lines.next().unwrap_or_default();
    match lines.next() {
        None => first.into(),
        Some(second) => [first, second].into_iter().chain(lines).collect::<Vec<_>>().join(&b',').into(),
    }
}

/// In the name of a span: the conventions want no more names than there are methods.
fn method_name<'a>(head: &RequestHead, view: HeadView<'a>) -> &'a [u8] {
    if head.method == Method::Other { b"HTTP" } else { head.method_bytes(view) }
}

fn semantic_method(out: &mut RecordWriter<'_>, head: &RequestHead, view: HeadView<'_>) {
    if head.method == Method::Other {
        out.tag(Tag::Method, b"_OTHER");
        out.custom(b"http.request.method_original", head.method_bytes(view));
    } else {
        out.tag(Tag::Method, head.method_bytes(view));
    }
}

/// As the conventions write it.
fn version(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"1.0",
        Version::Http11 => b"1.1",
        Version::Http2 => b"2",
    }
}

fn cut(text: &[u8], max: usize) -> &[u8] {
    &text[..text.len().min(max)]
}

/// What was wrong with an exchange whose status does not say it. An answer of the endpoint does, by its status of gRPC.
fn kind_of_error(is_error: bool, status: u16, details: &str) -> Option<&str> {
    (is_error && status < 500 && !details.starts_with("via_upstream")).then_some(details)
}

#[cfg(test)]
mod tests {
    use super::kind_of_error;

    #[test]
    fn the_kind_of_an_error_is_what_its_status_does_not_say() {
        let gone = "downstream_remote_disconnect";
        assert_eq!(kind_of_error(true, 0, gone), Some(gone));
        assert_eq!(kind_of_error(true, 200, gone), Some(gone), "a call, answered here");
        assert_eq!(kind_of_error(true, 200, "via_upstream"), None);
        assert_eq!(kind_of_error(true, 503, gone), None);
        assert_eq!(kind_of_error(false, 404, gone), None);
    }
}
