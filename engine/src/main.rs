//! The `ringway` command.

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use ringway::admin::Source;
use ringway::admin::explain::{Question, explain};
use ringway::base::{output, version};
use ringway::net::users;
use ringway::server::{
    EMBEDDED, HINTS, HostReport, check_as_runtime_user, check_files, check_host, host_warnings, run,
};
use ringway_config::model::Config;
use ringway_config::{Diagnostic, LoadError};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The configuration was refused.
const REFUSED: u8 = 1;
/// `explain` found no route.
const NO_ROUTE: u8 = 1;
/// The command line makes no sense; clap's own code for that.
const USAGE: u8 = 2;
/// The process cannot start: a port is taken, io_uring is refused, ...
const CANNOT_START: u8 = 3;

/// An L7 proxy for service traffic on io_uring: one thread per core, configured in a TOML file.
#[derive(Parser)]
#[command(
    version,
    long_version = version::LONG,
    after_help = "Without a command, ringway runs its built-in example and prints what to try.\n\n\
        Signals: TERM and INT drain and exit (a second one closes the connections that are left, a third one kills), HUP \
        reloads the configuration, USR1 reopens the access logs.\n\
        Exit codes: 0 ok, 1 configuration refused or no route explained, 2 usage, 3 cannot start."
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
    /// Check a configuration file: print every problem and every warning, and exit with 1 if `run` would refuse it or there
    /// is too little memory for it, else with 0. What listens on this host at the moment is not looked at, since the proxy
    /// itself may, and be about to reload the file: whether another program has a port, only a start or a reload says
    Check {
        /// The TOML file
        config: PathBuf,
        /// Exit with 1 for warnings, too
        #[arg(long)]
        strict: bool,
        /// Leave out what belongs to this host: addresses, users, cores, memory, directories of logs and sockets, files with
        /// bodies
        #[arg(long)]
        portable: bool,
        /// Check as this user (name or number), with its groups: whether the service, which runs as this user, can read the
        /// configuration, certificates, keys and revocation lists, and write its logs. Needs root, or to be that user.
        /// Limits of open files and locked memory are left out: those of this shell are not the service's.
        /// For `runtime.user` this option is not needed: root's check tries that user as well
        #[arg(long, value_name = "USER[:GROUP]", conflicts_with = "portable")]
        user: Option<String>,
    },
    /// Say what a request would meet: listener, virtual host, each route tried and why it was not taken, the route that
    /// is, its cluster, timeouts, retries, filters and header edits, with their lines in the file. Exits with 0 when a
    /// route takes the request, else with 1
    Explain {
        /// The TOML file
        config: PathBuf,
        /// The request's method
        method: String,
        /// http://host/path?query, or /path with a host header
        url: String,
        /// A header of the request; may be given again
        #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
        headers: Vec<String>,
        /// The address that the connection comes from
        #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
        from: IpAddr,
        /// Name or address of the listener; the first one otherwise
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
    },
    /// Print a script that completes ringway's command line in a shell, to be put where the shell looks for them
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or the one of a command, in the form that man(1) reads
    Man {
        /// run, check, explain, ...
        command: Option<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        None => last_words(embedded()),
        Some(Command::Run { config }) => last_words(match load(config) {
            Ok((config, source)) => start(config, source, ""),
            Err(problems) => say(REFUSED, &problems),
        }),
        Some(Command::Check { config, strict, portable, user }) => match become_user(user.as_deref()) {
            Ok(()) => check(&config, strict, portable, user.is_none()),
            Err(why) => {
                eprintln!("ringway: {why}");
                ExitCode::from(USAGE)
            }
        },
        Some(Command::Completions { shell }) => put(&completions(shell)),
        Some(Command::Man { command }) => man(command.as_deref()),
        Some(Command::Explain { config, method, url, headers, from, listener }) => {
            let question = Question { method, url, headers: Vec::new(), from, listener };
            match load(config) {
                Ok((config, _)) => tell(&config, question, &headers),
                Err(problems) => refuse(&problems),
            }
        }
    }
}

fn completions(shell: Shell) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ringway", &mut script);
    script
}

fn man(command: Option<&str>) -> ExitCode {
    // Gives each command its full name, which its page has in the title and the synopsis.
    let mut all = Cli::command();
    all.build();
    let found = command.map_or(Some(&all), |name| all.find_subcommand(name));
    let Some(described) = found else {
        let name = command.unwrap_or_default();
        eprintln!("ringway: there is no command {name}; see ringway --help");
        return ExitCode::from(USAGE);
    };
    let mut page = Vec::new();
    match clap_mangen::Man::new(described.clone()).render(&mut page) {
        Ok(()) => put(&page),
        Err(error) => say(CANNOT_START, &format!("ringway: {error}")),
    }
}

/// Standard output may be a pipe that is closed early, as by `head`.
fn put(text: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Before anything is read.
fn become_user(user: Option<&str>) -> Result<(), String> {
    let Some(user) = user else { return Ok(()) };
    let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    users::ids(name, group)?.assume_for_check()
}

fn check(file: &Path, is_strict: bool, is_portable: bool, has_limits: bool) -> ExitCode {
    let loaded = if is_portable { ringway_config::load_portable(file) } else { ringway_config::load_file(file) };
    let (config, unreadable) = match loaded {
        Ok(config) => (config, Vec::new()),
        Err(problems) => match (problems, ringway_config::load_portable(file)) {
            // Elsewhere the file is right: what cannot be read are files that it names, problems of this host as others are.
            (LoadError::Refused(problems), Ok(config)) => (config, problems.into_list()),
            (LoadError::Refused(mut problems), Err(_)) if !is_portable => {
                problems.add(check_files(file));
                return refuse(&problems.to_string());
            }
            (problems, _) => return refuse(&problems.to_string()),
        },
    };
    let (mut host, sentences) = match is_portable {
        true => (HostReport::default(), Vec::new()),
        false => (check_host(&config, has_limits), if has_limits { host_warnings(&config) } else { Vec::new() }),
    };
    if !is_portable {
        // Last: nothing is root's any more from here on.
        let mut later = check_as_runtime_user(&config, file);
        let is_at = |known: &Diagnostic, told: &Diagnostic| known.line == told.line && known.column == told.column;
        let is_new = |told: &Diagnostic| {
            !host.refused.iter().chain(&unreadable).any(|known| is_at(known, told))
                && !host.warnings.iter().any(|known| is_at(known, told) && told.message.starts_with(&known.message))
        };
        later.warnings.retain(is_new);
        host.refused.append(&mut later.refused);
        host.warnings.append(&mut later.warnings);
    }
    host.refused.extend(unreadable);
    let warnings = config.warnings.iter().chain(&host.warnings);
    let warnings = warnings.map(|warning| format!("warning: {warning}"));
    let sentences = sentences.iter().map(|sentence| format!("{}: warning: {sentence}", file.display()));
    let warnings: Vec<_> = warnings.chain(sentences).collect();
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    host.refused.iter().for_each(|problem| eprintln!("{problem}"));
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let warned = count(warnings.len(), "warning");
    if !host.refused.is_empty() {
        return refuse(&format!("{} with this host", count(host.refused.len(), "problem")));
    }
    if is_strict && !warnings.is_empty() {
        return refuse(&format!("{warned}, and --strict takes none"));
    }
    let (listeners, clusters) = (config.listeners.len(), config.clusters.len());
    let warned = if warnings.is_empty() { String::new() } else { format!(", {warned}") };
    println!("{}: ok ({listeners} listeners, {clusters} clusters{warned})", file.display());
    ExitCode::SUCCESS
}

fn tell(config: &Config, mut question: Question, headers: &[String]) -> ExitCode {
    let complete = headers.iter().try_for_each(|header| question.set("header", header));
    match complete.and_then(|()| explain(config, &question)) {
        Ok(explanation) => {
            print!("{}", explanation.text);
            if explanation.is_found { ExitCode::SUCCESS } else { ExitCode::from(NO_ROUTE) }
        }
        Err(why) => {
            eprintln!("ringway: {why}");
            ExitCode::from(USAGE)
        }
    }
}

fn embedded() -> ExitCode {
    match ringway_config::load_str("built-in", EMBEDDED) {
        Ok(config) => start(config, Source { file: None, text: EMBEDDED.into() }, HINTS),
        Err(problems) => say(REFUSED, &problems.to_string()),
    }
}

fn load(file: PathBuf) -> Result<(Config, Source), String> {
    let config = ringway_config::load_file(&file).map_err(|error| error.to_string())?;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    Ok((config, Source { file: Some(file), text }))
}

fn refuse(problems: &str) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(REFUSED)
}

/// What the running proxy says never waits for a pipe that is not read.
fn say(code: u8, text: &str) -> ExitCode {
    output::stderr().say(format!("{text}\n").as_bytes());
    ExitCode::from(code)
}

/// How long the end waits for the last lines of the program log, after the server has waited for those of access logs.
const PATIENCE: Duration = Duration::from_millis(250);

fn last_words(code: ExitCode) -> ExitCode {
    output::finish(Instant::now() + PATIENCE);
    code
}

fn start(config: Config, source: Source, hints: &str) -> ExitCode {
    let ready = |addresses: &[String], admin: Option<&str>| {
        let mut text = format!("ringway {} listens on {}\n", env!("CARGO_PKG_VERSION"), addresses.join(", "));
        if let Some(admin) = admin {
            text += &format!("admin endpoint on {admin}\n");
        }
        output::stderr().say(text.as_bytes());
        if !hints.is_empty() {
            output::stdout().say(format!("{hints}\n").as_bytes());
        }
    };
    match run(config, source, ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(CANNOT_START, &format!("ringway: {}", error.0)),
    }
}
