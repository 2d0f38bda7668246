//! The settings of a resolver: name servers, search list and hosts file, from the configuration or from the system.

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// The time for one try of a name server from the configuration, in which UDP packets are sent again.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Rounds through the name servers of the configuration.
const ATTEMPTS: usize = 2;
/// resolv.conf(5): no `options attempts` above this.
const ATTEMPTS_MAX: usize = 5;

/// The origin of the settings.
#[derive(Debug)]
pub(super) enum Source {
    /// Name servers of the configuration. Names are looked up as they are written: no search list, no hosts file.
    Own(Vec<SocketAddr>),
    /// The system's, as for other programs of this host.
    System(Files),
}

/// The system's files.
#[derive(Debug)]
pub(super) struct Files {
    pub resolv_conf: PathBuf,
    pub hosts: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into() }
    }
}

/// When each of the files was changed; `None` where it does not exist.
pub(super) type Stamp = [Option<SystemTime>; 2];

impl Source {
    pub(super) fn stamp(&self) -> Stamp {
        match self {
            Self::Own(_) => [None; 2],
            Self::System(files) => [&files.resolv_conf, &files.hosts]
                .map(|path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()),
        }
    }
}

pub(super) struct Settings {
    /// One resolver for each name server, since their order and their failures are handled here. Never empty.
    pub servers: Vec<TokioResolver>,
    /// Rounds through the name servers.
    pub attempts: usize,
    pub search: Vec<Name>,
    /// The number of dots from which on a name is first tried as it is.
    pub ndots: usize,
    pub hosts: Hosts,
    pub stamp: Stamp,
}

impl Settings {
    pub(super) fn read(source: &Source) -> Self {
        // Before the files are read: a change during the reading is then seen next time.
        let stamp = source.stamp();
        match source {
            Source::Own(addresses) => {
                let mut options = ResolverOpts::default();
                (options.timeout, options.attempts) = (TIMEOUT, ATTEMPTS);
                let servers = addresses.iter().map(|address| name_server(*address));
                Self::new(servers.collect(), Vec::new(), &options, Hosts::default(), stamp)
            }
            Source::System(files) => {
                let (config, options) = std::fs::read(&files.resolv_conf)
                    .map_err(|error| error.to_string())
                    .and_then(|text| parse_resolv_conf(text).map_err(|error| error.to_string()))
                    .unwrap_or_else(|error| {
                        // resolv.conf(5): without the file, or without a name server in it, the local one is asked.
                        tracing::debug!(target: "ringway::dns", %error, "no name server in {}", files.resolv_conf.display());
                        let local = name_server((Ipv4Addr::LOCALHOST, 53).into());
                        (ResolverConfig::from_parts(None, Vec::new(), vec![local]), ResolverOpts::default())
                    });
                let mut hosts = Hosts::default();
                if let Err(error) = std::fs::File::open(&files.hosts).and_then(|file| hosts.read_hosts_conf(file)) {
                    tracing::debug!(target: "ringway::dns", %error, "{} is not read", files.hosts.display());
                }
                let (domain, mut search, servers) = config.into_parts();
                if search.is_empty() {
                    search.extend(domain);
                }
                Self::new(servers, search, &options, hosts, stamp)
            }
        }
    }

    fn new(
        servers: Vec<NameServerConfig>,
        search: Vec<Name>,
        options: &ResolverOpts,
        hosts: Hosts,
        stamp: Stamp,
    ) -> Self {
        let attempts = options.attempts.clamp(1, ATTEMPTS_MAX);
        let servers = servers.into_iter().filter_map(|server| resolver(server, options));
        Self { servers: servers.collect(), attempts, search, ndots: options.ndots, hosts, stamp }
    }

    /// The names to ask for in place of `name`, in order (resolv.conf(5), `search` and `ndots`).
    pub(super) fn candidates(&self, mut name: Name) -> Vec<Name> {
        if name.is_fqdn() {
            return vec![name];
        }
        let searched = self.search.iter().filter_map(|domain| {
            let mut name = name.clone().append_domain(domain).ok()?;
            name.set_fqdn(true);
            Some(name)
        });
        let mut candidates: Vec<Name> = if name.is_localhost() { Vec::new() } else { searched.collect() };
        let first = usize::from(name.num_labels()).saturating_sub(1) >= self.ndots;
        name.set_fqdn(true);
        candidates.insert(if first { 0 } else { candidates.len() }, name);
        candidates
    }
}

/// A name server that is asked over UDP, and over TCP after a truncated answer.
fn name_server(address: SocketAddr) -> NameServerConfig {
    let over = |protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = address.port();
        connection
    };
    let ip: IpAddr = address.ip();
    NameServerConfig::new(ip, true, vec![over(ProtocolConfig::Udp), over(ProtocolConfig::Tcp)])
}

/// `None` where the library refuses, which happens only with TLS.
fn resolver(server: NameServerConfig, options: &ResolverOpts) -> Option<TokioResolver> {
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let own = builder.options_mut();
    own.timeout = options.timeout;
    own.edns0 = options.edns0;
    // Rounds, the hosts file and the cache are not the library's: TTLs decide here when to ask again.
    own.attempts = 0;
    own.cache_size = 0;
    own.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
    builder.build().inspect_err(|error| tracing::error!(target: "ringway::dns", %error, "no resolver")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::op::Query;
    use hickory_resolver::proto::rr::RecordType;

    fn system(resolv_conf: &str, hosts: &str) -> (tempfile::TempDir, Source) {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files { resolv_conf: dir.path().join("resolv.conf"), hosts: dir.path().join("hosts") };
        std::fs::write(&files.resolv_conf, resolv_conf).expect("written");
        std::fs::write(&files.hosts, hosts).expect("written");
        (dir, Source::System(files))
    }

    fn candidates(settings: &Settings, name: &str) -> Vec<String> {
        let name = Name::from_str_relaxed(name).expect("a name");
        settings.candidates(name).iter().map(Name::to_string).collect()
    }

    #[test]
    fn the_search_list_follows_resolv_conf() {
        let text = "nameserver 127.0.0.7\nnameserver 127.0.0.8\nsearch a.test b.test\noptions ndots:2 attempts:9\n";
        let (_dir, source) = system(text, "");
        let settings = Settings::read(&source);
        assert_eq!((settings.servers.len(), settings.attempts), (2, ATTEMPTS_MAX));
        assert_eq!(candidates(&settings, "app"), ["app.a.test.", "app.b.test.", "app."]);
        assert_eq!(candidates(&settings, "app.x"), ["app.x.a.test.", "app.x.b.test.", "app.x."]);
        assert_eq!(candidates(&settings, "app.x.y"), ["app.x.y.", "app.x.y.a.test.", "app.x.y.b.test."]);
        assert_eq!(candidates(&settings, "app."), ["app."]);
        assert_eq!(candidates(&settings, "localhost"), ["localhost."]);
        assert_eq!(candidates(&settings, "my_app.x.y")[0], "my_app.x.y.", "an underscore is no obstacle");
    }

    #[test]
    fn names_are_asked_as_written_where_the_name_servers_are_given() {
        let settings = Settings::read(&Source::Own(vec![(Ipv4Addr::LOCALHOST, 5353).into()]));
        assert_eq!(candidates(&settings, "app"), ["app."]);
        assert_eq!(settings.servers.len(), 1);
    }

    #[test]
    fn files_that_are_missing_mean_the_name_server_of_this_host() {
        let files = Files { resolv_conf: "/nowhere/resolv.conf".into(), hosts: "/nowhere/hosts".into() };
        let settings = Settings::read(&Source::System(files));
        assert_eq!((settings.servers.len(), settings.stamp), (1, [None, None]));
    }

    #[test]
    fn the_hosts_file_is_read_and_its_change_noticed() {
        let (dir, source) = system("nameserver 127.0.0.7\n", "192.0.2.1 one.test alias # comment\n::2 one.test\n");
        let settings = Settings::read(&source);
        assert_eq!(settings.stamp, source.stamp());
        let find = |name: &str, kind| {
            let query = Query::query(Name::from_ascii(name).expect("a name"), kind);
            settings.hosts.lookup_static_host(&query).map(|lookup| lookup.answers().len())
        };
        assert_eq!(find("one.test.", RecordType::A), Some(1));
        assert_eq!(find("one.test.", RecordType::AAAA), Some(1));
        assert_eq!(find("alias.", RecordType::A), Some(1));
        assert_eq!(find("two.test.", RecordType::A), None);
        let later = SystemTime::now() + Duration::from_secs(5);
        let file = std::fs::File::options().write(true).open(dir.path().join("hosts")).expect("there");
        file.set_modified(later).expect("set");
        assert_ne!(settings.stamp, source.stamp());
    }
}
