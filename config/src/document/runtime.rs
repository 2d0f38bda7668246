//! `[runtime]` and `[admin]`.

use toml::de::DeValue;

use super::socket::SocketMode;
use crate::diagnostic::Problems;
use crate::model::{Address, LogFormat, Placement};
use crate::reader::{
    Domain, FilePath, Input, Int, List, LogDirectives, Name, OneOf, PowerOfTwo, Read, Shape, Size, SizeOrOff, Time,
    Word, table,
};

table! {
    /// How the process uses the machine. The defaults are right for most installations.
    Runtime at "runtime", example "runtime.toml" {
        /// Number of shards. Each is one thread with its own ring, sockets, connection pools and statistics. `"auto"`
        /// means one for each core that the process may run on. Excludes `cpus`.
        shards: ShardCount, optional "`\"auto\"`";
        /// The numbers of the cores that each run one shard. Excludes `shards`.
        cpus: List<Int<0, 4095>>, optional "see `shards`";
        /// Which cores `shards` takes first, of those that the process may run on. `"spread"`: a shard on each physical core
        /// before any core gets a second one, in turns from the processors of the machine. `"pack"`: cores that are near
        /// each other, so that other processors stay free. If the kernel does not tell how cores are arranged, by number.
        placement: OneOf<Placement>, default "\"spread\"";
        /// Submission queue entries of each shard's io_uring.
        ring_entries: PowerOfTwo<64, 32768>, default "1024";
        /// Receive buffers of each shard, shared by its connections; an idle connection holds none. They take shards x
        /// `buffer_count` x `buffer_size` of memory, half as much again for buffers of 32 KiB, which longer messages
        /// use, and half as much for those of 128 KiB, for bodies that come fast. `check` refuses more than the host, or the control group of the process, has.
        buffer_count: PowerOfTwo<16, 32768>, default "1024";
        /// Bytes in one receive buffer.
        buffer_size: Size<1024, 1_048_576>, default "\"16KiB\"";
        /// Connections that the kernel holds for each listening socket until they are accepted. The kernel's own limit
        /// is net.core.somaxconn.
        backlog: Int<1, 65535>, default "4096";
        /// How long a drain, of the process or of a listener that a reload has removed, waits for exchanges in flight before
        /// it closes the connections that are left. A connection without an exchange has a second for one more request,
        /// whose response says `connection: close`.
        drain_time: Time<0>, default "\"30s\"";
        /// How long the process goes on accepting and serving as before after SIGTERM, SIGINT or `/quitquitquit`, while
        /// `/ready` says 503: the time that a load balancer needs to see that and to turn away. Then the drain begins, and
        /// `drain_time` runs. `/drain_listeners` drains at once.
        drain_delay: Time<0>, default "\"0s\"";
        /// Downstream connections in the whole process. A proxied connection takes two file descriptors: `check`, a start
        /// and a reload warn of more connections than there are descriptors for. At the limit, a new connection replaces the one that has been idle
        /// longest, on whichever listener and shard; if none is idle, the new one is closed.
        max_connections: Int<1, { u64::MAX }>, optional "half of the file descriptor limit, less a reserve of 32";
        /// A response body is moved by splice(2), without passing through user space, if at least this many bytes are
        /// still to come or if it ends with its connection. Chunked bodies are not spliced.
        splice_threshold: SizeOrOff<1>, default "\"64KiB\"";
        /// Whether TCP connections over loopback send by a clock, where the system's congestion control does
        /// (`net.ipv4.tcp_congestion_control = bbr`). That is for long ways; within the host it has each segment of a large body wait
        /// for a timer. If `false`, connections to endpoints at loopback addresses and those of listeners at such addresses have `reno`
        /// in its place. All others have the system's: listeners at `0.0.0.0`, for example. And sockets that the service
        /// manager passes have that of their unit (systemd: TCPCongestion).
        loopback_pacing: bool, default "false";
        /// Memory of each shard for compressing and decompressing bodies. Bodies for which there is no room pass as they
        /// are.
        compression_memory: Size<1_048_576, { 1 << 40 }>, default "\"64MiB\"";
        /// TLS handshakes with clients that a shard has to compute, each about 0.15 ms with a P-256 key and up to 5 ms with RSA:
        /// a few at a time, while the others wait. At the limit, new connections to listeners with TLS wait in the kernel's
        /// backlog, until a connection that has waited for more than a second gives way to them. After a quarter of a second
        /// of that, at most 64 wait in the shard and 128 in the backlog, 16 where keys are of RSA; other clients connect again
        /// later. A client that says nothing does not count.
        max_handshakes: Int<1, 1_000_000>, default "1024";
        /// How often shards hand their access log lines to the writer.
        access_log_flush_interval: Time<1>, default "\"1s\"";
        /// User to switch to after the start, with all groups that it is a member of, if the process was started as root. `ringway check` as root says which files this user may not read at a reload.
        user: Name, optional "the user that started it";
        /// Group to switch to together with `user`.
        group: Name, optional "the group of `user`";
        /// The program log on standard error: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), and `target=level` for single
        /// targets, separated by commas. The environment variable RUST_LOG overrides it.
        log: LogDirectives, default "\"info\"";
        /// How the program log is written. `"text"`: lines for people. `"json"`: on each line an object with `timestamp`, `level`,
        /// `target`, `message` and what belongs to the event, for programs that gather logs.
        log_format: OneOf<LogFormat>, default "\"text\"";
    }
}

table! {
    /// The admin endpoint: statistics, readiness, drain. It has no authentication: keep it on the loopback interface or
    /// a unix socket.
    Admin at "admin", example "admin.toml" {
        /// Address to listen on.
        address: Address, default "\"127.0.0.1:9901\"";
        /// Permissions of the Unix socket's file; see `socket_mode` of a listener.
        socket_mode: SocketMode, optional "what the umask leaves of 0777";
        /// User that the Unix socket's file belongs to; see `socket_user` of a listener.
        socket_user: Name, optional "the user that starts the process";
        /// Group that the Unix socket's file belongs to; see `socket_group` of a listener.
        socket_group: Name, optional "the group that starts the process";
        /// Names by which the endpoint may be asked for, besides `localhost` and IP addresses: in the form of the domains of
        /// virtual hosts, in any case and without a port. Requests for other hosts get 403, since a page in a browser can
        /// make a name of its own lead to this address (DNS rebinding); `"*"` takes that guard away. A reload changes it.
        allowed_hosts: List<Domain>, optional "`localhost` and IP addresses only";
        /// File that gets a line for each admin request; `/dev/stdout` is the standard output. A relative path starts
        /// at the directory of the configuration file.
        access_log: FilePath, optional "no log";
    }
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
    const LATER: &'static [&'static str] = &[];
}

impl Word for Placement {
    const WORDS: &'static [(&'static str, Self)] = &[("spread", Self::Spread), ("pack", Self::Pack)];
    const LATER: &'static [&'static str] = &[];
}

/// "auto" or a number of shards.
#[derive(Clone, Copy, Debug)]
pub enum ShardCount {
    Auto,
    Count(Int<1, 1024>),
}

impl Read for ShardCount {
    fn shape() -> Shape {
        Shape::Either(vec![Shape::Words(vec!["auto"]), Int::<1, 1024>::shape()])
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        match input.value {
            DeValue::Integer(_) => Int::read(input, problems).map(Self::Count),
            DeValue::String(text) if text == "auto" => Some(Self::Auto),
            _ => {
                input.refuse_type::<Self>(problems);
                None
            }
        }
    }
}
