//! The attack classes on framing (CWE-444) as a table: what a client or an upstream sends, and the answer it must get.

use super::*;

type Row = (&'static str, HeadError, u16);

/// Field lines of a POST in HTTP/1.1, the rule they break, and the status.
const ROWS: &[Row] = &[
    // CL.TE and TE.CL in either order, however the coding is written.
    ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", HeadError::ContentLengthWithTransferEncoding, 400),
    ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", HeadError::ContentLengthWithTransferEncoding, 400),
    ("Transfer-Encoding: CHUNKED\r\nContent-Length: 0\r\n", HeadError::ContentLengthWithTransferEncoding, 400),
    ("Transfer-Encoding: identity\r\nContent-Length: 4\r\n", HeadError::ContentLengthWithTransferEncoding, 400),
    // TE.TE: exactly one final chunked.
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HeadError::InvalidTransferEncoding, 400),
    ("Transfer-Encoding: chunked, chunked\r\n", HeadError::InvalidTransferEncoding, 400),
    ("Transfer-Encoding: chunked, identity\r\n", HeadError::InvalidTransferEncoding, 400),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", HeadError::InvalidTransferEncoding, 400),
    ("Transfer-Encoding: chunked, gzip\r\n", HeadError::InvalidTransferEncoding, 400),
    ("Transfer-Encoding: chunked,\r\n", HeadError::InvalidTransferEncoding, 400),
    ("Transfer-Encoding: ,chunked\r\n", HeadError::InvalidTransferEncoding, 400),
    ("Transfer-Encoding:\r\n", HeadError::InvalidTransferEncoding, 400),
    ("Transfer-Encoding: chunked;q=1\r\n", HeadError::InvalidTransferEncoding, 400),
    ("Transfer-Encoding: \"chunked\"\r\n", HeadError::InvalidTransferEncoding, 400),
    ("Transfer-Encoding: chunked x\r\n", HeadError::InvalidTransferEncoding, 400),
    ("Transfer-Encoding: chunked\u{e9}\r\n", HeadError::InvalidTransferEncoding, 400),
    ("Transfer-Encoding: xchunked\r\n", HeadError::UnknownTransferCoding, 501),
    ("Transfer-Encoding: gzip, chunked\r\n", HeadError::UnknownTransferCoding, 501),
    ("Transfer-Encoding: gzip;q=1\r\n", HeadError::UnknownTransferCoding, 501),
    ("Transfer-Encoding: identity\r\n", HeadError::UnknownTransferCoding, 501),
    ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", HeadError::UnknownTransferCoding, 501),
    ("Transfer-Encoding: \x0bchunked\r\n", HeadError::InvalidFieldValue, 400),
    ("Transfer-Encoding\x0b: chunked\r\n", HeadError::InvalidFieldName, 400),
    ("Transfer-Encoding : chunked\r\n", HeadError::SpaceBeforeColon, 400),
    ("Transfer-Encoding:\r\n chunked\r\n", HeadError::ObsFold, 400),
    ("X: y\nTransfer-Encoding: chunked\r\n", HeadError::BareLf, 400),
    ("X: y\rTransfer-Encoding: chunked\r\n", HeadError::BareCr, 400),
    ("X: y\0\r\nTransfer-Encoding: chunked\r\n", HeadError::InvalidFieldValue, 400),
    // Content-Length's grammar.
    ("Content-Length: +5\r\n", HeadError::InvalidContentLength, 400),
    ("Content-Length: -5\r\n", HeadError::InvalidContentLength, 400),
    ("Content-Length: 5 5\r\n", HeadError::InvalidContentLength, 400),
    ("Content-Length: 5,5\r\n", HeadError::InvalidContentLength, 400),
    ("Content-Length: 5, 6\r\n", HeadError::InvalidContentLength, 400),
    ("Content-Length: 0x5\r\n", HeadError::InvalidContentLength, 400),
    ("Content-Length: 5.0\r\n", HeadError::InvalidContentLength, 400),
    ("Content-Length: 5_0\r\n", HeadError::InvalidContentLength, 400),
    ("Content-Length: \u{665}\r\n", HeadError::InvalidContentLength, 400),
    ("Content-Length:\r\n", HeadError::InvalidContentLength, 400),
    ("Content-Length: 18446744073709551616\r\n", HeadError::InvalidContentLength, 400),
    ("Content-Length: 99999999999999999999999999\r\n", HeadError::InvalidContentLength, 400),
    ("Content-Length: 5\r\nContent-Length: 6\r\n", HeadError::DuplicateContentLength, 400),
    ("Content-Length: 5\r\nContent-Length: 5\r\n", HeadError::DuplicateContentLength, 400),
    ("Content-Length: 5\r\ncontent-length: x\r\n", HeadError::InvalidContentLength, 400),
];

/// "Such a message might indicate an attempt to perform request smuggling or response splitting ... and ought to be
/// handled as an error" (RFC 9112 section 6.3)
#[test]
fn requests() {
    for (lines, rule, status) in ROWS {
        let error = refused(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        assert_eq!((error, error.status()), ((*rule).into(), *status), "{lines:?}");
    }
}

/// "If it is a response message received by a proxy, the proxy MUST close the connection to the server, discard the
/// received response, and send a 502 (Bad Gateway) response to the client" (RFC 9112 section 6.3)
#[test]
fn responses() {
    for (lines, rule, _) in ROWS {
        let error = refused_response(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
        assert_eq!((error, error.status()), ((*rule).into(), 502), "{lines:?}");
        // Not even where no body follows: what the head says of another message's framing is not trusted either.
        let head = response_to(Method::Head, &format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
        assert!(head.is_err(), "{lines:?}");
    }
}

/// "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat the
/// message as if the framing is faulty, even if a Content-Length is present" (RFC 9112 section 6.1)
#[test]
fn transfer_encoding_in_http10() {
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: x\r\n",
    ] {
        let error = refused(&format!("POST / HTTP/1.0\r\nHost: a\r\n{lines}\r\n"));
        assert_eq!((error, error.status()), (HeadError::TransferEncodingInHttp10.into(), 400));
        assert_eq!(
            refused_response(&format!("HTTP/1.0 200 OK\r\n{lines}\r\n")),
            HeadError::TransferEncodingInHttp10.into()
        );
    }
}

/// Names that only look like the framing fields are fields like any other and frame nothing.
#[test]
fn look_alikes() {
    for name in ["Transfer_Encoding", "TransferEncoding", "X-Transfer-Encoding", "Transfer-Encodin", "Content_Length"] {
        let head =
            request(&format!("POST / HTTP/1.1\r\nHost: a\r\n{name}: chunked\r\nContent-Length: 2\r\n\r\n")).unwrap();
        assert_eq!(head.framing.body, crate::codec::h1::BodyKind::Length(2), "{name}");
    }
}
