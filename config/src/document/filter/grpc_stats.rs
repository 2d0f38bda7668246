//! The gRPC statistics filter.

use crate::reader::{GrpcMethodName, GrpcServiceName, Int, List, table};

table! {
    /// Counts calls of [gRPC](filters/grpc_stats.md): `cluster.<name>.grpc.<service>.<method>.<statistic>`, for the methods named
    /// here, or for all; calls of other methods are counted together (Envoy: grpc_stats).
    GrpcStats at "listeners[].http.http_filters[].grpc_stats", example "grpc-stats.toml" {
        /// The methods with statistics of their own; all others of a cluster are counted as `cluster.<name>.grpc.<statistic>`.
        individual_method_stats_allowlist: GrpcMethodList, optional "no method";
        /// Give each method that is called statistics of its own. Excludes `individual_method_stats_allowlist`.
        stats_for_all_methods: bool, default "false";
        /// Number of methods of a cluster with `stats_for_all_methods`. The others are counted as `other`: clients can make up
        /// names, and each takes memory. Ringway's own.
        max_methods: Int<1, 100_000>, optional "500";
        /// Keep the time that calls take, too: `upstream_rq_time`.
        enable_upstream_stats: bool, default "false";
    }
}

table! {
    /// Services with their methods (Envoy: GrpcMethodList).
    GrpcMethodList at "listeners[].http.http_filters[].grpc_stats.individual_method_stats_allowlist", example "grpc-stats.toml" {
        /// The services.
        services: List<GrpcService>, required;
    }
}

table! {
    /// A service.
    GrpcService at "listeners[].http.http_filters[].grpc_stats.individual_method_stats_allowlist.services[]", example "grpc-stats.toml" {
        /// Its name, with the package.
        name: GrpcServiceName, required;
        /// Its methods.
        method_names: List<GrpcMethodName>, required;
    }
}
