//! The statistics of TLS, for the one list of all statistics, and how a handshake counts. Names and meanings are Envoy's
//! (SslStats), and algorithms have OpenSSL's names.

use super::{ClusterTlsStats, Counter, ListenerTlsStats};

/// Declares these in addition to those that stand in the braces.
macro_rules! with_tls_statistics {
    ({ $($others:tt)* }) => {
        with_tls_scopes! { { $($others)* } {
            /// Handshakes that succeeded
            counter handshake as "ssl.handshake";
            /// Handshakes that went on with an earlier session
            counter session_reused as "ssl.session_reused";
            /// Connections that failed, but for those whose certificate was refused
            counter connection_error as "ssl.connection_error";
            /// Handshakes that succeeded although the peer showed no certificate
            counter no_certificate as "ssl.no_certificate";
            /// Handshakes refused because the peer showed no certificate
            counter fail_verify_no_cert as "ssl.fail_verify_no_cert";
            /// Handshakes refused because the peer's certificate is not to be trusted
            counter fail_verify_error as "ssl.fail_verify_error";
            /// Handshakes refused because the peer's certificate is for another name
            counter fail_verify_san as "ssl.fail_verify_san";
            /// Handshakes refused because neither the peer's certificate nor its key is one of those that are listed
            counter fail_verify_cert_hash as "ssl.fail_verify_cert_hash";
            /// Handshakes with this version
            counter version_tlsv1_2 as "ssl.versions.TLSv1.2";
            /// Handshakes with this version
            counter version_tlsv1_3 as "ssl.versions.TLSv1.3";
            /// Handshakes that agreed on this cipher suite
            counter cipher_tls_aes_128_gcm_sha256 as "ssl.ciphers.TLS_AES_128_GCM_SHA256";
            /// Handshakes that agreed on this cipher suite
            counter cipher_tls_aes_256_gcm_sha384 as "ssl.ciphers.TLS_AES_256_GCM_SHA384";
            /// Handshakes that agreed on this cipher suite
            counter cipher_tls_chacha20_poly1305_sha256 as "ssl.ciphers.TLS_CHACHA20_POLY1305_SHA256";
            /// Handshakes that agreed on this cipher suite
            counter cipher_ecdhe_ecdsa_aes128_gcm_sha256 as "ssl.ciphers.ECDHE-ECDSA-AES128-GCM-SHA256";
            /// Handshakes that agreed on this cipher suite
            counter cipher_ecdhe_ecdsa_aes256_gcm_sha384 as "ssl.ciphers.ECDHE-ECDSA-AES256-GCM-SHA384";
            /// Handshakes that agreed on this cipher suite
            counter cipher_ecdhe_ecdsa_chacha20_poly1305 as "ssl.ciphers.ECDHE-ECDSA-CHACHA20-POLY1305";
            /// Handshakes that agreed on this cipher suite
            counter cipher_ecdhe_rsa_aes128_gcm_sha256 as "ssl.ciphers.ECDHE-RSA-AES128-GCM-SHA256";
            /// Handshakes that agreed on this cipher suite
            counter cipher_ecdhe_rsa_aes256_gcm_sha384 as "ssl.ciphers.ECDHE-RSA-AES256-GCM-SHA384";
            /// Handshakes that agreed on this cipher suite
            counter cipher_ecdhe_rsa_chacha20_poly1305 as "ssl.ciphers.ECDHE-RSA-CHACHA20-POLY1305";
            /// Handshakes that agreed on this group
            counter curve_x25519mlkem768 as "ssl.curves.X25519MLKEM768";
            /// Handshakes that agreed on this group
            counter curve_x25519 as "ssl.curves.X25519";
            /// Handshakes that agreed on this group
            counter curve_p_256 as "ssl.curves.P-256";
            /// Handshakes that agreed on this group
            counter curve_p_384 as "ssl.curves.P-384";
        } }
    };
}

/// The same list for a listener and for a cluster.
macro_rules! with_tls_scopes {
    ({ $($others:tt)* } { $($ssl:tt)* }) => {
        with_filter_statistics! { {
            $($others)*

            /// A cluster with TLS: `cluster.<name>.ssl.<statistic>`.
            ClusterTls ClusterTlsStats ["cluster", "envoy_cluster", "envoy_cluster_name"] { $($ssl)* }

            /// Endpoints of a cluster by how they are reached: `cluster.<name>.transport_socket_match.<match>.<statistic>`, and
            /// `default` for those that no match is for.
            TransportMatch TransportMatchStats
                ["cluster", "envoy_cluster_transport_socket_match", "envoy_cluster_transport_socket_match_name"] {
                /// Endpoints that this match was the first for
                counter total_match_count;
            }

            /// A listener with TLS: `listener.<address>.ssl.<statistic>`.
            ListenerTls ListenerTlsStats ["listener", "envoy_listener", "envoy_listener_address"] {
                $($ssl)*
                /// Handshakes whose client asked for an OCSP staple
                counter ocsp_staple_requests as "ssl.ocsp_staple_requests";
                /// Of these, those in which it was sent one, or went on with a session
                counter ocsp_staple_responses as "ssl.ocsp_staple_responses";
                /// Of these, those that went on without a staple, since there is none that is in date
                counter ocsp_staple_omitted as "ssl.ocsp_staple_omitted";
                /// Of these, those that were refused for that reason
                counter ocsp_staple_failed as "ssl.ocsp_staple_failed";
            }

            /// What was found in the first bytes of connections, on all listeners that look at them: `tls_inspector.<statistic>`.
            TlsInspector TlsInspectorStats ["tls_inspector", "envoy_tls_inspector", "listener"] {
                /// Connections that the client closed before its first message was whole
                counter connection_closed;
                /// Connections closed because the client's first message is larger than 64 KiB
                counter client_hello_too_large;
                /// Connections closed because the client's first message breaks a rule of TLS; Ringway's own
                counter client_hello_invalid;
                /// Connections that broke before the client's first message was whole
                counter read_error;
                /// Connections that begin with TLS
                counter tls_found;
                /// Connections that begin with something else
                counter tls_not_found;
                /// Clients that offer application protocols
                counter alpn_found;
                /// Clients that offer none
                counter alpn_not_found;
                /// Clients that ask for a server name
                counter sni_found;
                /// Clients that ask for none
                counter sni_not_found;
            }
        } }
    };
}

pub(super) use with_tls_scopes;
pub(super) use with_tls_statistics;

/// The cells of one listener or cluster on one shard.
pub struct SslStats<'a> {
    pub handshake: &'a Counter,
    pub session_reused: &'a Counter,
    pub connection_error: &'a Counter,
    pub no_certificate: &'a Counter,
    pub fail_verify_no_cert: &'a Counter,
    pub fail_verify_error: &'a Counter,
    pub fail_verify_san: &'a Counter,
    pub fail_verify_cert_hash: &'a Counter,
    versions: [(&'static str, &'a Counter); 2],
    ciphers: [(&'static str, &'a Counter); 9],
    curves: [(&'static str, &'a Counter); 4],
}

impl SslStats<'_> {
    /// Counts what a handshake agreed on.
    pub fn agreed(&self, version: &str, cipher: &str, curve: &str) {
        let lists = [(&self.versions[..], version), (&self.ciphers[..], cipher), (&self.curves[..], curve)];
        for (cells, name) in lists {
            cells.iter().filter(|(own, _)| *own == name).for_each(|(_, cell)| cell.inc());
        }
    }
}

macro_rules! cells {
    ($stats:ty) => {
        impl $stats {
            pub fn cells(&self) -> SslStats<'_> {
                SslStats {
                    handshake: &self.handshake,
                    session_reused: &self.session_reused,
                    connection_error: &self.connection_error,
                    no_certificate: &self.no_certificate,
                    fail_verify_no_cert: &self.fail_verify_no_cert,
                    fail_verify_error: &self.fail_verify_error,
                    fail_verify_san: &self.fail_verify_san,
                    fail_verify_cert_hash: &self.fail_verify_cert_hash,
                    versions: [("TLSv1.2", &self.version_tlsv1_2), ("TLSv1.3", &self.version_tlsv1_3)],
                    ciphers: [
                        ("TLS_AES_128_GCM_SHA256", &self.cipher_tls_aes_128_gcm_sha256),
                        ("TLS_AES_256_GCM_SHA384", &self.cipher_tls_aes_256_gcm_sha384),
                        ("TLS_CHACHA20_POLY1305_SHA256", &self.cipher_tls_chacha20_poly1305_sha256),
                        ("ECDHE-ECDSA-AES128-GCM-SHA256", &self.cipher_ecdhe_ecdsa_aes128_gcm_sha256),
                        ("ECDHE-ECDSA-AES256-GCM-SHA384", &self.cipher_ecdhe_ecdsa_aes256_gcm_sha384),
                        ("ECDHE-ECDSA-CHACHA20-POLY1305", &self.cipher_ecdhe_ecdsa_chacha20_poly1305),
                        ("ECDHE-RSA-AES128-GCM-SHA256", &self.cipher_ecdhe_rsa_aes128_gcm_sha256),
                        ("ECDHE-RSA-AES256-GCM-SHA384", &self.cipher_ecdhe_rsa_aes256_gcm_sha384),
                        ("ECDHE-RSA-CHACHA20-POLY1305", &self.cipher_ecdhe_rsa_chacha20_poly1305),
                    ],
                    curves: [
                        ("X25519MLKEM768", &self.curve_x25519mlkem768),
                        ("X25519", &self.curve_x25519),
                        ("P-256", &self.curve_p_256),
                        ("P-384", &self.curve_p_384),
                    ],
                }
            }
        }
    };
}

cells!(ClusterTlsStats);
cells!(ListenerTlsStats);
