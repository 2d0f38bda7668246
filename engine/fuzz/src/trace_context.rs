//! What is checked about contexts of traces.

use crate::trace_parse::{Context, is_tracestate, parse_multi, parse_single, parse_traceparent};

/// What is read, written and read again is the same, in each of the forms.
pub fn trace_context(data: &[u8]) {
    if let Some(context) = parse_single(data) {
        check(&context);
        assert_eq!(parse_single(single(&context).as_bytes()), Some(context));
    }
    if let Some(context) = parse_traceparent(data) {
        check(&context);
        let Context { ids: Some(ids), sampled: Some(sampled), debug: false, random } = context else {
            panic!("{context:?}")
        };
        assert!(ids.parent.is_none() && data[..55].is_ascii());
        let flags = u8::from(sampled) + 2 * u8::from(random);
        let again = format!("00-{:032x}-{:016x}-0{flags}", ids.trace, ids.span);
        assert_eq!(parse_traceparent(again.as_bytes()), Some(context));
    }
    let mut values = data.split(|byte| *byte == b'\n').map(|value| (!value.is_empty()).then_some(value));
    let values: [_; 5] = std::array::from_fn(|_| values.next().flatten());
    if let Some(context) = parse_multi(values) {
        check(&context);
        assert_eq!(context.ids.is_some(), values[0].is_some());
    }
    // A part of a list is one, and two lists are one as long as it is not too long.
    let lines = || data.split(|byte| *byte == b'\n');
    if is_tracestate(lines()) {
        assert!(lines().all(|line| is_tracestate(std::iter::once(line))));
        assert!(is_tracestate(std::iter::once(&lines().collect::<Vec<_>>().join(&b',')[..])));
    }
}

fn check(context: &Context) {
    if let Some(ids) = context.ids {
        assert!(ids.trace != 0 && ids.span != 0 && ids.parent != Some(0));
    }
    assert!(!context.debug || context.sampled == Some(true));
}

fn single(context: &Context) -> String {
    let decision = match (context.debug, context.sampled) {
        (true, _) => "d",
        (false, Some(true)) => "1",
        (false, Some(false)) => "0",
        (false, None) => "",
    };
    let Some(ids) = context.ids else { return decision.into() };
    let mut text = format!("{:032x}-{:016x}", ids.trace, ids.span);
    if !decision.is_empty() {
        text += &format!("-{decision}");
    }
    if let Some(parent) = ids.parent {
        text += &format!("-{parent:016x}");
    }
    text
}
