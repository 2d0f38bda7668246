//! Tracing of exchanges: to which trace one belongs and whether it is sampled, how its request goes on, and its spans at its end
//! (Envoy: HttpTracerUtility, ZipkinDriver).

mod spans;
mod table;

pub(super) use spans::end;
pub use table::TraceTable;

use super::admit::believes;
use super::connection::Connection;
use super::manager::Hcm;
use crate::http::matcher::is_in_share;
use crate::http::trace::{self, Context, Found, Ids, Onward, Trace, new_id};
use crate::http::{Exchange, FieldId, Fields};
use crate::stats::HttpStats;
use ringway_config::model::{TraceForm, TraceTrust};
use smallvec::SmallVec;
use std::rc::Rc;

/// Find the exchange's place in a trace. Its route is known, if it has one.
pub(super) fn begin(hcm: &Hcm, table: &TraceTable, connection: &Connection, exchange: &mut Exchange) {
    let (config, stats, random) = (&table.config, &hcm.stats, hcm.shard.reactor.random());
    let mut trace = hcm.shard.take_trace();
    // A store has none that another holds.
    let Some(unique) = Rc::get_mut(&mut trace) else { return };
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
    unique.debug = trusts && context.debug;
    unique.sampled = match context.sampled.filter(|_| trusts) {
        Some(sampled) => {
            stats.tracing_continued.add(u64::from(sampled));
            sampled
        }
        None => decide(table, exchange, trusts, stats, || random.next_u64()),
    };
    stats.tracing_not_traceable.add(u64::from(!unique.sampled));
    match context.ids {
        Some(ids) => join(unique, ids, config.shared_span && form != Some(TraceForm::W3c), || new_id(random)),
        None => {
            let high = if config.trace_id_128bit { random.next_u64() } else { 0 };
            unique.trace = u128::from(high) << 64 | u128::from(new_id(random));
            unique.span = new_id(random);
        }
    }
    let fields = &exchange.request.head.fields;
    let rewrites_w3c = config.extract.contains(&TraceForm::W3c) || config.inject.contains(&TraceForm::W3c);
    if fields.contains(FieldId::Tracestate) && rewrites_w3c {
        // It belongs to the `traceparent` that it came with.
        let keeps = form == Some(TraceForm::W3c) && trace::is_valid_tracestate(fields, exchange.request.view());
        if !keeps {
            exchange.request.head.fields.remove_id(FieldId::Tracestate);
        }
    }
    if let Some(operation) = exchange.request.head.fields.get(FieldId::XEnvoyDecoratorOperation) {
        unique.operation = operation.value;
        exchange.request.head.fields.remove_id(FieldId::XEnvoyDecoratorOperation);
    }
    exchange.trace = Some(trace);
}

/// Go on with the trace that the sender has told of.
fn join(trace: &mut Trace, ids: Ids, shares: bool, new_id: impl FnOnce() -> u64) {
    trace.trace = ids.trace;
    trace.shared = shares && trace.sampled;
    (trace.span, trace.parent) = match trace.shared {
        true => (ids.span, ids.parent.unwrap_or(0)),
        false => (new_id(), ids.span),
    };
}

/// Headers that ask for a trace.
const ASKS: u128 = Fields::set_of(&[FieldId::XClientTraceId, FieldId::XEnvoyForceTrace]);

/// This side's decision, in Envoy's order.
fn decide(table: &TraceTable, exchange: &Exchange, trusts: bool, stats: &HttpStats, random: impl Fn() -> u64) -> bool {
    let sampling = &table.said(exchange.facts.route).sampling;
    let fields = &exchange.request.head.fields;
    let asks = |id| fields.contains_any(ASKS) && fields.contains(id);
    let reason = if trusts && asks(FieldId::XClientTraceId) && is_in_share(sampling.client, random()) {
        &stats.tracing_client_enabled
    } else if exchange.facts.is_internal && asks(FieldId::XEnvoyForceTrace) {
        &stats.tracing_service_forced
    } else if is_in_share(sampling.random, random()) {
        &stats.tracing_random_sampling
    } else {
        return false;
    };
    let is_sampled = is_in_share(sampling.overall, random());
    reason.add(u64::from(is_sampled));
    is_sampled
}

/// Write the context into the request that is about to be forwarded, in the configured forms and in each in which one came. A
/// request that an internal redirect sends again has it already.
pub(super) fn inject(hcm: &Hcm, table: &TraceTable, exchange: &mut Exchange) {
    let Some(trace) = exchange.trace.as_ref().filter(|trace| trace.slots.borrow().is_empty()) else { return };
    let fields = &exchange.request.head.fields;
    let config = &table.config;
    let is_written = |form: &TraceForm| {
        config.inject.contains(form) || config.extract.contains(form) && fields.contains_any(trace::fields(*form))
    };
    let forms = [TraceForm::B3, TraceForm::B3Multi, TraceForm::W3c];
    let forms: SmallVec<[TraceForm; 3]> = forms.into_iter().filter(is_written).collect();
    let onward = Onward {
        trace: trace.trace,
        // Copies of the request go out with it; each try writes its own over it.
        span: if trace.sampled { new_id(hcm.shard.reactor.random()) } else { trace.span },
        parent: trace.span,
        sampled: trace.sampled,
        debug: trace.debug,
    };
    trace::write(&onward, &forms, &mut exchange.request.edit(), &mut trace.slots.borrow_mut());
}
