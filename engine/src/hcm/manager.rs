//! The connection manager on one shard: what its configuration came to, and what all of them on the shard share.

use super::access_log::{CompiledLog, ShardLog};
use super::header_table::HeaderTable;
use super::misdirected::TlsContext;
use super::reply_mapper::ReplyMapper;
use super::trace::TraceTable;
use crate::base::clock::Nanos;
use crate::base::date::imf_fixdate;
use crate::base::record_ring;
use crate::base::spare::Spare;
use crate::cluster::Cluster;
use crate::http::Exchange;
use crate::http::trace::{Tracers, Tries};
use crate::http_filter::Chain;
use crate::mux::{Coders, Limits, h2};
use crate::ring::{Reactor, Timer};
use crate::route::RouteTable;
use crate::stats::HttpStats;
use ringway_config::model::{self, CodecType};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// One HTTP connection manager on one shard, made from one configuration.
pub struct Hcm {
    pub config: Arc<model::Hcm>,
    pub(super) table: Arc<RouteTable>,
    pub(super) headers: Arc<HeaderTable>,
    pub(super) filters: Chain,
    /// All clusters, in the order of the configuration.
    pub(super) clusters: Rc<[Rc<Cluster>]>,
    /// Index of each by its name.
    pub(super) cluster_index: Rc<HashMap<Box<[u8]>, usize>>,
    pub(super) codec_limits: Limits,
    pub(super) stats: Arc<HttpStats>,
    pub(super) logs: Vec<CompiledLog>,
    /// No log and no span is written.
    pub(super) tells_nothing: bool,
    /// Neither a filter nor tracing looks at requests.
    pub(super) is_plain: bool,
    /// Every request goes on with fields of its connection manager.
    pub(super) adds_to_requests: bool,
    pub(super) replies: Arc<[ReplyMapper]>,
    /// A log or another reply tells the bodies of local replies.
    pub(super) keeps_local_body: bool,
    /// Name of the filter chain.
    pub(super) chain: Box<str>,
    /// Where chains of the listener ask their clients for different certificates.
    pub(super) tls_context: Option<TlsContext>,
    pub(super) shard: Rc<HcmShard>,
    pub(super) splice_threshold: Option<u64>,
    pub(super) tracing: Option<Arc<TraceTable>>,
}

/// What every connection manager of a shard uses.
pub struct HcmShard {
    pub reactor: Rc<Reactor>,
    pub log: ShardLog,
    /// For filters that change bodies.
    pub coders: Rc<Coders>,
    /// Exchanges to use again. Boxed: they are handed around, and large.
    exchanges: Spare<Box<Exchange>, SPARE_EXCHANGES>,
    /// The line `date` and the second it is for.
    date: Cell<(u64, [u8; 37])>,
    next_connection: Cell<u64>,
    cut_off: Cell<CutOff>,
    /// To use again, like exchanges.
    tries: Spare<Rc<Tries>, SPARE_EXCHANGES>,
    /// Of exchanges that shared their connection.
    timers: Spare<Timer, SPARE_EXCHANGES>,
    /// From the first configuration with tracing on.
    spans: OnceCell<SpanQueue>,
}

/// Where a shard's spans go.
pub(super) struct SpanQueue {
    pub writer: record_ring::Writer,
    /// Where a record is made, and a text in it.
    pub record: RefCell<[Vec<u8>; 2]>,
}

/// Exchanges that were under way when the process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutOff {
    pub count: u64,
    /// How long the longest of them had lasted.
    pub longest: Nanos,
}

impl CutOff {
    pub fn plus(self, other: Self) -> Self {
        Self { count: self.count + other.count, longest: self.longest.max(other.longest) }
    }
}

/// Exchanges kept for reuse; more may be in use.
const SPARE_EXCHANGES: usize = 1024;

impl HcmShard {
    /// `shard` makes the connections' ids unique in the process.
    pub fn new(reactor: &Rc<Reactor>, log: ShardLog, shard: usize) -> Rc<Self> {
        Rc::new(Self {
            reactor: reactor.clone(),
            log,
            coders: Coders::new(reactor),
            exchanges: Spare::new(),
            date: Cell::new((u64::MAX, *b"date:                              \r\n")),
            next_connection: Cell::new((shard as u64) << 48),
            cut_off: Cell::default(),
            tries: Spare::new(),
            timers: Spare::new(),
            spans: OnceCell::new(),
        })
    }

    /// Give memory that is only kept for reuse back.
    pub fn trim(&self) {
        self.exchanges.trim();
        self.tries.trim();
        self.timers.trim();
        h2::trim();
        self.coders.trim();
    }

    /// An exchange that had lasted for `time` was cut off.
    pub(super) fn note_cut_off(&self, time: Nanos) {
        self.cut_off.set(self.cut_off.get().plus(CutOff { count: 1, longest: time }));
    }

    pub fn cut_off(&self) -> CutOff {
        self.cut_off.get()
    }

    pub(super) fn take_exchange(&self) -> Box<Exchange> {
        self.exchanges.take().unwrap_or_default()
    }

    pub(super) fn give_exchange(&self, mut exchange: Box<Exchange>) {
        exchange.reset(&self.reactor);
        self.exchanges.give(exchange);
    }

    /// For an exchange that shares its connection.
    pub(super) fn take_timer(&self) -> Timer {
        self.timers.take().unwrap_or_else(|| Timer::new(&self.reactor))
    }

    pub(super) fn give_timer(&self, timer: Timer) {
        timer.disarm();
        self.timers.give(timer);
    }

    /// For the tries of an exchange that is traced.
    pub(super) fn take_tries(&self) -> Rc<Tries> {
        self.tries.take().unwrap_or_default()
    }

    /// The exchange has ended. A try that is still under way keeps them.
    pub(super) fn give_tries(&self, mut tries: Rc<Tries>) {
        if let Some(unique) = Rc::get_mut(&mut tries) {
            unique.clear();
            self.tries.give(tries);
        }
    }

    /// Spans will come.
    fn open_spans(&self, tracers: &Tracers) {
        self.spans.get_or_init(|| SpanQueue { writer: tracers.open(), record: RefCell::default() });
    }

    /// There is one where a connection manager traces.
    pub(super) fn spans(&self) -> Option<&SpanQueue> {
        self.spans.get()
    }

    /// The line `date`, as it goes out.
    pub(super) fn date_line(&self) -> [u8; 37] {
        let second = self.reactor.wall_micros() / 1_000_000;
        let (of, mut line) = self.date.get();
        if of != second {
            line[6..35].copy_from_slice(&imf_fixdate(second));
            self.date.set((second, line));
        }
        line
    }

    pub fn next_connection_id(&self) -> u64 {
        let id = self.next_connection.get() + 1;
        self.next_connection.set(id);
        id
    }
}

impl Hcm {
    /// Whether HTTP/2 is spoken on a connection whose handshake agrees on this protocol.
    pub fn speaks_http2(&self, agreed: Option<&[u8]>) -> bool {
        match self.config.codec_type {
            CodecType::Http1 => false,
            CodecType::Http2 => true,
            CodecType::Auto => agreed == Some(b"h2"),
        }
    }

    /// The connection manager of one filter chain, named `chain`.
    pub fn new(plan: HcmPlan<'_>, filters: Chain, clusters: &Clusters, shard: &Rc<HcmShard>) -> Rc<Self> {
        if let Some(table) = plan.tracing {
            shard.open_spans(table.tracers());
        }
        let limits = &plan.config.limits;
        let codec_limits = Limits {
            head_bytes: limits.max_headers_size,
            fields: limits.max_headers_count,
            target_bytes: limits.max_path_size,
            field_bytes: limits.max_headers_size,
            ..Limits::default()
        };
        Rc::new(Self {
            config: plan.config.clone(),
            table: plan.table.clone(),
            headers: plan.headers.clone(),
            clusters: clusters.list.clone(),
            cluster_index: clusters.index.clone(),
            codec_limits,
            stats: plan.stats,
            keeps_local_body: plan.logs.iter().any(CompiledLog::tells_local_body)
                || plan.replies.iter().any(ReplyMapper::tells_local_body),
            replies: plan.replies.clone(),
            tells_nothing: plan.logs.is_empty() && plan.tracing.is_none(),
            is_plain: filters.is_empty() && plan.tracing.is_none(),
            adds_to_requests: plan.config.headers.via.is_some() || plan.tracing.is_some(),
            filters,
            logs: plan.logs.to_vec(),
            chain: plan.chain.into(),
            tls_context: plan.tls_context.cloned(),
            shard: shard.clone(),
            splice_threshold: plan.splice_threshold,
            tracing: plan.tracing.cloned(),
        })
    }
}

/// What is prepared of a connection manager before a shard makes its own.
pub struct HcmPlan<'a> {
    pub config: &'a Arc<model::Hcm>,
    pub table: &'a Arc<RouteTable>,
    pub headers: &'a Arc<HeaderTable>,
    pub logs: &'a [CompiledLog],
    pub replies: &'a Arc<[ReplyMapper]>,
    pub stats: Arc<HttpStats>,
    /// Name of the filter chain.
    pub chain: &'a str,
    pub tls_context: Option<&'a TlsContext>,
    pub splice_threshold: Option<u64>,
    pub tracing: Option<&'a Arc<TraceTable>>,
}

/// The clusters of a shard.
#[derive(Clone)]
pub struct Clusters {
    /// In the order of the configuration.
    pub list: Rc<[Rc<Cluster>]>,
    /// Place of each in the list, by its name.
    pub index: Rc<HashMap<Box<[u8]>, usize>>,
}
