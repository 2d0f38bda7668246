//! Which cores run a shard.

use ringway_config::model::{Placement, Runtime, Shards};
use std::collections::HashMap;
use std::path::Path;

/// Where the kernel tells how cores are arranged.
const TOPOLOGY: &str = "/sys/devices/system/cpu";

/// The cores that this process is to run on.
///
/// # Errors
/// As those of `choose`.
pub(super) fn of_process(runtime: &Runtime) -> Result<Vec<usize>, String> {
    let allowed = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    // Also bounded by a container's CPU quota.
    let quota = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    choose(runtime, allowed, quota, Path::new(TOPOLOGY))
}

/// The cores to run on, one for each shard. `allowed` are those that the process may use, and `quota` is how many of them
/// it may keep busy.
///
/// # Errors
/// One sentence: the configuration asks for cores that the process may not use.
fn choose(runtime: &Runtime, allowed: Vec<usize>, quota: usize, topology: &Path) -> Result<Vec<usize>, String> {
    let first = |count: usize| {
        let mut cores = order(runtime.placement, &allowed, topology);
        cores.truncate(count);
        cores
    };
    match &runtime.shards {
        Shards::Auto => Ok(first(quota.max(1))),
        Shards::Count(count) if *count <= allowed.len() => Ok(first(*count)),
        Shards::Count(count) => {
            Err(format!("runtime.shards is {count}, but this process may use {} cores", allowed.len()))
        }
        Shards::Cpus(cpus) => match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(cpu) => {
                let allowed = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                Err(format!("runtime.cpus names core {cpu}, but this process may use only {allowed}"))
            }
            None => Ok(cpus.clone()),
        },
    }
}

/// A hardware thread and its place in the machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Thread {
    socket: u32,
    node: u32,
    core: u32,
    cpu: usize,
}

impl Thread {
    /// Cores that share memory and the last cache.
    fn domain(&self) -> (u32, u32) {
        (self.socket, self.node)
    }

    fn read(cpu: usize, topology: &Path) -> Option<Self> {
        let folder = topology.join(format!("cpu{cpu}"));
        let number = |name: &str| -> Option<u32> {
            std::fs::read_to_string(folder.join("topology").join(name)).ok()?.trim().parse().ok()
        };
        Some(Self { socket: number("physical_package_id")?, core: number("core_id")?, node: node(&folder), cpu })
    }
}

/// The number of the memory node, which is the name of a link in the core's folder; 0 where the machine has only one.
fn node(folder: &Path) -> u32 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut numbers = entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok());
    numbers.next().unwrap_or(0)
}

/// `allowed` in the order in which they get shards; as it is where the kernel does not tell about each of them.
fn order(placement: Placement, allowed: &[usize], topology: &Path) -> Vec<usize> {
    let threads: Option<Vec<Thread>> = allowed.iter().map(|cpu| Thread::read(*cpu, topology)).collect();
    let Some(mut threads) = threads else { return allowed.to_vec() };
    threads.sort();
    if placement == Placement::Spread {
        threads = spread(&threads);
    }
    threads.iter().map(|thread| thread.cpu).collect()
}

/// The first threads of all cores, then the second ones; each time from the domain that has had the fewest turns.
fn spread(sorted: &[Thread]) -> Vec<Thread> {
    let mut on_core: HashMap<((u32, u32), u32), usize> = HashMap::new();
    let mut with_rank: Vec<(usize, Thread)> = Vec::new();
    for thread in sorted {
        let rank = on_core.entry((thread.domain(), thread.core)).or_default();
        with_rank.push((*rank, *thread));
        *rank += 1;
    }
    with_rank.sort();
    let mut turns: HashMap<(u32, u32), usize> = HashMap::new();
    let place = |(rank, thread): (usize, Thread)| {
        let turn = turns.entry(thread.domain()).or_default();
        *turn += 1;
        (rank, *turn, thread)
    };
    let mut places: Vec<_> = with_rank.into_iter().map(place).collect();
    places.sort();
    places.into_iter().map(|(_, _, thread)| thread).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A machine: socket, node and core of each hardware thread.
    fn machine(threads: &[(u32, u32, u32)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (cpu, (socket, node, core)) in threads.iter().enumerate() {
            let folder = root.path().join(format!("cpu{cpu}"));
            fs::create_dir_all(folder.join("topology")).expect("a directory");
            fs::create_dir(folder.join(format!("node{node}"))).expect("a directory");
            fs::write(folder.join("topology/physical_package_id"), format!("{socket}\n")).expect("written");
            fs::write(folder.join("topology/core_id"), format!("{core}\n")).expect("written");
        }
        root
    }

    /// Two sockets with two cores of two threads each, numbered as Linux usually does: all first threads, then all second
    /// ones.
    const TWO_SOCKETS: &[(u32, u32, u32)] =
        &[(0, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1), (0, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1)];

    #[test]
    fn spread_takes_each_core_of_each_socket_first() {
        let root = machine(TWO_SOCKETS);
        let all: Vec<usize> = (0..8).collect();
        assert_eq!(order(Placement::Spread, &all, root.path()), [0, 2, 1, 3, 4, 6, 5, 7]);
        // A core whose first thread is taken from the process counts with its second one.
        assert_eq!(order(Placement::Spread, &[1, 2, 4, 5, 6], root.path()), [4, 2, 1, 6, 5]);
    }

    #[test]
    fn pack_fills_cores_and_then_sockets() {
        let root = machine(TWO_SOCKETS);
        let all: Vec<usize> = (0..8).collect();
        assert_eq!(order(Placement::Pack, &all, root.path()), [0, 4, 1, 5, 2, 6, 3, 7]);
        assert_eq!(order(Placement::Pack, &[2, 3, 5, 6], root.path()), [5, 2, 6, 3]);
    }

    #[test]
    fn nodes_within_a_socket_take_turns_as_well() {
        let root = machine(&[(0, 0, 0), (0, 0, 1), (0, 1, 2), (0, 1, 3)]);
        assert_eq!(order(Placement::Spread, &[0, 1, 2, 3], root.path()), [0, 2, 1, 3]);
    }

    #[test]
    fn without_topology_the_numbers_decide() {
        let root = machine(&TWO_SOCKETS[..3]);
        for placement in [Placement::Spread, Placement::Pack] {
            assert_eq!(order(placement, &[3, 1, 2], root.path()), [3, 1, 2], "nothing is known about core 3");
        }
    }

    #[test]
    fn shards_and_cpus_bound_the_choice() {
        let root = machine(TWO_SOCKETS);
        let choose = |lines: &str, quota| {
            let routes = "[{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]";
            let listener = format!("[[listeners]]\naddress = \"127.0.0.1:80\"\nhttp.routes = {routes}\n");
            let config = ringway_config::load_str("test.toml", &format!("[runtime]\n{lines}\n{listener}"));
            let config = config.unwrap_or_else(|problems| panic!("{problems}"));
            choose(&config.runtime, (0..8).collect(), quota, root.path())
        };
        assert_eq!(choose("", 3), Ok(vec![0, 2, 1]));
        assert_eq!(choose("placement = \"pack\"", 3), Ok(vec![0, 4, 1]));
        assert_eq!(choose("shards = 2", 8), Ok(vec![0, 2]));
        assert_eq!(choose("cpus = [7, 0]", 8), Ok(vec![7, 0]), "in the order written");
        assert!(choose("cpus = [8]", 8).is_err_and(|why| why.contains("core 8")));
        assert!(choose("shards = 9", 9).is_err_and(|why| why.contains("8 cores")));
    }
}
