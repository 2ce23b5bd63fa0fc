//! `netns-add` and `netns-del`: named network namespaces as ip-netns(8) has them, empty and with loopback down.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::thread::UnshareFlags;

use crate::failure::{At, Failure, Step};

const FOLDER: &str = "/run/netns";

/// Success also when it is there already.
pub fn add(name: &str) -> Result<(), Failure> {
    let file = path_of(name)?;
    if is_mount(&file)? {
        return Ok(());
    }
    prepare_folder()?;
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(&file, flags, Mode::from_raw_mode(0o444)).at(Step::Netns, file.display())?;
    // SAFETY: a network namespace is the calling thread's alone, and this one has nothing else to do.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.at(Step::Netns, "unshare")?;
    mount_bind("/proc/thread-self/ns/net", &file).at(Step::Netns, file.display())?;
    Ok(())
}

/// Success also when there is none.
pub fn delete(name: &str) -> Result<(), Failure> {
    let file = path_of(name)?;
    match unmount(&file, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // EINVAL: not a mount point, what a crash between the two steps of `add` leaves.
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(Failure::new(Step::Netns, format!("{}: {error}", file.display()))),
    }
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(Step::Netns, format!("{}: {error}", file.display())))
        }
        _ => Ok(()),
    }
}

fn path_of(name: &str) -> Result<PathBuf, Failure> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.starts_with("exai-") || name.len() > 64 || !name.bytes().all(plain) {
        return Err(Failure::new(Step::Usage, "a name starts with exai- and has only a-z, 0-9 and -"));
    }
    Ok(Path::new(FOLDER).join(name))
}

fn is_mount(path: &Path) -> Result<bool, Failure> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").at(Step::Netns, "mountinfo")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(4) == path.to_str()))
}

/// As ip-netns(8) does it: a shared mount, so that namespaces made or removed here reach every mount namespace.
fn prepare_folder() -> Result<(), Failure> {
    std::fs::create_dir_all(FOLDER).at(Step::Netns, FOLDER)?;
    let share = || mount_change(FOLDER, MountPropagationFlags::SHARED | MountPropagationFlags::REC);
    if share().is_ok() {
        return Ok(());
    }
    rustix::mount::mount_bind_recursive(FOLDER, FOLDER).at(Step::Netns, FOLDER)?;
    share().at(Step::Netns, FOLDER)
}
