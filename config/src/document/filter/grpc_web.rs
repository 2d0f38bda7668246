//! The gRPC-Web filter.

use crate::reader::{Int, table};

table! {
    /// Serves clients of [gRPC-Web](filters/grpc_web.md), as in browsers, from servers of gRPC (Envoy: grpc_web).
    GrpcWeb at "listeners[].http.http_filters[].grpc_web", example "grpc-web.toml" {
        /// Number of methods of a cluster with statistics of their own, `cluster.<name>.grpc-web.<service>.<method>.<statistic>`.
        /// The others are counted as `other`: clients can make up names, and each takes memory. Ringway's own.
        max_methods: Int<1, 100_000>, default "500";
    }
}
