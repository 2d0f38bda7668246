//! `load URL`: the generator alone, as one would use wrk (closed loop) and wrk2 (open loop).
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use serde_json::json;

use crate::cli::LoadArgs;
use crate::generator::spec::{Content, Expect, ExpectStatus, Pace, Prepared, RequestText, Reuse, Spec, Wire};
use crate::generator::{self, Outcome};
use crate::measure::precedence::Precedence;
use crate::measure::process::{self, CpuTime};
use crate::origin::answer::Answer;
use crate::pattern::Pattern;
use crate::{tls, units};

/// The percentiles that are printed and drawn.
pub const PERCENTILES: [f64; 7] = [0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1.0];

/// Loads the URL and prints what happened. The exit code is a failure when any exchange failed.
pub fn run(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    process::raise_open_files(args.connections as u64 + 64);
    let spec = Arc::new(spec(args)?);
    let running = generator::start(&spec)?;
    let (begins, ends) = (running.begins(), running.ends());
    crate::interrupt::sleep_until(begins);
    let own = [std::process::id()];
    let before = process::cpu_time(&own);
    crate::interrupt::sleep_until(ends);
    let after = process::cpu_time(&own);
    let outcome = running.join()?;
    let cpu = CpuTime { user_us: after.user_us - before.user_us, system_us: after.system_us - before.system_us };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&to_json(args, &outcome, cpu))?);
    } else {
        print(args, &outcome, cpu);
    }
    if let Some(path) = &args.hdr {
        let mut file = fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        write_percentiles(&outcome.latency, &mut file)?;
    }
    Ok(if outcome.failed.total() == 0 && outcome.completed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn spec(args: &LoadArgs) -> anyhow::Result<Spec> {
    let url = Url::parse(&args.url)?;
    let mut fields = Vec::new();
    for header in &args.headers {
        let (name, value) = header.split_once(':').with_context(|| format!("`{header}` is not `Name: value`"))?;
        fields.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let upload = match (&args.body_size, &args.body_file) {
        (Some(size), _) => Some(Content::Pattern { pattern: Pattern::new(0), len: size.0 }),
        (None, Some(path)) => {
            let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Some(Content::Bytes(bytes.into()))
        }
        (None, None) => None,
    };
    if args.pipeline == 0 || args.connections == 0 {
        bail!("--connections and --pipeline must be at least 1");
    }
    if args.pipeline > 1 && (args.close || upload.is_some() && !args.http2) {
        bail!("--pipeline goes with neither --close nor, over HTTP/1, content");
    }
    if args.resume && !url.secure {
        bail!("--resume is for https");
    }
    let wire = if args.http2 { Wire::Http2 } else { Wire::Http1 };
    let tls = if url.secure { Some(tls::Client::new(wire, args.resume, None)?) } else { None };
    let content = if args.check {
        let answer = Answer::from_target(&url.target).map_err(anyhow::Error::msg)?;
        Some((answer.pattern(), answer.size))
    } else {
        None
    };
    let reuse = if args.close { Reuse::PerRequest } else { Reuse::KeepAlive };
    let status = args.status.map_or(ExpectStatus::Success, ExpectStatus::Exactly);
    let request = Prepared::new(RequestText {
        method: &args.method,
        target: &url.target,
        host: &url.host,
        fields: &fields,
        upload,
        reuse,
        expect: Expect { status, content, grpc: false },
        secure: url.secure,
    });
    let cpus = args.cpus.clone().map_or_else(Vec::new, |list| list.0);
    let pace = match args.rate {
        Some(rate) => Pace::Open { rate: rate.0, arrivals: args.arrivals.into(), tick: None },
        None => Pace::Closed,
    };
    Ok(Spec {
        targets: url.addresses,
        requests: vec![request],
        connections: args.connections,
        wire,
        tls,
        pipeline: args.pipeline,
        reuse,
        pace,
        warmup: args.warmup.0,
        duration: args.duration.0,
        timeout: args.timeout.0,
        threads: args.threads.unwrap_or(cpus.len().max(1)),
        cpus,
        slice: Duration::from_secs(1),
        seed: args.seed,
        precedence: Precedence::Shared,
    })
}

/// `http[s]://host[:port][/path][?query]`.
struct Url {
    secure: bool,
    host: String,
    target: String,
    addresses: Vec<SocketAddr>,
}

impl Url {
    fn parse(text: &str) -> anyhow::Result<Url> {
        let (secure, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => bail!("`{text}` does not start with http:// or https:// (no other scheme is supported)"),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(end);
        let target = match target {
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            target => target.to_owned(),
        };
        let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            host.to_owned()
        } else {
            format!("{host}:{}", if secure { 443 } else { 80 })
        };
        let addresses: Vec<_> =
            with_port.to_socket_addrs().with_context(|| format!("cannot resolve {host}"))?.take(1).collect();
        if addresses.is_empty() {
            bail!("{host} has no address");
        }
        Ok(Url { secure, host: host.to_owned(), target, addresses })
    }
}

fn print(args: &LoadArgs, outcome: &Outcome, cpu: CpuTime) {
    let requests = outcome.completed;
    println!("{requests} requests in {:.2} s over {} connections", outcome.seconds, args.connections);
    println!("  throughput   {} requests/s", units::count(outcome.rate()));
    let per_second = |bytes: u64| units::bytes(bytes as f64 / outcome.seconds);
    println!("  content      {}/s in, {}/s out", per_second(outcome.content_in), per_second(outcome.content_out));
    let cpu_seconds = (cpu.user_us + cpu.system_us) / 1e6;
    println!(
        "  generator    {:.2} s CPU ({:.2} user, {:.2} system), {} requests per CPU second",
        cpu_seconds,
        cpu.user_us / 1e6,
        cpu.system_us / 1e6,
        units::count(requests as f64 / cpu_seconds.max(1e-3))
    );
    println!("latency{}", if args.rate.is_some() { " (from the intended send time)" } else { "" });
    for quantile in PERCENTILES {
        println!("  {:<9} {:>10}", percentile_name(quantile), units::micros(outcome.latency_us(quantile)));
    }
    println!("  {:<9} {:>10}", "mean", units::micros(outcome.latency.mean() / 1e3));
    if args.rate.is_some() {
        println!("  sent late by the generator itself: p99 {}", units::micros(lag_us(outcome)));
    }
    let statuses: Vec<String> = statuses(outcome).map(|(status, count)| format!("{status}: {count}")).collect();
    println!("status         {}", statuses.join(", "));
    if outcome.failed.total() > 0 {
        println!("failed         {:?}", outcome.failed);
    }
    if args.timeline {
        println!("second   requests     failed       mean        max");
        for (second, slice) in outcome.timeline.iter().enumerate() {
            let mean = slice.latency_sum_ns as f64 / slice.completed.max(1) as f64 / 1e3;
            let max = units::micros(slice.latency_max_ns as f64 / 1e3);
            println!("{second:>6} {:>10} {:>10} {:>10} {max:>10}", slice.completed, slice.failed, units::micros(mean));
        }
    }
}

fn to_json(args: &LoadArgs, outcome: &Outcome, cpu: CpuTime) -> serde_json::Value {
    let latency: serde_json::Map<_, _> =
        PERCENTILES.iter().map(|&quantile| (percentile_name(quantile), json!(outcome.latency_us(quantile)))).collect();
    let statuses: serde_json::Map<_, _> =
        statuses(outcome).map(|(status, count)| (status.to_string(), json!(count))).collect();
    json!({
        "url": args.url,
        "connections": args.connections,
        "rate_asked": args.rate.map(|rate| rate.0),
        "seconds": outcome.seconds,
        "requests": outcome.completed,
        "requests_per_second": outcome.rate(),
        "content_bytes_in": outcome.content_in,
        "content_bytes_out": outcome.content_out,
        "latency_us": latency,
        "lag_p99_us": args.rate.map(|_| lag_us(outcome)),
        "statuses": statuses,
        "failed": outcome.failed,
        "handshakes": outcome.handshakes,
        "generator_cpu_us": { "user": cpu.user_us, "system": cpu.system_us },
        "timeline": outcome.timeline,
    })
}

pub fn percentile_name(quantile: f64) -> String {
    if quantile >= 1.0 {
        return "max".to_owned();
    }
    // 0.9999 * 100 is not exactly 99.99.
    format!("p{}", (quantile * 1e6).round() / 1e4)
}

fn lag_us(outcome: &Outcome) -> f64 {
    outcome.lag.value_at_quantile(0.99) as f64 / 1e3
}

fn statuses(outcome: &Outcome) -> impl Iterator<Item = (usize, u64)> + '_ {
    outcome.statuses.iter().copied().enumerate().filter(|&(_, count)| count > 0)
}

/// The percentile format of HdrHistogram's plotter: value in milliseconds, quantile, count, 1/(1-quantile).
fn write_percentiles(histogram: &Histogram<u64>, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut count = 0;
    for step in histogram.iter_quantiles(5) {
        let (value, quantile) = (step.value_iterated_to() as f64 / 1e6, step.quantile_iterated_to());
        count += step.count_since_last_iteration();
        if quantile < 1.0 {
            writeln!(out, "{value:>12.4} {quantile:>14.12} {count:>10} {:>14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(out, "{value:>12.4} {quantile:>14.12} {count:>10}")?;
        }
    }
    writeln!(out, "#[Mean    = {:>12.4}, StdDeviation   = {:>12.4}]", histogram.mean() / 1e6, histogram.stdev() / 1e6)?;
    writeln!(out, "#[Max     = {:>12.4}, Total count    = {:>12}]", histogram.max() as f64 / 1e6, histogram.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_give_host_target_and_address() {
        let url = Url::parse("http://127.0.0.1:8080?size=3").unwrap();
        assert_eq!((url.host.as_str(), url.target.as_str()), ("127.0.0.1:8080", "/?size=3"));
        assert_eq!(Url::parse("http://127.0.0.1").unwrap().addresses[0].port(), 80);
        let url = Url::parse("https://127.0.0.1").unwrap();
        assert_eq!((url.secure, url.addresses[0].port()), (true, 443));
        assert!(Url::parse("ftp://127.0.0.1").is_err());
    }

    #[test]
    fn percentiles_are_written_as_the_plotter_reads_them() {
        let mut histogram = crate::generator::recorder::latency_histogram();
        (1..=1_000).for_each(|ms| histogram.record(ms * 1_000_000).unwrap());
        let mut out = Vec::new();
        write_percentiles(&histogram, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!((495.0..510.0).contains(&median[0]) && median[2] >= 500.0, "{median:?}");
        assert_eq!(rows.last().unwrap()[2], 1_000.0);
    }

    #[test]
    fn percentiles_have_their_usual_names() {
        let names: Vec<String> = PERCENTILES.iter().map(|&quantile| percentile_name(quantile)).collect();
        assert_eq!(names, ["p50", "p75", "p90", "p99", "p99.9", "p99.99", "max"]);
    }
}
