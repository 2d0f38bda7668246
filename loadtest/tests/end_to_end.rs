//! The command end to end: `load` against `origin`, `compare` in short form, `soak` against the origin itself.
//!
//! They check answers and form, never times: what a machine under test load measures is no ground for failing.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use loadtest::h2::frame::{self, FrameReader, INITIAL_WINDOW, PREFACE, flag, kind};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_loadtest");
const ASSETS: &str = env!("CARGO_MANIFEST_DIR");

struct Origin {
    child: Child,
    address: SocketAddr,
}

impl Origin {
    fn start() -> Origin {
        let mut child = Command::new(PROGRAM)
            .args(["origin", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the origin starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect(&line).parse().unwrap();
        Origin { child, address }
    }

    fn load(&self, target: &str, args: &[&str]) -> (Output, Value) {
        load(self.address, target, args)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(address: SocketAddr, target: &str, args: &[&str]) -> (Output, Value) {
    let url = format!("http://{address}{target}");
    let output = Command::new(PROGRAM).args(["load", &url, "-d", "400ms", "--json"]).args(args).output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output, json)
}

fn failed(json: &Value) -> u64 {
    json["failed"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

#[test]
fn load_checks_every_answer_in_every_mode() {
    let origin = Origin::start();
    let modes: [(&str, &[&str]); 8] = [
        ("/?seed=3", &["--check", "-c", "8"]),
        ("/?size=300KiB&seed=4", &["--check", "-c", "4"]),
        ("/?size=50kB&chunk=1000", &["--check", "-c", "4"]),
        ("/", &["--check", "-c", "8", "--pipeline", "8"]),
        ("/", &["--check", "-c", "8", "--close"]),
        ("/?close=after", &["--check", "-c", "4"]),
        ("/?upload=0", &["--check", "-X", "POST", "--body-size", "500KiB", "-c", "4"]),
        ("/?size=9", &["-X", "HEAD", "-c", "2", "-t", "2"]),
    ];
    for (target, args) in modes {
        let (output, json) = origin.load(target, args);
        assert!(output.status.success() && failed(&json) == 0, "{target} {args:?}: {json}");
        assert!(json["requests"].as_u64().unwrap() > 0, "{target} {args:?}: {json}");
    }
}

#[test]
fn load_over_http2_checks_every_answer_in_every_mode() {
    let origin = Origin::start();
    let modes: [(&str, &[&str]); 8] = [
        ("/?seed=3", &["--check", "-c", "4", "--pipeline", "16"]),
        ("/?size=300KiB&seed=4", &["--check", "-c", "2", "--pipeline", "3"]),
        ("/?fields=50&size=0", &["--check", "-c", "2", "--pipeline", "2"]),
        ("/", &["--check", "-c", "4", "--close"]),
        ("/", &["--check", "-c", "4", "--rate", "500"]),
        ("/?upload=0", &["--check", "-X", "POST", "--body-size", "500KiB", "-c", "2", "--pipeline", "2"]),
        ("/?size=9", &["-X", "HEAD", "-c", "2", "-t", "2"]),
        ("/?status=404", &["--status", "404", "-H", "X-Some: thing"]),
    ];
    for (target, args) in modes {
        let (output, json) = origin.load(target, &[&["--http2"], args].concat());
        assert!(output.status.success() && failed(&json) == 0, "{target} {args:?}: {json}");
        assert!(json["requests"].as_u64().unwrap() > 0, "{target} {args:?}: {json}");
    }
    // A wrong byte in an upload, a status that was not expected, and what HTTP/2 does not do.
    for target in ["/?upload=1", "/?status=503", "/?delay=1ms", "/?close=mid"] {
        let args = ["--http2", "-c", "2", "-X", "POST", "--body-size", "2kB"];
        let (output, json) = origin.load(target, &args);
        assert!(!output.status.success() && json["failed"]["status"].as_u64().unwrap() > 0, "{target}: {json}");
    }
}

/// A server of HTTP/2 for one connection, which opens a window when all of it is used up, and says nothing else meanwhile.
fn sparing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut reader, mut buffer) = (FrameReader::default(), vec![0; 1 << 16]);
        stream.read_exact(&mut buffer[..PREFACE.len()]).unwrap();
        let (mut out, mut used, mut last, mut is_acknowledged) = (Vec::new(), 0, 0, false);
        frame::settings(&mut out, &[]);
        loop {
            // The client may be gone.
            if stream.write_all(&out).is_err() {
                return;
            }
            out.clear();
            let Ok(count @ 1..) = stream.read(&mut buffer) else { return };
            let mut input = &buffer[..count];
            while let Some(frame) = reader.next(&mut input).unwrap() {
                is_acknowledged |= frame.kind == kind::SETTINGS && frame.has(flag::ACK);
                if frame.kind == kind::DATA {
                    (last, used) = (frame.stream, used + frame.payload.len() as i64);
                    if frame.has(flag::END_STREAM) {
                        frame::headers(&mut out, frame.stream, b"\x88", true);
                    }
                }
            }
            // Opened with an acknowledgement under way, a window would not be alone.
            if is_acknowledged && used == INITIAL_WINDOW {
                frame::window_update(&mut out, 0, INITIAL_WINDOW as u32);
                frame::window_update(&mut out, last, INITIAL_WINDOW as u32);
                used = 0;
            }
        }
    });
    address
}

#[test]
fn an_upload_goes_on_when_the_server_opens_its_window_alone() {
    // Each exchange uses up the connection's window a few times.
    let args = ["--http2", "-c", "1", "-X", "POST", "--body-size", "500KiB", "--timeout", "10s"];
    let (output, json) = load(sparing(), "/", &args);
    assert!(output.status.success() && failed(&json) == 0, "{json}");
    assert!(json["requests"].as_u64().unwrap() > 0, "{json}");
}

#[test]
fn an_open_loop_sends_at_its_rate_and_counts_from_the_intended_time() {
    let origin = Origin::start();
    // Each answer takes 20 ms, so 10 connections manage 500 a second; asked for 1,000, the wait grows all the time.
    let (_, json) = origin.load("/?delay=20ms", &["-c", "10", "--rate", "1000"]);
    assert!(json["latency_us"]["p50"].as_f64().unwrap() > 50_000.0, "{json}");
    // Asked for 100, there is none.
    let (output, json) = origin.load("/?delay=20ms", &["-c", "10", "--rate", "100", "--arrivals", "poisson"]);
    assert!(output.status.success(), "{json}");
    assert!(json["latency_us"]["p50"].as_f64().unwrap() >= 20_000.0, "{json}");
}

#[test]
fn load_counts_failures_by_kind() {
    let origin = Origin::start();
    let cases: [(&str, &[&str], &str); 7] = [
        ("/?status=404", &[], "status"),
        ("/?close=before", &[], "closed"),
        ("/?close=reset&size=100kB", &[], "closed"),
        ("/?close=garbage", &[], "malformed"),
        ("/?delay=300ms", &["--timeout", "100ms"], "timeout"),
        ("/?upload=1", &["-X", "POST", "--body-size", "2kB"], "status"),
        ("/?size=5&size=6", &["--header", "Connection: close", "--status", "201"], "status"),
    ];
    for (target, args, kind) in cases {
        let (output, json) = origin.load(target, &[&["-c", "2"], args].concat());
        assert!(!output.status.success(), "{target}");
        assert!(json["failed"][kind].as_u64().unwrap() > 0, "{target}: {json}");
        assert_eq!(json["requests"], 0, "{target}: {json}");
    }
    let refused = Command::new(PROGRAM)
        .args(["load", "http://127.0.0.1:1/", "-d", "200ms", "-c", "2", "--json"])
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert!(!refused.status.success() && json["failed"]["connect"].as_u64().unwrap() > 0, "{json}");
}

#[test]
fn load_writes_timeline_and_distribution() {
    let origin = Origin::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("latency.hgrm");
    let url = format!("http://{}/", origin.address);
    let output = Command::new(PROGRAM)
        .args(["load", &url, "-d", "1500ms", "-c", "4", "--timeline", "--hdr"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("requests/s") && text.contains("p99.99"), "{text}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("1 ")), "no second line of the timeline: {text}");
    assert!(std::fs::read_to_string(file).unwrap().contains("#[Max"));
}

#[test]
fn a_malformed_command_line_is_explained() {
    for (args, words) in [
        (vec!["load", "ftp://x/"], "does not start with http:// or https://"),
        (vec!["load", "http://127.0.0.1:1/", "-d", "3"], "is not a duration"),
        (vec!["compare", "--assets", ASSETS, "no-such"], "is not a scenario"),
        (vec!["compare", "--assets", ASSETS, "-p", "apache", "close"], "is not a peer"),
        (vec!["compare", "--assets", "/nowhere", "close"], "run from the repository's root"),
    ] {
        let output = Command::new(PROGRAM).args(&args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(words), "{args:?}: {text}");
    }
}

/// The peers for the short comparison: always direct, nginx and ringway where they are there.
fn short_peers() -> String {
    let there = |program: &str| {
        let candidates =
            ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(|directory| Path::new(directory).join(program));
        candidates.iter().any(|path| path.is_file())
    };
    let mut peers = vec!["direct"];
    if there("nginx") {
        peers.insert(0, "nginx");
    }
    if std::env::var_os("RINGWAY_BIN").is_some() {
        peers.insert(0, "ringway");
    }
    peers.join(",")
}

/// A comparison that has to pass with `--strict`: what it prints, and its report.
fn compare(directory: &Path, peers: &str, args: &[&str]) -> (String, Value) {
    let output = Command::new(PROGRAM)
        .arg("compare")
        .args(args)
        .args(["--warmup", "100ms", "--strict", "--peers", peers, "--assets", ASSETS, "--out"])
        .arg(directory)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read_to_string(directory.join("report.json")).unwrap();
    (text, serde_json::from_str(&report).unwrap())
}

#[test]
fn a_short_comparison_has_sound_answers_and_a_whole_report() {
    let directory = tempfile::tempdir().unwrap();
    let peers = short_peers();
    let (text, json) = compare(directory.path(), &peers, &["keepalive/16", "uploads/16KiB", "-d", "500ms", "-r", "2"]);
    let scenarios = json["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 2);
    for result in scenarios {
        for (peer, name) in result["peers"].as_array().unwrap().iter().zip(peers.split(',')) {
            assert_eq!(peer["peer"], name);
            assert_eq!(peer["runs"].as_array().unwrap().len(), 2);
            assert_eq!((peer["median"]["failed"].as_u64(), peer["error"].is_null()), (Some(0), true), "{peer}");
            assert_eq!(peer["median"]["cpu_us"].is_null(), name == "direct", "{peer}");
        }
    }
    let html = std::fs::read_to_string(directory.path().join("report.html")).unwrap();
    assert!(html.matches("<svg").count() >= 4 && html.matches("<svg").count() == html.matches("</svg>").count());
    assert!(html.contains("keepalive/16") && html.ends_with("</body></html>\n"));
    // Everything is in the file: nothing is fetched when it is read.
    assert!(!html.contains("http-equiv") && !html.contains("src=") && !html.contains("<link"));
    assert!(!text.contains("WRONG"), "{text}");
}

#[test]
fn a_short_comparison_over_http2_and_tls_is_sound_and_counts_handshakes() {
    let directory = tempfile::tempdir().unwrap();
    // Without a proxy there is no TLS; gRPC and HTTP/2 go to the origin as well.
    let peers = short_peers();
    let has_proxy = peers != "direct";
    let mut scenarios = vec!["h2", "grpc-unary/16x4", "grpc-bidi/16x4"];
    scenarios.extend(if has_proxy { &["h2-tls", "tls/full"][..] } else { &[] });
    let (_, json) = compare(directory.path(), &peers, &[&scenarios[..], &["-d", "400ms", "-r", "1"]].concat());
    assert_eq!(json["scenarios"].as_array().unwrap().len(), scenarios.len());
    for result in json["scenarios"].as_array().unwrap() {
        let name = result["scenario"]["name"].as_str().unwrap();
        for peer in result["peers"].as_array().unwrap() {
            let run = &peer["runs"][0];
            let is_sound = peer["median"]["failed"] == 0 && run["requests"].as_f64().unwrap() > 0.0;
            assert!(is_sound && run["storm"].is_null(), "{name}: {peer}");
            if name == "tls/full" {
                assert_eq!(run["handshakes"]["resumed"], 0, "{peer}");
                assert!(run["handshakes"]["full"].as_u64().unwrap() > 0, "{peer}");
            }
        }
        let has_direct = result["peers"].as_array().unwrap().iter().any(|peer| peer["peer"] == "direct");
        assert_eq!(has_direct, !name.contains("tls"), "{name}");
    }
}

/// A storm gives way to everything else, so that a busy machine may leave it no time: then it is made again.
#[test]
fn storms_come_over_each_peer() {
    let peers = short_peers();
    if peers == "direct" {
        return;
    }
    let scenarios = ["tls-storm/p256", "tls-storm/replayed"];
    for tries in 1.. {
        let directory = tempfile::tempdir().unwrap();
        let (_, json) = compare(directory.path(), &peers, &[&scenarios[..], &["-d", "400ms", "-r", "1"]].concat());
        let results: Vec<_> = json["scenarios"].as_array().unwrap().iter().collect();
        assert_eq!(results.len(), scenarios.len());
        let peers: Vec<_> = results.iter().flat_map(|result| result["peers"].as_array().unwrap()).collect();
        assert!(!peers.is_empty());
        let came = |peer: &&&serde_json::Value| peer["runs"][0]["storm"]["offered"].as_f64().is_some_and(|it| it > 0.0);
        if peers.iter().filter(came).count() == peers.len() {
            return;
        }
        assert!(tries < 5, "no storm in {peers:?}");
    }
}

#[test]
fn a_peer_that_does_not_start_is_named_and_the_others_run() {
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("broken");
    std::fs::write(&broken, "#!/bin/sh\necho unknown key in line 7 >&2\nexit 1\n").unwrap();
    let mut permissions = std::fs::metadata(&broken).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&broken, permissions).unwrap();
    let output = Command::new(PROGRAM)
        .args(["compare", "keepalive/1", "-d", "200ms", "-r", "1", "--warmup", "50ms", "-p", "ringway,direct"])
        .args(["--strict", "--assets", ASSETS, "--ringway", &format!("broken={}", broken.display()), "--out"])
        .arg(directory.path().join("out"))
        .env_remove("RINGWAY_BIN")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "strict must not pass: {text}");
    assert!(text.contains("broken did not start") && text.contains("unknown key in line 7"), "{text}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("direct ")), "{text}");
}

#[test]
fn what_is_not_built_is_left_out_with_its_build_command() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .args(["compare", "keepalive/1", "-d", "100ms", "-r", "1", "--warmup", "50ms", "-p", "ringway,direct"])
        .args(["--assets", ASSETS, "--ringway", "/nowhere/ringway", "--out"])
        .arg(directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("cargo build --release -p ringway"), "{text}");
}

#[test]
fn a_soak_against_the_origin_itself_is_sound() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .args(["soak", "-p", "direct", "-d", "2s", "-c", "12", "--assets", ASSETS])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("every exchange got its own whole answer"), "{text}");
}
