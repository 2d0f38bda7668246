//! The command line.
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::generator::spec::Arrivals;
use crate::measure::cpus::CpuList;
use crate::origin;
use crate::soak::Action;
use crate::units::{Rate, Size, Span};

#[derive(Debug, Parser)]
#[command(name = "loadtest", version, about = "Compares Ringway with other proxies, and makes load")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios through Ringway, HAProxy, nginx and Envoy side by side, and write a report
    Compare(CompareArgs),
    /// Load one URL, as fast as it answers or at a fixed rate
    Load(LoadArgs),
    /// Serve predictable answers: size, delay, errors and ways to misbehave come from the URL
    Origin(OriginArgs),
    /// Send minutes of mixed traffic with faults through one proxy and check every answer byte for byte
    Soak(SoakArgs),
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The URL to load, such as http://127.0.0.1:8080/path?query; with https, certificates are not verified
    pub url: String,
    /// Speak HTTP/2: by ALPN with https, else with prior knowledge
    #[arg(long)]
    pub http2: bool,
    /// Go on with earlier TLS sessions; each connection makes a full handshake if not set
    #[arg(long)]
    pub resume: bool,
    /// Connections
    #[arg(short, long, default_value_t = 64)]
    pub connections: usize,
    /// Time in which is measured
    #[arg(short, long, default_value = "10s")]
    pub duration: Span,
    /// Load before measuring
    #[arg(long, default_value = "0s")]
    pub warmup: Span,
    /// Threads; one for each core given with --cpus if not set
    #[arg(short, long)]
    pub threads: Option<usize>,
    /// Cores to pin the threads to, such as 1 or 2-3
    #[arg(long)]
    pub cpus: Option<CpuList>,
    /// Open loop: requests a second over all connections, sent when due whatever the answers do
    #[arg(long)]
    pub rate: Option<Rate>,
    /// How the open loop's requests are spaced
    #[arg(long, value_enum, default_value = "constant", requires = "rate")]
    pub arrivals: ArrivalsArg,
    /// Requests in flight on each connection: pipelined over HTTP/1, streams over HTTP/2
    #[arg(long, default_value_t = 1, conflicts_with = "rate")]
    pub pipeline: usize,
    /// Request method
    #[arg(short = 'X', long, default_value = "GET")]
    pub method: String,
    /// Request field, `Name: value`; may be repeated
    #[arg(short = 'H', long = "header")]
    pub headers: Vec<String>,
    /// Send this many content bytes
    #[arg(long, conflicts_with = "body_file")]
    pub body_size: Option<Size>,
    /// Send this file as content
    #[arg(long)]
    pub body_file: Option<PathBuf>,
    /// A new connection for each request
    #[arg(long)]
    pub close: bool,
    /// The status that is right; any 2xx or 3xx if not set
    #[arg(long)]
    pub status: Option<u16>,
    /// Check content against what `loadtest origin` sends for the URL's size and seed
    #[arg(long)]
    pub check: bool,
    /// Time limit for one exchange
    #[arg(long, default_value = "5s")]
    pub timeout: Span,
    /// Print a line for each second
    #[arg(long)]
    pub timeline: bool,
    /// Write the latency distribution to a file, in HdrHistogram's percentile format (milliseconds)
    #[arg(long)]
    pub hdr: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// Fixes the arrivals of an open loop
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ArrivalsArg {
    /// Evenly spaced
    Constant,
    /// Independent of each other, as from many users
    Poisson,
}

impl From<ArrivalsArg> for Arrivals {
    fn from(arg: ArrivalsArg) -> Arrivals {
        match arg {
            ArrivalsArg::Constant => Arrivals::Constant,
            ArrivalsArg::Poisson => Arrivals::Poisson,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
HTTP/1, and HTTP/2 with prior knowledge. Every path is answered; the query says how:
  size=16KiB  content bytes (46)       seed=7       which bytes (0)        status=404  status code (200)
  delay=10ms  wait before answering    chunk=4KiB   chunked coding         error=0.1   share of 503 answers
  fields=30   further response fields  upload=7     check the request's content against this seed
  close=after|silent|before|mid|reset|garbage       how the connection ends with this answer
delay, chunk and close are for HTTP/1. Calls of gRPC (HTTP/2) get their own messages back.")]
pub struct OriginArgs {
    /// Address to listen on; port 0 takes a free one and prints it
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// One thread for each of these cores, pinned
    #[arg(long)]
    pub cpus: Option<CpuList>,
    /// Delay added to every answer, over HTTP/1 (HTTP/2 is then refused)
    #[arg(long, default_value = "0s")]
    pub delay: Span,
}

impl OriginArgs {
    pub fn options(&self) -> origin::Options {
        let cpus = self.cpus.clone().map_or_else(Vec::new, |list| list.0);
        origin::Options { listen: self.listen, cpus, delay: self.delay.0 }
    }
}

/// Where the programs to be compared are found.
#[derive(Clone, Debug, Args)]
pub struct Programs {
    /// The ringway binary, or NAME=PATH; repeat it to compare builds with each other
    #[arg(long, value_name = "[NAME=]PATH", env = "RINGWAY_BIN", default_value = "target/release/ringway")]
    pub ringway: Vec<String>,
    /// The nginx binary
    #[arg(long, default_value = "nginx")]
    pub nginx: PathBuf,
    /// The HAProxy binary
    #[arg(long, default_value = "haproxy")]
    pub haproxy: PathBuf,
    /// The Envoy binary; found where loadtest/peers/install.sh puts it if not set
    #[arg(long, env = "ENVOY_BIN")]
    pub envoy: Option<PathBuf>,
    /// Directory of the scenarios and peer configs
    #[arg(long, default_value = "loadtest")]
    pub assets: PathBuf,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Scenarios by name or by the start of a name (`keepalive`, `keepalive/64`); all if none is given
    pub scenarios: Vec<String>,
    /// Peers: ringway, haproxy, haproxy-splice, nginx, envoy, direct [default: ringway,haproxy,nginx,envoy,direct, and
    /// those that a scenario adds]
    #[arg(short, long, value_delimiter = ',')]
    pub peers: Option<Vec<String>>,
    /// Time in which one run measures; scenarios that need longer say so
    #[arg(short, long, default_value = "3s")]
    pub duration: Span,
    /// Load before measuring
    #[arg(long, default_value = "500ms")]
    pub warmup: Span,
    /// Rounds, each of which runs every peer once, in rotated order
    #[arg(short, long, default_value_t = 3)]
    pub rounds: usize,
    /// Cores of the proxy; the first of this process's cores if not set
    #[arg(long)]
    pub proxy_cpus: Option<CpuList>,
    /// Cores of the generator; on two cores the same as the origin's
    #[arg(long)]
    pub load_cpus: Option<CpuList>,
    /// Cores of the origin
    #[arg(long)]
    pub origin_cpus: Option<CpuList>,
    /// The peer that ratios are formed against; the first that runs if not set
    #[arg(long)]
    pub baseline: Option<String>,
    /// After the rounds, count system calls for each request (perf or strace)
    #[arg(long)]
    pub syscalls: bool,
    /// Directory for report.html, report.json and the configs that ran
    #[arg(short, long, default_value = "target/loadtest")]
    pub out: PathBuf,
    /// Name the scenarios, then exit
    #[arg(long)]
    pub list: bool,
    /// Exit with 1 when any answer was wrong or any exchange failed that the scenario does not let fail
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub programs: Programs,
}

#[derive(Debug, Args)]
pub struct SoakArgs {
    /// The proxy to send through: ringway, haproxy, nginx, envoy or direct
    #[arg(short, long, default_value = "ringway")]
    pub peer: String,
    /// How long
    #[arg(short, long, default_value = "5m")]
    pub duration: Span,
    /// Clients at a time
    #[arg(short, long, default_value_t = 48)]
    pub clients: usize,
    /// Replays the same choices
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Share of sound exchanges that may be answered with a 5xx, as after a reset of a pooled connection
    #[arg(long, default_value_t = 0.001)]
    pub allow_5xx: f64,
    /// Actions to leave out, such as origin-garbage
    #[arg(long, value_enum, value_delimiter = ',')]
    pub without: Vec<Action>,
    /// Cores of the proxy; not pinned if not set
    #[arg(long)]
    pub proxy_cpus: Option<CpuList>,
    #[command(flatten)]
    pub programs: Programs,
}
