//! Why this process may not read or write a file: as which user it tried, what is in the way, and what to do about it.

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgroups};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What is wanted of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Read,
    Write,
    /// Of a directory: to reach what is in it.
    Search,
    /// Of a directory: to make and remove files in it.
    MakeFiles,
}

impl Want {
    /// As in a mode, for others. All of them are needed.
    fn bits(self) -> u32 {
        match self {
            Self::Read => 4,
            Self::Write => 2,
            Self::Search => 1,
            Self::MakeFiles => 3,
        }
    }

    fn letters(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::Write => "w",
            Self::Search => "x",
            Self::MakeFiles => "wx",
        }
    }
}

/// That the file cannot be read, and why.
pub fn cannot_read(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {}", path.display(), unreadable(path, error))
}

/// Why the file cannot be read; where this user may not, with the whole of `refused`.
pub fn unreadable(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("{error}; {}", refused(path, Want::Read)),
        _ => error.to_string(),
    }
}

/// Which user was refused, what is in the way, and the remedy. `path` is a file, or a directory in which files are to be made.
pub fn refused(path: &Path, want: Want) -> String {
    let this = Process::new();
    let tried = format!("tried as user {}, group {}", this.user_name(), this.group_name());
    // That of the process may be the one that is closed.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (blocked, want) = match followed(&path) {
        Ok(file) => (file, want),
        Err(directory) => (directory, Want::Search),
    };
    let blocked = blocked.as_path();
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

/// A path in a command for a shell, where it is no option.
pub fn shell_quoted(path: &Path) -> String {
    let path = path.display().to_string();
    match path.starts_with('-') {
        true => word(&format!("./{path}")),
        false => word(&path),
    }
}

/// One word of a command for a shell.
fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%=".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.into(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// As many symbolic links as the kernel follows.
const LINKS_MAX: usize = 40;

/// The file that `path`, which is absolute, leads to through all symbolic links.
///
/// # Errors
/// The first directory on the way that this process may not pass.
fn followed(path: &Path) -> Result<PathBuf, PathBuf> {
    let parts_of = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    let (mut left, mut at, mut links) = (parts_of(path), PathBuf::from("/"), 0);
    while let Some(part) = left.pop() {
        if part == "." {
            continue;
        }
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        // Looking up even a name that is not there needs the right to search.
        match fs::symlink_metadata(&next) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(at),
            Ok(found) if found.is_symlink() && links < LINKS_MAX => {
                links += 1;
                let Ok(target) = fs::read_link(&next) else { return Err(at) };
                left.extend(parts_of(&target));
            }
            // Where the part is the root, `join` gives the root.
            Ok(_) | Err(_) => at = next,
        }
    }
    Ok(at)
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
        let (shown, letters, bits) = (shell_quoted(path), want.letters(), want.bits());
        if bits & Want::Write.bits() != 0 && is_read_only(path) {
            return READ_ONLY.into();
        }
        let allows = |shift: u32| metadata.mode() >> shift & bits == bits;
        let group = metadata.gid();
        let (class, shift) = if metadata.uid() == self.user {
            ('u', 6)
        } else if self.group == group || self.groups.contains(&group) {
            ('g', 3)
        } else {
            ('o', 0)
        };
        if allows(shift) {
            return OTHER_CAUSE.into();
        }
        if let Some(advice) = of_the_system(path) {
            return advice;
        }
        if class != 'o' {
            return format!("remedy: chmod {class}+{letters} {shown}");
        }
        let (user, own_group) = (word(&self.user_name()), word(&self.group_name()));
        let also = if allows(6) { String::new() } else { format!(" && chmod u+{letters} {shown}") };
        let to_user = format!("chown {user} {shown}{also}");
        let to_group = format!("chgrp {own_group} {shown} && chmod g+{letters} {shown}");
        // What is read may be a secret, and others may be in a group that is not the user's alone.
        let own = match want == Want::Read && user != own_group {
            true => format!("{to_user}, or chgrp to a group that has no other members, and chmod g+r"),
            false => format!("{to_group}, or {to_user}"),
        };
        // The group of root is not one to be in.
        match allows(3) && group != 0 {
            true => format!(
                "remedy: make that user a member of the group (usermod -aG {0} {user}; in a unit of systemd, SupplementaryGroups={0}) and \
                 start the process again, or {own}",
                word(&group_name(group)),
            ),
            false => format!("remedy: {own}"),
        }
    }
}

fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
}

/// What helps instead where others go by the owner and mode of a directory.
fn of_the_system(path: &Path) -> Option<String> {
    const DIRECTORIES: [&str; 20] = [
        "/", "/bin", "/boot", "/dev", "/etc", "/etc/ssl", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/sbin",
        "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log",
    ];
    const PRIVATE: [&str; 3] = ["/var/log/private", "/var/lib/private", "/var/cache/private"];
    let is_one_of = |known: &[&str]| known.iter().any(|known| path == Path::new(known));
    if is_one_of(&PRIVATE) {
        return Some(
            "it belongs to units with DynamicUser=, and is open within the unit alone: the check that the unit runs itself (ExecStartPre=) counts"
                .into(),
        );
    }
    is_one_of(&DIRECTORIES)
        .then(|| "its mode concerns others, too: keep the files in a directory of their own elsewhere".into())
}

const READ_ONLY: &str = "it is on a read-only file system (in a unit of systemd, ProtectSystem= makes it so, and ReadWritePaths= or \
     LogsDirectory= except directories)";

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
        assert_eq!(remedy(1, 4_000_000, &[], 0o604), OTHER_CAUSE, "the bits for others allow it");
        // The group has another name than the user.
        let closed = remedy(1, 4_000_000, &[], 0o600);
        assert!(closed.starts_with("remedy: chown ") && closed.contains("no other members"), "{closed}");
        let closed = remedy(4_000_000, 4_000_000, &[], 0o600);
        assert!(closed.starts_with("remedy: chgrp 4") && closed.contains("chmod g+r /k, or chown 4"), "{closed}");
        let closed = remedy(4_000_000, 4_000_000, &[], 0o000);
        assert!(closed.ends_with(" && chmod u+r /k"), "{closed}");
        fs::remove_file(&file).expect("ours");
    }

    #[test]
    fn a_directory_needs_both_bits_and_one_of_the_system_gets_no_command() {
        let file = std::env::temp_dir().join(format!("ringway-access-both-{}", std::process::id()));
        fs::write(&file, "").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o720)).expect("ours");
        let metadata = fs::metadata(&file).expect("it is there");
        fs::remove_file(&file).expect("ours");
        let this = Process { user: metadata.uid() + 1, group: metadata.gid(), groups: Vec::new() };
        assert_eq!(this.remedy(Path::new("/k"), &metadata, Want::MakeFiles), "remedy: chmod g+wx /k");
        assert_eq!(this.remedy(Path::new("/k"), &metadata, Want::Write), OTHER_CAUSE);
        for path in ["/", "/home", "/root", "/var/log", "/var/log/private"] {
            let said = this.remedy(Path::new(path), &metadata, Want::Search);
            assert!(!said.contains("chmod") && !said.contains("chgrp"), "{path}: {said}");
        }
    }

    #[test]
    fn links_are_followed_to_the_file() {
        let dir = std::env::temp_dir().join(format!("ringway-access-links-{}", std::process::id()));
        fs::create_dir_all(dir.join("archive")).expect("made");
        fs::create_dir_all(dir.join("live")).expect("made");
        fs::write(dir.join("archive/key1"), "").expect("written");
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, dir.join(name)).expect("linked");
        link("./../archive/key1", "live/key");
        link("live", "now");
        link("around", "around");
        let real = fs::canonicalize(&dir).expect("it is there");
        assert_eq!(followed(&dir.join("now/key")), Ok(real.join("archive/key1")));
        assert_eq!(followed(&dir.join("now/none")), Ok(real.join("live/none")));
        followed(&dir.join("around")).expect("it ends");
        fs::remove_dir_all(&dir).expect("ours");
    }

    #[test]
    fn commands_survive_any_path() {
        for (path, quoted) in [
            ("/etc/a-b.pem", "/etc/a-b.pem"),
            ("/my keys/a", "'/my keys/a'"),
            ("-k", "./-k"),
            ("it's", r"'it'\''s'"),
            ("- k", "'./- k'"),
        ] {
            assert_eq!(shell_quoted(Path::new(path)), quoted);
        }
    }

    #[test]
    fn other_errors_are_told_as_they_are() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(cannot_read(Path::new("/k"), &error), format!("cannot read /k: {error}"));
    }
}
