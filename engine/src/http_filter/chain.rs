//! The chain of filters: which settings hold for a request, which filters see it, which see its response.

use super::calls::Call;
use super::grpc_stats::State as GrpcStats;
use super::{Context, Flow, Responding, Setup};
use crate::base::clock::Nanos;
use crate::http::Trailers;
use crate::mux::Hooks;
use crate::router::Fault;
use ringway_config::model::{self, FilterOverride, FilterOverrides, RouteAction};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

macro_rules! declare {
    ($($name:ident $filter:ident;)*) => {
        /// A filter with one set of settings, on one shard.
        enum AnyFilter {
            $($filter(super::$name::Filter),)*
        }

        /// What all shards share of it.
        #[derive(Clone)]
        enum AnyShared {
            $($filter(Arc<super::$name::Shared>),)*
        }

        /// What it keeps of one exchange.
        enum AnyState {
            $($filter(super::$name::State),)*
        }

        impl AnyShared {
            fn new(filter: &model::HttpFilter, shards: usize) -> Self {
                match filter {
                    $(model::HttpFilter::$filter(settings) => Self::$filter(super::$name::Shared::new(settings, shards)),)*
                }
            }
        }

        impl AnyFilter {
            fn new(filter: &model::HttpFilter, shared: &AnyShared, setup: &Setup<'_>) -> Self {
                match (filter, shared) {
                    $((model::HttpFilter::$filter(settings), AnyShared::$filter(shared)) => {
                        Self::$filter(super::$name::Filter::new(settings, shared, setup))
                    })*
                    _ => unreachable!("made from the same settings"),
                }
            }

            async fn request<'s>(&'s self, context: &mut Context<'_, '_, '_>) -> (AnyState, Result<Flow<'s>, Fault>) {
                match self {
                    $(Self::$filter(filter) => {
                        let mut state = super::$name::State::default();
                        let flow = filter.request(context, &mut state).await;
                        (AnyState::$filter(state), flow)
                    })*
                }
            }

            async fn response(
                &self,
                context: &mut Responding<'_, '_, '_>,
                state: &mut AnyState,
            ) -> Result<Hooks, Fault> {
                match (self, state) {
                    $((Self::$filter(filter), AnyState::$filter(state)) => filter.response(context, state).await,)*
                    _ => unreachable!("a filter left this state"),
                }
            }
        }

        /// What `overrides` says about the filter that `settings` are for.
        fn overridden(settings: &model::HttpFilter, overrides: &FilterOverrides) -> Override {
            match settings {
                $(model::HttpFilter::$filter(_) => match &overrides.$name {
                    FilterOverride::None => Override::None,
                    FilterOverride::Disabled => Override::Disabled,
                    FilterOverride::Settings(settings) => {
                        Override::Settings(model::HttpFilter::$filter(settings.clone()))
                    }
                },)*
            }
        }

        /// As `overridden`, without the settings.
        fn choice(filter: &AnyFilter, overrides: &FilterOverrides) -> Option<Choice> {
            match filter {
                $(AnyFilter::$filter(_) => match &overrides.$name {
                    FilterOverride::None => None,
                    FilterOverride::Disabled => Some(Choice::Disabled),
                    FilterOverride::Settings(_) => Some(Choice::Override(overrides.id)),
                },)*
            }
        }
    };
}

ringway_config::http_filters!(declare);

enum Override {
    None,
    Disabled,
    Settings(model::HttpFilter),
}

/// Which settings hold for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Chain,
    Override(u32),
    Disabled,
}

/// Give every override of a connection manager a number of its own.
pub fn number_overrides(hcm: &mut model::Hcm) {
    let mut next = 0;
    for_each_override(&mut hcm.virtual_hosts, |overrides| {
        next += 1;
        overrides.id = next;
    });
}

fn for_each_override(hosts: &mut [model::VirtualHost], mut visit: impl FnMut(&mut FilterOverrides)) {
    let mut visit = |overrides: &mut FilterOverrides| {
        if !overrides.is_empty() {
            visit(overrides);
        }
    };
    for host in hosts {
        visit(&mut host.filters);
        for route in &mut host.routes {
            visit(&mut route.filters);
            if let RouteAction::Forward(forward) = &mut route.action
                && let model::ClusterTarget::Weighted(clusters) = &mut forward.target
            {
                clusters.iter_mut().for_each(|cluster| visit(&mut cluster.filters));
            }
        }
    }
}

/// One place in the chain, for the whole process.
struct SharedEntry {
    settings: model::HttpFilter,
    shared: AnyShared,
    /// By the override's number.
    overrides: HashMap<u32, (model::HttpFilter, AnyShared)>,
}

/// A chain as the whole process shares it: settings, and state such as token buckets.
#[derive(Default)]
pub struct SharedChain(Vec<SharedEntry>);

impl SharedChain {
    /// The overrides must have been numbered. `shards`: how many run the chain.
    pub fn new(hcm: &model::Hcm, shards: usize) -> Arc<Self> {
        let mut entries: Vec<_> = hcm
            .http_filters
            .iter()
            .map(|settings| SharedEntry {
                settings: settings.clone(),
                shared: AnyShared::new(settings, shards),
                overrides: HashMap::new(),
            })
            .collect();
        if !entries.is_empty() {
            for_each_override(&mut hcm.virtual_hosts.clone(), |overrides| {
                for entry in &mut entries {
                    if let Override::Settings(settings) = overridden(&entry.settings, overrides) {
                        let shared = AnyShared::new(&settings, shards);
                        entry.overrides.insert(overrides.id, (settings, shared));
                    }
                }
            });
        }
        Arc::new(Self(entries))
    }
}

struct Entry {
    filter: AnyFilter,
    overrides: HashMap<u32, AnyFilter>,
}

/// A chain on one shard.
pub struct Chain(Vec<Entry>);

/// What a chain keeps of one exchange: the filters, from the first, that saw the request or passed it over.
#[derive(Default)]
pub struct Passed(SmallVec<[Seen; 4]>);

struct Seen {
    choice: Choice,
    /// `None`: the filter is disabled.
    state: Option<AnyState>,
}

impl Passed {
    /// The request goes on as another one, which will pass the filters.
    pub fn start_over(&mut self) {
        for seen in &mut self.0 {
            match &mut seen.state {
                Some(AnyState::GrpcStats(state)) => state.call.iter_mut().for_each(Call::forget),
                Some(AnyState::GrpcWeb(state)) => state.call.iter_mut().for_each(Call::forget),
                _ => {}
            }
        }
        self.0.clear();
    }

    /// The response to a call of gRPC had begun, and is to end early with these trailers, after `sent` bytes of body. What is to be
    /// put behind the body in their place; `None`: it cannot end here.
    pub fn cut_call(&self, sent: u64, trailers: &mut Trailers, now: Nanos) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        for seen in &self.0 {
            match &seen.state {
                Some(AnyState::GrpcWeb(state)) => frame = state.cut(sent, trailers, now)?,
                Some(AnyState::GrpcStats(GrpcStats { call: Some(call) })) => {
                    call.notes.responded(trailers.grpc_status(), now);
                }
                _ => {}
            }
        }
        if !frame.is_empty() {
            trailers.are_in_body();
        }
        Some(frame)
    }
}

impl Chain {
    pub fn new(shared: &SharedChain, setup: &Setup<'_>) -> Self {
        let entry = |entry: &SharedEntry| Entry {
            filter: AnyFilter::new(&entry.settings, &entry.shared, setup),
            overrides: entry
                .overrides
                .iter()
                .map(|(id, (settings, shared))| (*id, AnyFilter::new(settings, shared, setup)))
                .collect(),
        };
        Self(shared.0.iter().map(entry).collect())
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Let the filters see a request. `overrides`: the strongest first.
    ///
    /// # Errors
    /// Why the exchange ends.
    pub async fn request<'s>(
        &'s self,
        passed: &mut Passed,
        overrides: &[&FilterOverrides],
        context: &mut Context<'_, '_, '_>,
    ) -> Result<Flow<'s>, Fault> {
        for entry in &self.0 {
            let chosen = overrides.iter().find_map(|overrides| choice(&entry.filter, overrides));
            let choice = chosen.unwrap_or(Choice::Chain);
            let Some(filter) = entry.chosen(choice) else {
                passed.0.push(Seen { choice, state: None });
                continue;
            };
            let (state, flow) = filter.request(context).await;
            passed.0.push(Seen { choice, state: Some(state) });
            match flow? {
                Flow::Continue => {}
                Flow::Hooked(hooks) => context.client.upload.add_hooks(hooks),
                reply @ Flow::Reply(_) => return Ok(reply),
            }
        }
        Ok(Flow::Continue)
    }

    /// Let the filters that saw the request see the response's head, the last one first. Gives what they want done with
    /// the body.
    ///
    /// # Errors
    /// Why the exchange ends.
    pub async fn response(&self, passed: &mut Passed, context: &mut Responding<'_, '_, '_>) -> Result<Hooks, Fault> {
        let mut hooks = Hooks::default();
        for (entry, seen) in self.0.iter().zip(&mut passed.0).rev() {
            if let (Some(filter), Some(state)) = (entry.chosen(seen.choice), &mut seen.state) {
                hooks.add(filter.response(context, state).await?);
            }
        }
        Ok(hooks)
    }
}

impl Entry {
    fn chosen(&self, choice: Choice) -> Option<&AnyFilter> {
        match choice {
            Choice::Chain => Some(&self.filter),
            Choice::Override(id) => Some(self.overrides.get(&id).unwrap_or(&self.filter)),
            Choice::Disabled => None,
        }
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
