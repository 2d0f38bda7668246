//! Field lines, line ends, limits and hop-by-hop marks, the same for requests and responses (RFC 9112 section 5).

use super::*;
use crate::http::{FieldId, reason};

/// Checks the rule in a request and in a response.
fn refused_line(lines: &str, expected: HeadError) {
    assert_eq!(refused(&get_with(lines)), expected.into(), "{lines:?}");
    let response = refused_response(&format!("HTTP/1.1 200 OK\r\nDate: x\r\n{lines}\r\n"));
    assert_eq!(response, expected.into(), "{lines:?}");
    assert_eq!(response.status(), 502);
}

/// "No whitespace is allowed between the field name and colon. ... A server MUST reject, with a response status code of
/// 400 (Bad Request), any received request message that contains whitespace between a header field name and colon."
/// (RFC 9112 section 5.1)
#[test]
fn space_before_colon() {
    refused_line("X : y\r\n", HeadError::SpaceBeforeColon);
    refused_line("X\t: y\r\n", HeadError::SpaceBeforeColon);
    refused_line("Transfer-Encoding : chunked\r\n", HeadError::SpaceBeforeColon);
}

/// "A server that receives an obs-fold in a request message ... MUST either reject the message by sending a 400 (Bad
/// Request) ... or replace ..." (RFC 9112 section 5.2)
#[test]
fn obs_fold() {
    refused_line("X: y\r\n z\r\n", HeadError::ObsFold);
    refused_line("X: y\r\n\tz\r\n", HeadError::ObsFold);
    refused_line("X: y\r\n \r\n", HeadError::ObsFold);
    refused_line("Transfer-Encoding:\r\n chunked\r\n", HeadError::ObsFold);
}

/// "A recipient that receives whitespace between the start-line and the first header field MUST either reject the message
/// as invalid or consume each whitespace-preceded line without further processing of it" (RFC 9112 section 2.2)
#[test]
fn space_before_first_field() {
    assert_eq!(refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), HeadError::SpaceBeforeFirstField.into());
    assert_eq!(refused("GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n"), HeadError::SpaceBeforeFirstField.into());
    assert_eq!(refused_response("HTTP/1.1 200 OK\r\n X: y\r\n\r\n"), HeadError::SpaceBeforeFirstField.into());
}

/// "field-line = field-name ":" OWS field-value OWS" (RFC 9112 section 5); "field-name = token" (RFC 9110 section 5.1)
#[test]
fn field_names() {
    refused_line("X\r\n", HeadError::MissingColon);
    refused_line("X y\r\n", HeadError::MissingColon);
    refused_line(": y\r\n", HeadError::EmptyFieldName);
    refused_line(":\r\n", HeadError::EmptyFieldName);
    for name in ["X@", "X y", "(X)", "X\u{e9}", "X\x01", "X\0", "\"X\"", "X,Y", "X/1", "[X]", "X\x7f"] {
        refused_line(&format!("{name}: y\r\n"), HeadError::InvalidFieldName);
    }
    assert!(request(&get_with("!#$%&'*+-.^_`|~09azAZ: y\r\n")).is_ok());
}

/// "Field values containing CR, LF, or NUL characters are invalid and dangerous ...; a recipient ... MUST either reject
/// the message or replace each of those characters with SP"; other CTLs are invalid, too (RFC 9110 section 5.5)
#[test]
fn field_values() {
    for byte in (0..0x20u8).chain([0x7f]).filter(|b| !b"\t\r\n".contains(b)) {
        for at in ["", "y", "a long value that fills more than one vector register of a tokeniser "] {
            refused_line(&format!("X: {at}{}z\r\n", byte as char), HeadError::InvalidFieldValue);
        }
    }
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nX: a\tb \xff\x80\r\n\r\n";
    let head = request_bytes(text, &Limits::default()).unwrap();
    assert_eq!(head.fields.find(b"x", text).unwrap().value.of(text), b"a\tb \xff\x80");
}

/// "A recipient of such a bare CR MUST consider that element to be invalid or replace each bare CR with SP before
/// processing the element or forwarding the message" (RFC 9112 section 2.2)
#[test]
fn bare_cr() {
    refused_line("X: a\rb\r\n", HeadError::BareCr);
    refused_line("X: a\r\r\n", HeadError::BareCr);
    refused_line("X: \rTransfer-Encoding: chunked\r\n", HeadError::BareCr);
    refused_line("\rX: a\r\n", HeadError::BareCr);
    for text in ["\rGET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\rHost: a\r\n\r\n", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"] {
        assert_eq!(refused(text), HeadError::BareCr.into(), "{text:?}");
    }
}

/// "a recipient MAY recognize a single LF as a line terminator" (RFC 9112 section 2.2): this one does not.
#[test]
fn bare_lf() {
    refused_line("X: a\n", HeadError::BareLf);
    refused_line("X: a \t\n", HeadError::BareLf);
    refused_line("X:\n", HeadError::BareLf);
    refused_line("X: \n", HeadError::BareLf);
    refused_line("X: a\nTransfer-Encoding: chunked\r\n", HeadError::BareLf);
    for text in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.0\n\n",
        "GET / HTTP/1.0\r\n\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(refused(text), HeadError::BareLf.into(), "{text:?}");
    }
    for text in [
        "HTTP/1.1 200 OK\n\r\n",
        "HTTP/1.1 200\nX: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n\n",
    ] {
        assert_eq!(refused_response(text), HeadError::BareLf.into(), "{text:?}");
    }
}

/// "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line (CRLF) received
/// prior to the request-line" (RFC 9112 section 2.2): two at most, and none before a response.
#[test]
fn leading_empty_lines() {
    let plain = "GET /p HTTP/1.1\r\nHost: a\r\n\r\n";
    for lines in ["\r\n", "\r\n\r\n"] {
        let text = &format!("{lines}{plain}");
        let head = request(text).unwrap();
        assert_eq!(head.framing.len as usize, text.len());
        assert_eq!(head.path(text.as_bytes()), b"/p");
        assert_eq!(head.authority.of(text.as_bytes()), b"a");
    }
    for (lines, error) in [
        ("\r\n\r\n\r\n", HeadError::LeadingEmptyLine),
        ("\r\n\r\n\n", HeadError::LeadingEmptyLine),
        ("\r\n\n", HeadError::BareLf),
        ("\n", HeadError::BareLf),
        ("\r\n\r", HeadError::BareCr),
    ] {
        assert_eq!(refused(&format!("{lines}{plain}")), error.into(), "{lines:?}");
    }
    assert_eq!(refused_response("\r\nHTTP/1.1 200 OK\r\n\r\n"), HeadError::LeadingEmptyLine.into());
    assert_eq!(refused_response("\nHTTP/1.1 200 OK\r\n\r\n"), HeadError::LeadingEmptyLine.into());
}

/// "A server that receives a request header field line, field value, or set of fields larger than it wishes to process
/// MUST respond with an appropriate 4xx (Client Error) status code" (RFC 9110 section 5.4)
#[test]
fn limits_are_inclusive_and_hold_while_partial() {
    let text = get_with("A: 1\r\nB: 2\r\n");
    let size = text.len() as u32;
    let parse = |limits: Limits, bytes: &[u8]| parse_request(bytes, &limits, &mut RequestHead::default());
    let head_limit = |head_bytes| Limits { head_bytes, ..Limits::default() };
    assert!(matches!(parse(head_limit(size), text.as_bytes()), Ok(Parse::Complete(_))));
    assert_eq!(parse(head_limit(size - 1), text.as_bytes()), Err(HeadError::HeadTooLarge.into()));
    // One byte is missing and there is room for one.
    assert_eq!(parse(head_limit(size), &text.as_bytes()[..text.len() - 1]), Ok(Parse::Partial));
    assert_eq!(parse(head_limit(size - 1), &text.as_bytes()[..text.len() - 1]), Err(HeadError::HeadTooLarge.into()));

    let field_limit = |fields| Limits { fields, ..Limits::default() };
    assert!(matches!(parse(field_limit(3), text.as_bytes()), Ok(Parse::Complete(_))));
    assert_eq!(parse(field_limit(2), text.as_bytes()), Err(HeadError::TooManyFields.into()));
    assert_eq!(parse(field_limit(2), &text.as_bytes()[..text.len() - 2]), Err(HeadError::TooManyFields.into()));

    let line_limit = |field_bytes| Limits { field_bytes, ..Limits::default() };
    assert!(matches!(parse(line_limit(7), text.as_bytes()), Ok(Parse::Complete(_))));
    assert_eq!(parse(line_limit(6), text.as_bytes()), Err(HeadError::FieldTooLarge.into()));
    for error in [HeadError::HeadTooLarge, HeadError::TooManyFields, HeadError::FieldTooLarge] {
        assert_eq!(RequestError::from(error).status(), 431);
        assert_eq!(ResponseError::from(error).status(), 502);
    }
}

#[test]
fn many_fields_take_the_large_table() {
    let lines = |count: usize| (0..count).map(|at| format!("X-{at}: {at}\r\n")).collect::<String>();
    let parse = |fields: u16, count: usize| {
        let text = get_with(&lines(count - 1));
        request_bytes(text.as_bytes(), &Limits { fields, ..Limits::default() }).map(|head| head.fields.len())
    };
    assert_eq!(parse(100, 100), Ok(100));
    assert_eq!(parse(100, 101), Err(HeadError::TooManyFields.into()));
    assert_eq!(parse(128, 128), Ok(128));
    assert_eq!(parse(129, 129), Ok(129));
    assert_eq!(parse(500, 500), Ok(500));
    assert_eq!(parse(u16::MAX, 1024), Ok(1024));
    assert_eq!(parse(u16::MAX, 1025), Err(HeadError::TooManyFields.into()));
    let response = format!("HTTP/1.1 200 OK\r\n{}\r\n", lines(300));
    let limits = Limits { fields: 300, ..Limits::default() };
    let mut head = ResponseHead::default();
    assert!(matches!(parse_response(response.as_bytes(), &limits, Method::Get, &mut head), Ok(Parse::Complete(_))));
    assert_eq!(head.fields.len(), 300);
}

/// Names of the fields that are not to be forwarded.
fn dropped(lines: &str) -> Vec<String> {
    let text = get_with(lines);
    let head = request(&text).unwrap();
    let names = head.fields.iter().filter(|field| field.hop_by_hop).map(|field| field.name.of(text.as_bytes()));
    names.map(|name| String::from_utf8_lossy(name).to_lowercase()).collect()
}

/// "Intermediaries MUST parse a received Connection header field before a message is forwarded and, for each
/// connection-option in this field, remove any header or trailer field(s) from the message with the same name as the
/// connection-option, and then remove the Connection header field itself" (RFC 9110 section 7.6.1)
#[test]
fn hop_by_hop_fields() {
    assert_eq!(dropped("Accept: a\r\nTrailer: x\r\nContent-Length: 1\r\n"), Vec::<String>::new());
    assert_eq!(
        dropped("Connection: close\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\nUpgrade: h2c\r\n"),
        ["connection", "keep-alive", "proxy-connection", "te", "upgrade"]
    );
    assert_eq!(dropped("Transfer-Encoding: chunked\r\nHTTP2-Settings: x\r\n"), ["transfer-encoding", "http2-settings"]);
    let nominated = "X-Foo: 1\r\nConnection: close, X-FOO ,,x-bar\r\nx-foo: 2\r\nX-Baz: 3\r\nConnection: cookie\r\nX-Bar: 4\r\nCookie: c\r\n";
    assert_eq!(dropped(nominated), ["x-foo", "connection", "x-foo", "connection", "x-bar", "cookie"]);
}

/// "A sender MUST NOT send a connection option corresponding to a field that is intended for all recipients of the
/// content" (RFC 9110 section 7.6.1): Host, framing and what the proxy sets stay.
#[test]
fn connection_options_that_are_ignored() {
    let kept = "Connection: host, content-length, x-forwarded-for, x-forwarded-proto, x-request-id, x-envoy-internal\r\n\
                Content-Length: 0\r\nX-Forwarded-For: 1\r\nX-Forwarded-Proto: http\r\nX-Request-Id: 1\r\nX-Envoy-Internal: 1\r\n";
    assert_eq!(dropped(kept), ["connection"]);
    assert_eq!(
        dropped("Connection: x-forwarded-custom, x-envoy-custom\r\nX-Forwarded-Custom: 1\r\nX-Envoy-Custom: 2\r\n"),
        ["connection"]
    );
    // Framing is read before any option is: it cannot be hidden.
    let text = "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length, transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(request(text).unwrap().framing.body, crate::codec::h1::BodyKind::Chunked);
}

/// "connection-option = token" (RFC 9110 section 7.6.1)
#[test]
fn connection_is_a_list_of_tokens() {
    for value in ["\"close\"", "a b", "close; x", "x@y"] {
        refused_line(&format!("Connection: {value}\r\n"), HeadError::InvalidConnection);
    }
    for value in ["", ",", "keep-alive,", " , close , "] {
        assert!(request(&get_with(&format!("Connection: {value}\r\n"))).is_ok(), "{value:?}");
    }
    let many = vec!["a"; 33].join(",");
    refused_line(&format!("Connection: {many}\r\n"), HeadError::TooManyConnectionOptions);
    // In lines of their own as well: those that say what nearly all say are counted apart.
    let line = "Connection: keep-alive\r\n";
    refused_line(&line.repeat(33), HeadError::TooManyConnectionOptions);
    assert!(request(&get_with(&line.repeat(32))).is_ok());
}

#[test]
fn ids_are_found_in_any_case() {
    let text = get_with("USER-AGENT: u\r\nx-Envoy-Upstream-Service-Time: 3\r\n");
    let head = request(&text).unwrap();
    assert_eq!(head.fields.value(FieldId::UserAgent, text.as_bytes()), Some(&b"u"[..]));
    assert_eq!(head.fields.value(FieldId::XEnvoyUpstreamServiceTime, text.as_bytes()), Some(&b"3"[..]));
}

#[test]
fn every_error_has_a_status_and_its_own_details() {
    let head = HeadError::ALL.iter().map(|error| (error.status(), error.details()));
    let request = RequestError::ALL.iter().map(|error| (error.status(), error.details()));
    let response = ResponseError::ALL.iter().map(|error| (error.status(), error.details()));
    let body = BodyError::ALL.iter().map(|error| (error.status(), error.details()));
    let mut all = head.chain(request).chain(response).chain(body).collect::<Vec<_>>();
    assert!(all.iter().all(|(status, details)| !reason(*status).is_empty() && details.starts_with("http1.")));
    let count = all.len();
    all.sort_unstable_by_key(|(_, details)| *details);
    all.dedup_by_key(|(_, details)| *details);
    assert_eq!(all.len(), count);
}
