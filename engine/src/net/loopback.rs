//! TCP connections that do not leave the host.

use ringway_config::model::Runtime;
use socket2::Socket;
use std::net::SocketAddr;

/// How fast they may send. Pacing is for long ways: over loopback, where nothing is lost and nothing shared, it has each segment
/// of a large body wait for a timer of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// As the system's congestion control has it.
    AsSystem,
    /// At once, where the system's congestion control paces.
    Unpaced,
}

/// In every kernel, and for every user.
const UNPACED: &str = "reno";

impl Loopback {
    pub fn new(runtime: &Runtime) -> Self {
        let system = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
        if runtime.loopback_pacing || !paces(&system) { Self::AsSystem } else { Self::Unpaced }
    }

    /// To be called before the socket listens or connects: those that it accepts have the same, and one that is connected is paced
    /// until its end.
    pub(super) fn prepare(self, socket: &Socket, address: SocketAddr) {
        if self == Self::Unpaced && address.ip().to_canonical().is_loopback() {
            // Without it, the system's holds.
            let _ = socket.set_tcp_congestion(UNPACED.as_bytes());
        }
    }
}

/// Whether the congestion control of this name sends by a clock: all versions of BBR do.
fn paces(name: &str) -> bool {
    name.starts_with("bbr")
}

#[cfg(test)]
mod tests {
    use super::super::{ListenOptions, sys};
    use super::*;
    use ringway_config::model::{Address, Binding, SocketAccess};
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn control(socket: &Socket) -> String {
        String::from_utf8(socket.tcp_congestion().expect("TCP")).expect("ASCII").trim_end_matches('\0').to_owned()
    }

    #[test]
    fn only_sockets_within_the_host_are_not_paced() {
        assert!(paces("bbr\n") && paces("bbr3") && !paces("cubic\n") && !paces("reno\n") && !paces(""));
        let system = control(&Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket"));
        let here: [std::net::IpAddr; 3] =
            [Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 1, 2, 3).into(), Ipv6Addr::LOCALHOST.into()];
        for ip in here {
            for (loopback, expected) in [(Loopback::Unpaced, UNPACED), (Loopback::AsSystem, &*system)] {
                let options = ListenOptions { backlog: 16, loopback };
                let binding = Binding::from(Address::Ip((ip, 0).into()));
                let listening = sys::listen(&binding, &SocketAccess::default(), options).expect("a port");
                let listening = Socket::from(listening);
                let address = listening.local_addr().expect("bound");
                let at = Address::Ip(address.as_socket().expect("an IP address"));
                let near = Socket::from(sys::stream_socket(&at, loopback).expect("a socket").0);
                near.connect(&address).expect("connected");
                let (far, _) = listening.accept().expect("it came");
                assert_eq!([control(&near), control(&far)], [expected, expected], "{ip} {loopback:?}");
            }
        }
        for elsewhere in ["192.0.2.1:80", "[2001:db8::1]:80", "0.0.0.0:80"] {
            let address = Address::Ip(elsewhere.parse().expect("an address"));
            let socket = Socket::from(sys::stream_socket(&address, Loopback::Unpaced).expect("a socket").0);
            assert_eq!(control(&socket), system, "{elsewhere}");
        }
    }
}
