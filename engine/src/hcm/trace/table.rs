//! What a configuration says of tracing, ready to use, for a connection manager and for each of its routes.

use crate::http::RouteRef;
use crate::http::format::CompiledFormat;
use crate::http::trace::Tracers;
use ringway_config::model::{self, FormatPiece, RouteTracing, Sampling, SpanFormat, TagNames, TraceForm, Tracing};
use std::sync::Arc;

/// Made once per configuration and shared by all shards.
#[derive(Debug)]
pub struct TraceTable {
    pub(super) config: Tracing,
    tracers: Arc<Tracers>,
    /// The exporter's number.
    pub(super) tracer: u32,
    /// The conventions that spans follow.
    pub(super) names: TagNames,
    own: Said,
    /// Requests that tell nothing go on with `traceparent` alone.
    pub(super) injects_w3c: bool,
    /// For each route of each virtual host that says something of its own; empty where none does.
    routes: Vec<Vec<Option<Said>>>,
}

/// What holds for a route's requests.
#[derive(Debug)]
pub(super) struct Said {
    pub sampling: Sampling,
    /// `None`: the usual name.
    pub operation: Option<CompiledFormat>,
    pub tags: Vec<(Box<[u8]>, CompiledFormat)>,
}

impl TraceTable {
    /// `None`: nothing is traced.
    pub fn new(hcm: &model::Hcm, tracers: &Arc<Tracers>) -> Option<Self> {
        let config = hcm.tracing.clone()?;
        let says_nothing = |route: &model::Route| {
            let RouteTracing { client, random, overall, operation, tags } = &route.tracing;
            [client, random, overall].iter().all(|share| share.is_none()) && operation.is_none() && tags.is_empty()
        };
        let route = |route: &model::Route| (!says_nothing(route)).then(|| Said::of_route(&config, &route.tracing));
        let mut routes: Vec<Vec<_>> =
            hcm.virtual_hosts.iter().map(|host| host.routes.iter().map(route).collect()).collect();
        if routes.iter().flatten().all(Option::is_none) {
            routes = Vec::new();
        }
        Some(Self {
            tracers: tracers.clone(),
            tracer: tracers.intern(&config.exporter),
            names: match config.exporter.format {
                SpanFormat::ZipkinJson | SpanFormat::ZipkinProtobuf => TagNames::Envoy,
                SpanFormat::OtlpHttp { names } | SpanFormat::OtlpGrpc { names } => names,
            },
            own: Said::of_route(&config, &RouteTracing::default()),
            injects_w3c: config.inject == [TraceForm::W3c],
            routes,
            config,
        })
    }

    pub(in super::super) fn tracers(&self) -> &Tracers {
        &self.tracers
    }

    #[inline]
    pub(super) fn said(&self, at: Option<RouteRef>) -> &Said {
        if self.routes.is_empty() { &self.own } else { self.said_of_route(at) }
    }

    fn said_of_route(&self, at: Option<RouteRef>) -> &Said {
        let host = at.and_then(|at| self.routes.get(at.virtual_host as usize));
        let route = at.zip(host).and_then(|(at, host)| host.get(at.route as usize)?.as_ref());
        route.unwrap_or(&self.own)
    }
}

impl Said {
    fn of_route(own: &Tracing, route: &RouteTracing) -> Self {
        let is_replaced = |name: &String| route.tags.iter().any(|(other, _)| other == name);
        let kept = own.tags.iter().filter(|(name, _)| !is_replaced(name));
        let compiled = |(name, pieces): &(String, Vec<FormatPiece>)| {
            (name.clone().into_bytes().into(), CompiledFormat::new(pieces))
        };
        let operation = route.operation.as_ref().or(own.operation.as_ref());
        Self {
            sampling: Sampling {
                client: route.client.unwrap_or(own.sampling.client),
                random: route.random.unwrap_or(own.sampling.random),
                overall: route.overall.unwrap_or(own.sampling.overall),
            },
            operation: operation.map(|pieces| CompiledFormat::new(pieces)),
            tags: kept.chain(&route.tags).map(compiled).collect(),
        }
    }
}
