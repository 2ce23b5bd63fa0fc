//! The file system that the VMM sees: an empty, read-only root with the given files and folders bound into it.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Dev, FileType, Gid, Mode, OFlags, Uid, chmod, fstat, mknodat};
use rustix::mount::{MountFlags, mount};

use crate::document::{Device, Document, Text};
use crate::failure::{At, Failure, Step};
use crate::root::{self, Links, Source, Use, inside, make_folder, make_parents, open_source};

/// Must run in a mount namespace of its own. Afterwards `/` is the jail and nothing leads out of it.
/// @returns the FIFOs, to read from
pub fn enter(document: &Document) -> Result<Vec<OwnedFd>, Failure> {
    root::leave_hosts_mounts()?;
    let (sources, links) = open_sources(document)?;
    let kvm = document.devices.contains(&Device::Kvm).then(device_number).transpose()?;
    root::build(&sources, links)?;
    for folder in &document.mount_points {
        make_parents(folder)?;
        make_folder(&inside(folder))?;
    }
    for text in &document.texts {
        make_parents(&text.target)?;
        make_text(text)?;
    }
    root::make_devices(kvm, document.uid, document.gid)?;
    if let Some(folder) = &document.work_folder {
        make_work_folder(folder, document.uid, document.gid)?;
    }
    let fifos = document.fifos.iter().map(|fifo| make_fifo(&fifo.path, document)).collect::<Result<_, _>>()?;
    root::enter()?;
    Ok(fifos)
}

fn open_sources(document: &Document) -> Result<(Vec<Source>, Links), Failure> {
    let (mut sources, links) = root::open_system_folders(&document.system_folders)?;
    if !document.system_folders.iter().any(|folder| document.vmm.starts_with(folder)) {
        sources.push(open_source(&document.vmm, &document.vmm, FileType::RegularFile, Use::Execute)?);
    }
    for each in &document.binds {
        let use_for = if each.read_only { Use::Read } else { Use::Write };
        sources.push(open_source(&each.source, &each.target, FileType::RegularFile, use_for)?);
    }
    Ok((sources, links))
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
