//! The HTTP connection manager: HTTP/1 connections, the exchanges on them, local replies and the access log.
//!
//! `exchange::run` is where reading the code should start: it is the path of one request from its first byte to its
//! line in the access log.

pub mod access_log;
mod admit;
mod connection;
mod drain;
mod exchange;
mod finalize;
mod h1;
mod header_table;
mod local_reply;
mod log;
mod record;
mod redirect;
mod relay;
mod respond;

pub use admit::{Admission, Peer, admit_head};
pub use connection::{Accepted, ChainSlot};
pub use drain::Drain;
pub use h1::serve;
pub use header_table::HeaderTable;

use crate::base::date::imf_fixdate;
use crate::cluster::Cluster;
use crate::codec::h1::Limits;
use crate::http::Exchange;
use crate::http_filter::Chain;
use crate::ring::Reactor;
use crate::route::RouteTable;
use crate::stats::HttpStats;
use access_log::{CompiledLog, ShardLog};
use ringway_config::model;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// One HTTP connection manager on one shard, made from one configuration.
pub struct Hcm {
    pub config: Arc<model::Hcm>,
    table: Arc<RouteTable>,
    headers: Arc<HeaderTable>,
    filters: Chain,
    /// All clusters, in the order of the configuration.
    clusters: Rc<[Rc<Cluster>]>,
    /// Index of each by its name.
    cluster_index: Rc<HashMap<Box<[u8]>, usize>>,
    codec_limits: Limits,
    stats: Arc<HttpStats>,
    logs: Vec<CompiledLog>,
    /// A log tells the bodies of local replies.
    keeps_local_body: bool,
    /// Name of the filter chain.
    chain: Box<str>,
    shard: Rc<HcmShard>,
    splice_threshold: Option<u64>,
}

/// What every connection manager of a shard uses.
pub struct HcmShard {
    pub reactor: Rc<Reactor>,
    pub log: ShardLog,
    /// Exchanges to use again. Boxed: they are handed around, and large.
    #[allow(clippy::vec_box)]
    spare: RefCell<Vec<Box<Exchange>>>,
    /// Value of `date` and the second it is for.
    date: Cell<(u64, [u8; 29])>,
    next_connection: Cell<u64>,
}

/// Exchanges kept for reuse; more may be in use.
const SPARE_EXCHANGES: usize = 1024;

impl HcmShard {
    /// `shard` makes the connections' ids unique in the process.
    pub fn new(reactor: &Rc<Reactor>, log: ShardLog, shard: usize) -> Rc<Self> {
        Rc::new(Self {
            reactor: reactor.clone(),
            log,
            spare: RefCell::new(Vec::new()),
            date: Cell::new((u64::MAX, [b' '; 29])),
            next_connection: Cell::new((shard as u64) << 48),
        })
    }

    /// Give memory that is only kept for reuse back.
    pub fn trim(&self) {
        *self.spare.borrow_mut() = Vec::new();
    }

    fn take_exchange(&self) -> Box<Exchange> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    fn give_exchange(&self, mut exchange: Box<Exchange>) {
        exchange.reset(&self.reactor);
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_EXCHANGES {
            spare.push(exchange);
        }
    }

    fn date(&self) -> [u8; 29] {
        let second = self.reactor.wall_micros() / 1_000_000;
        let (of, text) = self.date.get();
        if of == second {
            return text;
        }
        let text = imf_fixdate(second);
        self.date.set((second, text));
        text
    }

    fn next_connection_id(&self) -> u64 {
        let id = self.next_connection.get() + 1;
        self.next_connection.set(id);
        id
    }
}

/// What `Hcm::new` puts together.
pub struct HcmParts {
    pub config: Arc<model::Hcm>,
    pub table: Arc<RouteTable>,
    pub headers: Arc<HeaderTable>,
    pub filters: Chain,
    pub cluster_index: Rc<HashMap<Box<[u8]>, usize>>,
    pub clusters: Rc<[Rc<Cluster>]>,
    pub stats: Arc<HttpStats>,
    pub logs: Vec<CompiledLog>,
    /// Name of the filter chain.
    pub chain: Box<str>,
    pub shard: Rc<HcmShard>,
    pub splice_threshold: Option<u64>,
}

impl Hcm {
    pub fn new(parts: HcmParts) -> Rc<Self> {
        let limits = &parts.config.limits;
        let codec_limits = Limits {
            head_bytes: limits.max_headers_size,
            fields: limits.max_headers_count,
            target_bytes: limits.max_path_size,
            field_bytes: limits.max_headers_size,
            ..Limits::default()
        };
        Rc::new(Self {
            config: parts.config,
            table: parts.table,
            headers: parts.headers,
            filters: parts.filters,
            clusters: parts.clusters,
            cluster_index: parts.cluster_index,
            codec_limits,
            stats: parts.stats,
            keeps_local_body: parts.logs.iter().any(CompiledLog::tells_local_body),
            logs: parts.logs,
            chain: parts.chain,
            shard: parts.shard,
            splice_threshold: parts.splice_threshold,
        })
    }
}
