//! Heads that come in pieces.

use super::*;

const REQUEST: &str =
    "\r\nPOST /a?b HTTP/1.1\r\nHost: example.com\r\nX-A: b\r\nContent-Length: 3\r\nConnection: x-a\r\n\r\nabc";

/// Feeds the prefixes that end at `stops` and returns the result of the last.
fn feed(bytes: &[u8], stops: impl IntoIterator<Item = usize>) -> (Result<Parse, RequestError>, RequestHead) {
    let (mut scanner, mut head) = (HeadScanner::default(), RequestHead::default());
    let mut last = Ok(Parse::Partial);
    for stop in stops {
        last = scanner.request(&bytes[..stop], &Limits::default(), &mut head);
        if last != Ok(Parse::Partial) {
            break;
        }
    }
    (last, head)
}

/// How a message is split into packets means nothing (RFC 9112 section 2): every prefix is incomplete and none an error.
#[test]
fn every_split_gives_the_same_head() {
    let bytes = REQUEST.as_bytes();
    let whole = request(REQUEST).unwrap();
    for split in 0..bytes.len() {
        let (result, head) = feed(bytes, [split, bytes.len()]);
        assert_eq!(result, Ok(Parse::Complete(whole.framing)), "{split}");
        assert_eq!(format!("{head:?}"), format!("{:?}", whole.head), "{split}");
    }
    let (result, head) = feed(bytes, 1..=bytes.len());
    assert_eq!((result, format!("{head:?}")), (Ok(Parse::Complete(whole.framing)), format!("{:?}", whole.head)));
    for end in 0..whole.framing.len as usize {
        let parse = parse_request(&bytes[..end], &Limits::default(), &mut RequestHead::default());
        assert_eq!(parse, Ok(Parse::Partial), "{end}");
    }
}

#[test]
fn every_split_of_a_response() {
    let text = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 3\r\n\r\nabc";
    let whole = response(text).unwrap();
    for split in 0..text.len() {
        let (mut scanner, mut head) = (HeadScanner::default(), ResponseHead::default());
        let mut feed =
            |end: usize| scanner.response(&text.as_bytes()[..end], &Limits::default(), Method::Get, &mut head);
        let first = feed(split).unwrap();
        assert_eq!(first.complete().is_some(), split >= whole.framing.len as usize);
        assert!(matches!(feed(text.len()), Ok(Parse::Complete(_))));
        assert_eq!(format!("{head:?}"), format!("{:?}", whole.head));
    }
}

#[test]
fn lines_that_end_in_lf_alone_do_not_wait_for_a_proper_end() {
    let bytes = b"GET / HTTP/1.1\nHost: a\n\n";
    assert_eq!(feed(bytes, 1..=bytes.len()).0, Err(HeadError::BareLf.into()));
}

#[test]
fn a_scanner_serves_one_head_after_the_other() {
    let (mut scanner, mut head) = (HeadScanner::default(), RequestHead::default());
    let limits = Limits::default();
    for _ in 0..3 {
        assert_eq!(scanner.request(&REQUEST.as_bytes()[..40], &limits, &mut head), Ok(Parse::Partial));
        assert!(matches!(scanner.request(REQUEST.as_bytes(), &limits, &mut head), Ok(Parse::Complete(_))));
    }
}

/// A limit must not wait for the end of the head, which may never come.
#[test]
fn limits_hold_for_slow_senders() {
    let limits = Limits { head_bytes: 4096, target_bytes: 64, ..Limits::default() };
    let last = |text: &str| {
        let (mut scanner, mut head) = (HeadScanner::default(), RequestHead::default());
        (1..=text.len()).find_map(|end| match scanner.request(&text.as_bytes()[..end], &limits, &mut head) {
            Ok(Parse::Partial) => None,
            other => Some((other, end)),
        })
    };
    let (result, end) = last(&format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(8192))).unwrap();
    assert_eq!((result, end), (Err(HeadError::HeadTooLarge.into()), 4096));
    let (result, end) = last(&format!("GET /{}", "y".repeat(8192))).unwrap();
    assert_eq!(result, Err(RequestError::TargetTooLong));
    assert!(end <= 2 * (64 + 5), "{end}");
}
