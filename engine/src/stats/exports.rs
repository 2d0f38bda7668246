//! The statistics of access logs and spans that are sent, for the one list of all statistics. What is counted is the same for each
//! program that takes them.

/// Declares these in addition to those that stand in the braces.
macro_rules! with_export_statistics {
    ({ $($others:tt)* }) => {
        $crate::stats::exports::export_statistics! { { $($others)* }
            logs {
                /// Access logs for Envoy's access log service, of all shards and services together:
                /// `access_logs.grpc_access_log.<statistic>`.
                ServiceLog ServiceLogStats ["access_logs.grpc_access_log", "envoy_access_logs_grpc_access_log", "sink"];
                /// Access logs for OpenTelemetry, the same: `access_logs.open_telemetry_access_log.<statistic>`.
                OtlpLog OtlpLogStats ["access_logs.open_telemetry_access_log", "envoy_access_logs_open_telemetry_access_log", "sink"];
            }
            spans {
                /// Spans for Zipkin, of all shards and exporters together: `tracing.zipkin.<statistic>`.
                Zipkin ZipkinStats ["tracing.zipkin", "envoy_tracing_zipkin", "tracer"];
                /// Spans for OpenTelemetry, the same: `tracing.opentelemetry.<statistic>`. Envoy has spans_sent and timer_flushed of
                /// these.
                Opentelemetry OpentelemetryStats ["tracing.opentelemetry", "envoy_tracing_opentelemetry", "tracer"];
            }
        }
    };
}

macro_rules! export_statistics {
    (
        { $($others:tt)* }
        logs { $( $(#[doc = $log_doc:literal])+ $log:ident $log_scope:ident [$($log_name:literal),+]; )+ }
        spans { $( $(#[doc = $span_doc:literal])+ $span:ident $span_scope:ident [$($span_name:literal),+]; )+ }
    ) => {
        with_tls_statistics! { {
            $($others)*

            $(
                $(#[doc = $log_doc])+
                $log $log_scope [$($log_name),+] {
                    /// Records that the program took
                    counter logs_written;
                    /// Records that were lost: the program refused them or did not answer. Those that no report had room for are in access_log.lines_lost
                    counter logs_dropped;
                    /// Reports that the program took. Ringway's own
                    counter reports_sent;
                    /// Times that a report was sent again. Ringway's own
                    counter reports_retried;
                }
            )+

            $(
                $(#[doc = $span_doc])+
                $span $span_scope [$($span_name),+] {
                    /// Spans that the collector took
                    counter spans_sent;
                    /// Spans that were lost: those that the collector did not take, or that came faster than they could be sent. Ringway's own
                    counter spans_dropped;
                    /// Reports made because the first of their spans had waited for flush_interval
                    counter timer_flushed;
                    /// Reports that the collector took
                    counter reports_sent;
                    /// Reports lost because the collector refused them, or because too many waited
                    counter reports_dropped;
                    /// Reports lost because the collector did not answer
                    counter reports_failed;
                    /// Reports lost because the configuration has their cluster no more
                    counter reports_skipped_no_cluster;
                    /// Times that a report was sent again. Ringway's own
                    counter reports_retried;
                }
            )+
        } }
    };
}

pub(super) use {export_statistics, with_export_statistics};
