//! W3C Trace Context (https://www.w3.org/TR/trace-context-1/): `traceparent` and `tracestate`.

use super::super::field::Fields;
use super::super::{FieldId, HeadEditor, HeadView};
use super::context::{Context, Ids, Malformed, Onward, Slots, add, hex, hex_of_32};
use crate::base::random;

/// Length of what version 00 writes: `00-{trace}-{parent}-{flags}`.
const LENGTH: usize = 55;
const SAMPLED: u64 = 1;

/// `None`: there is none.
pub(super) fn traceparent(fields: &Fields, view: HeadView<'_>) -> Option<Result<Context, Malformed>> {
    if !fields.contains(FieldId::Traceparent) {
        return None;
    }
    let mut lines = fields.all(FieldId::Traceparent);
    let value = lines.next()?.value.of(view);
    Some(if lines.next().is_some() { Err(Malformed) } else { parse(value).ok_or(Malformed) })
}

fn parse(value: &[u8]) -> Option<Context> {
    let (known, more) = value.split_first_chunk::<LENGTH>()?;
    let version = lower(&known[..2])?;
    // A later version may add parts, version 00 has none; 255 is none.
    let ends_well = if version == 0 { more.is_empty() } else { matches!(more.first(), None | Some(b'-')) };
    let dashes = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
    if version == 255 || !ends_well || !dashes || known.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let trace = hex_of_32(known[3..].first_chunk()?)?;
    let (span, flags) = (hex(&known[36..52])?, hex(&known[53..])?);
    let ids = Ids { trace, span, parent: None };
    (trace != 0 && span != 0).then_some(Context { ids: Some(ids), sampled: Some(flags & SAMPLED != 0), debug: false })
}

fn lower(digits: &[u8]) -> Option<u64> {
    if digits.iter().any(u8::is_ascii_uppercase) { None } else { hex(digits) }
}

/// `tracestate` stays as it is: what it says belongs to others.
pub(super) fn write(onward: &Onward, head: &mut HeadEditor<'_>, slots: &mut Slots) {
    head.fields.remove_id(FieldId::Traceparent);
    add(head, FieldId::Traceparent, 36, slots, |out| {
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        value[3..19].copy_from_slice(&random::hex((onward.trace >> 64) as u64));
        value[19..35].copy_from_slice(&random::hex(onward.trace as u64));
        value[36..52].copy_from_slice(&random::hex(onward.span));
        value[54] = if onward.sampled { b'1' } else { b'0' };
        out.extend_from_slice(&value);
    });
}

/// Entries of a `tracestate` at most (section 3.3.1.1).
const ENTRIES_MAX: usize = 32;

/// Whether all lines of `tracestate` together are a list of entries (section 3.3.1): what is none is not passed on.
pub fn is_valid_tracestate(fields: &Fields, view: HeadView<'_>) -> bool {
    let lines = fields.all(FieldId::Tracestate).map(|line| line.value.of(view));
    let mut count = 0;
    for entry in lines.flat_map(|line| line.split(|byte| *byte == b',')) {
        let entry = entry.trim_ascii();
        if entry.is_empty() {
            continue;
        }
        count += 1;
        let Some(at) = entry.iter().position(|byte| *byte == b'=') else { return false };
        if count > ENTRIES_MAX || !is_key(&entry[..at]) || !is_value(&entry[at + 1..]) {
            return false;
        }
    }
    true
}

/// `key` or `tenant@system`.
fn is_key(key: &[u8]) -> bool {
    let is_part = |part: &[u8], max: usize, starts_with_digit: bool| {
        let starts = |byte: &u8| byte.is_ascii_lowercase() || starts_with_digit && byte.is_ascii_digit();
        let goes_on = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte);
        part.len() <= max && part.first().is_some_and(starts) && part.iter().all(goes_on)
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => is_part(key, 256, true),
        Some(at) => is_part(&key[..at], 241, true) && is_part(&key[at + 1..], 14, false),
    }
}

fn is_value(value: &[u8]) -> bool {
    let is_character = |byte: &u8| matches!(byte, b' '..=b'~') && !b",=".contains(byte);
    !value.is_empty() && value.len() <= 256 && value.iter().all(is_character)
}
