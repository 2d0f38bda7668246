//! Contexts, from bytes and into bytes.

use super::*;
use crate::codec::h1::{Limits, parse_request};
use crate::http::{EditBytes, HeadEditor, HeadView, RequestHead};
use ringway_config::model::TraceForm;

const ALL: [TraceForm; 3] = [TraceForm::B3, TraceForm::B3Multi, TraceForm::W3c];
const TRACE: &str = "463ac35c9f6413ad48485a3953bb6124";
const SPAN: &str = "a2fb4a1d1a96d312";
const PARENT: &str = "0020000000000001";

fn parsed(lines: &[&str]) -> (RequestHead, Vec<u8>) {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let bytes = format!("GET / HTTP/1.1\r\nhost: h\r\n{lines}\r\n").into_bytes();
    let mut head = RequestHead::default();
    parse_request(&bytes, &Limits::default(), &mut head).expect("valid");
    (head, bytes)
}

fn found(lines: &[&str]) -> Option<Found> {
    let (head, bytes) = parsed(lines);
    find(&ALL, &head, HeadView::new(&bytes))
}

fn context(line: &str) -> Option<Context> {
    found(&[line]).expect("there is one").context.ok()
}

fn ids(parent: Option<u64>) -> Option<Ids> {
    Some(Ids { trace: 0x463a_c35c_9f64_13ad_4848_5a39_53bb_6124, span: 0xa2fb_4a1d_1a96_d312, parent })
}

#[test]
fn b3_in_one_field() {
    let context = |rest: &str| context(&format!("b3: {rest}"));
    let whole = |sampled, debug, parent| Some(Context { ids: ids(parent), sampled, debug, random: false });
    let both = format!("{TRACE}-{SPAN}");
    assert_eq!(context(&both), whole(None, false, None));
    assert_eq!(context(&both.to_uppercase()), whole(None, false, None), "digits in either case");
    assert_eq!(context(&format!("{both}-1")), whole(Some(true), false, None));
    assert_eq!(context(&format!("{both}-0")), whole(Some(false), false, None));
    assert_eq!(context(&format!("{both}-d")), whole(Some(true), true, None));
    let parent = Some(0x0020_0000_0000_0001);
    assert_eq!(context(&format!("{both}-1-{PARENT}")), whole(Some(true), false, parent));
    assert_eq!(context(&format!("{both}-{PARENT}")), whole(None, false, parent));
    let short = context(&format!("{}-{SPAN}-1", &TRACE[16..])).expect("well-formed");
    assert_eq!(short.ids.map(|ids| ids.trace), Some(0x4848_5a39_53bb_6124));
    for (decision, sampled, debug) in [("0", false, false), ("1", true, false), ("d", true, true)] {
        assert_eq!(context(decision), Some(Context { sampled: Some(sampled), debug, ..Context::default() }));
    }
    let zero = "0".repeat(16);
    let wrong = [
        "",
        "2",
        "D",
        "-",
        TRACE,
        &format!("{TRACE}-"),
        &format!("{both}-"),
        &format!("{both}-2"),
        &format!("{both}-1-"),
        &format!("{both}-1-{PARENT}-1"),
        &format!("{both}-1-{zero}"),
        &format!("{TRACE}-{zero}-1"),
        &format!("{zero}-{SPAN}-1"),
        &format!("{zero}{zero}-{SPAN}-1"),
        &format!("{TRACE}0-{SPAN}"),
        &format!("{}-{SPAN}", &TRACE[1..]),
        &format!("{TRACE}-{}", &SPAN[1..]),
        &format!("{}g-{SPAN}", &TRACE[1..]),
    ];
    for wrong in wrong {
        assert_eq!(context(wrong), None, "{wrong:?}");
    }
    let twice = found(&[&format!("b3: {both}"), &format!("b3: {both}")]).map(|found| found.context);
    assert_eq!(twice, Some(Err(Malformed)));
}

#[test]
fn b3_in_several_fields() {
    let (trace, span) = (format!("X-B3-TraceId: {TRACE}"), format!("X-B3-SpanId: {SPAN}"));
    let context = |more: &[&str]| {
        let lines: Vec<&str> = [&*trace, &*span].iter().chain(more).copied().collect();
        found(&lines).expect("there is one").context.ok()
    };
    let whole = |sampled, debug, parent| Some(Context { ids: ids(parent), sampled, debug, random: false });
    assert_eq!(context(&[]), whole(None, false, None));
    for (value, sampled) in [("1", true), ("true", true), ("0", false), ("false", false)] {
        assert_eq!(context(&[&format!("x-b3-sampled: {value}")]), whole(Some(sampled), false, None));
    }
    assert_eq!(context(&["x-b3-flags: 1"]), whole(Some(true), true, None));
    assert_eq!(context(&["x-b3-flags: 1", "x-b3-sampled: 0"]), whole(Some(true), true, None), "debugging implies it");
    assert_eq!(context(&["x-b3-flags: 0", "x-b3-sampled: 0"]), whole(Some(false), false, None));
    let parent = format!("x-b3-parentspanid: {PARENT}");
    assert_eq!(context(&[&parent]), whole(None, false, Some(0x0020_0000_0000_0001)));
    for wrong in ["x-b3-sampled: 2", "x-b3-flags: yes", "x-b3-parentspanid: 1", &span] {
        assert_eq!(context(&[wrong]), None, "{wrong:?}");
    }
    assert_eq!(found(&[&trace]).map(|found| found.context), Some(Err(Malformed)), "the span is missing");
    assert_eq!(found(&[&span]).map(|found| found.context), Some(Err(Malformed)), "the trace is missing");
    let decided = found(&["x-b3-sampled: 0"]).map(|found| found.context);
    assert_eq!(decided, Some(Ok(Context { sampled: Some(false), ..Context::default() })));
}

#[test]
fn w3c_traceparent() {
    let context = |value: &str| context(&format!("traceparent: {value}"));
    let whole = |sampled, random| Some(Context { ids: ids(None), sampled: Some(sampled), debug: false, random });
    assert_eq!(context(&format!("00-{TRACE}-{SPAN}-01")), whole(true, false));
    assert_eq!(context(&format!("00-{TRACE}-{SPAN}-00")), whole(false, false));
    assert_eq!(context(&format!("00-{TRACE}-{SPAN}-02")), whole(false, true));
    assert_eq!(context(&format!("00-{TRACE}-{SPAN}-03")), whole(true, true));
    assert_eq!(context(&format!("00-{TRACE}-{SPAN}-fc")), whole(false, false), "bits of later levels");
    assert_eq!(context(&format!("cc-{TRACE}-{SPAN}-01")), whole(true, false));
    assert_eq!(context(&format!("cc-{TRACE}-{SPAN}-01-what-comes")), whole(true, false));
    let (zero, zeros) = ("0".repeat(16), "0".repeat(32));
    let wrong = [
        "",
        "00",
        &format!("00-{TRACE}-{SPAN}-01-more"),
        &format!("00-{TRACE}-{SPAN}-01-"),
        &format!("00-{TRACE}-{SPAN}-1"),
        &format!("cc-{TRACE}-{SPAN}-01.more"),
        &format!("ff-{TRACE}-{SPAN}-01"),
        &format!("0-{TRACE}-{SPAN}-001"),
        &format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        &format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
        &format!("FE-{TRACE}-{SPAN}-01"),
        &format!("00-{TRACE}-{SPAN}-0A"),
        &format!("00-{zeros}-{SPAN}-01"),
        &format!("00-{TRACE}-{zero}-01"),
        &format!("00_{TRACE}-{SPAN}-01"),
        &format!("00-{TRACE}.{SPAN}-01"),
        &format!("00-{TRACE}-{SPAN}_01"),
        &format!("00-{}x-{SPAN}-01", &TRACE[1..]),
        &format!("00-{TRACE}-{SPAN}-.0"),
    ];
    for wrong in wrong {
        assert_eq!(context(wrong), None, "{wrong:?}");
    }
    let line = format!("traceparent: 00-{TRACE}-{SPAN}-01");
    assert_eq!(found(&[&line, &line]).map(|found| found.context), Some(Err(Malformed)), "one is allowed");
}

#[test]
fn the_first_form_that_came_counts() {
    let w3c = format!("traceparent: 00-{TRACE}-{SPAN}-01");
    assert_eq!(found(&[&w3c, "b3: 0"]).map(|found| found.form), Some(TraceForm::B3));
    assert_eq!(found(&[&w3c]).map(|found| found.form), Some(TraceForm::W3c));
    assert_eq!(found(&["tracestate: a=b"]), None, "it means nothing alone");
    assert_eq!(found(&[]), None);
    let (head, bytes) = parsed(&[&w3c, "b3: 0"]);
    let found = find(&[TraceForm::W3c], &head, HeadView::new(&bytes));
    assert_eq!(found.map(|found| found.form), Some(TraceForm::W3c), "others are not looked at");
}

fn is_valid(lines: &[&str]) -> bool {
    let (head, bytes) = parsed(lines);
    is_valid_tracestate(&head.fields, HeadView::new(&bytes))
}

#[test]
fn tracestate_is_a_list_of_entries() {
    let long = |count: usize| format!("tracestate: {}", vec!["a=1"; count].join(","));
    for right in [
        "tracestate: a=1",
        "tracestate: a=1,b=2",
        "tracestate: a=1 ,\t b=2",
        "tracestate:",
        "tracestate: ,a=1,,",
        "tracestate: 0a=1",
        "tracestate: a@=1",
        "tracestate: a@0@b=1",
        "tracestate: fw529a3039@dt=FfLb",
        "tracestate: a_-*/9=!\"#$%&'()*+-./:;<>?@[]^_`{|}~",
        &long(32),
        &format!("tracestate: {}={}", "k".repeat(256), "v".repeat(256)),
        &format!("tracestate: {}@=v", "t".repeat(255)),
    ] {
        assert!(is_valid(&[right]), "{right:?}");
    }
    assert!(is_valid(&["tracestate: a=1", "tracestate: b=2"]));
    for wrong in [
        "tracestate: a",
        "tracestate: a=",
        "tracestate: =1",
        "tracestate: a=1=2",
        "tracestate: A=1",
        "tracestate: a b=1",
        "tracestate: a =1",
        "tracestate: @b=1",
        "tracestate: -a=1",
        &long(33),
        &format!("tracestate: {}=v", "k".repeat(257)),
        &format!("tracestate: k={}", "v".repeat(257)),
    ] {
        assert!(!is_valid(&[wrong]), "{wrong:?}");
    }
    assert!(!is_valid(&[&long(20), &long(13)]), "lines count together");
}

/// The lines of the head after `onward` has been written, and after a try has put its own span into it.
fn written(onward: &Onward, forms: &[TraceForm], lines: &[&str]) -> (Vec<String>, Vec<String>) {
    let (mut head, bytes) = parsed(lines);
    let (mut edits, mut slots) = (EditBytes::default(), Slots::default());
    write(onward, forms, &mut HeadEditor { fields: &mut head.fields, received: &bytes, edits: &mut edits }, &mut slots);
    let show = |edits: &EditBytes| {
        let view = HeadView { received: &bytes, edits: edits.as_slice() };
        let text = |span: crate::http::Span| String::from_utf8_lossy(span.of(view)).into_owned();
        let lines = head.fields.iter().skip(1);
        lines.map(|field| format!("{}: {}", text(field.name), text(field.value))).collect::<Vec<_>>()
    };
    let before = show(&edits);
    slots.iter().for_each(|slot| edits.overwrite(*slot, b"7777777777777777"));
    (before, show(&edits))
}

const ONWARD: Onward =
    Onward { trace: 0xa_0000_0000_0000_000b, span: 0xc, parent: 0xd, sampled: true, debug: false, random: true };

#[test]
fn contexts_go_on_in_each_form_and_each_try_has_its_span() {
    let trace = "000000000000000a000000000000000b";
    let (before, after) =
        written(&ONWARD, &ALL, &["b3: stale", "X-B3-SpanId: stale", "traceparent: stale", "tracestate: a=1"]);
    let expected = |span: &str| {
        vec![
            "tracestate: a=1".to_owned(),
            format!("b3: {trace}-{span}-1-000000000000000d"),
            format!("x-b3-traceid: {trace}"),
            format!("x-b3-spanid: {span}"),
            "x-b3-parentspanid: 000000000000000d".to_owned(),
            "x-b3-sampled: 1".to_owned(),
            format!("traceparent: 00-{trace}-{span}-03"),
        ]
    };
    assert_eq!((before, after), (expected("000000000000000c"), expected("7777777777777777")));
}

#[test]
fn decisions_go_on() {
    let short = Onward { trace: 0xb, sampled: false, ..ONWARD };
    let (_, after) = written(&short, &ALL, &[]);
    let expected = [
        "b3: 000000000000000b-000000000000000c-0",
        "x-b3-traceid: 000000000000000b",
        "x-b3-spanid: 000000000000000c",
        "x-b3-sampled: 0",
        "traceparent: 00-0000000000000000000000000000000b-000000000000000c-02",
    ];
    assert_eq!(after, expected);
    let (_, after) = written(&Onward { random: false, ..short }, &ALL[2..], &[]);
    assert_eq!(after, ["traceparent: 00-0000000000000000000000000000000b-000000000000000c-00"]);
    let (_, after) = written(&Onward { debug: true, ..short }, &ALL[..2], &[]);
    assert_eq!(after[0], "b3: 000000000000000b-000000000000000c-d");
    assert_eq!(after[3], "x-b3-flags: 1");
}
