//! Heads (RFC 9113 sections 8.2 and 8.3): what is malformed is reset and reaches no endpoint, and the connection goes on.

use crate::frames::{self, COMPRESSION_ERROR, END_HEADERS, END_STREAM, HEADERS, PROTOCOL_ERROR, request};
use crate::support::{Bench, however_it_is_cut};

type Fields = &'static [(&'static str, &'static str)];

const BEGIN: Fields = &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")];

/// The head of a request to `path` for `authority`.
fn to(path: &'static str, authority: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", authority)]
}

fn with(fields: Fields) -> Vec<(&'static str, &'static str)> {
    [BEGIN, fields].concat()
}

fn malformed() -> Vec<Vec<(&'static str, &'static str)>> {
    let mut all: Vec<Vec<(&str, &str)>> = vec![
        // Section 8.2.1: names and values.
        with(&[("Name", "value")]),
        with(&[("na me", "value")]),
        with(&[("", "value")]),
        with(&[("name:", "value")]),
        with(&[("na\u{7f}me", "value")]),
        with(&[("name", "val\rue")]),
        with(&[("name", "val\nue")]),
        with(&[("name", "val\0ue")]),
        with(&[("name", " value")]),
        with(&[("name", "value\t")]),
        with(&[("x", "1\r\nhost: evil")]),
        // Section 8.2.2: fields of a connection.
        with(&[("connection", "close")]),
        with(&[("keep-alive", "timeout=5")]),
        with(&[("proxy-connection", "keep-alive")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[("te", "trailers, deflate")]),
        // Section 8.3: pseudo-header fields.
        with(&[("a", "b"), (":path", "/")]),
        with(&[(":path", "/twice")]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "x")]),
        with(&[(":protocol", "websocket")]),
        vec![("a", "b"), (":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")],
        // Section 8.3.1: requests.
        BEGIN.iter().filter(|field| field.0 != ":method").copied().collect(),
        BEGIN.iter().filter(|field| field.0 != ":scheme").copied().collect(),
        BEGIN.iter().filter(|field| field.0 != ":path").copied().collect(),
        BEGIN.iter().filter(|field| field.0 != ":authority").copied().collect(),
        vec![(":method", "G ET"), (":scheme", "http"), (":path", "/"), (":authority", "h")],
        vec![(":method", ""), (":scheme", "http"), (":path", "/"), (":authority", "h")],
        vec![(":method", "GET"), (":scheme", ""), (":path", "/"), (":authority", "h")],
        vec![(":method", "GET"), (":scheme", "http://x"), (":path", "/"), (":authority", "h")],
        // Section 8.5: CONNECT names a host and nothing else.
        vec![(":method", "CONNECT"), (":authority", "h:443"), (":scheme", "http")],
        vec![(":method", "CONNECT"), (":authority", "h:443"), (":path", "/")],
        vec![(":method", "CONNECT"), (":authority", "h:443"), (":protocol", "websocket")],
        vec![(":method", "CONNECT")],
        // A Host that is another (HAProxy b5d2b9e15).
        with(&[("host", "other")]),
        with(&[("host", "h:80")]),
        with(&[("host", "")]),
        with(&[("host", "h"), ("host", "other")]),
    ];
    all.extend(
        ["", "path", "http://h/", "/a b", "/a\tb", "/a#b", "/\u{e4}", "*", "/\u{7f}", "/\r\nx: y"]
            .map(|path| to(path, "h")),
    );
    let hosts = ["", "a/b", "a?b", "a#b", "user@h", "a b", "a,b", "h:port", "h:99999", "[::1", "a\\b"];
    all.extend(hosts.map(|authority| to("/", authority)));
    all.extend(
        ["a/b", "a?b", "user@h", "a b", ""]
            .map(|host| vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", host)]),
    );
    all.push(vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", ""), ("host", "h")]);
    all
}

however_it_is_cut! {
    fn malformed_requests_are_reset_alone(cut) {
        for protocol in ["http1", "http2"] {
            // Half of 500 streams could be malformed.
            let bench = Bench::of(cut, protocol, "", "", "");
            let mut client = bench.client();
            let mut id = 1;
            for fields in malformed() {
                bench.say(&mut client, &frames::headers(id, true, &fields));
                assert_eq!((client.resets(id), client.goaways()), (vec![PROTOCOL_ERROR], vec![]), "{fields:?}");
                assert_eq!(client.heads(id).len(), 0, "{fields:?}");
                id += 2;
            }
            assert!(bench.try_accept().is_none(), "they reach no endpoint");
            assert_eq!(bench.http("downstream_rq_total"), malformed().len() as i64);
            assert_eq!(bench.http("http2.rx_messaging_error"), malformed().len() as i64);
            bench.works(&mut client, id);
            bench.finish([client], []);
        }
    }

    /// What is unusual is not malformed.
    fn well_formed_requests_pass(cut) {
        let bench = Bench::of(cut, "http1", "", "", "");
        let mut client = bench.client();
        let mut id = 1;
        for fields in [
            with(&[("te", "trailers")]),
            with(&[("te", "Trailers")]),
            with(&[("host", "h")]),
            with(&[("host", "H")]),
            with(&[("name", "")]),
            with(&[("name", "a\tb")]),
            with(&[("name", "\u{e4}")]),
            with(&[("content-length", "0")]),
            vec![(":path", "/"), (":authority", "h"), (":scheme", "https"), (":method", "GET")],
            vec![(":method", "GET"), (":scheme", "coap+tcp"), (":path", "/"), (":authority", "h")],
            vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "h")],
            vec![(":method", "PROPFIND"), (":scheme", "http"), (":path", "/?a=b&c"), (":authority", "[::1]:80")],
        ] {
            let fields = [&[][..], &fields].concat();
            bench.say(&mut client, &frames::headers(id, true, &fields));
            let mut origin = bench.try_accept().unwrap_or_else(|| panic!("{fields:?}: {:?}", client.frames));
            let text = origin.text();
            assert!(text.contains("host: ") && !text.contains(": trailers"), "{text}");
            origin.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            bench.look(&mut client);
            assert_eq!((client.status(id), client.has_ended(id)), (200, true), "{fields:?}");
            origin.discard();
            id += 2;
        }
        bench.finish([client], []);
    }

    /// What is too large, or not served here, has an answer.
    fn requests_that_are_refused_have_an_answer(cut) {
        let bench = Bench::with(cut, "max_headers_size = \"2KiB\"\nmax_headers_count = 20", "", "");
        let mut client = bench.client();
        let (long, many) = ("x".repeat(3000), vec![("a", "b"); 21]);
        for (id, bytes, status) in [
            (1, request(1, true, "GET", "/", &[("long", &long)]), 431),
            (3, request(3, true, "GET", "/", &many), 431),
            (5, request(5, true, "TRACE", "/", &[]), 405),
            (7, frames::headers(7, false, &[(":method", "CONNECT"), (":authority", "h:443")]), 501),
        ] {
            bench.say(&mut client, &bytes);
            assert_eq!((client.status(id), client.has_ended(id), client.goaways()), (status, true, vec![]), "{id}");
        }
        assert!(bench.try_accept().is_none());
        bench.works(&mut client, 9);
        bench.finish([client], []);
    }

    /// HAProxy e1c8bfd0e: a block that cannot be decoded ends the connection, at once; a field that is wrong does not.
    fn a_block_that_cannot_be_decoded_ends_the_connection(cut) {
        let bench = Bench::new(cut);
        for block in [&[0x80][..], &[0xc0], &[0x00, 0x85], &[0xff; 12], &[0x3f, 0xff, 0xff, 0xff], &[0x82, 0x3f, 0x00]] {
            let mut client = bench.client();
            bench.works(&mut client, 1);
            bench.say(&mut client, &frames::frame(HEADERS, END_HEADERS | END_STREAM, 3, block));
            assert_eq!((client.goaways(), client.is_over), (vec![(1, COMPRESSION_ERROR)], true), "{block:x?}");
        }
        bench.finish([], []);
    }

    /// The table of a client is in step behind blocks whose streams are malformed, refused, or too late.
    fn every_block_is_decoded(cut) {
        let bench = Bench::with(cut, "max_headers_size = \"1KiB\"", "", "");
        let mut client = bench.client();
        let literal = |name: &str, value: &str| {
            [&[0x40, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
        };
        // GET, http and an authority are in the tables from here on: the authority is the newest entry there.
        let begin = [&[0x82, 0x86][..], &literal(":authority", "h")].concat();
        let path = |path: &str| [&[0x04, path.len() as u8], path.as_bytes()].concat();
        let send = |id, block: &[u8]| frames::frame(HEADERS, END_HEADERS | END_STREAM, id, block);
        bench.say(&mut client, &send(1, &[&begin[..], &path("/direct")].concat()));
        assert_eq!(client.status(1), 200);
        // Too large, and malformed; what they add stays.
        let long = "y".repeat(100);
        let large: Vec<u8> = (0..12).flat_map(|index| literal(&format!("n{index}"), &long)).collect();
        bench.say(&mut client, &send(3, &[&begin[..], &path("/direct"), &large].concat()));
        assert_eq!(client.status(3), 431);
        bench.say(&mut client, &send(5, &[&begin[..], &path("/direct"), &literal("Bad", "name")].concat()));
        assert_eq!(client.resets(5), [PROTOCOL_ERROR]);
        // "Bad: name", ":authority: h": the second entry of the table.
        bench.say(&mut client, &send(7, &[&[0x82, 0x86, 0x80 | 63][..], &path("/direct")].concat()));
        assert_eq!((client.status(7), client.goaways()), (200, vec![]));
        bench.say(&mut client, &send(9, &[&[0x82, 0x86, 0x80 | 63, 0x80 | 62][..], &path("/direct")].concat()));
        assert_eq!(client.resets(9), [PROTOCOL_ERROR]);
        bench.finish([client], []);
    }

    /// A header block in pieces, with padding and priority, at most 8 CONTINUATION frames.
    fn a_block_may_come_in_several_frames(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let block = frames::block(&[BEGIN, &[("a", "b")]].concat());
        let mut id = 1;
        for pieces in [1, 2, 3, 9] {
            let mut parts = block.chunks(block.len().div_ceil(pieces));
            let first = [&[7, 0, 0, 0, 0, 15][..], parts.next().unwrap(), &[0; 7]].concat();
            let is_last = parts.len() == 0;
            let flags = 0x20 | frames::PADDED | if is_last { END_HEADERS } else { 0 };
            let mut bytes = frames::frame(HEADERS, flags, id, &first);
            while let Some(part) = parts.next() {
                let flags = if parts.len() == 0 { END_HEADERS } else { 0 };
                bytes.extend(frames::frame(frames::CONTINUATION, flags, id, part));
            }
            bytes.extend(frames::data(id, true, b""));
            bench.say(&mut client, &bytes);
            id += 2;
        }
        let mut origin = bench.accept();
        assert_eq!(origin.requests(), [1, 3, 5, 7]);
        for id in [1, 3, 5, 7] {
            assert_eq!(origin.field(id, "a").as_deref(), Some("b"));
            bench.say(&mut origin, &frames::response(id, true, "200", &[]));
        }
        bench.look(&mut client);
        assert!([1, 3, 5, 7].iter().all(|id| client.status(*id) == 200));
        bench.finish([client], [origin]);
    }
}
