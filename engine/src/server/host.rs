//! What a configuration needs of this host. `check` asks for all that would end a start, without starting anything: no
//! file is made, nothing listens, and an address that is taken is fine, since the proxy itself may run.

use super::{bind, placement, room, run};
use crate::base::clock::Wall;
use crate::net::{sys, users};
use crate::ring::memory::Resource;
use crate::ring::{PoolSize, Reactor, ReactorOptions};
use crate::shard::Transports;
use ringway_config::LoadError;
use ringway_config::access::{self, Want};
use ringway_config::model::{Address, Config, Diagnostic, Need, Needed};
use std::io;
use std::path::{Path, PathBuf};

/// What `run` would refuse, and what it would ignore.
#[derive(Debug, Default)]
pub struct HostReport {
    pub refused: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
}

/// Looks for all that the configuration needs; with `of_this_process`, at the limits of this process as well, which are not those
/// of a service that is checked by hand.
pub fn check(config: &Config, of_this_process: bool) -> HostReport {
    let mut report = look_at(config, |_| true);
    report.refused.extend(of_this_process.then(|| limits(config)).flatten());
    match Transports::load(config, None, Wall::System) {
        Ok(loaded) => report.warnings.extend(loaded.warnings),
        Err(refused) => report.refused.extend(refused),
    }
    report
}

/// What is wrong with the files of TLS that a configuration names which is refused for another reason.
pub fn check_files(file: &Path) -> Vec<Diagnostic> {
    let config = ringway_config::load_partly(file);
    config.and_then(|config| Transports::load(&config, None, Wall::System).err()).unwrap_or_default()
}

/// Becomes `runtime.user` for good, where the configuration has one and this process is root, and says which files that user may
/// not read or write. The start does that as root; a renewal of certificates, a reload and new log files come later.
pub fn check_as_runtime_user(config: &Config, file: &Path) -> HostReport {
    let mut report = HostReport::default();
    let runtime = &config.runtime;
    let Some(user) = runtime.user.as_deref().filter(|_| users::is_root()) else { return report };
    // Those that do not exist have been told of.
    let Ok(ids) = users::ids(user, runtime.group.as_deref()) else { return report };
    let of_user = |message: String| told(config.needs.iter().find(|need| matches!(need.what, Needed::User)), message);
    if let Err(message) = ids.assume() {
        report.refused.push(of_user(message));
        return report;
    }
    let mut later = look_at(config, |what| matches!(what, Needed::LogFile(_) | Needed::EventLog(_)));
    report.warnings.append(&mut later.refused);
    report.warnings.append(&mut later.warnings);
    match ringway_config::load_file(file) {
        Ok(config) => report.warnings.extend(Transports::load(&config, None, Wall::System).err().into_iter().flatten()),
        Err(LoadError::Refused(problems)) => report.warnings.extend(problems.into_list()),
        Err(error @ LoadError::Unreadable { .. }) => {
            report.warnings.push(of_user(error.to_string().trim_end().to_owned()));
        }
    }
    for told in &mut report.warnings {
        told.message += &format!(" (the start does this as root; reloads and renewals do it as runtime.user, {user})");
    }
    report
}

/// What the limits of this process prevent: descriptors, locked memory for the rings, and the rings themselves.
fn limits(config: &Config) -> Option<Diagnostic> {
    let cores = placement::of_process(&config.runtime).ok()?;
    let descriptors = sys::raise_descriptor_limit();
    Resource::LockedMemory.raise();
    let small = ReactorOptions { ring_entries: 64, buffers: PoolSize { count: 16, size: 1024 }, ..Default::default() };
    let why = run::enough_descriptors(descriptors)
        .and_then(|()| run::reserve(config, cores.len()).map(drop))
        // Whether rings are permitted at all.
        .and_then(|()| Reactor::new(&small).map(drop))
        .err()?;
    let need = config.needs.iter().find(|need| matches!(need.what, Needed::Buffers | Needed::Cores));
    let need = need.or(config.needs.first());
    Some(told(need, why))
}

/// At the place that asks for it, if there is one.
fn told(need: Option<&Need>, message: String) -> Diagnostic {
    let mut told = need.map_or_else(Diagnostic::default, |need| need.at.clone());
    told.message = message;
    told
}

/// What the configuration asks for and this process ignores; touches no address and no file.
pub(super) fn ignored(config: &Config) -> Vec<Diagnostic> {
    let mut report = look_at(config, |what| matches!(what, Needed::User | Needed::EventLog(_) | Needed::Buffers));
    // A start goes well where `check` sees that the memory will not suffice.
    report.warnings.append(&mut report.refused);
    report.warnings
}

fn look_at(config: &Config, concerns: impl Fn(&Needed) -> bool) -> HostReport {
    let mut report = HostReport::default();
    for need in config.needs.iter().filter(|need| concerns(&need.what)) {
        let Err(message) = look(config, &need.what) else { continue };
        let told = told(Some(need), message);
        match need.what {
            // They are only looked for by a process that can become them.
            Needed::User | Needed::Group if !users::is_root() => report.warnings.push(told),
            Needed::EventLog(_) => report.warnings.push(told),
            _ => report.refused.push(told),
        }
    }
    report
}

fn look(config: &Config, what: &Needed) -> Result<(), String> {
    let runtime = &config.runtime;
    match what {
        Needed::User => match &runtime.user {
            Some(user) => users::ids(user, None).map(drop),
            None => Ok(()),
        },
        Needed::Group => runtime.group.as_deref().map_or(Ok(0), users::lookup_group).map(drop),
        Needed::Buffers => match placement::of_process(runtime) {
            Ok(cores) => room::check(runtime, cores.len()),
            // That is told where the cores are.
            Err(_) => Ok(()),
        },
        Needed::Cores => placement::of_process(runtime).map(drop),
        Needed::Address(address) => {
            address_error(address).map_or(Ok(()), |error| Err(bind::explain(&address.clone().into(), &error)))
        }
        // They are looked at together.
        Needed::Pem(_) | Needed::Authorities => Ok(()),
        Needed::Owner(access) => sys::check_owner(access),
        Needed::LogFile(path) | Needed::EventLog(path) => log_file_error(path)
            .map_or(Ok(()), |why| Err(format!("the log {} cannot be written: {why}", path.display()))),
    }
}

/// Why nothing could listen there, whatever else runs.
fn address_error(address: &Address) -> Option<io::Error> {
    match address {
        Address::Ip(ip) => {
            let error = sys::check_port_is_free(*ip, false).err()?;
            (error.raw_os_error() != Some(libc::EADDRINUSE)).then_some(error)
        }
        Address::Unix(path) => {
            let directory = directory(path);
            let code = match std::fs::metadata(&directory) {
                Err(error) => return Some(error),
                Ok(metadata) if !metadata.is_dir() => libc::ENOTDIR,
                Ok(_) if path.exists() && !sys::is_socket(path) => libc::EADDRINUSE,
                Ok(_) if !sys::may_make_files(&directory) => libc::EACCES,
                Ok(_) => return None,
            };
            Some(io::Error::from_raw_os_error(code))
        }
    }
}

fn log_file_error(path: &Path) -> Option<String> {
    let directory = directory(path);
    let shown = directory.display();
    let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let cannot_make = || access::refused(&directory, Want::MakeFiles);
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Some("it is a directory".into()),
        Ok(_) => {
            let refused = || format!("this user may not write to it; {}", access::refused(path, Want::Write));
            return (!sys::may_write(path)).then(refused);
        }
        // It is a link to where this user may not go.
        Err(error) if is_denied(&error) && sys::may_make_files(&directory) => {
            return Some(format!("it cannot be reached: {error}; {}", access::refused(path, Want::Write)));
        }
        Err(_) => {}
    }
    match std::fs::metadata(&directory) {
        Ok(found) if found.is_dir() => (!sys::may_make_files(&directory))
            .then(|| format!("this user may not make files in {shown}; {}", cannot_make())),
        Err(error) if is_denied(&error) => Some(format!("{shown} cannot be reached: {error}; {}", cannot_make())),
        Ok(_) | Err(_) => Some(format!("there is no directory {shown}")),
    }
}

/// The directory of a file; that of the process for a name alone.
pub(super) fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert_eq!(log_file_error(&file), None);
        assert_eq!(log_file_error(&dir.path().join("new.log")), None);
        assert!(!dir.path().join("new.log").exists(), "nothing is made");
        assert!(log_file_error(&dir.path().join("none/a.log")).expect("refused").contains("no directory"));
        assert!(log_file_error(dir.path()).expect("refused").contains("is a directory"));
        assert!(log_file_error(Path::new("a.log")).is_none());

        let unix = |path: PathBuf| address_error(&Address::Unix(path)).and_then(|error| error.raw_os_error());
        assert_eq!(unix(dir.path().join("new.sock")), None);
        assert_eq!(unix(dir.path().join("none/a.sock")), Some(libc::ENOENT));
        assert_eq!(unix(file.join("a.sock")), Some(libc::ENOTDIR));
        assert_eq!(unix(file), Some(libc::EADDRINUSE));
        // Documentation addresses (RFC 5737) belong to no host.
        let ip = |text: &str| address_error(&Address::Ip(text.parse().expect("an address")));
        assert_eq!(ip("192.0.2.1:0").and_then(|error| error.raw_os_error()), Some(libc::EADDRNOTAVAIL));
        assert!(ip("127.0.0.1:0").is_none());
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        assert!(ip(&taken.local_addr().expect("bound").to_string()).is_none(), "the proxy itself may have it");
    }
}
