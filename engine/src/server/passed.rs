//! Sockets that the process gets at its start (systemd: socket activation, sd_listen_fds(3)). They listen already, and stay
//! open in the service manager after the process has ended, so connections wait for the next one instead of being refused.

use crate::net::sys::{self, PassedFd};
use ringway_config::model::{Address, Binding, Config};
use std::collections::HashMap;

/// The number of the first descriptor that is passed.
const FIRST: i32 = 3;

/// All that were passed. They stay open here: a listener that a reload takes away may come back with the next one.
#[derive(Default)]
pub(super) struct Passed(Vec<PassedSocket>);

pub(super) struct PassedSocket {
    /// `FileDescriptorName=` of the .socket unit; its own name by default.
    name: String,
    pub socket: PassedFd,
}

/// Which binding has which of the sockets.
pub(super) type Assigned<'p> = HashMap<Binding, &'p PassedSocket>;

impl Passed {
    /// Those that the environment tells of, if it means this process. Called once: they belong to the result.
    ///
    /// # Errors
    /// One sentence: a descriptor is not a socket that listens.
    pub(super) fn from_environment() -> Result<Self, String> {
        let variable = |name: &str| std::env::var(name).ok();
        let names = names(std::process::id(), variable);
        let take = |(index, name): (usize, String)| {
            let fd = FIRST + index as i32;
            let socket = sys::take_passed(fd).map_err(|error| {
                format!("the descriptor {fd} ({name}) that LISTEN_FDS tells of cannot be listened on: {error}")
            })?;
            Ok(PassedSocket { name, socket })
        };
        names.into_iter().enumerate().map(take).collect::<Result<_, String>>().map(Self)
    }

    /// Gives each listener, and the admin endpoint, the socket that has its name, else the one that has its address.
    ///
    /// # Errors
    /// One sentence: two of them would have the same one, or a socket takes other families than its listener is to take.
    pub(super) fn assign(&self, config: &Config) -> Result<Assigned<'_>, String> {
        let listeners = config.listeners.iter().map(|listener| (listener.name.as_str(), listener.binding()));
        let admin = config.admin.iter().map(|admin| ("admin", admin.address.clone().into()));
        let mut owners: Vec<Option<&str>> = vec![None; self.0.len()];
        let mut assigned = Assigned::new();
        for (name, binding) in listeners.chain(admin) {
            let Some(index) = self.find(name, &binding) else { continue };
            let passed = &self.0[index];
            if let Some(other) = owners[index].replace(name) {
                return Err(format!(
                    "{other} and {name} would both have the socket {passed}: name one of them otherwise"
                ));
            }
            check_families(passed, &binding)?;
            assigned.insert(binding, passed);
        }
        for (passed, _) in self.0.iter().zip(owners).filter(|(_, owner)| owner.is_none()) {
            let name = &passed.name;
            tracing::warn!(
                target: "ringway::server",
                "no listener takes the socket {passed}, which was passed to this process: connections to it wait in vain; give a \
                 listener that address, or the name {name:?}"
            );
        }
        Ok(assigned)
    }

    fn find(&self, name: &str, binding: &Binding) -> Option<usize> {
        let has_address = |passed: &PassedSocket| passed.socket.address.as_ref() == Some(&binding.address);
        let mut named = self.0.iter().enumerate().filter(|(_, passed)| passed.name == name);
        // All sockets of one unit have the same name.
        match (named.next(), named.next()) {
            (Some((index, _)), None) => Some(index),
            _ => self.0.iter().position(has_address),
        }
    }
}

impl std::fmt::Display for PassedSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.socket.address {
            Some(address) => write!(f, "{:?} at {address}", self.name),
            None => write!(f, "{:?}", self.name),
        }
    }
}

/// The families of a socket that is bound cannot be changed any more.
fn check_families(passed: &PassedSocket, binding: &Binding) -> Result<(), String> {
    let is_any = matches!(&passed.socket.address, Some(Address::Ip(ip)) if ip.is_ipv6() && ip.ip().is_unspecified());
    match (passed.socket.ipv4_compat, binding.ipv4_compat) {
        (true, false) if is_any => Err(format!(
            "the socket {passed} takes IPv4, too: write ipv4_compat = true for its listener, or BindIPv6Only=ipv6-only in the \
             .socket unit"
        )),
        (false, true) if is_any => Err(format!(
            "the socket {passed} takes no IPv4, as ipv4_compat asks: write BindIPv6Only=both in the .socket unit"
        )),
        _ => Ok(()),
    }
}

/// A name for each descriptor; none where the variables are meant for another process, such as the parent.
fn names(pid: u32, variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let number = |name: &str| variable(name).and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(pid) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0) as usize;
    let written = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = written.split(':').map(str::to_owned);
    let unknown = || "unknown".to_owned();
    (0..count).map(|_| names.next().filter(|name| !name.is_empty()).unwrap_or_else(unknown)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pid: &str, count: &str, written: &str) -> Vec<String> {
        names(7, |name| match name {
            "LISTEN_PID" => Some(pid.into()),
            "LISTEN_FDS" => Some(count.into()),
            _ => Some(written.into()).filter(|written: &String| !written.is_empty()),
        })
    }

    #[test]
    fn only_what_is_meant_for_this_process() {
        assert_eq!(environment("7", "2", "front:admin"), ["front", "admin"]);
        assert_eq!(environment("7", "3", "front"), ["front", "unknown", "unknown"]);
        assert_eq!(environment("7", "1", ""), ["unknown"]);
        assert!(environment("8", "2", "front:admin").is_empty());
        assert!(environment("", "2", "").is_empty() && environment("7", "x", "").is_empty());
        assert!(names(7, |_| None).is_empty());
    }

    fn passed(sockets: &[(&str, &str, bool)]) -> Passed {
        let socket = |(name, address, ipv4_compat): &(&str, &str, bool)| {
            let address = match address.strip_prefix("unix:") {
                Some(path) => Address::Unix(path.into()),
                None => Address::Ip(address.parse().expect("an address")),
            };
            let fd = std::fs::File::open("/dev/null").expect("it is there").into();
            let socket = PassedFd { fd, address: Some(address), ipv4_compat: *ipv4_compat };
            PassedSocket { name: (*name).into(), socket }
        };
        Passed(sockets.iter().map(socket).collect())
    }

    fn config(listeners: &[(&str, &str)]) -> Config {
        let listener = |(keys, address): &(&str, &str)| {
            format!(
                "[[listeners]]\naddress = \"{address}\"\n{keys}\nhttp.routes = [{{ match = {{ prefix = \"/\" }}, \
                 direct_response = {{ status = 200 }} }}]\n"
            )
        };
        let text: String = listeners.iter().map(listener).collect();
        ringway_config::load_str("test.toml", &text).expect("valid")
    }

    /// The names of the sockets that the listeners have.
    fn assigned(passed: &Passed, config: &Config) -> Result<Vec<Option<String>>, String> {
        let assigned = passed.assign(config)?;
        let name = |binding: Binding| assigned.get(&binding).map(|passed| passed.to_string());
        Ok(config.listeners.iter().map(|listener| name(listener.binding())).collect())
    }

    #[test]
    fn a_name_goes_before_an_address() {
        let two = passed(&[("front", "0.0.0.0:80", false), ("ringway.socket", "unix:/run/x", false)]);
        let both = config(&[("", "unix:/run/x"), ("name = \"front\"", "127.0.0.1:8080"), ("", "127.0.0.1:1")]);
        let expected = [Some("\"ringway.socket\" at unix:/run/x"), Some("\"front\" at 0.0.0.0:80"), None];
        assert_eq!(assigned(&two, &both), Ok(expected.map(|text| text.map(str::to_owned)).to_vec()));
        // The sockets of one unit have the same name, which then says nothing.
        let same = passed(&[("front", "0.0.0.0:80", false), ("front", "0.0.0.0:81", false)]);
        let file = config(&[("name = \"front\"", "0.0.0.0:81")]);
        assert_eq!(assigned(&same, &file), Ok(vec![Some("\"front\" at 0.0.0.0:81".into())]));
        let twice = config(&[("name = \"front\"", "127.0.0.1:8080"), ("", "0.0.0.0:80")]);
        let why = assigned(&two, &twice).expect_err("refused");
        assert!(why.contains("front and 0.0.0.0:80 would both have the socket \"front\" at 0.0.0.0:80"), "{why}");
    }

    #[test]
    fn families_must_fit() {
        let any = |compat| passed(&[("a", "[::]:80", compat)]);
        let file = |keys| config(&[(keys, "[::]:80")]);
        let why = assigned(&any(true), &file("")).expect_err("refused");
        assert!(why.contains("takes IPv4, too: write ipv4_compat = true"), "{why}");
        let why = assigned(&any(false), &file("ipv4_compat = true")).expect_err("refused");
        assert!(why.contains("BindIPv6Only=both"), "{why}");
        assert!(assigned(&any(true), &file("ipv4_compat = true")).is_ok() && assigned(&any(false), &file("")).is_ok());
    }
}
