//! B3, Zipkin's form of a trace's context, in one field or in several (https://github.com/openzipkin/b3-propagation).

use super::super::field::Fields;
use super::super::{FieldId, HeadEditor, HeadView};
use super::context::{Context, Ids, Malformed, Onward, Slots, add, hex, hex_of_32};
use crate::base::random;

/// `b3: {trace}-{span}[-{sampled}[-{parent}]]`, or the decision alone. `None`: there is none.
pub(super) fn single(fields: &Fields, view: HeadView<'_>) -> Option<Result<Context, Malformed>> {
    let mut lines = fields.all(FieldId::B3);
    let value = lines.next()?.value.of(view);
    Some(if lines.next().is_some() { Err(Malformed) } else { parse_single(value).ok_or(Malformed) })
}

fn parse_single(value: &[u8]) -> Option<Context> {
    if let [decision] = value {
        return parse_decision(*decision).map(|(sampled, debug)| Context { ids: None, sampled, debug });
    }
    let mut parts = value.split(|byte| *byte == b'-');
    let (trace, span) = (trace_id(parts.next()?)?, span_id(parts.next()?)?);
    let mut context = Context::default();
    let mut parent = None;
    match parts.next() {
        Some([decision]) => {
            (context.sampled, context.debug) = parse_decision(*decision)?;
            parent = parts.next().map(|part| span_id(part).ok_or(())).transpose().ok()?;
        }
        // A parent may follow without a decision.
        Some(part) => parent = Some(span_id(part)?),
        None => {}
    }
    if parts.next().is_some() {
        return None;
    }
    context.ids = Some(Ids { trace, span, parent });
    Some(context)
}

fn parse_decision(decision: u8) -> Option<(Option<bool>, bool)> {
    match decision {
        b'0' => Some((Some(false), false)),
        b'1' => Some((Some(true), false)),
        b'd' => Some((Some(true), true)),
        _ => None,
    }
}

/// `x-b3-traceid`, `x-b3-spanid`, `x-b3-parentspanid`, `x-b3-sampled`, `x-b3-flags`. `None`: there is none.
pub(super) fn multi(fields: &Fields, view: HeadView<'_>) -> Option<Result<Context, Malformed>> {
    let ids =
        [FieldId::XB3TraceId, FieldId::XB3SpanId, FieldId::XB3ParentSpanId, FieldId::XB3Sampled, FieldId::XB3Flags];
    if !ids.iter().any(|id| fields.contains(*id)) {
        return None;
    }
    let is_twice = ids.iter().any(|id| fields.contains(*id) && fields.all(*id).nth(1).is_some());
    let values = ids.map(|id| fields.value(id, view));
    Some(if is_twice { Err(Malformed) } else { parse_multi(values).ok_or(Malformed) })
}

fn parse_multi([trace, span, parent, sampled, flags]: [Option<&[u8]>; 5]) -> Option<Context> {
    let ids = match (trace, span) {
        (Some(trace), Some(span)) => {
            let parent = match parent {
                Some(parent) => Some(span_id(parent)?),
                None => None,
            };
            Some(Ids { trace: trace_id(trace)?, span: span_id(span)?, parent })
        }
        (None, None) if parent.is_none() => None,
        _ => return None,
    };
    let sampled = match sampled {
        None => None,
        // Early senders wrote words.
        Some(b"1" | b"true" | b"True") => Some(true),
        Some(b"0" | b"false" | b"False") => Some(false),
        Some(_) => return None,
    };
    let debug = match flags {
        None | Some(b"0") => false,
        Some(b"1") => true,
        Some(_) => return None,
    };
    Some(Context { ids, sampled: if debug { Some(true) } else { sampled }, debug })
}

fn trace_id(text: &[u8]) -> Option<u128> {
    let id = match text.len() {
        32 => hex_of_32(text.first_chunk()?)?,
        16 => u128::from(hex(text)?),
        _ => return None,
    };
    (id != 0).then_some(id)
}

fn span_id(text: &[u8]) -> Option<u64> {
    let id = if text.len() == 16 { hex(text) } else { None };
    id.filter(|id| *id != 0)
}

/// An id that came with 16 digits goes on with 16.
fn write_trace(trace: u128, out: &mut Vec<u8>) {
    let high = (trace >> 64) as u64;
    if high != 0 {
        out.extend_from_slice(&random::hex(high));
    }
    out.extend_from_slice(&random::hex(trace as u64));
}

pub(super) fn write_single(onward: &Onward, head: &mut HeadEditor<'_>, slots: &mut Slots) {
    head.fields.remove_id(FieldId::B3);
    let at = if onward.trace >> 64 == 0 { 17 } else { 33 };
    add(head, FieldId::B3, at, slots, |out| {
        write_trace(onward.trace, out);
        out.push(b'-');
        out.extend_from_slice(&random::hex(onward.span));
        let decision: &[u8] = match onward {
            Onward { debug: true, .. } => b"-d",
            Onward { sampled: true, .. } => b"-1",
            _ => b"-0",
        };
        out.extend_from_slice(decision);
        if onward.sampled {
            out.push(b'-');
            out.extend_from_slice(&random::hex(onward.parent));
        }
    });
}

pub(super) fn write_multi(onward: &Onward, head: &mut HeadEditor<'_>, slots: &mut Slots) {
    head.fields.remove_all(super::context::fields(ringway_config::model::TraceForm::B3Multi));
    head.add_known(FieldId::XB3TraceId, |out| write_trace(onward.trace, out));
    add(head, FieldId::XB3SpanId, 0, slots, |out| out.extend_from_slice(&random::hex(onward.span)));
    if onward.sampled {
        head.add_known(FieldId::XB3ParentSpanId, |out| out.extend_from_slice(&random::hex(onward.parent)));
    }
    // The flag of debugging says it all: with it, no decision is written.
    match onward.debug {
        true => head.add_known(FieldId::XB3Flags, |out| out.push(b'1')),
        false => head.add_known(FieldId::XB3Sampled, |out| out.push(if onward.sampled { b'1' } else { b'0' })),
    }
}
