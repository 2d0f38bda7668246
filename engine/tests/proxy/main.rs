//! End to end: the real binary, real sockets, real programs on both sides. Each module is an area, each test a promise
//! made to users; what is expected comes from the documentation and the RFCs.

#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod admin;
mod admin_limits;
mod bodies;
mod buffer;
mod busy_clients;
mod circuit_breakers;
mod cli;
mod compression;
mod connections;
mod decompression;
mod deploy;
mod dns;
mod drain;
mod exhaustion;
mod explain;
mod fault;
mod filters;
mod fine_print;
mod flow;
mod full_house;
mod full_pipes;
mod header_mutation;
mod headers;
mod health_checks;
mod hedging;
mod idle;
mod internal_redirects;
mod killed_origins;
mod limits;
mod load_balancing;
mod local_reply;
mod locked_memory;
mod logical_dns;
mod mirroring;
mod name_server;
mod operators;
mod origin_faults;
mod outlier;
mod paths;
mod privileges;
mod rate_limit;
mod recipes;
mod reload;
mod restart;
mod retries;
mod routing;
mod slow_clients;
mod socket_activation;
mod timeouts;
mod tls;
mod trust;
