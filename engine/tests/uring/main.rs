//! The ring on real sockets: the traps of completion I/O, each with a test that provokes it.
#![allow(unsafe_code)]

mod accept;
mod body;
mod classes;
mod connect;
mod copy;
mod drops;
mod enters;
mod first;
mod host;
mod pool;
mod receive;
mod refused;
mod room;
mod send;
mod splice;
mod support;
mod tasks;
