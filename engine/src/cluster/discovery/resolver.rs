//! From host names to addresses, with the time for which they are valid.

use super::settings::{Files, Settings, Source};
use crate::stats::DnsStats;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use ringway_config::model::LookupFamily;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The longest time of a whole lookup, with all its names, name servers and tries.
const LOOKUP_MAX: Duration = Duration::from_secs(15);

/// The result of a lookup. No address is an answer, too: the name does not exist (NXDOMAIN) or has no address of the family
/// (NODATA).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// In the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// The shortest TTL of all records, including those of aliases; `None` for addresses from the hosts file.
    pub ttl: Option<Duration>,
    /// With `LookupFamily::All`: the family whose lookup failed while that of the other found addresses.
    pub failed: Option<Family>,
    /// NXDOMAIN, for every name that was tried.
    pub no_such_name: bool,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addresses.as_slice() {
            [] if self.no_such_name => f.write_str("NXDOMAIN"),
            [] => f.write_str("no address"),
            [first, more @ ..] => {
                write!(f, "{first}")?;
                more.iter().try_for_each(|address| write!(f, " {address}"))
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn holds(self, address: &IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// A lookup that ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookupError {
    Timeout,
    /// SERVFAIL, REFUSED, no connection, not a host name, ...
    Failed(String),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timeout"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// One set of name servers, shared by all clusters that use it.
pub(super) struct Resolver {
    source: Source,
    settings: RefCell<Rc<Settings>>,
    /// The name server that answered last. It is asked first, so that a dead one costs its timeout only once.
    preferred: Cell<usize>,
    stats: Arc<DnsStats>,
}

impl Resolver {
    /// Empty `servers` stand for those of the system.
    pub(super) fn new(servers: &[SocketAddr], stats: Arc<DnsStats>) -> Rc<Self> {
        let source = if servers.is_empty() { Source::System(Files::default()) } else { Source::Own(servers.into()) };
        Self::from_source(source, stats)
    }

    fn from_source(source: Source, stats: Arc<DnsStats>) -> Rc<Self> {
        let settings = RefCell::new(Rc::new(Settings::read(&source)));
        Rc::new(Self { source, settings, preferred: Cell::new(0), stats })
    }

    /// The addresses of `host`.
    ///
    /// # Errors
    /// No name server gave an answer, neither yes nor no.
    pub(super) async fn lookup(&self, host: &str, family: LookupFamily) -> Result<Answer, LookupError> {
        let _pending = Pending::new(&self.stats);
        let settings = self.settings();
        let answer = match Name::from_str_relaxed(host) {
            Ok(name) => {
                let ask = async |family| self.search(&settings, &name, family).await;
                timeout(LOOKUP_MAX, by_family(family, ask)).await.unwrap_or(Err(LookupError::Timeout))
            }
            Err(error) => Err(LookupError::Failed(format!("not a host name: {error}"))),
        };
        self.stats.resolve_total.inc();
        match &answer {
            Ok(answer) if answer.addresses.is_empty() => self.stats.not_found.inc(),
            Ok(_) => {}
            Err(LookupError::Timeout) => self.stats.timeouts.inc(),
            Err(LookupError::Failed(_)) => self.stats.get_addr_failure.inc(),
        }
        answer
    }

    /// The system's files may have changed since the last lookup.
    fn settings(&self) -> Rc<Settings> {
        let stale = self.settings.borrow().stamp != self.source.stamp();
        if stale {
            self.settings.replace(Rc::new(Settings::read(&self.source)));
            self.preferred.set(0);
        }
        self.settings.borrow().clone()
    }

    /// The addresses of the first name of the search list that has any. The answer is no only if it is no for every name.
    async fn search(&self, settings: &Settings, name: &Name, family: Family) -> Result<Answer, LookupError> {
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        let mut failed = None;
        let mut no_such_name = true;
        for name in settings.candidates(name.clone()) {
            let query = Query::query(name.clone(), kind);
            if let Some(entry) = settings.hosts.lookup_static_host(&query) {
                return Ok(Answer { ttl: None, ..answer(entry.answers()) });
            }
            match self.ask(settings, &name, kind).await {
                Ok(answer) if answer.addresses.is_empty() => no_such_name &= answer.no_such_name,
                Ok(answer) => return Ok(answer),
                // The next name is not tried: it may mean another host than the one that did not answer in time.
                Err(LookupError::Timeout) => return Err(LookupError::Timeout),
                // Some name servers say SERVFAIL or REFUSED for foreign names, so the list continues.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(Answer { no_such_name, ..Answer::default() }), Err)
    }

    /// Asks the name servers for one name, in turn, until one of them answers.
    async fn ask(&self, settings: &Settings, name: &Name, kind: RecordType) -> Result<Answer, LookupError> {
        let count = settings.servers.len();
        let mut failed = LookupError::Failed("there is no name server".into());
        // Other lookups may change the preferred server meanwhile; this one asks each of them once.
        let first = self.preferred.get();
        for server in (0..settings.attempts * count).map(|turn| (first + turn) % count) {
            match ask_one(&settings.servers[server], name, kind).await {
                Ok(answer) => {
                    self.preferred.set(server);
                    return Ok(answer);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

async fn ask_one(server: &TokioResolver, name: &Name, kind: RecordType) -> Result<Answer, LookupError> {
    match server.lookup(name.clone(), kind).await {
        Ok(lookup) => Ok(answer(lookup.answers())),
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if none.response_code == ResponseCode::NoError && leads_on(server, none.query.name()).await =>
        {
            Err(LookupError::Failed("aliases lead in a circle, or on and on".into()))
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
        {
            Ok(Answer { no_such_name: none.response_code == ResponseCode::NXDomain, ..Answer::default() })
        }
        Err(NetError::Timeout) => Err(LookupError::Timeout),
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(LookupError::Failed(name_of(code))),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Err(LookupError::Failed(name_of(none.response_code))),
        Err(error) => Err(LookupError::Failed(error.to_string())),
    }
}

/// As name servers and their tools call it.
fn name_of(code: ResponseCode) -> String {
    match code {
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::Refused => "REFUSED".into(),
        code => code.to_string(),
    }
}

/// Whether `name`, at which a lookup ended without an address, is an alias still. Then the answer says nothing about the name
/// that was asked for. The library gives up after eight aliases and does not tell why.
async fn leads_on(server: &TokioResolver, name: &Name) -> bool {
    server.lookup(name.clone(), RecordType::CNAME).await.is_ok_and(|lookup| !lookup.answers().is_empty())
}

fn answer(records: &[Record]) -> Answer {
    let mut addresses = Vec::new();
    for address in records.iter().filter_map(|record| record.data.ip_addr()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let ttl = records.iter().map(|record| record.ttl).min().map(|seconds| Duration::from_secs(seconds.into()));
    Answer { addresses, ttl, ..Answer::default() }
}

/// Envoy: DnsLookupFamily. Where one family is preferred the other one is asked only when the first has no address or
/// no answer; where neither has an address, a failure of either is a failure.
async fn by_family(
    family: LookupFamily,
    ask: impl AsyncFn(Family) -> Result<Answer, LookupError>,
) -> Result<Answer, LookupError> {
    let (first, second) = match family {
        LookupFamily::V4Only => return ask(Family::V4).await,
        LookupFamily::V6Only => return ask(Family::V6).await,
        LookupFamily::Auto => (Family::V6, Family::V4),
        LookupFamily::V4Preferred => (Family::V4, Family::V6),
        LookupFamily::All => {
            let (v4, v6) = tokio::join!(ask(Family::V4), ask(Family::V6));
            return both(v4, v6);
        }
    };
    let preferred = ask(first).await;
    if preferred.as_ref().is_ok_and(|answer| !answer.addresses.is_empty()) {
        return preferred;
    }
    let other = ask(second).await?;
    if other.addresses.is_empty() { preferred } else { Ok(other) }
}

fn both(v4: Result<Answer, LookupError>, v6: Result<Answer, LookupError>) -> Result<Answer, LookupError> {
    match (v4, v6) {
        (Ok(mut v4), Ok(v6)) => {
            v4.addresses.extend(v6.addresses);
            v4.ttl = [v4.ttl, v6.ttl].into_iter().flatten().min();
            Ok(v4)
        }
        (Ok(v4), Err(_)) if !v4.addresses.is_empty() => Ok(Answer { failed: Some(Family::V6), ..v4 }),
        (Err(_), Ok(v6)) if !v6.addresses.is_empty() => Ok(Answer { failed: Some(Family::V4), ..v6 }),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// Counts a lookup while it runs, also when it is given up.
struct Pending<'a>(&'a DnsStats);

impl<'a> Pending<'a> {
    fn new(stats: &'a DnsStats) -> Self {
        stats.pending_resolutions.inc();
        Self(stats)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending_resolutions.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Result<Answer, LookupError> = Err(LookupError::Timeout);

    fn found(addresses: &[&str], ttl: u64) -> Result<Answer, LookupError> {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        Ok(Answer { addresses, ttl: Some(Duration::from_secs(ttl)), ..Answer::default() })
    }

    fn nothing() -> Result<Answer, LookupError> {
        Ok(Answer::default())
    }

    /// What comes out for what each family's lookup gives, and which of them were asked.
    fn resolve(
        family: LookupFamily,
        v4: Result<Answer, LookupError>,
        v6: Result<Answer, LookupError>,
    ) -> (Result<Answer, LookupError>, Vec<Family>) {
        let asked = RefCell::new(Vec::new());
        let ask = async |family| {
            asked.borrow_mut().push(family);
            match family {
                Family::V4 => v4.clone(),
                Family::V6 => v6.clone(),
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let result = runtime.block_on(by_family(family, ask));
        (result, asked.into_inner())
    }

    #[test]
    fn families_are_asked_in_envoys_order() {
        use Family::{V4, V6};
        let (one, two) = (found(&["192.0.2.1"], 9), found(&["2001:db8::1"], 7));
        let resolve = |family| resolve(family, one.clone(), two.clone());
        assert_eq!(resolve(LookupFamily::V4Only), (one.clone(), vec![V4]));
        assert_eq!(resolve(LookupFamily::V6Only), (two.clone(), vec![V6]));
        assert_eq!(resolve(LookupFamily::Auto), (two.clone(), vec![V6]));
        assert_eq!(resolve(LookupFamily::V4Preferred), (one.clone(), vec![V4]));
        assert_eq!(resolve(LookupFamily::All), (found(&["192.0.2.1", "2001:db8::1"], 7), vec![V4, V6]));
    }

    #[test]
    fn the_other_family_steps_in() {
        let one = found(&["192.0.2.1"], 9);
        for first in [nothing(), TIMEOUT] {
            assert_eq!(resolve(LookupFamily::Auto, one.clone(), first.clone()).0, one);
            assert_eq!(resolve(LookupFamily::V4Preferred, first, one.clone()).0, one);
        }
        assert_eq!(resolve(LookupFamily::V6Only, one, nothing()).0, nothing());
    }

    #[test]
    fn no_is_only_an_answer_when_both_say_so() {
        for family in [LookupFamily::Auto, LookupFamily::V4Preferred, LookupFamily::All] {
            assert_eq!(resolve(family, nothing(), nothing()).0, nothing(), "{family:?}");
            assert_eq!(resolve(family, TIMEOUT, nothing()).0, TIMEOUT, "{family:?}");
            assert_eq!(resolve(family, nothing(), TIMEOUT).0, TIMEOUT, "{family:?}");
        }
    }

    /// What the log says of an answer.
    #[test]
    fn answers_are_told_as_name_servers_call_them() {
        assert_eq!(nothing().expect("an answer").to_string(), "no address");
        assert_eq!(Answer { no_such_name: true, ..Answer::default() }.to_string(), "NXDOMAIN");
        let two = found(&["192.0.2.1", "2001:db8::1"], 7).expect("an answer");
        assert_eq!(two.to_string(), "192.0.2.1 2001:db8::1");
        assert_eq!(LookupError::Timeout.to_string(), "timeout");
        let codes = [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::FormErr, ResponseCode::NotImp];
        assert_eq!(codes.map(name_of), ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"]);
    }

    #[test]
    fn half_an_answer_says_which_half_is_missing() {
        let half = resolve(LookupFamily::All, found(&["192.0.2.1"], 9), TIMEOUT).0.expect("half");
        assert_eq!((half.addresses.len(), half.failed), (1, Some(Family::V6)));
        let half = resolve(LookupFamily::All, TIMEOUT, found(&["2001:db8::1"], 9)).0.expect("half");
        assert_eq!((half.addresses.len(), half.failed), (1, Some(Family::V4)));
    }
}
