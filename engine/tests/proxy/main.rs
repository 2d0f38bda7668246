//! End to end: the real binary, real sockets, real programs on both sides. Each module is an area, each test a promise
//! made to users; what is expected comes from the documentation and the RFCs.

#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod admin;
mod bodies;
mod cli;
mod connections;
mod drain;
mod exhaustion;
mod flow;
mod headers;
mod idle;
mod limits;
mod origin_faults;
mod privileges;
mod reload;
mod routing;
mod timeouts;
