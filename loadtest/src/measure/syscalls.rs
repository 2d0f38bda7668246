//! System calls of a process by name, counted by perf or strace.
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};

/// The tool at hand. perf counts in the kernel; strace stops the process twice for each call, which slows it manyfold
/// and thereby changes how much work each call finds: it is the second choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Perf,
    Strace,
}

/// A count under way.
pub struct Tracing {
    tool: Tool,
    child: Child,
}

impl Tool {
    /// The better tool that works here: installed, and allowed to attach.
    pub fn find() -> Option<Tool> {
        let works = |command: &str, args: &[&str]| {
            let status = Command::new(command).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        if works("perf", &["trace", "-s", "true"]) {
            Some(Tool::Perf)
        } else if works("strace", &["-c", "-o", "/dev/null", "true"]) {
            Some(Tool::Strace)
        } else {
            None
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Tool::Perf => "perf trace -s",
            Tool::Strace => "strace -c -f",
        }
    }

    /// Attaches to all threads of `pids`; the table goes to `output` when the count ends.
    pub fn attach(self, pids: &[u32], output: &Path) -> io::Result<Tracing> {
        let mut command = match self {
            Tool::Perf => {
                let list = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
                let mut command = Command::new("perf");
                command.args(["trace", "-s", "-p", &list, "-o"]).arg(output);
                command
            }
            Tool::Strace => {
                let mut command = Command::new("strace");
                command.args(["-c", "-f", "-o"]).arg(output);
                pids.iter().for_each(|pid| {
                    command.args(["-p", &pid.to_string()]);
                });
                command
            }
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        // Neither tool says when it has attached.
        thread::sleep(Duration::from_millis(500));
        Ok(Tracing { tool: self, child })
    }
}

impl Tracing {
    /// Ends the count and gives the calls by name.
    pub fn end(mut self, output: &Path) -> io::Result<BTreeMap<String, u64>> {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            kill_process(pid, Signal::INT)?;
        }
        self.child.wait()?;
        let text = fs::read_to_string(output)?;
        Ok(match self.tool {
            Tool::Perf => parse_perf(&text),
            Tool::Strace => parse_strace(&text),
        })
    }
}

/// One table for each thread, each line: name, calls, errors, total, min, avg, max, stddev.
fn parse_perf(text: &str) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [name, count, errors, total, ..] = words[..]
            && let (Ok(count), Ok(_), Ok(_)) = (count.parse::<u64>(), errors.parse::<u64>(), total.parse::<f64>())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
        {
            *calls.entry(name.to_owned()).or_default() += count;
        }
    }
    calls
}

/// One table: % time, seconds, usecs/call, calls, errors (may be empty), name.
fn parse_strace(text: &str) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() < 5 || words.last() == Some(&"total") || words[0].parse::<f64>().is_err() {
            continue;
        }
        if let (Some(name), Ok(count)) = (words.last(), words[3].parse::<u64>()) {
            *calls.entry((*name).to_owned()).or_default() += count;
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perf_tables_of_several_threads_add_up() {
        let text = " Summary of events:\n\n nginx (12), 4000 events, 50.0%\n\n   syscall            calls  errors  total       min\
            \n                                     (msec)    (msec)\n   --------------- --------  ------ -------- ---------\
            \n   recvfrom            1000      0     3.000     0.001     0.003     0.010      1.00%\
            \n   epoll_wait            10      0     3.000     0.001     0.003     0.010      1.00%\n\
            \n nginx (13), 10 events, 0.0%\n\
            \n   recvfrom               5      1     0.019     0.019     0.019     0.019      0.00%\n";
        let calls = parse_perf(text);
        assert_eq!(calls, BTreeMap::from([("recvfrom".into(), 1005), ("epoll_wait".into(), 10)]));
    }

    #[test]
    fn strace_lines_with_and_without_errors() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n------ ----------- ----------- --------- \
            --------- ----------------\n 60.00    0.000600           1       600        12 recvfrom\n 40.00    0.000400 \
            1       400           writev\n------ ----------- ----------- --------- --------- ----------------\n100.00    \
            0.001000           1      1000        12 total\n";
        assert_eq!(parse_strace(text), BTreeMap::from([("recvfrom".into(), 600), ("writev".into(), 400)]));
    }
}
