//! docs/CONFIG.md, written from the declarations in `document`, so that it always agrees with the reader.

mod operators;
mod topics;
mod words;

use std::fmt::Write as _;

use crate::document::all_tables;
use crate::reader::{KeySpec, Presence, TableSpec};
pub use words::words_markdown;

/// The files in docs/examples that the tables name.
const EXAMPLES: &[(&str, &str)] = &[
    ("access-log-export.toml", include_str!("../../docs/examples/access-log-export.toml")),
    ("access-log-filters.toml", include_str!("../../docs/examples/access-log-filters.toml")),
    ("access-log.toml", include_str!("../../docs/examples/access-log.toml")),
    ("admin.toml", include_str!("../../docs/examples/admin.toml")),
    ("allow-lists.toml", include_str!("../../docs/examples/allow-lists.toml")),
    ("buffer.toml", include_str!("../../docs/examples/buffer.toml")),
    ("certificates.toml", include_str!("../../docs/examples/certificates.toml")),
    ("client-certificates.toml", include_str!("../../docs/examples/client-certificates.toml")),
    ("client-names.toml", include_str!("../../docs/examples/client-names.toml")),
    ("circuit-breakers.toml", include_str!("../../docs/examples/circuit-breakers.toml")),
    ("clusters.toml", include_str!("../../docs/examples/clusters.toml")),
    ("compressor.toml", include_str!("../../docs/examples/compressor.toml")),
    ("connection-log.toml", include_str!("../../docs/examples/connection-log.toml")),
    ("consistent-hash.toml", include_str!("../../docs/examples/consistent-hash.toml")),
    ("decompressor.toml", include_str!("../../docs/examples/decompressor.toml")),
    ("direct-response.toml", include_str!("../../docs/examples/direct-response.toml")),
    ("dns.toml", include_str!("../../docs/examples/dns.toml")),
    ("fault.toml", include_str!("../../docs/examples/fault.toml")),
    ("filter-overrides.toml", include_str!("../../docs/examples/filter-overrides.toml")),
    ("filters.toml", include_str!("../../docs/examples/filters.toml")),
    ("grpc-stats.toml", include_str!("../../docs/examples/grpc-stats.toml")),
    ("grpc-web.toml", include_str!("../../docs/examples/grpc-web.toml")),
    ("grpc.toml", include_str!("../../docs/examples/grpc.toml")),
    ("hash-policy.toml", include_str!("../../docs/examples/hash-policy.toml")),
    ("headers.toml", include_str!("../../docs/examples/headers.toml")),
    ("health-checks.toml", include_str!("../../docs/examples/health-checks.toml")),
    ("http.toml", include_str!("../../docs/examples/http.toml")),
    ("http2.toml", include_str!("../../docs/examples/http2.toml")),
    ("internal-redirect.toml", include_str!("../../docs/examples/internal-redirect.toml")),
    ("key-log.toml", include_str!("../../docs/examples/key-log.toml")),
    ("listeners.toml", include_str!("../../docs/examples/listeners.toml")),
    ("load-balancing.toml", include_str!("../../docs/examples/load-balancing.toml")),
    ("local-ratelimit.toml", include_str!("../../docs/examples/local-ratelimit.toml")),
    ("local-reply.toml", include_str!("../../docs/examples/local-reply.toml")),
    ("localities.toml", include_str!("../../docs/examples/localities.toml")),
    ("minimal.toml", include_str!("../../docs/examples/minimal.toml")),
    ("mirror.toml", include_str!("../../docs/examples/mirror.toml")),
    ("mutual-tls.toml", include_str!("../../docs/examples/mutual-tls.toml")),
    ("outlier-detection.toml", include_str!("../../docs/examples/outlier-detection.toml")),
    ("redirect.toml", include_str!("../../docs/examples/redirect.toml")),
    ("retries.toml", include_str!("../../docs/examples/retries.toml")),
    ("rewrites.toml", include_str!("../../docs/examples/rewrites.toml")),
    ("routes.toml", include_str!("../../docs/examples/routes.toml")),
    ("runtime.toml", include_str!("../../docs/examples/runtime.toml")),
    ("stats-otlp.toml", include_str!("../../docs/examples/stats-otlp.toml")),
    ("stats.toml", include_str!("../../docs/examples/stats.toml")),
    ("subsets.toml", include_str!("../../docs/examples/subsets.toml")),
    ("tls.toml", include_str!("../../docs/examples/tls.toml")),
    ("tracing-otlp.toml", include_str!("../../docs/examples/tracing-otlp.toml")),
    ("tracing.toml", include_str!("../../docs/examples/tracing.toml")),
    ("transports.toml", include_str!("../../docs/examples/transports.toml")),
    ("upstream-tls.toml", include_str!("../../docs/examples/upstream-tls.toml")),
    ("virtual-hosts.toml", include_str!("../../docs/examples/virtual-hosts.toml")),
    ("weighted-clusters.toml", include_str!("../../docs/examples/weighted-clusters.toml")),
];

const QUICK_START: &str = include_str!("../../docs/examples/quick-start.toml");

const INTRODUCTION: &str = r#"# The configuration file

<!-- Written by the crate ringway-config from its declarations; do not edit. Renew it with
     RINGWAY_BLESS=1 cargo test -p ringway-config -->

`ringway check FILE` reports everything that is wrong with a file, each mistake with its line, its column and what is
allowed there; `ringway run FILE` runs the proxy with it. The file is [TOML](https://toml.io) 1.1. Unknown keys are errors.
`check` warns of what is valid and has no effect, such as a route behind one that takes all of its requests, and with
`--strict` fails on that. It also refuses what `run` would refuse on this host: users, cores, addresses, the directories of logs and
sockets, owners of sockets that this user may not give, files of TLS that cannot be used, receive buffers for which there is no
memory, limits on descriptors and locked memory that are too low; with `--portable` it leaves the host out. It does not look at
what listens at the moment, since the proxy itself may, and be about to reload the file: that another program has a port, only
`run` or the reload says.

## From a connection to an answer

A **listener** accepts connections at an address. Its first **filter chain** that matches a connection serves it. A chain
hands the connection to **http**, the HTTP connection manager, which reads requests. The host of a request selects a
**virtual host**; in it, the first **route** that matches the request decides what happens: the request is forwarded to a
**cluster**, redirected, or answered directly. Before that, the request passes the **HTTP filters**, each of which may
answer it or hold it back; the response passes them on its way back. A cluster is a set of **endpoints**, servers that can
answer the same requests; load balancing chooses one for each request. The names are Envoy's, so that its users already
know them.

```text
listener -> filter chain -> http -> virtual host -> route -> cluster -> endpoint
```

**The short form.** A listener with one filter chain may leave out `filter_chains` and have `http` directly, and `http`
with one virtual host for every domain may have `routes` directly. The smallest useful file:

"#;

const LONG_FORM: &str = r#"
**The long form** names every step, and has room for more filter chains and virtual hosts. This is Envoy's quick start, which
forwards requests over [TLS](TLS.md):

"#;

const VALUES: &str = r#"
## How values are written

| Type | Written as |
|---|---|
| duration | A string, one number with one unit: `"250ms"`, `"0.25s"`, `"15s"`, `"5m"`, `"1h"`; to the millisecond. Where `"off"` is allowed, `"0s"` means the same. |
| size | A string, one whole number with one unit: `"512B"`, `"16KiB"`, `"10MiB"`, `"1GiB"`. Units are powers of 1024; `KB` and `MB` are refused, because some programs mean 1000 by them and others 1024. |
| address | A string: `"127.0.0.1:8080"`, `"[::1]:8080"`, `"unix:/run/app.sock"`. |
| endpoint address | A string: an address, or a host name with a port, `"app.internal:8080"`, if the cluster's `discovery` looks up names. |
| number, per cent | Without quotes, with or without a fraction: `50`, `0.5`. The finest share of requests is one in a million, `0.0001`. |
| address range | A string: `"10.0.0.0/8"`, `"fd00::/8"`; a single address is a range of one. |
| path | A string that starts with `/`, percent-encoded as clients send it, without a query. |
| regular expression | A string, best in single quotes, where `\` need not be doubled: `'/v\d+/.*'`. The syntax is that of the Rust crate [regex](https://docs.rs/regex/latest/regex/#syntax), which is like RE2. It must match the whole text. |

A table can be written with a header (`[admin]`, `[[listeners]]` for a member of a list), in braces
(`route = { cluster = "app" }`) or with dots (`http.routes = [...]`); all mean the same.

"#;

/// The text of docs/CONFIG.md.
pub fn markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str(&fenced(example("minimal.toml")));
    out.push_str(LONG_FORM);
    out.push_str(&fenced(QUICK_START));
    out.push_str(VALUES);
    topics::write(&mut out);
    let tables = in_reading_order();
    out.push_str("## Tables\n\n");
    for table in &tables {
        let _ = writeln!(out, "- [{}](#{})", code_title(table), table.anchor());
    }
    out.push_str("- [Command operators](#command-operators)\n");
    let mut shown = vec!["minimal.toml"];
    for table in &tables {
        write_table(&mut out, table, &mut shown);
    }
    operators::write(&mut out);
    out
}

/// Depth first, in the order of the keys: a table is followed by the tables in it.
fn in_reading_order() -> Vec<&'static TableSpec> {
    let tables = all_tables();
    let mut order = Vec::new();
    let mut pending = vec![tables[0]];
    while let Some(table) = pending.pop() {
        order.push(table);
        let inner = |other: &&&TableSpec| parent_place(other.place) == Some(table.place) && other.place != table.place;
        let children: Vec<_> = tables.iter().filter(inner).copied().collect();
        pending.extend(children.into_iter().rev());
    }
    order
}

/// `a.b[]` for `a.b[].c`; the top level for `a`; nothing for the top level.
fn parent_place(place: &str) -> Option<&str> {
    match place.rsplit_once('.') {
        Some((parent, _)) => Some(parent),
        None if place.is_empty() => None,
        None => Some(""),
    }
}

fn code_title(table: &TableSpec) -> String {
    if table.place.is_empty() { "top level".into() } else { format!("`{}`", table.place) }
}

fn write_table(out: &mut String, table: &'static TableSpec, shown: &mut Vec<&'static str>) {
    let _ = write!(out, "\n## {}\n\n{}\n", code_title(table), paragraph(table.docs));
    if !table.keys.is_empty() {
        out.push_str("\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
    }
    for key in table.keys {
        write_key(out, key);
    }
    if shown.contains(&table.example) {
        let _ = writeln!(out, "\nExample: [{0}](examples/{0}), shown above.", table.example);
    } else {
        let _ = write!(out, "\nExample, [{0}](examples/{0}):\n\n{1}", table.example, fenced(example(table.example)));
        shown.push(table.example);
    }
}

fn write_key(out: &mut String, key: &KeySpec) {
    let default = match key.presence {
        Presence::Required => "required".into(),
        Presence::Optional(meaning) => meaning.to_owned(),
        Presence::Default(text) => format!("`{text}`"),
    };
    let cells = [format!("`{}`", key.name), (key.shape)().type_name(), default, paragraph(key.docs)];
    // A bar would end the cell.
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// The lines of a doc comment as one paragraph.
fn paragraph(docs: &[&str]) -> String {
    docs.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn fenced(text: &str) -> String {
    format!("```toml\n{text}```\n")
}

fn example(name: &str) -> &'static str {
    EXAMPLES.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_an_example_that_shows_it() {
        for table in all_tables() {
            assert!(!example(table.example).is_empty(), "{} names {}", table.title(), table.example);
        }
        assert_eq!(in_reading_order().len(), all_tables().len(), "a table's place has no parent");
    }

    #[test]
    fn every_default_is_a_value_of_its_key() {
        for table in all_tables() {
            for key in table.keys {
                if let Presence::Default(text) = key.presence {
                    assert!((key.reads)(text), "{}: {} = {text}", table.title(), key.name);
                }
            }
        }
    }
}
