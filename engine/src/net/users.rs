//! Users and groups of this host, and becoming one of them for good.

use nix::errno::Errno;
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgrouplist, getgroups, getresgid, getresuid, setgroups, setresgid,
    setresuid,
};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities};
use std::ffi::CString;

/// A user with the groups that its processes have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    pub user: u32,
    pub group: u32,
    /// The group, and those that the system's database has for the user.
    groups: Vec<u32>,
    /// As it was asked for, with the group.
    name: String,
}

/// The ids of `user` and `group` (names or numbers; the group is by default the user's).
///
/// # Errors
/// One sentence: which of them does not exist.
pub fn ids(user: &str, group: Option<&str>) -> Result<Ids, String> {
    let (id, own_group, name) = find_user(user)?;
    let shown = group.map_or_else(|| user.to_owned(), |group| format!("{user}:{group}"));
    let group = group.map_or(Ok(own_group), lookup_group)?;
    let mut groups = vec![group];
    // A number without a name is in no list of members.
    if let Some(name) = name.and_then(|name| CString::new(name).ok()) {
        let listed =
            getgrouplist(&name, Gid::from_raw(group)).map_err(|error| format!("the groups of {user}: {error}"))?;
        groups.extend(listed.into_iter().map(Gid::as_raw).filter(|listed| *listed != group));
    }
    Ok(Ids { user: id, group, groups, name: shown })
}

/// The id of a user.
///
/// # Errors
/// One sentence: there is no such user.
pub fn lookup_user(name: &str) -> Result<u32, String> {
    find_user(name).map(|(id, _, _)| id)
}

/// The id of a group.
///
/// # Errors
/// One sentence: there is no such group.
pub fn lookup_group(name: &str) -> Result<u32, String> {
    match (found(Group::from_name(name), name)?, name.parse()) {
        (Some(group), _) => Ok(group.gid.as_raw()),
        (None, Ok(NO_CHANGE)) => Err(no_change(name)),
        (None, Ok(id)) => Ok(id),
        (None, Err(_)) => Err(format!("there is no group {name:?} on this host")),
    }
}

/// What the calls that set ids, -1, take for "leave it as it is".
const NO_CHANGE: u32 = u32::MAX;

fn no_change(name: &str) -> String {
    format!("{name:?} is no id: the system takes it for \"no change\"")
}

/// The id, the id of the group, and the name, if there is one.
fn find_user(name: &str) -> Result<(u32, u32, Option<String>), String> {
    let of = |user: User| (user.uid.as_raw(), user.gid.as_raw(), Some(user.name));
    match (found(User::from_name(name), name)?, name.parse()) {
        (Some(user), _) => Ok(of(user)),
        (None, Ok(NO_CHANGE)) => Err(no_change(name)),
        (None, Ok(id)) => Ok(found(User::from_uid(Uid::from_raw(id)), name)?.map_or((id, id, None), of)),
        (None, Err(_)) => Err(format!("there is no user {name:?} on this host")),
    }
}

/// A database that does not answer is not one that knows nothing.
fn found<T>(entry: Result<Option<T>, Errno>, name: &str) -> Result<Option<T>, String> {
    entry.map_err(|error| format!("{name:?} cannot be looked up in this host's users and groups: {error}"))
}

pub fn is_root() -> bool {
    geteuid().is_root()
}

/// The groups of this process, without the first one.
pub(super) fn own_groups() -> Vec<u32> {
    getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect()
}

impl Ids {
    /// Become this user for good, with all threads and without a capability.
    ///
    /// # Errors
    /// One sentence: which call was refused.
    pub fn assume(&self) -> Result<(), String> {
        let refused = |call| move |error| format!("cannot become user {}: {call}: {error}", self.name);
        let groups: Vec<_> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        setgroups(&groups).map_err(refused("setgroups"))?;
        setresgid(group, group, group).map_err(refused("setresgid"))?;
        setresuid(user, user, user).map_err(refused("setresuid"))?;
        let (users, groups) = (getresuid().map_err(refused("getresuid"))?, getresgid().map_err(refused("getresgid"))?);
        let is_user = [users.real, users.effective, users.saved].iter().all(|id| *id == user);
        let is_group = [groups.real, groups.effective, groups.saved].iter().all(|id| *id == group);
        let effective = capabilities(None).map_err(|error| format!("capabilities: {error}"))?.effective;
        // Root keeps its rights.
        match is_user && is_group && (user.is_root() || effective.is_empty()) {
            true => Ok(()),
            false => Err(format!("cannot become user {}: the system has left rights of root", self.name)),
        }
    }

    /// As `assume`, by the process's only thread. The right to bind ports below 1024 stays, if there is one: a service has them bound by
    /// root, or has that right alone.
    ///
    /// # Errors
    /// One sentence: this process is neither root nor that user, or which call was refused.
    pub fn assume_for_check(&self) -> Result<(), String> {
        if !is_root() {
            let is_same = geteuid().as_raw() == self.user && getegid().as_raw() == self.group;
            let own = geteuid();
            return if is_same {
                Ok(())
            } else {
                Err(format!(
                    "--user {}: only root can check as another user, and this is user {own}: run it with sudo, or as that user without --user",
                    self.name
                ))
            };
        }
        if self.user == 0 {
            return self.assume();
        }
        let refused = |error| format!("cannot become user {}: capabilities: {error}", self.name);
        let ports = capabilities(None).map_err(refused)?.permitted & CapabilitySet::NET_BIND_SERVICE;
        set_keep_capabilities(true).map_err(refused)?;
        self.assume()?;
        set_capabilities(
            None,
            CapabilitySets { effective: ports, permitted: ports, inheritable: CapabilitySet::empty() },
        )
        .map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the system's own tool has them.
    #[test]
    fn a_user_has_all_groups_of_the_database() {
        let users = std::fs::read_to_string("/etc/passwd").expect("it is there");
        for user in users.lines().filter_map(|line| line.split(':').next()) {
            let listed = std::process::Command::new("id").args(["-G", user]).output().expect("it runs");
            let listed = String::from_utf8(listed.stdout).expect("numbers");
            let mut listed: Vec<u32> = listed.split_whitespace().flat_map(str::parse).collect();
            let mut groups = ids(user, None).expect("it is there").groups;
            listed.sort_unstable();
            groups.sort_unstable();
            assert_eq!(groups, listed, "{user}");
        }
    }

    #[test]
    fn users_and_groups_have_names_or_numbers() {
        let root = ids("root", None).expect("there is root");
        assert_eq!((root.user, root.group, root.groups.first()), (0, 0, Some(&0)));
        let numbered = ids("0", None).expect("there is root");
        assert_eq!((numbered.groups, numbered.group), (root.groups, 0), "a number has the groups of its name");
        let other = ids("root", Some("3999999999")).expect("numbers need no entry");
        assert_eq!((other.group, other.groups[0]), (3_999_999_999, 3_999_999_999));
        let unknown = ids("3999999999", None).expect("numbers need no entry");
        assert_eq!((unknown.user, unknown.groups), (3_999_999_999, vec![3_999_999_999]));
        assert!(ids("no-such-user", None).expect_err("none").contains("there is no user"));
        assert!(ids("root", Some("no-such-group")).expect_err("none").contains("there is no group"));
        for nothing in ["", "a\0b", "-1", "4294967295"] {
            assert!(ids(nothing, None).is_err(), "{nothing:?}");
            assert!(ids("root", Some(nothing)).is_err(), "{nothing:?}");
        }
    }
}
