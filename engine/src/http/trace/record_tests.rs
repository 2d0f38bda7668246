//! Records that are read again.

use super::*;

const FACTS: SpanFacts = SpanFacts {
    tracer: 7,
    kind: Kind::Client,
    shared: true,
    debug: false,
    random: true,
    error: true,
    trace_id: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
    id: 2,
    parent: 3,
    start: 4,
    duration: 5,
    local: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80)),
    remote: Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 443)),
};

#[test]
fn what_is_written_is_read() {
    let mut bytes = vec![1, 2, 3];
    let mut writer = RecordWriter::new(&mut bytes, &FACTS, b"name", b"", b"a=b");
    writer.tag(Tag::Method, b"GET");
    writer.event(Event::Connected, 9);
    writer.custom(b"team", b"");
    writer.number(Tag::StatusCode, -1);
    let peers = [FACTS.local, FACTS.remote].map(|address| address.expect("an address"));
    peers.iter().for_each(|peer| writer.address(Tag::PeerAddress, *peer));
    let record = SpanRecord::read(&bytes).expect("a record");
    assert_eq!(record.facts, FACTS);
    assert_eq!((record.name, record.remote_service, record.tracestate), (&b"name"[..], &b""[..], &b"a=b"[..]));
    let items: Vec<_> = record.items().collect();
    let expected = [
        Item::Tag(Key::Known(Tag::Method), Value::Text(b"GET")),
        Item::Event(Event::Connected, 9),
        Item::Tag(Key::Custom(b"team"), Value::Text(b"")),
        Item::Tag(Key::Known(Tag::StatusCode), Value::Int(-1)),
        Item::Tag(Key::Known(Tag::PeerAddress), Value::Address(peers[0])),
        Item::Tag(Key::Known(Tag::PeerAddress), Value::Address(peers[1])),
    ];
    assert_eq!(items, expected);
    assert_eq!((record.tags().count(), record.events().count()), (5, 1));
    assert_eq!(
        (record.own_names(), Value::Address(peers[1]).as_text(<[u8]>::to_vec)),
        (vec![&b"team"[..]], b"[::1]:443".to_vec())
    );
}

#[test]
fn long_texts_are_cut_and_short_records_are_none() {
    let mut bytes = Vec::new();
    let facts = SpanFacts { kind: Kind::Server, local: None, remote: None, ..FACTS };
    RecordWriter::new(&mut bytes, &facts, &[b'n'; 70_000], b"", b"").tag(Tag::Url, &[b'u'; 70_000]);
    let record = SpanRecord::read(&bytes).expect("a record");
    assert_eq!((record.facts, record.name.len()), (facts, 65_535));
    assert!(record.tags().all(|(_, value)| matches!(value, Value::Text(text) if text.len() == 65_535)));
    for end in 0..65 {
        assert!(SpanRecord::read(&bytes[..end]).is_none(), "{end}");
    }
}

#[test]
fn every_tag_and_event_has_a_number_of_its_own() {
    assert!(Tag::ALL.iter().enumerate().all(|(at, tag)| *tag as usize == at));
    assert!(Event::ALL.iter().enumerate().all(|(at, event)| *event as usize == at));
    assert!(Tag::ALL.len() < usize::from(EVENT & !(INT | ADDRESS)));
}
