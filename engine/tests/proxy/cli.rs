//! The command line: what is printed where, and the exit codes 0, 1, 2 and 3.

use super::support::{Client, Ringway, Setup, dead_address, eventually, forwarding, program};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

pub(super) fn ringway(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway")).args(args).output().expect("it starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn help_is_complete() {
    let help = ringway(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let out = text(&help.stdout);
    for word in ["run", "check", "explain", "completions", "man", "--version", "Exit codes", "HUP", "USR1", "TERM"] {
        assert!(out.contains(word), "{word} is missing in:\n{out}");
    }
    assert!(help.stderr.is_empty());
    for command in ["run", "check"] {
        let help = ringway(&[command, "--help"]);
        assert_eq!(help.status.code(), Some(0));
        assert!(text(&help.stdout).contains("CONFIG"));
    }
}

/// Bash completes commands, options and words with the script.
#[test]
fn completions_work_in_bash() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("ringway.bash");
    std::fs::write(&script, ringway(&["completions", "bash"]).stdout).expect("written");
    let complete = |words: &[&str]| {
        let listed = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let (last, at) = (words[words.len() - 1], words.len() - 1);
        let code = format!(
            "source {}; COMP_WORDS=({listed}); COMP_CWORD={at}; _ringway ringway '{last}' '{}'; echo \"${{COMPREPLY[*]}}\"",
            script.display(),
            words[at - 1]
        );
        let output = Command::new("bash").args(["--norc", "-c", &code]).output().expect("bash");
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
        text(&output.stdout).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["ringway", "ch"]), ["check"]);
    assert_eq!(complete(&["ringway", "check", "--str"]), ["--strict"]);
    assert_eq!(complete(&["ringway", "completions", "z"]), ["zsh"]);
    assert_eq!(complete(&["ringway", "explain", "--li"]), ["--listener"]);
}

#[test]
fn completions_name_every_command_and_option() {
    for (shell, first) in [("bash", "_ringway()"), ("zsh", "#compdef ringway"), ("fish", "function __fish_ringway")] {
        let script = ringway(&["completions", shell]);
        assert_eq!((script.status.code(), text(&script.stderr)), (Some(0), ""));
        let script = text(&script.stdout);
        assert!(script.contains(first), "{shell}: {script}");
        for word in ["run", "check", "explain", "completions", "man", "strict", "portable", "listener", "from"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let wrong = ringway(&["completions", "tcsh"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("bash, zsh, fish"), "{}", text(&wrong.stderr));
}

#[test]
fn manual_pages() {
    let page = |args: &[&str]| {
        let page = ringway(args);
        assert_eq!((page.status.code(), text(&page.stderr)), (Some(0), ""));
        text(&page.stdout).to_owned()
    };
    let main = page(&["man"]);
    assert!(main.contains("\n.TH ringway 1"), "{main}");
    for word in
        ["ringway\\-run(1)", "ringway\\-check(1)", "ringway\\-explain(1)", "Exit codes", "reloads the configuration"]
    {
        assert!(main.contains(word), "{word} is missing in {main}");
    }
    let check = page(&["man", "check"]);
    assert!(check.contains("\n.TH ringway\\-check 1") || check.contains("\n.TH ringway-check 1"), "{check}");
    for word in ["strict", "portable", "CONFIG"] {
        assert!(check.contains(word), "{word} is missing in {check}");
    }
    assert_eq!(ringway(&["man", "fly"]).status.code(), Some(2));
}

#[test]
fn version() {
    let version = ringway(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let told = text(&version.stdout);
    assert!(told.starts_with(concat!("ringway ", env!("CARGO_PKG_VERSION"), "\ncommit: ")), "{told}");
    let target = told.lines().find_map(|line| line.strip_prefix("target: ")).expect("a target");
    assert!(target.starts_with(std::env::consts::ARCH), "{target}");
    assert!(told.lines().any(|line| line.starts_with("features: ")), "{told}");
    let short = ringway(&["-V"]);
    assert_eq!(text(&short.stdout), concat!("ringway ", env!("CARGO_PKG_VERSION"), "\n"));
}

/// What `run` would refuse on this host is refused with its place, unless the file belongs to another host.
#[test]
fn check_refuses_what_run_would_refuse() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("host.toml");
    let config = r#"
[runtime]
cpus = [1023]

[admin]
address = "192.0.2.1:9901"

[[listeners]]
address = "unix:/no/such/directory/a.sock"
http.access_log = [{ path = "no-such-directory/access.log" }]
http.routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body_file = "missing.html" } }]
"#;
    std::fs::write(&file, config.replace(", body_file = \"missing.html\"", "")).expect("written");
    let path = file.to_str().expect("text");
    let refused = ringway(&["check", path]);
    assert_eq!(refused.status.code(), Some(1));
    let told = text(&refused.stderr);
    for (line, word) in [
        (3, "core 1023"),
        (6, "no interface of this host has that address"),
        (9, "there is no directory /no/such/directory"),
        (10, "there is no directory"),
    ] {
        let place = format!("host.toml:{line}:");
        assert!(told.lines().any(|told| told.contains(&place) && told.contains(word)), "{place} {word} in:\n{told}");
    }
    assert!(told.contains("4 problems with this host"), "{told}");
    assert!(!dir.path().join("no-such-directory").exists());

    // A file that cannot be read hides none of the others.
    std::fs::write(&file, config).expect("written");
    let refused = ringway(&["check", path]);
    let told = text(&refused.stderr);
    for word in ["cannot read", "core 1023", "no interface", "there is no directory", "5 problems with this host"] {
        assert!(told.contains(word), "{word} in:\n{told}");
    }
    let portable = ringway(&["check", "--portable", "--strict", path]);
    assert_eq!(portable.status.code(), Some(0), "{}", text(&portable.stderr));
}

/// Memory is that of the receive buffers, all of them full. `run` says it in one sentence, too, where the system refuses it.
#[test]
fn more_memory_than_there_is_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("large.toml");
    let config = forwarding(dead_address(), "");
    let runtime = "[runtime]\nshards = 1\nbuffer_size = \"1MiB\"\nbuffer_count = 32768\n";
    std::fs::write(&file, format!("{runtime}{config}")).expect("written");
    let path = file.to_str().expect("text");
    // 32 GiB, which some hosts have.
    let kib = std::fs::read_to_string("/proc/meminfo").expect("there is Linux");
    let kib =
        kib.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("MemTotal comes first");
    if kib < 32 << 20 {
        let refused = ringway(&["check", path]);
        let told = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(told.contains("large.toml:4:") && told.contains("take up to 32768 MiB"), "{told}");
        assert_eq!(ringway(&["check", "--portable", path]).status.code(), Some(0));
    }
    // Where addresses are few, the system refuses the memory on each host.
    let mut limited = program("prlimit");
    limited.args(["--as=4096000000:4096000000", env!("CARGO_BIN_EXE_ringway"), "run", path]);
    let ended = limited.output().expect("it runs");
    let told = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{told}");
    assert!(told.contains("there is no memory for 32768 receive buffers of 1048576 bytes"), "{told}");
    assert!(!told.contains("panicked") && !told.contains("RUST_BACKTRACE"), "{told}");
}

#[test]
fn warnings_are_told_and_strict_refuses_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("doubtful.toml");
    std::fs::write(
        &file,
        forwarding(dead_address(), "") + "\n[[clusters]]\nname = \"spare\"\nendpoints = [\"127.0.0.1:9\"]\n",
    )
    .expect("written");
    let path = file.to_str().expect("text");
    let told = ringway(&["check", path]);
    assert_eq!(told.status.code(), Some(0));
    assert!(text(&told.stdout).contains("1 warning"), "{}", text(&told.stdout));
    assert!(text(&told.stderr).contains("no route leads to the cluster `spare`"), "{}", text(&told.stderr));
    let strict = ringway(&["check", "--strict", path]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(strict.stdout.is_empty());
}

#[test]
fn wrong_usage_exits_with_2_and_says_so_on_standard_error() {
    for args in [&["--nonsense"][..], &["run"], &["check"], &["nonsense"], &["run", "a", "b"]] {
        let refused = ringway(args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(refused.stdout.is_empty(), "{args:?}");
        assert!(text(&refused.stderr).contains("Usage"), "{args:?}: {}", text(&refused.stderr));
    }
}

#[test]
fn check_accepts_a_good_file_with_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("good.toml");
    std::fs::write(&file, forwarding(dead_address(), "")).expect("written");
    let checked = ringway(&["check", file.to_str().expect("text")]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert_eq!(text(&checked.stdout).lines().count(), 1);
    assert!(text(&checked.stdout).contains("ok"));
    assert!(checked.stderr.is_empty());
}

/// Each proxied connection takes two descriptors.
#[test]
fn more_connections_than_descriptors_are_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("many.toml");
    for (max, is_warned) in [(112, false), (113, true)] {
        let runtime = format!("[runtime]\nmax_connections = {max}\n");
        std::fs::write(&file, runtime.clone() + &forwarding(dead_address(), "")).expect("written");
        let mut check = program("prlimit");
        let checked = check.args(["--nofile=256:256", env!("CARGO_BIN_EXE_ringway"), "check"]).arg(&file);
        let checked = checked.output().expect("it starts");
        let said = text(&checked.stderr);
        assert_eq!(checked.status.code(), Some(0), "{said}");
        let proxy = Setup::new(&forwarding(dead_address(), ""));
        let proxy = proxy.descriptors(256).runtime(&format!("max_connections = {max}")).start();
        for said in [said, &proxy.stderr()] {
            let figures = ["max_connections is 113", "256 files and sockets", "beyond 112", "to 290"];
            assert!(figures.iter().all(|figure| said.contains(figure) == is_warned), "{said}");
        }
    }
}

/// Every problem at once, as file:line:col, on standard error; exit code 1.
#[test]
fn check_and_run_refuse_a_bad_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("bad.toml");
    let bad = "[[listeners]]\nadress = \"127.0.0.1:0\"\nhttp.routes = [{ match = { prefix = \"/\" }, route = { cluster = \"ap\" } }]\n\
               [[clusters]]\nname = \"app\"\nendpoints = [\"nowhere\"]\n";
    std::fs::write(&file, bad).expect("written");
    let path = file.to_str().expect("text");
    for command in ["check", "run"] {
        let refused = ringway(&[command, path]);
        assert_eq!(refused.status.code(), Some(1), "{command}");
        assert!(refused.stdout.is_empty(), "{command}: {}", text(&refused.stdout));
        let problems = text(&refused.stderr);
        for needle in [&format!("{path}:2:1"), "address", &format!("{path}:3:"), "did you mean", &format!("{path}:6:")]
        {
            assert!(problems.contains(needle), "{needle} is missing in:\n{problems}");
        }
    }
    let missing = ringway(&["check", "/nonexistent/file.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/nonexistent/file.toml"));
}

#[test]
fn a_port_that_is_taken_exits_with_3_and_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    for (what, config) in [
        (
            "listener",
            format!(
                "[[listeners]]\naddress = \"{address}\"\nhttp.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }}]\n"
            ),
        ),
        (
            "admin",
            format!(
                "[admin]\naddress = \"{address}\"\n[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }}]\n"
            ),
        ),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.toml");
        std::fs::write(&file, config).expect("written");
        let refused = ringway(&["run", file.to_str().expect("text")]);
        assert_eq!(refused.status.code(), Some(3), "{what}");
        let sentence = text(&refused.stderr);
        assert_eq!(sentence.lines().count(), 1, "{what}: {sentence}");
        assert!(sentence.contains(&address.to_string()) && sentence.contains("another process"), "{what}: {sentence}");
    }
}

/// Two instances must not share a port by SO_REUSEPORT without a word.
#[test]
fn a_second_instance_does_not_take_half_of_the_connections() {
    let first = Ringway::before(dead_address(), "");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.toml");
    let config = forwarding(dead_address(), "").replace("127.0.0.1:0", &first.addresses[0]);
    std::fs::write(&file, config).expect("written");
    assert_eq!(ringway(&["run", file.to_str().expect("text")]).status.code(), Some(3));
}

#[test]
fn impossible_shards_and_users_exit_with_3() {
    for (runtime, word) in
        [("cpus = [4095]", "4095"), ("shards = 1024", "1024"), ("user = \"no-such-user-here\"", "no-such-user-here")]
    {
        if runtime.starts_with("user") && !rustix::process::geteuid().is_root() {
            // Without root the key is ignored with a warning; `privileges` has that.
            continue;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.toml");
        std::fs::write(&file, format!("[runtime]\n{runtime}\n{}", forwarding(dead_address(), ""))).expect("written");
        let refused = ringway(&["run", file.to_str().expect("text")]);
        assert_eq!(refused.status.code(), Some(3), "{runtime}: {}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains(word), "{}", text(&refused.stderr));
    }
}

/// The ports of the built-in example are fixed, so a test that runs it holds this lock. It is a port, too: the kernel gives
/// it back whatever happens.
fn lock_fixed_ports() -> TcpListener {
    let mut lock = None;
    eventually("no other test runs the built-in example", || {
        lock = TcpListener::bind("127.0.0.2:10002").ok();
        lock.is_some()
    });
    lock.expect("just made")
}

#[test]
fn without_arguments_the_built_in_example_runs() {
    let _lock = lock_fixed_ports();
    for port in [10000, 10001, 9901] {
        let free = TcpListener::bind(("127.0.0.1", port));
        assert!(free.is_ok(), "this test needs port {port} of 127.0.0.1, which another process has");
    }
    let command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    let proxy = Ringway::spawn(command, tempfile::tempdir().expect("a directory"), String::new());
    assert_eq!(proxy.addresses, ["127.0.0.1:10000", "127.0.0.1:10001"]);
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text(), "Hello from the built-in origin.\n");
    assert_eq!(answer.field("server"), Some("ringway"));
    assert!(answer.field("x-envoy-upstream-service-time").is_some(), "it went through the proxy");
    let moved = proxy.get("/old/page");
    assert_eq!((moved.status(), moved.field("location")), (301, Some("http://example.com/new/page")));
    let mut admin = Client::open("127.0.0.1:9901".parse().expect("an address"));
    admin.send(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1:9901\r\n\r\n");
    assert_eq!(admin.response().status(), 200);
    eventually("it says what to try", || proxy.stdout().contains("curl -i http://127.0.0.1:10000/"));
}

#[test]
fn two_shards_both_serve() {
    let proxy = Setup::new(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n\
         http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200, body = \"hi\" } }]",
    )
    .runtime("shards = 2")
    .start();
    eventually("both shards report", || proxy.stat("shard.0.tasks") > 0 && proxy.stat("shard.1.tasks") > 0);
    let before = [proxy.stat("shard.0.tasks"), proxy.stat("shard.1.tasks")];
    let mut clients: Vec<_> = (0..64).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "hi");
    }
    // A connection is a task; the kernel spreads 64 of them so that neither shard is left out.
    eventually("64 connections on both", || {
        let grown = [proxy.stat("shard.0.tasks") - before[0], proxy.stat("shard.1.tasks") - before[1]];
        grown.iter().sum::<i64>() == 64 && grown.iter().all(|grown| *grown >= 8)
    });
}

/// Every file in docs/examples passes `ringway check --strict`, whatever this host has.
#[test]
fn the_examples_pass() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(examples).expect("docs/examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let checked = ringway(&["check", "--strict", "--portable", path.to_str().expect("text")]);
            // A key log gives everything away, and is never passed over.
            let code = if path.ends_with("key-log.toml") { 1 } else { 0 };
            assert_eq!(checked.status.code(), Some(code), "{}", text(&checked.stderr));
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} examples were found");
}
