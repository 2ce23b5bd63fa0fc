//! The file system that the VMM sees: an empty, read-only root with the given files and folders bound into it.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dev, FileType, Gid, Mode, OFlags, Uid, chmod, fstat, makedev, mkdir, mknodat, symlink};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root, umask};

use crate::document::{Device, Document, Text};
use crate::failure::{At, Failure, Step};

/// Exists everywhere, and nothing below it is needed once the cgroup is joined. Sources are opened before it is covered.
const BASE: &str = "/sys";

struct Source {
    fd: OwnedFd,
    target: PathBuf,
    folder: bool,
    read_only: bool,
}

/// Must run in a mount namespace of its own. Afterwards `/` is the jail and nothing leads out of it.
/// @returns the FIFOs, to read from
pub fn enter(document: &Document) -> Result<Vec<OwnedFd>, Failure> {
    // Nothing that happens here may reach the host's mounts, and nothing of the host's may come here later.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).at(Step::Jail, "make / private")?;
    let (sources, links) = open_sources(document)?;
    let kvm = document.devices.contains(&Device::Kvm).then(device_number).transpose()?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("exai", BASE, "tmpfs", flags, c"mode=0755,size=1m,nr_inodes=256").at(Step::Jail, "tmpfs")?;
    for source in &sources {
        bind(source)?;
    }
    for (path, target) in links {
        make_parents(&path)?;
        symlink(target, inside(&path)).at(Step::Jail, path.display())?;
    }
    for folder in &document.mount_points {
        make_parents(folder)?;
        make_folder(&inside(folder))?;
    }
    for text in &document.texts {
        make_parents(&text.target)?;
        make_text(text)?;
    }
    make_devices(kvm, document.uid, document.gid)?;
    if let Some(folder) = &document.work_folder {
        make_work_folder(folder, document.uid, document.gid)?;
    }
    let fifos = document.fifos.iter().map(|fifo| make_fifo(&fifo.path, document)).collect::<Result<_, _>>()?;
    read_only(BASE, flags)?;
    chdir(BASE).at(Step::Jail, "chdir")?;
    // Both names may be one folder (pivot_root(2)): the old root ends up on top of the new one and is taken off.
    pivot_root(".", ".").at(Step::Jail, "pivot_root")?;
    unmount(".", UnmountFlags::DETACH).at(Step::Jail, "unmount of the old root")?;
    chdir("/").at(Step::Jail, "chdir")?;
    Ok(fifos)
}

type Links = Vec<(PathBuf, PathBuf)>;

fn open_sources(document: &Document) -> Result<(Vec<Source>, Links), Failure> {
    let mut sources = Vec::new();
    let mut links = Vec::new();
    for folder in &document.system_folders {
        match std::fs::symlink_metadata(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Ok(found) if found.is_symlink() => {
                links.push((folder.clone(), std::fs::read_link(folder).at(Step::Jail, folder.display())?));
            }
            _ => sources.push(open_source(folder, folder, true, true)?),
        }
    }
    if !document.system_folders.iter().any(|folder| document.vmm.starts_with(folder)) {
        sources.push(open_source(&document.vmm, &document.vmm, false, true)?);
    }
    for each in &document.binds {
        sources.push(open_source(&each.source, &each.target, false, each.read_only)?);
    }
    Ok((sources, links))
}

fn open_source(path: &Path, target: &Path, folder: bool, read_only: bool) -> Result<Source, Failure> {
    let fd = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Jail, path.display())?;
    let wanted = if folder { FileType::Directory } else { FileType::RegularFile };
    let found = FileType::from_raw_mode(fstat(&fd).at(Step::Jail, path.display())?.st_mode);
    if found != wanted {
        return Err(Failure::new(Step::Jail, format!("{} is a {found:?}, not a {wanted:?}", path.display())));
    }
    Ok(Source { fd, target: target.to_owned(), folder, read_only })
}

fn bind(source: &Source) -> Result<(), Failure> {
    let target = inside(&source.target);
    make_parents(&source.target)?;
    if source.folder {
        make_folder(&target)?;
    } else {
        std::fs::File::create_new(&target).at(Step::Jail, source.target.display())?;
    }
    // Not recursive: what is mounted below a folder on the host stays out.
    mount_bind(format!("/proc/self/fd/{}", source.fd.as_raw_fd()), &target).at(Step::Jail, source.target.display())?;
    let mut flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::RDONLY, source.read_only);
    mount_remount(&target, flags, c"").at(Step::Jail, source.target.display())
}

fn inside(path: &Path) -> PathBuf {
    Path::new(BASE).join(path.strip_prefix("/").unwrap_or(path))
}

fn make_parents(path: &Path) -> Result<(), Failure> {
    let parents: BTreeSet<&Path> = path.ancestors().skip(1).filter(|each| each.file_name().is_some()).collect();
    for parent in parents {
        make_folder(&inside(parent))?;
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    match mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(Failure::new(Step::Jail, format!("{}: {error}", path.display()))),
    }
}

/// /dev/kvm's number is not fixed on every kernel.
fn device_number() -> Result<Dev, Failure> {
    let fd = rustix::fs::open("/dev/kvm", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Step::Jail, "/dev/kvm")?;
    let found = fstat(&fd).at(Step::Jail, "/dev/kvm")?;
    if FileType::from_raw_mode(found.st_mode) != FileType::CharacterDevice {
        return Err(Failure::new(Step::Jail, "/dev/kvm is not a device"));
    }
    Ok(found.st_rdev)
}

/// A /dev of its own, because the host's /dev/kvm is for a group that the VMM is not in.
fn make_devices(kvm: Option<Dev>, uid: u32, gid: u32) -> Result<(), Failure> {
    let dev = inside(Path::new("/dev"));
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    make_folder(&dev)?;
    mount("exai-dev", &dev, "tmpfs", flags, c"mode=0755,size=64k,nr_inodes=16").at(Step::Jail, "/dev")?;
    let make = |name: &str, number: Dev, mode: u32| {
        mknodat(CWD, dev.join(name), FileType::CharacterDevice, Mode::from_raw_mode(mode), number).at(Step::Jail, name)
    };
    umask(Mode::empty()); // it would take bits away from the modes below
    // Documentation/admin-guide/devices.txt of the kernel.
    make("null", makedev(1, 3), 0o666)?;
    make("zero", makedev(1, 5), 0o666)?;
    make("urandom", makedev(1, 9), 0o666)?;
    if let Some(number) = kvm {
        make("kvm", number, 0o600)?;
        rustix::fs::chown(dev.join("kvm"), Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).at(Step::Jail, "kvm")?;
    }
    umask(Mode::from_raw_mode(0o077));
    read_only(&dev, flags)
}

fn make_text(text: &Text) -> Result<(), Failure> {
    let path = inside(&text.target);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o444)).at(Step::Jail, text.target.display())?;
    std::fs::File::from(file).write_all(text.content.as_bytes()).at(Step::Jail, text.target.display())?;
    chmod(&path, Mode::from_raw_mode(0o444)).at(Step::Jail, text.target.display())
}

/// The one place in the jail that the VMM may write to, bounded like the rest.
fn make_work_folder(folder: &Path, uid: u32, gid: u32) -> Result<(), Failure> {
    let path = inside(folder);
    make_parents(folder)?;
    make_folder(&path)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("exai-work", &path, "tmpfs", flags, c"mode=0700,size=64k,nr_inodes=32").at(Step::Jail, "work folder")?;
    rustix::fs::chown(&path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).at(Step::Jail, "work folder")
}

/// Opened for writing as well: it has no end when its writer goes, and nobody waits for one to come.
fn make_fifo(path: &Path, document: &Document) -> Result<OwnedFd, Failure> {
    let at = inside(path);
    mknodat(CWD, &at, FileType::Fifo, Mode::from_raw_mode(0o600), 0).at(Step::Fifos, path.display())?;
    let (uid, gid) = (Uid::from_raw(document.uid), Gid::from_raw(document.gid));
    rustix::fs::chown(&at, Some(uid), Some(gid)).at(Step::Fifos, path.display())?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(&at, flags, Mode::empty()).at(Step::Fifos, path.display())
}

fn read_only(path: impl AsRef<Path>, flags: MountFlags) -> Result<(), Failure> {
    let path = path.as_ref();
    mount_remount(path, flags | MountFlags::BIND | MountFlags::RDONLY, c"").at(Step::Jail, path.display())
}
