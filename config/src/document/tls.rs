//! `tls` of a listener or filter chain, and of a cluster.

mod algorithms;
mod names;
mod validation;

pub use algorithms::{all_groups, all_suites, group_name, suite_name};
pub use names::{AlpnProtocol, OfferedProtocol, ServerName, ServerNames};
pub use validation::{CertificateHash, SanType, SpkiHash, SubjectAltName};

use super::cluster::ClusterLabel;
use crate::model::{Cidr, CipherSuite, Group, OcspStaplePolicy, TlsVersion};
use crate::reader::{FilePath, List, Map, Name, OneOf, Time, Word, table};

table! {
    /// TLS with the clients (Envoy: DownstreamTlsContext). TLS 1.2 and 1.3 are spoken; what that means, and words of nginx,
    /// HAProxy and Envoy: [TLS](TLS.md). A listener has it next to `http`, a filter chain next to its own.
    DownstreamTls at "listeners[].tls", example "tls.toml" {
        /// File with the certificate and those that lead to its issuer, in PEM, the server's own first (nginx:
        /// ssl_certificate, HAProxy: crt). A relative path starts at the directory of the configuration file. A reload reads
        /// it again.
        certificate: FilePath, optional "see `certificates`";
        /// File with the private key of `certificate`, in PEM and not encrypted. It may be the same file.
        key: FilePath, optional "see `certificates`";
        /// File with what the issuer says of `certificate` (an OCSP response in DER), which clients that ask for it are sent
        /// (nginx: ssl_stapling_file). It must be about that certificate and say that it is good: [TLS](TLS.md#ocsp-staples).
        ocsp_staple: FilePath, optional "none is sent";
        /// Several certificates, for several names or algorithms (ECDSA and RSA). A client gets the one that has the name
        /// that it asks for, exactly before a wildcard of one label; ECDSA before RSA if it knows both. Excludes
        /// `certificate`, `key` and `ocsp_staple`.
        certificates: List<CertificatePair>, optional "the one of `certificate` and `key`";
        /// Refuse clients that ask for no name, or for one that is in no certificate (HAProxy: strict-sni). Otherwise they get
        /// the first certificate.
        strict_sni: bool, default "false";
        /// What becomes of clients that ask for a staple where there is none, or one that is out of date:
        /// `lenient_stapling` serves them without; `strict_stapling` refuses them if there is one that is out of date;
        /// `must_staple` refuses them in any case, and every certificate needs an `ocsp_staple`. A certificate that asks for a
        /// staple itself (must-staple, RFC 7633) is treated as with `must_staple`. Another certificate for the same name is
        /// taken before a client is refused.
        ocsp_staple_policy: OneOf<OcspStaplePolicy>, default "\"lenient_stapling\"";
        /// The oldest version that is spoken.
        min_version: TlsVersion, default "\"1.2\"";
        /// The newest version that is spoken.
        max_version: TlsVersion, default "\"1.3\"";
        /// Cipher suites, best first, of both versions: of TLS 1.3 `TLS_AES_128_GCM_SHA256`, `TLS_AES_256_GCM_SHA384` and
        /// `TLS_CHACHA20_POLY1305_SHA256`; of TLS 1.2 `ECDHE-ECDSA-` or `ECDHE-RSA-` with `AES128-GCM-SHA256`,
        /// `AES256-GCM-SHA384` or `CHACHA20-POLY1305`, or the same by their IANA names.
        cipher_suites: List<CipherSuite>, optional "all, AES-128 first";
        /// How keys are agreed on, best first (Envoy: ecdh_curves, nginx: ssl_ecdh_curve, HAProxy: curves).
        groups: List<Group>, optional "all, `X25519MLKEM768` first";
        /// Application protocols (ALPN), best first. A client that offers none of them is still served.
        alpn_protocols: List<AlpnProtocol>, optional "what `codec_type` of `http` says: `[\"h2\", \"http/1.1\"]`";
        /// Give clients tickets with which they resume their session without another full handshake. With
        /// `client_certificate` there are none: each connection verifies the certificate of its client.
        session_tickets: bool, default "true";
        /// Files with keys that seal tickets, for several processes that share them (nginx: ssl_session_ticket_key). Each
        /// holds 80 random bytes, or 48: `openssl rand 80`. The first one seals, and all of them open what they have sealed:
        /// [TLS](TLS.md#keys-of-tickets). Without, keys are random and of this process alone.
        session_ticket_keys: List<FilePath>, optional "random ones";
        /// Ask clients for a certificate (mutual TLS).
        client_certificate: ClientCertificate, optional "clients are not asked";
        /// Write the keys of connections to a file, to decrypt recorded traffic with them.
        key_log: KeyLog, optional "keys are told to nothing";
        /// From the accept to the end of the handshake, or from the choice of the filter chain where that needs the client's
        /// first message; a connection that is not ready by then is closed.
        handshake_timeout: Time<1>, default "\"10s\"";
    }
}

table! {
    /// A file that gets the keys of connections, as Wireshark reads them (NSS key log format; Envoy: TlsKeyLog). With that
    /// file, all of their recorded traffic can be read: `check` warns of it. [TLS](TLS.md#key-log).
    KeyLog at "listeners[].tls.key_log", example "key-log.toml" {
        /// The file, which is appended to, and created for its owner alone. A relative path starts at the directory of the
        /// configuration file.
        path: FilePath, required;
        /// Address ranges, one of which must contain the address that the client connected to.
        local_address_range: List<Cidr>, optional "every address";
        /// Address ranges, one of which must contain the client's address.
        remote_address_range: List<Cidr>, optional "every client";
    }
}

table! {
    /// A certificate and its private key (Envoy: TlsCertificate).
    CertificatePair at "listeners[].tls.certificates[]", example "certificates.toml" {
        /// File with the certificate and those that lead to its issuer, in PEM, the server's own first.
        certificate: FilePath, required;
        /// File with its private key, in PEM and not encrypted. It may be the same file.
        key: FilePath, required;
        /// File with what its issuer says of it (an OCSP response in DER), which clients that ask for it are sent.
        ocsp_staple: FilePath, optional "none is sent";
    }
}

impl Word for OcspStaplePolicy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("lenient_stapling", Self::Lenient), ("strict_stapling", Self::Strict), ("must_staple", Self::Must)];
    const LATER: &'static [&'static str] = &[];
}

table! {
    /// Certificates of clients (nginx: ssl_verify_client, HAProxy: verify required). At least one of `ca`,
    /// `verify_certificate_hash`, `verify_certificate_spki` and `accept_untrusted` is written: [TLS](TLS.md#mutual-tls).
    ClientCertificate at "listeners[].tls.client_certificate", example "mutual-tls.toml" {
        /// File with the authorities that issue them, in PEM (Envoy: trusted_ca, nginx: ssl_client_certificate, HAProxy:
        /// ca-file).
        ca: FilePath, optional "the issuer does not count";
        /// File with certificate revocation lists, in PEM (several) or DER (one), of each authority that issues certificates
        /// (nginx: ssl_crl, HAProxy: crl-file). What is listed, and what no list is about, is refused. Needs `ca`. A reload reads
        /// it again.
        crl: FilePath, optional "revocation does not count";
        /// Look up only the certificate itself, not its authorities: neither those between it and the one in `ca`, nor that one.
        only_verify_leaf_cert_crl: bool, default "false";
        /// Use lists whose next update is due. Otherwise every certificate that they are about is refused.
        allow_expired_crl: bool, default "false";
        /// Refuse clients that have none (Envoy: require_client_certificate). A certificate that is shown must be valid in
        /// any case, unless `accept_untrusted`.
        required: bool, default "true";
        /// One of the alternative names in the certificate must match one of these (Envoy: match_typed_subject_alt_names).
        /// Needs `ca`.
        subject_alt_names: List<SubjectAltName>, optional "any name will do";
        /// SHA-256 of the permitted certificates, in hexadecimal digits, with or without colons: `openssl x509 -in client.pem
        /// -noout -fingerprint -sha256`. A certificate must be in this list or its key in `verify_certificate_spki`.
        verify_certificate_hash: List<CertificateHash>, optional "any certificate will do";
        /// SHA-256 of the permitted public keys (SubjectPublicKeyInfo), in base64.
        verify_certificate_spki: List<SpkiHash>, optional "any key will do";
        /// Serve clients whose certificate is not what it must be (Envoy: trust_chain_verification = ACCEPT_UNTRUSTED, nginx:
        /// optional_no_ca). That they have its key is verified nevertheless.
        accept_untrusted: bool, default "false";
    }
}

table! {
    /// TLS with the endpoints (Envoy: UpstreamTlsContext). `{}` switches it on with every default. An endpoint must show a
    /// certificate that a trusted authority has issued for its name: [TLS](TLS.md#tls-to-endpoints).
    UpstreamTls at "clusters[].tls", example "upstream-tls.toml" {
        /// The host name to ask for (SNI), which must be in the certificate. Without it, that is the endpoint's `hostname`, else
        /// the name in its `address`. If that is an IP address, no name is asked for, and the address must be in the
        /// certificate.
        sni: ServerName, optional "that of the endpoint";
        /// Ask for the name in the request's Host as it is sent to the endpoint (Envoy: auto_sni and auto_san_validation in
        /// upstream_http_protocol_options; nginx: proxy_ssl_name $host; HAProxy: sni req.hdr(host)), which must be in the
        /// certificate. Connections and sessions are kept apart by these names, at most 256 for each endpoint and shard. Excludes
        /// `sni`.
        auto_sni: bool, default "false";
        /// File with the authorities that are trusted, in PEM (Envoy: trusted_ca). A relative path starts at the directory of
        /// the configuration file. Excludes `accept_untrusted`.
        ca: FilePath, optional "those that the system trusts, or with pins any";
        /// File with certificate revocation lists, in PEM (several) or DER (one), of each authority that issues certificates
        /// (nginx: ssl_crl, HAProxy: crl-file). What is listed, and what no list is about, is refused. Needs `ca`, and sessions
        /// are not resumed. A reload reads it again.
        crl: FilePath, optional "revocation does not count";
        /// Look up only the certificate itself, not its authorities: neither those between it and the one in `ca`, nor that one.
        only_verify_leaf_cert_crl: bool, default "false";
        /// Use lists whose next update is due. Otherwise every certificate that they are about is refused.
        allow_expired_crl: bool, default "false";
        /// One of the alternative names in the certificate must match one of these (Envoy: match_typed_subject_alt_names),
        /// instead of the name that is asked for.
        subject_alt_names: List<SubjectAltName>, optional "the name that is asked for, see `sni`";
        /// SHA-256 of the permitted certificates, in hexadecimal digits, with or without colons. A certificate must be in this
        /// list or its key in `verify_certificate_spki`. Without `ca`, that is enough: neither issuer nor name nor dates count.
        verify_certificate_hash: List<CertificateHash>, optional "any certificate will do";
        /// SHA-256 of the permitted public keys (SubjectPublicKeyInfo), in base64.
        verify_certificate_spki: List<SpkiHash>, optional "any key will do";
        /// Take any certificate of version 3 with a key that is safe, RSA from 2048 bits on, whatever its issuer, name and dates
        /// (Envoy: trust_chain_verification = ACCEPT_UNTRUSTED).
        /// Whatever stands between the proxy and the endpoint can then read and change the traffic.
        accept_untrusted: bool, default "false";
        /// File with the certificate that is shown to endpoints that ask for one (mutual TLS), with those that lead to its
        /// issuer, in PEM.
        certificate: FilePath, optional "none";
        /// File with the private key of `certificate`, in PEM and not encrypted. It may be the same file.
        key: FilePath, optional "none";
        /// The oldest version that is spoken.
        min_version: TlsVersion, default "\"1.2\"";
        /// The newest version that is spoken.
        max_version: TlsVersion, default "\"1.3\"";
        /// Cipher suites, best first, of both versions; their names are those of [`listeners[].tls`](#listenerstls).
        cipher_suites: List<CipherSuite>, optional "all, AES-128 first";
        /// How keys are agreed on, best first.
        groups: List<Group>, optional "all, `X25519MLKEM768` first";
        /// Resume earlier sessions instead of making a full handshake for each connection.
        session_resumption: bool, default "true";
    }
}

table! {
    /// How some of the endpoints are reached (Envoy: TransportSocketMatch): with other certificates, for another name, in plain
    /// text.
    TransportSocketMatch at "clusters[].transport_socket_matches[]", example "transports.toml" {
        /// Name, unique in the cluster, and part of the statistic
        /// `cluster.<name>.transport_socket_match.<name>.total_match_count`, which counts the endpoints.
        name: ClusterLabel, required;
        /// Keys and values that are in the `metadata` of the endpoint (Envoy: under `envoy.transport_socket_match`). `{}` matches
        /// every endpoint.
        r#match: Map<Name, Name>, required;
        /// TLS with these endpoints; `{}` switches it on with every default.
        tls: UpstreamTls, optional "plain text";
    }
}
