//! Unit tests on bytes: one for each rule, with the RFC's sentence above it.

mod body;
mod cost;
mod encoding;
mod fields;
mod plain;
mod request;
mod response;
mod scanner;
mod smuggling;

use super::*;
use crate::http::{Method, RequestHead, ResponseHead};
use std::ops::Deref;

/// A head that was parsed whole, with its framing.
#[derive(Debug)]
struct Whole<H> {
    head: H,
    framing: Framing,
}

impl<H> Deref for Whole<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.head
    }
}

/// Parses a whole request; panics when it is not whole.
fn request(text: &str) -> Result<Whole<RequestHead>, RequestError> {
    request_bytes(text.as_bytes(), &Limits::default())
}

fn request_bytes(bytes: &[u8], limits: &Limits) -> Result<Whole<RequestHead>, RequestError> {
    let mut head = RequestHead::default();
    let parse = parse_request(bytes, limits, &mut head)?;
    let framing = parse.complete().unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(bytes)));
    Ok(Whole { head, framing })
}

/// The error that a request must give.
fn refused(text: &str) -> RequestError {
    match request(text) {
        Ok(_) => panic!("accepted: {text:?}"),
        Err(error) => error,
    }
}

/// Parses a whole response to GET; panics when it is not whole.
fn response(text: &str) -> Result<Whole<ResponseHead>, ResponseError> {
    response_to(Method::Get, text)
}

fn response_to(method: Method, text: &str) -> Result<Whole<ResponseHead>, ResponseError> {
    let mut head = ResponseHead::default();
    let parse = parse_response(text.as_bytes(), &Limits::default(), method, &mut head)?;
    let framing = parse.complete().unwrap_or_else(|| panic!("{text:?}"));
    Ok(Whole { head, framing })
}

fn refused_response(text: &str) -> ResponseError {
    match response(text) {
        Ok(_) => panic!("accepted: {text:?}"),
        Err(error) => error,
    }
}

/// A GET with these field lines after Host.
fn get_with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}
