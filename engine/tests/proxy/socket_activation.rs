//! Sockets that are passed to the process (systemd's socket activation), and what it tells the service manager. The tests are
//! the manager: they hold the sockets, so connections wait in them while no process runs.

use super::support::{Client, Ringway, eventually, free_port};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A manager that passes these sockets to each process that it starts.
struct Manager {
    sockets: Vec<(&'static str, OwnedFd)>,
    dir: tempfile::TempDir,
    notified: UnixDatagram,
}

impl Manager {
    fn new(sockets: Vec<(&'static str, OwnedFd)>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let notified = UnixDatagram::bind(dir.path().join("notify")).expect("bound");
        notified.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        Self { sockets, dir, notified }
    }

    /// A command that becomes `ringway run` with the sockets as its descriptors 3, 4, ...
    fn command(&self, file: &Path) -> Command {
        let moves: Vec<_> =
            (3..).zip(&self.sockets).map(|(to, (_, from))| format!("{to}<&{}", from.as_raw_fd())).collect();
        let names: Vec<_> = self.sockets.iter().map(|(name, _)| *name).collect();
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("LISTEN_PID=$$ exec \"$0\" run \"$1\" {}", moves.join(" ")));
        command.arg(env!("CARGO_BIN_EXE_ringway")).arg(file);
        command.env("LISTEN_FDS", self.sockets.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        command
    }

    /// Descriptors are closed in every program that a test starts, but for these and for this moment.
    fn with_sockets<T>(&self, start: impl FnOnce() -> T) -> T {
        let set = |flags| {
            let change = |fd: BorrowedFd<'_>| fcntl_setfd(fd, flags).expect("open");
            self.sockets.iter().for_each(|(_, fd)| change(fd.as_fd()));
        };
        set(FdFlags::empty());
        let started = start();
        set(FdFlags::CLOEXEC);
        started
    }

    fn start(&self, config: &str) -> Ringway {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("ringway.toml");
        std::fs::write(&file, config).expect("written");
        self.with_sockets(|| Ringway::spawn(self.command(&file), dir, String::new()))
    }

    #[track_caller]
    fn expect(&self, message: &str) {
        let mut bytes = [0; 512];
        let len = self.notified.recv(&mut bytes).expect("a message");
        let got = String::from_utf8_lossy(&bytes[..len]);
        assert!(got.starts_with(message), "{got} instead of {message}");
    }
}

fn tcp() -> (SocketAddr, OwnedFd) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    // As systemd makes its sockets.
    socket.set_nonblocking(true).expect("set");
    (socket.local_addr().expect("bound"), socket.into())
}

fn listener(address: &str, keys: &str, body: &str) -> String {
    format!(
        "[[listeners]]\naddress = \"{address}\"\n{keys}\nhttp.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ \
         status = 200, body = \"{body}\" }} }}]\n"
    )
}

fn at_path(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("it listens");
    stream
        .write_all(format!("GET {request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
        .expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

#[test]
fn sockets_are_taken_by_name_and_by_address() {
    let ((named, first), (addressed, second)) = (tcp(), tcp());
    let dir = tempfile::tempdir().expect("a directory");
    let (unix, admin) = (dir.path().join("front.sock"), dir.path().join("admin.sock"));
    let bind = |path: &Path| OwnedFd::from(UnixListener::bind(path).expect("bound"));
    let all = vec![("front", first), ("x.socket", second), ("x.socket", bind(&unix)), ("x.socket", bind(&admin))];
    let manager = Manager::new(all);
    // The address of the listener that has the name of a socket is free and stays so.
    let other = free_port();
    let config = format!(
        "[admin]\naddress = \"unix:{}\"\n[runtime]\nshards = 2\n{}{}{}{}",
        admin.display(),
        listener(&format!("127.0.0.1:{other}"), "name = \"front\"", "named"),
        listener(&addressed.to_string(), "", "addressed"),
        listener(&format!("unix:{}", unix.display()), "", "unix"),
        listener("127.0.0.1:0", "", "own"),
    );
    let proxy = manager.start(&config);
    manager.expect("READY=1");
    assert_eq!(proxy.addresses[0], named.to_string());
    assert_eq!(Client::open(named).get("/").text(), "named");
    assert_eq!(Client::open(addressed).get("/").text(), "addressed");
    assert!(at_path(&unix, "/").ends_with("unix"));
    assert_eq!(Client::open(proxy.address(3)).get("/").text(), "own");
    assert!(at_path(&admin, "/ready").ends_with("LIVE\n"));
    TcpListener::bind(("127.0.0.1", other)).expect("nothing listens there");
}

/// Tasks of each of the two shards, most of them connections.
fn tasks(admin: &Path) -> [u64; 2] {
    let stats = at_path(admin, "/stats?filter=^shard");
    [0, 1].map(|shard| {
        let name = format!("shard.{shard}.tasks: ");
        let value =
            stats.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("{name} in {stats}"));
        value.trim().parse().expect("a number")
    })
}

/// The socket is one, the shards are many: each of them accepts on it, whichever kind it is and wherever it comes from.
#[test]
fn every_shard_gets_connections_of_a_socket_that_all_share() {
    let dir = tempfile::tempdir().expect("a directory");
    let (passed, own) = (dir.path().join("passed.sock"), dir.path().join("own.sock"));
    let (tcp, socket) = tcp();
    let manager = Manager::new(vec![("a", socket), ("b", UnixListener::bind(&passed).expect("bound").into())]);
    let unix = |path: &Path| format!("unix:{}", path.display());
    for address in [tcp.to_string(), unix(&passed), unix(&own)] {
        let admin = dir.path().join("admin.sock");
        let head = format!("[admin]\naddress = \"{}\"\n[runtime]\nshards = 2\n", unix(&admin));
        let _proxy = manager.start(&format!("{head}{}", listener(&address, "", "x")));
        let base = tasks(&admin);
        let more = || {
            let now = tasks(&admin);
            [now[0].saturating_sub(base[0]), now[1].saturating_sub(base[1])]
        };
        // A shard that gets no processor for a while misses its turns, so there are several rounds.
        let is_fair = (0..20).any(|_| {
            eventually("the connections of the last round have ended", || more().iter().sum::<u64>() <= 10);
            let held: Vec<_> = (0..40).map(|_| held_connection(&address)).collect();
            eventually("the connections are counted", || more().iter().sum::<u64>() >= held.len() as u64);
            more().iter().all(|more| *more >= 10)
        });
        assert!(is_fair, "one shard has nearly all connections of {address}");
    }
}

/// A connection that has had its first answer.
fn held_connection(address: &str) -> Box<dyn Read> {
    fn ask<S: Read + Write + 'static>(mut stream: S) -> Box<dyn Read> {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        Box::new(stream)
    }
    match address.strip_prefix("unix:") {
        Some(path) => ask(UnixStream::connect(path).expect("it listens")),
        None => ask(TcpStream::connect(address).expect("it listens")),
    }
}

/// The manager holds the socket: connections that come between two processes wait for the second one.
#[test]
fn no_connection_is_refused_between_two_processes() {
    let (address, socket) = tcp();
    let manager = Manager::new(vec![("front", socket)]);
    let config = |body: &str| format!("[runtime]\nshards = 2\n{}", listener(&address.to_string(), "", body));
    for round in ["one", "two", "three"] {
        // Before there is a process, and after the last one has ended.
        let mut waiting = Client::open(address);
        waiting.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut proxy = manager.start(&config(round));
        manager.expect("READY=1");
        assert_eq!(waiting.response().text(), round);
        drop(waiting);
        proxy.signal(Signal::TERM);
        manager.expect("STOPPING=1");
        assert_eq!(proxy.wait().code(), Some(0));
    }
}

#[test]
fn a_reload_keeps_passed_sockets_and_is_told() {
    let ((address, socket), (own, second)) = (tcp(), tcp());
    let manager = Manager::new(vec![("front", socket), ("unused", second)]);
    let file = |listeners: &str| format!("[runtime]\nshards = 2\n{listeners}");
    let proxy = manager.start(&file(&listener(&address.to_string(), "", "old")));
    manager.expect("READY=1");
    proxy.wait_for_log(&format!("no listener takes the socket \"unused\" at {own}"));
    let write = |listeners: &str| std::fs::write(proxy.file("ringway.toml"), file(listeners)).expect("written");
    let mut client = Client::open(address);
    assert_eq!(client.get("/").text(), "old");
    write(&listener(&address.to_string(), "", "new"));
    assert!(proxy.reload());
    manager.expect("RELOADING=1\nMONOTONIC_USEC=");
    manager.expect("READY=1");
    assert_eq!((client.get("/").text(), Client::open(address).get("/").text()), ("new", "new"));
    write("nonsense = 1");
    assert!(!proxy.reload());
    manager.expect("RELOADING=1\nMONOTONIC_USEC=");
    manager.expect("READY=1\nSTATUS=The configuration was not reloaded");
    // The listener goes, the other socket gets one; and back.
    write(&listener(&own.to_string(), "", "other"));
    assert!(proxy.reload());
    assert_eq!(Client::open(own).get("/").text(), "other");
    let mut waiting = Client::open(address);
    waiting.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    write(&format!("{}{}", listener(&own.to_string(), "", "other"), listener(&address.to_string(), "", "back")));
    assert!(proxy.reload());
    assert_eq!(waiting.response().text(), "back");
}

#[test]
fn what_is_no_listening_socket_refuses_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("ringway.toml");
    std::fs::write(&file, listener("127.0.0.1:0", "", "x")).expect("written");
    let connected = UnixStream::pair().expect("a pair");
    for socket in [OwnedFd::from(std::fs::File::open("/dev/null").expect("there")), connected.0.into()] {
        let manager = Manager::new(vec![("front", socket)]);
        let output = manager.with_sockets(|| manager.command(&file).stdin(Stdio::null()).output()).expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("the descriptor 3 (front) that LISTEN_FDS tells of cannot be listened on"), "{said}");
    }
    // Two that would have the same one.
    let (address, socket) = tcp();
    let manager = Manager::new(vec![("front", socket)]);
    let named = listener("127.0.0.1:0", "name = \"front\"", "x");
    std::fs::write(&file, format!("{named}{}", listener(&address.to_string(), "", "y"))).expect("written");
    let output = manager.with_sockets(|| manager.command(&file).stdin(Stdio::null()).output()).expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("would both have the socket \"front\""), "{said}");
}

/// The variables of another process, as a child of the one that was meant would see them.
#[test]
fn sockets_of_another_process_are_left_alone() {
    let (address, socket) = tcp();
    let manager = Manager::new(vec![("front", socket)]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("ringway.toml");
    std::fs::write(&file, listener("127.0.0.1:0", "name = \"front\"", "own")).expect("written");
    let mut command = manager.command(&file);
    // bash stays, and is the process that LISTEN_PID names.
    command = {
        let mut other = Command::new("bash");
        other.args(["-c", "export LISTEN_PID=$PPID; exec \"$0\" run \"$1\""]).args(command.get_args().skip(2));
        other.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "front");
        other
    };
    let proxy = manager.with_sockets(|| Ringway::spawn(command, dir, String::new()));
    assert_ne!(proxy.addresses[0], address.to_string());
    assert_eq!(proxy.get("/").text(), "own");
}

/// systemd's own launcher, where there is one: it starts the process when the first connection comes.
#[test]
fn systemd_socket_activate_starts_it() {
    if !Path::new("/usr/bin/systemd-socket-activate").exists() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "systemd-socket-activate is missing");
        eprintln!(
            "skipped: there is no systemd-socket-activate on this machine; the other tests pass sockets themselves"
        );
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (file, port) = (dir.path().join("ringway.toml"), free_port());
    std::fs::write(
        &file,
        format!("[runtime]\nshards = 2\n{}", listener("127.0.0.1:1", "name = \"front\"", "activated")),
    )
    .expect("written");
    let mut launcher = Command::new("/usr/bin/systemd-socket-activate")
        .args(["--fdname=front", "-l", &format!("127.0.0.1:{port}")])
        .args([env!("CARGO_BIN_EXE_ringway"), "run"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("it listens", || TcpStream::connect(address).is_ok());
    assert_eq!(Client::open(address).get("/").text(), "activated");
    launcher.kill().expect("it runs");
    launcher.wait().expect("a child");
}
