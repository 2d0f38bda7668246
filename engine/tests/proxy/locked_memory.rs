//! `ulimit -l` of an ordinary user: rings become as small as it takes, glommio is done without, and everything works.

use super::support::{Origin, Ringway, Setup, forwarding, program, response};
use rustix::process::Signal;

const CHECKED: &str = "health_checks = [{ timeout = \"1s\", interval = \"1s\", http = { path = \"/\" } }]";

/// Two shards, the admin endpoint and, with health checks, a control thread, where this number of KiB may be locked.
fn start(kib: u64, is_checked: bool) -> (Origin, Ringway) {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let mut config = forwarding(origin.address, "");
    if is_checked {
        config = config.replace("[[clusters]]", &format!("[[clusters]]\n{CHECKED}"));
    }
    let proxy = Setup::new(&config).runtime("shards = 2").locked_memory(kib).start();
    (origin, proxy)
}

/// It serves on both shards, answers questions, drains and ends with 0.
fn check(mut proxy: Ringway) -> String {
    for _ in 0..20 {
        assert_eq!(proxy.get("/").status(), 200);
    }
    assert_eq!(proxy.admin("GET", "/ready").status(), 200);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
    proxy.stderr()
}

fn times(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn with_64_kib_all_rings_are_small() {
    let (_origin, proxy) = start(64, false);
    let said = check(proxy);
    assert_eq!(times(&said, "this user may lock 64 KiB of memory"), 1, "{said}");
    assert_eq!(times(&said, "glommio does not start"), 1, "{said}");
    assert!(said.contains("LimitMEMLOCK") && said.contains("--ulimit memlock"), "{said}");
}

#[test]
fn with_300_kib_there_is_a_control_thread_as_well() {
    let (_origin, proxy) = start(300, true);
    let said = check(proxy);
    assert_eq!(times(&said, "this user may lock 300 KiB of memory"), 1, "{said}");
    assert_eq!(times(&said, "glommio does not start"), 1, "{said}");
}

/// The floor of glommio is met, but what the rings leave may be too little for each thread.
#[test]
fn with_512_kib_the_rings_have_their_full_size() {
    let (_origin, proxy) = start(512, false);
    let said = check(proxy);
    assert_eq!(times(&said, "this user may lock"), times(&said, "glommio does not start"), "{said}");
    assert!(times(&said, "glommio does not start") <= 1, "{said}");
    assert_eq!(times(&said, "WARN"), times(&said, "glommio does not start"), "{said}");
}

#[test]
fn with_8_mib_there_is_nothing_to_say() {
    let (_origin, proxy) = start(8 << 10, true);
    let said = check(proxy);
    assert_eq!((times(&said, "may lock"), times(&said, "WARN")), (0, 0), "{said}");
}

/// What a limit of the process prevents is seen before a start.
#[test]
fn check_refuses_a_process_that_may_open_too_little() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("ringway.toml");
    let config = "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n";
    std::fs::write(&file, config).expect("written");
    for (command, code) in [("check", 1), ("run", 3)] {
        let mut limited = program("prlimit");
        limited.args(["--nofile=30:30", env!("CARGO_BIN_EXE_ringway"), command]).arg(&file);
        let output = limited.output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{command}: {text}");
        assert!(text.contains("may open 30 files and sockets, and needs at least 64"), "{command}: {text}");
    }
}
