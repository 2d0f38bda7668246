//! What holds on any wire, tried in all four pairs of a client's and an origin's: HTTP/1 and HTTP/2. Bytes of HTTP/1 have
//! their tests in rfc9112, those of HTTP/2 in rfc9113.

#[path = "../support/balance.rs"]
mod balance;
mod budget;
mod cuts;
mod failures;
mod features;
mod flow;
mod grpc;
#[path = "../support/h2.rs"]
mod h2;
mod life;
mod peer;
mod pools;
mod semantics;
mod side_work;
mod slow;
mod support;
