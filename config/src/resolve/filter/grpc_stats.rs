//! Settings of the gRPC statistics filter.

use std::collections::HashMap;

use crate::diagnostic::Problem;
use crate::document;
use crate::model::{GrpcMethods, GrpcStats};
use crate::reader::Located;
use crate::resolve::{Resolver, is_written};

/// Methods with statistics of their own, where none are named.
const MAX_METHODS: u32 = 500;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn grpc_stats(&mut self, written: &'d Located<document::GrpcStats>) -> Option<GrpcStats> {
        let all = &written.stats_for_all_methods;
        if all.value {
            let origin = Some(&all.origin).filter(|origin| is_written(origin, &written.origin));
            let list = written.individual_method_stats_allowlist.origin();
            self.at_most_one(&[("stats_for_all_methods", origin), ("individual_method_stats_allowlist", list)]);
        } else if let Some(origin) = written.max_methods.origin().filter(|_| !written.has_unknown) {
            let problem = Problem::at_key(origin, "`max_methods` has no effect without `stats_for_all_methods`");
            self.problems.push(problem.hint(Some("add stats_for_all_methods = true, or leave it out")));
        }
        let methods = match written.individual_method_stats_allowlist.given() {
            _ if all.value => {
                GrpcMethods::All { max: written.max_methods.given().map_or(MAX_METHODS, |max| max.to_u32()) }
            }
            Some(list) => GrpcMethods::Listed(self.grpc_methods(list)),
            None => GrpcMethods::Listed(Vec::new()),
        };
        Some(GrpcStats { methods, enable_upstream_stats: written.enable_upstream_stats.value })
    }

    fn grpc_methods(&mut self, written: &'d Located<document::GrpcMethodList>) -> Vec<(String, String)> {
        self.refuse_empty(&written.services, "there is no service", "leave individual_method_stats_allowlist out");
        let (mut first, mut methods) = (HashMap::new(), Vec::new());
        for service in written.services.items() {
            let hint = "such as [\"Get\", \"List\"]";
            self.refuse_empty(&service.method_names, "the service has no method", hint);
            let Some(name) = service.name.value() else { continue };
            for method in service.method_names.items() {
                let message = |_: &_| format!("the method {} of {name} is in the list twice", method.value.0);
                self.unique(&mut first, (name.clone(), &method.value.0), &method.origin, message);
                methods.push((name.clone(), method.value.0.clone()));
            }
        }
        methods
    }
}
