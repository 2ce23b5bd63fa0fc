//! Joins what the placer gave: cgroup, network namespace, CPUs. None of it is made here.

use std::path::Path;

use rustix::fs::{FsWord, Mode, OFlags, fstatfs, openat};
use rustix::process::Pid;
use rustix::thread::{CpuSet, LinkNameSpaceType, UnshareFlags};

use crate::failure::{At, Failure, Step};

// linux/magic.h
const CGROUP2_SUPER_MAGIC: FsWord = 0x6367_7270;
const NSFS_MAGIC: FsWord = 0x6e73_6673;

pub fn join_cgroup(folder: &Path) -> Result<(), Failure> {
    let at = |what: &str| format!("{}: {what}", folder.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(folder, flags, Mode::empty()).at(Step::Cgroup, at("open"))?;
    if fstatfs(&fd).at(Step::Cgroup, at("statfs"))?.f_type != CGROUP2_SUPER_MAGIC {
        return Err(Failure::new(Step::Cgroup, at("is not a cgroup v2")));
    }
    let procs = openat(&fd, "cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Cgroup, at("cgroup.procs"))?;
    // "0" is the writer itself.
    rustix::io::write(&procs, b"0").at(Step::Cgroup, at("join"))?;
    Ok(())
}

pub fn enter_netns(file: &Path) -> Result<(), Failure> {
    let at = |what: &str| format!("{}: {what}", file.display());
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(file, flags, Mode::empty()).at(Step::Netns, at("open"))?;
    // A plain file is what stays of a namespace after a reboot or a failed bind.
    if fstatfs(&fd).at(Step::Netns, at("statfs"))?.f_type != NSFS_MAGIC {
        return Err(Failure::new(Step::Netns, at("is not a namespace")));
    }
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&fd), Some(LinkNameSpaceType::Network))
        .at(Step::Netns, at("setns"))
}

pub fn pin_to_cpus(cpus: &[u16]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        if usize::from(*cpu) >= CpuSet::MAX_CPU {
            return Err(Failure::new(Step::Cpuset, format!("there is no CPU {cpu}")));
        }
        set.set(usize::from(*cpu));
    }
    rustix::thread::sched_setaffinity(None::<Pid>, &set).at(Step::Cpuset, format!("CPUs {cpus:?}"))
}

/// Everything but the network namespace, which was made before. The PID namespace begins with the next child.
pub fn unshare_rest() -> Result<(), Failure> {
    let flags = UnshareFlags::NEWNS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWCGROUP;
    // SAFETY: this process has one thread, and no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(flags) }.at(Step::Namespaces, "unshare")?;
    rustix::system::sethostname(b"vm").at(Step::Namespaces, "host name")
}
