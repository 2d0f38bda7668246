//! The HTTP connection manager: connections, the exchanges on them, local replies and the access log.
//!
//! `exchange::run` is where reading the code should start: it is the path of one request from its head to its line in the
//! access log. How a wire frames messages and when a connection ends is `mux`'s affair.

pub mod access_log;
mod admit;
mod connection;
mod download;
mod exchange;
mod finalize;
mod forwarded_cert;
mod h1;
mod h2;
mod header_table;
mod local_reply;
mod log;
mod manager;
mod misdirected;
mod named_fields;
mod record;
mod redirect;
mod reply_mapper;
mod respond;
mod serving;
mod trace;

pub use admit::{Admission, Peer, admit_fields, admit_head};
pub use connection::ChainSlot;
pub use h1::serve;
pub use header_table::HeaderTable;
pub use manager::{Clusters, CutOff, Hcm, HcmPlan, HcmShard};
pub use misdirected::TlsContext;
pub use named_fields::NamedFields;
pub use reply_mapper::ReplyMapper;
pub use trace::TraceTable;
