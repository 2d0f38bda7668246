//! The context of a trace in a request's head: in which of the forms it came, what it says, and how it goes on.

use super::super::field::Fields;
use super::super::{FieldId, HeadEditor, HeadView, RequestHead, Span};
use super::parse::{Context, Malformed};
use super::{b3, w3c};
use ringway_config::model::TraceForm;
use smallvec::SmallVec;

/// What was found in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub form: TraceForm,
    pub context: Result<Context, Malformed>,
}

/// The fields in which a context stands in this form.
pub const fn fields(form: TraceForm) -> u128 {
    match form {
        TraceForm::B3 => const { Fields::set_of(&[FieldId::B3]) },
        TraceForm::B3Multi => const { Fields::set_of(&b3::MULTI) },
        TraceForm::W3c => const { Fields::set_of(&[FieldId::Traceparent, FieldId::Tracestate]) },
    }
}

/// The first of `forms` in which the head has a context.
pub fn find(forms: &[TraceForm], head: &RequestHead, view: HeadView<'_>) -> Option<Found> {
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
    /// The trace's id is known to be random.
    pub random: bool,
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

/// The last line that was added has the id of a span at `at` of its value. Only sampled requests are sent from more than one.
#[inline]
pub(super) fn note(onward: &Onward, head: &HeadEditor<'_>, at: u32, slots: &mut Slots) {
    if onward.sampled
        && let Some(line) = head.fields.as_slice().last()
    {
        let start = line.value.start + at;
        slots.push(Span { start, end: start + 16 });
    }
}
