//! TLS on either side: which keys belong together, and which versions can be spoken with what is listed.

mod validation;

use std::collections::HashMap;
use std::sync::Arc;

use super::cluster::transport::tls_of;
use super::{Resolver, is_written};
use crate::diagnostic::Problem;
use crate::document::{self, EndpointEntry, all_groups, all_suites, group_name, suite_name};
use crate::model::{
    Address, Certificate, CipherSuite, CodecType, DownstreamTls, EndpointTarget, Group, KeyLog, Needed,
    OcspStaplePolicy, PemFile, TlsParameters, TlsVersion, UpstreamProtocol, UpstreamTls,
};
use crate::place::Origin;
use crate::reader::{FilePath, List, Located, Slot};

const ALL_VERSIONS: [TlsVersion; 2] = [TlsVersion::V1_2, TlsVersion::V1_3];

/// Application protocols that are agreed on (ALPN), best first.
const PROTOCOLS: &[&str] = &["h2", "http/1.1"];

/// The keys of `TlsParameters` in a table.
struct Written<'d> {
    min_version: &'d Located<TlsVersion>,
    max_version: &'d Located<TlsVersion>,
    cipher_suites: &'d Slot<List<CipherSuite>>,
    groups: &'d Slot<List<Group>>,
}

/// Keys that name a certificate and its private key.
struct WrittenPair<'d> {
    certificate: &'d Slot<FilePath>,
    key: &'d Slot<FilePath>,
    ocsp_staple: Option<&'d Slot<FilePath>>,
    /// Whether one of them may be misspelt.
    has_unknown: bool,
}

impl<'d> Resolver<'d, '_, '_> {
    /// `codec`: what is spoken above it.
    pub(super) fn downstream_tls(
        &mut self,
        slot: &'d Slot<document::DownstreamTls>,
        codec: CodecType,
    ) -> Option<Arc<DownstreamTls>> {
        let written = slot.given()?;
        let certificates = self.certificates(written);
        self.check_staples(written);
        let parameters = self.parameters(&Written {
            min_version: &written.min_version,
            max_version: &written.max_version,
            cipher_suites: &written.cipher_suites,
            groups: &written.groups,
        });
        let hint = "leave it out for what `codec_type` says";
        self.refuse_empty(&written.alpn_protocols, "`alpn_protocols` names no protocol", hint);
        self.refuse_twice(&written.alpn_protocols, |protocol| protocol.0.clone());
        for protocol in written.alpn_protocols.items().iter().filter(|protocol| !is_spoken(&protocol.0, codec)) {
            let name = &protocol.0;
            let message = format!("`{name}` would be agreed on with clients, but `codec_type` of `http` excludes it");
            let hint = "leave it out here, or write codec_type = \"auto\"";
            self.problems.push(Problem::at(&protocol.origin, message).hint(Some(hint)));
        }
        let client_certificate = written.client_certificate.given().map(|written| self.client_certificate(written));
        let tickets = &written.session_tickets;
        if tickets.value && is_written(&tickets.origin, &written.origin) && client_certificate.is_some() {
            let message =
                "`session_tickets` has no effect: a client with a certificate makes a full handshake each time";
            let hint = "remove it, or `client_certificate`";
            self.problems.warn(Problem::at_key(&tickets.origin, message).hint(Some(hint)));
        }
        let session_ticket_keys = self.ticket_keys(written, client_certificate.is_some());
        let mut alpn_protocols = written.alpn_protocols.values();
        if alpn_protocols.is_empty() {
            let spoken = PROTOCOLS.iter().filter(|name| is_spoken(name, codec));
            alpn_protocols.extend(spoken.map(|name| (*name).to_owned()));
        }
        Some(Arc::new(DownstreamTls {
            place: self.place_of_value(&written.origin),
            certificates,
            strict_sni: written.strict_sni.value,
            ocsp_staple_policy: written.ocsp_staple_policy.value.0,
            parameters,
            alpn_protocols,
            session_tickets: written.session_tickets.value,
            session_ticket_keys,
            client_certificate,
            key_log: written.key_log.given().map(|written| self.key_log(written)),
            handshake_timeout: written.handshake_timeout.0,
        }))
    }

    fn key_log(&mut self, written: &'d Located<document::KeyLog>) -> KeyLog {
        let path = written.path.given().map(|path| self.directory.join(&path.0)).unwrap_or_default();
        if let Some(origin) = written.path.origin() {
            let message =
                "the keys of connections are written to this file: with it, their recorded traffic can be read";
            let problem = Problem::at(origin, message);
            self.problems
                .warn(problem.hint(Some("remove `key_log` when it has served its purpose, and the file with it")));
            self.need(origin, Needed::EventLog(path.clone()));
        }
        let lists = [
            ("local_address_range", &written.local_address_range),
            ("remote_address_range", &written.remote_address_range),
        ];
        for (name, list) in lists {
            self.refuse_empty(list, &format!("`{name}` names no range"), "leave it out for every address");
        }
        KeyLog {
            path,
            local_address_range: written.local_address_range.values(),
            remote_address_range: written.remote_address_range.values(),
        }
    }

    fn ticket_keys(&mut self, written: &'d Located<document::DownstreamTls>, asks_clients: bool) -> Vec<PemFile> {
        let keys = &written.session_ticket_keys;
        self.refuse_empty(keys, "`session_ticket_keys` names no file", "leave it out for random keys");
        self.refuse_twice(keys, |path| path.0.display().to_string());
        let why = match (written.session_tickets.value, asks_clients) {
            (false, _) => Some("`session_tickets` is false"),
            (true, true) => Some("a client with a certificate makes a full handshake each time"),
            (true, false) => None,
        };
        if let (Some(origin), Some(why)) = (keys.origin(), why) {
            let problem = Problem::at_key(origin, format!("`session_ticket_keys` has no effect: {why}"));
            self.problems.warn(problem.hint(Some("remove it")));
            return Vec::new();
        }
        keys.items().iter().map(|file| self.pem(file)).collect()
    }

    pub(super) fn upstream_tls(
        &mut self,
        written: &'d Located<document::UpstreamTls>,
        protocol: UpstreamProtocol,
    ) -> UpstreamTls {
        let validation = self.endpoint_validation(written);
        let resumption = &written.session_resumption;
        if resumption.value && is_written(&resumption.origin, &written.origin) && validation.crl.is_some() {
            let message = "`session_resumption` has no effect: with `crl`, each connection looks the certificate up";
            let problem = Problem::at_key(&resumption.origin, message);
            self.problems.warn(problem.hint(Some("remove it, or `crl`")));
        }
        let pair = WrittenPair {
            certificate: &written.certificate,
            key: &written.key,
            ocsp_staple: None,
            has_unknown: written.has_unknown,
        };
        let certificate = self.pair(&pair);
        let parameters = self.parameters(&Written {
            min_version: &written.min_version,
            max_version: &written.max_version,
            cipher_suites: &written.cipher_suites,
            groups: &written.groups,
        });
        if let Some(sni) = written.sni.origin().filter(|_| written.auto_sni.value) {
            let problem = Problem::at_key(sni, "`sni` and `auto_sni` exclude each other");
            let problem = problem.earlier_at(written.auto_sni.origin.key.start);
            self.problems.push(problem.hint(Some("remove `sni`: the name is that in the Host of each request")));
        }
        if !validation.accept_untrusted && !validation.has_pins() && written.ca.origin().is_none() {
            self.need(&written.origin, Needed::Authorities);
        }
        UpstreamTls {
            place: self.place_of_value(&written.origin),
            sni: written.sni.value(),
            auto_sni: written.auto_sni.value,
            validation,
            certificate,
            parameters,
            session_resumption: written.session_resumption.value,
            alpn_protocols: match protocol {
                UpstreamProtocol::Http1 => &[],
                UpstreamProtocol::Http2 => &["h2"],
                UpstreamProtocol::Auto => PROTOCOLS,
            },
        }
    }

    /// Warns of ports that are known to speak what the cluster does not: 443 without TLS, and 80 with it.
    pub(super) fn check_ports(&mut self, cluster: &'d Located<document::Cluster>) {
        let items = cluster.endpoints.items().iter();
        let ports: Vec<_> = items
            .filter_map(|entry| {
                let (address, tls) = (entry.address()?, tls_of(cluster, entry)?);
                Some((port(&address.0), &address.origin, tls))
            })
            .collect();
        for (_, origin, _) in ports.iter().filter(|(port, _, tls)| *port == Some(443) && tls.origin().is_none()) {
            let message = "port 443 is that of HTTPS, and the cluster speaks plain text";
            let hint = "add tls = {} to the cluster, and `sni` if its certificate has another name";
            self.problems.warn(Problem::at(origin, message).hint(Some(hint)));
        }
        let Some(tls) = cluster.tls.origin() else { return };
        let mut own = ports.iter().filter(|(_, _, slot)| std::ptr::eq(*slot, &cluster.tls)).peekable();
        if own.peek().is_some() && own.all(|(port, _, _)| *port == Some(80)) {
            let message = "the cluster speaks TLS, and every endpoint has port 80, that of plain HTTP";
            let hint = "write the port that speaks TLS, such as 443, or remove `tls`";
            self.problems.warn(Problem::at_key(tls, message).hint(Some(hint)));
        }
    }

    /// A certificate is for a name or an IP address, and the path of a socket is neither.
    pub(super) fn check_names(&mut self, cluster: &'d Located<document::Cluster>) {
        let has_name =
            |tls: &&Located<document::UpstreamTls>| tls.sni.origin().is_some() || tls.auto_sni.value || tls.has_unknown;
        let is_nameless = |entry: &&Located<EndpointEntry>| {
            entry.table().is_none_or(|endpoint| endpoint.hostname.origin().is_none() && !endpoint.has_unknown)
        };
        let needs_name = |entry: &&Located<EndpointEntry>| {
            let tls = tls_of(cluster, entry).and_then(|tls| tls.given());
            tls.is_some_and(|tls| !has_name(&tls))
        };
        let nameless = cluster.endpoints.items().iter().filter(needs_name).filter(is_nameless);
        for address in nameless.filter_map(|entry| entry.address()) {
            if let EndpointTarget::Address(Address::Unix(path)) = &address.0 {
                let message = format!("no certificate can be for unix:{}: it has no name", path.display());
                let hint = "write tls = { sni = \"app.internal\" }, or give the endpoint a `hostname`";
                self.problems.push(Problem::at(&address.origin, message).hint(Some(hint)));
            }
        }
    }

    /// The certificates of a listener, in one of the two forms.
    fn certificates(&mut self, written: &'d Located<document::DownstreamTls>) -> Vec<Certificate> {
        let Some(list) = written.certificates.origin() else {
            let pair = WrittenPair {
                certificate: &written.certificate,
                key: &written.key,
                ocsp_staple: Some(&written.ocsp_staple),
                has_unknown: written.has_unknown,
            };
            let is_missing = pair.certificate.origin().is_none() && pair.key.origin().is_none();
            if is_missing && !written.has_unknown {
                let problem = Problem::at(&written.origin, "there is no certificate to show to clients");
                let hint = "name its file and that of its key: tls = { certificate = \"cert.pem\", key = \"key.pem\" }";
                self.problems.push(problem.allowed("certificate and key, or certificates").hint(Some(hint)));
            }
            return self.pair(&pair).into_iter().collect();
        };
        let single =
            [("certificate", &written.certificate), ("key", &written.key), ("ocsp_staple", &written.ocsp_staple)];
        for (name, slot) in single {
            if let Some(origin) = slot.origin() {
                let message = format!("`{name}` and `certificates` exclude each other");
                let problem = Problem::at_key(origin, message).earlier_at(list.key.start);
                let hint =
                    "write the pair into the list: certificates = [{ certificate = \"...\", key = \"...\" }, ...]";
                self.problems.push(problem.hint(Some(hint)));
            }
        }
        let hint = "list at least one pair: { certificate = \"cert.pem\", key = \"key.pem\" }";
        self.refuse_empty(&written.certificates, "`certificates` names no certificate", hint);
        let mut first = HashMap::new();
        let mut certificates = Vec::new();
        for pair in written.certificates.items() {
            if let Some(path) = pair.certificate.given() {
                let path_text = self.directory.join(&path.0);
                self.unique(&mut first, path_text, &path.origin, |path| {
                    format!("the certificate {} is listed twice", path.display())
                });
            }
            let pair = WrittenPair {
                certificate: &pair.certificate,
                key: &pair.key,
                ocsp_staple: Some(&pair.ocsp_staple),
                has_unknown: true,
            };
            certificates.extend(self.pair(&pair));
        }
        certificates
    }

    /// A certificate and its key, if both are written.
    fn pair(&mut self, pair: &WrittenPair<'d>) -> Option<Certificate> {
        let both = [("certificate", pair.certificate), ("key", pair.key)];
        for ((name, written), (other, missing)) in [(both[0], both[1]), (both[1], both[0])] {
            if let (Some(origin), None, false) = (written.origin(), missing.origin(), pair.has_unknown) {
                let message = format!("`{name}` is written without `{other}`");
                let hint = match other {
                    "key" => "add key = \"key.pem\", the file with its private key; it may be the same file",
                    _ => "add certificate = \"cert.pem\", the file with its certificate; it may be the same file",
                };
                self.problems.push(Problem::at_key(origin, message).hint(Some(hint)));
            }
        }
        let staple = pair.ocsp_staple.and_then(|staple| staple.given());
        let (certificate, key) = (pair.certificate.given()?, pair.key.given()?);
        Some(Certificate {
            chain: self.pem(certificate),
            key: self.pem(key),
            ocsp_staple: staple.map(|staple| self.pem(staple)),
        })
    }

    /// Under `must_staple`, every certificate has one; without any, there is nothing to be strict about.
    fn check_staples(&mut self, written: &'d Located<document::DownstreamTls>) {
        let policy = &written.ocsp_staple_policy;
        let single = (&written.certificate, &written.ocsp_staple, written.has_unknown);
        let pairs = written.certificates.items().iter();
        let listed = pairs.map(|pair| (&pair.certificate, &pair.ocsp_staple, pair.has_unknown));
        let all: Vec<_> = listed.chain([single]).collect();
        match policy.value.0 {
            OcspStaplePolicy::Lenient => {}
            OcspStaplePolicy::Strict => {
                if all.iter().all(|(_, staple, has_unknown)| staple.origin().is_none() && !has_unknown) {
                    let message = "`ocsp_staple_policy` has no effect: no certificate has an `ocsp_staple`";
                    let hint = "add ocsp_staple = \"cert.ocsp.der\" next to `certificate`, or remove it";
                    self.problems.warn(Problem::at_key(&policy.origin, message).hint(Some(hint)));
                }
            }
            OcspStaplePolicy::Must => {
                for (certificate, staple, has_unknown) in all {
                    if let (Some(origin), None, false) = (certificate.origin(), staple.origin(), has_unknown) {
                        let message = "this certificate has no `ocsp_staple`, and `ocsp_staple_policy` asks for one";
                        let problem = Problem::at_key(origin, message).earlier_at(policy.origin.key.start);
                        let hint =
                            "add ocsp_staple = \"cert.ocsp.der\" next to it, or make the policy \"strict_stapling\"";
                        self.problems.push(problem.hint(Some(hint)));
                    }
                }
            }
        }
    }

    /// A file that TLS reads; its place is that of the need.
    fn pem(&mut self, written: &Located<FilePath>) -> PemFile {
        let path = self.directory.join(&written.0);
        self.need(&written.origin, Needed::Pem(path.clone()));
        PemFile { path, place: self.place_of_value(&written.origin) }
    }

    fn parameters(&mut self, written: &Written<'d>) -> TlsParameters {
        let (min_version, max_version) = (written.min_version.value, written.max_version.value);
        let permitted: Vec<_> =
            ALL_VERSIONS.into_iter().filter(|version| (min_version..=max_version).contains(version)).collect();
        if permitted.is_empty() {
            let problem = Problem::at(&written.min_version.origin, "`min_version` is above `max_version`");
            let problem = problem.earlier_at(written.max_version.origin.key.start);
            self.problems.push(problem.hint(Some("leave one of them out, or write the same version twice")));
        }
        let hint = "leave it out for all that are supported";
        self.refuse_empty(written.cipher_suites, "`cipher_suites` names no cipher suite", hint);
        self.refuse_empty(written.groups, "`groups` names no group", hint);
        self.refuse_twice(written.cipher_suites, |suite| suite_name(*suite).to_owned());
        self.refuse_twice(written.groups, |group| group_name(*group).to_owned());
        self.check_suites(written.cipher_suites, &permitted);
        self.check_groups(written.groups, &permitted);
        let or_all = |list: Vec<CipherSuite>| if list.is_empty() { all_suites() } else { list };
        let groups: Vec<Group> = written.groups.items().iter().map(|group| group.value).collect();
        TlsParameters {
            min_version,
            max_version,
            cipher_suites: or_all(written.cipher_suites.items().iter().map(|suite| suite.value).collect()),
            groups: if groups.is_empty() { all_groups() } else { groups },
        }
    }

    /// Reports members of a list that have the same name.
    fn refuse_twice<T>(&mut self, list: &'d Slot<List<T>>, name: impl Fn(&T) -> String) {
        let mut first: HashMap<String, &Origin> = HashMap::new();
        for member in list.items() {
            self.unique(&mut first, name(&member.value), &member.origin, |name| format!("{name} is listed twice"));
        }
    }

    /// Every version that is permitted needs a suite, and a suite of a version that is not has no effect.
    fn check_suites(&mut self, suites: &'d Slot<List<CipherSuite>>, permitted: &[TlsVersion]) {
        let complete = |list: &&Located<List<CipherSuite>>| !list.is_empty && !list.is_incomplete;
        let Some(list) = suites.given().filter(complete).filter(|_| !permitted.is_empty()) else { return };
        for version in permitted {
            if list.items.iter().any(|suite| version_of(suite.value) == *version) {
                continue;
            }
            let name = version_name(*version);
            let suites = match version {
                TlsVersion::V1_3 => "\"TLS_AES_128_GCM_SHA256\"",
                TlsVersion::V1_2 => "\"ECDHE-ECDSA-AES128-GCM-SHA256\" and \"ECDHE-RSA-AES128-GCM-SHA256\"",
            };
            let (message, otherwise) = match (permitted.len(), version) {
                (1, _) => {
                    let message =
                        format!("no version is left: only TLS {name} is permitted, and none of these is a suite of it");
                    (message, "leave `cipher_suites` out")
                }
                (_, TlsVersion::V1_3) => (never_spoken(name), "write max_version = \"1.2\""),
                (_, TlsVersion::V1_2) => (never_spoken(name), "write min_version = \"1.3\""),
            };
            let problem = Problem::at(&list.origin, message);
            self.problems.push(problem.hint(Some(format!("add {suites}, or {otherwise}"))));
        }
        for suite in list.items.iter().filter(|suite| !permitted.contains(&version_of(suite.value))) {
            let version = version_name(version_of(suite.value));
            let name = suite_name(suite.value);
            let message = format!("`{name}` has no effect: it is a suite of TLS {version}, which is not permitted");
            let hint = "remove it, or change `min_version` or `max_version`";
            self.problems.warn(Problem::at(&suite.origin, message).hint(Some(hint)));
        }
    }

    /// TLS 1.2 needs a group that it knows: X25519MLKEM768 exists in TLS 1.3 only.
    fn check_groups(&mut self, groups: &'d Slot<List<Group>>, permitted: &[TlsVersion]) {
        let complete = |list: &&Located<List<Group>>| !list.is_empty && !list.is_incomplete;
        let Some(list) = groups.given().filter(complete) else { return };
        let is_hybrid = |group: &Located<Group>| group.value == Group::X25519MlKem768;
        if !permitted.contains(&TlsVersion::V1_2) || !list.items.iter().all(is_hybrid) {
            return;
        }
        let (message, hint) = if permitted.len() == 1 {
            let message = "no group is left: only TLS 1.2 is permitted, and X25519MLKEM768 is a group of TLS 1.3";
            (message.to_owned(), "add \"X25519\", or leave `groups` out")
        } else {
            let message = "TLS 1.2 would never be spoken: X25519MLKEM768 is a group of TLS 1.3";
            (message.to_owned(), "add \"X25519\", or write min_version = \"1.3\"")
        };
        self.problems.push(Problem::at(&list.origin, message).hint(Some(hint)));
    }
}

fn port(target: &EndpointTarget) -> Option<u16> {
    match target {
        EndpointTarget::Name { port, .. } => Some(*port),
        EndpointTarget::Address(Address::Ip(address)) => Some(address.port()),
        EndpointTarget::Address(Address::Unix(_)) => None,
    }
}

fn never_spoken(version: &str) -> String {
    format!("TLS {version} would never be spoken: none of these is a suite of it, and the list is for both versions")
}

fn version_name(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::V1_2 => "1.2",
        TlsVersion::V1_3 => "1.3",
    }
}

fn version_of(suite: CipherSuite) -> TlsVersion {
    match suite {
        CipherSuite::Aes128GcmSha256 | CipherSuite::Aes256GcmSha384 | CipherSuite::Chacha20Poly1305Sha256 => {
            TlsVersion::V1_3
        }
        CipherSuite::EcdheEcdsaAes128GcmSha256
        | CipherSuite::EcdheEcdsaAes256GcmSha384
        | CipherSuite::EcdheEcdsaChacha20Poly1305
        | CipherSuite::EcdheRsaAes128GcmSha256
        | CipherSuite::EcdheRsaAes256GcmSha384
        | CipherSuite::EcdheRsaChacha20Poly1305 => TlsVersion::V1_2,
    }
}

/// Whether a connection that has agreed on this name can be served.
fn is_spoken(name: &str, codec: CodecType) -> bool {
    match codec {
        CodecType::Auto => true,
        CodecType::Http1 => name != "h2",
        CodecType::Http2 => name == "h2",
    }
}
