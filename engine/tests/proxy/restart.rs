//! A start after a stop, and a stop during a start: addresses are free once a process has ended, and an order to stop waits
//! for nothing.

use super::name_server::{NameServer, Zone};
use super::support::{Client, Ringway, dead_address, eventually, forwarding, free_port};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A configuration with a listener and an admin endpoint on ports that stay.
struct Fixed {
    dir: TempDir,
    listener: SocketAddr,
    admin: SocketAddr,
}

impl Fixed {
    fn new() -> Self {
        Self::with("")
    }

    /// With lines of `runtime`.
    fn with(runtime: &str) -> Self {
        let [listener, admin] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let dir = tempfile::tempdir().expect("a directory");
        let config = format!(
            "[admin]\naddress = \"{admin}\"\n[runtime]\nshards = 2\n{runtime}\n[[listeners]]\naddress = \"{listener}\"\n\
             http.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }}]\n"
        );
        std::fs::write(dir.path().join("ringway.toml"), config).expect("written");
        Self { dir, listener, admin }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.arg("run").arg(self.dir.path().join("ringway.toml"));
        command
    }

    fn start(&self) -> Ringway {
        Ringway::spawn(self.command(), tempfile::tempdir().expect("a directory"), String::new())
    }

    /// A start that fails.
    fn refused(&self) -> Output {
        self.command().stdin(Stdio::null()).output().expect("it starts")
    }
}

/// Its rings have nothing under way when the process ends, so that the kernel keeps no socket for them.
#[test]
fn addresses_are_free_when_the_process_has_ended() {
    for round in 0..10 {
        let fixed = Fixed::new();
        let mut proxy = fixed.start();
        let mut clients = [proxy.connect(), Client::open(fixed.admin)];
        assert_eq!(clients[0].get("/").status(), 200);
        clients[1].send(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(clients[1].response().status(), 200);
        // Told twice, it does not wait until connections have ended.
        (0..=round % 2).for_each(|_| proxy.signal(Signal::TERM));
        assert_eq!(proxy.wait().code(), Some(0));
        for address in [fixed.listener, fixed.admin] {
            TcpListener::bind(address).unwrap_or_else(|error| panic!("round {round}: {address}: {error}"));
        }
    }
}

/// A process that is killed leaves its sockets to the kernel for some time: its successor waits for them.
#[test]
fn the_successor_of_a_killed_process_starts() {
    let fixed = Fixed::new();
    for _ in 0..5 {
        let mut proxy = fixed.start();
        assert_eq!(proxy.connect().get("/").status(), 200);
        proxy.signal(Signal::KILL);
        proxy.wait();
    }
    assert_eq!(fixed.start().connect().get("/").status(), 200);
}

#[test]
fn the_holder_of_an_address_is_named() {
    let fixed = Fixed::new();
    let first = fixed.start();
    let refused = fixed.refused();
    assert_eq!(refused.status.code(), Some(3));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let holder = format!(
        "{}: Address already in use (os error 98): another process, ringway (pid {}), listens there;",
        fixed.listener,
        first.pid()
    );
    assert!(said.contains(&holder), "{said}");
    assert!(said.contains("; stop it or choose another port") && said.lines().count() == 1, "{said}");
}

/// One that drains is to be waited for: it keeps the admin endpoint, and during `drain_delay` its listeners.
#[test]
fn a_predecessor_that_still_drains_is_told_from_other_processes() {
    for (delay, kept) in [("drain_delay = \"10m\"", "listener"), ("", "admin")] {
        let fixed = Fixed::with(&format!("drain_time = \"10m\"\n{delay}"));
        // An origin that does not answer.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let file = fixed.dir.path().join("ringway.toml");
        let text = std::fs::read_to_string(&file).expect("written");
        let text = text.replace("direct_response = { status = 200 }", "route = { cluster = \"app\" }");
        let endpoint = silent.local_addr().expect("bound");
        std::fs::write(&file, format!("{text}[[clusters]]\nname = \"app\"\nendpoints = [\"{endpoint}\"]\n"))
            .expect("written");
        let first = fixed.start();
        let mut client = first.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let _exchange = silent.accept().expect("a connection");
        first.signal(Signal::TERM);
        first.wait_for_log(if kept == "listener" { "told to stop" } else { "draining" });
        if kept == "admin" {
            eventually("the listener is closed", || std::net::TcpStream::connect(fixed.listener).is_err());
        }
        let refused = fixed.refused();
        assert_eq!(refused.status.code(), Some(3));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let holder = format!(
            "an earlier ringway (pid {}), which was told to stop and still drains, listens there;",
            first.pid()
        );
        let address = if kept == "listener" { fixed.listener } else { fixed.admin };
        assert!(said.contains(&format!("{address}: ")) && said.contains(&holder), "{said}");
        assert!(said.contains("wait for its end (runtime.drain_delay and runtime.drain_time)"), "{said}");
    }
}

/// Clusters whose name server does not answer, which a start and a reload wait for.
fn waiting(server: &NameServer) -> String {
    format!(
        "[[clusters]]\nname = \"late\"\ndiscovery = \"strict_dns\"\ndns = {{ resolvers = [\"{}\"] }}\nendpoints = [\"a.test:80\"]\n",
        server.address
    )
}

#[test]
fn an_order_to_stop_ends_a_start_that_waits_for_names() {
    let server = NameServer::with("a.test", Zone::Silent);
    let fixed = Fixed::new();
    let file = fixed.dir.path().join("ringway.toml");
    let text = std::fs::read_to_string(&file).expect("text");
    std::fs::write(&file, text + &waiting(&server)).expect("written");
    let child = fixed.command().stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    eventually("it asks for the name", || server.count("a.test") > 0);
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let ended = child.wait_with_output().expect("a child");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(!said.contains("not all names are looked up yet") && !said.contains("listens on"), "{said}");
    assert!(TcpListener::bind(fixed.listener).is_ok() && TcpListener::bind(fixed.admin).is_ok());
}

#[test]
fn an_order_to_stop_ends_a_reload_that_waits_for_names() {
    let server = NameServer::with("a.test", Zone::Silent);
    let config = forwarding(dead_address(), "");
    let mut proxy = Ringway::start(&config);
    proxy.write_config(&(config + &waiting(&server)));
    proxy.signal(Signal::HUP);
    eventually("it asks for the name", || server.count("a.test") > 0);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
    let said = proxy.stderr();
    assert!(!said.contains("not all names are looked up yet") && said.contains("draining"), "{said}");
}
