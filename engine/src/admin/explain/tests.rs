//! Explanations show settings as the file writes them, whatever the file.

use super::action::{Scene, describe};
use super::page::Page;
use super::{Question, explain};
use crate::route::RouteTable;
use crate::route::explain::{ALL, Tried, Verdict};
use ringway_config::model::{Config, NetworkFilter};
use std::path::{Path, PathBuf};

/// All files below docs/examples.
fn examples() -> Vec<PathBuf> {
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples")];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => directories.push(path),
                false if path.extension().is_some_and(|extension| extension == "toml") => files.push(path),
                false => {}
            }
        }
    }
    assert!(files.len() > 30, "{files:?}");
    files
}

/// What is said of every route of the file, whether a request can have it or not.
fn all_actions(config: &Config) -> String {
    let question = Question { url: "http://shop.example/api/items?q=1".into(), ..Question::default() };
    let exchange = question.exchange().expect("a request");
    let mut page = Page::new(&config.file);
    for chain in config.listeners.iter().flat_map(|listener| &listener.filter_chains) {
        let NetworkFilter::Http(hcm) = &chain.filter;
        for host in &hcm.virtual_hosts {
            let table = RouteTable::new(std::slice::from_ref(host));
            let scene = Scene { config, hcm, host, exchange: &exchange, table: &table };
            for (index, route) in host.routes.iter().enumerate() {
                describe(&mut page, &scene, &Tried { route, index, verdict: Verdict::Taken { from: 0, to: ALL } });
            }
        }
    }
    page.text
}

/// The first part of the text that only Rust's `{:?}` writes.
fn debug_text(text: &str) -> Option<&str> {
    let typed = |line: &str| {
        // `Name { field: `, `Name(` and `[Name {`, which no TOML has outside of strings.
        let outside = line.split(['"', '\'']).step_by(2).collect::<String>();
        let words = outside.match_indices([' ', '{', '[', '(']).map(|(at, _)| &outside[at + 1..]);
        let mut starts = words.chain([outside.as_str()]);
        starts.any(|word| {
            let name = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
            let is_type = word.starts_with(|c: char| c.is_ascii_uppercase()) && name > 1;
            is_type && (word[name..].starts_with('(') || word[name..].starts_with(" { "))
        })
    };
    text.lines()
        .find(|line| typed(line) || ["None,", "Some(", "\\u{", "{ field:"].iter().any(|word| line.contains(word)))
}

#[test]
fn no_example_is_explained_in_rusts_words() {
    for file in examples() {
        let Ok(config) = ringway_config::load_portable(&file) else { panic!("{} is refused", file.display()) };
        let actions = all_actions(&config);
        assert!(actions.contains("taken"), "{}", file.display());
        assert_eq!(debug_text(&actions), None, "{}", file.display());
        for listener in &config.listeners {
            for url in ["http://shop.example/", "http://app.example/api/v1/x?a=b", "/static/x.css", "/%00"] {
                let listener = Some(listener.name.clone());
                let question = Question { url: url.into(), listener, ..Question::default() };
                let text = explain(&config, &question).expect("a question").text;
                assert_eq!(debug_text(&text), None, "{}: {url}", file.display());
            }
        }
    }
}

#[test]
fn debug_text_is_seen() {
    for text in
        ["a\nfault: Fault { delay: None", "x: [Gzip { level: 4 }]", "x Some(4)", "by Fixed(250ms)", "x: \"\\u{1}\""]
    {
        assert!(debug_text(text).is_some(), "{text}");
    }
    for text in ["fault: { delay = { fixed_delay = \"2s\" } }", "path \"/Some { x\"", "request GET / (it was X)"] {
        assert_eq!(debug_text(text), None, "{text}");
    }
}

#[test]
fn filters_have_the_settings_and_the_lines_of_the_file() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/filter-overrides.toml");
    let config = ringway_config::load_file(&file).expect("an example");
    let line = |url: &str| {
        let text = explain(&config, &Question { url: url.into(), ..Question::default() }).expect("a question").text;
        text.lines()
            .filter(|line| line.starts_with("filter"))
            .map(|line| line.replace(&config.file, "file"))
            .collect::<Vec<_>>()
    };
    let chain = "filter      local_ratelimit: { token_bucket = { max_tokens = 1000, tokens_per_fill = 1000, fill_interval = \"1s\" } }  (file:7)";
    assert_eq!(line("/"), [chain, "filter      buffer: { max_request_bytes = \"1MiB\" }  (file:8)"]);
    assert_eq!(line("/upload"), [chain, "filter      buffer: off, by the route  (file:11)"]);
    let login = "filter      local_ratelimit: { token_bucket = { max_tokens = 10, fill_interval = \"1s\" } }, by the route  (file:19)";
    assert_eq!(line("/login")[0], login);
}

#[test]
fn the_host_of_a_url_with_https_chooses_the_chain() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/sites-by-name.toml");
    let config = ringway_config::load_portable(&file).expect("an example");
    let chains = |url: &str| -> Vec<String> {
        let text = explain(&config, &Question { url: url.into(), ..Question::default() }).expect("a question").text;
        let chains = text.lines().filter_map(|line| line.strip_prefix("chain       "));
        chains.filter_map(|line| line.rsplit_once("  (")).map(|(line, _)| line.to_owned()).collect()
    };
    let internal = "wants TLS for admin.example.com or *.internal.example.com";
    assert_eq!(
        chains("https://A.B.internal.example.com./"),
        [format!(
            "internal: yes: {internal}; got a client at 127.0.0.1 on port 443, with TLS for a.b.internal.example.com"
        )]
    );
    let other = "got a client at 127.0.0.1 on port 443, with TLS for no name";
    assert_eq!(
        chains("https://192.0.2.1/"),
        [
            format!("internal: no: {internal}; {other}"),
            format!("plain: no: wants no TLS; {other}"),
            format!("shop: yes: wants TLS; {other}"),
        ]
    );
    assert_eq!(
        chains("http://admin.example.com/").last().map(String::as_str),
        Some("plain: yes: wants no TLS; got a client at 127.0.0.1 on port 443, without TLS")
    );
}

/// What looks like a time in a text: "0.25s".
fn times(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    let is_time = |word: &&str| {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let is_number = digits.starts_with(|c: char| c.is_ascii_digit()) && digits.parse::<f64>().is_ok();
        is_number && ["ms", "s", "m", "h"].contains(&&word[digits.len()..])
    };
    words.filter(is_time).collect()
}

#[test]
fn times_are_those_of_the_file_or_of_the_reference() {
    let mut count = 0;
    for file in examples() {
        let config = ringway_config::load_portable(&file).expect("an example");
        let written = std::fs::read_to_string(&file).expect("a file");
        // Names and values of the file may look like times; they are in it as well.
        for time in times(&all_actions(&config)) {
            // connect_timeout; response_head_timeout and no_traffic_interval; stream_idle_timeout; retry_back_off; interval
            // of checks; their timeout and that of detection's interval; base_ejection_time
            let is_default = ["5s", "60s", "5m", "25ms", "250ms", "1s", "10s", "30s"].contains(&time);
            assert!(is_default || written.contains(time), "{}: {time} is not in the file", file.display());
            count += 1;
        }
    }
    assert!(count > 100, "only {count} times are shown");
}

/// A file in which no time is written as a program would write it.
const ODD_TIMES: &str = r#"
[[listeners]]
address = "127.0.0.1:10000"
[listeners.http]
stream_idle_timeout = "300000ms"
max_stream_duration = '1.50h'
local_reply = [
  { filter = { status = { equal = 404 } }, format = "not here\n", content_type = "text/plain" },
  { json = { code = "%RESPONSE_CODE%" } },
]
[[listeners.http.virtual_hosts]]
name = "all"
domains = ["*"]
[listeners.http.virtual_hosts.retry_policy]
retry_on = ["5xx"]
per_try_timeout = "0.250s"
per_try_idle_timeout = "0.1s"
retry_back_off.base_interval = "0.010s"
retry_back_off.max_interval = "1000ms"
[[listeners.http.virtual_hosts.routes]]
match.prefix = "/slow"
route = { cluster = "app", response_head_timeout = "2.0m", stream_idle_timeout = "off", max_stream_duration = "0.5h" }
[[listeners.http.virtual_hosts.routes]]
match.prefix = "/"
[listeners.http.virtual_hosts.routes.route]
cluster = "app"
timeout = """0.25m"""
[[listeners.http.virtual_hosts.routes.route.hash_policy]]
cookie = { name = "s", ttl = "0.5m" }
terminal = true

[[clusters]]
name = "app"
endpoints = ["127.0.0.1:8080"]
lb_policy = "ring_hash"
connect_timeout = "0.3s"
health_checks = [{ interval = "5000ms", timeout = "0.5s", tcp = {} }]
outlier_detection = { base_ejection_time = "0.50m" }
"#;

#[test]
fn settings_are_shown_as_the_file_writes_them() {
    let config = ringway_config::load_str("odd.toml", ODD_TIMES).expect("a configuration");
    let explained =
        |url: &str| explain(&config, &Question { url: url.into(), ..Question::default() }).expect("a question").text;
    let text = explained("/");
    for part in [
        "connect_timeout 0.3s  (odd.toml:32)",
        "every 5000ms, timeout 0.5s",
        "ejected for 0.50m and longer",
        "timeout     0.25m  (odd.toml:27)",
        "response_head_timeout off, stream_idle_timeout 300000ms, max_stream_duration 1.50h",
        "per_try_timeout 0.250s, per_try_idle_timeout 0.1s",
        "back-off 0.010s to 1000ms",
        "hash        { cookie = { name = \"s\", ttl = \"0.5m\" }, terminal = true }",
        "local_reply 1: { filter = { status = { equal = 404 } }, format = \"not here\\n\", content_type = \"text/plain\" }  (odd.toml:8)",
        "local_reply 2: { json = { code = \"%RESPONSE_CODE%\" } }  (odd.toml:9)",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let slow = explained("/slow");
    let part = "response_head_timeout 2.0m, stream_idle_timeout off, max_stream_duration 0.5h";
    assert!(slow.contains(part), "{slow}");
}
