//! What holds on any wire, tried in all four pairs of a client's and an origin's: HTTP/1 and the second wire, which only
//! tests have. Bytes of HTTP/1 have their tests in rfc9112.

#[path = "../support/balance.rs"]
mod balance;
mod budget;
mod failures;
mod features;
mod flow;
#[path = "../support/frames.rs"]
mod frames;
mod life;
mod peer;
mod pools;
mod semantics;
mod side_work;
mod slow;
mod support;
