//! Calls of gRPC by grpc-go: the client and the server of its interop tests, and its client for servers that misbehave.

use super::grpc::{ALL, peers, proxy, python};
use super::support::{Pki, Ringway, Server, Setup, eventually, must_run, program};
use std::net::SocketAddr;
use std::process::Command;
use std::thread;

/// Its cases but those that need credentials of a cloud, or several servers.
const CASES: [&str; 18] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "orca_per_rpc",
    "orca_oob",
    "rpc_soak",
    "channel_soak",
];

/// Whether .ci/install has built grpc-go's programs; nothing is skipped where CI is set.
fn is_built() -> bool {
    let is_there = peers().join("go").is_dir();
    assert!(
        is_there || std::env::var_os("CI").is_none(),
        "grpc-go is missing: .ci/install builds it where Go is installed"
    );
    if !is_there {
        eprintln!("skipped: grpc-go is not built");
    }
    is_there
}

fn server(more: &[&str]) -> Server {
    let mut command = Command::new(peers().join("go/server"));
    command.args(["-port", "0"]).args(more);
    Server::start_go(command)
}

/// A client with one of its cases. It waits for ever where an answer does not come.
fn client(name: &str, case: &str, to: SocketAddr) -> Command {
    let mut command = program("timeout");
    command.arg("120").arg(peers().join("go").join(name));
    command.args(["-server_host", "127.0.0.1", "-server_port", &to.port().to_string(), "-test_case", case]);
    command
}

fn interop(case: &str, to: SocketAddr, more: &[&str]) {
    let mut client = client("client", case, to);
    client.args(["-soak_per_iteration_max_acceptable_latency_ms", "60000", "-soak_overall_timeout_seconds", "60"]);
    must_run(client.args(more));
}

/// Cases of load reports need it; it asks for some during all others, too.
const BALANCER: [&str; 2] =
    ["-service_config_json", "{\"loadBalancingConfig\": [{\"test_backend_metrics_load_balancer\": {}}]}"];

/// Without TLS, with TLS of clients, and with TLS to the server.
#[test]
fn all_cases_pass_in_all_pairs() {
    if !is_built() {
        return;
    }
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    let [ca, certificate, key] = ["ca.pem", "a.pem", "a.key"].map(|file| pki.path(file));
    let plain = server(&[]);
    let secure = server(&["-use_tls", "-tls_cert_file", &certificate, "-tls_key_file", &key]);
    let listener = |more: &str, cluster: &str| {
        let routes = ALL.replace("app", cluster);
        format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{more}\n[listeners.http]\n{routes}\n")
    };
    let cluster = |name: &str, server: &Server, more: &str| {
        let address = server.address;
        format!("[[clusters]]\nname = \"{name}\"\nendpoints = [\"{address}\"]\nprotocol = \"http2\"\n{more}\n")
    };
    let tls = "tls = { certificate = \"a.pem\", key = \"a.key\" }";
    let config = [
        listener("", "plain"),
        listener(tls, "plain"),
        listener("", "secure"),
        cluster("plain", &plain, ""),
        cluster("secure", &secure, "tls = { ca = \"ca.pem\", sni = \"a.example\" }"),
    ];
    let proxy = setup.replace_config(&config.concat()).start();
    let verified = ["-use_tls", "-use_test_ca", "-ca_file", &ca, "-server_host_override", "a.example"];
    let verified = [&BALANCER[..], &verified].concat();
    let ways = [(0, &BALANCER[..]), (1, &verified), (2, &BALANCER)].map(|(index, more)| (proxy.address(index), more));
    thread::scope(|scope| {
        for (address, more) in ways {
            scope.spawn(move || CASES.iter().for_each(|case| interop(case, address, more)));
        }
    });
    for cluster in ["plain", "secure"] {
        proxy.wait_for_stat(&format!("cluster.{cluster}.upstream_rq_active"), 0);
    }
    proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 0);
}

/// A server for one of the cases with servers that misbehave, and a proxy before it.
struct Misbehaving {
    case: &'static str,
    server: Server,
    proxy: Ringway,
}

impl Misbehaving {
    fn new(case: &'static str) -> Self {
        let mut command = python("negative.py");
        command.arg(case);
        let server = Server::start(command);
        let proxy = proxy(&[server.address], ALL, "");
        Self { case, server, proxy }
    }

    /// What the client makes of it: its complaint, or nothing.
    fn found(&self, to: SocketAddr) -> String {
        let output = client("http2", self.case, to).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr);
        // Behind the name of the call, in which an address of memory stands.
        let complaint = text.split_once(".UnaryCall() ").map_or(&*text, |(_, complaint)| complaint);
        if output.status.success() { String::new() } else { complaint.to_owned() }
    }

    /// The same as without the proxy.
    fn passes(&self) {
        let expected = match self.case {
            // What it expects of a reset within a message is not what its own library makes of it.
            "rst_during_data" => "= _, Internal, want _, Unknown\n",
            _ => "",
        };
        assert_eq!(self.found(self.server.address), expected, "{} without the proxy", self.case);
        assert_eq!(self.found(self.proxy.address(0)), expected, "{} through the proxy", self.case);
        self.proxy.wait_for_stat("cluster.app.upstream_rq_active", 0);
        assert!(self.said("error").is_empty(), "{}: {:?}", self.case, self.said("error"));
    }

    fn said(&self, what: &str) -> Vec<String> {
        let lines = self.server.lines.lock().unwrap();
        lines.iter().filter_map(|line| line.strip_prefix(what)).map(str::to_owned).collect()
    }
}

#[test]
fn servers_that_misbehave_do_so_for_clients_as_without_the_proxy() {
    if !is_built() {
        return;
    }
    let cases = ["goaway", "rst_after_header", "rst_during_data", "rst_after_data", "ping", "max_streams"]
        .map(Misbehaving::new);
    thread::scope(|scope| cases.iter().for_each(|case| drop(scope.spawn(|| case.passes()))));
    let [goaway, .., ping, max_streams] = &cases;
    // Two calls each, the second one on a connection of its own.
    let requests = goaway.said("request ");
    let is_alone = |request: &String| requests.iter().filter(|other| *other == request).count() == 1;
    assert!(requests.len() == 4 && requests.iter().all(is_alone), "{requests:?}");
    eventually("all PINGs are answered", || ping.said("ping ") == ping.said("ack "));
    assert!(ping.said("ping ").len() > 50);
    let requests = max_streams.said("request ");
    assert!(requests.len() == 32 && requests.iter().all(|request| request.ends_with(" 0")), "{requests:?}");
    // Padding is a case of other clients.
    let padding = Misbehaving::new("data_frame_padding");
    for to in [padding.server.address, padding.proxy.address(0)] {
        interop("large_unary", to, &[]);
    }
    assert!(padding.said("error").is_empty(), "{:?}", padding.said("error"));
}
