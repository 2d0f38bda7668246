//! The files in docs/deploy: the proxy runs under the seccomp profile, systemd reads the units, and the configuration in the
//! Kubernetes manifest loads.

use super::support::{Origin, Pki, Ringway, curl, must_run, program, response};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/deploy").join(name)
}

/// A command that runs the proxy with `file` under a profile.
fn under(profile: &Path, command: &str, file: &Path) -> Command {
    let mut python = program("python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/seccomp.py")).arg(profile);
    python.arg(env!("CARGO_BIN_EXE_ringway")).arg(command).arg(file);
    python
}

/// A configuration with what has system calls of its own. `port` is an origin's.
fn of_every_part(path: &str, port: u16) -> String {
    format!(
        r#"
[admin]
address = "unix:{path}/admin.sock"
access_log = "admin.log"
[runtime]
shards = 2
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
access_log = [{{ path = "access.log" }}]
http_filters = [{{ compressor = {{}} }}, {{ local_ratelimit = {{ token_bucket = {{ max_tokens = 1000, fill_interval = "1s" }} }} }}]
routes = [
  {{ match = {{ prefix = "/file" }}, direct_response = {{ status = 200, body_file = "ringway.toml" }} }},
  {{ match = {{ prefix = "/dns" }}, route = {{ cluster = "named" }} }},
  {{ match = {{ prefix = "/unix" }}, route = {{ cluster = "unix" }} }},
  {{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }},
]
[[listeners]]
address = "127.0.0.1:0"
tls = {{ certificate = "rsa.pem", key = "rsa.key" }}
http.routes = [{{ match = {{ prefix = "/" }}, direct_response = {{ status = 200, body = "signed" }} }}]
[[listeners]]
address = "unix:{path}/front.sock"
http.routes = [{{ match = {{ prefix = "/" }}, direct_response = {{ status = 200, body = "unix" }} }}]
[[clusters]]
name = "app"
endpoints = ["127.0.0.1:{port}"]
health_checks = [{{ timeout = "10s", interval = "1s", http = {{ path = "/health" }} }}]
[[clusters]]
name = "named"
discovery = "strict_dns"
endpoints = ["localhost:{port}"]
dns_lookup_family = "v4_only"
[[clusters]]
name = "unix"
endpoints = ["unix:{path}/front.sock"]
"#
    )
}

/// Every part of the proxy that has system calls of its own works with those that the profile allows.
#[test]
fn it_runs_under_the_seccomp_profile() {
    let body = "0123456789abcdef".repeat(20_000);
    let reply = response(200, &[], &body);
    let origin = Origin::answering(move |_| reply.clone());
    let port = origin.address.port();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().display().to_string();
    let pki = Pki::new(dir.path());
    pki.issue_with(
        "rsa",
        &["a.example"],
        &KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key"),
    );
    let config = of_every_part(&path, port);
    let file = dir.path().join("ringway.toml");
    std::fs::write(&file, config).expect("written");
    let mut proxy = Ringway::spawn(under(&deploy("seccomp.json"), "run", &file), dir, String::new());
    assert_eq!(proxy.status_line("Seccomp"), "2", "a filter is in force");
    for round in 0..2 {
        for target in ["/", "/dns"] {
            let answer = proxy.get(target);
            assert_eq!((answer.status(), answer.text() == body), (200, true), "{target}");
        }
        assert_eq!(proxy.get("/unix").text(), "unix");
        assert!(proxy.get("/file").text().contains("[[listeners]]"));
        let to = format!("::{}", proxy.addresses[1]);
        let signed = curl(&["--cacert", &pki.path("ca.pem"), "--connect-to", &to, "https://a.example/"]);
        assert_eq!((signed.status, &*signed.body), (200, &b"signed"[..]), "{signed:?}");
        let mut client = proxy.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
        assert_eq!(client.response().status(), 200);
        assert!(proxy.admin("GET", "/clusters").text().contains("app::"));
        if round == 0 {
            proxy.signal(Signal::USR1);
            assert!(proxy.reload());
        }
    }
    assert!(!proxy.log_lines("access.log", 10).is_empty());
    // Its threads are the first ones that the process may make wait for all others.
    assert_eq!(proxy.scheduling_class("worker-0"), libc::SCHED_IDLE);
    assert_eq!(proxy.scheduling_class("helper-0"), libc::SCHED_OTHER);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
    let said = proxy.stderr();
    assert!(!said.contains("ERROR") && !said.contains("not permitted"), "{said}");
}

/// The three calls are what Docker's default profile lacks; without them the start fails and says why. So the launcher of these
/// tests does refuse what the profile does not name.
#[test]
fn a_profile_without_io_uring_refuses_the_start() {
    let profile = std::fs::read_to_string(deploy("seccomp.json")).expect("it is there");
    let dir = tempfile::tempdir().expect("a directory");
    let (without, file) = (dir.path().join("without.json"), dir.path().join("ringway.toml"));
    let rest: String =
        profile.lines().filter(|line| !line.contains("\"io_uring_")).map(|line| format!("{line}\n")).collect();
    assert_eq!(rest.lines().count() + 3, profile.lines().count());
    std::fs::write(&without, rest).expect("written");
    let config = "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n";
    std::fs::write(&file, config).expect("written");
    for (command, code) in [("run", 3), ("check", 1)] {
        let output = under(&without, command, &file).stdin(Stdio::null()).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("io_uring") && said.contains("seccomp"), "{said}");
    }
}

/// What systemd itself says about the units, with the binary of these tests in place of the installed one.
#[test]
fn systemd_accepts_the_units() {
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "systemd-analyze is missing");
        eprintln!("skipped: there is no systemd-analyze on this machine");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["ringway.service", "ringway.socket"] {
        let unit = std::fs::read_to_string(deploy(name)).expect("it is there");
        std::fs::write(dir.path().join(name), unit.replace("/usr/local/bin/ringway", env!("CARGO_BIN_EXE_ringway")))
            .expect("written");
    }
    let units = ["ringway.service", "ringway.socket"].map(|name| dir.path().join(name));
    let output =
        Command::new("/usr/bin/systemd-analyze").args(["verify", "--man=no"]).args(&units).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("ringway")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
    let security =
        must_run(Command::new("/usr/bin/systemd-analyze").args(["security", "--offline=yes"]).arg(&units[0]));
    assert!(security.contains("OK"), "{security}");
}

#[test]
fn the_configuration_in_the_manifest_loads() {
    let manifest = std::fs::read_to_string(deploy("kubernetes.yaml")).expect("it is there");
    let lines = manifest.lines().skip_while(|line| !line.contains("ringway.toml: |")).skip(1);
    let inside = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    let text: String = inside.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    let config = ringway_config::load_str("kubernetes.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config.listeners.len(), config.clusters.len()), (1, 1));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    // What the manifest says about the configuration and the other files.
    let grace =
        manifest.lines().find_map(|line| line.trim().strip_prefix("terminationGracePeriodSeconds: ")).expect("a time");
    let stop = config.runtime.drain_time + config.runtime.drain_delay;
    assert!(grace.parse::<u64>().expect("a number") > stop.as_secs(), "{grace}");
    assert!(
        manifest.contains("localhostProfile: ringway.json")
            && manifest.contains("/var/lib/kubelet/seccomp/ringway.json")
    );
}
