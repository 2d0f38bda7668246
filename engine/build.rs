//! What `--version` says of a build: its commit, target and features.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=RINGWAY_COMMIT");
    // Of a development build the commit is not asked: every commit would compile everything again.
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let given = env::var("RINGWAY_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| is_release.then(commit_of_git).flatten()).unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=RINGWAY_COMMIT={commit}");
    println!("cargo::rustc-env=RINGWAY_TARGET={}", env::var("TARGET").unwrap_or_default());
    let names =
        env::vars().filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-")));
    let mut features: Vec<_> = names.filter(|name| name != "default").collect();
    features.sort();
    let features = if features.is_empty() { "none".into() } else { features.join(", ") };
    println!("cargo::rustc-env=RINGWAY_FEATURES={features}");
}

/// `None` outside of a git checkout.
fn commit_of_git() -> Option<String> {
    let log = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
