//! docs/examples/recipes: each file runs, with origins of this test at its endpoints' addresses, and does what its last lines
//! say:
//!
//! ```text
//! METHOD URL [NAME: VALUE | NAME: VALUE ...] => STATUS & EXPECTED & EXPECTED ...
//! explain METHOD URL --from ADDRESS => TEXT
//! ```
//!
//! EXPECTED is `"text in the body"`, `name: beginning of the value`, `no name`, `upstream name: value` (in the request that the
//! server gets) or `no-upstream name`. BIG as the method is a POST with 2000 bytes. A server at 10.0.9.x is dead.

use super::support::{Client, Message, Origin, Ringway, dead_address, response};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

fn recipes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/recipes");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("recipes").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 25, "only {} recipes", files.len());
    files
}

/// Answers with its address in the file, the request line and the request's headers.
fn origin(address: &str) -> Origin {
    let address = address.to_owned();
    Origin::answering(move |request| {
        let fields: String =
            request.fields.iter().map(|(name, value)| format!("{}: {value}\n", name.to_ascii_lowercase())).collect();
        let line = request.start.rsplit_once(' ').map_or("", |(line, _)| line);
        response(200, &["server: origin"], format!("{address} {line}\n{fields}"))
    })
}

/// The endpoints' addresses in the text: `10.` and whatever follows up to the quote.
fn endpoints(text: &str) -> Vec<String> {
    let rules = text.lines().filter(|line| !line.starts_with('#'));
    let quoted = rules.flat_map(|line| line.split('"').skip(1).step_by(2));
    let mut found: Vec<_> =
        quoted.filter(|word| word.starts_with("10.") && word.contains(':')).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}

fn request(method: &str, url: &str, fields: &str) -> Vec<u8> {
    let rest = url.strip_prefix("http://").expect("http");
    let (host, path) = rest.split_at(rest.find('/').expect("a path"));
    let (method, body) = match method {
        "BIG" => ("POST", "x".repeat(2000)),
        "POST" => ("POST", "x".into()),
        method => (method, String::new()),
    };
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    fields.split(" | ").filter(|field| !field.is_empty()).for_each(|field| head += &format!("{field}\r\n"));
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    format!("{head}\r\n{body}").into_bytes()
}

/// Whether the answer is as `expected` says, beginning with the status.
fn check(answer: &Message, expected: &str) -> Result<(), String> {
    let mut parts = expected.split(" & ");
    let status = parts.next().unwrap_or_default();
    if answer.status().to_string() != status {
        return Err(format!("{} instead of {status}", answer.status()));
    }
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let field =
        |name: &str| answer.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    for part in parts {
        let holds = if let Some(text) = part.strip_prefix('"') {
            body.contains(text.trim_end_matches('"'))
        } else if let Some(name) = part.strip_prefix("no ") {
            field(name).is_none()
        } else if let Some(line) = part.strip_prefix("upstream ") {
            body.lines().any(|sent| sent == line)
        } else if let Some(name) = part.strip_prefix("no-upstream ") {
            !body.lines().any(|sent| sent.starts_with(&format!("{name}:")))
        } else {
            let (name, value) = part.split_once(": ").expect("a name and a value");
            field(name).is_some_and(|found| found.starts_with(value))
        };
        if !holds {
            return Err(format!("not {part}: {:?}\n{body}", answer.fields));
        }
    }
    Ok(())
}

fn explain(file: &Path, question: &str, expected: &str) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    let output = command.arg("explain").arg(file).args(question.split(' ')).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if said.contains(expected) { Ok(()) } else { Err(format!("no {expected:?} in\n{said}")) }
}

fn run(file: &Path) -> Result<usize, String> {
    let text = std::fs::read_to_string(file).expect("read");
    let (rules, tries) = text.split_once("# Tried by a test").ok_or("nothing is tried")?;
    let origins: BTreeMap<_, _> =
        endpoints(rules).into_iter().map(|address| (address.clone(), origin(&address))).collect();
    let mut config = rules.replace("0.0.0.0:10000", "127.0.0.1:0").replace("0.0.0.0:80\"", "127.0.0.1:0\"");
    for (address, origin) in &origins {
        let place: SocketAddr = if address.starts_with("10.0.9.") { dead_address() } else { origin.address };
        config = config.replace(&format!("\"{address}\""), &format!("\"{place}\""));
    }
    let proxy = Ringway::start(&config);
    let mut count = 0;
    // What follows the words on their line is for people.
    for line in tries.lines().skip(1) {
        let line = line.trim_start_matches('#').trim();
        let (asked, expected) = line.split_once(" => ").ok_or_else(|| format!("{line}: nothing is expected"))?;
        let result = match asked.strip_prefix("explain ") {
            Some(question) => explain(file, question, expected),
            None => {
                let mut words = asked.splitn(3, ' ');
                let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let mut client = Client::open(proxy.address(0));
                client.send(&request(method, url, words.next().unwrap_or_default()));
                check(&client.response(), expected)
            }
        };
        result.map_err(|why| format!("{line}: {why}"))?;
        count += 1;
    }
    Ok(count)
}

#[test]
fn every_recipe_does_what_it_says() {
    for file in recipes() {
        let tried = run(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        assert!(tried > 0, "{}", file.display());
    }
}

/// A recipe that is copied gives no warning.
#[test]
fn recipes_pass_check_strict() {
    for file in recipes() {
        let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["check", "--strict"])
            .arg(&file)
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    }
}

/// RECIPES.md lists every file, and nothing else.
#[test]
fn the_page_lists_every_recipe() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/RECIPES.md");
    let page = std::fs::read_to_string(page).expect("it is there");
    let files: Vec<_> =
        recipes().iter().map(|path| path.file_name().expect("a name").to_string_lossy().into_owned()).collect();
    for file in &files {
        assert!(page.contains(&format!("(examples/recipes/{file})")), "{file} is not in RECIPES.md");
    }
    assert_eq!(page.matches("(examples/recipes/").count(), files.len());
}
