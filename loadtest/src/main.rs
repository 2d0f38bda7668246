//! The `loadtest` command: `compare`, `load`, `origin`, `soak`.
use std::process::ExitCode;

use clap::Parser;
use loadtest::cli::{Cli, Command};
use loadtest::{compare, interrupt, load, origin, soak};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    interrupt::install()?;
    match command {
        Command::Load(args) => load::run(&args),
        Command::Origin(args) => {
            origin::run(&args.options())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Compare(args) => compare::run(&args),
        Command::Soak(args) => soak::run(&args),
    }
}
