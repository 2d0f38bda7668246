//! Conformance to RFC 9113 of the proxy as a whole: raw frames from a client pipe and from an origin pipe, each test also with
//! every byte on its own, and each ending with nothing left over. Time is virtual.

#[path = "../support/balance.rs"]
mod balance;
mod ends;
mod floods;
mod flow;
mod frames;
mod half_close;
mod heads;
mod long_calls;
mod messages;
mod sends;
mod shutdown;
mod silence;
mod support;
mod upgrades;
