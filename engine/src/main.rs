//! The `ringway` command.

use clap::{Parser, Subcommand};
use ringway::admin::Source;
use ringway::server::{EMBEDDED, HINTS, run};
use ringway_config::model::Config;
use std::path::PathBuf;
use std::process::ExitCode;

/// The configuration was refused.
const REFUSED: u8 = 1;
/// The process cannot start: a port is taken, io_uring is refused, ...
const CANNOT_START: u8 = 3;

/// An L7 proxy for service traffic on io_uring: one thread per core, configured in a TOML file.
#[derive(Parser)]
#[command(
    version,
    after_help = "Without a command, ringway runs its built-in example and prints what to try.\n\n\
        Signals: TERM and INT drain and exit, HUP reloads the configuration, USR1 reopens the access logs.\n\
        Exit codes: 0 ok, 1 configuration refused, 2 usage, 3 cannot start."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a configuration file
    Run {
        /// The TOML file; docs/CONFIG.md describes it
        config: PathBuf,
    },
    /// Check a configuration file: print every problem, or nothing but a line, and exit with 1 or 0
    Check {
        /// The TOML file
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        None => embedded(),
        Some(Command::Run { config }) => match load(config) {
            Ok((config, source)) => start(config, source, ""),
            Err(code) => code,
        },
        Some(Command::Check { config }) => match load(config) {
            Ok((config, source)) => {
                let file = source.file.unwrap_or_default();
                let (listeners, clusters) = (config.listeners.len(), config.clusters.len());
                println!("{}: ok ({listeners} listeners, {clusters} clusters)", file.display());
                ExitCode::SUCCESS
            }
            Err(code) => code,
        },
    }
}

fn embedded() -> ExitCode {
    match ringway_config::load_str("built-in", EMBEDDED) {
        Ok(config) => start(config, Source { file: None, text: EMBEDDED.into() }, HINTS),
        Err(problems) => refuse(&problems.to_string()),
    }
}

fn load(file: PathBuf) -> Result<(Config, Source), ExitCode> {
    let config = ringway_config::load_file(&file).map_err(|error| refuse(&error.to_string()))?;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    Ok((config, Source { file: Some(file), text }))
}

fn refuse(problems: &str) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(REFUSED)
}

fn start(config: Config, source: Source, hints: &str) -> ExitCode {
    let ready = |addresses: &[String], admin: Option<&str>| {
        eprintln!("ringway {} listens on {}", env!("CARGO_PKG_VERSION"), addresses.join(", "));
        if let Some(admin) = admin {
            eprintln!("admin endpoint on {admin}");
        }
        if !hints.is_empty() {
            println!("{hints}");
        }
    };
    match run(config, source, ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringway: {}", error.0);
            ExitCode::from(CANNOT_START)
        }
    }
}
