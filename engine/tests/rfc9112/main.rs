//! Conformance to RFC 9112 and RFC 9110 of the proxy as a whole: raw bytes from a client pipe, through the proxy, to an
//! origin pipe, and back. Above each test stands the sentence that it checks. Time is virtual.

mod connection;
mod expect;
mod framing;
mod hop_by_hop;
mod hostile_origin;
mod last_request;
mod request_smuggling;
mod response_time;
mod responses;
mod support;
mod target;
mod upgrade;
