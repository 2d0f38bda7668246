//! Programs that are not ours: curl, nginx, wrk, promtool. One that is missing fails the test with the command that
//! installs it; nothing is skipped in silence.

use super::{PATIENCE, free_port};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A command for `name`; fails with the way to install it where it is missing.
pub fn program(name: &str) -> Command {
    let package = match name {
        "gnutls-cli" => "gnutls-bin",
        "h2load" | "nghttp" => "nghttp2-client",
        "nghttpd" => "nghttp2-server",
        "promtool" => "prometheus",
        "ss" => "iproute2",
        "testssl" => "testssl.sh",
        "prlimit" | "setpriv" => "util-linux",
        name => name,
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    let found = places.map(|place| place.join(name)).find(|file| file.is_file());
    let found = found.unwrap_or_else(|| panic!("{name} is missing; install it: sudo apt-get install {package}"));
    Command::new(found)
}

/// Run to the end; exit code 0 is asked for.
pub fn must_run(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// What curl saw.
#[derive(Debug)]
pub struct Curl {
    pub exit: i32,
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

/// Run curl without its configuration file, with at most a minute of time.
pub fn curl(args: &[&str]) -> Curl {
    let dir = tempfile::tempdir().expect("a directory");
    let (head, body) = (dir.path().join("head"), dir.path().join("body"));
    let output: Output = program("curl")
        .args(["-q", "-sS", "--max-time", "60", "--noproxy", "*", "-w", "%{http_code}"])
        .arg("-D")
        .arg(&head)
        .arg("-o")
        .arg(&body)
        .args(args)
        .output()
        .expect("curl starts");
    let text = String::from_utf8_lossy(&output.stdout);
    Curl {
        exit: output.status.code().unwrap_or(-1),
        status: text.trim().parse().unwrap_or(0),
        head: std::fs::read_to_string(&head).unwrap_or_default(),
        body: std::fs::read(&body).unwrap_or_default(),
    }
}

/// A server that says where it listens, and ends with this.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// What it says, once it has told its port.
    pub lines: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// One that prints its port first.
    pub fn start(command: Command) -> Self {
        Self::start_with(command, |line| line.parse().ok())
    }

    /// One that prints its port in a line from which `port` takes it.
    pub fn start_with(mut command: Command, port: impl Fn(&str) -> Option<u16>) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let out = child.stdout.take().expect("piped");
        Self::of(child, out, port)
    }

    /// One of grpc-go, which logs where it listens.
    pub fn start_go(mut command: Command) -> Self {
        command.env("GRPC_GO_LOG_SEVERITY_LEVEL", "info").stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let log = child.stderr.take().expect("piped");
        Self::of(child, log, |line| line.split_once("listening on ")?.1.rsplit_once(':')?.1.parse().ok())
    }

    fn of(child: Child, out: impl Read + Send + 'static, port: impl Fn(&str) -> Option<u16>) -> Self {
        let mut out = BufReader::new(out).lines().map_while(Result::ok);
        let port = out.by_ref().find_map(|line| port(&line)).expect("it listens");
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let all = lines.clone();
        std::thread::spawn(move || out.for_each(|line| all.lock().unwrap().push(line)));
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), lines }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A real nginx with its own directory, as one process in the foreground.
pub struct Nginx {
    pub address: SocketAddr,
    dir: TempDir,
    child: Child,
}

impl Nginx {
    /// `server` is the inside of its `server` block. `ROOT` in it is the directory of its files, `DIR` the one around.
    pub fn start(server: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("root")).expect("a directory");
        for _ in 0..10 {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            if let Some(child) = spawn(dir.path(), address, server) {
                return Self { address, dir, child };
            }
        }
        panic!("nginx does not start: {}", error_log(dir.path()));
    }

    /// Where files for `root ROOT` belong.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Kill it and start it again on the same port.
    pub fn restart(&mut self, server: &str) {
        self.kill();
        let start = Instant::now();
        self.child = loop {
            if let Some(child) = spawn(self.dir.path(), self.address, server) {
                break child;
            }
            assert!(start.elapsed() < PATIENCE, "nginx does not come back: {}", error_log(self.dir.path()));
        };
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}

fn error_log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("error.log")).unwrap_or_default()
}

/// `None`: the port was taken meanwhile.
fn spawn(dir: &Path, address: SocketAddr, server: &str) -> Option<Child> {
    let config = dir.join("nginx.conf");
    std::fs::write(&config, configuration(dir, address, server)).expect("written");
    let mut child = program("nginx")
        .arg("-p")
        .arg(dir)
        .arg("-c")
        .arg(&config)
        .arg("-e")
        .arg(dir.join("error.log"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx starts");
    let start = Instant::now();
    loop {
        if child.try_wait().expect("a child").is_some() {
            return None;
        }
        if TcpStream::connect(address).is_ok() {
            return Some(child);
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn configuration(dir: &Path, address: SocketAddr, server: &str) -> String {
    let dir = dir.display().to_string();
    let tls = if server.contains("ssl_certificate") { " ssl" } else { "" };
    let server = server.replace("ROOT", &format!("{dir}/root")).replace("DIR", &dir);
    format!(
        "daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    client_max_body_size 0;
    keepalive_requests 1000000;
    sendfile on;
    server {{
        listen {address}{tls};
        {server}
    }}
}}
"
    )
}
