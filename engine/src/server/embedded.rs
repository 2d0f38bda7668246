//! The example that `ringway` runs without arguments: a proxy in front of a small origin, which is a second listener.

/// The configuration; docs/examples/embedded.toml is the same text.
pub const EMBEDDED: &str = include_str!("../../../docs/examples/embedded.toml");

/// Printed at the start: what to try.
pub const HINTS: &str = "\
Ringway runs its built-in example: a proxy on 127.0.0.1:10000 in front of a small origin on 127.0.0.1:10001.
Try:
    curl -i http://127.0.0.1:10000/            a response from the origin, through the proxy
    curl -i http://127.0.0.1:10000/old/page    a redirect
    curl -s http://127.0.0.1:9901/stats        statistics (?filter=REGEX, ?format=json, /stats/prometheus)
    curl -s http://127.0.0.1:9901/help         the admin endpoint
Put it before your own server: `ringway run FILE.toml`; `ringway check FILE.toml` tells what is wrong with a file.
Stop it with Ctrl-C.";
