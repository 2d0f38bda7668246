//! The proxy as a process: its configuration, its output, its admin endpoint, and what /proc says about it.

use super::http::{Client, Connection, Message};
use super::{eventually, programs};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Ordinary users so far.
static USERS: AtomicU32 = AtomicU32::new(0);

/// What a proxy is to be started with. `DIR` in the configuration is its own directory.
pub struct Setup {
    dir: TempDir,
    runtime: String,
    config: String,
    descriptors: Option<u64>,
    locked_memory: Option<u64>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// `config`: listeners and clusters. One shard and an admin endpoint on a Unix socket come with it.
    pub fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (runtime, environment) = (String::new(), Vec::new());
        Self { dir, runtime, config: config.into(), descriptors: None, locked_memory: None, environment }
    }

    /// Another configuration: one that knows the directory's files.
    pub fn replace_config(mut self, config: &str) -> Self {
        self.config = config.into();
        self
    }

    /// Lines for `[runtime]`.
    pub fn runtime(mut self, lines: &str) -> Self {
        self.runtime += lines;
        self.runtime += "\n";
        self
    }

    /// A variable of its environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The limit of file descriptors, soft and hard.
    pub fn descriptors(mut self, limit: u64) -> Self {
        self.descriptors = Some(limit);
        self
    }

    /// The proxy may lock this number of KiB, which it shares with no other process. Root may lock any amount, so that it
    /// runs as an ordinary user with a number of its own.
    pub fn locked_memory(mut self, kib: u64) -> Self {
        self.locked_memory = Some(kib);
        self
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn start(self) -> Ringway {
        let file = self.dir.path().join("ringway.toml");
        write_config(self.dir.path(), &self.runtime, &self.config);
        let mut command = match self.descriptors {
            _ if self.locked_memory.is_some() => self.ordinary_user(self.locked_memory.unwrap_or(0)),
            Some(limit) => {
                let mut command = programs::program("prlimit");
                command.arg(format!("--nofile={limit}:{limit}")).arg(env!("CARGO_BIN_EXE_ringway"));
                command
            }
            None => Command::new(env!("CARGO_BIN_EXE_ringway")),
        };
        command.arg("run").arg(file).envs(self.environment);
        Ringway::spawn(command, self.dir, self.runtime)
    }

    fn ordinary_user(&self, kib: u64) -> Command {
        let mut command = programs::program("prlimit");
        command.arg(format!("--memlock={}:{}", kib * 1024, kib * 1024));
        if rustix::process::geteuid().is_root() {
            let id = 61_000 + std::process::id() % 1000 * 4 + USERS.fetch_add(1, Ordering::Relaxed);
            std::os::unix::fs::chown(self.dir.path(), Some(id), Some(id)).expect("root may");
            let user = [format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".into()];
            command.arg(programs::program("setpriv").get_program()).args(user);
        }
        command.arg(env!("CARGO_BIN_EXE_ringway"));
        command
    }
}

fn write_config(dir: &Path, runtime: &str, config: &str) {
    let shards = if runtime.contains("shards") || runtime.contains("cpus") { "" } else { "shards = 1\n" };
    let text = format!("[admin]\naddress = \"unix:DIR/admin.sock\"\n[runtime]\n{shards}{runtime}\n{config}");
    let text = text.replace("DIR", &dir.display().to_string());
    std::fs::write(dir.join("ringway.toml"), text).expect("written");
}

/// A running proxy; killed when dropped.
pub struct Ringway {
    child: Child,
    /// Where its listeners listen, in the order of the configuration.
    pub addresses: Vec<String>,
    dir: TempDir,
    runtime: String,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

impl Ringway {
    /// A proxy with this configuration, see `Setup::new`.
    pub fn start(config: &str) -> Self {
        Setup::new(config).start()
    }

    /// A proxy with one listener that forwards everything to `origin`; `http` are lines for its `http` table.
    pub fn before(origin: SocketAddr, http: &str) -> Self {
        Self::start(&forwarding(origin, http))
    }

    /// Run `command`, which is or becomes the proxy, until it says where it listens.
    pub fn spawn(mut command: Command, dir: TempDir, runtime: String) -> Self {
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let out = collect(child.stdout.take().expect("piped"));
        let err = collect(child.stderr.take().expect("piped"));
        let mut ringway = Self { child, addresses: Vec::new(), dir, runtime, out, err };
        eventually("the proxy listens", || {
            let exited = ringway.child.try_wait().expect("a child");
            assert!(exited.is_none(), "it ended with {exited:?}: {}", ringway.stderr());
            let text = ringway.stderr();
            let line = text.lines().find_map(|line| line.strip_prefix("ringway ")?.split_once(" listens on "));
            ringway.addresses = line.map_or(Vec::new(), |(_, list)| list.split(", ").map(str::to_owned).collect());
            !ringway.addresses.is_empty()
        });
        ringway
    }

    /// The address of the listener with this place in the configuration.
    pub fn address(&self, index: usize) -> SocketAddr {
        self.addresses[index].parse().unwrap_or_else(|_| panic!("not an address: {}", self.addresses[index]))
    }

    /// A connection to the first listener.
    pub fn connect(&self) -> Client {
        Client::open(self.address(0))
    }

    /// `GET target` on a connection of its own.
    pub fn get(&self, target: &str) -> Message {
        self.connect().get(target)
    }

    /// The URL of `path` at the first listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses[0])
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn stderr(&self) -> String {
        self.err.lock().expect("no panic").clone()
    }

    /// Wait until the program log has this text: a line may come a little later than what it tells.
    pub fn wait_for_log(&self, text: &str) {
        eventually(&format!("the log says {text:?}"), || self.stderr().contains(text));
    }

    pub fn stdout(&self) -> String {
        self.out.lock().expect("no panic").clone()
    }

    /// One call of the admin endpoint.
    pub fn admin(&self, method: &str, target: &str) -> Message {
        let mut connection = self.admin_connection();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        connection.send(head.as_bytes());
        connection.try_response(method).expect("the admin endpoint answers")
    }

    pub fn admin_connection(&self) -> Connection<std::os::unix::net::UnixStream> {
        Connection::open_unix(&self.file("admin.sock"))
    }

    /// A counter or gauge; 0 where there is none of that name, as before its first use.
    pub fn stat(&self, name: &str) -> i64 {
        let answer = self.admin("GET", "/stats");
        let value = answer.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
        value.unwrap_or(0)
    }

    pub fn wait_for_stat(&self, name: &str, expected: i64) {
        let mut last = 0;
        eventually(&format!("{name} is {expected}"), || {
            last = self.stat(name);
            last == expected
        });
    }

    /// What /clusters says of the health of an endpoint of the cluster `app`.
    pub fn health_flags(&self, endpoint: SocketAddr) -> String {
        self.endpoint_figure(endpoint, "health_flags")
    }

    /// What /clusters says under this name of an endpoint of the cluster `app`.
    pub fn endpoint_figure(&self, endpoint: SocketAddr, name: &str) -> String {
        let answer = self.admin("GET", "/clusters");
        let prefix = format!("app::{endpoint}::{name}::");
        let line = answer.text().lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("{prefix} in {}", answer.text())).to_owned()
    }

    /// Replace the configuration that it was started with by another one; `reload` makes it take effect.
    pub fn write_config(&self, config: &str) {
        write_config(self.dir.path(), &self.runtime, config);
    }

    /// Reload and wait until the program log says how it went; `true` where the configuration was taken.
    pub fn reload(&self) -> bool {
        let (good, bad) = ("configuration reloaded", "configuration not reloaded");
        let count = |text: &str| text.matches(good).count() + text.matches(bad).count();
        let before = count(&self.stderr());
        self.signal(Signal::HUP);
        eventually("the reload has ended", || count(&self.stderr()) > before);
        let text = self.stderr();
        text.rfind(good) > text.rfind(bad)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Wait until the process ends.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the proxy has ended", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("just seen")
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("the process runs")
    }

    /// CPU time used so far, in clock ticks (proc(5), stat, fields 14 and 15).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = self.proc("stat");
        let fields = stat.rsplit_once(") ").expect("a name").1;
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    /// A line of /proc/PID/status, without its name.
    pub fn status_line(&self, name: &str) -> String {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{name} in {status}")).trim().to_owned()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let line = self.status_line("VmRSS");
        line.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") * 1024
    }

    /// Voluntary context switches of each thread so far, with the thread's name.
    pub fn wakeups(&self) -> Vec<(String, u64)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process runs");
        let switches = |task: PathBuf| {
            let name = std::fs::read_to_string(task.join("comm")).ok()?;
            let status = std::fs::read_to_string(task.join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            Some((name.trim().to_owned(), line.trim().parse().ok()?))
        };
        tasks.filter_map(|task| switches(task.ok()?.path())).collect()
    }

    /// Of the thread with this name (proc(5), stat, field 41).
    pub fn scheduling_class(&self, thread: &str) -> i32 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process runs");
        let mut stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
        let stat = stats.find(|stat| stat.contains(&format!("({thread}) "))).expect("a thread");
        let fields = stat.rsplit_once(") ").expect("a name").1;
        fields.split(' ').nth(38).and_then(|class| class.parse().ok()).expect("a class")
    }

    /// Open file descriptors.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the process runs").count()
    }

    /// Lines of a log in the proxy's directory once there are `count` of them.
    pub fn log_lines(&self, name: &str, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        eventually(&format!("{count} lines in {name}"), || {
            let text = std::fs::read_to_string(self.file(name)).unwrap_or_default();
            // The last one may be here in part.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            lines = whole.lines().map(str::to_owned).collect();
            lines.len() >= count
        });
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }
}

impl Drop for Ringway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the proxy's standard error:\n{}", self.stderr());
        }
    }
}

/// The configuration of `Ringway::before`.
pub fn forwarding(origin: SocketAddr, http: &str) -> String {
    forwarding_to(&[origin], http, "")
}

/// The same for a cluster of several endpoints; `cluster` are more lines of it, or tables in it.
pub fn forwarding_to(endpoints: &[SocketAddr], http: &str, cluster: &str) -> String {
    format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
stat_prefix = "main"
[listeners.http]
routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }}]
{http}
[[clusters]]
name = "app"
endpoints = [{endpoints}]
{cluster}
"#,
        endpoints = quoted(endpoints)
    )
}

/// What stands in a list of endpoints.
pub fn quoted(endpoints: &[SocketAddr]) -> String {
    endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect::<Vec<_>>().join(", ")
}

/// Read an output to its end on a thread.
fn collect(output: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let to = text.clone();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            to.lock().expect("no panic").push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    text
}

/// How much `measure` grows while the process is left alone for `time`.
pub fn growth(time: Duration, measure: impl Fn() -> u64) -> u64 {
    let before = measure();
    let start = Instant::now();
    while start.elapsed() < time {
        std::thread::sleep(time.saturating_sub(start.elapsed()));
    }
    measure().saturating_sub(before)
}
