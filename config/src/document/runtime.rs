//! `[runtime]` and `[admin]`.

use super::read::List;
use super::scalar::{Int, PowerOfTwo, ShardCount};
use super::table::table;
use super::text::{FilePath, LogDirectives, Name};
use super::units::{Size, SizeOrOff, Time};
use crate::model::Address;

table! {
    /// How the process uses the machine. The defaults are right for most.
    Runtime at "runtime", example "runtime.toml" {
        /// Number of shards; each is one thread with its own ring, sockets, connection pools and statistics. `"auto"`
        /// is one for each core that this process may run on. Excludes `cpus`.
        shards: ShardCount, optional "`\"auto\"`";
        /// Numbers of the cores that run a shard, one on each. Excludes `shards`.
        cpus: List<Int<0, 4095>>, optional "see `shards`";
        /// Submission queue entries of each shard's io_uring.
        ring_entries: PowerOfTwo<64, 32768>, default "1024";
        /// Receive buffers of each shard. They are shared by its connections; an idle connection holds none. Memory
        /// for them is shards x `buffer_count` x `buffer_size`, and half as much again for buffers of 32 KiB, which
        /// longer messages use.
        buffer_count: PowerOfTwo<16, 32768>, default "1024";
        /// Bytes in one receive buffer.
        buffer_size: Size<1024, 1_048_576>, default "\"16KiB\"";
        /// Connections that the kernel holds for each listening socket until they are accepted; the kernel itself
        /// caps it at net.core.somaxconn.
        backlog: Int<1, 65535>, default "4096";
        /// How long a drain waits for exchanges in flight before it closes what is left.
        drain_time: Time<0>, default "\"30s\"";
        /// Downstream connections in the whole process; above it, new ones are closed.
        max_connections: Int<1, { u64::MAX }>, optional "half of the file descriptor limit, less a reserve of 32";
        /// A plain response body with at least this many bytes to come, or one that ends with its connection, is moved by
        /// splice(2), without passing through user space.
        splice_threshold: SizeOrOff<1>, default "\"64KiB\"";
        /// How often shards hand their access log lines to the writer.
        access_log_flush_interval: Time<1>, default "\"1s\"";
        /// User to become once everything has started, when started as root.
        user: Name, optional "stay who started it";
        /// Group to become with `user`.
        group: Name, optional "the group of `user`";
        /// The program log: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), and `target=level` for single
        /// targets, separated by commas. The environment variable RUST_LOG, when set, takes its place.
        log: LogDirectives, default "\"info\"";
    }
}

table! {
    /// The admin endpoint: statistics, readiness, drain. It has no authentication: keep it on the loopback or a unix
    /// socket.
    Admin at "admin", example "admin.toml" {
        /// Where it listens.
        address: Address, default "\"127.0.0.1:9901\"";
        /// File that gets a line for each admin request; `/dev/stdout` is possible. A relative path starts at this
        /// file's directory.
        access_log: FilePath, optional "no log";
    }
}
