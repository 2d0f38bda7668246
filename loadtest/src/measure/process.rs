//! CPU time and memory of a process with all its threads and children (proc(5)).
use std::fs;
use std::io;

/// CPU time so far, in microseconds. It covers all threads, those that have ended and io_uring's workers (which are
/// threads of the process) included.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTime {
    pub user_us: f64,
    pub system_us: f64,
}

/// Memory in bytes, added up over the processes; pages that they share count once for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident set (VmRSS).
    pub resident: u64,
    /// Of it, what is not the image of a file: heap, stacks, shared buffers (RssAnon, RssShmem). The kernel drops and
    /// reloads pages of files as it likes, which would drown the growth of a few KiB for each connection.
    pub own: u64,
    /// Highest resident set since [`reset_peak`] (VmHWM).
    pub peak: u64,
}

/// The process and its descendants, in the order of discovery.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(&pid) = pids.get(next) {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    pids
}

/// CPU time of the given processes; one that has ended adds nothing.
pub fn cpu_time(pids: &[u32]) -> CpuTime {
    let us_per_tick = 1e6 / rustix::param::clock_ticks_per_second() as f64;
    let mut sum = CpuTime::default();
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some((user, system)) = parse_stat(&stat) {
            sum.user_us += user as f64 * us_per_tick;
            sum.system_us += system as f64 * us_per_tick;
        }
    }
    sum
}

/// utime and stime, the 14th and 15th field; the command in parentheses may itself contain both.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(11);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

pub fn memory(pids: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        sum.resident += kibibytes(&status, "VmRSS:") * 1024;
        sum.own += (kibibytes(&status, "RssAnon:") + kibibytes(&status, "RssShmem:")) * 1024;
        sum.peak += kibibytes(&status, "VmHWM:") * 1024;
    }
    sum
}

fn kibibytes(status: &str, field: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|value| value.split_whitespace().next())
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

/// Makes the present resident set the peak (5 to clear_refs). Errors where the process belongs to another user.
pub fn reset_peak(pids: &[u32]) -> io::Result<()> {
    pids.iter().try_for_each(|pid| fs::write(format!("/proc/{pid}/clear_refs"), "5"))
}

/// Raises the limit on open files, for this process and those it starts, as far as it may be; gives what it is now.
pub fn raise_open_files(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let beyond = Rlimit { current: Some(wanted), maximum: limit.maximum.map(|maximum| maximum.max(wanted)) };
        // Raising the maximum needs a privilege; without it, everything up to the maximum is still ours.
        if setrlimit(Resource::Nofile, beyond).is_err() {
            let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_command_with_parentheses() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 250 130 0 0 20 0 1 0 12 1 1";
        assert_eq!(parse_stat(stat), Some((250, 130)));
    }

    #[test]
    fn memory_fields_are_in_kibibytes() {
        assert_eq!(kibibytes("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n", "VmRSS:"), 1024);
        assert_eq!(kibibytes("Name:\tx\n", "VmRSS:"), 0);
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let pid = std::process::id();
        let before = cpu_time(&[pid]);
        let mut sum = 0u64;
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 60 {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        let after = cpu_time(&[pid]);
        assert!(sum > 0 && after.user_us + after.system_us >= before.user_us + before.system_us + 20_000.0);
        let memory = memory(&[pid]);
        assert!(memory.peak >= memory.resident && memory.resident > memory.own && memory.own > 0);
    }

    #[test]
    fn children_belong_to_the_tree() {
        let mut child = std::process::Command::new("sleep").arg("5").spawn().unwrap();
        assert!(tree(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
