//! `/certs`: the certificates that are in use, in Envoy's form (envoy.admin.v3.Certificates).

use super::message::{Answer, Query};
use super::state::{State, now};
use crate::base::date::Civil;
use crate::net::tls::{Identity, Shown};
use serde_json::{Value, json};
use std::path::Path;

pub(super) fn certs(state: &State, _: &Query) -> Answer {
    let files = state.loaded().plan.files.get();
    let shown = files.certificates();
    let of_one_file = |a: &Shown<'_>, b: &Shown<'_>| (a.is_authority, a.file) == (b.is_authority, b.file);
    let certificates: Vec<_> = shown
        .chunk_by(of_one_file)
        .map(|chain| {
            let details: Vec<_> = chain.iter().map(|shown| details(shown.file, &shown.identity)).collect();
            match chain.first().is_some_and(|shown| shown.is_authority) {
                true => json!({ "ca_cert": details, "cert_chain": [] }),
                false => json!({ "ca_cert": [], "cert_chain": details }),
            }
        })
        .collect();
    Answer::json(&json!({ "certificates": certificates }))
}

fn details(file: &Path, identity: &Identity) -> Value {
    let names = |kind: &'static str, names: Vec<String>| names.into_iter().map(move |name| json!({ kind: name }));
    let all = |list: &crate::net::tls::Names| list.iter().map(str::to_owned).collect::<Vec<_>>();
    let alternative: Vec<_> = names("dns", all(&identity.dns))
        .chain(names("uri", all(&identity.uris)))
        .chain(names("ip_address", all(&identity.ips)))
        .collect();
    let days = (identity.valid_until / 1_000_000).saturating_sub(now().unsigned_abs()) / 86_400;
    json!({
        "path": file,
        "serial_number": identity.serial,
        "subject_alt_names": alternative,
        "days_until_expiration": days.to_string(),
        "valid_from": time(identity.valid_from),
        "expiration_time": time(identity.valid_until),
    })
}

/// RFC 3339.
fn time(micros: u64) -> String {
    let Civil { year, month, day, hour, minute, second, .. } = Civil::from_unix(micros / 1_000_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
