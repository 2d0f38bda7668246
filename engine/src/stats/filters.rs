//! The statistics of HTTP filters, for the one list of all statistics.

/// Declares these in addition to those that stand in the braces.
macro_rules! with_filter_statistics {
    ({ $($others:tt)* }) => {
        declare_statistics! {
            $($others)*

            /// Bodies of one library and direction that were compressed or decompressed:
            /// `http.<stat_prefix>.compressor.<library>.<library>.<direction>.<statistic>`, likewise `decompressor`.
            Coding CodingStats ["http", "envoy_http_coding", "envoy_http_coding_library"] {
                /// Bytes of bodies before they were compressed, or after they were decompressed
                counter total_uncompressed_bytes;
                /// Bytes of bodies after they were compressed, or before they were decompressed
                counter total_compressed_bytes;
            }

            /// Messages that a compressor saw: `http.<stat_prefix>.compressor.<library>.<library>.<direction>.<statistic>`.
            Compressor CompressorStats ["http", "envoy_http_compressor", "envoy_http_compressor_library"] {
                /// Messages whose body was compressed
                counter compressed;
                /// Messages whose body was not compressed
                counter not_compressed;
                /// Messages not compressed because their length is below min_content_length
                counter content_length_too_small;
                /// Messages not compressed because the memory for compression was in use; Ringway's own
                counter memory_overflow;
            }

            /// Why responses were compressed or not: `http.<stat_prefix>.compressor.<library>.<library>.<statistic>`.
            CompressorChoice CompressorChoiceStats ["http", "envoy_http_compressor_choice", "envoy_http_compressor_library"] {
                /// Requests without accept-encoding
                counter no_accept_header;
                /// Requests whose client wants no coding, or likes none better
                counter header_identity;
                /// Requests that name this library's coding as the best
                counter header_compressor_used;
                /// Requests that this library could have served, and another one did
                counter header_compressor_overshadowed;
                /// Requests that accept this library's coding by a wildcard
                counter header_wildcard;
                /// Requests that accept none of the libraries' codings
                counter header_not_valid;
                /// Responses not compressed because of their etag
                counter not_compressed_etag;
            }

            /// Messages that a decompressor saw: `http.<stat_prefix>.decompressor.<library>.<library>.<direction>.<statistic>`.
            Decompressor DecompressorStats ["http", "envoy_http_decompressor", "envoy_http_decompressor_library"] {
                /// Messages whose body was decompressed
                counter decompressed;
                /// Messages with a body that was not decompressed
                counter not_decompressed;
                /// Messages not decompressed because the memory for it was in use; Ringway's own
                counter memory_overflow;
            }

            /// The fault filters of one HTTP connection manager: `http.<stat_prefix>.fault.<statistic>`.
            Fault FaultStats ["http", "envoy_http", "envoy_http_conn_manager_prefix"] {
                /// Requests that were delayed
                counter delays_injected as "fault.delays_injected";
                /// Requests that were aborted
                counter aborts_injected as "fault.aborts_injected";
                /// Responses that were slowed down
                counter response_rl_injected as "fault.response_rl_injected";
                /// Faults not injected because max_active_faults was reached
                counter faults_overflow as "fault.faults_overflow";
                /// Faults under way
                gauge active_faults as "fault.active_faults";
            }

            /// Calls of gRPC of one method, or of those without a place of their own:
            /// `cluster.<name>.grpc.<service>.<method>.<statistic>`.
            Grpc GrpcStats ["cluster", "envoy_cluster_grpc", "envoy_cluster_name"] {
                /// Calls
                counter total;
                /// Calls that ended with OK
                counter success;
                /// Calls that ended with another status, or were cut
                counter failure;
                /// Calls by the number of their status
                statuses status as "";
                /// Messages of clients
                counter request_message_count;
                /// Messages of servers
                counter response_message_count;
            }

            /// How long such calls take: `cluster.<name>.grpc.<service>.<method>.<statistic>`.
            GrpcTime GrpcTimeStats ["cluster", "envoy_cluster_grpc", "envoy_cluster_name"] {
                /// Time from the request's end to the response's end, in milliseconds
                time upstream_rq_time;
            }

            /// Calls of gRPC-Web of one method, or of those without a place of their own:
            /// `cluster.<name>.grpc-web.<service>.<method>.<statistic>`.
            GrpcWeb GrpcWebStats ["cluster", "envoy_cluster_grpc_web", "envoy_cluster_name"] {
                /// Calls
                counter total;
                /// Calls that ended with OK
                counter success;
                /// Calls that ended with another status, or were cut
                counter failure;
                /// Calls by the number of their status
                statuses status as "";
            }

            /// One local rate limit: `<stat_prefix>.http_local_rate_limit.<statistic>`.
            LocalRateLimit LocalRateLimitStats ["", "envoy", "envoy_local_http_ratelimit_prefix"] {
                /// Requests that were looked at
                counter enabled as "http_local_rate_limit.enabled";
                /// Requests that were refused
                counter enforced as "http_local_rate_limit.enforced";
                /// Requests over the limit, refused or not
                counter rate_limited as "http_local_rate_limit.rate_limited";
                /// Requests within the limit
                counter ok as "http_local_rate_limit.ok";
            }
        }
    };
}

pub(super) use with_filter_statistics;
