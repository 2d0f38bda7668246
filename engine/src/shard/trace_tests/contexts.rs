//! Contexts that come with requests: what goes on to the endpoint, and which peers may switch tracing on.

use super::*;

#[test]
fn a_context_that_came_goes_on_in_its_form() {
    let world = World::new(ZIPKIN, "", "");
    world.ask_inside(&format!("b3: {TRACE}-{SPAN}-1\r\n"));
    let spans = world.spans();
    let id = format!("{:016x}", spans[1].facts.id);
    assert_eq!(world.sent("b3"), Some(format!("{TRACE}-{id}-1-{SPAN}")), "the span is shared with the client's");
    assert_eq!(world.sent("x-b3-spanid"), Some(id));
    assert_eq!(format!("{:016x}", spans[0].facts.id), SPAN);
    assert!(spans[0].facts.shared && spans[0].facts.parent == 0 && !spans[1].facts.shared);
    // W3C has no shared spans.
    world.ask_inside(&format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\n"));
    let spans = world.spans();
    assert_eq!(format!("{:016x}", spans[0].facts.parent), SPAN);
    assert!(!spans[0].facts.shared);
    assert_eq!(spans[0].tracestate, "a=1");
    assert_eq!(world.sent("traceparent"), Some(format!("00-{TRACE}-{:016x}-01", spans[1].facts.id)));
    assert_eq!(world.sent("tracestate").as_deref(), Some("a=1"));
    assert_eq!(world.sent("b3"), None);
    // That the id is random is known of what said so, and of traces that begin here.
    world.ask_inside(&format!("traceparent: 00-{TRACE}-{SPAN}-03\r\n"));
    let spans = world.spans();
    assert_eq!(world.sent("traceparent"), Some(format!("00-{TRACE}-{:016x}-03", spans[1].facts.id)));
    assert!(spans[0].facts.random && spans[1].facts.random);
    world.ask_inside(&format!("b3: {TRACE}-{SPAN}-1\r\n"));
    assert!(!world.spans()[0].facts.random);
    assert_eq!(world.stat("continued"), 4);
    world.ask_inside(&format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\ntracestate: b=2\r\n"));
    assert_eq!(world.spans()[0].tracestate, "a=1,b=2", "lines count as one");
    // B3 comes first, and `tracestate` stays where both tell of one trace.
    let w3c = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\n");
    world.ask_inside(&format!("b3: {TRACE}-{SPAN}-1\r\n{w3c}"));
    assert_eq!(world.sent("tracestate").as_deref(), Some("a=1"));
    world.ask_inside(&format!("b3: {}-{SPAN}-1\r\n{w3c}", TRACE.replace('4', "5")));
    assert_eq!(world.sent("tracestate"), None);
    assert_eq!(world.spans().len(), 4);
}

#[test]
fn spans_are_shared_only_where_that_is_wanted() {
    let world = World::new(r#"zipkin = { cluster = "collector", shared_span = false }"#, "", "");
    world.ask_inside(&format!("b3: {TRACE}-{SPAN}-1-{SPAN}\r\n"));
    let spans = world.spans();
    assert!(!spans[0].facts.shared && spans[0].facts.id != spans[0].facts.parent);
    assert_eq!(format!("{:016x}", spans[0].facts.parent), SPAN);
}

#[test]
fn what_is_not_sampled_leaves_no_span_and_says_so_onward() {
    let world = World::new(ZIPKIN, "", "");
    world.ask_inside(&format!("x-b3-traceid: {TRACE}\r\nx-b3-spanid: {SPAN}\r\nx-b3-sampled: 0\r\n"));
    assert_eq!(world.spans().len(), 0);
    assert_eq!(world.sent("x-b3-traceid").as_deref(), Some(TRACE));
    assert_eq!(world.sent("x-b3-sampled").as_deref(), Some("0"));
    assert_ne!(world.sent("x-b3-spanid").as_deref(), Some(SPAN), "it is this side's, which logs can name");
    world.ask_inside("b3: 0\r\n");
    assert!(world.sent("b3").expect("there is one").ends_with("-0"));
    assert_eq!((world.spans().len(), world.stat("not_traceable")), (0, 2));
}

#[test]
fn a_stranger_switches_tracing_neither_on_nor_off() {
    let never = r#"zipkin = { cluster = "collector" }, random_sampling = 0"#;
    let world = World::new(never, "", "");
    for asked in ["b3: d", "x-b3-flags: 1", "x-b3-sampled: 1", "x-client-trace-id: 1", "x-envoy-force-trace: 1"] {
        world.ask("/", &format!("{asked}\r\n"));
        assert_eq!(world.spans().len(), 0, "{asked}");
        assert_eq!(world.sent("x-b3-sampled").as_deref(), Some("0"), "{asked}");
    }
    world.ask("/", &format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n"));
    let on = world.sent("traceparent").expect("there is one");
    assert!(on.starts_with(&format!("00-{TRACE}-")) && on.ends_with("-00"), "the trace is the client's: {on}");
    let world = World::new(ZIPKIN, "", "");
    world.ask("/", &format!("b3: {TRACE}-{SPAN}-0\r\n"));
    assert_eq!(world.spans().len(), 2);
}

#[test]
fn those_inside_switch_it_on() {
    let never = r#"zipkin = { cluster = "collector" }, random_sampling = 0"#;
    let world = World::new(never, "", "");
    for (asked, debug) in [
        ("b3: d", true),
        ("x-b3-flags: 1", true),
        ("x-b3-sampled: 1", false),
        ("x-client-trace-id: 1", false),
        ("x-envoy-force-trace: 1", false),
    ] {
        world.ask_inside(&format!("{asked}\r\n"));
        let spans = world.spans();
        assert_eq!((spans.len(), spans[0].facts.debug), (2, debug), "{asked}");
    }
    assert!(world.stat("client_enabled") == 1 && world.stat("service_forced") == 1 && world.stat("continued") == 3);
    // Where no client is believed, they are not.
    let world = World::new(&format!(r#"{never}, trust = "never""#), "", "");
    world.ask_inside("b3: d\r\n");
    assert_eq!(world.spans().len(), 0);
    let world = World::new(&format!(r#"{never}, trust = "always""#), "", "");
    world.ask("/", "b3: d\r\n");
    assert_eq!(world.spans().len(), 2);
}

#[test]
fn a_malformed_context_begins_another_trace() {
    let world = World::new(ZIPKIN, "", "");
    for broken in ["b3: x", "x-b3-spanid: 1", "traceparent: 00-1-2-3\r\ntracestate: a=1"] {
        world.ask_inside(&format!("{broken}\r\n"));
        assert_eq!(world.spans().len(), 2, "{broken}");
        assert!(world.sent("b3").is_none_or(|b3| b3.len() > 60));
        assert_eq!(world.sent("tracestate"), None);
        assert_eq!(world.sent("traceparent").is_some(), broken.starts_with("traceparent"), "{broken}");
    }
    assert_eq!(world.stat("context_malformed"), 3);
}

#[test]
fn forms_that_are_not_read_pass_as_they_came() {
    let world = World::new(r#"zipkin = { cluster = "collector" }, extract = ["b3_multi"]"#, "", "");
    world.ask_inside(&format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\nb3: 0\r\n"));
    assert_eq!(world.spans().len(), 2);
    assert_eq!(world.sent("traceparent"), Some(format!("00-{TRACE}-{SPAN}-01")));
    assert_eq!((world.sent("tracestate").as_deref(), world.sent("b3").as_deref()), (Some("a=1"), Some("0")));
    let world = World::new(r#"zipkin = { cluster = "collector" }, inject = ["w3c", "b3"]"#, "", "");
    world.ask("/", "");
    assert!(world.sent("traceparent").is_some() && world.sent("b3").is_some());
    assert_eq!(world.sent("x-b3-traceid"), None);
}
