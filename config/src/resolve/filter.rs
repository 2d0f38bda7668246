//! HTTP filters: the chain, and the changes that virtual hosts, routes and weighted clusters make to it. The settings of
//! each filter are checked in a separate file.

mod buffer;
mod compressor;
mod decompressor;
mod fault;
mod grpc_stats;
mod grpc_web;
mod local_ratelimit;

use std::collections::HashMap;

use super::Resolver;
use crate::diagnostic::Problem;
use crate::document::{self, Http};
use crate::model::{self, FilterOverride, FilterOverrides, HttpFilter};
use crate::place::Origin;
use crate::reader::{Located, OffOr, Slot, Written};

macro_rules! declare {
    ($($name:ident $filter:ident;)*) => {
        impl<'d> Resolver<'d, '_, '_> {
            fn http_filter(&mut self, written: &'d Located<document::HttpFilter>) -> Option<HttpFilter> {
                let keys = [
                    $((stringify!($name), written.$name.origin()),)*
                    ("router", written.router.origin()),
                ];
                self.exactly_one(&written.origin, written.has_unknown, &keys, "this table names no filter");
                $(
                    if let Some(settings) = written.$name.given() {
                        let model = self.$name(&settings.settings)?;
                        return Some(HttpFilter::$filter(self.written(settings, model)));
                    }
                )*
                None
            }

            pub(super) fn filter_overrides(
                &mut self,
                written: &'d Slot<document::FilterOverrides>,
            ) -> FilterOverrides {
                let Some(written) = written.given() else {
                    return FilterOverrides::default();
                };
                $(
                    self.check_in_chain(stringify!($name), written.$name.origin());
                    let $name = match written.$name.given().map(|settings| &settings.value) {
                        None => FilterOverride::None,
                        Some(OffOr::Off) => FilterOverride::Disabled,
                        Some(OffOr::On(settings)) => {
                            self.$name(&settings.settings).map_or(FilterOverride::None, |model| {
                                FilterOverride::Settings(self.written(settings, model))
                            })
                        }
                    };
                )*
                FilterOverrides { id: 0, $($name,)* }
            }
        }

        /// The filter that a member of the chain names first.
        fn written_name(written: &Located<document::HttpFilter>) -> Option<(&'static str, &Origin)> {
            let names = [$((stringify!($name), written.$name.origin()),)*];
            names.into_iter().find_map(|(name, origin)| origin.map(|origin| (name, origin)))
        }
    };
}

crate::http_filters!(declare);

impl<'d> Resolver<'d, '_, '_> {
    /// The chain without the router, which ends every chain.
    pub(super) fn http_filters(&mut self, http: &'d Located<Http>) -> Vec<HttpFilter> {
        let members = http.http_filters.items();
        let mut first = HashMap::new();
        for (name, origin) in members.iter().filter_map(written_name) {
            self.unique(&mut first, name, origin, |name| format!("the filter `{name}` is in the chain twice"));
        }
        for (index, member) in members.iter().enumerate() {
            if let Some(router) = member.router.origin().filter(|_| index + 1 < members.len()) {
                let problem =
                    Problem::at_key(router, "router is not the last filter: the filters after it would never run");
                self.problems.push(problem.hint(Some("put { router = {} } at the end, once, or leave it out")));
            }
        }
        self.chain = first.into_keys().collect();
        self.chain_is_known = http
            .http_filters
            .given()
            .map_or(!http.has_unknown, |list| !list.is_incomplete && members.iter().all(|member| !member.has_unknown));
        members.iter().filter_map(|member| self.http_filter(member)).collect()
    }

    fn written<T, M>(&self, written: &Written<T>, settings: M) -> model::Written<M> {
        model::Written { settings, text: written.text.clone(), place: self.problems.place(&written.settings.origin) }
    }

    /// Settings for a filter that is not there have no effect.
    fn check_in_chain(&mut self, name: &str, origin: Option<&Origin>) {
        let Some(origin) = origin.filter(|_| self.chain_is_known && !self.chain.contains(&name)) else {
            return;
        };
        let problem = Problem::at_key(origin, format!("there is no filter `{name}` in `http_filters`"));
        self.problems.push(problem.hint(Some(format!("add {{ {name} = {{ ... }} }} to http.http_filters"))));
    }
}
