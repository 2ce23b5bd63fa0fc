//! Folders made, entries renamed and removed.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use tonic::Status;

use super::{info, paths};
use crate::proto::{FileInfo, MkdirRequest};
use crate::status::{from_errno, show};

/// Of a recursive remove: each level holds a descriptor.
pub const MAX_DEPTH: usize = 256;
const DEFAULT_MODE: u32 = 0o755;

/// ALREADY_EXISTS: there is something, unless `parents` is set and it is a folder.
pub fn mkdir(request: &MkdirRequest) -> Result<FileInfo, Status> {
    let path = &request.path;
    let mode = if request.mode == 0 { DEFAULT_MODE } else { request.mode & info::MODE_BITS };
    let (folder, name) = if request.parents { paths::parent_made(path)? } else { paths::parent(path)? };
    match rustix::fs::mkdirat(&folder, &name[..], Mode::from_raw_mode(mode)) {
        Err(Errno::EXIST) if request.parents => drop(paths::open(path, OFlags::PATH | OFlags::DIRECTORY)?),
        Err(errno) => return Err(from_errno(errno, &format!("make {}", show(path)))),
        // The umask took bits away.
        Ok(()) => set_mode(&folder, &name, mode).map_err(|e| from_errno(e, &format!("make {}", show(path))))?,
    }
    info::at(&folder, &name, path)
}

/// Sets a folder's mode without following a link in its place.
pub fn set_mode(parent: impl AsFd, name: &[u8], mode: u32) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    rustix::fs::fchmod(folder, Mode::from_raw_mode(mode))
}

pub fn rename(from: &[u8], to: &[u8]) -> Result<(), Status> {
    let (from_folder, from_name) = paths::parent(from)?;
    let (to_folder, to_name) = paths::parent(to)?;
    rustix::fs::renameat(from_folder, &from_name[..], to_folder, &to_name[..])
        .map_err(|errno| from_errno(errno, &format!("rename {} to {}", show(from), show(to))))
}

/// FAILED_PRECONDITION: a folder that is not empty, unless `recursive`.
pub fn remove(path: &[u8], recursive: bool) -> Result<(), Status> {
    let (folder, name) = paths::parent(path)?;
    let removed = if recursive { remove_all(folder, name) } else { remove_one(&folder, &name) };
    removed.map_err(|errno| from_errno(errno, &format!("remove {}", show(path))))
}

fn remove_one(folder: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    let is_folder = FileType::from_raw_mode(paths::stat_at(folder, name)?.st_mode) == FileType::Directory;
    let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    rustix::fs::unlinkat(folder, name, flags)
}

/// A folder on the way down, and what it is called in the one above.
struct Level {
    folder: OwnedFd,
    entries: Dir,
    name: Vec<u8>,
}

/// Never follows a link, whatever is changed meanwhile: every step is relative to a folder that is held open.
fn remove_all(top: OwnedFd, name: Vec<u8>) -> rustix::io::Result<()> {
    match remove_one(&top, &name) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        result => return result,
    }
    let mut levels = vec![descend(&top, name)?];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.entries.next() else {
            let Some(done) = levels.pop() else { break };
            let above = levels.last().map_or(&top, |level| &level.folder);
            rustix::fs::unlinkat(above, &done.name[..], AtFlags::REMOVEDIR)?;
            continue;
        };
        let name = entry?.file_name().to_bytes().to_vec();
        if name == b"." || name == b".." {
            continue;
        }
        match remove_one(&level.folder, &name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) if levels.len() < MAX_DEPTH => {
                let next = levels.last().map(|level| descend(&level.folder, name)).transpose()?;
                levels.extend(next);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn descend(parent: &OwnedFd, name: Vec<u8>) -> rustix::io::Result<Level> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(parent, &name[..], flags, Mode::empty())?;
    let entries = Dir::read_from(&folder)?;
    Ok(Level { folder, entries, name })
}
