//! B3, Zipkin's form of a trace's context, in one field or in several (https://github.com/openzipkin/b3-propagation).

use super::super::field::Fields;
use super::super::{FieldId, HeadEditor, HeadView};
use super::context::{Onward, Slots, note};
use super::parse::{Context, Malformed, parse_multi, parse_single};
use crate::base::random;

/// `b3: {trace}-{span}[-{sampled}[-{parent}]]`, or the decision alone. `None`: there is none.
pub(super) fn single(fields: &Fields, view: HeadView<'_>) -> Option<Result<Context, Malformed>> {
    let mut lines = fields.all(FieldId::B3);
    let value = lines.next()?.value.of(view);
    Some(if lines.next().is_some() { Err(Malformed) } else { parse_single(value).ok_or(Malformed) })
}

/// In the order in which [`parse_multi`] wants their values.
pub(super) const MULTI: [FieldId; 5] =
    [FieldId::XB3TraceId, FieldId::XB3SpanId, FieldId::XB3ParentSpanId, FieldId::XB3Sampled, FieldId::XB3Flags];

/// `x-b3-traceid` and its relatives. `None`: there is none.
pub(super) fn multi(fields: &Fields, view: HeadView<'_>) -> Option<Result<Context, Malformed>> {
    if !fields.contains_any(const { Fields::set_of(&MULTI) }) {
        return None;
    }
    let is_twice = MULTI.iter().any(|id| fields.contains(*id) && fields.all(*id).nth(1).is_some());
    let values = MULTI.map(|id| fields.value(id, view));
    Some(if is_twice { Err(Malformed) } else { parse_multi(values).ok_or(Malformed) })
}

/// An id that came with 16 digits goes on with 16.
fn write_trace(trace: u128, out: &mut Vec<u8>) {
    let high = (trace >> 64) as u64;
    if high != 0 {
        out.extend_from_slice(&random::hex(high));
    }
    out.extend_from_slice(&random::hex(trace as u64));
}

#[inline(never)]
pub(super) fn write_single(onward: &Onward, head: &mut HeadEditor<'_>, slots: &mut Slots) {
    head.fields.remove_id(FieldId::B3);
    let at = if onward.trace >> 64 == 0 { 17 } else { 33 };
    head.add_known(FieldId::B3, |out| {
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
    note(onward, head, at, slots);
}

#[inline(never)]
pub(super) fn write_multi(onward: &Onward, head: &mut HeadEditor<'_>, slots: &mut Slots) {
    head.fields.remove_all(super::context::fields(ringway_config::model::TraceForm::B3Multi));
    head.add_known(FieldId::XB3TraceId, |out| write_trace(onward.trace, out));
    head.add_known(FieldId::XB3SpanId, |out| out.extend_from_slice(&random::hex(onward.span)));
    note(onward, head, 0, slots);
    if onward.sampled {
        head.add_known(FieldId::XB3ParentSpanId, |out| out.extend_from_slice(&random::hex(onward.parent)));
    }
    // The flag of debugging says it all: with it, no decision is written.
    match onward.debug {
        true => head.add_known(FieldId::XB3Flags, |out| out.push(b'1')),
        false => head.add_known(FieldId::XB3Sampled, |out| out.push(if onward.sampled { b'1' } else { b'0' })),
    }
}
