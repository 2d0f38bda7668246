//! `/certs`: the certificates that are in use, in Envoy's form (envoy.admin.v3.Certificates).

use super::message::{Answer, Query};
use super::state::{State, days_until};
use crate::base::date::Civil;
use crate::net::tls::{Names, Shown};
use serde_json::{Value, json};

pub(super) fn certs(state: &State, _: &Query) -> Answer {
    let files = state.loaded().plan.files.get();
    let shown = files.certificates();
    let of_one_file = |a: &Shown<'_>, b: &Shown<'_>| (a.is_authority, a.file) == (b.is_authority, b.file);
    let certificates: Vec<_> = shown
        .chunk_by(of_one_file)
        .map(|chain| {
            let details: Vec<_> = chain.iter().map(details).collect();
            match chain.first().is_some_and(|shown| shown.is_authority) {
                true => json!({ "ca_cert": details, "cert_chain": [] }),
                false => json!({ "ca_cert": [], "cert_chain": details }),
            }
        })
        .collect();
    Answer::json(&json!({ "certificates": certificates }))
}

fn details(shown: &Shown<'_>) -> Value {
    let identity = &shown.identity;
    let kinds = [("dns", &identity.dns), ("uri", &identity.uris), ("ip_address", &identity.ips)];
    let named =
        |(kind, names): (&'static str, &Names)| names.iter().map(|name| json!({ kind: name })).collect::<Vec<_>>();
    let alternative: Vec<_> = kinds.into_iter().flat_map(named).collect();
    let end = (identity.valid_until / 1_000_000).cast_signed();
    let seconds = |time: i64| self::time(time.unsigned_abs() * 1_000_000);
    let staple = shown.staple.map(|(from, until)| json!({ "valid_from": seconds(from), "expiration": seconds(until) }));
    let mut details = json!({
        "path": shown.file,
        "serial_number": identity.serial,
        "subject_alt_names": alternative,
        "days_until_expiration": days_until(end).to_string(),
        "valid_from": time(identity.valid_from),
        "expiration_time": time(identity.valid_until),
    });
    if let Some(staple) = staple {
        details["ocsp_details"] = staple;
    }
    details
}

/// RFC 3339.
fn time(micros: u64) -> String {
    format!("{}Z", Civil::from_unix(micros / 1_000_000))
}
