//! Versions, cipher suites and groups: the names that they have in OpenSSL, in Envoy and at IANA.

use crate::diagnostic::closest;
use crate::model::{CipherSuite, Group, TlsVersion};
use crate::reader::{FromText, Refusal, Shape};

/// Each suite with its name in OpenSSL and in BoringSSL, and its name at IANA, which for TLS 1.3 is the same. Best first:
/// AES-128 before AES-256 in each version, ECDSA before RSA.
const SUITES: &[(CipherSuite, &str, &str)] = &[
    (CipherSuite::Aes128GcmSha256, "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    (CipherSuite::Aes256GcmSha384, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    (CipherSuite::Chacha20Poly1305Sha256, "TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    (
        CipherSuite::EcdheEcdsaAes128GcmSha256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ),
    (CipherSuite::EcdheRsaAes128GcmSha256, "ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (
        CipherSuite::EcdheEcdsaAes256GcmSha384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    ),
    (CipherSuite::EcdheRsaAes256GcmSha384, "ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    (
        CipherSuite::EcdheEcdsaChacha20Poly1305,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (
        CipherSuite::EcdheRsaChacha20Poly1305,
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
];

/// Best first.
const GROUPS: &[(&str, Group)] = &[
    ("X25519MLKEM768", Group::X25519MlKem768),
    ("X25519", Group::X25519),
    ("P-256", Group::P256),
    ("P-384", Group::P384),
];

/// Those that are used where none are written.
pub fn all_suites() -> Vec<CipherSuite> {
    SUITES.iter().map(|(suite, ..)| *suite).collect()
}

/// Likewise.
pub fn all_groups() -> Vec<Group> {
    GROUPS.iter().map(|(_, group)| *group).collect()
}

/// Words of OpenSSL's lists that name no suite.
const RULES: &[&str] = &[
    "ALL",
    "COMPLEMENTOFALL",
    "DEFAULT",
    "COMPLEMENTOFDEFAULT",
    "HIGH",
    "MEDIUM",
    "LOW",
    "MODERN",
    "INTERMEDIATE",
    "OLD",
    "EECDH",
    "ECDHE",
    "EDH",
    "DHE",
    "AESGCM",
    "ECDSA",
    "RSA",
    "CHACHA20",
    "FIPS",
    "PROFILE=SYSTEM",
];

/// The name of the suite in OpenSSL.
pub fn suite_name(suite: CipherSuite) -> &'static str {
    SUITES.iter().find(|(known, ..)| *known == suite).map_or("", |(_, name, _)| name)
}

impl FromText for TlsVersion {
    fn shape() -> Shape {
        Shape::Words(vec!["1.2", "1.3"])
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text {
            "1.2" => return Ok(Self::V1_2),
            "1.3" => return Ok(Self::V1_3),
            _ => {}
        }
        let lower = text.to_ascii_lowercase();
        let number = lower.trim_start_matches(['t', 'l', 's', 'v', '_', '-', ' ']).replace('_', ".");
        let old = match number.as_str() {
            _ if lower.starts_with("ssl") => Some("SSL"),
            "1" | "1.0" => Some("TLS 1.0"),
            "1.1" => Some("TLS 1.1"),
            _ => None,
        };
        if let Some(old) = old {
            let refusal = Refusal::new(format!("{old} is not safe and is not spoken: only TLS 1.2 and 1.3 are"));
            return Err(refusal.hint(Some("leave the key out for both".into())));
        }
        let meant = ["1.2", "1.3"].into_iter().find(|known| *known == number);
        let hint = meant.map(|known| format!("did you mean \"{known}\"?"));
        Err(Refusal::new(format!("unknown version \"{text}\"")).hint(hint))
    }
}

impl FromText for CipherSuite {
    fn shape() -> Shape {
        Shape::Text {
            noun: "a cipher suite",
            allowed: "TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256; ECDHE-ECDSA- or ECDHE-RSA- \
                      with AES128-GCM-SHA256, AES256-GCM-SHA384 or CHACHA20-POLY1305; or their IANA names",
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if let Some((suite, ..)) = SUITES.iter().find(|(_, openssl, iana)| *openssl == text || *iana == text) {
            return Ok(*suite);
        }
        let upper = text.to_ascii_uppercase();
        if text.contains([':', ',', ' ', '|']) {
            let message = "this is a list of suites in one string";
            let hint = "each suite is a string of its own: cipher_suites = [\"...\", \"...\"]";
            return Err(Refusal::new(message).hint(Some(hint.into())));
        }
        if text.contains(['!', '+', '@', '[']) || text.starts_with('-') || RULES.contains(&upper.as_str()) {
            let message = format!("\"{text}\" is a rule of OpenSSL and not a cipher suite");
            let hint = "list the suites themselves, or leave `cipher_suites` out: all that are supported are safe";
            return Err(Refusal::new(message).hint(Some(hint.into())));
        }
        if let Some(reason) = fault(&upper) {
            let refusal = Refusal::new(format!("\"{text}\" is not supported: {reason}"));
            return Err(refusal.hint(Some("leave `cipher_suites` out for all that are supported".into())));
        }
        let names = SUITES.iter().flat_map(|(_, openssl, iana)| [*openssl, *iana]);
        let hint = closest(text, names).map(|name| format!("did you mean \"{name}\"?"));
        Err(Refusal::new(format!("unknown cipher suite \"{text}\"")).hint(hint))
    }
}

/// Why a suite that others know is not supported; its name is that of OpenSSL or IANA, in capitals.
fn fault(name: &str) -> Option<&'static str> {
    let parts: Vec<&str> = name.split(['-', '_']).collect();
    let has = |word: &str| parts.contains(&word);
    let any = |words: &[&str]| words.iter().any(|word| has(word));
    let is_suite = any(&["AES", "AES128", "AES256", "CHACHA20", "DES", "3DES", "RC4", "NULL", "CAMELLIA", "ARIA"])
        || any(&["CAMELLIA128", "CAMELLIA256", "ARIA128", "ARIA256", "SEED", "IDEA", "DES3", "CBC3", "RC2"])
        || any(&["AES128GCM", "AES256GCM", "GOST2001", "GOST2012", "SM4"]);
    if !is_suite {
        return None;
    }
    if any(&["NULL", "EXP", "EXPORT", "RC4", "RC2", "DES", "3DES", "DES3", "CBC3", "MD5", "IDEA", "SEED"]) {
        return Some("its cipher or its hash is broken");
    }
    if any(&["ADH", "AECDH", "ANON"]) {
        return Some("it has no certificate, so that anything in between can read the traffic");
    }
    if any(&["PSK", "SRP", "KRB5", "GOST2001", "GOST2012", "SM4"]) {
        return Some("it does not work with certificates of RSA or ECDSA");
    }
    if any(&["CAMELLIA", "CAMELLIA128", "CAMELLIA256", "ARIA", "ARIA128", "ARIA256"]) {
        return Some("only AES and ChaCha20 are");
    }
    if any(&["CCM", "CCM8"]) {
        return Some("AES is only supported in GCM");
    }
    if any(&["DHE", "EDH"]) {
        return Some("finite-field Diffie-Hellman is not, only that of elliptic curves (ECDHE)");
    }
    let is_tls13 = name.starts_with("TLS") && !has("WITH");
    if !has("ECDHE") && !is_tls13 {
        return Some("it has no forward secrecy: its key is agreed on with that of the certificate and not by ECDHE");
    }
    if !any(&["GCM", "POLY1305", "AES128GCM", "AES256GCM"]) {
        return Some(
            "it encrypts in CBC mode and without authenticated encryption, as AES-GCM and ChaCha20-Poly1305 have it",
        );
    }
    None
}

/// The group as it is written.
pub fn group_name(group: Group) -> &'static str {
    GROUPS.iter().find(|(_, known)| *known == group).map_or("", |(name, _)| name)
}

impl FromText for Group {
    fn shape() -> Shape {
        Shape::Words(GROUPS.iter().map(|(name, _)| *name).collect())
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if let Some((_, group)) = GROUPS.iter().find(|(name, _)| *name == text) {
            return Ok(*group);
        }
        let lower = text.to_ascii_lowercase();
        let meant = match lower.as_str() {
            "x25519mlkem768" | "x25519_mlkem768" | "x25519kyber768draft00" => Some("X25519MLKEM768"),
            "x25519" | "curve25519" => Some("X25519"),
            "p-256" | "p256" | "prime256v1" | "secp256r1" | "nistp256" => Some("P-256"),
            "p-384" | "p384" | "secp384r1" | "nistp384" => Some("P-384"),
            _ => None,
        };
        if let Some(meant) = meant {
            let hint = format!("did you mean \"{meant}\"?");
            return Err(Refusal::new(format!("unknown group \"{text}\"")).hint(Some(hint)));
        }
        if text.contains([':', ',', ' ', '|', '/']) {
            let hint = "each group is a string of its own: groups = [\"X25519\", \"P-256\"]";
            return Err(Refusal::new("this is a list of groups in one string").hint(Some(hint.into())));
        }
        let others = ["p-521", "p521", "secp521r1", "nistp521", "x448", "mlkem512", "mlkem768", "mlkem1024"];
        let hybrids = ["secp256r1mlkem768", "secp384r1mlkem1024", "p-224", "secp224r1"];
        let is_other = others.contains(&lower.as_str()) || hybrids.contains(&lower.as_str());
        if is_other || lower.starts_with("ffdhe") || lower.starts_with("brainpool") {
            return Err(Refusal::new(format!("the group \"{text}\" is not supported")));
        }
        Err(Refusal::new(format!("unknown group \"{text}\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_both_names() {
        for (suite, openssl, iana) in SUITES {
            for name in [openssl, iana] {
                assert_eq!(CipherSuite::from_text(name).unwrap(), *suite);
            }
            assert_eq!(suite_name(*suite), *openssl);
            assert!(fault(openssl).is_none() && fault(iana).is_none(), "{openssl} has no fault");
        }
        assert_eq!(SUITES.len(), 9);
    }

    #[test]
    fn a_suite_is_refused_for_its_own_fault() {
        let all = [
            ("AES128-SHA", "forward secrecy"),
            ("AES256-GCM-SHA384", "forward secrecy"),
            ("TLS_RSA_WITH_AES_128_GCM_SHA256", "forward secrecy"),
            ("ECDH-RSA-AES128-SHA", "forward secrecy"),
            ("ECDHE-RSA-AES128-SHA256", "CBC mode"),
            ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384", "CBC mode"),
            ("DHE-RSA-AES128-GCM-SHA256", "finite-field"),
            ("TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "finite-field"),
            ("DES-CBC3-SHA", "broken"),
            ("ECDHE-RSA-RC4-SHA", "broken"),
            ("TLS_RSA_WITH_NULL_MD5", "broken"),
            ("ADH-AES128-SHA", "no certificate"),
            ("PSK-AES128-GCM-SHA256", "certificates of RSA or ECDSA"),
            ("ECDHE-ECDSA-AES128-CCM8", "GCM"),
            ("TLS_AES_128_CCM_SHA256", "GCM"),
            ("CAMELLIA128-SHA", "only AES and ChaCha20"),
            ("HIGH", "a rule"),
            ("!aNULL", "a rule"),
            ("ECDHE+AESGCM", "a rule"),
            ("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384", "a list"),
            ("[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]", "a list"),
            ("ecdhe-rsa-aes128-gcm-sha256", "unknown"),
            ("TLS_AES_128_GCM_SHA265", "unknown"),
            ("", "unknown"),
        ];
        for (name, reason) in all {
            let refusal = CipherSuite::from_text(name).unwrap_err();
            assert!(refusal.message.contains(reason), "{name}: {}", refusal.message);
        }
        let hint = |name| CipherSuite::from_text(name).unwrap_err().hint.unwrap();
        assert_eq!(hint("ecdhe-rsa-aes128-gcm-sha256"), "did you mean \"ECDHE-RSA-AES128-GCM-SHA256\"?");
    }

    #[test]
    fn versions_of_other_programs_lead_to_ours() {
        let refused = |text| TlsVersion::from_text(text).unwrap_err();
        for text in ["1.0", "1.1", "1", "TLSv1", "TLSv1.1", "TLSv1_0", "tls10", "SSLv3", "sslv2"] {
            let is_old = refused(text).message.contains("is not spoken");
            assert_eq!(is_old, text != "tls10", "{text}");
        }
        for text in ["TLSv1.2", "TLSv1_2", "tls1.2", "TLS 1.2", "v1.2"] {
            assert_eq!(refused(text).hint.as_deref(), Some("did you mean \"1.2\"?"), "{text}");
        }
        assert!(refused("1.4").hint.is_none());
    }

    #[test]
    fn groups_of_other_programs_lead_to_ours() {
        for (name, group) in GROUPS {
            assert_eq!((Group::from_text(name).unwrap(), group_name(*group)), (*group, *name));
        }
        let hint = |text| Group::from_text(text).unwrap_err().hint.unwrap();
        assert_eq!(hint("prime256v1"), "did you mean \"P-256\"?");
        assert_eq!(hint("secp384r1"), "did you mean \"P-384\"?");
        assert_eq!(hint("x25519"), "did you mean \"X25519\"?");
        assert_eq!(hint("X25519Kyber768Draft00"), "did you mean \"X25519MLKEM768\"?");
        assert!(hint("X25519:P-256").contains("a string of its own"));
        for text in ["P-521", "ffdhe2048", "brainpoolP256r1", "MLKEM768"] {
            assert!(Group::from_text(text).unwrap_err().message.ends_with("is not supported"), "{text}");
        }
    }
}
