//! Processes that a comparison starts: pinned, logged, and stopped when their handle is dropped.
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt;
use crate::measure::precedence::Precedence;
use crate::measure::{cpus, process};

const START_LIMIT: Duration = Duration::from_secs(15);
const STOP_LIMIT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` on the given cores (empty: wherever the caller runs), its output going to `log`.
    pub fn start(mut command: Command, cores: &[usize], log: &Path) -> anyhow::Result<Process> {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // A child inherits the affinity of the thread that starts it. That thread must live on: some programs ask to
        // be killed when it ends.
        let before = cpus::allowed()?;
        if !cores.is_empty() {
            cpus::pin_thread(cores).with_context(|| format!("cannot run on cores {}", cpus::join(cores)))?;
        }
        let spawned = command.spawn();
        cpus::pin_thread(&before)?;
        Ok(Process { child: spawned.with_context(|| format!("cannot start {name}"))?, log: log.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs; one that has ended stays a zombie until its handle is dropped.
    pub fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    /// The process and its children.
    pub fn pids(&self) -> Vec<u32> {
        process::tree(self.pid())
    }

    /// Waits until `ready` succeeds. Errors carry the end of the log when the process ends before that.
    pub fn wait_ready(&mut self, mut ready: impl FnMut() -> io::Result<()>) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let error = match ready() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}: {}", self.log_end());
            }
            if started.elapsed() > START_LIMIT || interrupt::requested() {
                bail!("it did not answer within {} s ({error}): {}", START_LIMIT.as_secs(), self.log_end());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn log_end(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // Killing fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.pid() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < STOP_LIMIT {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Hands out loopback ports without a listener, below the range that the kernel uses for outgoing connections.
#[derive(Debug)]
pub struct Ports {
    next: u16,
}

impl Ports {
    const FIRST: u16 = 16_000;
    const LAST: u16 = 32_000;

    /// Runs at the same time start at different ports.
    pub fn new() -> Ports {
        let spread = (std::process::id() % 150) as u16 * 100;
        Ports { next: Ports::FIRST + spread }
    }

    pub fn take(&mut self) -> anyhow::Result<SocketAddr> {
        for _ in Ports::FIRST..Ports::LAST {
            let address = SocketAddr::from(([127, 0, 0, 1], self.next));
            self.next = if self.next + 1 == Ports::LAST { Ports::FIRST } else { self.next + 1 };
            if TcpListener::bind(address).is_ok() {
                return Ok(address);
            }
        }
        bail!("no free port from {} to {}", Ports::FIRST, Ports::LAST)
    }
}

impl Default for Ports {
    fn default() -> Self {
        Ports::new()
    }
}

/// How an origin process is started; kept, so that it can be started again.
#[derive(Clone, Debug)]
pub struct OriginPlan {
    pub address: SocketAddr,
    pub cores: Vec<usize>,
    pub delay: Duration,
    pub precedence: Precedence,
    pub log: PathBuf,
}

impl OriginPlan {
    /// Starts this program's own `origin` and waits until it accepts.
    pub fn start(&self) -> anyhow::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        let delay = crate::units::Span(self.delay).to_string();
        command.args(["origin", "--listen", &self.address.to_string(), "--delay", &delay]);
        if !self.cores.is_empty() {
            command.args(["--cpus", &cpus::join(&self.cores)]);
        }
        let mut process = Process::start(command, &self.cores, &self.log)?;
        let address = self.address;
        process.wait_ready(|| TcpStream::connect(address).map(drop)).context("the origin did not start")?;
        self.precedence.give(process.pid())?;
        Ok(process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_pinned_and_ends_with_its_handle() {
        let dir = tempfile::tempdir().unwrap();
        let core = cpus::allowed().unwrap()[0];
        let mut command = Command::new("sleep");
        command.arg("30");
        let process = Process::start(command, &[core], &dir.path().join("log")).unwrap();
        let pid = process.pid();
        assert!(process.is_alive());
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
        assert_eq!(allowed, core.to_string());
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_program_that_ends_early_shows_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo wrong key in line 3; exit 1"]);
        let mut process = Process::start(command, &[], &dir.path().join("log")).unwrap();
        let error = process.wait_ready(|| Err(io::ErrorKind::ConnectionRefused.into())).unwrap_err();
        assert!(error.to_string().contains("wrong key in line 3"), "{error}");
        assert!(!process.is_alive());
    }

    #[test]
    fn ports_are_free_and_differ() {
        let mut ports = Ports::new();
        let (a, b) = (ports.take().unwrap(), ports.take().unwrap());
        assert_ne!(a, b);
        assert!(TcpListener::bind(a).is_ok());
    }
}
