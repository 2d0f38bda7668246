//! The statistics of the process, its shards and its logs, for the one list of all statistics.

/// Declares these in addition to those that stand in the braces.
macro_rules! with_process_statistics {
    ({ $($others:tt)* }) => {
        with_export_statistics! { {
            $($others)*

            /// Access log sinks, all of them together: `access_log.<statistic>`. Ringway's own.
            AccessLog AccessLogStats ["access_log", "ringway_access_log", "sink"] {
                /// Lines written to their file
                counter lines_written;
                /// Lines lost because the writer was behind, a pipe was not read, the disk was full or a write failed
                counter lines_lost;
                /// Writes to a file that failed or were cut short
                counter write_failed;
                /// Files opened again on request
                counter reopened;
                /// Files that could not be opened again; the old one stays in use
                counter reopen_failed;
            }

            /// Event logs of health checks, all of them together: `health_check_event_log.<statistic>`. Ringway's own.
            EventLog EventLogStats ["health_check_event_log", "ringway_health_check_event_log", "sink"] {
                /// Events written to their file
                counter events_written;
                /// Events lost because the writer was behind, a FIFO had no reader or no room, or a write failed
                counter events_lost;
            }

            /// One sink of statistics: `stats_sink.<sink>.<statistic>`. Ringway's own.
            StatsSink StatsSinkStats ["stats_sink", "ringway_stats_sink", "sink"] {
                /// Times that all statistics were read and sent
                counter flushes;
                /// Datagrams that were sent
                counter datagrams_sent;
                /// Datagrams that were lost: the receiver is not there or takes too little, or its name is not known yet
                counter datagrams_lost;
                /// Reports that a collector took
                counter reports_sent;
                /// Reports that were lost: the collector refused them or did not answer, or too many waited
                counter reports_lost;
                /// Times that a report was sent again
                counter reports_retried;
                /// Values in reports that the collector took
                counter points_sent;
                /// Values that it did not take, also within reports that it took
                counter points_lost;
            }

            /// The process: `server.<statistic>`.
            Server ServerStats ["server", "envoy_server", "server"] {
                /// Seconds since the start
                gauge uptime;
                /// 1 while the server neither drains nor starts
                gauge live;
                /// 0 live, 1 draining, 2 pre-initializing, 3 initializing
                gauge state;
                /// Shards
                gauge concurrency;
                /// Version: major times a million, minor times a thousand and patch
                gauge version;
                /// Open downstream connections
                gauge total_connections;
                /// Resident memory in bytes
                gauge memory_allocated;
                /// Lines of the program log lost because standard error was not read or a write failed. Ringway's own
                counter log_lines_lost;
                /// Days until the first certificate expires, of those in files, authorities included; 4294967295 if there is none
                gauge days_until_first_cert_expiring;
                /// Seconds until the first OCSP staple is out of date; 0 if one is, 4294967295 if there is none
                gauge seconds_until_first_ocsp_response_expiring;
                /// Files of certificates, keys, authorities and revocation lists that had changed and are in use. Ringway's own
                counter tls_files_renewed;
                /// Times that such files had changed and could not be used; those before stay in use. Ringway's own
                counter tls_files_refused;
            }

            /// One shard's ring and tasks: `shard.<index>.<statistic>`. Ringway's own.
            Shard ShardStats ["shard", "ringway_shard", "shard"] {
                /// Completions handed out by the ring
                counter completions;
                /// Calls of io_uring_enter
                counter enters;
                /// Times that the shard had nothing to do and slept
                counter sleeps;
                /// Receives that found no free buffer
                counter enobufs;
                /// Receive buffers in use
                gauge buffers_in_use;
                /// Receive buffers that had to come from the heap
                counter heap_buffers;
                /// Times that a socket's receive was stopped because its bytes were not taken
                counter receive_pauses;
                /// Completions for a socket that is closed
                counter stale_completions;
                /// Tasks that live on the shard
                gauge tasks;
                /// Tasks that ended by a panic
                counter panics;
                /// Calls to accept that failed, whatever the listener
                counter accept_errors;
                /// Slices of background work
                counter background_slices;
                /// TLS handshakes with clients that are being computed or wait for that
                gauge handshakes_active;
                /// Times that a listener stopped accepting because of them (runtime.max_handshakes)
                counter handshakes_full;
                /// Clients that waited for their handshake for more than a second, and gave way to others at that limit
                counter handshakes_shed;
                /// HTTP/2 connections of clients
                gauge http2_cx_active;
                /// The most exchanges of HTTP/2 clients at a time within the last second or two, without those of new connections
                gauge http2_load;
                /// HTTP/2 connections that were given to a shard with less to do
                counter http2_cx_handed_over;
                /// HTTP/2 connections that another shard has accepted and given to this one
                counter http2_cx_taken_over;
                /// HTTP/2 connections that stayed although another shard had less to do: it was draining or had too many to take, or this one was out of descriptors
                counter http2_cx_kept;
                /// Length of a turn: from the end of one sleep to the next call that may sleep
                time turn_time;
            }
        } }
    };
}

pub(super) use with_process_statistics;
