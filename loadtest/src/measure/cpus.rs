//! Cores: lists as people write them, pinning, and how busy they were (/proc/stat).
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::str::FromStr;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Cores written as in taskset: `0`, `0,2`, `1-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<CpuList, String> {
        let wrong = || format!("`{text}` is not a list of cores such as 0, 0,2 or 1-3");
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| wrong())?;
            let last: usize = last.trim().parse().map_err(|_| wrong())?;
            if first > last || last >= CpuSet::MAX_CPU {
                return Err(wrong());
            }
            cpus.extend(first..=last);
        }
        Ok(CpuList(cpus))
    }
}

impl std::fmt::Display for CpuList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&join(&self.0))
    }
}

pub fn join(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// The cores this process may run on.
pub fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Binds the calling thread, and every thread and process that it starts from here on.
pub fn pin_thread(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Ticks of each core so far.
#[derive(Clone, Debug, Default)]
pub struct CoreTimes(BTreeMap<usize, Ticks>);

#[derive(Clone, Copy, Debug, Default)]
struct Ticks {
    busy: u64,
    programs: u64,
    stolen: u64,
    total: u64,
}

/// Shares of the time between two readings, averaged over some cores.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shares {
    /// Ran something here, interrupts included.
    pub busy: f64,
    /// Of it, programs: what the CPU times of processes add up to.
    pub programs: f64,
    /// Was taken by the hypervisor for another guest.
    pub stolen: f64,
}

impl CoreTimes {
    pub fn read() -> io::Result<CoreTimes> {
        Ok(CoreTimes::parse(&fs::read_to_string("/proc/stat")?))
    }

    /// Fields by proc(5): user nice system idle iowait irq softirq steal.
    fn parse(text: &str) -> CoreTimes {
        let mut cores = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(cpu) = words.next().and_then(|name| name.strip_prefix("cpu")).and_then(|cpu| cpu.parse().ok())
            else {
                continue;
            };
            let fields: Vec<u64> = words.take(8).filter_map(|word| word.parse().ok()).collect();
            if let [user, nice, system, idle, iowait, irq, softirq, steal] = fields[..] {
                let programs = user + nice + system;
                let busy = programs + irq + softirq;
                cores.insert(cpu, Ticks { busy, programs, stolen: steal, total: busy + idle + iowait + steal });
            }
        }
        CoreTimes(cores)
    }

    /// What the `cpus` did between `earlier` and this reading.
    pub fn since(&self, earlier: &CoreTimes, cpus: &[usize]) -> Shares {
        let mut sum = Ticks::default();
        for cpu in cpus {
            if let (Some(now), Some(then)) = (self.0.get(cpu), earlier.0.get(cpu)) {
                sum.busy += now.busy.saturating_sub(then.busy);
                sum.programs += now.programs.saturating_sub(then.programs);
                sum.stolen += now.stolen.saturating_sub(then.stolen);
                sum.total += now.total.saturating_sub(then.total);
            }
        }
        let total = sum.total.max(1) as f64;
        let share = |ticks: u64| ticks as f64 / total;
        Shares { busy: share(sum.busy), programs: share(sum.programs), stolen: share(sum.stolen) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        assert_eq!("0,2-4".parse(), Ok(CpuList(vec![0, 2, 3, 4])));
        assert!("2-1".parse::<CpuList>().is_err());
        assert!("a".parse::<CpuList>().is_err());
    }

    #[test]
    fn shares_are_of_the_cores_asked_for() {
        let then =
            CoreTimes::parse("cpu 9 9 9 9 9 9 9 9 0 0\ncpu0 100 0 0 100 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\n");
        let now =
            CoreTimes::parse("cpu 9 9 9 9 9 9 9 9 0 0\ncpu0 120 0 20 140 0 0 10 10 0 0\ncpu1 0 0 0 100 0 0 0 0 0 0\n");
        assert_eq!(now.since(&then, &[0]), Shares { busy: 0.5, programs: 0.4, stolen: 0.1 });
        assert_eq!(now.since(&then, &[1]), Shares::default());
    }

    #[test]
    fn this_machine_can_be_read() {
        let cpus = allowed().unwrap();
        assert!(!cpus.is_empty());
        let reading = CoreTimes::read().unwrap();
        assert!(cpus.iter().all(|cpu| reading.0.contains_key(cpu)));
    }
}
