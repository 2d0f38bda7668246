//! Statistics that are sent: statsd itself makes of them what /stats shows, and sinks come and go with reloads.

use super::grpc::peers;
use super::support::{Origin, Ringway, Server, Setup, eventually, forwarding, free_port, program, response};
use rustix::process::Signal;
use serde_json::Value;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// statsd of npm, with a backend that prints what it has counted.
struct Statsd {
    server: Server,
    _dir: tempfile::TempDir,
}

impl Statsd {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("config.js");
        let backend = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/statsd/backend.js");
        let (port, admin) = (free_port(), free_port());
        let text = format!(
            "{{ address: '127.0.0.1', port: {port}, mgmt_address: '127.0.0.1', mgmt_port: {admin}, flushInterval: 200,
                percentThreshold: [50, 90], deleteIdleStats: true, backends: [{:?}] }}",
            backend.display().to_string()
        );
        std::fs::write(&config, text).expect("a file");
        let mut command = program("node");
        command.arg(peers().join("statsd/node_modules/statsd/stats.js")).arg(config);
        let statsd = Self { server: Server::start(command), _dir: dir };
        let probe = UdpSocket::bind("127.0.0.1:0").expect("a port");
        eventually("statsd counts", || {
            let _ = probe.send_to(b"probe:1|c", statsd.server.address);
            statsd.sum("/counters/probe") > 0.0
        });
        statsd
    }

    /// The values at this place in all flushes.
    fn values(&self, place: &str) -> Vec<f64> {
        let lines = self.server.lines.lock().unwrap().clone();
        let flushes = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        flushes.filter_map(|flush| flush.pointer(place)?.as_f64()).collect()
    }

    fn sum(&self, place: &str) -> f64 {
        self.values(place).iter().sum()
    }
}

fn stats(sinks: &str, interval: &str) -> String {
    format!("[stats]\nflush_interval = \"{interval}\"\nsinks = [{sinks}]\n")
}

/// The percentile of all response times as /stats shows it.
fn percentile(proxy: &Ringway, which: &str) -> f64 {
    let text = proxy.admin("GET", "/stats?filter=cluster.app.upstream_rq_time").text().to_owned();
    let (_, rest) = text.split_once(&format!(" {which}(nan,")).expect("a percentile");
    rest.split(')').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// Now and then statsd closes its books in the middle of the report; then it is told once more.
#[test]
fn statsd_makes_of_the_last_report_what_the_proxy_shows() {
    assert!((0..10).any(|_| has_shown_the_last_report()), "statsd has never had a whole report in one interval");
}

/// `false`: the report was in two of statsd's intervals.
fn has_shown_the_last_report() -> bool {
    const REQUESTS: u32 = 200;
    let statsd = Statsd::start();
    let origin = Origin::answering(|request| {
        if request.target() == "/slow" {
            std::thread::sleep(Duration::from_millis(20));
        }
        response(200, &[], "ok")
    });
    let sink = format!("{{ statsd = {{ address = \"{}\" }} }}", statsd.server.address);
    let config = stats(&sink, "1h") + &forwarding(origin.address, "");
    let mut proxy = Setup::new(&config).start();
    let mut client = proxy.connect();
    for index in 0..REQUESTS {
        assert_eq!(client.get(if index % 5 == 0 { "/slow" } else { "/" }).status(), 200);
    }
    drop(client);
    let expected = ["P50", "P90"].map(|which| percentile(&proxy, which));
    proxy.signal(Signal::TERM);
    assert!(proxy.wait().success());
    let place = |kind: &str, rest: &str| format!("/{kind}/ringway.cluster.app.{rest}");
    eventually("the last report has come", || statsd.sum(&place("counters", "upstream_rq_200")) > 0.0);
    let times = |what: &str| statsd.values(&place("timers", &format!("upstream_rq_time/{what}")));
    let requests = f64::from(REQUESTS);
    eventually("its times have come", || times("count").iter().sum::<f64>() >= requests);
    if times("count").len() > 1 {
        return false;
    }
    eventually("its counters have come", || statsd.sum(&place("counters", "upstream_rq_200")) >= requests);
    assert_eq!(statsd.sum(&place("counters", "upstream_rq_total")), requests);
    assert_eq!(statsd.sum(&place("counters", "upstream_rq_200")), requests);
    assert_eq!(statsd.sum(&place("counters", "upstream_rq_503")), 0.0);
    assert_eq!(statsd.values(&place("gauges", "membership_healthy")).last(), Some(&1.0));
    // A hundred lines, each for two values.
    assert_eq!(times("count"), [requests]);
    for (what, expected) in ["upper_50", "upper_90"].iter().zip(expected) {
        let [shown] = times(what)[..] else { panic!("{what}: {:?}", times(what)) };
        assert!((shown - expected).abs() <= expected / 4.0, "{what} is {shown}, and {expected} at the proxy");
    }
    true
}

/// Gathers the lines that come to a port.
struct Lines {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Lines {
    fn of(socket: UdpSocket) -> Self {
        let address = socket.local_addr().expect("bound");
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let all = lines.clone();
        std::thread::spawn(move || {
            let mut datagram = [0; 65_536];
            while let Ok(len) = socket.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..len]).into_owned();
                all.lock().unwrap().extend(text.lines().map(str::to_owned));
            }
        });
        Self { address, lines }
    }

    fn start() -> Self {
        Self::of(UdpSocket::bind("127.0.0.1:0").expect("a port"))
    }

    /// The sum of a counter's lines: `start` is what comes before the value, `end` what comes after it.
    fn count(&self, start: &str, end: &str) -> u64 {
        let lines = self.lines.lock().unwrap();
        let values = lines.iter().filter_map(|line| line.strip_prefix(start)?.strip_suffix(end)?.parse::<u64>().ok());
        values.sum()
    }

    /// Waits for a line that comes after this call.
    fn wait_for(&self, line: &str) {
        self.lines.lock().unwrap().clear();
        eventually(line, || self.lines.lock().unwrap().iter().any(|other| other == line));
    }
}

#[test]
fn sinks_come_and_go_with_reloads() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let (first, second) = (Lines::start(), Lines::start());
    let routes = forwarding(origin.address, "");
    let proxy = Setup::new(&routes).start();
    assert_eq!(proxy.get("/").status(), 200);
    let reload = |sinks: &str| {
        let stats = if sinks.is_empty() { String::new() } else { stats(sinks, "100ms") };
        proxy.write_config(&(stats + &routes));
        assert!(proxy.reload(), "{}", proxy.stderr());
    };
    let statsd = format!("{{ statsd = {{ address = \"localhost:{}\", prefix = \"edge\" }} }}", first.address.port());
    reload(&statsd);
    first.wait_for("edge.cluster.app.membership_healthy:1|g");
    // What was counted before there was a sink is nothing new to it.
    let requests = |lines: &Lines| lines.count("edge.cluster.app.upstream_rq_total:", "|c");
    assert_eq!(requests(&first), 0);
    proxy.get("/");
    eventually("it is told", || requests(&first) == 1);
    // A second one, in the other dialect.
    let datadog = format!("{{ dog_statsd = {{ address = \"{}\" }} }}", second.address);
    reload(&format!("{statsd}, {datadog}"));
    let cluster = "#envoy.cluster_name:app";
    second.wait_for(&format!("ringway.cluster.membership_healthy:1|g|{cluster}"));
    (0..3).for_each(|_| drop(proxy.get("/")));
    let tagged = |name: &str, tags: &str| {
        second.count(&format!("ringway.cluster.{name}:"), &format!("|c|#{tags}envoy.cluster_name:app"))
    };
    eventually("both are told", || {
        let classes = tagged("upstream_rq_xx", "envoy.response_code_class:2,");
        let codes = tagged("upstream_rq", "envoy.response_code:200,");
        (tagged("upstream_rq_total", ""), classes, codes, requests(&first)) == (3, 3, 3, 4)
    });
    // A changed one, and one less.
    reload(&datadog.replace("\" }", "\", prefix = \"other\", max_bytes_per_datagram = 512 }"));
    second.wait_for(&format!("other.cluster.membership_healthy:1|g|{cluster}"));
    eventually("the first one is told nothing more", || {
        first.lines.lock().unwrap().clear();
        second.wait_for(&format!("other.cluster.membership_healthy:1|g|{cluster}"));
        first.lines.lock().unwrap().is_empty()
    });
    assert!(!proxy.admin("GET", "/stats").text().contains("stats_sink.statsd."));
    reload("");
    proxy.get("/");
    assert!(!proxy.admin("GET", "/stats").text().contains("stats_sink."));
}

#[test]
fn a_sink_that_is_not_there_costs_only_its_datagrams() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let port = free_port();
    let sinks = format!(
        "{{ statsd = {{ address = \"127.0.0.1:{port}\" }} }}, {{ statsd = {{ address = \"none.invalid:1\" }} }}"
    );
    let proxy = Setup::new(&(stats(&sinks, "100ms") + &forwarding(origin.address, ""))).start();
    let name = format!("stats_sink.statsd.127.0.0.1_{port}");
    eventually("datagrams are lost", || proxy.stat(&format!("{name}.datagrams_lost")) > 3);
    proxy.wait_for_log("sink=\"statsd.none.invalid_1\"");
    eventually("datagrams are lost", || proxy.stat("stats_sink.statsd.none.invalid_1.datagrams_lost") > 3);
    assert_eq!(proxy.stat("stats_sink.statsd.none.invalid_1.datagrams_sent"), 0);
    assert_eq!(proxy.get("/").status(), 200);
    let Ok(socket) = UdpSocket::bind(("127.0.0.1", port)) else { return };
    Lines::of(socket).wait_for("ringway.cluster.app.membership_healthy:1|g");
    proxy.wait_for_log("statistics arrive again");
    let said = proxy.stderr().matches("statistics are lost").count();
    assert_eq!(said, 2, "once for each: {}", proxy.stderr());
}

/// A collector by other libraries than ours.
struct Collector(Server);

impl Collector {
    fn start(protocol: &str) -> Self {
        let mut command = program("python3");
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/otlp/collector.py");
        command.env("PYTHONPATH", peers().join("python")).arg(script).arg(protocol);
        Self(Server::start(command))
    }

    fn reports(&self) -> Vec<Value> {
        let lines = self.0.lines.lock().unwrap().clone();
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// The data of this metric in the last report that has it.
    fn last(&self, name: &str) -> Option<Value> {
        let reports = self.reports();
        let metrics = reports
            .iter()
            .rev()
            .filter_map(|report| report.pointer("/report/resourceMetrics/0/scopeMetrics/0/metrics")?.as_array());
        metrics.flatten().find(|metric| metric["name"] == name).cloned()
    }

    /// The value of the point with this attribute in the last report.
    fn value(&self, name: &str, attribute: &str) -> Option<String> {
        let metric = self.last(name)?;
        let points = ["sum", "gauge"].iter().find_map(|kind| metric[kind]["dataPoints"].as_array())?;
        let has = |point: &&Value| {
            point["attributes"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["value"]["stringValue"] == attribute))
        };
        Some(points.iter().find(has)?["asInt"].as_str()?.to_owned())
    }
}

#[test]
fn collectors_of_opentelemetry_get_metrics_over_http_and_grpc() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    for (protocol, temporality) in [("http", "cumulative"), ("grpc", "delta")] {
        let collector = Collector::start(protocol);
        let sink = format!(
            "{{ otlp = {{ cluster = \"collector\", protocol = \"{protocol}\", temporality = \"{temporality}\", \
                service_name = \"edge\", attributes = {{ zone = \"a\" }} }} }}"
        );
        let wire = if protocol == "grpc" { "protocol = \"http2\"" } else { "" };
        let cluster =
            format!("\n[[clusters]]\nname = \"collector\"\nendpoints = [\"{}\"]\n{wire}\n", collector.0.address);
        let mut proxy = Setup::new(&(stats(&sink, "1h") + &forwarding(origin.address, "") + &cluster)).start();
        (0..5).for_each(|_| assert_eq!(proxy.get("/").status(), 200));
        proxy.signal(Signal::TERM);
        assert!(proxy.wait().success());
        eventually("the last report has come", || !collector.reports().is_empty());
        let report = collector.reports().remove(0);
        let resource = report.pointer("/report/resourceMetrics/0/resource/attributes").expect("a resource").to_string();
        assert!(
            resource.contains("service.name") && resource.contains("edge") && resource.contains("zone"),
            "{resource}"
        );
        let value = |name: &str, attribute: &str| collector.value(&format!("ringway.cluster.{name}"), attribute);
        assert_eq!(value("upstream_rq_total", "app").as_deref(), Some("5"));
        assert_eq!(value("upstream_rq", "200").as_deref(), Some("5"));
        assert_eq!(value("membership_healthy", "app").as_deref(), Some("1"));
        let sum = collector.last("ringway.cluster.upstream_rq_total").expect("a metric")["sum"].clone();
        let expected = format!("AGGREGATION_TEMPORALITY_{}", temporality.to_uppercase());
        assert_eq!((&sum["aggregationTemporality"], &sum["isMonotonic"]), (&expected.into(), &true.into()), "{sum}");
        let times = collector.last("ringway.cluster.upstream_rq_time").expect("a metric");
        let times = &times["histogram"]["dataPoints"][0];
        let buckets = times["bucketCounts"].as_array().expect("buckets");
        let in_buckets: u64 = buckets.iter().filter_map(|count| count.as_str()?.parse::<u64>().ok()).sum();
        assert_eq!((times["count"].as_str(), in_buckets), (Some("5"), 5), "{times}");
        assert_eq!((buckets.len(), times["explicitBounds"].as_array().map(Vec::len)), (20, Some(19)));
        assert!(report["headers"].to_string().to_lowercase().contains("ringway/"), "{}", report["headers"]);
    }
}
