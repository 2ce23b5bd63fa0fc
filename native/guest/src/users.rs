//! /etc/passwd and /etc/group, read anew for every request: user code may change them.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use tonic::Status;

use crate::status::invalid;

/// The image's default user.
const DEFAULT: &str = "user";
const DEFAULT_ID: u32 = 1000;
/// A larger file is cut: an entry beyond it does not exist for us.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Linux allows 65536; more than this in one image is a mistake.
const MAX_GROUPS: usize = 1024;

/// Who a process or a file operation runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
    pub shell: String,
}

/// Looks up a name or numeric id; empty means the default user. INVALID_ARGUMENT: there is no such user.
pub fn lookup(wanted: &str) -> Result<User, Status> {
    find(wanted, &read("/etc/passwd"), &read("/etc/group"))
}

fn find(wanted: &str, passwd: &str, group: &str) -> Result<User, Status> {
    let name = if wanted.is_empty() { DEFAULT } else { wanted };
    let id = if wanted.is_empty() { Some(DEFAULT_ID) } else { name.parse().ok() };
    let by_name = passwd.lines().filter_map(entry).find(|user| user.name == name);
    let by_id = || passwd.lines().filter_map(entry).find(|user| Some(user.uid) == id);
    let mut user = match (by_name.or_else(by_id), id) {
        (Some(user), _) => user,
        // An id without an entry is a user without a home, as in any container.
        (None, Some(uid)) if uid != u32::MAX => nameless(uid),
        _ => return Err(invalid("no such user in this workspace")),
    };
    user.groups = groups_of(&user, group);
    Ok(user)
}

fn entry(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
    let (name, home) = (name.to_string(), if home.is_empty() { "/" } else { home }.to_string());
    let shell = if shell.is_empty() { "/bin/sh" } else { shell }.to_string();
    Some(User { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, groups: Vec::new(), home, shell })
}

fn nameless(uid: u32) -> User {
    User { name: uid.to_string(), uid, gid: uid, groups: Vec::new(), home: "/".into(), shell: "/bin/sh".into() }
}

fn groups_of(user: &User, group: &str) -> Vec<u32> {
    let member_of = group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members] = fields[..] else { return None };
        members.split(',').any(|member| member == user.name).then(|| gid.parse().ok())?
    });
    let mut groups: Vec<u32> = std::iter::once(user.gid).chain(member_of).take(MAX_GROUPS).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn read(path: &str) -> String {
    // Non-blocking, so that a fifo in its place can't stop the agent.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
    let mut bytes = Vec::new();
    if let Ok(file) = file {
        let _ = file.take(MAX_FILE_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nbroken\nuser:x:1000:1001::/home/user:\n7:x:1007:1007::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\ndocker:x:99:other,user\ntty:x:5:users\nuser:x:1001:user\n";

    #[test]
    fn default_user_with_supplementary_groups() {
        let user = find("", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid, user.home.as_str()), (1000, 1001, "/home/user"));
        assert_eq!((user.groups, user.shell.as_str()), (vec![99, 1001], "/bin/sh"));
    }

    #[test]
    fn a_name_of_digits_wins_over_the_id() {
        assert_eq!(find("7", PASSWD, GROUP).unwrap().uid, 1007);
        assert_eq!(find("0", PASSWD, GROUP).unwrap().home, "/root");
    }

    #[test]
    fn unknown_names_are_refused_and_unknown_ids_are_not() {
        assert!(find("nobody", PASSWD, GROUP).is_err());
        assert!(find("4294967295", PASSWD, GROUP).is_err());
        assert_eq!(find("5000", PASSWD, GROUP).unwrap().gid, 5000);
        assert_eq!(find("", "", "").unwrap().uid, 1000);
    }
}
