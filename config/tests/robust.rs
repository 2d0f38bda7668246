//! No input makes the loader panic or answer nonsense: cut and damaged files, hostile nesting, large wrong files.

use std::fs;
use std::path::Path;

use ringway_config::load_str;

/// xorshift64*, so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

fn corpus() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut corpus = Vec::new();
    for directory in ["../docs/examples", "tests/wrong"] {
        for entry in fs::read_dir(root.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                corpus.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    corpus.retain(|(_, text)| !text.is_empty());
    corpus.sort();
    corpus
}

/// Loads `text`; a refusal must be printable and stay inside the text.
fn load(name: &str, text: &str) {
    if let Err(diagnostics) = load_str(name, text) {
        let shown = diagnostics.to_string();
        assert!(shown.ends_with("problem\n") || shown.ends_with("problems\n"), "{shown}");
        let lines = text.split('\n').count();
        for problem in diagnostics.iter() {
            assert!(problem.line <= lines && text.get(problem.span.clone()).is_some(), "{problem:?}");
        }
    }
}

#[test]
fn truncations() {
    for (name, text) in corpus() {
        // Long files are cut at some hundred places.
        let stride = 1 + text.len() / 300;
        for end in (0..text.len()).step_by(stride).filter(|end| text.is_char_boundary(*end)) {
            load(&name, &text[..end]);
        }
    }
}

#[test]
fn mutations() {
    const SPICE: &[&str] = &[
        "\"",
        "'",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "\t",
        "\0",
        "#",
        "%",
        "-1",
        "99999999999999999999",
        "é",
        "\u{feff}",
        "\r",
    ];
    let mut random = Random(0x5eed);
    for (name, text) in corpus() {
        for _ in 0..120 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..=random.below(3).min(bytes.len() - 1) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[at] = random.below(256) as u8,
                    1 => drop(bytes.remove(at)),
                    2 => drop(bytes.splice(at..at, SPICE[random.below(SPICE.len())].bytes())),
                    _ => {
                        let end = (at + random.below(40)).min(bytes.len());
                        let copied: Vec<_> = bytes[at..end].to_vec();
                        let to = random.below(bytes.len());
                        drop(bytes.splice(to..to, copied));
                    }
                }
            }
            load(&name, &String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn deep_nesting_and_long_keys() {
    for text in ["[".repeat(100_000), "a=".to_owned() + &"{b=".repeat(50_000), "a.".repeat(50_000), "x".repeat(1 << 20)]
    {
        load("deep.toml", &text);
        load("deep.toml", &format!("[runtime]\nlog = {text}"));
        load("deep.toml", &format!("[[listeners]]\n{text} = 1"));
    }
    // A filter may stand in a filter.
    let listener = "[[listeners]]\naddress = \"127.0.0.1:1\"\nhttp.access_log";
    for depth in [70, 90, 50_000] {
        let (dotted, braces) = ("not.".repeat(depth), "{ not = ".repeat(depth));
        load("deep.toml", &format!("{listener} = [{{ filter.{dotted}sample_percent = 1 }}]"));
        load("deep.toml", &format!("{listener} = [{{ filter = {braces}{{}}{} }}]", " }".repeat(depth)));
        load(
            "deep.toml",
            &format!("{listener} = [{{ filter = {{ and = {}{} }}]", "[{ and = ".repeat(depth), "}]".repeat(depth)),
        );
    }
}

#[test]
fn every_problem_of_a_large_file_is_counted() {
    let mut text = String::from("[[listeners]]\naddress = \"127.0.0.1:0\"\n");
    for index in 0..5_000 {
        text.push_str(&format!(
            "[[listeners.http.routes]]\nmatch.prefix = \"/\"\nroute.cluster = \"missing{index}\"\n"
        ));
    }
    for index in 0..500 {
        text.push_str(&format!("[[clusters]]\nname = \"cluster{index}\"\nendpoints = [\"127.0.0.1:1\"]\n"));
    }
    assert_eq!(load_str("large.toml", &text).unwrap_err().len(), 5_000);
}
