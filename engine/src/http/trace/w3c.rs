//! W3C Trace Context (https://www.w3.org/TR/trace-context-2/): `traceparent` and `tracestate`.

use super::super::field::Fields;
use super::super::{FieldId, HeadEditor, HeadView};
use super::context::{Onward, Slots, note};
use super::parse::{Context, LENGTH, Malformed, is_tracestate, parse_traceparent};
use crate::base::random;

/// `None`: there is none.
pub(super) fn traceparent(fields: &Fields, view: HeadView<'_>) -> Option<Result<Context, Malformed>> {
    if !fields.contains(FieldId::Traceparent) {
        return None;
    }
    let mut lines = fields.all(FieldId::Traceparent);
    let value = lines.next()?.value.of(view);
    Some(if lines.next().is_some() { Err(Malformed) } else { parse_traceparent(value).ok_or(Malformed) })
}

/// Bytes before the value.
const AT: usize = "traceparent: ".len();
const LINE: [u8; AT + LENGTH + 2] = *b"traceparent: 00-00000000000000000000000000000000-0000000000000000-00\r\n";
/// The last digit of the flags.
const FLAGS_AT: usize = AT + 54;
const RANDOM: u8 = 2;

/// `tracestate` stays as it is: what it says belongs to others.
#[inline(never)]
pub(super) fn write(onward: &Onward, head: &mut HeadEditor<'_>, slots: &mut Slots) {
    head.fields.remove_id(FieldId::Traceparent);
    let mut line = LINE;
    line[AT + 3..AT + 19].copy_from_slice(&random::hex((onward.trace >> 64) as u64));
    line[AT + 19..AT + 35].copy_from_slice(&random::hex(onward.trace as u64));
    line[AT + 36..AT + 52].copy_from_slice(&random::hex(onward.span));
    line[FLAGS_AT] = b'0' + u8::from(onward.sampled) + if onward.random { RANDOM } else { 0 };
    head.add_whole(FieldId::Traceparent, &line);
    note(onward, head, 36, slots);
}

/// The same for a request that came without a context and is not sampled: the first span of a trace has the lower half of its id,
/// which is random.
#[inline]
pub fn write_unsampled(trace: u128, head: &mut HeadEditor<'_>) {
    let mut line = const {
        let mut line = LINE;
        line[FLAGS_AT] += RANDOM;
        line
    };
    line[AT + 3..AT + 19].copy_from_slice(&random::hex((trace >> 64) as u64));
    let low = random::hex(trace as u64);
    line[AT + 19..AT + 35].copy_from_slice(&low);
    line[AT + 36..AT + 52].copy_from_slice(&low);
    head.add_whole(FieldId::Traceparent, &line);
}

/// Whether `tracestate` is a list of entries: what is none is not passed on.
pub fn is_valid_tracestate(fields: &Fields, view: HeadView<'_>) -> bool {
    is_tracestate(fields.all(FieldId::Tracestate).map(|line| line.value.of(view)))
}
