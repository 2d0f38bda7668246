//! The proxies that are compared: where their program is, what config they get, how they are started.
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::process::Process;
use super::template::{self, Values};
use crate::cli::Programs;
use crate::generator::background::Caller;
use crate::measure::cpus;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ringway,
    Haproxy,
    /// HAProxy with splice(2) for contents; its maintainers advise it for large ones only, hence a peer of its own.
    HaproxySplice,
    Nginx,
    Envoy,
    /// No proxy: the generator talks to the origin.
    Direct,
}

/// A proxy that is installed.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As in tables: the kind, or the name given to a build of Ringway.
    pub name: String,
    pub kind: Kind,
    pub program: PathBuf,
    pub version: String,
}

/// A proxy that cannot be compared because it is not installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub name: String,
    pub program: String,
    /// The command that installs or builds it.
    pub remedy: &'static str,
}

const INSTALL: &str = "loadtest/peers/install.sh";
const BUILD: &str = "cargo build --release -p ringway";

impl Kind {
    pub fn from_name(name: &str) -> Option<Kind> {
        Some(match name {
            "ringway" => Kind::Ringway,
            "haproxy" => Kind::Haproxy,
            "haproxy-splice" => Kind::HaproxySplice,
            "nginx" => Kind::Nginx,
            "envoy" => Kind::Envoy,
            "direct" => Kind::Direct,
            _ => return None,
        })
    }

    /// Config templates in `loadtest/peers/`; the first is the one that the program is started with.
    fn templates(self) -> &'static [&'static str] {
        match self {
            Kind::Ringway => &["ringway.toml"],
            Kind::Haproxy => &["haproxy.cfg", "haproxy-routes.map"],
            Kind::HaproxySplice => &["haproxy-splice.cfg", "haproxy-routes.map"],
            Kind::Nginx => &["nginx.conf"],
            Kind::Envoy => &["envoy.yaml"],
            Kind::Direct => &[],
        }
    }

    fn version_argument(self) -> &'static str {
        match self {
            Kind::Haproxy | Kind::HaproxySplice | Kind::Nginx => "-v",
            Kind::Ringway | Kind::Envoy | Kind::Direct => "--version",
        }
    }
}

/// Finds the named peers. Errors for a name that is none.
pub fn find(names: &[String], programs: &Programs) -> anyhow::Result<(Vec<Peer>, Vec<Missing>)> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        let kind = Kind::from_name(name).with_context(|| {
            format!("`{name}` is not a peer: ringway, haproxy, haproxy-splice, nginx, envoy and direct are")
        })?;
        for (name, program, remedy) in candidates(kind, name, programs) {
            match locate(&program) {
                _ if kind == Kind::Direct => {
                    found.push(Peer { name, kind, program: PathBuf::new(), version: String::new() });
                }
                Some(path) => {
                    let version = version(&path, kind);
                    found.push(Peer { name, kind, program: path, version });
                }
                None => missing.push(Missing { name, program: program.display().to_string(), remedy }),
            }
        }
    }
    Ok((found, missing))
}

/// Name, program and remedy for each peer of that kind: one, except for Ringway, of which several builds may be given.
fn candidates(kind: Kind, name: &str, programs: &Programs) -> Vec<(String, PathBuf, &'static str)> {
    let one = |program: &Path, remedy| vec![(name.to_owned(), program.to_owned(), remedy)];
    match kind {
        Kind::Ringway => programs
            .ringway
            .iter()
            .map(|text| match text.split_once('=') {
                Some((name, path)) => (name.to_owned(), PathBuf::from(path), BUILD),
                None => ("ringway".to_owned(), PathBuf::from(text), BUILD),
            })
            .collect(),
        Kind::Haproxy | Kind::HaproxySplice => one(&programs.haproxy, INSTALL),
        Kind::Nginx => one(&programs.nginx, INSTALL),
        Kind::Envoy => one(&programs.envoy.clone().unwrap_or_else(installed_envoy), INSTALL),
        Kind::Direct => one(Path::new(""), INSTALL),
    }
}

/// Where `install.sh` puts Envoy.
fn installed_envoy() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_default();
    let installed = cache.join("ringway-peers/bin/envoy");
    if installed.is_file() { installed } else { PathBuf::from("envoy") }
}

/// The program itself, or what PATH has by its name. Debian's servers are in sbin, which a user's PATH may lack.
fn locate(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

fn version(program: &Path, kind: Kind) -> String {
    let Ok(output) = Command::new(program).arg(kind.version_argument()).output() else { return "unknown".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown").to_owned()
}

/// What is spoken on both sides of a peer.
#[derive(Clone, Debug, Default)]
pub struct Transport {
    /// Clients speak HTTP/2, by ALPN with TLS, else with prior knowledge.
    pub http2: bool,
    /// Where certificate and key are, for clients that come over TLS.
    pub identity: Option<PathBuf>,
    /// So do the origins, with prior knowledge.
    pub origin_http2: bool,
    /// Calls of gRPC: nginx has directives of their own for them.
    pub grpc: bool,
}

/// What a peer's config is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    pub listen: SocketAddr,
    /// For peers that cannot do without one (none so far listens on it from outside).
    pub admin: SocketAddr,
    pub origins: Vec<SocketAddr>,
    /// Path prefixes, each with a route of its own; none is one route for everything.
    pub routes: Vec<String>,
    pub transport: Transport,
    pub cpus: Vec<usize>,
    /// Where configs, logs and sockets go; made if it is not there.
    pub directory: PathBuf,
}

impl Setup {
    fn values(&self) -> Values {
        let text = |address: &SocketAddr| address.to_string();
        let transport = &self.transport;
        let single = BTreeMap::from([
            ("LISTEN", text(&self.listen)),
            ("LISTEN_HOST", self.listen.ip().to_string()),
            ("LISTEN_PORT", self.listen.port().to_string()),
            ("ADMIN", text(&self.admin)),
            ("ADMIN_HOST", self.admin.ip().to_string()),
            ("ADMIN_PORT", self.admin.port().to_string()),
            ("WORKERS", self.cpus.len().max(1).to_string()),
            ("CPUS", cpus::join(&self.cpus)),
            ("DIR", self.directory.display().to_string()),
            ("IDENTITY", transport.identity.as_deref().map(|path| path.display().to_string()).unwrap_or_default()),
        ]);
        // Lists that are asked only whether they are empty.
        let flag = |is_set: bool| if is_set { vec![String::new()] } else { Vec::new() };
        let ports = self.origins.iter().map(|origin| origin.port().to_string()).collect();
        let lists = BTreeMap::from([
            ("ORIGIN", self.origins.iter().map(text).collect()),
            ("ORIGIN_PORT", ports),
            ("ROUTE", self.routes.clone()),
            ("TLS", flag(transport.identity.is_some())),
            ("HTTPTWO", flag(transport.http2)),
            ("ORIGIN_HTTPTWO", flag(transport.origin_http2)),
            ("GRPC", flag(transport.grpc)),
            ("PINNED", self.cpus.iter().take(1).map(usize::to_string).collect()),
        ]);
        Values { single, lists }
    }
}

/// A peer that answers.
pub struct Started {
    /// None for direct.
    pub process: Option<Process>,
    pub targets: Vec<SocketAddr>,
    /// The config it runs with.
    pub config: String,
}

impl Peer {
    /// Writes the config, starts the program and waits until the caller's request is answered rightly.
    pub fn start(&self, setup: &Setup, assets: &Path, caller: &Caller) -> anyhow::Result<Started> {
        if self.kind == Kind::Direct {
            return Ok(Started { process: None, targets: setup.origins.clone(), config: String::new() });
        }
        fs::create_dir_all(&setup.directory)?;
        let setup = Setup { directory: fs::canonicalize(&setup.directory)?, ..setup.clone() };
        let values = setup.values();
        let mut config = None;
        for name in self.kind.templates() {
            let source = assets.join("peers").join(name);
            let text = fs::read_to_string(&source)
                .with_context(|| format!("cannot read {}; run from the repository's root", source.display()))?;
            let text = template::render(&text, &values).with_context(|| source.display().to_string())?;
            let path = setup.directory.join(name);
            fs::write(&path, &text)?;
            config.get_or_insert((path, text));
        }
        let Some((path, config)) = config else { bail!("{} has no config", self.name) };
        let log = setup.directory.join("log");
        let mut process = Process::start(self.command(&path, &setup), &setup.cpus, &log)?;
        let listen = setup.listen;
        process.wait_ready(|| caller.open(listen).map(drop)).with_context(|| format!("{} did not start", self.name))?;
        Ok(Started { process: Some(process), targets: vec![listen], config })
    }

    fn command(&self, config: &Path, setup: &Setup) -> Command {
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Ringway => {
                command.arg("run").arg(config);
            }
            // -db: stay in the foreground.
            Kind::Haproxy | Kind::HaproxySplice => {
                command.arg("-db").arg("-f").arg(config);
            }
            Kind::Nginx => {
                // The prefix keeps it from writing below /var; -e, from opening the compiled-in error log first.
                command.arg("-p").arg(&setup.directory).arg("-e").arg("stderr").arg("-c").arg(config);
            }
            Kind::Envoy => {
                let workers = setup.cpus.len().max(1).to_string();
                command.arg("-c").arg(config).args(["--concurrency", &workers, "-l", "error"]);
                // Hot restart needs shared memory that another Envoy on the machine may hold.
                command.arg("--disable-hot-restart");
            }
            Kind::Direct => {}
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Programs {
        Programs {
            ringway: vec!["new=/nowhere/new".into(), "/nowhere/ringway".into()],
            nginx: "sh".into(),
            haproxy: "/nowhere/haproxy".into(),
            envoy: None,
            assets: concat!(env!("CARGO_MANIFEST_DIR")).into(),
        }
    }

    #[test]
    fn what_is_not_installed_is_named_with_its_remedy() {
        let names = ["ringway", "haproxy", "nginx", "direct"].map(String::from);
        let (found, missing) = find(&names, &programs()).unwrap();
        assert_eq!(found.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["nginx", "direct"]);
        let missing: Vec<_> = missing.iter().map(|missing| (missing.name.as_str(), missing.remedy)).collect();
        assert_eq!(missing, [("new", BUILD), ("ringway", BUILD), ("haproxy", INSTALL)]);
        assert!(find(&["apache".to_owned()], &programs()).is_err());
    }

    #[test]
    fn every_template_renders_with_one_route_and_with_many() {
        let identity = Some("/identity".into());
        let tls_http2 = Transport { http2: true, identity, origin_http2: true, grpc: false };
        let routes = || vec!["/route-0000/".to_owned(), "/route-0001/".to_owned()];
        for (routes, transport) in [
            (Vec::new(), Transport::default()),
            (routes(), Transport::default()),
            (routes(), tls_http2.clone()),
            (Vec::new(), Transport { grpc: true, identity: None, ..tls_http2 }),
        ] {
            let setup = Setup {
                listen: "127.0.0.1:1000".parse().unwrap(),
                admin: "127.0.0.1:1001".parse().unwrap(),
                origins: vec!["127.0.0.1:2000".parse().unwrap(), "127.0.0.1:2001".parse().unwrap()],
                routes: routes.clone(),
                transport: transport.clone(),
                cpus: vec![0, 1],
                directory: "/dir".into(),
            };
            for kind in [Kind::Ringway, Kind::Haproxy, Kind::HaproxySplice, Kind::Nginx, Kind::Envoy] {
                let name = kind.templates()[0];
                let text = fs::read_to_string(programs().assets.join("peers").join(name)).unwrap();
                let config = template::render(&text, &setup.values()).unwrap_or_else(|e| panic!("{name}: {e:#}"));
                assert!(config.contains("1000") && config.contains("2000") && config.contains("2001"), "{name}");
                assert_eq!(config.contains("/identity/"), transport.identity.is_some(), "{name}");
                assert_eq!(
                    config.contains("/route-0001/"),
                    !routes.is_empty() && kind != Kind::Haproxy && kind != Kind::HaproxySplice,
                    "{name}"
                );
            }
        }
    }
}
