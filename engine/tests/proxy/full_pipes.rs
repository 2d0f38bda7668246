//! Outputs that are not read: a full pipe as standard error or standard output, a FIFO without a reader. They cost lines,
//! which are counted, and nothing else: neither a request, nor a reload, nor the end.

use super::support::{Connection, Origin, PATIENCE, eventually, program, response};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// A proxy on the socket `http.sock` whose outputs are pipes that were full before it started.
struct Unread {
    child: Child,
    dir: TempDir,
    out: PipeReader,
    err: PipeReader,
    /// Bytes that each pipe was filled with.
    filled: usize,
}

/// A pipe without room.
fn full_pipe() -> (PipeReader, Stdio, usize) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("a pipe can");
    let mut filled = 0;
    while let Ok(written) = writer.write(&[b'.'; 4096]) {
        filled += written;
    }
    // As a parent hands it down.
    rustix::io::ioctl_fionbio(&writer, false).expect("a pipe can");
    (reader, writer.into(), filled)
}

impl Unread {
    /// `DIR` in `http`, lines for the listener's table, is the proxy's directory.
    fn start(http: &str, cluster: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = format!(
            "[admin]\naddress = \"unix:DIR/admin.sock\"\n[runtime]\nshards = 2\ndrain_time = \"1h\"\n\
             access_log_flush_interval = \"5ms\"\n\
             [[listeners]]\naddress = \"unix:DIR/http.sock\"\n[listeners.http]\n{http}\n[[clusters]]\nname = \"app\"\n{cluster}\n"
        );
        let file = dir.path().join("ringway.toml");
        std::fs::write(&file, config.replace("DIR", &dir.path().display().to_string())).expect("written");
        let (out, stdout, filled) = full_pipe();
        let (err, stderr, _) = full_pipe();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.env("RUST_LOG", "info,ringway::router=debug").stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let child = command.arg("run").arg(file).spawn().expect("it starts");
        let mut this = Self { child, dir, out, err, filled };
        eventually("it listens", || {
            assert!(this.child.try_wait().expect("a child").is_none(), "it ended");
            this.admin("GET", "/ready").is_some_and(|answer| answer.starts_with("LIVE"))
        });
        this
    }

    fn connect(&self) -> Connection<UnixStream> {
        Connection::open_unix(&self.dir.path().join("http.sock"))
    }

    /// The answer of the admin endpoint, once there is one.
    fn admin(&self, method: &str, target: &str) -> Option<String> {
        let socket = self.dir.path().join("admin.sock");
        UnixStream::connect(&socket).ok()?;
        let mut connection = Connection::open_unix(&socket);
        let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        connection.try_send(head.as_bytes());
        Some(connection.try_response(method)?.text().to_owned())
    }

    fn stat(&self, name: &str) -> u64 {
        let text = self.admin("GET", &format!("/stats?filter=^{name}$")).expect("it answers");
        text.trim().rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a statistic")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every shard logs, the main thread logs more than the buffer holds, and all of them go on.
#[test]
fn standard_error_that_is_not_read_stops_nothing() {
    let origin = Origin::answering(|request| response(200, &[], request.body.len().to_string()));
    let policy = "retry_policy = { retry_on = [\"5xx\"], max_replay_bytes = \"1KiB\" }";
    let mut proxy = Unread::start(
        &format!("routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\", {policy} }} }}]"),
        &format!("endpoints = [\"{}\"]", origin.address),
    );
    let body = "x".repeat(2000);
    let mut clients: Vec<_> = (0..8).map(|_| proxy.connect()).collect();
    let request = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for _ in 0..8 {
        for client in &mut clients {
            client.send(request.as_bytes());
            assert_eq!(client.response().text(), "2000");
        }
    }
    assert_eq!(proxy.stat("cluster.app.retry_or_shadow_abandoned"), 64, "each is a line of a shard");
    // Reloads of a file with many faults, each of which is told.
    let good = std::fs::read_to_string(proxy.dir.path().join("ringway.toml")).expect("text");
    let bad = (0..500).fold(good.clone(), |text, i| text + &format!("[[clusters]]\nnamed = \"cluster{i}\"\n"));
    std::fs::write(proxy.dir.path().join("ringway.toml"), bad).expect("written");
    eventually("lines are lost", || {
        proxy.signal(Signal::HUP);
        proxy.stat("server.log_lines_lost") > 0
    });
    assert_eq!(clients[0].get("/").status(), 200);
    // Read, it goes on.
    let mut filling = vec![0; proxy.filled];
    proxy.err.read_exact(&mut filling).expect("what it was filled with");
    let reader = proxy.err.try_clone().expect("a descriptor");
    let mut lines = BufReader::new(reader).lines().map(|line| line.expect("text"));
    assert!(lines.next().is_some_and(|line| line.starts_with("ringway ") && line.contains(" listens on ")));
    assert!(lines.any(|line| line.ends_with(" lines are lost here: this output was not read")));
    // Not read any more, and an exchange in flight: the second signal ends it.
    proxy.signal(Signal::TERM);
    eventually("it drains", || proxy.admin("GET", "/ready").is_some_and(|answer| answer.starts_with("DRAINING")));
    let mut held = clients.remove(0);
    held.try_send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
    (0..2).for_each(|_| proxy.signal(Signal::TERM));
    proxy.wait();
}

/// The access log's pipe and a FIFO without a reader cost lines of theirs, and none of another log.
#[test]
fn access_logs_that_are_not_read_cost_only_their_own_lines() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let http = "routes = [{ match = { prefix = \"/\" }, route = { cluster = \"app\" } }]\n\
                access_log = [{ path = \"/dev/stdout\", format = \"out %REQ(:PATH)%\" },\n\
                { path = \"DIR/log\", format = \"%REQ(:PATH)%\" }";
    let mut proxy = Unread::start(&format!("{http}]"), &format!("endpoints = [\"{}\"]", origin.address));
    let log = proxy.dir.path().join("log");
    let lines = |count| {
        eventually("the log has its lines", || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() == count)
        });
    };
    let mut client = proxy.connect();
    (0..10).for_each(|_| assert_eq!(client.get("/").status(), 200));
    lines(10);
    // A reload brings a FIFO without a reader.
    let fifo = proxy.dir.path().join("fifo");
    assert!(program("mkfifo").arg(&fifo).status().expect("it starts").success());
    let file = proxy.dir.path().join("ringway.toml");
    let text = std::fs::read_to_string(&file).expect("text");
    let more = format!("\"%REQ(:PATH)%\" }},\n{{ path = \"{}\", format = \"fifo\" }}", fifo.display());
    std::fs::write(&file, text.replacen("\"%REQ(:PATH)%\" }", &more, 1)).expect("written");
    proxy.signal(Signal::HUP);
    eventually("its lines are lost", || {
        client.get("/");
        proxy.stat("access_log.lines_lost") > 0
    });
    let count = origin.requests().len();
    lines(count);
    // Reopening waits for neither of them.
    std::fs::rename(&log, proxy.dir.path().join("log.1")).expect("renamed");
    proxy.signal(Signal::USR1);
    eventually("the log is opened again", || log.exists());
    client.get("/");
    lines(1);
    // What the pipe holds is in order once it is read.
    let mut filling = vec![0; proxy.filled];
    proxy.out.read_exact(&mut filling).expect("what it was filled with");
    let mut line = String::new();
    BufReader::new(&proxy.out).read_line(&mut line).expect("text");
    assert_eq!(line, "out /\n");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
}
