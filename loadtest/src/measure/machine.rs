//! The machine and the versions that are reported with the numbers.
use std::fs;

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_bytes: u64,
    /// Mitigations, governor and virtualisation move numbers; they are named so that two runs can be told apart.
    pub virtualised: bool,
    pub governor: String,
    pub clock_source: String,
    /// Of new sockets. With `bbr` every burst waits for a timer, which adds half to what a large body costs.
    pub congestion_control: String,
    pub open_files: u64,
    pub load_average_at_start: String,
}

impl Machine {
    pub fn read(open_files: u64) -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
        };
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total_kib = meminfo.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        Machine {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cpu: value("model name"),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            memory_bytes: total_kib * 1024,
            virtualised: value("flags").split(' ').any(|flag| flag == "hypervisor"),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            congestion_control: line("/proc/sys/net/ipv4/tcp_congestion_control"),
            open_files,
            load_average_at_start: line("/proc/loadavg"),
        }
    }
}

fn line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
