//! What of control groups takes all of root's rights.

use std::path::{Path, PathBuf};

/// As the node agent does it again for its own groups.
const CONTROLLERS: [&str; 4] = ["+cpuset", "+cpu", "+memory", "+pids"];

/// From the top of cgroup v2 to the groups below it. The kernel asks for `cpuset` whether the writer might set the CPUs of
/// every process there, among them such with rights that the node agent is about to give away (security/commoncap.c,
/// cap_task_setscheduler). What can't be passed down the agent finds missing, and tells.
pub fn pass_controllers_down() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(mount) = mount_of(&mounts) else { return };
    for controller in CONTROLLERS {
        let _ = std::fs::write(mount.join("cgroup.subtree_control"), controller);
    }
}

/// proc(5): … mount point (5th), options, optional fields, "-", type.
fn mount_of(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4).map(|at| Path::new(at).to_owned()))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_where_it_is_mounted() {
        let line = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(mount_of(&format!("22 1 8:1 / / rw - ext4 /dev/vda rw\n{line}\n")), Some("/sys/fs/cgroup".into()));
        assert_eq!(mount_of("22 1 8:1 / / rw - ext4 /dev/cgroup2 rw"), None);
    }
}
