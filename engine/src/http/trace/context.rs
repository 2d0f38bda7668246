//! The context of a trace in a request's head: in which of the forms it came, what it says, and how it goes on.

use super::super::field::Fields;
use super::super::{FieldId, HeadEditor, HeadView, RequestHead, Span};
use super::{b3, w3c};
use ringway_config::model::TraceForm;
use smallvec::SmallVec;

/// What a request said of the trace that it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// `None`: the sender has only decided whether there is to be a trace.
    pub ids: Option<Ids>,
    /// `None`: the sender leaves it to this side.
    pub sampled: Option<bool>,
    /// It is to be traced all the way, whatever the share of requests that are (B3).
    pub debug: bool,
}

/// Where in a trace a request was sent. No id is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub trace: u128,
    /// The sender's span.
    pub span: u64,
    /// Its parent, where that is said (B3).
    pub parent: Option<u64>,
}

/// The context of a request came broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What was found in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub form: TraceForm,
    pub context: Result<Context, Malformed>,
}

/// Fields of each form.
const B3: u128 = Fields::set_of(&[FieldId::B3]);
const B3_MULTI: u128 = Fields::set_of(&[
    FieldId::XB3TraceId,
    FieldId::XB3SpanId,
    FieldId::XB3ParentSpanId,
    FieldId::XB3Sampled,
    FieldId::XB3Flags,
]);
const W3C: u128 = Fields::set_of(&[FieldId::Traceparent, FieldId::Tracestate]);

/// The fields in which a context stands in this form.
pub const fn fields(form: TraceForm) -> u128 {
    match form {
        TraceForm::B3 => B3,
        TraceForm::B3Multi => B3_MULTI,
        TraceForm::W3c => W3C,
    }
}

/// The first of `forms` in which the head has a context.
pub fn find(forms: &[TraceForm], head: &RequestHead, view: HeadView<'_>) -> Option<Found> {
    if !head.fields.contains_any(B3 | B3_MULTI | W3C) {
        return None;
    }
    forms.iter().find_map(|&form| {
        let context = match form {
            TraceForm::B3 => b3::single(&head.fields, view),
            TraceForm::B3Multi => b3::multi(&head.fields, view),
            TraceForm::W3c => w3c::traceparent(&head.fields, view),
        };
        context.map(|context| Found { form, context })
    })
}

/// A context that goes on.
#[derive(Clone, Copy, Debug)]
pub struct Onward {
    pub trace: u128,
    /// The span from which the request is sent. Each try writes its own over it.
    pub span: u64,
    /// The parent of that.
    pub parent: u64,
    pub sampled: bool,
    pub debug: bool,
}

/// Where the sender's span stands in the edits of a head: 16 digits each.
pub type Slots = SmallVec<[Span; 3]>;

/// Write the context into the head in each of `forms`, in place of what is there, and note in `slots` where its span is.
pub fn write(onward: &Onward, forms: &[TraceForm], head: &mut HeadEditor<'_>, slots: &mut Slots) {
    for &form in forms {
        match form {
            TraceForm::B3 => b3::write_single(onward, head, slots),
            TraceForm::B3Multi => b3::write_multi(onward, head, slots),
            TraceForm::W3c => w3c::write(onward, head, slots),
        }
    }
}

/// Add a line whose value has the id of a span at `at`; `write` makes the value.
pub(super) fn add(
    head: &mut HeadEditor<'_>,
    id: FieldId,
    at: u32,
    slots: &mut Slots,
    write: impl FnOnce(&mut Vec<u8>),
) {
    head.add_known(id, write);
    if let Some(line) = head.fields.as_slice().last() {
        let start = line.value.start + at;
        slots.push(Span { start, end: start + 16 });
    }
}

/// The number that 16 or fewer hexadecimal digits write, in either case.
pub(super) fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number: u64, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(digit))
    })
}

/// The number that 32 digits write.
pub(super) fn hex_of_32(digits: &[u8; 32]) -> Option<u128> {
    let (high, low) = digits.split_at(16);
    Some(u128::from(hex(high)?) << 64 | u128::from(hex(low)?))
}
