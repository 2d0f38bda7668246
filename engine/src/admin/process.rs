//! What the system knows of the process, under the names that all client libraries of Prometheus have for it, and the build.

use crate::base::version;
use crate::net::sys;
use rustix::param::page_size;
use rustix::time::{ClockId, clock_gettime};
use std::fmt::{Display, Write};
use std::time::SystemTime;

/// The families whose names `is_chosen`, in Prometheus' text format. `started`: the process did.
pub(super) fn families(started: SystemTime, is_chosen: impl Fn(&str) -> bool) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, labels: &str, value: &dyn Display| {
        if is_chosen(name) {
            // Writing to a string cannot fail.
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}\n");
        }
    };
    let build =
        format!("{{version=\"{}\",commit=\"{}\",target=\"{}\"}}", version::VERSION, version::COMMIT, version::TARGET);
    family("ringway_build_info", "gauge", "The build that runs, in its labels; always 1", &build, &1);
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    family("process_cpu_seconds_total", "counter", "CPU time of the process, user and system", "", &cpu);
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        // One of them reads the directory.
        let open = descriptors.count().saturating_sub(1);
        family("process_open_fds", "gauge", "Open file descriptors", "", &open);
    }
    family("process_max_fds", "gauge", "File descriptors that may be open", "", &sys::descriptor_limit());
    let [all, resident] = memory();
    family("process_virtual_memory_bytes", "gauge", "Virtual memory", "", &all);
    family("process_resident_memory_bytes", "gauge", "Resident memory", "", &resident);
    let since = started.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    family("process_start_time_seconds", "gauge", "Start of the process, in seconds since the epoch", "", &since);
    out
}

/// Virtual and resident memory in bytes (proc(5), statm); 0 where /proc is missing.
pub(super) fn memory() -> [u64; 2] {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm.split_whitespace().map(|pages| pages.parse::<u64>().unwrap_or(0));
    [0; 2].map(|_| pages.next().unwrap_or(0) * page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_values_and_can_be_chosen() {
        let text = families(SystemTime::now(), |_| true);
        for name in
            ["process_cpu_seconds_total", "process_open_fds", "process_max_fds", "process_resident_memory_bytes"]
        {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect(name);
            let value: f64 = line.split(' ').nth(1).and_then(|value| value.parse().ok()).expect("a number");
            assert!(value > 0.0, "{line}");
        }
        let version = format!("\nringway_build_info{{version=\"{}\",", version::VERSION);
        assert!(text.contains(&version), "{text}");
        let only = families(SystemTime::now(), |name| name.contains("fds"));
        assert_eq!(only.lines().filter(|line| !line.starts_with('#')).count(), 2, "{only}");
    }
}
