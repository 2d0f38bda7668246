//! System calls around sockets and the process: listening, connecting, addresses, limits.
#![allow(unsafe_code)]

use super::{ListenOptions, Loopback, Traffic, users};
use crate::ring::memory::Resource;
use ringway_config::model::{Address, Binding, SocketAccess};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use std::ffi::CString;
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A bound, listening socket. TCP sockets share their port (SO_REUSEPORT), one socket for each shard, and hand
/// TCP_NODELAY down to what they accept. A Unix path is bound once; see `share`.
///
/// # Errors
/// What bind(2) and listen(2) report.
pub fn listen(binding: &Binding, access: &SocketAccess, options: ListenOptions) -> io::Result<OwnedFd> {
    let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
    match &binding.address {
        Address::Ip(address) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.set_tcp_nodelay(true)?;
            if address.is_ipv6() {
                socket.set_only_v6(!binding.ipv4_compat)?;
            }
            options.loopback.prepare(&socket, *address);
            socket.bind(&(*address).into())?;
            socket.listen(backlog)?;
            Ok(socket.into())
        }
        Address::Unix(path) => {
            remove_stale_socket(path)?;
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(path)?)?;
            // Before it listens no connection is possible.
            if let Err(why) = give_access(path, access) {
                let _ = std::fs::remove_file(path);
                return Err(io::Error::other(why));
            }
            socket.listen(backlog)?;
            Ok(socket.into())
        }
    }
}

/// Gives `bytes` to the kernel, if it has room for all of them; never waits.
pub fn send_now(fd: RawFd, bytes: &[u8]) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the kernel reads `bytes`, which are borrowed for the call, and keeps no pointer.
    unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
}

/// Gives a Unix socket's file its owner and permissions.
///
/// # Errors
/// One sentence: there is no such user or group, or this process may not do it.
pub fn give_access(path: &std::path::Path, access: &SocketAccess) -> Result<(), String> {
    let (user, group) = owner(access)?;
    if user.is_some() || group.is_some() {
        std::os::unix::fs::lchown(path, user, group)
            .map_err(|error| format!("its owner cannot be changed: {error}: {OWNERS}"))?;
    }
    let Some(mode) = access.mode else { return Ok(()) };
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, permissions).map_err(|error| format!("its mode cannot be changed: {error}"))
}

/// Why this process could not give a file of its own this owner.
///
/// # Errors
/// One sentence: there is no such user or group, or only root may do it.
pub fn check_owner(access: &SocketAccess) -> Result<(), String> {
    let (user, group) = owner(access)?;
    // SAFETY: no arguments, cannot fail.
    let (own_user, own_group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let is_own = |group: u32| group == own_group || users::own_groups().contains(&group);
    match user.is_none_or(|user| user == own_user) && group.is_none_or(is_own) || may_change_owners() {
        true => Ok(()),
        false => Err(format!("the socket's owner cannot be changed by this user: {OWNERS}")),
    }
}

/// What chown(2) asks for.
const OWNERS: &str = "only root can give it to another user, or to a group that is not one of the process's own";

/// Whether this process has CAP_CHOWN, which root may lack and another user may have.
fn may_change_owners() -> bool {
    const CAP_CHOWN: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    match effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) {
        Some(mask) => mask & CAP_CHOWN != 0,
        None => users::is_root(),
    }
}

/// The ids of the user and group.
///
/// # Errors
/// One sentence: which of them does not exist.
pub fn owner(access: &SocketAccess) -> Result<(Option<u32>, Option<u32>), String> {
    let user = access.user.as_deref().map(users::lookup_user).transpose()?;
    let group = access.group.as_deref().map(users::lookup_group).transpose()?;
    Ok((user, group))
}

/// Makes a listening socket take no new connections. Those that are in its backlog can still be accepted, and so can those
/// whose handshake has begun: only its first segment (SYN) is dropped, so that the client sends it again a second later,
/// to a successor, or to no socket and is refused. A Unix socket refuses new connections at once.
///
/// # Errors
/// What setsockopt(2) and shutdown(2) report; then the socket takes connections as before.
pub fn refuse_new(fd: RawFd) -> io::Result<()> {
    // Where a TCP header has its flags, the two that tell a handshake's segments, and the one of the first.
    const FLAGS: u32 = 13;
    const SYN_ACK: u32 = 0x12;
    const SYN: u32 = 0x02;
    let socket = borrowed(fd);
    if socket.local_addr()?.is_unix() {
        return socket.shutdown(std::net::Shutdown::Read);
    }
    let step = |code: u32, jump_true, jump_false, value| SockFilter::new(code as u16, jump_true, jump_false, value);
    socket.attach_filter(&[
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS),
        step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN_ACK),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ])
}

/// SO_REUSEPORT lets several processes of one user share a port without a word. A listener is meant to be ours alone,
/// so the first socket is bound without it: if that fails, another socket has the port.
///
/// # Errors
/// What bind(2) reports, EADDRINUSE above all.
pub fn check_port_is_free(address: SocketAddr, ipv4_compat: bool) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!ipv4_compat)?;
    }
    socket.bind(&address.into())
}

/// A socket file without a listener, left by a process that died, is in the way of bind(2).
fn remove_stale_socket(path: &std::path::Path) -> io::Result<()> {
    if !is_socket(path) {
        return Ok(());
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // One that listens, but whose backlog is full, would be waited for.
    socket.set_nonblocking(true)?;
    let connected = socket.connect(&SockAddr::unix(path)?);
    if connected.is_err_and(|error| error.raw_os_error() == Some(libc::ECONNREFUSED)) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Whether there is a Unix socket at `path`.
pub fn is_socket(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

/// A socket to connect to `address`, and the address as the kernel wants it.
///
/// # Errors
/// What socket(2) reports: EMFILE, EAFNOSUPPORT.
pub fn stream_socket(address: &Address, loopback: Loopback) -> io::Result<(OwnedFd, SockAddr)> {
    match address {
        Address::Ip(address) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_tcp_nodelay(true)?;
            loopback.prepare(&socket, *address);
            Ok((socket.into(), (*address).into()))
        }
        Address::Unix(path) => {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            Ok((socket.into(), SockAddr::unix(path)?))
        }
    }
}

/// Whether a connection waits to be accepted.
pub fn has_backlog(fd: RawFd) -> bool {
    let mut waits = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: `waits` is one valid entry.
    unsafe { libc::poll(&raw mut waits, 1, 0) == 1 }
}

/// The backlog of a listening TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Connections that wait in it.
    pub waiting: u32,
    /// Connections that may; the kernel takes one more.
    pub max: u32,
}

/// `None` for other sockets.
pub fn backlog(fd: RawFd) -> Option<Backlog> {
    const LISTEN: u8 = 10;
    let info = TcpInfo::of(fd).filter(|info| info.0[TcpInfo::STATE] == LISTEN)?;
    Some(Backlog { waiting: info.word(TcpInfo::UNACKED), max: info.word(TcpInfo::SACKED) })
}

/// Changes that. Those that wait already stay.
pub fn set_backlog(fd: RawFd, backlog: u32) {
    // Fails only for sockets that do not listen.
    let _ = borrowed(fd).listen(i32::try_from(backlog).unwrap_or(i32::MAX));
}

/// The connection that waits in the backlog. For a socket on which no other thread accepts, or this might wait.
///
/// # Errors
/// What accept(2) reports: EMFILE, ENFILE.
pub fn accept_waiting(fd: RawFd) -> io::Result<OwnedFd> {
    Ok(borrowed(fd).accept()?.0.into())
}

/// Limits what the kernel holds for a peer that does not read.
pub fn limit_send_buffer(fd: RawFd, bytes: usize) {
    // Without it the kernel's own limit holds.
    let _ = borrowed(fd).set_send_buffer_size(bytes);
}

/// The peer's address; `None` for Unix sockets and for connections that are gone already.
pub fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    borrowed(fd).peer_addr().ok()?.as_socket().map(unmapped)
}

/// This side's address.
pub fn local_address(fd: RawFd) -> Option<SocketAddr> {
    borrowed(fd).local_addr().ok()?.as_socket().map(unmapped)
}

/// An IPv4 connection of a socket for IPv6 has IPv4 addresses like any other.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(mapped) => match mapped.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(ip.into(), mapped.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// Bytes that a TCP peer has acknowledged, and whether there are others, sent or not; `None` where it is not TCP.
pub fn acknowledged(fd: RawFd) -> Option<(u64, bool)> {
    let info = TcpInfo::of(fd)?;
    let waits = info.word(TcpInfo::UNACKED) > 0 || info.word(TcpInfo::NOTSENT_BYTES) > 0;
    Some((info.long(TcpInfo::BYTES_ACKED), waits))
}

/// All bytes that came on a TCP connection, and all that the kernel has taken for it; `None` where it is not TCP.
/// `has_ended`: the peer's FIN is known to have come.
pub fn traffic(fd: RawFd, has_ended: bool) -> Option<Traffic> {
    // States of a connection whose peer has sent its FIN (include/net/tcp_states.h), and the one that does not tell.
    const TIME_WAIT: u8 = 6;
    const CLOSE: u8 = 7;
    const CLOSE_WAIT: u8 = 8;
    const LAST_ACK: u8 = 9;
    const CLOSING: u8 = 11;
    let info = TcpInfo::of(fd)?;
    let has_fin = match info.0[TcpInfo::STATE] {
        TIME_WAIT | CLOSE_WAIT | LAST_ACK | CLOSING => true,
        CLOSE => has_ended,
        _ => false,
    };
    // The kernel counts in sequence numbers, of which the FIN has one.
    let received = info.long(TcpInfo::BYTES_RECEIVED).saturating_sub(u64::from(has_fin));
    let repeated = info.long(TcpInfo::BYTES_RETRANS);
    let sent = info.long(TcpInfo::BYTES_SENT).saturating_sub(repeated) + u64::from(info.word(TcpInfo::NOTSENT_BYTES));
    Some(Traffic { received, sent })
}

/// The beginning of the kernel's `struct tcp_info`, which only grows; the one of libc is shorter.
struct TcpInfo([u8; Self::LEN]);

impl TcpInfo {
    const STATE: usize = 0;
    const UNACKED: usize = 24;
    /// Of a listening socket: the length of its backlog; UNACKED is what waits in it.
    const SACKED: usize = 28;
    const BYTES_ACKED: usize = 120;
    const BYTES_RECEIVED: usize = 128;
    const NOTSENT_BYTES: usize = 144;
    const BYTES_SENT: usize = 200;
    const BYTES_RETRANS: usize = 208;
    const LEN: usize = 216;

    fn of(fd: RawFd) -> Option<Self> {
        let mut info = [0_u8; Self::LEN];
        let mut len = info.len() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes, for which there is room.
        let result =
            unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len) };
        (result == 0 && len as usize == info.len()).then_some(Self(info))
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_ne_bytes(std::array::from_fn(|byte| self.0[at + byte]))
    }

    fn long(&self, at: usize) -> u64 {
        u64::from_ne_bytes(std::array::from_fn(|byte| self.0[at + byte]))
    }
}

/// Close with RST, so that the peer can tell that its message was cut off.
pub fn reset_on_close(fd: RawFd) {
    // Fails only for sockets that are gone, and then there is nothing to cut off.
    let _ = borrowed(fd).set_linger(Some(std::time::Duration::ZERO));
}

fn borrowed(fd: RawFd) -> ManuallyDrop<Socket> {
    // SAFETY: the caller owns the descriptor and keeps it open for the call; ManuallyDrop leaves it open.
    ManuallyDrop::new(unsafe { Socket::from_raw_fd(fd) })
}

/// How many descriptors the process may open.
pub fn descriptor_limit() -> u64 {
    Resource::Descriptors.limit().unwrap_or(u64::MAX)
}

/// Raise the soft limit of descriptors to the hard one and return it.
pub fn raise_descriptor_limit() -> u64 {
    Resource::Descriptors.raise().unwrap_or(u64::MAX)
}

/// Whether this process may write to the file.
pub fn may_write(path: &std::path::Path) -> bool {
    may(path, libc::W_OK)
}

/// Whether this process may make and remove files in a directory.
pub fn may_make_files(directory: &std::path::Path) -> bool {
    may(directory, libc::W_OK | libc::X_OK)
}

fn may(path: &std::path::Path, access: libc::c_int) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path ends with a NUL and outlives the call, which writes nothing.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), access, libc::AT_EACCESS) == 0 }
}

/// Give freed memory back to the system.
pub fn trim_heap() {
    // SAFETY: no pointers are passed.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A second descriptor for the same socket: how shards share a listener of which there is only one socket.
///
/// # Errors
/// EMFILE.
pub fn share(fd: &OwnedFd) -> io::Result<OwnedFd> {
    fd.try_clone()
}

/// A listening socket that was there when the process began.
#[derive(Debug)]
pub struct PassedFd {
    pub fd: OwnedFd,
    /// `None`: a Unix socket without a path.
    pub address: Option<Address>,
    /// Whether it takes IPv4 in addition to IPv6.
    pub ipv4_compat: bool,
}

/// Takes the descriptor `fd`, which the process was started with and nothing else in it uses, and prepares the socket as
/// `listen` does. It is made blocking, as the ring would else be told at once that no connection waits.
///
/// # Errors
/// EBADF: there is none; EINVAL: it is no stream socket that listens; what fcntl(2) and setsockopt(2) report.
pub fn take_passed(fd: RawFd) -> io::Result<PassedFd> {
    // SAFETY: F_GETFD only looks whether there is such a descriptor.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and the caller says that nothing else owns it.
    let socket = unsafe { Socket::from_raw_fd(fd) };
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    socket.set_cloexec(true)?;
    socket.set_nonblocking(false)?;
    let local = socket.local_addr()?;
    let address = match local.as_socket() {
        Some(ip) => Some(Address::Ip(ip)),
        None => local.as_pathname().map(|path| Address::Unix(path.to_owned())),
    };
    let ipv4_compat = local.is_ipv6() && !socket.only_v6()?;
    if local.as_socket().is_some() {
        socket.set_tcp_nodelay(true)?;
    }
    Ok(PassedFd { fd: socket.into(), address, ipv4_compat })
}

/// Microseconds of CLOCK_MONOTONIC, as the service manager wants them.
pub fn monotonic_micros() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec for the kernel to fill, and this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}
