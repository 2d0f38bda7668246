//! Compares instruction counts with the committed ones, or replaces those. Used by bench/instructions.sh:
//! `baseline check|bless FILE < OUTPUT_OF_THE_BENCHES`. Exits with 1 for a regression and with 2 when it cannot tell.

use bench::baseline::{Baseline, Environment, parse_counts};
use std::io::Read as _;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(why) => {
            eprintln!("baseline: {why}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [action, path] = args.as_slice() else { return Err("usage: baseline check|bless FILE < COUNTS".into()) };
    let mut output = String::new();
    std::io::stdin().read_to_string(&mut output).map_err(|error| format!("standard input: {error}"))?;
    let now = Baseline { environment: environment()?, instructions: parse_counts(&output)? };
    match action.as_str() {
        "check" => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            let before: Baseline = serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
            let comparison = before.compare(&now);
            print!("{}", comparison.to_text());
            Ok(if comparison.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        "bless" => {
            if let Ok(text) = std::fs::read_to_string(path)
                && let Ok(before) = serde_json::from_str::<Baseline>(&text)
            {
                before.compare(&now).lines.iter().for_each(|line| println!("{line}"));
            }
            let mut text = serde_json::to_string_pretty(&now).map_err(|error| error.to_string())?;
            text.push('\n');
            std::fs::write(path, text).map_err(|error| format!("{path}: {error}"))?;
            println!("{path} now holds {} counts", now.instructions.len());
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(format!("{action:?} is neither check nor bless")),
    }
}

fn environment() -> Result<Environment, String> {
    Ok(Environment {
        rustc: first_line("rustc")?,
        valgrind: first_line("valgrind")?,
        libc: first_line("ldd")?,
        cpu: cpu(),
    })
}

/// What `program --version` says first.
fn first_line(program: &str) -> Result<String, String> {
    let output = Command::new(program).arg("--version").output().map_err(|error| format!("{program}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned).ok_or_else(|| format!("{program} --version says nothing"))
}

#[cfg(target_arch = "x86_64")]
fn cpu() -> String {
    let mut cpu = String::from("x86_64");
    // Valgrind runs programs on a CPU without AVX-512, whatever the machine has.
    if std::arch::is_x86_feature_detected!("avx2") {
        cpu.push_str(" avx2");
    }
    cpu
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu() -> String {
    std::env::consts::ARCH.into()
}
