//! Whether the memory of this host suffices for what the configuration may fill.

use crate::ring::memory::Resource;
use crate::shard::reactor_options;
use ringway_config::model::Runtime;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel tells the limits of groups of processes, in its second version and its first.
const GROUPS: [(&str, &str); 2] =
    [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];

/// Whether the receive buffers of `shards` shards fit, all of them filled.
///
/// # Errors
/// One sentence: what they need, what there is, what helps.
pub(super) fn check(runtime: &Runtime, shards: usize) -> Result<(), String> {
    let each = reactor_options(runtime).buffers.bytes_of_all();
    enough(each, shards as u64, all())
}

fn enough(each: u64, shards: u64, there_is: Option<(u64, &str)>) -> Result<(), String> {
    let Some((bytes, whose)) = there_is.filter(|(bytes, _)| each.saturating_mul(shards) > *bytes) else {
        return Ok(());
    };
    Err(format!(
        "the receive buffers of {shards} shards take up to {} MiB, {} for each of them, and {whose} {} MiB: lower \
         runtime.buffer_count, runtime.buffer_size or runtime.shards",
        (each * shards) >> 20,
        each >> 20,
        bytes >> 20
    ))
}

/// Bytes of memory that this process may fill, and where they are counted, as part of a sentence.
fn all() -> Option<(u64, &'static str)> {
    let host = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_host(&text));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = GROUPS.iter().filter_map(|(root, file)| of_groups(&own, Path::new(root), file)).min();
    let host = host.map(|bytes| (bytes, "this host has"));
    let own = Resource::Addresses.limit().map(|bytes| (bytes, "this process may use (ulimit -v)"));
    let group = group.map(|bytes| (bytes, "the control group of this process may use"));
    host.into_iter().chain(group).chain(own).min()
}

/// The line `MemTotal:  16384 kB`.
fn of_host(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of the group of this process and of those around it. In a container its own group may be the root.
fn of_groups(own: &str, root: &Path, file: &str) -> Option<u64> {
    // "0::/path", or in the first version "9:memory:/path".
    let paths = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        (controllers.is_empty() || controllers.split(',').any(|name| name == "memory")).then_some(path)
    });
    let folders = paths.flat_map(|path| {
        let folder: PathBuf = root.join(path.trim_start_matches('/'));
        folder.ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_owned).collect::<Vec<_>>()
    });
    folders.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_all_shards_is_counted() {
        let host = Some((1 << 30, "this host has"));
        assert_eq!(enough(24 << 20, 42, host), Ok(()));
        let why = enough(24 << 20, 43, host).expect_err("more than 1 GiB");
        assert!(
            why.contains("43 shards take up to 1032 MiB, 24 for each of them, and this host has 1024 MiB"),
            "{why}"
        );
        assert_eq!(enough(u64::MAX, 1, None), Ok(()), "nothing is known");
        assert!(all().is_some_and(|(bytes, _)| bytes > 64 << 20), "this host tells");
    }

    #[test]
    fn the_least_limit_counts() {
        assert_eq!(of_host("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(of_host("MemFree: 1 kB\n"), None);
        let root = tempfile::tempdir().expect("a directory");
        let put = |folder: &str, limit: &str| {
            fs::create_dir_all(root.path().join(folder)).expect("made");
            fs::write(root.path().join(folder).join("memory.max"), limit).expect("written");
        };
        let limit = |own: &str| of_groups(own, root.path(), "memory.max");
        put("a/b", "max\n");
        assert_eq!(limit("0::/a/b\n"), None);
        put("a", "1000\n");
        assert_eq!(limit("0::/a/b\n"), Some(1000), "that of the group around it");
        put("a/b", "500\n");
        assert_eq!(limit("0::/a/b\n"), Some(500));
        assert_eq!(limit("9:cpu,memory:/a\n8:pids:/a/b\n"), Some(1000), "in the first version");
        put("", "200\n");
        assert_eq!(limit("0::/elsewhere\n"), Some(200), "a container sees its group as the root");
    }
}
