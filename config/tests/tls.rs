//! What `tls` of listeners, filter chains and clusters means: the model that the engine gets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ringway_config::load_str;
use ringway_config::model::*;

const ROUTES: &str = "http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]";

const QUICK_START: &str = include_str!("../../docs/examples/quick-start.toml");

fn load(text: &str) -> Config {
    load_str("conf/test.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The listener with this value of `tls`.
fn downstream(tls: &str) -> DownstreamTls {
    let config = load(&format!("[[listeners]]\naddress = \"127.0.0.1:10000\"\ntls = {tls}\n{ROUTES}\n"));
    let tls = config.listeners[0].filter_chains[0].tls.as_deref();
    tls.expect("the chain speaks TLS").clone()
}

/// The listener with a certificate and these keys.
fn with_pair(keys: &str) -> DownstreamTls {
    downstream(&format!("{{ certificate = \"cert.pem\", key = \"key.pem\", {keys} }}"))
}

/// The cluster with this value of `tls`.
fn upstream(tls: &str) -> UpstreamTls {
    let cluster = format!("[[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:8443\"]\ntls = {tls}\n");
    let config = load(&format!("[[listeners]]\naddress = \"127.0.0.1:10000\"\n{ROUTES}\n{cluster}"));
    config.clusters[0].tls.clone().expect("the cluster speaks TLS")
}

fn pem(path: &str) -> PemFile {
    PemFile { path: PathBuf::from(path), place: Place::default() }
}

fn pair(certificate: &str, key: &str) -> Certificate {
    Certificate { chain: pem(certificate), key: pem(key), ocsp_staple: None }
}

fn by(ca: &str) -> Validation {
    Validation { ca: Some(pem(ca)), ..Validation::default() }
}

fn every_parameter() -> TlsParameters {
    use CipherSuite::*;
    TlsParameters {
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        cipher_suites: vec![
            Aes128GcmSha256,
            Aes256GcmSha384,
            Chacha20Poly1305Sha256,
            EcdheEcdsaAes128GcmSha256,
            EcdheRsaAes128GcmSha256,
            EcdheEcdsaAes256GcmSha384,
            EcdheRsaAes256GcmSha384,
            EcdheEcdsaChacha20Poly1305,
            EcdheRsaChacha20Poly1305,
        ],
        groups: vec![Group::X25519MlKem768, Group::X25519, Group::P256, Group::P384],
    }
}

#[test]
fn a_listener_has_every_default() {
    let expected = DownstreamTls {
        place: Place::default(),
        certificates: vec![pair("conf/cert.pem", "conf/key.pem")],
        strict_sni: false,
        ocsp_staple_policy: OcspStaplePolicy::Lenient,
        parameters: every_parameter(),
        alpn_protocols: vec!["h2".into(), "http/1.1".into()],
        session_tickets: true,
        session_ticket_keys: vec![],
        client_certificate: None,
        key_log: None,
        handshake_timeout: Duration::from_secs(10),
    };
    assert_eq!(with_pair(""), expected);
}

#[test]
fn a_cluster_has_every_default() {
    let expected = UpstreamTls {
        place: Place::default(),
        sni: None,
        auto_sni: false,
        validation: Validation::default(),
        certificate: None,
        parameters: every_parameter(),
        session_resumption: true,
        alpn_protocols: &[],
    };
    assert_eq!(upstream("{}"), expected);
    let plain = load(&format!("[[listeners]]\naddress = \"127.0.0.1:10000\"\n{ROUTES}\n"));
    assert!(plain.listeners[0].filter_chains[0].tls.is_none());
}

#[test]
fn a_listener_has_all_that_is_written() {
    let tls = downstream(
        "{ certificates = [{ certificate = \"a.pem\", key = \"/etc/a.key\", ocsp_staple = \"a.der\" }, \
         { certificate = \"b.pem\", key = \"b.pem\" }], strict_sni = true, ocsp_staple_policy = \"strict_stapling\", min_version = \"1.3\", max_version = \"1.3\", cipher_suites = [\"TLS_AES_256_GCM_SHA384\"], \
         groups = [\"P-384\", \"X25519MLKEM768\"], alpn_protocols = [\"http/1.0\", \"http/1.1\"], session_tickets = false, \
         client_certificate = { ca = \"ca.pem\", required = false }, handshake_timeout = \"1s\" }",
    );
    let expected = DownstreamTls {
        place: Place::default(),
        certificates: vec![
            Certificate { ocsp_staple: Some(pem("conf/a.der")), ..pair("conf/a.pem", "/etc/a.key") },
            pair("conf/b.pem", "conf/b.pem"),
        ],
        strict_sni: true,
        ocsp_staple_policy: OcspStaplePolicy::Strict,
        parameters: TlsParameters {
            min_version: TlsVersion::V1_3,
            max_version: TlsVersion::V1_3,
            cipher_suites: vec![CipherSuite::Aes256GcmSha384],
            groups: vec![Group::P384, Group::X25519MlKem768],
        },
        alpn_protocols: vec!["http/1.0".into(), "http/1.1".into()],
        session_tickets: false,
        session_ticket_keys: vec![],
        client_certificate: Some(ClientCertificate { validation: by("conf/ca.pem"), required: false }),
        key_log: None,
        handshake_timeout: Duration::from_secs(1),
    };
    assert_eq!(tls, expected);
    assert!(with_pair("client_certificate = { ca = \"ca.pem\" }").client_certificate.unwrap().required);
    let log = with_pair("key_log = { path = \"keys\", remote_address_range = [\"10.0.0.0/8\"] }").key_log.unwrap();
    assert_eq!((log.path, log.local_address_range), (PathBuf::from("conf/keys"), vec![]));
    assert_eq!(log.remote_address_range, [Cidr { address: "10.0.0.0".parse().unwrap(), prefix_len: 8 }]);
    let keys = with_pair("session_ticket_keys = [\"new.key\", \"/etc/old.key\"]").session_ticket_keys;
    assert_eq!(keys, [pem("conf/new.key"), pem("/etc/old.key")]);
}

#[test]
fn a_cluster_has_all_that_is_written() {
    let tls = upstream(
        "{ sni = \"WWW.example.com\", ca = \"ca.pem\", certificate = \"own.pem\", key = \"own.key\", max_version = \"1.2\", \
         cipher_suites = [\"ECDHE-RSA-CHACHA20-POLY1305\", \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"], groups = [\"P-256\"], \
         session_resumption = false }",
    );
    let expected = UpstreamTls {
        place: Place::default(),
        sni: Some("www.example.com".into()),
        auto_sni: false,
        validation: by("conf/ca.pem"),
        certificate: Some(pair("conf/own.pem", "conf/own.key")),
        parameters: TlsParameters {
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_2,
            cipher_suites: vec![CipherSuite::EcdheRsaChacha20Poly1305, CipherSuite::EcdheRsaAes128GcmSha256],
            groups: vec![Group::P256],
        },
        session_resumption: false,
        alpn_protocols: &[],
    };
    assert_eq!(tls, expected);
    assert!(upstream("{ auto_sni = true }").auto_sni);
    assert!(upstream("{ accept_untrusted = true }").validation.accept_untrusted);
    assert!(!upstream("{ accept_untrusted = false, ca = \"ca.pem\" }").validation.accept_untrusted);
}

#[test]
fn each_filter_chain_has_its_own() {
    let config = load(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:10000\"\n\
         [[listeners.filter_chains]]\nmatch = {{ source_prefix_ranges = [\"10.0.0.0/8\"] }}\n{ROUTES}\n\
         [[listeners.filter_chains]]\ntls = {{ certificate = \"cert.pem\", key = \"key.pem\" }}\n{ROUTES}\n"
    ));
    let has_tls: Vec<_> = config.listeners[0].filter_chains.iter().map(|chain| chain.tls.is_some()).collect();
    assert_eq!(has_tls, [false, true]);
}

/// The engine finds the need of a file by the place of the file.
#[test]
fn every_file_is_needed_at_its_place() {
    let config = load(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:10000\"\n{ROUTES}\n\
         [listeners.tls]\ncertificates = [{{ certificate = \"cert.pem\", key = \"key.pem\" }}]\n\
         client_certificate.ca = \"ca.pem\"\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:8443\"]\n\
         tls = {{ ca = \"ca.pem\", certificate = \"own.pem\", key = \"own.pem\" }}\n"
    ));
    let down = config.listeners[0].filter_chains[0].tls.clone().unwrap();
    let up = config.clusters[0].tls.clone().unwrap();
    let own = up.certificate.as_ref().unwrap();
    let files = [
        &down.certificates[0].chain,
        &down.certificates[0].key,
        down.client_certificate.as_ref().unwrap().validation.ca.as_ref().unwrap(),
        up.validation.ca.as_ref().unwrap(),
        &own.chain,
        &own.key,
    ];
    let expected = [(5, 33), (5, 51), (6, 25), (10, 14), (10, 38), (10, 55)];
    let named: Vec<_> = files.iter().map(|file| (file.place.line, file.place.column)).collect();
    assert_eq!(named, expected);
    let is_file = |need: &&Need| matches!(need.what, Needed::Pem(_));
    let mut needed: Vec<(&Path, u32, u32)> = Vec::new();
    for need in config.needs.iter().filter(is_file) {
        let Needed::Pem(path) = &need.what else { unreachable!() };
        needed.push((path, need.at.line as u32, need.at.column as u32));
    }
    needed.sort_by_key(|(_, line, column)| (*line, *column));
    let all: Vec<_> = files.iter().map(|file| (file.path.as_path(), file.place.line, file.place.column)).collect();
    assert_eq!(needed, all);
    assert_eq!((down.place.line, down.place.column), (4, 1));
    assert_eq!((up.place.line, up.place.column), (10, 7));
}

/// A cluster that trusts what the system trusts needs that, at the place of its `tls`.
#[test]
fn the_systems_authorities_are_needed_by_what_trusts_them() {
    let places = |tls: &str| {
        let cluster = format!("[[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:8443\"]\n{tls}\n");
        let config = load(&format!("[[listeners]]\naddress = \"127.0.0.1:10000\"\n{ROUTES}\n{cluster}"));
        let place = config.clusters[0].tls.as_ref().map(|tls| (tls.place.line as usize, tls.place.column as usize));
        let needs = config.needs.iter().filter(|need| need.what == Needed::Authorities);
        let needed: Vec<_> = needs.map(|need| (need.at.line, need.at.column)).collect();
        (place, needed)
    };
    assert_eq!(places("tls = {}"), (Some((7, 7)), vec![(7, 7)]));
    assert_eq!(places("[clusters.tls]\nsni = \"a.example\""), (Some((7, 1)), vec![(7, 1)]));
    assert_eq!(places("tls = { ca = \"ca.pem\" }"), (Some((7, 7)), vec![]));
    assert_eq!(places("tls = { accept_untrusted = true }"), (Some((7, 7)), vec![]));
    assert_eq!(places(""), (None, vec![]));
}

/// The configuration that every version must take, word for word.
#[test]
fn the_quick_start_means_what_envoys_does() {
    let config = load(QUICK_START);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let cluster = &config.clusters[0];
    assert_eq!(cluster.name, "service_google");
    let Discovery::LogicalDns(dns) = &cluster.discovery else { panic!("{:?}", cluster.discovery) };
    assert_eq!(dns.lookup_family, LookupFamily::V4Only);
    assert_eq!(cluster.connect_timeout, Duration::from_millis(250));
    assert_eq!(cluster.endpoints[0].target, EndpointTarget::Name { host: "google.com".into(), port: 443 });
    let tls = cluster.tls.as_ref().expect("the cluster speaks TLS");
    let expected = UpstreamTls { sni: Some("www.google.com".into()), ..upstream("{}") };
    assert_eq!(*tls, expected);
    let listener = &config.listeners[0];
    assert_eq!((listener.name.as_str(), listener.address.to_string().as_str()), ("listener_0", "0.0.0.0:10000"));
    let NetworkFilter::Http(hcm) = &listener.filter_chains[0].filter;
    let host = &hcm.virtual_hosts[0];
    assert_eq!((hcm.stat_prefix.as_str(), host.name.as_str()), ("ingress_http", "local_service"));
    let RouteAction::Forward(forward) = &host.routes[0].action else { panic!("not forwarded") };
    assert!(matches!(forward.target, ClusterTarget::Cluster(0)));
    let admin = config.admin.as_ref().unwrap();
    assert_eq!(admin.access_log.as_deref(), Some(Path::new("/tmp/admin_access.log")));
}

#[test]
fn what_a_certificate_must_be() {
    let hash = "ab".repeat(32);
    let spki = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let keys = format!(
        "subject_alt_names = [{{ type = \"uri\", prefix = \"spiffe://a/\" }}, {{ type = \"ip\", exact = \"FD00:0::1\" }}, \
         {{ type = \"other\", oid = \"1.2.840\", exact = \"x\", ignore_case = true }}], \
         verify_certificate_hash = [\"{hash}\"], verify_certificate_spki = [\"{spki}\"], ca = \"ca.pem\""
    );
    let name = |kind, value, ignore_case| SubjectAltName { kind, value: StringMatch { kind: value, ignore_case } };
    let expected = Validation {
        subject_alt_names: vec![
            name(SanKind::Uri, StringMatchKind::Prefix("spiffe://a/".into()), false),
            name(SanKind::Ip, StringMatchKind::Exact("fd00::1".into()), false),
            name(SanKind::Other(vec![0x2a, 0x86, 0x48]), StringMatchKind::Exact("x".into()), true),
        ],
        certificate_hashes: vec![[0xab; 32]],
        ..by("conf/ca.pem")
    };
    let client = with_pair(&format!("client_certificate = {{ {keys} }}")).client_certificate.unwrap();
    for validation in [client.validation, upstream(&format!("{{ {keys} }}")).validation] {
        assert_eq!(validation.spki_hashes[0][..2], [0xe3, 0xb0]);
        assert_eq!(Validation { spki_hashes: vec![], ..validation }, expected);
    }
    let untrusted = with_pair("client_certificate = { accept_untrusted = true, ca = \"ca.pem\" }").client_certificate;
    assert_eq!(untrusted.unwrap().validation, Validation { accept_untrusted: true, ..by("conf/ca.pem") });
    let with_crl = "ca = \"ca.pem\", crl = \"crl.pem\", only_verify_leaf_cert_crl = true";
    let crl = Crl { file: pem("conf/crl.pem"), only_leaf: true, allows_expired: false };
    let expected = Validation { crl: Some(crl), ..by("conf/ca.pem") };
    let client = with_pair(&format!("client_certificate = {{ {with_crl} }}")).client_certificate.unwrap();
    assert_eq!([client.validation, upstream(&format!("{{ {with_crl} }}")).validation], [expected.clone(), expected]);
    // A pin needs no authority, and so none of the system's.
    let pinned = load(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:10000\"\n{ROUTES}\n[[clusters]]\nname = \"app\"\n\
         endpoints = [\"127.0.0.1:8443\"]\ntls = {{ verify_certificate_hash = [\"{hash}\"] }}\n"
    ));
    assert!(!pinned.needs.iter().any(|need| need.what == Needed::Authorities));
}

/// The first match that takes an endpoint's metadata is its transport, and `tls` of the cluster that of the others.
#[test]
fn endpoints_have_the_transport_that_matches_first() {
    let config = load(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:10000\"\n{ROUTES}\n\
         [[clusters]]\nname = \"c\"\ntls = {{ sni = \"c.example\" }}\n\
         endpoints = [{{ address = \"10.0.0.1:1\", metadata = {{ a = \"1\", b = \"2\" }} }}, \"10.0.0.2:1\"]\n\
         transport_socket_matches = [{{ name = \"plain\", match = {{ a = \"1\", b = \"2\" }} }}, \
         {{ name = \"a\", match = {{ a = \"1\" }}, tls = {{ sni = \"a.example\" }} }}]\n"
    ));
    let cluster = &config.clusters[0];
    let names: Vec<_> = cluster.transports().map(|tls| tls.and_then(|tls| tls.sni.as_deref())).collect();
    assert_eq!(names, [None, Some("a.example"), Some("c.example")]);
    let of = |pairs: &[(&str, &str)]| {
        cluster.transport_of(&pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect::<Vec<_>>())
    };
    assert_eq!(cluster.transport_of(&cluster.endpoints[0].metadata), 0);
    assert_eq!([of(&[("a", "1")]), of(&[("a", "1"), ("b", "3")]), of(&[("a", "2")]), of(&[])], [1, 1, 2, 2]);
}
