//! Building blocks of a root of our own: an empty file system in memory, files and folders bound into it, a /dev, and
//! the change to it. Used for VMMs (jail.rs) and for our own services (service_jail.rs).

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dev, FileType, Gid, Mode, OFlags, Uid, fstat, makedev, mkdir, mknodat, symlink};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root, umask};

use crate::failure::{At, Failure, Step};

/// Exists everywhere, and nothing below it is needed once the cgroup is joined. Sources are opened before it is covered.
const BASE: &str = "/sys";
const FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// What may be done with what is bound.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Programs and libraries.
    Execute,
    Read,
    Write,
}

/// Something of the host's, opened: whatever its name leads to later, this is what is bound.
pub struct Source {
    fd: OwnedFd,
    target: PathBuf,
    folder: bool,
    use_for: Use,
}

/// Symbolic links of the host's root that are made again, as those of a merged /usr: (path, target).
pub type Links = Vec<(PathBuf, PathBuf)>;

/// Nothing that happens here may reach the host's mounts, and nothing of the host's may come here later.
pub fn leave_hosts_mounts() -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).at(Step::Jail, "make / private")
}

/// Folders of programs and libraries, each at its own path; missing ones are left out.
pub fn open_system_folders(folders: &[PathBuf]) -> Result<(Vec<Source>, Links), Failure> {
    let (mut sources, mut links) = (Vec::new(), Vec::new());
    for folder in folders {
        match std::fs::symlink_metadata(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Ok(found) if found.is_symlink() => {
                links.push((folder.clone(), std::fs::read_link(folder).at(Step::Jail, folder.display())?));
            }
            _ => sources.push(open_source(folder, folder, FileType::Directory, Use::Execute)?),
        }
    }
    Ok((sources, links))
}

pub fn open_source(path: &Path, target: &Path, wanted: FileType, use_for: Use) -> Result<Source, Failure> {
    let fd = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Jail, path.display())?;
    let found = FileType::from_raw_mode(fstat(&fd).at(Step::Jail, path.display())?.st_mode);
    if found != wanted {
        return Err(Failure::new(Step::Jail, format!("{} is a {found:?}, not a {wanted:?}", path.display())));
    }
    Ok(Source { fd, target: target.to_owned(), folder: wanted == FileType::Directory, use_for })
}

/// Covers `/sys` with the new root and fills it. Bound in the given order: a folder in another one comes after that.
pub fn build(sources: &[Source], links: Links) -> Result<(), Failure> {
    mount("exai", BASE, "tmpfs", FLAGS, c"mode=0755,size=1m,nr_inodes=256").at(Step::Jail, "tmpfs")?;
    for source in sources {
        bind(source)?;
    }
    for (path, target) in links {
        make_parents(&path)?;
        symlink(target, inside(&path)).at(Step::Jail, path.display())?;
    }
    Ok(())
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
    flags.set(MountFlags::RDONLY, source.use_for != Use::Write);
    flags.set(MountFlags::NOEXEC, source.use_for != Use::Execute);
    mount_remount(&target, flags, c"").at(Step::Jail, source.target.display())
}

pub fn inside(path: &Path) -> PathBuf {
    Path::new(BASE).join(path.strip_prefix("/").unwrap_or(path))
}

pub fn make_parents(path: &Path) -> Result<(), Failure> {
    let parents: BTreeSet<&Path> = path.ancestors().skip(1).filter(|each| each.file_name().is_some()).collect();
    for parent in parents {
        make_folder(&inside(parent))?;
    }
    Ok(())
}

pub fn make_folder(path: &Path) -> Result<(), Failure> {
    match mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(Failure::new(Step::Jail, format!("{}: {error}", path.display()))),
    }
}

/// A /dev of its own, because the host's /dev/kvm is for a group that the VMM is not in.
pub fn make_devices(kvm: Option<Dev>, uid: u32, gid: u32) -> Result<(), Failure> {
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

/// Makes the new root `/`, read-only; no way leads back.
pub fn enter() -> Result<(), Failure> {
    read_only(BASE, FLAGS)?;
    chdir(BASE).at(Step::Jail, "chdir")?;
    // Both names may be one folder (pivot_root(2)): the old root ends up on top of the new one and is taken off.
    pivot_root(".", ".").at(Step::Jail, "pivot_root")?;
    unmount(".", UnmountFlags::DETACH).at(Step::Jail, "unmount of the old root")?;
    chdir("/").at(Step::Jail, "chdir")
}

fn read_only(path: impl AsRef<Path>, flags: MountFlags) -> Result<(), Failure> {
    let path = path.as_ref();
    mount_remount(path, flags | MountFlags::BIND | MountFlags::RDONLY, c"").at(Step::Jail, path.display())
}
