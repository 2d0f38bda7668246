//! Whose turn it is on a core that more than one thread wants: what is measured comes before what is in its way.
use std::io;
use std::process::Command;

/// Set by a command of util-linux, which makes the system calls.
const COMMAND: &str = "chrt";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precedence {
    #[default]
    Shared,
    /// Before all others (SCHED_FIFO). Where the user may not have that, as the others.
    First,
    /// Only while no other thread wants the core (SCHED_IDLE): one that wakes takes it at once, which a nice value does not
    /// see to.
    Last,
}

impl Precedence {
    /// Of the calling thread from now on.
    pub fn claim(self) -> io::Result<()> {
        self.set(&[], &rustix::thread::gettid().as_raw_pid().to_string())
    }

    /// Of all threads that a process has now.
    pub fn give(self, pid: u32) -> io::Result<()> {
        self.set(&["--all-tasks"], &pid.to_string())
    }

    fn set(self, options: &[&str], pid: &str) -> io::Result<()> {
        let (policy, priority) = match self {
            Precedence::Shared => return Ok(()),
            Precedence::First => ("--fifo", "1"),
            Precedence::Last => ("--idle", "0"),
        };
        let output = Command::new(COMMAND).arg(policy).args(options).args(["--pid", priority, pid]).output();
        match output {
            Ok(output) if output.status.success() || self == Precedence::First => Ok(()),
            Ok(output) => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
            Err(error) => Err(io::Error::new(error.kind(), format!("{COMMAND}, a command of util-linux: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the scheduling class, field 41 of proc_pid_stat(5).
    fn class() -> u32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(38).unwrap().parse().unwrap()
    }

    #[test]
    fn a_thread_gives_way_to_others() {
        let class = std::thread::spawn(|| {
            Precedence::Shared.claim().unwrap();
            let before = class();
            Precedence::Last.claim().unwrap();
            (before, class())
        });
        assert_eq!(class.join().unwrap(), (0, 5));
    }
}
