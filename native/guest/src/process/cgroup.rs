//! cgroup2: user code as a whole gets less than the machine, so that a memory or fork bomb leaves the agent its
//! part, and every process gets a group of its own, so that KILL reaches its descendants whatever session they
//! moved to.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;

use rustix::fs::{Mode, OFlags};

pub const MOUNT: &str = "/sys/fs/cgroup";
pub const USER: &str = "/sys/fs/cgroup/user";
/// What the agent keeps for itself.
const RESERVED_BYTES: u64 = 24 << 20;
const RESERVED_TASKS: u64 = 256;
const MAX_TASKS: u64 = 16384;

/// Groups whose process ended while descendants lived on; removed when they are found empty.
static LEFT_BEHIND: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Looked at after each end of a process.
const SWEEP: usize = 32;

/// Prepares the group of all user code. Every part is optional: the agent also works without.
pub fn set_up() {
    for controller in ["+pids", "+memory", "+cpu"] {
        let _ = fs::write(format!("{MOUNT}/cgroup.subtree_control"), controller);
    }
    let _ = fs::create_dir(USER);
    let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let tasks = number("/proc/sys/kernel/threads-max").unwrap_or(1024);
    let allowed = (tasks * 3 / 4).min(tasks.saturating_sub(RESERVED_TASKS)).clamp(64, MAX_TASKS);
    let _ = fs::write(format!("{USER}/pids.max"), allowed.to_string());
    if let Some(total) = crate::machine::memory_total_bytes() {
        let reserved = RESERVED_BYTES.max(total / 16).min(total / 4);
        let _ = fs::write(format!("{USER}/memory.max"), (total - reserved).to_string());
    }
}

/// The group of one process. Dropped: removed, now or when it has become empty.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    folder: OwnedFd,
}

impl Cgroup {
    /// None where there is no cgroup2 of our own (a test outside of a machine).
    pub fn create(process: u64) -> Option<Self> {
        let path = PathBuf::from(format!("{USER}/p{process}"));
        if std::process::id() != 1 {
            return None;
        }
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)).ok()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty()).ok()?;
        Some(Cgroup { path, folder })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// SIGKILL to every process in it, also to ones that are being forked.
    pub fn kill(&self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let mut left = LEFT_BEHIND.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        left.push(std::mem::take(&mut self.path));
        let start = left.len().saturating_sub(SWEEP);
        let recent = left.split_off(start);
        left.extend(recent.into_iter().filter(|path| fs::remove_dir(path).is_err() && path.exists()));
        // The next sweep looks at others.
        let by = SWEEP.min(left.len());
        left.rotate_right(by);
    }
}
