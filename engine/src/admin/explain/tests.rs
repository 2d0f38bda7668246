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
