//! `volume-…`: where a VMM writes its guest's memory to. Today a file system in memory, never swapped, that nobody but
//! root and the VMM reaches; a running VMM is given it, since its jail was closed when it started.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{AtFlags, CWD, Dir, Gid, Mode, OFlags, Uid, chown, ftruncate, mkdir, openat, stat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_remount, move_mount, open_tree, unmount,
};
use rustix::thread::ThreadNameSpaceType;

use crate::failure::{At, Failure, Step};
use crate::kill::open_process;
use crate::options::Options;
use crate::{monitor, privileges};

/// What the VMM may fill: below the volume's own root, which is root's.
const DATA: &str = "data";
/// In every jail that may be given a volume.
const IN_JAIL: &str = "/snap";
/// One memory, one state, and what a VMM may leave beside them.
const MOST_FILES: u32 = 16;
const DISCARDS: u32 = 20;
const FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Success also when it is there already.
pub fn make(options: &[&str]) -> Result<ExitCode, Failure> {
    let options = Options::parse(options, &["--at", "--bytes", "--uid", "--gid"])?;
    let (at, bytes) = (options.path("--at")?, options.number("--bytes")?);
    let (uid, gid) = (options.id("--uid")?, options.id("--gid")?);
    match mkdir(&at, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(Failure::new(Step::Volume, format!("{}: {error}", at.display()))),
    }
    if !is_mount(&at)? {
        mount_memory(&at, bytes)?;
    }
    let data = at.join(DATA);
    match mkdir(&data, Mode::from_raw_mode(0o700)) {
        Ok(()) => chown(&data, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).at(Step::Volume, DATA)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(Failure::new(Step::Volume, format!("{DATA}: {error}"))),
    }
    Ok(ExitCode::SUCCESS)
}

/// Nobody writes to it from now on, be it by a descriptor that the VMM handed to somebody before its end: then this fails.
pub fn seal(options: &[&str]) -> Result<ExitCode, Failure> {
    let at = Options::parse(options, &["--at"])?.path("--at")?;
    match mount_remount(&at, FLAGS | MountFlags::RDONLY, c"") {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Errno::BUSY) => Err(Failure::new(Step::Volume, "somebody still writes to the volume")),
        Err(error) => Err(Failure::new(Step::Volume, format!("{}: {error}", at.display()))),
    }
}

/// For a volume whose VMM still has it: its files are emptied and it holds no more than a page from now on, since the
/// VMM's own copy of the mount outlives ours. Success also when there is none.
pub fn discard(options: &[&str]) -> Result<ExitCode, Failure> {
    let at = Options::parse(options, &["--at"])?.path("--at")?;
    match mount_remount(&at, FLAGS, c"") {
        // A sealed one can be written to again. Not a mount point: after a restart of the host there is nothing.
        Ok(()) => {}
        Err(Errno::NOENT | Errno::INVAL) => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(Failure::new(Step::Volume, format!("{}: {error}", at.display()))),
    }
    for _ in 0..DISCARDS {
        match empty(&at.join(DATA)) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(Failure::new(Step::Volume, format!("{DATA}: {error}"))),
        }
        match mount_remount(&at, FLAGS, c"size=4k") {
            Ok(()) => return Ok(ExitCode::SUCCESS),
            Err(Errno::INVAL) => {} // it was filled again meanwhile
            Err(error) => return Err(Failure::new(Step::Volume, format!("{}: {error}", at.display()))),
        }
    }
    Err(Failure::new(Step::Volume, "the VMM fills its volume faster than it is emptied; end the VMM"))
}

/// Whatever lies there: links are removed and not followed; a folder that is not empty takes no memory worth the work.
fn empty(data: &Path) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(CWD, data, flags, Mode::empty())?;
    let names: Vec<_> = Dir::read_from(&folder)?.flatten().map(|entry| entry.file_name().to_owned()).collect();
    for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // Open descriptors keep a file that was only unlinked.
        if let Ok(file) = openat(&folder, name, flags, Mode::empty()) {
            let _ = ftruncate(&file, 0);
        }
        let _ = unlinkat(&folder, name, AtFlags::empty());
    }
    Ok(())
}

/// Success also when there is none. What still maps its files keeps them until it ends.
pub fn drop(options: &[&str]) -> Result<ExitCode, Failure> {
    let at = Options::parse(options, &["--at"])?.path("--at")?;
    match unmount(&at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::NOENT | Errno::INVAL) => {}
        Err(error) => return Err(Failure::new(Step::Volume, format!("{}: {error}", at.display()))),
    }
    match std::fs::remove_dir(&at) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(Step::Volume, format!("{}: {error}", at.display())))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Into the jail of a running VMM: a copy of the mount, moved into its mount namespace. The VMM has no right to change
/// what is mounted there, so that the path leads where the launcher left it.
pub fn bind(options: &[&str]) -> Result<ExitCode, Failure> {
    let options = Options::parse(options, &["--at", "--pid", "--start-time"])?;
    let data = options.path("--at")?.join(DATA);
    let vmm = running(&options)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, &data, flags).at(Step::Volume, data.display())?;
    rustix::thread::move_into_thread_name_spaces(vmm.as_fd(), ThreadNameSpaceType::MOUNT)
        .at(Step::Volume, "enter the jail")?;
    move_mount(tree, "", CWD, IN_JAIL, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at(Step::Volume, IN_JAIL)?;
    Ok(ExitCode::SUCCESS)
}

/// To a QEMU, which takes no path: the descriptor of a new file, by its monitor, under the name `snapshot`.
pub fn pass(options: &[&str]) -> Result<ExitCode, Failure> {
    let options = Options::parse(options, &["--at", "--monitor", "--uid", "--gid"])?;
    let data = options.path("--at")?.join(DATA);
    let (uid, gid) = (options.id("--uid")?, options.id("--gid")?);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(CWD, &data, flags, Mode::empty()).at(Step::Volume, data.display())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&folder, "state", flags, Mode::from_raw_mode(0o600)).at(Step::Volume, "state")?;
    let connection = monitor::connect(&options.path("--monitor")?)?;
    // What answers may be in a guest's hands.
    privileges::drop_all(uid, gid)?;
    monitor::pass(connection, &file)?;
    Ok(ExitCode::SUCCESS)
}

fn running(options: &Options) -> Result<OwnedFd, Failure> {
    let pid = i32::try_from(options.number("--pid")?).at(Step::Usage, "--pid")?;
    open_process((pid, options.number("--start-time")?))?.ok_or_else(|| Failure::new(Step::Volume, "the VMM has ended"))
}

/// A mount point has another device than the folder that it is in.
fn is_mount(at: &Path) -> Result<bool, Failure> {
    let parent = at.parent().unwrap_or(Path::new("/"));
    let device = |path: &Path| stat(path).map(|found| found.st_dev).at(Step::Volume, path.display());
    Ok(device(at)? != device(parent)?)
}

/// `noswap` is there from Linux 6.4 on. Without it the host must not swap at all: a guest's memory would meet its disk.
fn mount_memory(at: &PathBuf, bytes: u64) -> Result<(), Failure> {
    let try_mount = |more: &str| {
        let text = format!("mode=0700,size={bytes},nr_inodes={MOST_FILES}{more}");
        let data = CString::new(text).unwrap_or_default();
        mount("exai-volume", at, "tmpfs", FLAGS, data.as_c_str())
    };
    match try_mount(",noswap") {
        Err(Errno::INVAL) if swaps()? => Err(Failure::new(
            Step::Volume,
            "this host swaps, and its kernel can't keep a volume out of that; switch swap off",
        )),
        Err(Errno::INVAL) => try_mount("").at(Step::Volume, at.display()),
        other => other.at(Step::Volume, at.display()),
    }
}

/// /proc/swaps has a heading, then a line for each area.
fn swaps() -> Result<bool, Failure> {
    let text = std::fs::read_to_string("/proc/swaps").or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(String::new()), // a kernel without
        _ => Err(error),
    });
    Ok(text.at(Step::Volume, "/proc/swaps")?.lines().count() > 1)
}
