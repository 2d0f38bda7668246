//! Tracing of exchanges: to which trace one belongs and whether it is sampled, how its request goes on, and its spans at its end
//! (Envoy: HttpTracerUtility, ZipkinDriver).

mod spans;
mod table;

pub(super) use spans::end;
pub use table::TraceTable;

use super::admit::believes;
use super::connection::Connection;
use super::manager::Hcm;
use crate::base::random::Random;
use crate::http::matcher::is_in_share;
use crate::http::trace::{self, Context, Found, Ids, Onward, Trace, Tracing, new_id};
use crate::http::{Exchange, FieldId, Fields, Span};
use crate::stats::HttpStats;
use ringway_config::model::{Fraction, TraceForm, TraceTrust};
use smallvec::SmallVec;

/// Fields by which a request tells something of its trace, or asks for one.
const TELLING: u128 = trace::fields(TraceForm::B3)
    | trace::fields(TraceForm::B3Multi)
    | trace::fields(TraceForm::W3c)
    | Fields::set_of(&[FieldId::XClientTraceId, FieldId::XEnvoyForceTrace, FieldId::XEnvoyDecoratorOperation]);

/// Find the exchange's place in a trace. Its route is known, if it has one.
pub(super) fn begin(hcm: &Hcm, connection: &Connection, exchange: &mut Exchange) {
    let Some(table) = &hcm.tracing else { return };
    // An internal redirect goes on with what the request came with.
    if exchange.facts.tracing != Tracing::Off {
        return;
    }
    let (stats, random) = (&hcm.stats, hcm.shard.reactor.random());
    let is_sampled = if exchange.request.head.fields.contains_any(TELLING) {
        begin_told(hcm, table, connection, exchange)
    } else {
        let sampling = &table.said(exchange.facts.route).sampling;
        start_trace(table, &mut exchange.trace, random);
        is_chosen(sampling.random, random) && is_chosen(sampling.overall, random) && {
            stats.tracing_random_sampling.inc();
            true
        }
    };
    exchange.trace.sampled = is_sampled;
    if is_sampled {
        exchange.facts.tracing = Tracing::Sampled;
        exchange.trace.tries = Some(hcm.shard.take_tries());
    } else {
        exchange.facts.tracing = Tracing::Unsampled;
        stats.tracing_not_traceable.inc();
    }
}

/// The same for a request that tells something of its trace. Whether it is sampled.
#[inline(never)]
fn begin_told(hcm: &Hcm, table: &TraceTable, connection: &Connection, exchange: &mut Exchange) -> bool {
    let (config, stats, random) = (&table.config, &hcm.stats, hcm.shard.reactor.random());
    let request = &exchange.request;
    let (form, context) = match trace::find(&config.extract, &request.head, request.view()) {
        None => (None, Context::default()),
        Some(Found { form, context: Ok(context) }) => (Some(form), context),
        Some(Found { context: Err(_), .. }) => {
            stats.tracing_context_malformed.inc();
            (None, Context::default())
        }
    };
    let trusts = match config.trust {
        TraceTrust::Always => true,
        TraceTrust::Never => false,
        TraceTrust::Internal => exchange.facts.is_internal || believes(&hcm.config.trust, connection.arrival.remote),
    };
    let is_sampled = match context.sampled.filter(|_| trusts) {
        Some(sampled) => {
            stats.tracing_continued.add(u64::from(sampled));
            sampled
        }
        None => decide(table, exchange, trusts, stats, random),
    };
    let trace = &mut exchange.trace;
    start_trace(table, trace, random);
    if let Some(ids) = context.ids {
        let shares = is_sampled && config.shared_span && form != Some(TraceForm::W3c);
        join(trace, ids, shares, random);
        trace.random = context.random;
    }
    trace.debug = trusts && context.debug;
    let fields = &exchange.request.head.fields;
    let rewrites_w3c = config.extract.contains(&TraceForm::W3c) || config.inject.contains(&TraceForm::W3c);
    if fields.contains(FieldId::Tracestate) && rewrites_w3c {
        // It belongs to the `traceparent` that it came with, which may tell the same as another form that comes first.
        let view = exchange.request.view();
        let told = trace::find(&[TraceForm::W3c], &exchange.request.head, view).and_then(|found| found.context.ok());
        let is_its = told.and_then(|told| told.ids).is_some_and(|ids| ids.trace == exchange.trace.trace);
        let keeps = is_its && trace::is_valid_tracestate(fields, view);
        if !keeps {
            exchange.request.head.fields.remove_id(FieldId::Tracestate);
        }
    }
    if let Some(operation) = exchange.request.head.fields.get(FieldId::XEnvoyDecoratorOperation) {
        exchange.trace.operation = operation.value;
        exchange.request.head.fields.remove_id(FieldId::XEnvoyDecoratorOperation);
    }
    is_sampled
}

/// A trace that begins here.
fn start_trace(table: &TraceTable, trace: &mut Trace, random: &Random) {
    let high = if table.config.trace_id_128bit { random.next_u64() } else { 0 };
    trace.trace = u128::from(high) << 64 | u128::from(new_id(random));
    // The first span has the lower half of the trace's id, as with Envoy and many of Zipkin's libraries.
    (trace.span, trace.parent) = (trace.trace as u64, 0);
    (trace.debug, trace.random, trace.shared, trace.operation) = (false, true, false, Span::EMPTY);
}

/// Whether chance takes an exchange into the share.
fn is_chosen(share: Fraction, random: &Random) -> bool {
    match share.per_million {
        0 => false,
        1_000_000 => true,
        _ => is_in_share(share, random.next_u64()),
    }
}

/// Go on with the trace that the sender has told of.
fn join(trace: &mut Trace, ids: Ids, shares: bool, random: &Random) {
    (trace.trace, trace.span, trace.parent) = (ids.trace, new_id(random), ids.span);
    if shares {
        (trace.shared, trace.span, trace.parent) = (true, ids.span, ids.parent.unwrap_or(0));
    }
}

/// This side's decision, in Envoy's order.
fn decide(table: &TraceTable, exchange: &Exchange, trusts: bool, stats: &HttpStats, random: &Random) -> bool {
    let sampling = &table.said(exchange.facts.route).sampling;
    let fields = &exchange.request.head.fields;
    let reason = if trusts && fields.contains(FieldId::XClientTraceId) && is_chosen(sampling.client, random) {
        &stats.tracing_client_enabled
    } else if exchange.facts.is_internal && fields.contains(FieldId::XEnvoyForceTrace) {
        &stats.tracing_service_forced
    } else if is_chosen(sampling.random, random) {
        &stats.tracing_random_sampling
    } else {
        return false;
    };
    let is_sampled = is_chosen(sampling.overall, random);
    reason.add(u64::from(is_sampled));
    is_sampled
}

/// Write the context into the request that is about to be forwarded, in the configured forms and in each in which one came. A
/// request that an internal redirect sends again has it already.
pub(super) fn inject(hcm: &Hcm, table: &TraceTable, exchange: &mut Exchange) {
    let Exchange { request, trace, facts, .. } = exchange;
    if facts.redirects > 0 {
        return;
    }
    let is_sampled = facts.tracing == Tracing::Sampled;
    let tells = request.head.fields.contains_any(TELLING);
    if !is_sampled && !tells && table.injects_w3c {
        trace::write_unsampled(trace.trace, &mut request.edit());
        return;
    }
    let onward = Onward {
        trace: trace.trace,
        // Copies of the request go out with it; each try writes its own over it.
        span: if is_sampled { new_id(hcm.shard.reactor.random()) } else { trace.span },
        parent: trace.span,
        sampled: is_sampled,
        debug: trace.debug,
        random: trace.random,
    };
    trace.slots.clear();
    let config = &table.config;
    if tells {
        let came = |form: &&TraceForm| request.head.fields.contains_any(trace::fields(**form));
        let more = config.extract.iter().filter(|form| !config.inject.contains(form)).filter(came);
        let forms: SmallVec<[TraceForm; 3]> = config.inject.iter().chain(more).copied().collect();
        trace::write(&onward, &forms, &mut request.edit(), &mut trace.slots);
    } else {
        trace::write(&onward, &config.inject, &mut request.edit(), &mut trace.slots);
    }
}
