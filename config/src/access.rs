//! Why this process may not read or write a file: as which user it tried, what is in the way, and what to do about it.

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgroups};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What is wanted of a file or directory, as a bit of its mode for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Read = 4,
    Write = 2,
    /// Of a directory: to reach what is in it.
    Search = 1,
}

impl Want {
    fn letter(self) -> char {
        match self {
            Self::Read => 'r',
            Self::Write => 'w',
            Self::Search => 'x',
        }
    }
}

/// That the file cannot be read, and where this user may not, the whole of `refused`.
pub fn cannot_read(path: &Path, error: &io::Error) -> String {
    let told = format!("cannot read {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("{told}; {}", refused(path, Want::Read)),
        _ => told,
    }
}

/// Which user was refused, what is in the way, and the remedy. `path` is a file, or a directory in which files are to be made.
pub fn refused(path: &Path, want: Want) -> String {
    let this = Process::new();
    let tried = format!("tried as user {}, group {}", this.user_name(), this.group_name());
    // That of the process may be the one that is closed.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (blocked, want) = match closed(&path) {
        Some(directory) => (directory, Want::Search),
        None => (path.as_path(), want),
    };
    let shown = blocked.display();
    let Ok(metadata) = fs::metadata(blocked) else {
        return format!("{tried}: {shown} is out of its reach");
    };
    let owner = format!(
        "{shown} belongs to {}:{}, mode {:04o}",
        user_name(metadata.uid()),
        group_name(metadata.gid()),
        metadata.mode() & 0o7777
    );
    format!("{tried}: {owner}; {}", this.remedy(blocked, &metadata, want))
}

/// A path in a command for a shell.
pub fn shell_quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%=".contains(&byte);
    match path.bytes().all(is_plain) && !path.starts_with('-') {
        true => path,
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

/// The first directory on the way to `path` that this process may not pass.
fn closed(path: &Path) -> Option<&Path> {
    let mut directories: Vec<_> = path.ancestors().skip(1).filter(|part| !part.as_os_str().is_empty()).collect();
    directories.reverse();
    let is_closed = |directory: &&Path| {
        // Looking up even this name needs the right to search.
        let looked = fs::metadata(directory.join("."));
        looked.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    directories.into_iter().find(is_closed)
}

/// The ids that the kernel goes by.
struct Process {
    user: u32,
    group: u32,
    groups: Vec<u32>,
}

impl Process {
    fn new() -> Self {
        let groups = getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect();
        Self { user: geteuid().as_raw(), group: getegid().as_raw(), groups }
    }

    fn user_name(&self) -> String {
        user_name(self.user)
    }

    fn group_name(&self) -> String {
        group_name(self.group)
    }

    fn remedy(&self, path: &Path, metadata: &Metadata, want: Want) -> String {
        let (shown, letter) = (shell_quoted(path), want.letter());
        let (group, owners) = (metadata.gid(), metadata.mode() >> 3 & want as u32 != 0);
        let is_member = self.group == group || self.groups.contains(&group);
        if metadata.uid() == self.user {
            return match metadata.mode() >> 6 & want as u32 {
                0 => format!("remedy: chmod u+{letter} {shown}"),
                _ => OTHER_CAUSE.into(),
            };
        }
        if is_member {
            return match owners {
                false => format!("remedy: chmod g+{letter} {shown}"),
                true => OTHER_CAUSE.into(),
            };
        }
        let own = format!("chgrp {} {shown} && chmod g+{letter} {shown}", self.group_name());
        // The group of root is not one to be in.
        match owners && group != 0 {
            true => format!(
                "remedy: make that user a member of the group (usermod -aG {} {}) and start the process again, or {own}",
                group_name(group),
                self.user_name()
            ),
            false => format!("remedy: {own}, or chown {} {shown}", self.user_name()),
        }
    }
}

const OTHER_CAUSE: &str = "its owner and mode allow it: an access control list, a security module (AppArmor, SELinux) or the unit of \
     the service (systemd's ProtectHome=, ProtectSystem=) does not";

fn user_name(id: u32) -> String {
    match User::from_uid(Uid::from_raw(id)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => id.to_string(),
    }
}

fn group_name(id: u32) -> String {
    match Group::from_gid(Gid::from_raw(id)) {
        Ok(Some(group)) => group.name,
        Ok(None) | Err(_) => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_remedy_fits_owner_group_and_mode() {
        let file = std::env::temp_dir().join(format!("ringway-access-{}", std::process::id()));
        fs::write(&file, "").expect("written");
        let remedy = |user: u32, group: u32, groups: &[u32], mode: u32| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("ours");
            let metadata = fs::metadata(&file).expect("it is there");
            let (own, of) = (metadata.uid(), metadata.gid());
            let this =
                Process { user: own + user, group: of + group, groups: groups.iter().map(|add| of + add).collect() };
            this.remedy(Path::new("/k"), &metadata, Want::Read)
        };
        assert_eq!(remedy(0, 7, &[], 0o070), "remedy: chmod u+r /k", "the owner's bits alone count for the owner");
        assert_eq!(remedy(1, 0, &[], 0o604), "remedy: chmod g+r /k");
        assert_eq!(remedy(1, 7, &[0], 0o600), "remedy: chmod g+r /k");
        assert_eq!(remedy(1, 0, &[], 0o640), OTHER_CAUSE);
        assert_eq!(remedy(0, 7, &[], 0o400), OTHER_CAUSE);
        let closed = remedy(1, 4_000_000, &[], 0o600);
        assert!(closed.contains("chmod g+r /k, or chown"), "{closed}");
        assert!(closed.starts_with("remedy: chgrp 4"), "{closed}");
        fs::remove_file(&file).expect("ours");
    }

    #[test]
    fn commands_survive_any_path() {
        for (path, quoted) in
            [("/etc/a-b.pem", "/etc/a-b.pem"), ("/my keys/a", "'/my keys/a'"), ("-k", "'-k'"), ("it's", r"'it'\''s'")]
        {
            assert_eq!(shell_quoted(Path::new(path)), quoted);
        }
    }

    #[test]
    fn other_errors_are_told_as_they_are() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(cannot_read(Path::new("/k"), &error), format!("cannot read /k: {error}"));
    }
}
