//! TLS 1.3's key schedule (RFC 8446 section 7.1): HKDF by keys of HMAC that are made ready once for each secret.
//!
//! The library's own provider makes such a key for every value that is derived, and repeats HKDF-Extract for it where the secret
//! came from that: half as many blocks more to be hashed in a handshake, which matters with SHA-384, for which AWS-LC has no
//! fast code on many processors.

use super::sealing::Sealing;
use aws_lc_rs::hmac::{Algorithm, Context, HMAC_SHA256, HMAC_SHA384, Key};
use rustls::crypto::CipherSuiteCommon;
use rustls::crypto::hmac::Tag;
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use rustls::{SupportedCipherSuite, Tls13CipherSuite};
use std::sync::{LazyLock, OnceLock};

/// HKDF with HMAC of one algorithm (RFC 5869).
struct Derivation {
    algorithm: Algorithm,
    /// What handshakes without a session to resume begin with: the same for all, and no secret.
    early: OnceLock<Key>,
}

static SHA256: Derivation = Derivation { algorithm: HMAC_SHA256, early: OnceLock::new() };
static SHA384: Derivation = Derivation { algorithm: HMAC_SHA384, early: OnceLock::new() };

const ZEROS: [u8; Tag::MAX_LEN] = [0; Tag::MAX_LEN];

impl Derivation {
    fn extract(&self, salt: Option<&[u8]>, secret: &[u8]) -> Key {
        let salt = Key::new(self.algorithm, salt.unwrap_or(&ZEROS[..self.algorithm.tag_len()]));
        Key::new(self.algorithm, sign(&salt, [secret]).as_ref())
    }
}

impl Hkdf for Derivation {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        let extract = || self.extract(salt, &ZEROS[..self.algorithm.tag_len()]);
        Box::new(Secret(if salt.is_none() { self.early.get_or_init(extract).clone() } else { extract() }))
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        Box::new(Secret(self.extract(salt, secret)))
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        Box::new(Secret(Key::new(self.algorithm, okm.as_ref())))
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> Tag {
        sign(&Key::new(self.algorithm, key.as_ref()), [message])
    }
}

/// What others are derived from: a key of HMAC whose inner and outer padding are hashed.
struct Secret(Key);

impl HkdfExpander for Secret {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        let len = self.hash_len();
        if output.len() > 255 * len {
            return Err(OutputLengthError);
        }
        let mut block = Tag::new(&[]);
        for (n, output) in (1..=255).zip(output.chunks_mut(len)) {
            block = sign(&self.0, [block.as_ref()].into_iter().chain(info.iter().copied()).chain([&[n][..]]));
            output.copy_from_slice(&block.as_ref()[..output.len()]);
        }
        Ok(())
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        OkmBlock::new(sign(&self.0, info.iter().copied().chain([&[1][..]])).as_ref())
    }

    fn hash_len(&self) -> usize {
        self.0.algorithm().tag_len()
    }
}

/// The library's, in a form that is wiped.
fn sign<'p>(key: &Key, parts: impl IntoIterator<Item = &'p [u8]>) -> Tag {
    let mut context = Context::with_key(key);
    parts.into_iter().for_each(|part| context.update(part));
    Tag::new(context.sign().as_ref())
}

/// The suite with its keys derived here; one of TLS 1.2 as it is.
pub(super) fn with_ready_keys(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    SUITES.iter().copied().find(|ours| ours.suite() == suite.suite()).unwrap_or(suite)
}

/// Made once, of the library's.
static SUITES: LazyLock<Vec<SupportedCipherSuite>> = LazyLock::new(|| {
    let all = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.iter().filter_map(SupportedCipherSuite::tls13);
    let ours = all.filter_map(|theirs| {
        let hkdf_provider: &dyn Hkdf = match theirs.common.hash_provider.output_len() {
            32 => &SHA256,
            48 => &SHA384,
            _ => return None,
        };
        Some(SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
            common: CipherSuiteCommon {
                suite: theirs.common.suite,
                hash_provider: theirs.common.hash_provider,
                confidentiality_limit: theirs.common.confidentiality_limit,
            },
            hkdf_provider,
            aead_alg: Box::leak(Box::new(Sealing::new(theirs.common.suite, theirs.aead_alg)?)),
            quic: theirs.quic,
        }))))
    });
    ours.collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_derived_is_what_the_library_derives() {
        assert_eq!(SUITES.len(), 3);
        for ours in SUITES.iter() {
            let theirs =
                rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.iter().find(|theirs| theirs.suite() == ours.suite());
            let [ours, theirs] = [*ours, *theirs.expect("a suite")].map(|suite| suite.tls13().expect("one of TLS 1.3"));
            let [ours, theirs] = [ours, theirs].map(|suite| derived(suite.hkdf_provider));
            assert_eq!(ours, theirs);
        }
    }

    /// Something by each function, in several lengths.
    fn derived(hkdf: &dyn Hkdf) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let salt = [7; 48];
        for salt in [None, Some(&salt[..])] {
            for expander in [hkdf.extract_from_zero_ikm(salt), hkdf.extract_from_secret(salt, b"secret")] {
                let block = expander.expand_block(&[b"one", b"two"]);
                all.push(block.as_ref().to_vec());
                all.push(hkdf.hmac_sign(&block, b"message").as_ref().to_vec());
                for len in [1, 12, 16, 32, 48, 49, 200] {
                    let mut out = vec![0; len];
                    hkdf.expander_for_okm(&block).expand_slice(&[b"label", &[3; 120]], &mut out).expect("a short one");
                    all.push(out);
                }
                assert!(expander.expand_slice(&[], &mut vec![0; 255 * 64]).is_err() || expander.hash_len() == 64);
            }
        }
        all.push(hkdf.expander_for_okm(&OkmBlock::new(&[9; 32])).expand_block(&[]).as_ref().to_vec());
        all
    }

    /// RFC 5869 appendix A.1, whose pseudorandom key is used as one.
    #[test]
    fn the_values_of_the_rfc() {
        let expander = SHA256.extract_from_secret(Some(&(0..13).collect::<Vec<u8>>()), &[0x0b; 22]);
        let mut out = [0; 42];
        expander.expand_slice(&[&(0xf0..0xfa).collect::<Vec<u8>>()], &mut out).expect("a short one");
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
        assert_eq!(out.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), expected);
    }
}
