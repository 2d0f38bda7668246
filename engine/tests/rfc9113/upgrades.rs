//! Other protocols over HTTP/2 (RFC 9113 section 8.5, RFC 8441): this proxy makes no tunnels, and leaves nothing of the attempt
//! (haproxy#1364, haproxy#3355, envoy#8547, envoy#20378).

use crate::frames::{self, Frame, data, get, response};
use crate::support::{Bench, End, WINDOW, however_it_is_cut};

/// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 section 3).
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

const WEBSOCKET: [(&str, &str); 3] = [
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-protocol", "chat"),
];

/// Names of fields that would ask an endpoint for another protocol.
const ASKING: [&str; 5] = [":protocol", "upgrade", "connection", "http2-settings", "transfer-encoding"];

fn connect(id: u32, is_extended: bool) -> Vec<u8> {
    let plain = [(":method", "CONNECT"), (":authority", "h:443")];
    let more = [(":protocol", "websocket"), (":scheme", "https"), (":path", "/chat")];
    let fields = if is_extended { [&plain[..], &more, &WEBSOCKET].concat() } else { plain.to_vec() };
    frames::headers(id, false, &fields)
}

/// What the proxy says first announces no tunnels.
#[track_caller]
fn announces_none(end: &End) {
    let settings =
        end.frames.iter().find_map(|frame| if let Frame::Settings(pairs) = frame { Some(pairs) } else { None });
    assert!(settings.is_some_and(|pairs| pairs.iter().all(|(id, _)| *id != ENABLE_CONNECT_PROTOCOL)), "{settings:?}");
}

however_it_is_cut! {
    /// Both kinds have an answer, reach no endpoint, and what a client sends into the tunnel that it takes for granted is credited.
    fn a_connect_is_refused_and_leaves_nothing(cut) {
        for protocol in ["http1", "http2"] {
            let bench = Bench::of(cut, protocol, "", "", "");
            let mut client = bench.client_with(&[(ENABLE_CONNECT_PROTOCOL, 1)]);
            announces_none(&client);
            let (mut id, mut sent) = (1, 0);
            for is_extended in [false, true] {
                for with_data in [false, true] {
                    let begun = [connect(id, is_extended), data(id, false, b"GET /admin HTTP/1.1\r\n\r\n")].concat();
                    bench.say(&mut client, if with_data { &begun } else { &begun[..begun.len() - 32] });
                    assert_eq!((client.status(id), client.has_ended(id)), (501, true), "{is_extended} {with_data}");
                    sent += if with_data { 23 } else { 0 };
                    for _ in 0..cut.size(16) {
                        bench.say(&mut client, &data(id, false, &[0x82; 8192]));
                        sent += 8192;
                    }
                    assert!(client.resets(id).len() <= 1, "{:?}", client.resets(id));
                    assert_eq!((client.goaways(), client.is_over), (vec![], false));
                    id += 2;
                }
            }
            // All but what a window keeps back before it is worth a frame.
            assert!(client.credited(0) + WINDOW as u64 / 2 >= sent, "{} of {sent}", client.credited(0));
            assert!(bench.try_accept().is_none());
            bench.works(&mut client, id);
            bench.finish([client], []);
        }
    }

    /// An endpoint may announce what it likes, also nonsense: no request to it has `:protocol`, or what HTTP/1 upgrades by.
    fn no_endpoint_is_asked_for_another_protocol(cut) {
        let fields = WEBSOCKET.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
        for announced in [&[][..], &[(ENABLE_CONNECT_PROTOCOL, 0)], &[(ENABLE_CONNECT_PROTOCOL, 1)], &[(ENABLE_CONNECT_PROTOCOL, 2)]] {
            for upgrade in ["Connection: Upgrade\r\nUpgrade: websocket\r\n", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"] {
                let bench = Bench::new(cut);
                let mut client = bench.silent();
                client.write(format!("GET /chat HTTP/1.1\r\nHost: h\r\n{upgrade}{fields}\r\n").as_bytes());
                let mut origin = bench.accept_with(announced);
                announces_none(&origin);
                bench.look(&mut origin);
                let head = origin.heads(1).remove(0);
                assert!(ASKING.iter().all(|name| head.iter().all(|field| field.0 != *name)), "{head:?}");
                assert_eq!((origin.field(1, ":method").as_deref(), origin.has_ended(1)), (Some("GET"), true));
                assert_eq!(origin.field(1, "sec-websocket-version").as_deref(), Some("13"));
                bench.say(&mut origin, &response(1, true, "200", &[("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")]));
                let text = client.text();
                assert!(text.starts_with("HTTP/1.1 200 ") && !text.to_lowercase().contains("upgrade"), "{text}");
                bench.finish([client], [origin]);
            }
        }
    }

    /// "HTTP/2 removes support for the 101 (Switching Protocols) informational status code" (section 8.6): an endpoint that switches
    /// has broken a rule, whatever it speaks, and no byte behind it comes through.
    fn an_endpoint_that_switches_protocols_is_no_tunnel(cut) {
        for ends in [false, true] {
            let bench = Bench::new(cut);
            let mut client = bench.client();
            bench.say(&mut client, &get(1, "/chat"));
            let mut origin = bench.accept();
            bench.say(&mut origin, &response(1, ends, "101", &[]));
            if !ends {
                origin.write(&data(1, false, b"\x81\x05hello"));
            }
            bench.look(&mut client);
            assert_eq!((client.status(1), client.has_ended(1)), (502, true));
            assert!(!String::from_utf8_lossy(&client.body(1)).contains("hello"));
            assert_eq!(origin.goaways(), []);
            bench.works(&mut client, 3);
            bench.finish([client], [origin]);
        }
        let bench = Bench::of(cut, "http1", "", "", "");
        let mut client = bench.client();
        bench.say(&mut client, &get(1, "/chat"));
        let mut origin = bench.try_accept().expect("the proxy connects to the origin");
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        origin.write(&[head.as_bytes(), b"\x81\x05hello"].concat());
        bench.look(&mut client);
        assert_eq!((client.status(1), client.has_ended(1)), (502, true));
        origin.discard();
        assert!(origin.is_over, "what comes behind it is no response");
        bench.works(&mut client, 3);
        bench.finish([client], [origin]);
    }
}
