//! Files in folders that somebody else owns: opened from the folder's descriptor, never through a link.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, unlinkat};

use crate::failure::{At, Failure, Step};

/// The folder of a path, not through a link, and the name in it.
pub fn folder_of(path: &Path, step: Step) -> Result<(OwnedFd, &OsStr), Failure> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::new(step, format!("{} has no folder", path.display())));
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(folder, flags, Mode::empty()).at(step, folder.display())?;
    Ok((fd, name))
}

/// Removes what has this name, if anything; a link itself, not what it leads to.
pub fn clear(folder: &OwnedFd, name: &OsStr, step: Step) -> Result<(), Failure> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(Failure::new(step, format!("{}: {error}", Path::new(name).display()))),
    }
}

/// A new, empty log: what had the name before is removed.
pub fn new_log(path: &Path, step: Step) -> Result<File, Failure> {
    let (folder, name) = folder_of(path, step)?;
    clear(&folder, name, step)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&folder, name, flags, Mode::from_raw_mode(0o640)).at(step, path.display())?;
    Ok(File::from(file))
}

/// A regular file of root's own, made when it is missing.
pub fn own_file(path: &Path, step: Step) -> Result<File, Failure> {
    let (folder, name) = folder_of(path, step)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(&folder, name, flags, Mode::from_raw_mode(0o644)).at(step, path.display())?;
    let found = fstat(&file).at(step, path.display())?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_uid != 0 {
        return Err(Failure::new(step, format!("{} is not a regular file of root's", path.display())));
    }
    Ok(File::from(file))
}
