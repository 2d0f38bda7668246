//! What the certificate of a peer must be: conditions that mean nothing without others, or next to them.

use std::net::IpAddr;

use crate::diagnostic::Problem;
use crate::document::{self, CertificateHash, SanType, SpkiHash};
use crate::model::{ClientCertificate, Crl, SanKind, StringMatchKind, SubjectAltName, Validation};
use crate::place::Origin;
use crate::reader::{FilePath, List, Located, Slot};
use crate::resolve::matcher::{StringKeys, string_keys};
use crate::resolve::{Resolver, is_written};

/// The keys that both sides have.
struct Written<'d> {
    table: &'d Origin,
    ca: &'d Slot<FilePath>,
    crl: &'d Slot<FilePath>,
    only_leaf: &'d Located<bool>,
    allow_expired: &'d Located<bool>,
    names: &'d Slot<List<document::SubjectAltName>>,
    hashes: &'d Slot<List<CertificateHash>>,
    keys: &'d Slot<List<SpkiHash>>,
    accept_untrusted: bool,
}

macro_rules! written {
    ($table:expr) => {
        Written {
            table: &$table.origin,
            ca: &$table.ca,
            crl: &$table.crl,
            only_leaf: &$table.only_verify_leaf_cert_crl,
            allow_expired: &$table.allow_expired_crl,
            names: &$table.subject_alt_names,
            hashes: &$table.verify_certificate_hash,
            keys: &$table.verify_certificate_spki,
            accept_untrusted: $table.accept_untrusted.value,
        }
    };
}

impl<'d> Written<'d> {
    fn conditions(&self) -> [(&'static str, Option<&'d Origin>); 5] {
        [
            ("ca", self.ca.origin()),
            ("crl", self.crl.origin()),
            ("subject_alt_names", self.names.origin()),
            ("verify_certificate_hash", self.hashes.origin()),
            ("verify_certificate_spki", self.keys.origin()),
        ]
    }
}

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn client_certificate(&mut self, table: &'d Located<document::ClientCertificate>) -> ClientCertificate {
        let written = written!(table);
        let [(_, ca), _, (_, names), (_, hashes), (_, keys)] = written.conditions();
        let has_pins = hashes.is_some() || keys.is_some();
        match (ca, names) {
            // A name in a certificate that anything may have issued says nothing.
            (None, Some(names)) if !table.has_unknown => {
                let problem = Problem::at_key(
                    names,
                    "`subject_alt_names` needs `ca`: without it, any name can be in a certificate",
                );
                self.problems
                    .push(problem.hint(Some("add ca = \"ca.pem\", the authorities that issue the certificates")));
            }
            (None, None) if !has_pins && !written.accept_untrusted && !table.has_unknown => {
                let problem = Problem::at(&table.origin, "nothing says which certificates are accepted");
                let hint = "add ca = \"ca.pem\", the authorities that issue the certificates";
                let allowed = "ca, verify_certificate_hash, verify_certificate_spki, or accept_untrusted = true";
                self.problems.push(problem.allowed(allowed).hint(Some(hint)));
            }
            _ => {}
        }
        ClientCertificate { validation: self.validation(&written), required: table.required.value }
    }

    pub(super) fn endpoint_validation(&mut self, table: &'d Located<document::UpstreamTls>) -> Validation {
        let written = written!(table);
        let conditions = written.conditions().into_iter().filter_map(|(name, origin)| Some((name, origin?)));
        for (name, origin) in conditions.filter(|_| written.accept_untrusted) {
            let message = format!("`accept_untrusted` and `{name}` exclude each other");
            let problem = Problem::at_key(&table.accept_untrusted.origin, message).earlier_at(origin.key.start);
            let hint = match name {
                "ca" => "certificates of the authorities in `ca` are trusted already: remove `accept_untrusted`",
                _ => "with `accept_untrusted` every certificate is taken: remove one of them",
            };
            self.problems.push(problem.hint(Some(hint)));
        }
        self.validation(&written)
    }

    fn validation(&mut self, written: &Written<'d>) -> Validation {
        let hint = "leave it out for any name that the certificate may have";
        self.refuse_empty(written.names, "`subject_alt_names` names no name", hint);
        self.refuse_empty(written.hashes, "`verify_certificate_hash` names no certificate", "leave it out");
        self.refuse_empty(written.keys, "`verify_certificate_spki` names no key", "leave it out");
        let names = written.names.items();
        Validation {
            ca: written.ca.given().map(|ca| self.pem(ca)),
            crl: self.crl(written),
            subject_alt_names: names.iter().filter_map(|name| self.subject_alt_name(name)).collect(),
            certificate_hashes: written.hashes.values(),
            spki_hashes: written.keys.values(),
            accept_untrusted: written.accept_untrusted,
        }
    }

    fn crl(&mut self, written: &Written<'d>) -> Option<Crl> {
        let Some(crl) = written.crl.origin() else {
            let switches =
                [("only_verify_leaf_cert_crl", written.only_leaf), ("allow_expired_crl", written.allow_expired)];
            for (name, switch) in switches.into_iter().filter(|(_, switch)| is_written(&switch.origin, written.table)) {
                let message = format!("`{name}` has no effect: there is no `crl`");
                let hint = "add crl = \"crl.pem\", the revocation lists of the authorities";
                self.problems.warn(Problem::at_key(&switch.origin, message).hint(Some(hint)));
            }
            return None;
        };
        if written.ca.origin().is_none() {
            let problem = Problem::at_key(crl, "`crl` needs `ca`: revocation lists are signed by authorities");
            self.problems.push(problem.hint(Some("add ca = \"ca.pem\", the authorities that issue the certificates")));
        }
        Some(Crl {
            file: self.pem(written.crl.given()?),
            only_leaf: written.only_leaf.value,
            allows_expired: written.allow_expired.value,
        })
    }

    fn subject_alt_name(&mut self, written: &'d Located<document::SubjectAltName>) -> Option<SubjectAltName> {
        let strings = string_keys!(written);
        let mut value =
            self.one_string(&written.origin, written.has_unknown, &strings, "there is no name to compare with");
        let oid = written.oid.given();
        let kind = match (written.r#type.value()?, oid) {
            (SanType::Other, Some(oid)) => SanKind::Other(oid.0.clone()),
            (SanType::Other, None) => {
                if !written.has_unknown && written.oid.origin().is_none() {
                    let problem =
                        Problem::at(&written.origin, "an otherName has a type of its own, and none is written");
                    let hint = "add its object identifier: oid = \"1.3.6.1.4.1.311.20.2.3\"";
                    self.problems.push(problem.hint(Some(hint)));
                }
                return None;
            }
            (_, Some(oid)) => {
                let problem = Problem::at_key(&oid.origin, "`oid` is for names of the type `other` alone");
                self.problems.push(problem.hint(Some("remove it, or write type = \"other\"")));
                return None;
            }
            (SanType::Dns, None) => SanKind::Dns,
            (SanType::Uri, None) => SanKind::Uri,
            (SanType::Email, None) => SanKind::Email,
            (SanType::Ip, None) => SanKind::Ip,
        };
        if let (SanKind::Ip, Some(exact)) = (&kind, written.exact.given()) {
            let Ok(address) = exact.0.parse::<IpAddr>() else {
                let problem = Problem::at(&exact.origin, format!("{:?} is not an IP address", exact.0));
                self.problems.push(problem.hint(Some("ranges are compared as text: prefix = \"10.1.\"")));
                return None;
            };
            if let Some(value) = &mut value {
                value.kind = StringMatchKind::Exact(address.to_string());
            }
        }
        Some(SubjectAltName { kind, value: value? })
    }
}
