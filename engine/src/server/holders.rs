//! Which process has an address, for the message that it is taken: proc(5), as far as this user may read it.

use super::orders::SIGNALS;
use ringway_config::model::{Address, Binding};
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// What has an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    /// This process.
    Ours,
    Process {
        name: String,
        pid: u32,
    },
    /// A process of this program that was told to stop: the one that this one is to replace.
    Draining {
        name: String,
        pid: u32,
    },
    /// A process that this user may not look into, or one that has just ended.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => write!(f, "this process itself"),
            Self::Process { name, pid } => write!(f, "another process, {name} (pid {pid}),"),
            Self::Draining { name, pid } => {
                write!(f, "an earlier {name} (pid {pid}), which was told to stop and still drains,")
            }
            Self::Unknown => write!(f, "another process, which this user may not look into,"),
        }
    }
}

/// Whether sockets of this process, and none of another one, listen at `address` or at one that overlaps it.
pub(super) fn are_ours(binding: &Binding) -> bool {
    let (sockets, own) = (sockets_at(binding), sockets_of("self").collect::<HashSet<_>>());
    !sockets.is_empty() && sockets.is_subset(&own)
}

fn sockets_at(binding: &Binding) -> HashSet<u64> {
    let sockets = match &binding.address {
        Address::Ip(address) if binding.ipv4_compat => {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            [listening(*address), listening(v4)].concat()
        }
        Address::Ip(address) => listening(*address),
        Address::Unix(path) => listening_at(&std::fs::read_to_string("/proc/net/unix").unwrap_or_default(), path),
    };
    sockets.into_iter().collect()
}

/// What listens at `address`, or at one that overlaps it. Nothing where proc is not mounted.
pub(super) fn of(binding: &Binding) -> BTreeSet<Holder> {
    let mut left = sockets_at(binding);
    let mut holders = BTreeSet::new();
    let mut take = |pid: &str, holder: fn(&str) -> Holder| {
        let held: Vec<u64> = sockets_of(pid).filter(|inode| left.remove(inode)).collect();
        if !held.is_empty() {
            holders.insert(holder(pid));
        }
    };
    take("self", |_| Holder::Ours);
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        if let Some(pid) = process.file_name().to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            take(pid, process_of);
        }
    }
    if !left.is_empty() {
        holders.insert(Holder::Unknown);
    }
    holders
}

fn process_of(pid: &str) -> Holder {
    let (Some(name), Ok(number)) = (name_of(Path::new(&format!("/proc/{pid}"))), pid.parse()) else {
        return Holder::Unknown;
    };
    let is_draining = || threads_of(pid).any(|thread| name_of(&thread).as_deref() == Some(DRAINING));
    match name_of(Path::new("/proc/self")).as_ref() == Some(&name) && is_draining() {
        true => Holder::Draining { name, pid: number },
        false => Holder::Process { name, pid: number },
    }
}

/// The name that the thread which waits for signals has from the order to stop on. A successor that finds an address taken
/// sees it, whatever the users of the two are.
const DRAINING: &str = "draining";

/// Shows other processes that this one was told to stop.
pub(super) fn show_draining() {
    let waits = |thread: &PathBuf| name_of(thread).as_deref() == Some(SIGNALS);
    // Without proc, a successor cannot look either.
    threads_of("self").filter(waits).for_each(|thread| drop(std::fs::write(thread.join("comm"), DRAINING)));
}

fn threads_of(pid: &str) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().map(|thread| thread.path())
}

/// Of a process or a thread.
fn name_of(place: &Path) -> Option<String> {
    std::fs::read_to_string(place.join("comm")).ok().map(|name| name.trim().to_owned())
}

/// Inode numbers of the sockets that a process has open.
fn sockets_of(pid: &str) -> impl Iterator<Item = u64> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| {
        let target = std::fs::read_link(descriptor.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// Inode numbers of the sockets that listen on the address's port.
fn listening(address: SocketAddr) -> Vec<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    lines.filter_map(|line| listens_at(line, address)).collect()
}

/// The inode number of the socket of this line (proc(5), /proc/net/tcp), if it listens at `address`.
fn listens_at(line: &str, address: SocketAddr) -> Option<u64> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace().skip(1);
    let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
    let inode = fields.nth(5)?;
    let (ip, port) = local.split_once(':')?;
    let ip = ip_of(ip)?;
    // An IPv6 socket may take IPv4, too.
    let overlaps = ip.to_canonical() == address.ip().to_canonical()
        || ip.is_unspecified() && (ip.is_ipv6() || address.is_ipv4())
        || address.ip().is_unspecified() && ip.is_ipv4() == address.is_ipv4();
    let is_it = state == LISTEN && u16::from_str_radix(port, 16) == Ok(address.port()) && overlaps;
    if is_it { inode.parse().ok() } else { None }
}

/// An address in proc's form: words of 32 bits in the machine's byte order.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(8 * at..8 * at + 8)?, 16).ok().map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return Some(IpAddr::V4(Ipv4Addr::from(word(0)?)));
    }
    let words = [word(0)?, word(1)?, word(2)?, word(3)?];
    let mut octets = [0; 16];
    octets.copy_from_slice(words.as_flattened());
    Some(IpAddr::V6(Ipv6Addr::from(octets)))
}

/// Inode numbers of the Unix sockets at `path` that listen (proc(5), /proc/net/unix).
fn listening_at(table: &str, path: &Path) -> Vec<u64> {
    /// `__SO_ACCEPTCON`.
    const ACCEPTS: &str = "00010000";
    let inode = |line: &str| {
        let mut fields = [""; 7];
        let mut rest = line;
        for field in &mut fields {
            (*field, rest) = rest.trim_start().split_once(' ')?;
        }
        if fields[3] == ACCEPTS && Path::new(rest) == path { fields[6].parse().ok() } else { None }
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    #[test]
    fn lines_of_listening_sockets_at_the_address() {
        let inode = |line: &str, address: &str| listens_at(line, address.parse().expect("an address"));
        let loopback =
            "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 71845 1 0 100";
        let any = "1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 71846 1 0 100";
        let connected = "2: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000  1000  0 71847 1 0";
        let any6 = "3: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A \
                    00000000:00000000 00:00000000 00000000  1000  0 71848 1 0 100";
        let loopback6 = "4: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A \
                         00000000:00000000 00:00000000 00000000  1000  0 71849 1 0 100";
        if cfg!(target_endian = "little") {
            assert_eq!(inode(loopback, "127.0.0.1:8080"), Some(71845));
            assert_eq!(inode(loopback, "0.0.0.0:8080"), Some(71845));
            assert_eq!(inode(loopback, "127.0.0.2:8080"), None);
            assert_eq!(inode(loopback, "127.0.0.1:8081"), None);
            assert_eq!(inode(loopback, "[::]:8080"), None);
            assert_eq!(inode(loopback6, "[::1]:8080"), Some(71849));
        }
        assert_eq!(inode(any, "127.0.0.1:8080"), Some(71846));
        assert_eq!(inode(any, "[::1]:8080"), None);
        assert_eq!(inode(any6, "127.0.0.1:8080"), Some(71848));
        assert_eq!(inode(any6, "[::1]:8080"), Some(71848));
        assert_eq!(inode(connected, "127.0.0.1:8080"), None);
        assert_eq!(inode("sl local_address rem_address", "127.0.0.1:8080"), None);
    }

    #[test]
    fn own_sockets_are_told_from_others() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        assert_eq!(of(&Address::Ip(address).into()), BTreeSet::from([Holder::Ours]));
        assert_eq!(of(&Address::Ip(([0, 0, 0, 0], address.port()).into()).into()), BTreeSet::from([Holder::Ours]));
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a socket");
        let _socket = UnixListener::bind(&path).expect("bound");
        assert_eq!(of(&Address::Unix(path).into()), BTreeSet::from([Holder::Ours]));
        assert_eq!(of(&Address::Unix(directory.path().join("socket")).into()), BTreeSet::new());
    }
}
