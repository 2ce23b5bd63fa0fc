//! Gives up everything that root can do, and checks that it is gone.

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::document::Limits;
use crate::failure::{At, Failure, Step};

/// For good: no way leads back from here.
pub fn drop_all(uid: u32, gid: u32) -> Result<(), Failure> {
    drop_to(uid, gid, &[])
}

/// The same, but for the supplementary groups that a process of the stack may have.
pub fn drop_to(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Failure> {
    drop_bounding_set(CapabilitySet::empty())?;
    rustix::thread::clear_ambient_capability_set().at(Step::Privileges, "ambient capabilities")?;
    // SAFETY: plain system calls of a process with one thread; every result is checked.
    unsafe {
        check(libc::setgroups(groups.len(), groups.as_ptr()), "setgroups")?;
        check(libc::setresgid(gid, gid, gid), "setresgid")?;
        check(libc::setresuid(uid, uid, uid), "setresuid")?;
    }
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .at(Step::Privileges, "capset")?;
    rustix::thread::set_no_new_privs(true).at(Step::Privileges, "no_new_privs")?;
    // Not before the change of uid, which sets it anew: no core dump, no ptrace by another process of this uid.
    // SAFETY: a plain system call.
    unsafe { check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable")? };
    verify(uid, gid, groups)
}

/// The node agent's work: files and folders of other users, ids, mounts and namespaces, device nodes in jails, the end of
/// a VMM. `SYS_PTRACE` and `SYS_CHROOT` are for entering a running VMM's jail; ptrace(2) itself is filtered. These make it
/// root of this machine all the same; what is gone is the rest of the kernel: network, modules, raw I/O, time, logs, power.
const AGENTS: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::MKNOD);

/// Root with these alone, also after it has executed something: they are all that is left in the bounding set.
pub fn keep_for_agent() -> Result<(), Failure> {
    // SAFETY: a plain system call; a valid pointer.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()), "setgroups")?;
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        check(libc::setrlimit(libc::RLIMIT_CORE, &none), "core")?;
    }
    drop_bounding_set(AGENTS)?;
    rustix::thread::clear_ambient_capability_set().at(Step::Privileges, "ambient capabilities")?;
    let kept = CapabilitySets { effective: AGENTS, permitted: AGENTS, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, kept).at(Step::Privileges, "capset")?;
    rustix::thread::set_no_new_privs(true).at(Step::Privileges, "no_new_privs")
}

fn drop_bounding_set(keep: CapabilitySet) -> Result<(), Failure> {
    for capability in 0..64 {
        if keep.bits() >> capability & 1 == 1 {
            continue;
        }
        // SAFETY: a plain system call.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } == 0 {
            continue;
        }
        let error = std::io::Error::last_os_error();
        // EINVAL: the kernel knows no more capabilities.
        return if error.raw_os_error() == Some(libc::EINVAL) && capability > 30 {
            Ok(())
        } else {
            Err(Failure::new(Step::Privileges, format!("bounding set, {capability}: {error}")))
        };
    }
    Ok(())
}

fn verify(uid: u32, gid: u32, wanted: &[u32]) -> Result<(), Failure> {
    let capabilities = rustix::thread::capabilities(None).at(Step::Privileges, "capget")?;
    let held = capabilities.effective | capabilities.permitted | capabilities.inheritable;
    // SAFETY: a plain system call; it must fail.
    let back = unsafe { libc::setresuid(u32::MAX, 0, u32::MAX) };
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: three valid pointers.
    unsafe { check(libc::getresuid(&mut real, &mut effective, &mut saved), "getresuid")? };
    let group = rustix::process::getegid() == Gid::from_raw(gid) && rustix::process::getgid() == Gid::from_raw(gid);
    let groups = rustix::process::getgroups().at(Step::Privileges, "getgroups")?;
    let groups = groups.iter().map(|each| each.as_raw()).eq(wanted.iter().copied());
    let user = [real, effective, saved].iter().all(|each| *each == uid) && Uid::from_raw(uid) != Uid::ROOT;
    if held.is_empty() && back == -1 && user && group && groups {
        return Ok(());
    }
    Err(Failure::new(Step::Privileges, "privileges remain after they were dropped"))
}

/// Signals and limits are inherited through execve: the VMM gets them as if it were started afresh.
pub fn limit(limits: &Limits) -> Result<(), Failure> {
    let pairs = [
        (libc::RLIMIT_NOFILE, limits.nofile, "nofile"),
        (libc::RLIMIT_FSIZE, limits.fsize_bytes, "fsize"),
        (libc::RLIMIT_CORE, limits.core, "core"),
        (libc::RLIMIT_MEMLOCK, limits.memlock_bytes, "memlock"),
        (libc::RLIMIT_NPROC, limits.nproc, "nproc"),
    ];
    for (resource, value, name) in pairs {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a valid pointer for the time of each call.
        let done = unsafe {
            libc::getrlimit(resource, &mut limit) == 0 && {
                // A stricter limit of whoever started us stays.
                limit.rlim_max = limit.rlim_max.min(value);
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(resource, &limit) == 0
            }
        };
        if !done {
            return Err(Failure::new(Step::Limits, format!("{name}: {}", std::io::Error::last_os_error())));
        }
    }
    Ok(())
}

fn check(result: libc::c_int, what: &str) -> Result<(), Failure> {
    if result == 0 {
        return Ok(());
    }
    Err(Failure::new(Step::Privileges, format!("{what}: {}", std::io::Error::last_os_error())))
}
