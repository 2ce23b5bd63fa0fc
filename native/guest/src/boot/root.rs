//! The workspace's root: an overlay of its own writable disk over the image, and the kernel's views in it.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move};

use super::Cmdline;
use crate::process::cgroup;

/// virtio-blk devices appear while init runs already.
const DEVICE_WITHIN_MS: u32 = 5000;

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const DATA: MountFlags = PLAIN.union(MountFlags::NOEXEC);

/// Mounts /dev, /proc and /sys below `prefix`.
pub fn mount_kernel_views(prefix: &str) -> Result<(), String> {
    attach("devtmpfs", &format!("{prefix}/dev"), "devtmpfs", MountFlags::NOSUID, "mode=0755")?;
    attach("proc", &format!("{prefix}/proc"), "proc", DATA, "")?;
    attach("sysfs", &format!("{prefix}/sys"), "sysfs", DATA, "")
}

/// Builds the root in /newroot and makes it `/`. Returns the writable file system, if it is a disk.
pub fn switch(cmdline: &Cmdline) -> Result<Option<OwnedFd>, String> {
    let base = cmdline.root.as_deref().ok_or("exai.root is missing on the kernel command line")?;
    for folder in ["/lower", "/upper", "/newroot"] {
        folder_at(folder)?;
    }
    await_device(base)?;
    attach(base, "/lower", &cmdline.rootfs, MountFlags::RDONLY | MountFlags::NODEV, "")?;
    let writable = mount_upper(cmdline.overlay.as_deref())?;
    let layers = "lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work";
    attach("overlay", "/newroot", "overlay", MountFlags::NODEV, layers)?;
    for view in ["dev", "proc", "sys"] {
        folder_at(&format!("/newroot/{view}"))?;
        step(&format!("move /{view}"), mount_move(format!("/{view}"), format!("/newroot/{view}")))?;
    }
    enter("/newroot")?;
    mount_rest()?;
    Ok(writable)
}

fn mount_upper(disk: Option<&str>) -> Result<Option<OwnedFd>, String> {
    match disk {
        Some(disk) => {
            await_device(disk)?;
            attach(disk, "/upper", "ext4", MountFlags::NODEV | MountFlags::NOATIME, "")?;
        }
        None => attach("tmpfs", "/upper", "tmpfs", MountFlags::NODEV, "mode=0755")?,
    }
    folder_at("/upper/upper")?;
    folder_at("/upper/work")?;
    // After the switch this file system has no path any more; the descriptor is how it is frozen and thawed.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = step("open the writable disk", rustix::fs::open("/upper", flags, Mode::empty()))?;
    Ok(disk.map(|_| fd))
}

fn enter(new_root: &str) -> Result<(), String> {
    step("enter the new root", rustix::process::chdir(new_root))?;
    step("make the new root the first", mount_move(".", "/"))?;
    step("change the root", rustix::process::chroot("."))?;
    step("enter the new root", rustix::process::chdir("/"))
}

fn mount_rest() -> Result<(), String> {
    for folder in ["/dev/pts", "/dev/shm", "/run", "/tmp"] {
        folder_at(folder)?;
    }
    attach("devpts", "/dev/pts", "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, "gid=5,mode=620,ptmxmode=666")?;
    attach("tmpfs", "/dev/shm", "tmpfs", PLAIN, "mode=1777")?;
    attach("tmpfs", "/run", "tmpfs", PLAIN, "mode=0755,size=25%")?;
    for (link, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        let _ = std::os::unix::fs::symlink(target, Path::new("/dev").join(link));
    }
    // A kernel without cgroup2 still works: a process's descendants are then found by its process group only.
    if attach("cgroup2", cgroup::MOUNT, "cgroup2", DATA, "nsdelegate").is_ok() {
        cgroup::set_up();
    }
    Ok(())
}

fn await_device(path: &str) -> Result<(), String> {
    for _ in 0..DEVICE_WITHIN_MS {
        if fs::metadata(path).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(format!("the disk {path} did not appear"))
}

fn folder_at(path: &str) -> Result<(), String> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        result => step(&format!("make {path}"), result),
    }
}

fn attach(source: &str, target: &str, kind: &str, flags: MountFlags, data: &str) -> Result<(), String> {
    let data = std::ffi::CString::new(data).map_err(|_| "a mount option holds a NUL byte")?;
    match mount(source, target, kind, flags, data.as_c_str()) {
        // A kernel may mount devtmpfs by itself.
        Err(Errno::BUSY) if kind == "devtmpfs" => Ok(()),
        result => step(&format!("mount {source} ({kind}) on {target}"), result),
    }
}

fn step<T>(what: &str, result: rustix::io::Result<T>) -> Result<T, String> {
    result.map_err(|errno| format!("could not {what}: {}", std::io::Error::from(errno)))
}
