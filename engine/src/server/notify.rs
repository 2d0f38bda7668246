//! What the service manager is told (systemd: sd_notify(3)): that the process is ready, reloads, stops. Without
//! `NOTIFY_SOCKET` in the environment nothing is sent.

use crate::net::sys;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long a message may wait while the manager reads none.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Notifier(Option<SocketAddr>);

impl Notifier {
    pub(super) fn from_environment() -> Self {
        Self::new(std::env::var_os("NOTIFY_SOCKET"))
    }

    /// `place` is a path, or a name behind an `@`.
    fn new(place: Option<OsString>) -> Self {
        let Some(place) = place.filter(|place| !place.is_empty()) else { return Self(None) };
        match address(&place) {
            Ok(address) => Self(Some(address)),
            Err(error) => {
                tracing::warn!(target: "ringway::server", place = %place.display(), %error, "NOTIFY_SOCKET is no address: the service manager is told nothing");
                Self(None)
            }
        }
    }

    /// Connections are accepted.
    pub(super) fn ready(&self) {
        self.send("READY=1");
    }

    /// The file is read again. `reloaded` follows.
    pub(super) fn reloading(&self) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", sys::monotonic_micros()));
    }

    /// The new configuration is in force, or the old one still is.
    pub(super) fn reloaded(&self, is_new: bool) {
        self.send(match is_new {
            true => "READY=1\nSTATUS=The configuration was reloaded.",
            false => {
                "READY=1\nSTATUS=The configuration was not reloaded, the old one stays in force; the log says why."
            }
        });
    }

    /// No new connections; those that there are may finish.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, message: &str) {
        let Some(address) = &self.0 else { return };
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.send_to_addr(message.as_bytes(), address)
        });
        if let Err(error) = sent {
            tracing::warn!(target: "ringway::server", %error, message, "the service manager cannot be told");
        }
    }
}

fn address(place: &OsStr) -> io::Result<SocketAddr> {
    match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(OsStr::from_bytes(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut message = [0; 256];
        let len = socket.recv(&mut message).expect("a message");
        String::from_utf8(message[..len].to_vec()).expect("text")
    }

    #[test]
    fn messages_arrive_at_a_path_and_at_a_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let name = format!("ringway-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("a name");
        let sockets = [
            (UnixDatagram::bind(&path).expect("bound"), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).expect("bound"), format!("@{name}").into()),
        ];
        for (socket, place) in sockets {
            let notifier = Notifier::new(Some(place));
            notifier.ready();
            assert_eq!(received(&socket), "READY=1");
            let before = sys::monotonic_micros();
            notifier.reloading();
            let reloading = received(&socket);
            let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
            assert!((before..=sys::monotonic_micros()).contains(&at.parse().expect("a number")), "{at}");
            notifier.reloaded(false);
            assert!(received(&socket).starts_with("READY=1\nSTATUS=The configuration was not reloaded"));
            notifier.stopping();
            assert_eq!(received(&socket), "STOPPING=1");
        }
    }

    #[test]
    fn without_a_manager_nothing_is_sent() {
        for place in [None, Some(OsString::new()), Some(OsString::from("x".repeat(200)))] {
            let notifier = Notifier::new(place);
            assert!(notifier.0.is_none());
            notifier.ready();
        }
        // A manager that is gone.
        Notifier::new(Some("/no/such/directory/notify".into())).ready();
    }
}
